//! The deliberate differences: where flowstone gives another answer than Logstash, why, and what it promises
//! instead. A rule tells its cases by what they hold, never by their names.

use flowstone_core::event::{Batch, Path, RowId, Value, java_f64};
use flowstone_core::{Kind, find, parse_json};
use flowstone_dialect::Template;
use flowstone_testkit::cases::{Case, Failure, Outcome, at};
use serde_json::Value as Json;

use crate::logstash::{self, Statement};

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
            let is_list = |path: &Path| at(case.get("input"), path).is_some_and(Json::is_array);
            !case.get("head").is_null()
                && fields_of_in(case.text("condition")).is_some_and(|fields| fields.iter().any(is_list))
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
        name: "text-against-expression",
        file: "conditionals",
        reason: "Logstash's Java engine refuses a text in front of `=~` at start; its Ruby engine, and flowstone, compare \
                 it",
        applies: |case| {
            let left = case.text("condition").split(['=', '!']).next().unwrap_or_default().trim();
            case.failure() == Some(Failure::AtStart)
                && left.starts_with(['"', '\''])
                && ["=~", "!~"].iter().any(|operator| case.text("condition").contains(operator))
        },
        holds: |case, outcome| matches!(outcome, Outcome::Result { value, .. } if *value == case.get("expect")["result"]),
    },
    Rule {
        name: "no-such-filter",
        file: "conditionals",
        reason: "the section uses a filter that flowstone does not have, such as `clone` or `drop`: its topologies \
                 branch and filter by themselves",
        applies: |case| {
            logstash::filters(case.text("config_text")).is_ok_and(|section| has_unknown_filter(&section))
        },
        holds: |_, outcome| matches!(outcome, Outcome::Refused(why) if why.starts_with("no transform")),
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
        name: "integers-of-64-bits",
        file: "sprintf",
        reason: "an integer beyond 64 bits comes into an event by `grok` and `mutate`, which keep all its digits; a JSON \
                 text that holds one is refused as a whole",
        applies: |case| long_integer(case).is_some(),
        holds: |case, _| long_integer(case).is_some_and(keeps_its_digits),
    },
    Rule {
        name: "timestamp-below-the-filters",
        file: "field_reference",
        reason: "the original raises where `@timestamp` is set to a text; here the filters tag such an event, and the \
                 batch below them keeps what it is given",
        applies: |case| {
            case.option("op") == "set"
                && case.option("ref") == "@timestamp"
                && case.option("value").is_string()
        },
        holds: |case, outcome| matches!(outcome, Outcome::Document(document) if document.event["@timestamp"] == *case.option("value")),
    },
    Rule {
        name: "nearest-double",
        file: "json_wire",
        reason: "JRuby reads some texts as the double beside the nearest one (1e23 as 9.999999999999999E22); here it is \
                 the nearest",
        applies: |case| {
            let expected = nearest_double(&case.expected()["json_text"]);
            let given = nearest_double(&case.get("input")["grok_text"]);
            case.get("input")["coercion"] == "float"
                && given.is_some_and(|given| case.expected()["json_text"] != java_f64(given))
                && given == expected
        },
        holds: |case, outcome| {
            let spelled = nearest_double(&case.get("input")["grok_text"]).map(java_f64);
            matches!(outcome, Outcome::Result { value, .. } if value.as_str() == spelled.as_deref())
        },
    },
    Rule {
        name: "sign-of-far-years",
        file: "json_wire",
        reason: "the original writes years beyond 9999 without a sign, which Elasticsearch refuses; here with one, as \
                 ISO 8601 has it",
        applies: |case| case.get("input")["timestamp"].as_str().is_some_and(|text| text.starts_with('+')),
        holds: |case, outcome| {
            let signed = format!("\"{}\"", case.get("input")["timestamp"].as_str().unwrap_or_default());
            matches!(outcome, Outcome::Result { value, .. } if *value == signed.as_str())
        },
    },
    Rule {
        name: "unknown-type-refused",
        file: "grok",
        reason: "Logstash ignores a type it does not know, and the value stays text; here it is refused at start",
        applies: |case| {
            let is_unknown = |kind: &String| !matches!(kind.as_str(), "int" | "float");
            let places =
                [case.option("match"), case.option("pattern_definitions"), case.get("pattern_files")];
            case.failure().is_none() && places.into_iter().flat_map(grok_types).any(|kind| is_unknown(&kind))
        },
        holds: |_, outcome| matches!(outcome, Outcome::Refused(why) if why.contains("unknown type")),
    },
    Rule {
        name: "nothing-behind-the-type",
        file: "grok",
        reason: "Logstash ignores what a reference has behind its type; here it is refused at start",
        applies: |case| grok_parts(case.option("match")).iter().any(|parts| *parts > 3),
        holds: |_, outcome| matches!(outcome, Outcome::Refused(why) if why.contains("nothing can follow the type")),
    },
    Rule {
        name: "linear-time",
        file: "grok",
        reason: "what leads the original's engine astray until it gives up is matched here in linear time",
        applies: |case| timeout_tags(case, &case.expected()["tags"]).next().is_some(),
        holds: |case, outcome| match outcome {
            Outcome::Document(document) => timeout_tags(case, &document.event["tags"]).next().is_none(),
            _ => false,
        },
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
        name: "geoip-members-of-ones-own",
        file: "geoip",
        reason: "the original finds nothing where somebody gave a record a member of another type than its own class \
                 has; here a member that is not asked for does not matter",
        applies: |case| {
            !case.expected()["tags"].is_null() && record_of(case).is_some_and(|record| has_odd_flag(&record))
        },
        holds: |case, outcome| match outcome {
            Outcome::Document(document) => {
                let target = &document.event[case.option("target").as_str().unwrap_or("geoip")];
                document.event["tags"].is_null() && target.as_object().is_some_and(|found| !found.is_empty())
            }
            _ => false,
        },
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

/// The double nearest to the decimal number that a text is.
fn nearest_double(text: &Json) -> Option<f64> {
    text.as_str()?.parse().ok()
}

/// The digits of the integer that a template is expected to print and that 64 bits do not hold.
fn long_integer(case: &Case) -> Option<&str> {
    let digits = case.expected()["result"].as_str()?;
    (digits.parse::<u64>().is_err() && digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.len() > 19)
        .then_some(digits)
}

/// Whether an integer of that many digits is refused in a JSON text, and printed in full where a filter made it.
fn keeps_its_digits(digits: &str) -> bool {
    let mut batch = Batch::new(vec![RowId::of(b"one")]);
    let mut printed = String::new();
    batch.set(0, &Path::top("a"), Value::BigInt(digits.into())).is_ok()
        && Template::parse("%{a}").is_ok_and(|template| {
            template.render(batch.row(0), &mut printed);
            printed == digits
        })
        && parse_json(&mut digits.as_bytes().to_vec()).is_err()
}

fn is_counted(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Result { incomparable, .. } => *incomparable > 0,
        Outcome::Document(document) => document.incomparable > 0,
        _ => false,
    }
}

