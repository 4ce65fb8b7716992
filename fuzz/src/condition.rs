//! Conditions: refused with a place in the text, or answered, and for whole batches as for one event after another.

use flowstone_core::event::Batch;
use flowstone_dialect::Condition;
use flowstone_lines::Decoding;

use super::ndjson::batches;
use super::support::{assert_place, in_time, split};

/// A condition, then lines that are events, of which the first begins with `{`.
pub fn condition(data: &[u8]) {
    let Ok(whole) = std::str::from_utf8(data) else { return };
    let (text, events) = split(whole, "\n{");
    in_time(|| {
        let condition = match Condition::parse(text) {
            Ok(condition) => condition,
            Err(error) => return assert_place(text, error.start, error.end),
        };
        condition.warnings().iter().for_each(|warning| assert_place(text, warning.start, warning.end));
        assert!(condition.fields().len() <= text.len());
        for batch in batches(format!("{{{events}").as_bytes(), Decoding::Json, 64) {
            assert_rows_answer_as_the_batch(&condition, &batch);
        }
    });
}

fn assert_rows_answer_as_the_batch(condition: &Condition, batch: &Batch) {
    let selection = condition.select(batch, &batch.live_set());
    for row in batch.live_rows() {
        let alone = condition.holds(batch.row(row));
        assert_eq!(selection.rows.contains(row), alone, "row {row} of {:?}", condition.text());
    }
    assert!(selection.rows.iter().all(|row| batch.is_live(row)), "rows nobody asked for");
}
