//! flowstone transform that changes fields as Logstash does.
