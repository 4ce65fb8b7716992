//! flowstone transform that parses AWS VPC Flow Log records.
//!
//! A line is split at its blanks and each value typed as its field: integers as integers, everything else as text that
//! points into the line, `-` as absent. What does not fit is rejected whole, with what was found and what was expected.

mod candidates;
mod community_id;
mod derive;
mod ecs;
mod field;
mod format;
mod judge;
mod names;
mod number;
mod parse;
mod protocols;
mod scan;
mod transform;

use flowstone_core::prelude::*;

use crate::field::DEFAULT_FORMAT;
use crate::format::Format;
pub use crate::names::{FieldNames, TimestampFrom};
pub use crate::transform::Vpcflow;

choices! {
    /// What to do with values beyond the last field of the format.
    pub enum ExtraFields {
        /// The line is rejected.
        Reject = "reject",
        /// They are left out.
        Ignore = "ignore",
    }
}

options! {
    /// Options of `vpcflow`.
    pub struct VpcflowOptions {
        /// The format of the lines as AWS spells it (`"${version} ${account-id} ..."`), or only the names
        /// (`account-id`, `account_id`); a field that is not documented is text. Give several, and each line takes the
        /// one it fits by the number of its values and by what they look like; a line that fits none, or more than
        /// one, is rejected. A record whose source knows its format (`[@metadata][flow_log_format]`: the header line
        /// of a file, AWS's own answer) is read by that format instead. The default is AWS's default, version 2. The
        /// time that a CloudWatch export puts in front of each line is left out: the record has its own.
        pub format: Vec<String> = vec![DEFAULT_FORMAT.to_owned()],
        /// What the fields are called: as AWS spells them (`account-id`), with underscores (`account_id`), or by the
        /// Elastic Common Schema (`cloud.account.id`).
        pub names: FieldNames = FieldNames::Aws,
        /// Where `@timestamp` comes from: `start`, the first packet; `end`, the last packet; `none`, leave it. If
        /// unset, it is `start`, and `end` with `names = "ecs"`, as Elastic does. It stays as it is where the line does
        /// not say.
        pub timestamp: Option<TimestampFrom> = None,
        /// What to do with values beyond the last field of the format.
        pub extra_fields: ExtraFields = ExtraFields::Reject,
        /// Keeps the line itself in the document once it is parsed.
        pub keep_message: bool = false,
        /// The field that holds the line.
        pub source: Path = Path::message(),
    }
}

register_transform! {
    "vpcflow",
    summary: "parses AWS VPC Flow Log records",
    options: VpcflowOptions,
    metrics: transform::VpcflowMetrics,
    example: "names = \"snake\"",
    build: |options: VpcflowOptions, _cx: &BuildCx| Ok(Box::new(Vpcflow::new(&options)?)),
}

/// Reads `format`, or says everything that is wrong with it.
fn read_formats(options: &VpcflowOptions) -> Result<Vec<Format>, Vec<BuildError>> {
    let mut formats: Vec<Format> = Vec::new();
    let mut errors = Vec::new();
    for (index, text) in options.format.iter().enumerate() {
        let error = |message: String| {
            let error = BuildError::option("format", message);
            if options.format.len() > 1 { error.at_index(index) } else { error }
        };
        match Format::parse(text) {
            Err(problem) => errors.push(
                error(problem.message)
                    .within(problem.start, problem.end)
                    .label("expected field names such as `${account-id}`, `account-id` or `account_id`"),
            ),
            Ok(format) => match formats.iter().find(|other| format.looks_like(other)) {
                Some(same) => errors.push(
                    error(format!("no line could tell this format from `{same}`"))
                        .label("its values look the same at every place")
                        .help("give the lines of each format a `vpcflow` transform of their own"),
                ),
                None => formats.push(format),
            },
        }
    }
    if options.format.is_empty() {
        errors.push(
            BuildError::option("format", "`format` names no format").label("expected at least one format"),
        );
    }
    if errors.is_empty() { Ok(formats) } else { Err(errors) }
}
