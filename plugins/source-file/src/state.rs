//! The state file: how far each file is delivered, and by what it is recognised. JSON, one file a line, so that a
//! person can read it; replaced as a whole ([`StateDir::save`]).

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use flowstone_core::event::{Map, Value, write_json_value};
use flowstone_core::{StateDir, parse_json};
use memchr::memmem;
use xxhash_rust::xxh3::xxh3_64;

use crate::identity::{Checkpoint, FileId, Head};
use crate::listing::Stat;

/// The name of the file in the component's state folder.
const FILE_NAME: &str = "files.json";

/// What this program writes: a state whose last member is a checksum of all before it.
const VERSION: i64 = 2;
/// The version before, without a checksum. It is read.
const VERSION_1: i64 = 1;
/// What stands before the checksum.
const CHECKSUM: &[u8] = b",\"checksum\":\"";

/// What is kept of one file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) id: FileId,
    /// Where it was seen last.
    pub(crate) path: PathBuf,
    /// How it was seen last.
    pub(crate) stat: Stat,
    pub(crate) head: Head,
    /// Where reading began; not 0 with `read_from = "end"`.
    pub(crate) start: u64,
    /// Up to where everything is delivered.
    pub(crate) committed: Checkpoint,
    /// Offsets at which an unfinished line was taken as a line because the file seemed to end there.
    pub(crate) unterminated: Vec<u64>,
    /// Whether the file there is compressed; offsets are those of the uncompressed stream.
    pub(crate) gzip: bool,
    /// The compressed file, as it was seen last, is delivered to its end.
    pub(crate) complete: bool,
    /// The file was seen under a second name: it was rotated, and a last line may stay without a newline.
    pub(crate) rotated: bool,
    /// It was said that what was not read of it can no longer be read.
    pub(crate) lost: bool,
    /// When the file was there last, in milliseconds since the epoch.
    pub(crate) seen: i64,
}

/// Gives out identities, each once.
#[derive(Debug, Default)]
pub(crate) struct Identities {
    /// Generations below this may have belonged to files that are forgotten.
    floor: u64,
    births: HashMap<u128, Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    /// One more than the highest generation of the files that are kept.
    next: u64,
    kept: usize,
}

// === impl Identities ===

impl Identities {
    /// The identity of a new file with this birth hash.
    pub(crate) fn new_id(&mut self, birth: u128) -> FileId {
        let next = self.births.get(&birth).map_or(0, |generations| generations.next);
        let id = FileId { birth, generation: next.max(self.floor) };
        self.keep(id);
        id
    }

    /// Takes note of a file that the state knows.
    pub(crate) fn keep(&mut self, id: FileId) {
        let generations = self.births.entry(id.birth).or_default();
        generations.next = generations.next.max(id.generation + 1);
        generations.kept += 1;
    }

    /// Forgets a file. The floor rises above its generation, so that its identity never comes back.
    pub(crate) fn forget(&mut self, id: FileId) {
        self.floor = self.floor.max(id.generation + 1);
        if let Some(generations) = self.births.get_mut(&id.birth) {
            generations.kept -= 1;
            if generations.kept == 0 {
                self.births.remove(&id.birth);
            }
        }
    }
}

// === state file ===

