//! Fakes and a topology by hand: a source of numbered lines, a sink that answers as the test says.
#![allow(dead_code, reason = "each file of tests uses its part of it")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use flowstone_config::{Output, Port, Settings, SinkNode, SourceNode, Topology, TransformNode};
use flowstone_core::event::{Batch, EncodeOptions, Page, RowId, StrRef};
use flowstone_core::{
    Body, ComponentId, Kind, Next, Position, Request, Sink, SinkCx, SinkLimits, Source, SourceBatch,
    SourceCx, SourceError, Transform, TransformCx, Verdict, Verdicts,
};
use flowstone_dialect::Decorations;

/// Gives the lines `0` to `count - 1`, `per_batch` at a time.
pub(crate) struct Lines {
    pub(crate) count: u64,
    pub(crate) per_batch: u64,
    pub(crate) next: u64,
    pub(crate) endless: bool,
    pub(crate) seen: Arc<Mutex<SourceLog>>,
}

#[derive(Debug, Default)]
pub(crate) struct SourceLog {
    pub(crate) read: u64,
    pub(crate) committed: Vec<u64>,
    pub(crate) rewound: Vec<u64>,
}

impl Lines {
    pub(crate) fn new(count: u64, per_batch: u64) -> (Self, Arc<Mutex<SourceLog>>) {
        let seen: Arc<Mutex<SourceLog>> = Arc::default();
        (Self { count, per_batch, next: 0, endless: false, seen: Arc::clone(&seen) }, seen)
    }
}

pub(crate) fn line_id(line: u64) -> RowId {
    RowId::of(&line.to_be_bytes())
}

#[async_trait]
impl Source for Lines {
    async fn next(&mut self, _cx: &mut SourceCx) -> Result<Next, SourceError> {
        if self.next >= self.count {
            return Ok(if self.endless { Next::Idle(Duration::from_millis(10)) } else { Next::End });
        }
        let end = (self.next + self.per_batch).min(self.count);
        let (mut text, mut places, mut ids) = (String::new(), Vec::new(), Vec::new());
        for line in self.next..end {
            let offset = text.len() as u32;
            text.push_str(&format!("line {line}"));
            places.push(StrRef { page: 0, offset, len: text.len() as u32 - offset });
            ids.push(line_id(line));
        }
        let from = std::mem::replace(&mut self.next, end);
        self.seen.lock().unwrap().read = end;
        let bytes = text.len();
        let batch = Batch::of_lines(Page::from_text(text), places, ids, 0);
        Ok(Next::Batch(SourceBatch {
            batch,
            from,
            position: Position { partition: "lines".into(), value: end },
            bytes,
        }))
    }

    async fn commit(&mut self, positions: &[Position]) -> Result<(), SourceError> {
        self.seen.lock().unwrap().committed.extend(positions.iter().map(|position| position.value));
        Ok(())
    }

    async fn rewind(&mut self, position: &Position) -> Result<(), SourceError> {
        self.seen.lock().unwrap().rewound.push(position.value);
        self.next = position.value - self.per_batch;
        Ok(())
    }
}

type Answer = Box<dyn FnMut(&[String]) -> Vec<Verdict> + Send>;

/// Keeps the documents that it took, and answers as `answer` says (row by row); a row's key is its last digit's
/// parity (`even`, `odd`).
pub(crate) struct Scripted {
    pub(crate) limits: SinkLimits,
    pub(crate) answer: Mutex<Answer>,
    pub(crate) delay: Duration,
    pub(crate) taken: Arc<Mutex<Vec<(RowId, String)>>>,
    pub(crate) requests: Arc<Mutex<Vec<usize>>>,
    pub(crate) open: Arc<Mutex<bool>>,
}

impl Scripted {
    pub(crate) fn new(answer: impl FnMut(&[String]) -> Vec<Verdict> + Send + 'static) -> Self {
        Self {
            limits: SinkLimits {
                flush_interval: Duration::from_millis(20),
                max_concurrency: 4,
                ordered: false,
                ..SinkLimits::default()
            },
            answer: Mutex::new(Box::new(answer)),
            delay: Duration::ZERO,
            taken: Arc::default(),
            requests: Arc::default(),
            open: Arc::new(Mutex::new(true)),
        }
    }

    pub(crate) fn accepting() -> Self {
        Self::new(|rows| vec![Verdict::Delivered; rows.len()])
    }
}

#[async_trait]
impl Sink for Scripted {
    fn encode(&self, batch: &Batch, body: &mut Body) {
        body.json(EncodeOptions::default());
        for row in batch.live_rows() {
            let odd =
                batch.row(row).str("message").is_some_and(|text| text.ends_with(['1', '3', '5', '7', '9']));
            let key = body.key(if odd { "odd" } else { "even" });
            body.row(batch.id(row), key, |buffer| {
                let start = buffer.len();
                batch.write_json(row, EncodeOptions::default(), buffer);
                start
            });
        }
    }

