//! The deliberate differences: where flowstone gives another answer than Logstash, why, and what it promises
//! instead. A rule tells its cases by what they hold, never by their names.

use flowstone_testkit::cases::{Case, Failure, Outcome};
use serde_json::Value as Json;

/// One deliberate difference.
pub(crate) struct Rule {
    /// What to call it.
    pub(crate) name: &'static str,
    /// The file whose cases it is about.
    pub(crate) file: &'static str,
    /// Why flowstone's answer is better there.
    pub(crate) reason: &'static str,
    /// Which cases it is about.
    pub(crate) applies: fn(&Case) -> bool,
    /// Whether flowstone gives the answer it promises there.
    pub(crate) holds: fn(&Case, &Outcome) -> bool,
}

/// All of them.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "incomparable-is-false",
        file: "conditionals",
        reason: "the original stops the pipeline at a comparison that cannot be made; here it is false and counted",
        applies: |case| case.failure() == Some(Failure::AtEvent),
        holds: |_, outcome| is_counted(outcome),
    },
    Rule {
        name: "no-order-is-false",
        file: "conditionals",
        reason: "JRuby takes values that have no order for equal, so that null >= 5 holds; here it is false and counted",
        applies: |case| {
            let text = case.text("condition");
            case.expected()["result"] == true
                && case.get("expect")["result"]["error"] == "runtime"
                && (text.contains("<=") || text.contains(">="))
        },
        holds: |_, outcome| is_counted(outcome),
    },
    Rule {
        name: "value-in-list",
        file: "conditionals",
        reason: "Logstash 6.8's Java engine looks for the list in the value; later versions, and flowstone, for the \
                 value in the list",
        applies: |case| {
            let input = case.get("input");
            !case.get("head").is_null()
                && fields_of_in(case.text("condition"))
                    .is_some_and(|fields| fields.iter().any(|field| input[field].is_array()))
        },
        holds: |case, outcome| {
            let ruby = case.get("expect")["result"].as_bool().unwrap_or(false);
            matches!(outcome, Outcome::Result { value, .. } if *value == ruby)
        },
    },
    Rule {
        name: "no-functions",
        file: "conditionals",
        reason: "Logstash ignores the name of a function, so that `not ([a])` means `[a]`; here a function is refused",
        applies: |case| has_function(case.text("condition")) && case.expected()["result"].is_boolean(),
        holds: |_, outcome| matches!(outcome, Outcome::Refused(_)),
    },
    Rule {
        name: "bad-date-pattern-refused",
        file: "sprintf",
        reason: "the original stops the pipeline at the first event if a date pattern has a letter that means nothing; \
                 here it is refused at start",
        applies: |case| case.failure() == Some(Failure::AtEvent),
        holds: |_, outcome| matches!(outcome, Outcome::Refused(_)),
    },
    Rule {
        name: "unknown-type-refused",
        file: "grok",
        reason: "Logstash ignores a type it does not know, and the value stays text; here it is refused at start",
        applies: |case| {
            grok_types(case.option("match")).iter().any(|kind| !matches!(kind.as_str(), "int" | "float"))
        },
        holds: |_, outcome| matches!(outcome, Outcome::Refused(why) if why.contains("unknown type")),
    },
    Rule {
        name: "linear-time",
        file: "grok",
        reason: "what leads the original's engine astray until it gives up is matched here in linear time",
        applies: |case| {
            case.get("tags").as_array().is_some_and(|tags| tags.iter().any(|tag| tag == "_groktimeout"))
        },
        holds: |_, outcome| matches!(outcome, Outcome::Document(document) if document.event.get("tags").is_none()),
    },
    Rule {
        name: "needs-licensed-database",
        file: "geoip",
        reason: "needs a database that is licensed by its maker and no part of the cases",
        applies: |case| case.text("requires").starts_with("real GeoLite2") && case.get("error").is_null(),
        holds: |_, outcome| matches!(outcome, Outcome::Refused(_)),
    },
    Rule {
        name: "geoip-tags",
        file: "geoip",
        reason: "the original stops the pipeline at a value it cannot look up or a target it cannot set; here the \
                 event is tagged",
        applies: |case| case.failure() == Some(Failure::AtEvent),
        holds: |_, outcome| is_tagged(outcome),
    },
    Rule {
        name: "date-tags",
        file: "date",
        reason: "the original stops the pipeline at a text it cannot take apart; here the event is tagged",
        applies: |case| case.failure() == Some(Failure::AtEvent),
        holds: |_, outcome| is_tagged(outcome),
    },
    Rule {
        name: "mutate-tags",
        file: "mutate",
        reason: "the original stops the pipeline where a field cannot be set; here the event is tagged",
        applies: |case| case.failure() == Some(Failure::AtEvent),
        holds: |_, outcome| is_tagged(outcome),
    },
];

fn is_counted(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Result { incomparable: 1.., .. })
}

fn is_tagged(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Document(document)
        if document.event["tags"].as_array().is_some_and(|tags| !tags.is_empty()))
}

/// The two fields of `[a] in [b]` and `[a] not in [b]`.
fn fields_of_in(condition: &str) -> Option<[&str; 2]> {
    let (left, right) = condition.trim().strip_prefix('[')?.split_once(']')?;
    let right = right.trim_start();
    let right = right.strip_prefix("not ").map_or(right, str::trim_start);
    let right = right.strip_prefix("in")?.trim_start().strip_prefix('[')?.strip_suffix(']')?;
    (!right.contains(['[', ']', '"', ','])).then_some([left, right])
}

/// Whether a word of two letters or more stands before a parenthesis without being an operator.
fn has_function(condition: &str) -> bool {
    condition.match_indices('(').any(|(at, _)| {
        let before = condition[..at].trim_end();
        let word = before.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
        word.len() > 1 && !matches!(word, "and" | "or" | "xor" | "nand" | "in")
    })
}

/// The types that patterns give their captures: `%{NAME:field:type}`.
fn grok_types(patterns: &Json) -> Vec<String> {
    match patterns {
        Json::String(pattern) => pattern
            .split("%{")
            .skip(1)
            .filter_map(|rest| rest.split('}').next()?.split(':').nth(2))
            .filter(|kind| !kind.is_empty())
            .map(str::to_owned)
            .collect(),
        Json::Array(items) => items.iter().flat_map(grok_types).collect(),
        Json::Object(members) => members.values().flat_map(grok_types).collect(),
        _ => Vec::new(),
    }
}