/// Reads the state; `None` if there is none yet. The error says what to do.
pub(crate) fn load(state: &StateDir) -> Result<Option<(Identities, Vec<Record>)>, String> {
    let path = state.path().join(FILE_NAME);
    let help = "or move it away to read all files from their beginning";
    let Some(mut text) = state.load(FILE_NAME).map_err(|error| {
        format!("cannot read {}: {error}; give flowstone the right to read it {help}", path.display())
    })?
    else {
        return Ok(None);
    };
    let checksum = checksum_fits(&text);
    let content = parse_json(&mut text)
        .map_err(|error| format!("{} is damaged ({error}); restore it {help}", path.display()))?;
    let fields = Fields::of(&content);
    match fields.and_then(|fields| fields.int("version")) {
        Some(VERSION) if checksum == Some(true) => {}
        // A version that was changed from 2 to 1 does not make the checksum fit.
        Some(VERSION_1) if checksum.is_none() => {}
        Some(VERSION | VERSION_1) => {
            return Err(format!(
                "{} is damaged (it was changed since it was written: its checksum does not fit); restore it {help}",
                path.display()
            ));
        }
        version => {
            let found = version.map_or("none".to_owned(), |version| version.to_string());
            return Err(format!(
                "{} has state version {found}, this flowstone knows versions {VERSION_1} and {VERSION}; use the flowstone that wrote it {help}",
                path.display()
            ));
        }
    }
    let read = || -> Option<(Identities, Vec<Record>)> {
        let fields = fields?;
        let mut identities = Identities { floor: fields.unsigned("floor")?, ..Identities::default() };
        let Value::Array(files) = fields.0.get("files")? else { return None };
        let records: Vec<Record> = files.iter().map(Record::from_value).collect::<Option<_>>()?;
        records.iter().for_each(|record| identities.keep(record.id));
        Some((identities, records))
    };
    match read() {
        Some(read) => Ok(Some(read)),
        None => Err(format!(
            "{} is damaged (a field is missing or of another type); restore it {help}",
            path.display()
        )),
    }
}

/// Writes the state.
pub(crate) fn save<'a>(
    state: &StateDir,
    identities: &Identities,
    records: impl Iterator<Item = Record> + 'a,
) -> Result<(), String> {
    let mut text = format!("{{\"version\":{VERSION},\"floor\":{},\"files\":[", identities.floor).into_bytes();
    for (index, record) in records.enumerate() {
        text.extend_from_slice(if index == 0 { b"\n" } else { b",\n" });
        write_json_value(&record.to_value(), &mut text);
    }
    text.extend_from_slice(b"\n]");
    let checksum = xxh3_64(&text);
    text.extend_from_slice(CHECKSUM);
    text.extend_from_slice(format!("{checksum:016x}\"}}\n").as_bytes());
    state.save(FILE_NAME, &text).map_err(|error| {
        let path = state.path().join(FILE_NAME);
        format!("cannot write {}: {error}; give flowstone the right to write there, or room", path.display())
    })
}

/// Whether the checksum at the end of a state is that of what stands before it; nothing if there is none.
fn checksum_fits(text: &[u8]) -> Option<bool> {
    let at = memmem::rfind(text, CHECKSUM)?;
    let found = text[at + CHECKSUM.len()..].split(|byte| *byte == b'"').next().unwrap_or_default();
    Some(found == format!("{:016x}", xxh3_64(&text[..at])).as_bytes())
}

// === impl Record ===

impl Record {
    fn to_value(&self) -> Value {
        let hash = |hash: u64| Value::from(format!("{hash:016x}"));
        let hashed = |bytes: usize, of: u64| object([("bytes", number(bytes as u64)), ("hash", hash(of))]);
        let mut fields = vec![
            ("id", Value::from(&*self.id.key())),
            ("path", Value::from(self.path.to_string_lossy().into_owned())),
            ("offset", number(self.committed.offset)),
            ("start", number(self.start)),
            ("digest", hash(self.committed.digest)),
            ("before", hashed(self.committed.anchor_len, self.committed.anchor)),
            ("head", hashed(self.head.len, self.head.hash)),
            ("device", number(self.stat.dev)),
            ("inode", number(self.stat.ino)),
            ("size", number(self.stat.size)),
            ("modified", Value::Int(self.stat.modified)),
        ];
        if self.path.to_str().is_none() {
            // The path above is for persons.
            let mut bytes = String::new();
            for byte in self.path.as_os_str().as_bytes() {
                let _ = write!(bytes, "{byte:02x}");
            }
            fields.push(("path_bytes", Value::from(bytes)));
        }
        fields.extend(self.stat.born.map(|born| ("born", Value::Int(born))));
        if !self.unterminated.is_empty() {
            fields.push((
                "torn",
                Value::Array(self.unterminated.iter().map(|offset| number(*offset)).collect()),
            ));
        }
        fields.push(("gzip", Value::Bool(self.gzip)));
        fields.push(("complete", Value::Bool(self.complete)));
        fields.push(("rotated", Value::Bool(self.rotated)));
        if self.lost {
            fields.push(("lost", Value::Bool(true)));
        }
        fields.push(("seen", Value::Int(self.seen)));
        object(fields)
    }