    async fn open(&self, _cx: &SinkCx) -> Result<(), Verdict> {
        if *self.open.lock().unwrap() { Ok(()) } else { Err(Verdict::busy("connection", "refused")) }
    }

    async fn send(&self, request: &Request) -> Verdicts {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        let rows: Vec<(RowId, String)> = request
            .each_row()
            .map(|(segment, row)| {
                (segment.id(row), String::from_utf8_lossy(segment.document(row)).into_owned())
            })
            .collect();
        self.requests.lock().unwrap().push(rows.len());
        let documents: Vec<String> = rows.iter().map(|(_, document)| document.clone()).collect();
        let verdicts = (self.answer.lock().unwrap())(&documents);
        let mut taken = self.taken.lock().unwrap();
        for (row, verdict) in rows.into_iter().zip(&verdicts) {
            if *verdict == Verdict::Delivered {
                taken.push(row);
            }
        }
        drop(taken);
        match verdicts.iter().all(|verdict| *verdict == verdicts[0]) {
            true => Verdicts::All(verdicts[0].clone()),
            false => Verdicts::Rows(verdicts),
        }
    }

    fn limits(&self) -> SinkLimits {
        self.limits
    }
}

/// Does to each row what a function says.
#[derive(Clone)]
pub(crate) struct Each(pub(crate) fn(&mut flowstone_core::event::Row<'_>));

impl Transform for Each {
    fn apply(&mut self, batch: &mut Batch, _cx: &mut TransformCx<'_>) {
        batch.rows(self.0);
    }

    fn fork(&self) -> Box<dyn Transform> {
        Box::new(self.clone())
    }
}

/// A topology by hand.
pub(crate) struct Builder {
    pub(crate) topology: Topology,
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) fn port(text: &str) -> Port {
    match text.strip_suffix(".rejected") {
        Some(name) => Port { component: name.into(), output: Output::Rejected },
        None => Port { component: text.into(), output: Output::Default },
    }
}

fn id(name: &str, kind: Kind) -> ComponentId {
    ComponentId { name: name.into(), kind, type_name: "fake" }
}

impl Builder {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            data_dir: folder.path().to_owned(),
            memory: 1 << 20,
            waiting_max: 1 << 30,
            workers: 3,
            batch_rows: 4096,
            batch_bytes: 1 << 16,
            shutdown_timeout: Duration::from_millis(300),
            metrics_listen: None,
        };
        let topology = Topology { settings, sources: Vec::new(), transforms: Vec::new(), sinks: Vec::new() };
        Self { topology, folder }
    }

    pub(crate) fn source(mut self, name: &str, source: impl Source + 'static) -> Self {
        self.topology.sources.push(SourceNode { id: id(name, Kind::Source), source: Box::new(source) });
        self
    }

    pub(crate) fn transform(
        mut self,
        name: &str,
        inputs: &[&str],
        transform: impl Transform + 'static,
    ) -> Self {
        self.topology.transforms.push(TransformNode {
            id: id(name, Kind::Transform),
            inputs: inputs.iter().map(|input| port(input)).collect(),
            outputs: transform.outputs(),
            transform: Box::new(transform),
            when: None,
            decorations: Decorations::default(),
        });
        self
    }

    pub(crate) fn sink(mut self, name: &str, inputs: &[&str], sink: impl Sink + 'static) -> Self {
        self.topology.sinks.push(SinkNode {
            id: id(name, Kind::Sink),
            inputs: inputs.iter().map(|input| port(input)).collect(),
            sink: Arc::new(sink),
        });
        self
    }
}

/// The conservation law of every component: received + created = sent + discarded + rejected + in flight.
pub(crate) fn assert_conserved(metrics: &flowstone_core::Metrics) {
    let mut sums: HashMap<String, [f64; 2]> = HashMap::new();
    for family in metrics.registry().gather() {
        let side = match family.name() {
            "flowstone_component_received_events_total" | "flowstone_component_created_events_total" => 0,
            "flowstone_component_sent_events_total"
            | "flowstone_component_discarded_events_total"
            | "flowstone_component_rejected_events_total"
            | "flowstone_component_events_in_flight" => 1,
            _ => continue,
        };
        for metric in family.get_metric() {
            let labels = metric.get_label();
            let component =
                labels.iter().find(|label| label.name() == "component_id").unwrap().value().to_owned();
            let kind =
                labels.iter().find(|label| label.name() == "component_kind").unwrap().value().to_owned();
            let value = metric.get_counter().get_value() + metric.get_gauge().get_value();
            sums.entry(format!("{kind} {component}")).or_default()[side] += value;
        }
    }
    assert!(!sums.is_empty(), "components were counted");
    for (component, [came, went]) in sums {
        assert_eq!(came, went, "{component}: received + created = sent + discarded + rejected + in flight");
    }
}
