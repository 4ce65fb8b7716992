//! The options of `grok`, with Logstash's names and defaults, and how they become a transform.

use std::sync::Arc;
use std::time::Duration;

use flowstone_core::event::Path;
use flowstone_core::{BuildCx, BuildError, Transform, choices, options};
use flowstone_dialect::regex::{PatternError, Source};
use indexmap::IndexMap;

use crate::columns::Layout;
use crate::library::{Definition, Library, Origin, Shipped};
use crate::pattern::Pattern;
use crate::transform::{Grok, Source as Matched, Spec};

options! {
    /// Options of `grok`.
    pub(crate) struct GrokOptions {
        /// Fields and the patterns to match against them, each one pattern or a list. Patterns are regular expressions
        /// in Oniguruma's syntax in which `%{NAME:field}` stands for a pattern of the library whose text becomes a
        /// field, `%{NAME:field:int}` and `%{NAME:field:float}` a number.
        r#match: IndexMap<String, Vec<String>>,
        /// Pattern files, directories of them, and glob patterns; each line is a name and an expression. Later
        /// definitions replace earlier ones.
        patterns_dir: Vec<String> = Vec::new(),
        /// Which files of a directory in `patterns_dir` are pattern files.
        patterns_files_glob: String = "*".to_owned(),
        /// Patterns by name; they replace those of the same name from files.
        pattern_definitions: IndexMap<String, String> = IndexMap::new(),
        /// Stop at the first pattern that matches. Otherwise every pattern of every field is tried and all captures
        /// are kept; whether a field matched is what its last pattern says.
        break_on_match: bool = true,
        /// Only `%{NAME:field}` and `(?<name>...)` become fields; otherwise `%{NAME}` becomes the field `NAME`.
        named_captures_only: bool = true,
        /// Keep captures that are empty (`""`) or did not take part (null).
        keep_empty_captures: bool = false,
        /// Tags of an event that no pattern matched.
        tag_on_failure: Vec<String> = vec!["_grokparsefailure".to_owned()],
        /// Milliseconds that matching may take; 0 for as long as it takes.
        timeout_millis: u64 = 30_000,
        /// The tag of an event whose matching took too long. It gets no `tag_on_failure`.
        tag_on_timeout: String = "_groktimeout".to_owned(),
        /// Whether `timeout_millis` is for one pattern or for all that are tried on an event.
        timeout_scope: TimeoutScope = TimeoutScope::Pattern,
        /// Fields that a capture replaces; otherwise it is added to what is there, which becomes a list.
        overwrite: Vec<Path> = Vec::new(),
        /// The field below which the captures go.
        target: Option<Path> = None,
        /// The names that the fields of the shipped patterns have: Logstash's own (`clientip`), or those of the
        /// Elastic Common Schema (`[source][ip]`).
        ecs_compatibility: EcsCompatibility = EcsCompatibility::Disabled,
    }
}

choices! {
    /// What `timeout_millis` is for.
    pub(crate) enum TimeoutScope {
        /// One pattern.
        Pattern = "pattern",
        /// All patterns tried on an event.
        Event = "event",
    }
}

choices! {
    /// Which shipped patterns.
    pub(crate) enum EcsCompatibility {
        /// Logstash's own names.
        Disabled = "disabled",
        /// The Elastic Common Schema.
        V1 = "v1",
        /// The same patterns as `v1`.
        V8 = "v8",
    }
}

/// Makes the transform, or says everything that is wrong.
pub(crate) fn build(options: GrokOptions, cx: &BuildCx) -> Result<Box<dyn Transform>, Vec<BuildError>> {
    let mut errors = Vec::new();
    let library = library(&options, &mut errors);
    let mut sources = Vec::new();
    for (field, texts) in &options.r#match {
        let option = format!("match.{field}");
        let path = match Path::parse(field) {
            Ok(path) => path,
            Err(error) => {
                errors.push(
                    BuildError::option(&option, format!("`{field}` is no field reference"))
                        .label(error.message),
                );
                continue;
            }
        };
        let mut patterns = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            match Pattern::new(text, &library, options.named_captures_only) {
                Ok(pattern) => {
                    tracing::info!(component = %cx.id, field, pattern = text, engine = %pattern.engine(), "grok pattern compiled");
                    for name in pattern.half_converted() {
                        tracing::warn!(component = %cx.id, field, name, "a capture with a type occurs several times in one pattern; only the first is converted");
                    }
                    patterns.push(pattern);
                }
                Err(error) => {
                    let all = with_further(error, text, &library, options.named_captures_only);
                    errors.extend(all.into_iter().map(|it| build_error(it, &library, &option, index)));
                }
            }
        }
        let first = sources.iter().map(|source: &Matched| source.patterns.len()).sum();
        sources.push(Matched { path, patterns, first });
    }
    if options.r#match.values().all(Vec::is_empty) {
        errors.push(
            BuildError::option("match", "there is nothing to match")
                .label("expected `match = { field = \"pattern\" }`"),
        );
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let target = options.target.as_ref();
    for pattern in sources.iter_mut().flat_map(|source| &mut source.patterns) {
        pattern.place(target, &options.overwrite);
    }
    let limit = (options.timeout_millis > 0).then(|| Duration::from_millis(options.timeout_millis));
    Ok(Box::new(Grok::new(Spec {
        layout: Layout::new(&sources, options.keep_empty_captures),
        sources,
        break_on_match: options.break_on_match,
        keep_empty: options.keep_empty_captures,
        tags_on_failure: options.tag_on_failure.iter().map(|tag| Arc::from(tag.as_str())).collect(),
        tag_on_timeout: options.tag_on_timeout.as_str().into(),
        limit,
        limit_is_per_event: options.timeout_scope == TimeoutScope::Event,
    })))
}

