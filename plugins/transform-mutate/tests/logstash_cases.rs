//! Every recorded case of Logstash's `mutate`.

use flowstone_testkit::cases::cases;
// The plugin registers itself.
use transform_mutate as _;

#[test]
fn mutate_does_what_logstash_does() {
    let failed: Vec<String> =
        cases("mutate.json").iter().filter_map(|case| case.check("mutate", |_| {}, &[]).err()).collect();
    assert!(failed.is_empty(), "{} cases differ:\n{}", failed.len(), failed.join("\n"));
}