    fn from_value(value: &Value) -> Option<Self> {
        let fields = Fields::of(value)?;
        let hashed = |name: &str| -> Option<(usize, u64)> {
            let fields = Fields::of(fields.0.get(name)?)?;
            Some((usize::try_from(fields.unsigned("bytes")?).ok()?, fields.hash("hash")?))
        };
        let (head_len, head_hash) = hashed("head")?;
        let (anchor_len, anchor) = hashed("before")?;
        Some(Self {
            id: FileId::from_key(fields.text("id")?)?,
            path: match fields.0.get("path_bytes") {
                Some(bytes) => OsString::from_vec(from_hex(bytes.as_str()?)?).into(),
                None => fields.text("path")?.into(),
            },
            stat: Stat {
                dev: fields.unsigned("device")?,
                ino: fields.unsigned("inode")?,
                size: fields.unsigned("size")?,
                modified: fields.int("modified")?,
                born: fields.int("born"),
            },
            head: Head::from_hash(head_len, head_hash),
            start: fields.unsigned("start")?,
            committed: Checkpoint {
                offset: fields.unsigned("offset")?,
                digest: fields.hash("digest")?,
                anchor_len,
                anchor,
            },
            unterminated: match fields.0.get("torn") {
                Some(Value::Array(offsets)) => offsets.iter().map(unsigned).collect::<Option<_>>()?,
                Some(_) => return None,
                None => Vec::new(),
            },
            gzip: fields.truth("gzip")?,
            complete: fields.truth("complete")?,
            rotated: fields.truth("rotated")?,
            lost: fields.truth("lost").unwrap_or(false),
            seen: fields.int("seen")?,
        })
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = |at: usize| text.get(at..at + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
    (0..text.len()).step_by(2).map(digits).collect()
}

fn object<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    Value::Object(fields.into_iter().map(|(name, value)| (name.into(), value)).collect())
}

fn number(number: u64) -> Value {
    match i64::try_from(number) {
        Ok(number) => Value::Int(number),
        Err(_) => Value::BigInt(number.to_string().into()),
    }
}

fn unsigned(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        Value::BigInt(digits) => digits.parse().ok(),
        _ => None,
    }
}

/// An object's members by their types.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a Map);

impl<'a> Fields<'a> {
    fn of(value: &'a Value) -> Option<Self> {
        match value {
            Value::Object(map) => Some(Self(map)),
            _ => None,
        }
    }

    fn int(self, name: &str) -> Option<i64> {
        match self.0.get(name)? {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }

    fn unsigned(self, name: &str) -> Option<u64> {
        unsigned(self.0.get(name)?)
    }

    fn text(self, name: &str) -> Option<&'a str> {
        self.0.get(name)?.as_str()
    }

    fn truth(self, name: &str) -> Option<bool> {
        match self.0.get(name)? {
            Value::Bool(truth) => Some(*truth),
            _ => None,
        }
    }

