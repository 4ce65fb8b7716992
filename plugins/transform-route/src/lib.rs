//! flowstone transform that sends events to named outputs.
//!
//! An event goes to every output whose condition holds, so it may become several; one for which none holds goes to
//! `NAME._unmatched`. A comparison that could not be made is false and counted as the error `incomparable`.

use std::sync::Arc;

use flowstone_core::event::BitSet;
use flowstone_core::prelude::*;
use flowstone_dialect::Condition;
use indexmap::IndexMap;

/// The output of the events that no condition wants.
pub const UNMATCHED: &str = "_unmatched";

options! {
    /// Options of `route`.
    pub struct RouteOptions {
        /// The outputs and which events each of them gets, in the language of Logstash's conditionals:
        /// `route.rejected_flows = '[action] == "REJECT"'`. An event goes to every output whose condition holds; read
        /// them as `inputs = ["NAME.rejected_flows"]`. What no condition wants goes to `NAME._unmatched`.
        pub route: IndexMap<String, Condition>,
    }
}

/// Sends events to the outputs whose conditions hold.
#[derive(Clone, Debug)]
pub struct Route {
    routes: Arc<[(String, Condition)]>,
}

register_transform! {
    "route",
    summary: "sends events to named outputs by conditions",
    options: RouteOptions,
    example: "route.refused = '[action] == \"REJECT\"'\nroute.ssh = '[dstport] == 22'",
    build: |options: RouteOptions, _cx: &BuildCx| Ok(Box::new(Route::new(options)?)),
}

// === impl Route ===

impl Route {
    /// The transform of these options, or every output whose name cannot be one.
    pub fn new(options: RouteOptions) -> Result<Self, Vec<BuildError>> {
        let mut errors: Vec<BuildError> = options.route.keys().filter_map(|name| name_error(name)).collect();
        if options.route.is_empty() {
            errors.push(
                BuildError::option("route", "`route` names no output")
                    .label("expected at least one `name = 'condition'`")
                    .help("to keep or drop events by one condition, use `type = \"filter\"`"),
            );
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self { routes: options.route.into_iter().collect() })
    }
}

impl Transform for Route {
    fn outputs(&self) -> Vec<String> {
        self.routes.iter().map(|(name, _)| name.clone()).chain([UNMATCHED.to_owned()]).collect()
    }

    fn apply(&mut self, batch: &mut Batch, cx: &mut TransformCx<'_>) {
        let active = batch.active_set();
        let mut unmatched = active.clone();
        let mut incomparable = 0;
        // All conditions first: sending takes rows out of the batch.
        let wanted: Vec<BitSet> = self
            .routes
            .iter()
            .map(|(_, condition)| {
                let selection = condition.select(batch, &active);
                incomparable += selection.incomparable;
                unmatched.subtract(&selection.rows);
                selection.rows
            })
            .collect();
        for (output, rows) in wanted.into_iter().chain([unmatched]).enumerate() {
            batch.send_to(output, rows);
        }
        if incomparable > 0 {
            cx.metrics().error("incomparable", incomparable);
        }
    }

    fn rejects(&self) -> bool {
        false
    }

    fn fork(&self) -> Box<dyn Transform> {
        Box::new(self.clone())
    }
}

/// Why `name` cannot be an output, if it cannot: `inputs = ["NAME.name"]` must mean one thing.
fn name_error(name: &str) -> Option<BuildError> {
    let taken = match name {
        "rejected" => "every component has an output `rejected` for its dead letters",
        UNMATCHED => "`_unmatched` gets the events that no condition wants",
        "default" => "`default` would read like the output without a name",
        "" => "an output needs a name",
        _ if name.contains(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-')) => {
            "an output's name has letters, digits, `_` and `-`, so that `inputs` can name it"
        }
        _ => return None,
    };
    Some(
        BuildError::option("route", format!("an output cannot be called `{name}`"))
            .label(taken)
            .help("choose another name"),
    )
}

