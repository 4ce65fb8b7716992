//! flowstone's configuration: TOML topologies, diagnostics, interpolation.

mod topology;

pub use topology::{
    ExpectedOutput, Output, Port, Settings, SinkNode, SourceNode, Topology, TransformNode, UnitTest,
};
