//! The service's time, and how HTTP spells it.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use flowstone_event::Civil;

/// The time of a simulated service: it goes on by itself from where it was set.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Instant,
    begins_ms: i64,
    speed: f64,
}

// === impl Clock ===

impl Clock {
    /// The time of this machine.
    pub fn wall() -> Self {
        Self::at(wall_ms())
    }

    /// A clock that shows this instant now, in milliseconds since the epoch.
    pub fn at(begins_ms: i64) -> Self {
        Self { began: Instant::now(), begins_ms, speed: 1.0 }
    }

    /// The same clock, so many times as fast.
    #[must_use]
    pub fn speed(self, speed: f64) -> Self {
        Self { speed, ..self }
    }

    /// What it shows, in milliseconds since the epoch.
    pub fn now_ms(&self) -> i64 {
        self.begins_ms + (self.began.elapsed().as_secs_f64() * 1000.0 * self.speed) as i64
    }
}

/// The time of this machine in milliseconds since the epoch.
pub(super) fn wall_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// A `Date` header: `Sat, 28 Nov 2026 03:58:11 GMT` (RFC 9110, 5.6.7).
pub(super) fn http_date(ms: i64) -> String {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let at = Civil::from_millis(ms);
    format!(
        "{}, {:02} {} {} {:02}:{:02}:{:02} GMT",
        DAYS[usize::from(at.weekday()) - 1],
        at.day,
        MONTHS[usize::from(at.month) - 1],
        at.year,
        at.hour,
        at.minute,
        at.second
    )
}

/// A time of SigV4: `20261128T035811Z`.
pub(super) fn amz_date(ms: i64) -> String {
    let at = Civil::from_millis(ms);
    format!("{:04}{:02}{:02}T{:02}{:02}{:02}Z", at.year, at.month, at.day, at.hour, at.minute, at.second)
}

/// What [`amz_date`] wrote.
pub(super) fn parse_amz_date(text: &str) -> Option<i64> {
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<u16>().ok();
    let byte = |from: usize| Some(part(from, from + 2)? as u8);
    if text.len() != 16 || text.get(8..9)? != "T" || !text.ends_with('Z') {
        return None;
    }
    Some(Civil::to_millis(part(0, 4)?.into(), byte(4)?, byte(6)?, byte(9)?, byte(11)?, byte(13)?, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_spelled_as_http_and_sigv4_spell_them() {
        let ms = 1_795_838_291_999; // date -u -d @1795838291
        assert_eq!(http_date(ms), "Sat, 28 Nov 2026 03:58:11 GMT");
        assert_eq!(amz_date(ms), "20261128T035811Z");
        assert_eq!(parse_amz_date("20261128T035811Z"), Some(1_795_838_291_000));
        assert_eq!(parse_amz_date("2026-11-28T03:58"), None);
    }

    #[test]
    fn a_clock_goes_on_from_where_it_was_set() {
        let clock = Clock::at(1_000_000).speed(1000.0);
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(clock.now_ms() >= 1_020_000);
    }
}
