//! The options of `date`, with Logstash's names and defaults, and how they become a transform.

use std::sync::Arc;

use flowstone_core::event::Path;
use flowstone_core::{BuildCx, BuildError, Diagnostics, Node, NodeKind, OptionType, Transform, options};
use flowstone_dialect::{DateFormat, Template};

use crate::format::{Format, KEYWORDS};
use crate::names::LocaleNames;
use crate::transform::{Date, Spec, ZoneOption};
use crate::zone::Zone;

options! {
    /// Options of `date`.
    pub(crate) struct DateOptions {
        /// The field that holds the date, then the formats to try on it; the first that fits counts. A format is
        /// `UNIX` (seconds since 1970, a fraction too), `UNIX_MS` (milliseconds), `ISO8601`, `TAI64N` or a pattern in
        /// Joda-Time's letters (`dd/MMM/yyyy:HH:mm:ss Z`). A pattern without a year means this one, around new year
        /// the last or the next. An event without the field stays as it is, without a tag.
        r#match: Match,
        /// The field that becomes the instant.
        target: Path = Path::timestamp(),
        /// The time zone of dates that name none: an IANA name (`Europe/Paris`), an offset (`+09:00`), or a text with
        /// `%{field}` where each event names its own. Unset: the machine's (`TZ`, `/etc/localtime`).
        timezone: Option<Template> = None,
        /// The language of month and day names, as a BCP 47 tag: `fr`, `de-AT`. Unset: English. The names of every
        /// version of Java are read, long or short, and short ones with a dot or without (`Sep`, `Sept.`).
        locale: Option<String> = None,
        /// Tags of an event whose date no format fits.
        tag_on_failure: Vec<String> = vec!["_dateparsefailure".to_owned()],
    }
}

/// The field and the formats.
#[derive(Clone, Debug)]
pub(crate) struct Match(Vec<String>);

impl OptionType for Match {
    const TYPE: &'static str = <Vec<String>>::TYPE;

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        let words: Vec<String> = Vec::read(node, diagnostics)?;
        let NodeKind::Array(items) = &node.kind else { return Some(Self(words)) };
        for (item, word) in items.iter().zip(&words).skip(1) {
            for warning in DateFormat::parse(word).map_or(Vec::new(), |format| format.warnings()) {
                warning.warn("date-letters", item, diagnostics);
            }
        }
        Some(Self(words))
    }

    fn show(&self) -> String {
        self.0.show()
    }
}

/// Makes the transform, or says everything that is wrong.
pub(crate) fn build(options: DateOptions, _cx: &BuildCx) -> Result<Box<dyn Transform>, Vec<BuildError>> {
    let mut errors = Vec::new();
    let source = source(&options.r#match.0, &mut errors);
    let formats = formats(&options.r#match.0, &mut errors);
    let zone = zone(options.timezone, &mut errors);
    let names = names(options.locale.as_deref(), &mut errors);
    match (source, zone, names) {
        (Some(source), Some(zone), Some(names)) if errors.is_empty() => Ok(Box::new(Date::new(Spec {
            source,
            formats,
            target: options.target,
            zone,
            names,
            tags_on_failure: options.tag_on_failure.iter().map(|tag| Arc::from(tag.as_str())).collect(),
            machine: Zone::of_machine(),
        }))),
        _ => Err(errors),
    }
}

fn source(words: &[String], errors: &mut Vec<BuildError>) -> Option<Path> {
    let [field, _, ..] = words else {
        errors.push(
            BuildError::option("match", "a field and at least one format are needed")
                .label("expected `match = [\"field\", \"format\", ...]`"),
        );
        return None;
    };
    match Path::parse(field) {
        Ok(path) => Some(path),
        Err(error) => {
            errors.push(
                BuildError::option("match", format!("`{field}` is no field reference"))
                    .at_index(0)
                    .within(error.offset, error.offset + 1)
                    .label(error.message),
            );
            None
        }
    }
}

fn formats(words: &[String], errors: &mut Vec<BuildError>) -> Vec<Format> {
    let mut formats = Vec::new();
    for (index, word) in words.iter().enumerate().skip(1) {
        match Format::parse(word) {
            Ok(format) => formats.push(format),
            Err(error) => {
                let wrong = BuildError::option("match", error.message)
                    .at_index(index)
                    .within(error.start, error.end)
                    .label(error.label);
                errors.push(match KEYWORDS.iter().find(|keyword| keyword.eq_ignore_ascii_case(word)) {
                    Some(keyword) => {
                        wrong.help(format!("write `{keyword}`: anything else is read as a pattern"))
                    }
                    None => wrong,
                });
            }
        }
    }
    formats
}

fn zone(timezone: Option<Template>, errors: &mut Vec<BuildError>) -> Option<ZoneOption> {
    let Some(template) = timezone else { return Some(ZoneOption::Fixed(Zone::of_machine())) };
    let Some(name) = template.literal() else { return Some(ZoneOption::OfEvent(template)) };
    if let Some(zone) = Zone::find(name) {
        return Some(ZoneOption::Fixed(zone));
    }
    let label = match Zone::nearest(name).filter(|_| name.len() > 2) {
        Some(known) => format!("did you mean `{known}`?"),
        None => {
            "expected an IANA name such as `Europe/Paris`, an offset such as `+09:00`, or `UTC`".to_owned()
        }
    };
    errors.push(BuildError::option("timezone", format!("`{name}` is no time zone")).label(label));
    None
}

fn names(locale: Option<&str>, errors: &mut Vec<BuildError>) -> Option<LocaleNames> {
    let Some(locale) = locale else { return Some(LocaleNames::english()) };
    let names = LocaleNames::of(locale);
    if names.is_none() {
        let label = match LocaleNames::nearest(locale) {
            Some(known) => format!("did you mean `{known}`?"),
            None => "expected a language tag such as `en`, `fr` or `de-AT`".to_owned(),
        };
        errors.push(BuildError::option("locale", format!("no names are known for `{locale}`")).label(label));
    }
    names
}