#[cfg(test)]
mod tests {
    use flowstone_core::event::{Act, RowId};
    use flowstone_core::{Clock, ComponentId, Kind, Metrics};

    use super::*;

    fn route(routes: &[(&str, &str)]) -> Result<Route, Vec<BuildError>> {
        let routes = routes.iter().map(|(name, text)| ((*name).to_owned(), Condition::parse(text).unwrap()));
        Route::new(RouteOptions { route: routes.collect() })
    }

    /// The rows each output gets, in the order of `outputs()`, and the rendered metrics.
    fn routed(routes: &[(&str, &str)], batch: &mut Batch) -> (Vec<Vec<usize>>, String) {
        let metrics = Metrics::new();
        let id = ComponentId { name: "by".into(), kind: Kind::Transform, type_name: "route" };
        let mut route = route(routes).unwrap().fork();
        route.apply(batch, &mut TransformCx::new(&metrics.component(&id), Clock::Fixed(0)));
        let mut sent = vec![Vec::new(); route.outputs().len()];
        for act in batch.take_acts() {
            let Act::Send { output, rows } = act else { panic!("{act:?}") };
            sent[output] = rows.iter().collect();
        }
        (sent, metrics.render())
    }

    fn numbers(values: &[i64]) -> Batch {
        let mut batch = Batch::new((0..values.len()).map(|row| RowId::of(&row.to_le_bytes())).collect());
        for (row, value) in values.iter().enumerate() {
            batch.set(row, &Path::top("n"), *value).unwrap();
        }
        batch
    }

    #[test]
    fn an_event_goes_to_every_output_whose_condition_holds_and_the_rest_to_unmatched() {
        let mut batch = numbers(&[1, 5, 2, 9]);
        let (sent, _) = routed(&[("big", "[n] > 4"), ("nine", "[n] == 9")], &mut batch);
        assert_eq!(sent, [vec![1, 3], vec![3], vec![0, 2]]);
        assert_eq!(batch.live_count(), 0, "nothing stays in the default output");
    }

    #[test]
    fn outputs_are_in_the_order_of_the_file_and_unmatched_is_last() {
        let outputs = route(&[("z", "[n] > 4"), ("a", "[n] == 9")]).unwrap().outputs();
        assert_eq!(outputs, ["z", "a", "_unmatched"]);
    }

    #[test]
    fn a_comparison_that_cannot_be_made_is_false_and_counted() {
        let mut batch = numbers(&[1, 2]);
        let (sent, metrics) = routed(&[("odd", "[m] > 4")], &mut batch);
        assert_eq!(sent, [vec![], vec![0, 1]]);
        let counted =
            metrics.lines().find(|line| line.contains("error_type=\"incomparable\"")).unwrap_or_default();
        assert!(counted.ends_with(" 2"), "{metrics}");
    }

    #[test]
    fn events_outside_when_stay_where_they_are() {
        let mut batch = numbers(&[1, 5, 9]);
        let mut active = BitSet::none(3);
        active.insert(1);
        batch.set_active(Some(active));
        let (sent, _) = routed(&[("big", "[n] > 4")], &mut batch);
        assert_eq!(sent, [vec![1], vec![]]);
        assert_eq!(batch.live_rows().collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn names_that_mean_something_else_are_refused_all_at_once() {
        let names = ["rejected", "_unmatched", "default", "a.b", "", "fine", "also-fine_2"];
        let errors = route(&names.map(|name| (name, "[n] > 4"))).unwrap_err();
        let said: Vec<&str> = errors.iter().map(|error| error.message.as_str()).collect();
        assert_eq!(said.len(), 5, "{said:?}");
        for (message, name) in said.iter().zip(names) {
            assert!(message.contains(&format!("`{name}`")), "{message}");
        }
        assert_eq!(route(&[]).unwrap_err()[0].message, "`route` names no output");
    }
}
