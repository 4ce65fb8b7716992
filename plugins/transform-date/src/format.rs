//! One format of `match`: what it makes of a number, what of a text.

use flowstone_core::event::Civil;
use flowstone_dialect::{DateFormat, ExprError};

use crate::bucket::Bucket;
use crate::calendar::set_year;
use crate::epoch::{tai64n, unix_float, unix_ms_float, unix_ms_text, unix_number, unix_text};
use crate::iso::{Iso8601, usual};
use crate::names::LocaleNames;
use crate::pattern::{Pattern, Surroundings};
use crate::zone::Zone;

/// The formats that are no patterns. Their names are spelled exactly so.
pub(crate) const KEYWORDS: [&str; 4] = ["UNIX", "UNIX_MS", "ISO8601", "TAI64N"];

/// A format, ready to read.
#[derive(Clone, Debug)]
pub(crate) enum Format {
    /// Seconds since the epoch.
    Unix,
    /// Milliseconds since the epoch.
    UnixMs,
    /// Seconds and nanoseconds since the epoch in hexadecimal digits, ten leap seconds ahead.
    Tai64n,
    /// A date on the calendar, which needs a time zone to become an instant.
    Calendar(CalendarFormat),
}

/// A format of dates on the calendar.
#[derive(Clone, Debug)]
pub(crate) enum CalendarFormat {
    /// Joda-Time's reading of ISO 8601.
    Iso8601(Iso8601),
    /// A pattern in Joda-Time's letters.
    Pattern(Pattern),
}

/// What a date on the calendar means depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Around<'a> {
    /// The names of months and days.
    pub(crate) names: &'a LocaleNames,
    /// The zone of a text that names none.
    pub(crate) zone: &'a Zone,
    /// The present, for years that a text does not say in full.
    pub(crate) now: Now,
}

/// The present on the machine's calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    pub(crate) year: i64,
    /// The year to which the ISO week belongs.
    pub(crate) week_year: i64,
    /// 1 to 12.
    pub(crate) month: i64,
}

// === impl Format ===

impl Format {
    /// Reads a format. The error points into the pattern.
    pub(crate) fn parse(text: &str) -> Result<Self, ExprError> {
        Ok(match text {
            "UNIX" => Self::Unix,
            "UNIX_MS" => Self::UnixMs,
            "TAI64N" => Self::Tai64n,
            "ISO8601" => Self::Calendar(CalendarFormat::Iso8601(Iso8601::new())),
            pattern => {
                let format = DateFormat::parse(pattern)?;
                Self::Calendar(CalendarFormat::Pattern(Pattern::new(pattern, &format)))
            }
        })
    }

    /// The instant that an integer means.
    #[inline]
    pub(crate) fn of_int(&self, value: i64) -> Option<i64> {
        match self {
            Self::Unix => unix_number(value),
            Self::UnixMs => Some(value),
            Self::Tai64n | Self::Calendar(_) => None,
        }
    }

    /// The instant that a float means.
    #[inline]
    pub(crate) fn of_float(&self, value: f64) -> Option<i64> {
        match self {
            Self::Unix => unix_float(value),
            Self::UnixMs => unix_ms_float(value),
            Self::Tai64n | Self::Calendar(_) => None,
        }
    }

    /// The instant that a text means; `calendar` is asked where it is a date on the calendar.
    #[inline]
    pub(crate) fn of_text(
        &self,
        text: &str,
        calendar: impl FnOnce(&CalendarFormat) -> Option<i64>,
    ) -> Option<i64> {
        match self {
            Self::Unix => unix_text(text),
            Self::UnixMs => unix_ms_text(text),
            Self::Tai64n => tai64n(text),
            Self::Calendar(format) => calendar(format),
        }
    }
}

// === impl CalendarFormat ===

impl CalendarFormat {
    /// The instant that the whole of `text` means.
    pub(crate) fn instant(&self, text: &str, around: Around<'_>, bucket: &mut Bucket) -> Option<i64> {
        if let Self::Iso8601(_) = self
            && let Some(instant) = usual(text)
        {
            return Some(instant);
        }
        let Now { year, week_year, .. } = around.now;
        let surroundings = Surroundings { names: around.names, year, week_year };
        bucket.clear();
        match self {
            Self::Iso8601(iso) => iso.read(text, surroundings, bucket, |bucket| {
                let local = bucket.local(ISO_DEFAULT_YEAR)?;
                bucket.zone().unwrap_or(around.zone).instant_of(local)
            }),
            Self::Pattern(pattern) => {
                if !pattern.read(text, surroundings, bucket) {
                    return None;
                }
                let local = bucket.local(around.now.year)?;
                if pattern.has_year {
                    return bucket.zone().unwrap_or(around.zone).instant_of(local);
                }
                in_guessed_year(local, pattern.has_zone, bucket.zone(), around)
            }
        }
    }
}

/// Joda-Time's year where a text has none. ISO 8601 always has one, or no date at all.
const ISO_DEFAULT_YEAR: i64 = 2000;

/// A date without a year, read as one of this year, moved into the year that is nearest around new year.
///
/// A pattern with `Z` is first an instant; the month is then that of `zone`. Any other zone in the text (`z`) does not
/// count, as in Logstash, but what it skips is still no time.
fn in_guessed_year(local: i64, has_zone: bool, named: Option<&Zone>, around: Around<'_>) -> Option<i64> {
    let Around { zone, now, .. } = around;
    let instant = if has_zone {
        named.unwrap_or(zone).instant_of(local)?
    } else {
        if let Some(named) = named {
            named.instant_of(local)?;
        }
        zone.instant_of(local)?
    };
    let local = instant.checked_add(zone.offset_at(instant))?;
    let civil = Civil::from_millis(local);
    let year = match (civil.month, now.month) {
        (12, 1) => now.year - 1,
        (1, 12) => now.year + 1,
        _ => now.year,
    };
    if civil.year == year {
        return Some(instant);
    }
    let moved = zone.instant_near(set_year(local, year)?, instant)?;
    // Where clocks skip the turn of a year, the date would be in another one.
    let landed = Civil::from_millis(moved.checked_add(zone.offset_at(moved))?).year;
    (landed == year).then_some(moved)
}

// === impl Now ===

impl Now {
    /// The year and the month of an instant in a zone.
    pub(crate) fn at(instant: i64, zone: &Zone) -> Self {
        let local = instant.saturating_add(zone.offset_at(instant));
        let civil = Civil::from_millis(local);
        Self { year: civil.year, week_year: civil.iso_week().0, month: i64::from(civil.month) }
    }
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
