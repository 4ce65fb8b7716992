//! flowstone source of lines on standard input.