fn is_tagged(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Document(document)
        if document.event["tags"].as_array().is_some_and(|tags| !tags.is_empty()))
}

/// What the database of a case has for its address, whole.
fn record_of(case: &Case) -> Option<Json> {
    let folder = crate::folder("FLOWSTONE_GEO", "geo/cases").ok()??;
    let database = maxminddb::Reader::open_readfile(folder.join(case.option("database").as_str()?)).ok()?;
    let source = Path::parse(case.option("source").as_str()?).ok()?;
    let address = at(case.get("input"), &source)?.as_str()?.parse().ok()?;
    database.lookup(address).ok()?.decode().ok()?
}

/// Whether `is_in_european_union`, which is a flag, is a number anywhere in a record.
fn has_odd_flag(record: &Json) -> bool {
    record.as_object().is_some_and(|members| {
        members
            .iter()
            .any(|(name, value)| (name == "is_in_european_union" && value.is_number()) || has_odd_flag(value))
    })
}

/// The two fields of `[a] in [b]` and `[a] not in [b]`.
fn fields_of_in(condition: &str) -> Option<[Path; 2]> {
    let (left, right) = condition.split_once("in")?;
    let left = left.trim_end();
    let left = left.strip_suffix("not").unwrap_or(left);
    let field = |text: &str| match text.trim() {
        text if text.starts_with('[') && !text.contains(['"', ',']) => Path::parse(text).ok(),
        _ => None,
    };
    Some([field(left)?, field(right)?])
}

/// Whether a word of two letters or more stands before a parenthesis without being an operator.
fn has_function(condition: &str) -> bool {
    condition.match_indices('(').any(|(at, _)| {
        let before = condition[..at].trim_end();
        let word = before.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
        word.len() > 1 && !matches!(word, "and" | "or" | "xor" | "nand" | "in")
    })
}

/// The types that patterns give their captures: `%{NAME:field:type}`, `(?<name:field:type>...)`.
fn grok_types(patterns: &Json) -> Vec<String> {
    match patterns {
        Json::String(pattern) => {
            ["%{", "(?<"].iter().flat_map(|opening| types_behind(pattern, opening)).collect()
        }
        Json::Array(items) => items.iter().flat_map(grok_types).collect(),
        Json::Object(members) => members.values().flat_map(grok_types).collect(),
        _ => Vec::new(),
    }
}

fn types_behind(pattern: &str, opening: &str) -> Vec<String> {
    let types = names_behind(pattern, opening).filter_map(|name| name.split(':').nth(2));
    types.filter(|kind| !kind.is_empty()).map(str::to_owned).collect()
}

/// How many parts the names of references have that are patterns by themselves.
fn grok_parts(pattern: &Json) -> Vec<usize> {
    match pattern {
        Json::String(pattern) => {
            let names = names_behind(pattern, "%{").map(|name| name.trim_end_matches(':'));
            names.map(|name| name.split(':').count()).collect()
        }
        Json::Array(items) => items.iter().flat_map(grok_parts).collect(),
        Json::Object(members) => members.values().flat_map(grok_parts).collect(),
        _ => Vec::new(),
    }
}

/// The names of references or groups. What else stands in the braces is no part of the name.
fn names_behind<'p>(pattern: &'p str, opening: &'p str) -> impl Iterator<Item = &'p str> {
    let is_part = |c: char| matches!(c, 'A'..='z' | '0'..='9' | '@' | ':' | '.' | '-');
    pattern.split(opening).skip(1).map(move |rest| rest.split(|c| !is_part(c)).next().unwrap_or_default())
}

/// The tags of a document that the filter gives where matching takes too long.
fn timeout_tags<'a>(case: &'a Case, tags: &'a Json) -> impl Iterator<Item = &'a Json> {
    let tag = case.option("tag_on_timeout").as_str().unwrap_or("_groktimeout");
    tags.as_array().into_iter().flatten().filter(move |found| *found == tag)
}

/// Whether a filter section uses a filter that flowstone does not have.
fn has_unknown_filter(section: &[Statement]) -> bool {
    section.iter().any(|statement| match statement {
        Statement::Plugin { name, .. } => find(Kind::Transform, name).is_none(),
        Statement::If(branches) => branches.iter().any(|branch| has_unknown_filter(&branch.body)),
    })
}
