//! A complete plugin: the transform `shout` writes a field in upper case.

use flowstone_core::prelude::*;

options! {
    /// Options of `shout`.
    pub struct ShoutOptions {
        /// The field to write in upper case.
        field: Path = Path::message(),
    }
}

#[derive(Clone)]
struct Shout(ShoutOptions);

impl Transform for Shout {
    fn apply(&mut self, batch: &mut Batch, _cx: &mut TransformCx<'_>) {
        batch.rows(|row| match row.view().get_path(&self.0.field) {
            Some(Value::Str(text)) => {
                if let Err(error) = row.set_path(&self.0.field, text.to_uppercase()) {
                    row.reject("not_set", error.to_string());
                }
            }
            // `add_field` and its like are for events to which the transform applied.
            _ => row.not_matched(),
        });
    }

    fn fork(&self) -> Box<dyn Transform> {
        Box::new(self.clone())
    }
}

register_transform! {
    "shout",
    summary: "writes a field in upper case",
    options: ShoutOptions,
    example: "field = \"message\"",
    build: |options: ShoutOptions, _cx: &BuildCx| Ok(Box::new(Shout(options))),
}

#[cfg(test)]
mod tests {
    use flowstone_core::{Clock, ComponentId, Kind, Metrics};

    use super::*;

    #[test]
    fn the_field_is_written_in_upper_case_and_nothing_else() {
        let mut batch = Batch::new(vec![RowId::default()]);
        batch.row_mut(0).set("message", "hello").unwrap();
        batch.row_mut(0).set("other", "quiet").unwrap();
        let id = ComponentId { name: "loud".into(), kind: Kind::Transform, type_name: "shout" };
        let metrics = Metrics::new().component(&id);
        Shout(ShoutOptions::defaults()).apply(&mut batch, &mut TransformCx::new(&metrics, Clock::System));
        assert_eq!(batch.row(0).str("message"), Some("HELLO"));
        assert_eq!(batch.row(0).str("other"), Some("quiet"));
    }
}
