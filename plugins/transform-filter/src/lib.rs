//! flowstone transform that keeps the events for which a condition holds.
