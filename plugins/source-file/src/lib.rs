//! flowstone source that reads and follows files.
