//! A complete plugin: the source `ticks` counts, and after a restart goes on behind what was delivered.

use flowstone_core::StateDir;
use flowstone_core::prelude::*;

options! {
    /// Options of `ticks`.
    pub struct TicksOptions {
        /// The last number.
        until: u64 = 10,
    }
}

metrics! {
    /// Metrics of `ticks`; what every source counts is there without them.
    pub struct TicksMetrics {
        /// numbers given out that can be divided by ten
        tens: counter "ticks_tens_total",
    }
}

struct Ticks {
    until: u64,
    given: u64,
    state: StateDir,
}

#[async_trait]
impl Source for Ticks {
    async fn start(&mut self, _cx: &mut SourceCx) -> Result<(), SourceError> {
        let failed = |error: std::io::Error| SourceError::new("checkpoint", error.to_string());
        let saved = self.state.load("checkpoint").map_err(failed)?;
        self.given = saved.and_then(|bytes| String::from_utf8(bytes).ok()?.parse().ok()).unwrap_or(0);
        Ok(())
    }

    async fn next(&mut self, cx: &mut SourceCx) -> Result<Next, SourceError> {
        if self.given >= self.until {
            return Ok(Next::End);
        }
        self.given += 1;
        if self.given.is_multiple_of(10) {
            cx.metrics.component.own::<TicksMetrics>().tens.inc();
        }
        // The same number has the same id whenever it is read: a sink recognises what it has already.
        let mut batch = Batch::new(vec![RowId::of(&self.given.to_be_bytes())]);
        for (field, value) in
            [("tick", Value::Int(self.given as i64)), ("@timestamp", Value::Time(cx.clock.now_ms()))]
        {
            batch
                .row_mut(0)
                .set(field, value)
                .map_err(|error| SourceError::fatal("field", error.to_string()))?;
        }
        let position = Position { partition: "ticks".into(), value: self.given };
        Ok(Next::Batch(SourceBatch { batch, from: self.given - 1, position, bytes: 8 }))
    }

    async fn commit(&mut self, positions: &[Position]) -> Result<(), SourceError> {
        let Some(last) = positions.last() else { return Ok(()) };
        let saved = self.state.save("checkpoint", last.value.to_string().as_bytes());
        saved.map_err(|error| SourceError::new("checkpoint", error.to_string()))
    }

    async fn rewind(&mut self, position: &Position) -> Result<(), SourceError> {
        self.given = position.value - 1;
        Ok(())
    }

    fn traits(&self) -> SourceTraits {
        SourceTraits { keeps_state: true, ..SourceTraits::default() }
    }
}

register_source! {
    "ticks",
    summary: "counts",
    options: TicksOptions,
    metrics: TicksMetrics,
    example: "until = 3",
    build: |options: TicksOptions, cx: &BuildCx| Ok(Box::new(Ticks { until: options.until, given: 0, state: cx.state_dir() })),
}

#[cfg(test)]
mod tests {
    use flowstone_core::{ComponentId, Kind};
    use futures::executor::block_on;

    use super::*;

    fn ticks(folder: &std::path::Path) -> (Ticks, SourceCx) {
        let id = ComponentId { name: "t".into(), kind: Kind::Source, type_name: "ticks" };
        let state = StateDir::new(folder.to_owned());
        let cx = SourceCx::alone(id, state.clone());
        (Ticks { until: 3, given: 0, state }, cx)
    }

    #[test]
    fn it_goes_on_behind_what_was_delivered() {
        let folder = tempfile::tempdir().unwrap();
        let (mut first, mut cx) = ticks(folder.path());
        for _ in 0..2 {
            assert!(matches!(block_on(first.next(&mut cx)).unwrap(), Next::Batch(_)));
        }
        block_on(first.commit(&[Position { partition: "ticks".into(), value: 1 }])).unwrap();
        let (mut second, mut cx) = ticks(folder.path());
        block_on(second.start(&mut cx)).unwrap();
        let Next::Batch(again) = block_on(second.next(&mut cx)).unwrap() else { panic!("a number") };
        assert_eq!(again.batch.row(0).i64("tick"), Some(2));
    }
}
