//! flowstone transform that keeps the events for which a condition holds.
//!
//! The others are discarded and counted as `condition_false`; a comparison that could not be made (a missing field, a
//! string with a number) is false and counted as the error `incomparable`.

use flowstone_core::prelude::*;
use flowstone_dialect::Condition;

options! {
    /// Options of `filter`.
    pub struct FilterOptions {
        /// Which events to keep, in the language of Logstash's conditionals: `"OK" in [message]`.
        pub condition: Condition,
    }
}

/// Keeps the events for which its condition holds.
#[derive(Clone, Debug)]
pub struct Filter {
    condition: Condition,
}

register_transform! {
    "filter",
    summary: "keeps the events for which a condition holds",
    options: FilterOptions,
    example: "condition = '\"OK\" in [message]'",
    build: |options: FilterOptions, _cx: &BuildCx| Ok(Box::new(Filter::new(options))),
}

// === impl Filter ===

impl Filter {
    /// A filter with these options.
    pub fn new(options: FilterOptions) -> Self {
        Self { condition: options.condition }
    }
}

impl Transform for Filter {
    fn apply(&mut self, batch: &mut Batch, cx: &mut TransformCx<'_>) {
        let mut unwanted = batch.active_set();
        let selection = self.condition.select(batch, &unwanted);
        unwanted.subtract(&selection.rows);
        batch.discard_rows(unwanted, "condition_false");
        if selection.incomparable > 0 {
            cx.metrics().error("incomparable", selection.incomparable);
        }
    }

    fn rejects(&self) -> bool {
        false
    }

    fn fork(&self) -> Box<dyn Transform> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use flowstone_core::event::{Act, BitSet, RowId};
    use flowstone_core::{Clock, ComponentId, Kind, Metrics};

    use super::*;

    /// A batch of events with one field `n`; `None` has none.
    fn numbers(values: &[Option<i64>]) -> Batch {
        let mut batch = Batch::new((0..values.len()).map(|row| RowId::of(&row.to_le_bytes())).collect());
        for (row, value) in values.iter().enumerate() {
            if let Some(value) = value {
                batch.set(row, &Path::top("n"), *value).unwrap();
            }
        }
        batch
    }

    fn filtered(condition: &str, batch: &mut Batch) -> String {
        let metrics = Metrics::new();
        let id = ComponentId { name: "keep".into(), kind: Kind::Transform, type_name: "filter" };
        let mut filter =
            Filter::new(FilterOptions { condition: Condition::parse(condition).unwrap() }).fork();
        filter.apply(batch, &mut TransformCx::new(&metrics.component(&id), Clock::Fixed(0)));
        metrics.render()
    }

    #[test]
    fn events_for_which_the_condition_is_false_are_discarded_with_a_reason() {
        let mut batch = numbers(&[Some(1), Some(5), Some(2), Some(9)]);
        filtered("[n] > 2", &mut batch);
        assert_eq!(batch.live_rows().collect::<Vec<_>>(), [1, 3]);
        let acts = batch.take_acts();
        let [Act::Discard { reason: "condition_false", rows }] = acts.as_slice() else { panic!("{acts:?}") };
        assert_eq!(rows.iter().collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn nothing_is_discarded_when_the_condition_holds_for_every_event() {
        let mut batch = numbers(&[Some(3), Some(5)]);
        filtered("[n] > 2", &mut batch);
        assert_eq!(batch.live_count(), 2);
        assert!(batch.take_acts().is_empty());
    }

    #[test]
    fn a_comparison_that_cannot_be_made_is_false_and_counted() {
        let mut batch = numbers(&[None, Some(5)]);
        let metrics = filtered("[n] > 2", &mut batch);
        assert_eq!(batch.live_rows().collect::<Vec<_>>(), [1]);
        let counted =
            metrics.lines().find(|line| line.contains("error_type=\"incomparable\"")).unwrap_or_default();
        assert!(counted.ends_with(" 1"), "{metrics}");
    }

    #[test]
    fn events_outside_when_are_not_looked_at() {
        let mut batch = numbers(&[Some(1), Some(1), Some(5)]);
        let mut active = BitSet::none(3);
        active.insert(1);
        active.insert(2);
        batch.set_active(Some(active));
        filtered("[n] > 2", &mut batch);
        assert_eq!(batch.live_rows().collect::<Vec<_>>(), [0, 2]);
    }
}