fn library(options: &GrokOptions, errors: &mut Vec<BuildError>) -> Library {
    let mut library = Library::shipped(match options.ecs_compatibility {
        EcsCompatibility::Disabled => Shipped::Legacy,
        EcsCompatibility::V1 | EcsCompatibility::V8 => Shipped::Ecs,
    });
    for (index, place) in options.patterns_dir.iter().enumerate() {
        if let Err(error) = library.add_place(place, &options.patterns_files_glob) {
            errors.push(BuildError::option("patterns_dir", error.message).at_index(index).label(error.label));
        }
    }
    for (name, text) in &options.pattern_definitions {
        if name.is_empty() || !name.bytes().all(|byte| matches!(byte, b'A'..=b'z' | b'0'..=b'9')) {
            errors.push(
                BuildError::option(
                    format!("pattern_definitions.{name}"),
                    format!("`{name}` cannot be the name of a pattern"),
                )
                .label("expected letters, digits and `_`"),
            );
        }
        library.define(name, Definition { text: text.as_str().into(), origin: Origin::Option });
    }
    library
}

/// Beside what is wrong with a pattern what is wrong behind it, where that is a reference: any text could stand there.
fn with_further(
    first: PatternError,
    text: &str,
    library: &Library,
    named_captures_only: bool,
) -> Vec<PatternError> {
    let (mut text, mut next, mut all) = (text.to_owned(), Some(first), Vec::new());
    while let Some(error) = next.take() {
        if error.source == Source::Pattern
            && let Some(open) = text[..error.start].rfind("%{")
            && let Some(length) = text[open..].find('}')
            && error.start < open + length
        {
            text.replace_range(open..=open + length, &".".repeat(length + 1));
            next = Pattern::new(&text, library, named_captures_only).err();
        }
        all.push(error);
    }
    all
}

/// Points at the pattern, or at the definition that is to blame.
fn build_error(error: PatternError, library: &Library, option: &str, index: usize) -> BuildError {
    let PatternError { source, start, end, message, label, help } = error;
    let at_fault = match source {
        Source::Pattern => {
            BuildError::option(option, message).at_index(index).within(start, end).label(label)
        }
        Source::Definition { name, text } => match library.origin(&name) {
            Some(Origin::File { path, line, column }) => {
                let place = format!("{path}:{line}:{}", column + start + 1);
                let mut fault =
                    BuildError::option(option, format!("{place}: in pattern `{name}`: {message}"))
                        .at_index(index)
                        .label("this needs the pattern");
                fault.help = Some(excerpt(&text, start, end, &label));
                fault
            }
            Some(Origin::Option) | None => BuildError::option(format!("pattern_definitions.{name}"), message)
                .within(start, end)
                .label(label),
        },
    };
    match help {
        Some(help) => at_fault.help(help),
        None => at_fault,
    }
}

/// The expression around the place, with a caret below it: what the configuration's diagnostics do for its own text.
fn excerpt(text: &str, start: usize, end: usize, label: &str) -> String {
    const AROUND: usize = 40;
    let from = text[..start].char_indices().rev().nth(AROUND - 1).map_or(0, |(at, _)| at);
    let to = text[end.min(text.len())..].char_indices().nth(AROUND).map_or(text.len(), |(at, _)| end + at);
    let caret = " ".repeat(text[from..start].chars().count());
    let length = text.get(start..end).map_or(1, |marked| marked.chars().count().max(1));
    format!("{}\n{caret}{} {label}", &text[from..to], "^".repeat(length))
}
