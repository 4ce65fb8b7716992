//! Entries of the checkpoint as lines of text: `CHECKSUM {"p":"ACCOUNT/REGION/GROUP", ...}`.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flowstone_aws::EventKey;
use flowstone_core::event::format_iso_millis;
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use super::{OtherVersion, ReadReport};
use crate::ledger::{Change, Facts, Minutes, Quantiles, Restored, decode_ids, encode_ids};

/// The version of the format; a file with another one is not read.
pub(super) const VERSION: u64 = 1;
/// Event ids on one line at most, so that no line is longer than 200 kB.
const KEYS_PER_LINE: usize = 8192;

/// The first line of a file.
pub(super) fn header(source: &str, now_ms: i64) -> Vec<u8> {
    line(&json!({ "v": VERSION, "source": source, "written": format_iso_millis(now_ms) }))
}

/// Writes an entry as one line, or as several where it holds many ids.
pub(super) fn write(partition: &str, change: Change, mut each: impl FnMut(Vec<u8>)) {
    match change {
        Change::Opened { from_ms, lateness, audited_to } => {
            let lateness =
                lateness.map(|q| json!({ "q50": q.q50, "q90": q.q90, "q99": q.q99, "q999": q.q999 }));
            each(line(
                &json!({ "p": partition, "from": from_ms, "lateness_ms": lateness, "audited_to": audited_to }),
            ));
        }
        Change::Gone { since_ms } => each(line(&json!({ "p": partition, "gone": since_ms }))),
        Change::Done { start, end } => each(line(&json!({ "p": partition, "done": [start, end] }))),
        Change::Ids { start, end, keys } => {
            for keys in keys.chunks(KEYS_PER_LINE) {
                each(line(&json!({ "p": partition, "slice": [start, end], "delivered": ids(keys) })));
            }
        }
        Change::Slice { start, end, facts } => {
            let keys: Vec<EventKey> = facts.ids.iter().collect();
            let (parts, last) = keys.split_at(keys.len() / KEYS_PER_LINE * KEYS_PER_LINE);
            for keys in parts.chunks(KEYS_PER_LINE) {
                each(line(&json!({ "p": partition, "slice": [start, end], "part": ids(keys) })));
            }
            each(line(&json!({
                "p": partition,
                "slice": [start, end],
                "scans": facts.scans,
                "through": facts.watermark,
                "exact": facts.exact,
                "sealed": facts.sealed,
                "put_off": facts.put_off,
                "minutes": facts.minutes.0,
                "parts": parts.len() / KEYS_PER_LINE,
                "ids": ids(last),
            })));
        }
    }
}

fn ids(keys: &[EventKey]) -> String {
    let mut bytes = Vec::new();
    encode_ids(keys.iter().copied(), &mut bytes);
    BASE64.encode(bytes)
}

fn line(value: &Value) -> Vec<u8> {
    let text = value.to_string();
    format!("{:016x} {text}\n", xxh3_64(text.as_bytes())).into_bytes()
}

/// Reads a file's lines into what is known of each partition.
pub(super) fn read(
    content: &[u8],
    known: &mut BTreeMap<String, Restored>,
) -> Result<ReadReport, OtherVersion> {
    let mut report = ReadReport::default();
    let mut parts: HashMap<(String, i64, i64), Vec<Vec<EventKey>>> = HashMap::new();
    for line in content.split_inclusive(|&byte| byte == b'\n') {
        if !line.ends_with(b"\n") {
            report.unterminated += 1;
            continue;
        }
        let Some(entry) = checked(line) else {
            report.damaged += 1;
            continue;
        };
        match entry.get("v") {
            Some(version) if version.as_u64() == Some(VERSION) => continue,
            Some(version) => return Err(OtherVersion(version.to_string())),
            None => {}
        }
        match apply(&entry, known, &mut parts) {
            Some(()) => report.entries += 1,
            None => report.damaged += 1,
        }
    }
    Ok(report)
}

/// Whether a file begins as one of a version that is known here.
pub(super) fn has_header(content: &[u8]) -> bool {
    let first = content.split_inclusive(|&byte| byte == b'\n').next();
    first.and_then(checked).is_some_and(|entry| entry.get("v").is_some())
}

/// The object of a line whose checksum holds.
fn checked(line: &[u8]) -> Option<Value> {
    let (sum, text) = line.strip_suffix(b"\n")?.split_at_checked(16)?;
    let sum = u64::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()?;
    let text = text.strip_prefix(b" ")?;
    (xxh3_64(text) == sum).then(|| serde_json::from_slice(text).ok())?
}

