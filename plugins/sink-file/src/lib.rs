//! flowstone sink that writes events to files.
