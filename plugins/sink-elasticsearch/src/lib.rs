//! flowstone sink that writes events to Elasticsearch and OpenSearch.