    fn hash(self, name: &str) -> Option<u64> {
        u64::from_str_radix(self.text(name)?, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(birth: u128, generation: u64) -> Record {
        Record {
            id: FileId { birth, generation },
            path: "/var/log/a \"b\".log".into(),
            stat: Stat { dev: u64::MAX, ino: 12, size: 34, modified: -5, born: Some(6) },
            head: Head::from_hash(17, u64::MAX),
            start: 3,
            committed: Checkpoint { offset: 30, digest: 0xfedc_ba98_7654_3210, anchor_len: 27, anchor: 1 },
            unterminated: vec![5, 30],
            gzip: true,
            complete: false,
            rotated: true,
            lost: false,
            seen: 1_700_000_000_000,
        }
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(folder.path().join("source/in"));
        assert!(load(&state).unwrap().is_none());
        let mut second = record(8, 2);
        second.stat.born = None;
        second.unterminated.clear();
        second.lost = true;
        second.path = OsString::from_vec(b"/var/\xff\xfe.log".to_vec()).into();
        let records = [record(7, 0), second];
        save(&state, &Identities { floor: 2, ..Identities::default() }, records.iter().cloned()).unwrap();
        let (mut identities, loaded) = load(&state).unwrap().unwrap();
        assert_eq!(loaded, records);
        assert_eq!(identities.floor, 2);
        assert_eq!(identities.new_id(8).generation, 3);
        let text = std::fs::read_to_string(state.path().join(FILE_NAME)).unwrap();
        assert_eq!(text.lines().count(), 4, "{text}");
    }

    #[test]
    fn a_state_in_which_one_byte_was_changed_is_refused_and_one_of_version_1_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(folder.path().to_owned());
        save(&state, &Identities::default(), [record(7, 0)].into_iter()).unwrap();
        let saved = std::fs::read(state.path().join(FILE_NAME)).unwrap();
        for at in 0..saved.len() {
            let mut changed = saved.clone();
            changed[at] = if saved[at].is_ascii_digit() { (saved[at] - b'0' + 1) % 10 + b'0' } else { b'x' };
            // The white space behind the end.
            if changed != saved && saved[at] != b'\n' {
                std::fs::write(state.path().join(FILE_NAME), &changed).unwrap();
                let error = load(&state).expect_err(&String::from_utf8_lossy(&changed));
                assert!(error.contains("move it away"), "{error}");
            }
        }
        let text = String::from_utf8(saved).unwrap().replace("\"version\":2", "\"version\":1");
        let (content, _) = text.split_once(",\"checksum\"").unwrap();
        state.save(FILE_NAME, format!("{content}}}\n").as_bytes()).unwrap();
        assert_eq!(load(&state).unwrap().unwrap().1, [record(7, 0)]);
    }

    #[test]
    fn a_state_file_that_cannot_be_understood_is_an_error_that_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(folder.path().to_owned());
        for (content, expect) in [
            ("{", "is damaged"),
            ("[]", "has state version none, this flowstone knows versions 1 and 2"),
            (r#"{"version":3}"#, "has state version 3"),
            (r#"{"version":2}"#, "its checksum does not fit"),
            (r#"{"version":1}"#, "is damaged (a field is missing or of another type)"),
            (r#"{"version":1,"floor":0,"files":[{"id":"x"}]}"#, "is damaged (a field is missing"),
        ] {
            state.save(FILE_NAME, content.as_bytes()).unwrap();
            let error = load(&state).unwrap_err();
            assert!(error.contains(expect) && error.contains("move it away"), "{content}: {error}");
        }
    }

    #[test]
    fn an_identity_is_given_out_once_even_if_its_file_was_forgotten() {
        let mut identities = Identities::default();
        let mut given = std::collections::HashSet::new();
        let mut kept: Vec<FileId> = Vec::new();
        for step in 0..1000_usize {
            // Three beginnings in turn; most files are forgotten again, in an order of their own.
            let id = identities.new_id((step % 3) as u128);
            assert!(given.insert(id), "{id:?} came back");
            kept.push(id);
            if step % 5 != 0 {
                identities.forget(kept.swap_remove(step * 7 % kept.len()));
            }
            // A restart knows no more than the state does.
            if step % 50 == 0 {
                let floor = identities.floor;
                identities = Identities { floor, ..Identities::default() };
                kept.iter().for_each(|id| identities.keep(*id));
            }
        }
    }

    #[test]
    fn the_first_file_of_each_beginning_has_generation_0_whatever_else_is_known() {
        let mut identities = Identities::default();
        assert_eq!(identities.new_id(1).generation, 0);
        assert_eq!(identities.new_id(1).generation, 1);
        assert_eq!(identities.new_id(2).generation, 0);
    }
}
