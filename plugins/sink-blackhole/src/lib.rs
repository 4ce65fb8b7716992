//! flowstone sink that counts events and forgets them: for measuring everything before a sink, and for trying out.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::disallowed_methods))] // see clippy.toml

use std::time::Duration;

use flowstone_core::prelude::*;

options! {
    /// Options of `blackhole`: there are none.
    pub struct BlackholeOptions {}
}

/// Counts events and forgets them.
#[derive(Debug)]
struct Blackhole;

#[async_trait]
impl Sink for Blackhole {
    /// Every row, without a byte: what comes before the sink is measured, and nothing else.
    fn encode(&self, batch: &Batch, body: &mut Body) {
        let key = body.key("");
        for row in batch.live_rows() {
            body.row(batch.id(row), key, |out| out.len());
        }
    }

    fn rejects(&self) -> bool {
        false
    }

    async fn send(&self, _request: &Request) -> Verdicts {
        Verdicts::All(Verdict::Delivered)
    }

    fn limits(&self) -> SinkLimits {
        SinkLimits {
            flush_interval: Duration::ZERO,
            max_concurrency: 4,
            ordered: false,
            ..SinkLimits::default()
        }
    }
}

register_sink! {
    "blackhole",
    summary: "counts events and forgets them",
    options: BlackholeOptions,
    example: "",
    build: |_options: BlackholeOptions, _cx: &BuildCx| Ok(Box::new(Blackhole)),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_live_row_is_delivered_and_holds_no_memory() {
        let mut batch = Batch::new(vec![RowId::of(b"a"), RowId::of(b"b"), RowId::of(b"c")]);
        batch.row_mut(0).set("x", "y").unwrap();
        batch.discard(1, "test");
        let mut body = Body::default();
        Blackhole.encode(&batch, &mut body);
        assert_eq!((body.rows(), body.take_rejected()), (2, vec![]));
        let segment = body.finish(Into::into);
        assert_eq!((segment.id(1), segment.bytes().len()), (RowId::of(b"c"), 0));
        let verdicts = futures::executor::block_on(Blackhole.send(&Request::of(segment)));
        assert_eq!(verdicts, Verdicts::All(Verdict::Delivered));
    }
}
