//! Time zones by the names that Joda-Time knows: IANA names and offsets (`+09:00`).

use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase};

use crate::offset::parse_offset;

/// A time zone.
#[derive(Clone, Debug)]
pub(crate) enum Zone {
    /// Always this many milliseconds east of UTC.
    Fixed(i64),
    /// With its history.
    Named(TimeZone),
}

/// The offsets that Joda-Time gives to American abbreviations, and UTC's other names: what `z` can read.
pub(crate) const ABBREVIATIONS: [(&str, &str); 11] = [
    ("UT", "UTC"),
    ("UTC", "UTC"),
    ("GMT", "UTC"),
    ("EST", "America/New_York"),
    ("EDT", "America/New_York"),
    ("CST", "America/Chicago"),
    ("CDT", "America/Chicago"),
    ("MST", "America/Denver"),
    ("MDT", "America/Denver"),
    ("PST", "America/Los_Angeles"),
    ("PDT", "America/Los_Angeles"),
];

/// Every zone's name, sorted.
static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let available = database().available();
    let mut names: Vec<String> =
        available.map(|name| name.as_str().to_owned()).filter(|name| is_of_iana(name)).collect();
    names.push("UTC".to_owned());
    names.sort_unstable();
    names.dedup();
    names
});

// === impl Zone ===

impl Zone {
    /// Coordinated Universal Time.
    pub(crate) const UTC: Self = Self::Fixed(0);

    /// The zone of the machine (`TZ`, `/etc/localtime`), the default of Logstash.
    pub(crate) fn of_machine() -> Self {
        Self::of(TimeZone::system())
    }

    /// The zone of that name; names are case-sensitive, as in Joda-Time. An offset may stand behind `UTC`, `GMT` or `UT`.
    pub(crate) fn find(name: &str) -> Option<Self> {
        if matches!(name, "UTC" | "UT" | "GMT" | "Z") {
            return Some(Self::UTC);
        }
        let offset = ["UTC", "GMT", "UT"].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
        if offset.starts_with(['+', '-']) {
            let (millis, len) = parse_offset(offset)?;
            return (len == offset.len()).then_some(Self::Fixed(millis));
        }
        if !is_of_iana(name) {
            return None;
        }
        let zone = database().get(name).ok()?;
        (zone.iana_name() == Some(name)).then(|| Self::of(zone))
    }

    /// The longest zone name at the start of `text`, and its zone. Late versions of Joda-Time look for it up to the last
    /// slash of the whole text, and find none in `CET 7/2019`; this one does not.
    pub(crate) fn at_start_of(text: &str) -> Option<(Self, usize)> {
        let first = text.chars().next()?;
        let from = NAMES.partition_point(|name| name.chars().next() < Some(first));
        let same_letter = NAMES[from..].iter().take_while(|name| name.starts_with(first));
        let name =
            same_letter.filter(|name| text.starts_with(name.as_str())).max_by_key(|name| name.len())?;
        Some((Self::find(name)?, name.len()))
    }

    /// The name that was probably meant.
    pub(crate) fn nearest(name: &str) -> Option<&'static str> {
        flowstone_core::nearest(name, NAMES.iter().map(String::as_str))
    }

    fn of(zone: TimeZone) -> Self {
        match zone.to_fixed_offset() {
            Ok(offset) => Self::Fixed(i64::from(offset.seconds()) * 1000),
            Err(_) => Self::Named(zone),
        }
    }

    /// How far the zone is east of UTC at an instant, in milliseconds.
    pub(crate) fn offset_at(&self, instant: i64) -> i64 {
        match self {
            Self::Fixed(offset) => *offset,
            Self::Named(zone) => millis(zone.to_offset(timestamp(instant))),
        }
    }

    /// The instant of a local time; the earlier one of two when clocks go back, none when they skip it.
    pub(crate) fn instant_of(&self, local: i64) -> Option<i64> {
        match self {
            Self::Fixed(offset) => local.checked_sub(*offset),
            Self::Named(zone) => match ambiguous(zone, local) {
                AmbiguousOffset::Unambiguous { offset } => local.checked_sub(millis(offset)),
                AmbiguousOffset::Fold { before, .. } => local.checked_sub(millis(before)),
                AmbiguousOffset::Gap { .. } => None,
            },
        }
    }

    /// The instant of a local time that comes from an instant with another year: near `instant`'s offset, and moved
    /// on where clocks skip it.
    pub(crate) fn instant_near(&self, local: i64, instant: i64) -> Option<i64> {
        let offset = self.offset_at(instant);
        let same = local.checked_sub(offset)?;
        if self.offset_at(same) == offset {
            return Some(same);
        }
        match self {
            Self::Named(zone) => match ambiguous(zone, local) {
                AmbiguousOffset::Gap { before, .. } => local.checked_sub(millis(before)),
                _ => self.instant_of(local),
            },
            Self::Fixed(_) => Some(same),
        }
    }
}

