//! flowstone transform that looks addresses up in MaxMind databases as Logstash does.
