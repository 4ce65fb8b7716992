//! Counts events and forgets them.