/// Whether a name of the machine's database is one of the IANA's, not a copy of the whole under another rule for leap
/// seconds or a file for the machine's own use.
fn is_of_iana(name: &str) -> bool {
    !(name.starts_with("posix") || name.starts_with("right/") || matches!(name, "Factory" | "localtime"))
}

fn database() -> &'static TimeZoneDatabase {
    jiff::tz::db()
}

fn millis(offset: Offset) -> i64 {
    i64::from(offset.seconds()) * 1000
}

/// jiff's time ends with the year 9999; beyond it the last known rules go on, and they and the calendar are the same
/// every 400 years.
fn timestamp(instant: i64) -> Timestamp {
    const YEARS_400: i64 = 146_097 * 86_400_000;
    /// 9999-01-01: far enough from the end for every zone.
    const LAST: i64 = 253_370_764_800_000;
    let within =
        if instant >= LAST { instant - ((instant - LAST) / YEARS_400 + 1) * YEARS_400 } else { instant };
    let clamped = within.max(Timestamp::MIN.as_millisecond());
    Timestamp::from_millisecond(clamped).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn ambiguous(zone: &TimeZone, local: i64) -> AmbiguousOffset {
    // A local time is a date of UTC's calendar with another name.
    let date = Offset::UTC.to_datetime(timestamp(local));
    zone.to_ambiguous_timestamp(date.clamp(DateTime::MIN, DateTime::MAX)).offset()
}

#[cfg(test)]
mod tests {
    use flowstone_core::event::{format_iso_millis, parse_iso_millis};

    use super::*;

    fn local(text: &str) -> i64 {
        parse_iso_millis(&format!("{text}Z")).unwrap()
    }

    /// The first of a month.
    fn calendar_day(year: i64, month: u8) -> i64 {
        flowstone_core::event::Civil::to_millis(year, month, 1, 0, 0, 0, 0)
    }

    fn check(zone: &str, time: &str, expect: Option<&str>) {
        let instant = Zone::find(zone).unwrap().instant_of(local(time)).map(format_iso_millis);
        assert_eq!(instant, expect.map(|text| format!("{text}.000Z")), "{time} in {zone}");
    }

    #[test]
    fn local_times_become_instants() {
        for (zone, time, expect) in [
            ("America/New_York", "2019-02-24T09:58:29", Some("2019-02-24T14:58:29")),
            ("America/New_York", "2019-03-10T02:30:00", None),
            ("America/New_York", "2019-11-03T01:30:00", Some("2019-11-03T05:30:00")),
            ("Asia/Tokyo", "2019-02-24T09:58:29", Some("2019-02-24T00:58:29")),
            ("+05:30", "2019-02-24T09:58:29", Some("2019-02-24T04:28:29")),
            ("UTC-02:30", "2019-02-24T09:58:29", Some("2019-02-24T12:28:29")),
            ("GMT+03", "2019-02-24T09:58:29", Some("2019-02-24T06:58:29")),
            ("Z", "2019-02-24T09:58:29", Some("2019-02-24T09:58:29")),
        ] {
            check(zone, time, expect);
        }
    }

    #[test]
    fn names_are_case_sensitive_and_nothing_else_is_a_zone() {
        for name in [
            "asia/tokyo",
            "Nowhere/Bad",
            "",
            "%{tz}",
            "+25:00",
            "+09:00x",
            "utc",
            "GMT+",
            "UTC+3",
            "PST",
            "posix/Asia/Tokyo",
            "Factory",
        ] {
            assert!(Zone::find(name).is_none(), "{name}");
        }
        assert_eq!(Zone::nearest("Asia/Tokio"), Some("Asia/Tokyo"));
    }

    #[test]
    fn the_longest_name_is_read() {
        for (text, expect) in
            [("Asia/Tokyo]", Some(10)), ("Etc/GMT+10 x", Some(10)), ("UTC", Some(3)), ("Xyz", None)]
        {
            assert_eq!(Zone::at_start_of(text).map(|(_, len)| len), expect, "{text}");
        }
    }

    #[test]
    fn far_times_have_the_last_offset() {
        check("America/New_York", "9999-07-24T09:58:29", Some("9999-07-24T13:58:29"));
        let zone = Zone::find("America/New_York").unwrap();
        let summer = calendar_day(12_019, 7);
        assert_eq!(zone.instant_of(summer), Some(summer + 4 * 3_600_000));
        let winter = calendar_day(12_019, 1);
        assert_eq!(zone.instant_of(winter), Some(winter + 5 * 3_600_000));
        assert_eq!(zone.offset_at(winter), -5 * 3_600_000);
        let zone = Zone::find("Asia/Tokyo").unwrap();
        assert_eq!(zone.instant_of(i64::MAX / 2), Some(i64::MAX / 2 - 9 * 3_600_000));
        assert!(zone.instant_of(i64::MIN / 2).is_some());
    }
}
