//! flowstone's plugin API: sources, transforms, sinks, acks, options, conditions.
