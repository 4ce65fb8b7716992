//! Where reading begins at the very first start.

use std::time::Duration;

use flowstone_core::event::{format_iso_millis, parse_iso_millis};
use flowstone_core::{Diagnostics, Node, OptionType, parse_duration, show_duration};

use crate::options::millis;

/// Where reading begins at the very first start, by the events' own time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartPosition {
    /// With the first event that there is.
    Beginning,
    /// With events of after the first start.
    End,
    /// So long before the first start.
    Before(Duration),
    /// At this time, in milliseconds since the epoch.
    At(i64),
}

/// AWS refuses requests of clocks that are off by more (Signature Version 4).
const CLOCK_WRONG_BY_MS: i64 = 300_000;
// === impl StartPosition ===

impl StartPosition {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "beginning" => Some(Self::Beginning),
            "end" => Some(Self::End),
            _ => match text.strip_prefix('-') {
                Some(span) => parse_duration(span).map(Self::Before),
                None => parse_iso_millis(text).map(Self::At),
            },
        }
    }

    /// The first event time to read. `first_start_ms` is when the source was started first by this machine's clock,
    /// `oldest_ms` a time before which there is nothing.
    pub fn begins_at(self, first_start_ms: i64, oldest_ms: i64) -> i64 {
        // The clock may be ahead by as much as AWS lets it: rather some minutes too early than an event not read.
        let first_start_ms = first_start_ms - CLOCK_WRONG_BY_MS;
        match self {
            Self::Beginning => oldest_ms,
            Self::End => first_start_ms,
            Self::Before(span) => first_start_ms.saturating_sub(millis(span)),
            Self::At(at_ms) => at_ms,
        }
    }
}

impl OptionType for StartPosition {
    const TYPE: &'static str = "`\"beginning\"`, `\"end\"`, a duration before the start or a time";

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        const EXPECTED: &str =
            "\"beginning\", \"end\", a duration such as \"-2h\" or a time such as \"2026-05-30T12:00:00Z\"";
        let Some(text) = node.as_str() else {
            node.expected(EXPECTED, diagnostics);
            return None;
        };
        let position = Self::parse(text);
        if position.is_none() {
            node.invalid(
                format!("{text:?} is no start position"),
                format!("expected {EXPECTED}"),
                diagnostics,
            );
        }
        position
    }

    fn show(&self) -> String {
        match self {
            Self::Beginning => "\"beginning\"".to_owned(),
            Self::End => "\"end\"".to_owned(),
            Self::Before(span) => format!("\"-{}\"", show_duration(*span)),
            Self::At(at_ms) => format!("\"{}\"", format_iso_millis(*at_ms)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_positions_are_words_durations_and_times() {
        for (text, expect) in [
            ("beginning", Some(StartPosition::Beginning)),
            ("end", Some(StartPosition::End)),
            ("-2h", Some(StartPosition::Before(Duration::from_secs(7200)))),
            ("2026-05-30T12:00:00Z", Some(StartPosition::At(1_780_142_400_000))),
            ("2h", None),
            ("--2h", None),
            ("yesterday", None),
        ] {
            assert_eq!(StartPosition::parse(text), expect, "{text}");
        }
        assert_eq!(StartPosition::Before(Duration::from_secs(7200)).show(), "\"-2h\"");
    }
}
