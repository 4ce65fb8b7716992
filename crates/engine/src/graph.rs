//! The topology with names resolved to numbers: which output feeds which inputs, and over which of them ids get a branch.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use flowstone_config::{Output, Port, Topology};
use flowstone_core::event::RowId;
use flowstone_core::{
    ComponentId, ComponentMetrics, Kind, Metrics, Sink, SinkLimits, SinkMetrics, Transform,
};
use flowstone_dialect::{Condition, Decorations};

use crate::dead_letters::DeadLetterFile;

/// Everything about the components that workers and delivery share.
pub(crate) struct Graph {
    pub(crate) sources: Vec<SourceEntry>,
    pub(crate) transforms: Vec<TransformEntry>,
    pub(crate) sinks: Vec<SinkEntry>,
}

pub(crate) struct SourceEntry {
    pub(crate) id: ComponentId,
    pub(crate) metrics: ComponentMetrics,
    pub(crate) outputs: Outputs,
    /// The sinks that write this source's records in their order and so hear of each of its batches.
    pub(crate) ordered_sinks: Vec<usize>,
}

pub(crate) struct TransformEntry {
    pub(crate) id: ComponentId,
    pub(crate) metrics: ComponentMetrics,
    pub(crate) when: Option<Condition>,
    pub(crate) decorations: Decorations,
    pub(crate) outputs: Outputs,
    pub(crate) output_names: Vec<String>,
}

pub(crate) struct SinkEntry {
    pub(crate) id: ComponentId,
    pub(crate) metrics: SinkMetrics,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) limits: SinkLimits,
    pub(crate) rejected: Vec<Edge>,
}

/// Who reads each output of a component.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    pub(crate) default: Vec<Edge>,
    pub(crate) named: Vec<Vec<Edge>>,
    pub(crate) rejected: Vec<Edge>,
}

/// A way from an output into a component.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    pub(crate) to: Reader,
    /// Mixed into the ids of rows that go this way, because another way from the same source meets it there.
    pub(crate) branch: Option<u128>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    Transform(usize),
    Sink(usize),
}

/// The parts of a topology that have one owner each and so do not belong to the shared graph.
pub(crate) struct Owned {
    pub(crate) sources: Vec<Box<dyn flowstone_core::Source>>,
    pub(crate) transforms: Vec<Box<dyn Transform>>,
}

// === impl Graph ===

