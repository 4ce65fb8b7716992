//! flowstone sink that writes events to standard output.
