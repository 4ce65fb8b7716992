//! flowstone's configuration: TOML topologies, diagnostics, interpolation.