impl Graph {
    /// Resolves a topology that the configuration has checked: every name in `inputs` exists and there is no cycle.
    pub(crate) fn of(topology: Topology, metrics: &Metrics) -> (Self, Owned) {
        let Topology { settings, sources, transforms, sinks } = topology;
        let mut edges: HashMap<Port, Vec<Edge>> = HashMap::new();
        let mut reached: HashMap<Arc<str>, BTreeSet<usize>> = sources
            .iter()
            .enumerate()
            .map(|(index, node)| (Arc::clone(&node.id.name), BTreeSet::from([index])))
            .collect();

        let mut waiting: Vec<(Arc<str>, &[Port], Reader)> = Vec::new();
        waiting.extend(transforms.iter().enumerate().map(|(index, node)| {
            (Arc::clone(&node.id.name), node.inputs.as_slice(), Reader::Transform(index))
        }));
        waiting.extend(
            sinks.iter().enumerate().map(|(index, node)| {
                (Arc::clone(&node.id.name), node.inputs.as_slice(), Reader::Sink(index))
            }),
        );
        // In an order in which whoever feeds a component comes before it. Dead letters make sinks feed others, too.
        while !waiting.is_empty() {
            let before = waiting.len();
            waiting.retain(|(name, inputs, to)| {
                if !inputs.iter().all(|port| reached.contains_key(&port.component)) {
                    return true;
                }
                let mut met = BTreeSet::new();
                for port in *inputs {
                    let from = &reached[&port.component];
                    let meets = from.iter().any(|source| met.contains(source));
                    let branch = meets.then(|| u128::from_be_bytes(RowId::of(port_text(port).as_bytes()).0));
                    edges.entry(port.clone()).or_default().push(Edge { to: *to, branch });
                    met.extend(from.iter().copied());
                }
                reached.insert(Arc::clone(name), met);
                false
            });
            assert!(waiting.len() < before, "the configuration refuses cycles and unknown inputs");
        }

        let to_dead_letter_file = Edge { to: Reader::Sink(sinks.len()), branch: None };
        let mut has_dead_letter_file = false;
        let mut take = |name: &Arc<str>, named: usize| {
            let mut of = |output| edges.remove(&Port { component: Arc::clone(name), output });
            let rejected = of(Output::Rejected).unwrap_or_else(|| {
                has_dead_letter_file = true;
                vec![to_dead_letter_file.clone()]
            });
            Outputs {
                default: of(Output::Default).unwrap_or_default(),
                named: (0..named).map(|index| of(Output::Named(index)).unwrap_or_default()).collect(),
                rejected,
            }
        };

        let mut owned = Owned { sources: Vec::new(), transforms: Vec::new() };
        let mut graph = Self { sources: Vec::new(), transforms: Vec::new(), sinks: Vec::new() };
        for node in sources {
            graph.sources.push(SourceEntry {
                metrics: metrics.component(&node.id),
                outputs: take(&node.id.name, 0),
                ordered_sinks: Vec::new(),
                id: node.id,
            });
            owned.sources.push(node.source);
        }
        for node in transforms {
            graph.transforms.push(TransformEntry {
                metrics: metrics.component(&node.id),
                outputs: take(&node.id.name, node.outputs.len()),
                when: node.when,
                decorations: node.decorations,
                output_names: node.outputs,
                id: node.id,
            });
            owned.transforms.push(node.transform);
        }
        for node in sinks {
            graph.sinks.push(SinkEntry {
                metrics: metrics.sink(&node.id),
                limits: node.sink.limits(),
                sink: node.sink,
                rejected: take(&node.id.name, 0).rejected,
                id: node.id,
            });
        }
        if has_dead_letter_file {
            let id = ComponentId { name: "rejected".into(), kind: Kind::Sink, type_name: "dead_letter_file" };
            let sink = Arc::new(DeadLetterFile::new(settings.data_dir.join("rejected")));
            graph.sinks.push(SinkEntry {
                metrics: metrics.sink(&id),
                limits: sink.limits(),
                sink,
                rejected: Vec::new(),
                id,
            });
        }
        graph.find_ordered_sinks();
        (graph, owned)
    }

    /// The sinks that dead letters of this sink may reach.
    pub(crate) fn sinks_behind_rejected(&self, sink: usize) -> Vec<usize> {
        let mut met = Vec::new();
        let mut open: Vec<Reader> = self.sinks[sink].rejected.iter().map(|edge| edge.to).collect();
        while let Some(target) = open.pop() {
            match target {
                Reader::Transform(transform) => open.extend(self.transforms[transform].outputs.targets()),
                Reader::Sink(next) if !met.contains(&next) => {
                    met.push(next);
                    open.extend(self.sinks[next].rejected.iter().map(|edge| edge.to));
                }
                Reader::Sink(_) => {}
            }
        }
        met
    }

    fn find_ordered_sinks(&mut self) {
        for index in 0..self.sources.len() {
            let mut met = BTreeSet::new();
            let mut open: Vec<Reader> = self.sources[index].outputs.targets().collect();
            while let Some(target) = open.pop() {
                match target {
                    Reader::Transform(transform) => open.extend(self.transforms[transform].outputs.targets()),
                    Reader::Sink(sink) if self.sinks[sink].limits.ordered => {
                        met.insert(sink);
                    }
                    Reader::Sink(_) => {}
                }
                if let Reader::Sink(sink) = target {
                    // Rows that cannot be encoded go on from here while the batch is still in the worker's hands.
                    open.extend(self.sinks[sink].rejected.iter().map(|edge| edge.to));
                }
            }
            self.sources[index].ordered_sinks = met.into_iter().collect();
        }
    }
}

fn port_text(port: &Port) -> String {
    match port.output {
        Output::Default => port.component.to_string(),
        Output::Rejected => format!("{}.rejected", port.component),
        Output::Named(index) => format!("{}.{index}", port.component),
    }
}

// === impl Outputs ===

impl Outputs {
    pub(crate) fn targets(&self) -> impl Iterator<Item = Reader> + '_ {
        self.default.iter().chain(&self.rejected).chain(self.named.iter().flatten()).map(|edge| edge.to)
    }
}
