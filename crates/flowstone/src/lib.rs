//! flowstone: VPC Flow Logs into Elasticsearch, and a stream processor made of plugins.
