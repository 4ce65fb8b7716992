//! flowstone transform that reads dates as Logstash does.