/// Reads one entry; `None` if it cannot be understood.
fn apply(
    entry: &Value,
    known: &mut BTreeMap<String, Restored>,
    parts: &mut HashMap<(String, i64, i64), Vec<Vec<EventKey>>>,
) -> Option<()> {
    let partition = entry.get("p")?.as_str()?;
    let keys = |name: &str| decode_ids(&BASE64.decode(entry.get(name)?.as_str()?).ok()?);
    let pair = |name: &str| Some((entry.get(name)?.get(0)?.as_i64()?, entry.get(name)?.get(1)?.as_i64()?));
    let change = if let Some(from) = entry.get("from") {
        let lateness = entry.get("lateness_ms").and_then(|quantiles| {
            let at = |name: &str| quantiles.get(name)?.as_i64();
            Some(Quantiles { q50: at("q50")?, q90: at("q90")?, q99: at("q99")?, q999: at("q999")? })
        });
        Change::Opened {
            from_ms: from.as_i64()?,
            lateness,
            audited_to: entry.get("audited_to").and_then(Value::as_i64),
        }
    } else if let Some(since) = entry.get("gone") {
        Change::Gone { since_ms: since.as_i64()? }
    } else if let Some((start, end)) = pair("done") {
        Change::Done { start, end }
    } else {
        let (start, end) = pair("slice")?;
        let key = (partition.to_owned(), start, end);
        if entry.get("part").is_some() {
            parts.entry(key).or_default().push(keys("part")?);
            return Some(());
        }
        if entry.get("delivered").is_some() {
            Change::Ids { start, end, keys: keys("delivered")? }
        } else {
            let mut facts = facts_of(entry)?;
            let before = parts.remove(&key).unwrap_or_default();
            if entry.get("parts")?.as_u64()? != before.len() as u64 {
                return None;
            }
            facts.ids.extend(before.into_iter().flatten().chain(keys("ids")?));
            Change::Slice { start, end, facts }
        }
    };
    known.entry(partition.to_owned()).or_default().apply(change);
    Some(())
}

fn facts_of(entry: &Value) -> Option<Facts> {
    let minutes = entry
        .get("minutes")?
        .as_array()?
        .iter()
        .map(|pair| Some((pair.get(0)?.as_i64()?, u32::try_from(pair.get(1)?.as_u64()?).ok()?)));
    Some(Facts {
        scans: u32::try_from(entry.get("scans")?.as_u64()?).ok()?,
        watermark: entry.get("through")?.as_i64(),
        exact: entry.get("exact")?.as_bool()?,
        sealed: entry.get("sealed")?.as_bool()?,
        put_off: u8::try_from(entry.get("put_off")?.as_u64()?).ok()?,
        ids: Default::default(),
        minutes: Minutes(minutes.collect::<Option<_>>()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Ids;

    fn facts(count: usize) -> Facts {
        let mut ids = Ids::default();
        ids.extend(
            (0..count).map(|n| EventKey::new(n as i64 / 10, 60_000 + n as i64 % 7, n as u64 * 77, n as u16)),
        );
        Facts {
            scans: 3,
            watermark: Some(99),
            exact: true,
            sealed: false,
            put_off: 1,
            ids,
            minutes: Minutes(vec![(60_000, count as u32)]),
        }
    }

    fn changes() -> Vec<Change> {
        vec![
            Change::Opened {
                from_ms: 5,
                lateness: Some(Quantiles { q50: 1, q90: 2, q99: 3, q999: 4 }),
                audited_to: Some(60_000),
            },
            Change::Done { start: 5, end: 1000 },
            Change::Slice { start: 1000, end: 9000, facts: facts(3) },
            Change::Ids { start: 9000, end: 10_000, keys: vec![EventKey::new(9001, 9005, 1, 2)] },
            Change::Slice { start: 20_000, end: 60_000, facts: facts(20_000) },
            Change::Gone { since_ms: 77 },
        ]
    }

    fn lines(changes: Vec<Change>) -> Vec<Vec<u8>> {
        let mut lines = vec![header("vpc", 0)];
        changes
            .into_iter()
            .for_each(|change| write("1/eu-west-1//vpc/flow", change, |line| lines.push(line)));
        lines
    }

    fn restored(changes: Vec<Change>) -> Restored {
        let mut known = Restored::default();
        changes.into_iter().for_each(|change| known.apply(change));
        known
    }

    #[test]
    fn what_was_written_is_read() {
        let lines = lines(changes());
        assert_eq!(lines.len(), 1 + 4 + 3 + 1, "20,000 ids take three lines");
        assert!(lines.iter().all(|line| line.len() < 200_000));
        let mut known = BTreeMap::new();
        let report = read(&lines.concat(), &mut known).unwrap();
        assert_eq!(report, ReadReport { entries: 8, unterminated: 0, damaged: 0 });
        assert_eq!(known["1/eu-west-1//vpc/flow"], restored(changes()));
    }

    #[test]
    fn lines_are_readable() {
        let text = String::from_utf8(lines(changes())[2].clone()).unwrap();
        assert_eq!(&text[16..], " {\"p\":\"1/eu-west-1//vpc/flow\",\"done\":[5,1000]}\n");
    }

    #[test]
    fn a_torn_tail_and_a_broken_line_cost_only_themselves() {
        let mut changes = changes();
        changes.pop();
        let mut lines = lines(changes.clone());
        let last = lines.len() - 1;
        let cut = lines[last].len() / 2;
        lines[last].truncate(cut);
        lines[2][30] ^= 1;
        let mut known = BTreeMap::new();
        let report = read(&lines.concat(), &mut known).unwrap();
        assert_eq!((report.unterminated, report.damaged), (1, 1));
        let mut expect = changes;
        expect.pop();
        expect.remove(1);
        assert_eq!(known["1/eu-west-1//vpc/flow"], restored(expect));
    }

    #[test]
    fn nothing_is_read_of_a_file_of_another_version() {
        let mut lines = lines(changes());
        lines[0] = line(&json!({ "v": 2 }));
        let mut known = BTreeMap::new();
        assert_eq!(read(&lines.concat(), &mut known), Err(OtherVersion("2".to_owned())));
        assert!(known.is_empty());
    }

    #[test]
    fn parts_without_their_end_are_nothing() {
        let mut lines = lines(changes());
        lines.remove(5);
        let mut known = BTreeMap::new();
        read(&lines.concat(), &mut known).unwrap();
        assert!(!known["1/eu-west-1//vpc/flow"].slices.contains_key(&20_000));
    }
}
