//! flowstone transform that parses text with grok patterns as Logstash does.
