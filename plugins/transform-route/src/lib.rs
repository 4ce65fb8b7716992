//! flowstone transform that sends events to named outputs.
