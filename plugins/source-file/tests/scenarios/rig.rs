//! A source, the folder that it reads, its engine and its sink.
//!
//! The engine's part is small: batches in flight, partition by partition; a commit over a settled prefix of each; a
//! rewind. Whatever a test does, these hold: an id names one line, a line has one id, what was committed is never
//! given out again, nothing is given out twice in a run without a rewind, and a partition only moves forward.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use flowstone_core::event::{Act, Path as Field, RowId, Value};
use flowstone_core::{
    Build, BuildCx, Clock, ComponentId, Diagnostics, Entry, Health, Kind, Metrics, Next, Node, NodeKind,
    Position, Source, SourceBatch, SourceCx, SourceError, Span, Table,
};
use tempfile::TempDir;
use tokio::time::{Instant, advance};

/// `rotate_wait` as the tests have it, the default.
pub(crate) const ROTATE_WAIT: Duration = Duration::from_secs(5);
/// `poll_interval` as the tests have it, the default.
pub(crate) const POLL: Duration = Duration::from_millis(250);

/// An option's value as a configuration file spells it.
pub(crate) enum Setting {
    Text(&'static str),
    Truth(bool),
    Number(i64),
    /// Paths below the folder.
    Paths(&'static [&'static str]),
}

/// What a row was given out as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its text; after `REASON: ` if the source rejected or discarded it.
    pub(crate) text: String,
    /// `[@metadata][path]`, below the folder.
    pub(crate) path: String,
    /// `[@metadata][flow_log_format]`.
    pub(crate) format: Option<String>,
    /// The partition of its positions.
    partition: Arc<str>,
}

struct InFlight {
    from: u64,
    position: Position,
    rows: Vec<RowId>,
}

struct Run {
    source: Box<dyn Source>,
    cx: SourceCx,
    in_flight: Vec<InFlight>,
    /// Given out in this run since the last rewind of their partition.
    given: HashSet<RowId>,
    reached: HashMap<Arc<str>, u64>,
    /// The first look is at once, the others wait for their time.
    has_looked: bool,
}

/// See the module.
pub(crate) struct Rig {
    folder: TempDir,
    /// Where the folder is, if not at its place.
    away: Option<PathBuf>,
    metrics: Metrics,
    pub(crate) health: Health,
    data_dir: TempDir,
    settings: Vec<(&'static str, Setting)>,
    run: Option<Run>,
    /// All rows that were ever given out.
    rows: HashMap<RowId, Seen>,
    /// Those that the sink has.
    documents: HashSet<RowId>,
    committed: HashSet<RowId>,
    /// Lines have texts of their own, so a text under a second id is a duplicate.
    pub(crate) texts_are_unique: bool,
    ids: HashMap<String, RowId>,
    pub(crate) max_rows: usize,
    /// How the last run ended, if it did by itself.
    pub(crate) ended: Option<Result<(), SourceError>>,
    /// Errors that may pass, which the engine would report.
    pub(crate) problems: Vec<SourceError>,
    /// Batches since the rig was made.
    pub(crate) batches: usize,
}

// === impl Rig ===

impl Rig {
    /// A source of these options, `paths = ["*"]` if they do not say otherwise, that was not started yet.
    pub(crate) fn new(settings: impl IntoIterator<Item = (&'static str, Setting)>) -> Self {
        let mut settings: Vec<_> = settings.into_iter().collect();
        if !settings.iter().any(|(name, _)| *name == "paths") {
            settings.push(("paths", Setting::Paths(&["*"])));
        }
        Self {
            folder: tempfile::tempdir().unwrap(),
            away: None,
            metrics: Metrics::new(),
            health: Health::default(),
            data_dir: tempfile::tempdir().unwrap(),
            settings,
            run: None,
            rows: HashMap::new(),
            documents: HashSet::new(),
            committed: HashSet::new(),
            texts_are_unique: true,
            ids: HashMap::new(),
            max_rows: 4096,
            ended: None,
            problems: Vec::new(),
            batches: 0,
        }
    }

    /// The same with a file `app.log` in it, read and followed.
    pub(crate) async fn following(content: &str) -> Self {
        let mut rig = Self::new([]);
        rig.write("app.log", content);
        rig.start().await;
        rig.read().await;
        rig
    }

    /// From the next start on.
    pub(crate) fn configure(&mut self, name: &'static str, setting: Setting) {
        self.settings.push((name, setting));
    }

    /// Makes the file anew in place, with a hole as long as it was: what a writer without `O_APPEND` makes of a truncation.
    pub(crate) fn make_hole(&self, name: &str) {
        let size = fs::metadata(self.path(name)).unwrap().len();
        File::create(self.path(name)).unwrap().set_len(size).unwrap();
    }

    // --- files

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.away.as_deref().unwrap_or(self.folder.path()).join(name)
    }

    /// The folder is renamed away. Files in it are still written to.
    pub(crate) fn take_folder_away(&mut self) {
        let away = self.folder.path().with_extension("away");
        fs::rename(self.folder.path(), &away).unwrap();
        self.away = Some(away);
    }

    pub(crate) fn bring_folder_back(&mut self) {
        if let Some(away) = self.away.take() {
            fs::rename(away, self.folder.path()).unwrap();
        }
    }

    pub(crate) fn is_folder_away(&self) -> bool {
        self.away.is_some()
    }

    /// How often the source counted this error.
    pub(crate) fn errors(&self, reason: &str) -> u64 {
        let text = self.metrics.render();
        let label = format!("error_type=\"{reason}\"");
        let line = text.lines().find(|line| line.contains("errors_total") && line.contains(&label));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    /// Makes the file anew under a new inode, or writes over what it holds under its own.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn append(&self, name: &str, content: impl AsRef<[u8]>) {
        let mut file = OpenOptions::new().append(true).create(true).open(self.path(name)).unwrap();
        file.write_all(content.as_ref()).unwrap();
    }

    pub(crate) fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    pub(crate) fn delete(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    pub(crate) fn truncate(&self, name: &str) {
        File::create(self.path(name)).unwrap();
    }

    /// What `cp` does.
    pub(crate) fn copy(&self, from: &str, to: &str) {
        self.write(to, self.content(from));
    }

    /// What `gzip` does: `NAME.gz` is there before `NAME` goes.
    pub(crate) fn compress(&self, name: &str) {
        self.write(&format!("{name}.gz"), gzip(&self.content(name)));
        self.delete(name);
    }

    pub(crate) fn content(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// Deletes the file and makes it anew under the same inode, as file systems do that give out the lowest free
    /// number. `false` if this one does not.
    pub(crate) fn recreate_on_same_inode(&self, name: &str, content: &str) -> bool {
        let path = self.path(name);
        let before = inode(&path);
        fs::remove_file(&path).unwrap();
        let others: Vec<PathBuf> =
            (0..100).map(|attempt| self.path(&format!(".attempt-{attempt}"))).collect();
        let same = others.iter().find(|candidate| {
            fs::write(candidate, content).unwrap();
            inode(candidate) == before
        });
        match same {
            Some(candidate) => fs::rename(candidate, &path).unwrap(),
            None => eprintln!("left out: this file system does not give an inode again at once"),
        }
        others.iter().for_each(|candidate| drop(fs::remove_file(candidate)));
        same.is_some()
    }

    pub(crate) fn content_of_gzip(&self, name: &str) -> Vec<u8> {
        let mut content = Vec::new();
        let file = File::open(self.path(name)).unwrap();
        flate2::read::MultiGzDecoder::new(file).read_to_end(&mut content).unwrap();
        content
    }

    pub(crate) fn state_file(&self) -> PathBuf {
        self.data_dir.path().join("source/in/files.json")
    }

    // --- the engine's part

    /// Builds and starts the source.
    pub(crate) async fn start(&mut self) {
        self.try_start().await.unwrap();
    }

    pub(crate) async fn try_start(&mut self) -> Result<(), SourceError> {
        assert!(self.run.is_none(), "it runs already");
        let mut source = self.build().unwrap();
        let mut cx = self.cx();
        source.start(&mut cx).await?;
        self.ended = None;
        self.run = Some(Run {
            source,
            cx,
            in_flight: Vec::new(),
            given: HashSet::new(),
            reached: HashMap::new(),
            has_looked: false,
        });
        Ok(())
    }

    /// The source as a configuration file would make it. The error has a line per problem.
    pub(crate) fn build(&self) -> Result<Box<dyn Source>, Vec<String>> {
        let plugin = flowstone_core::find(Kind::Source, "file").unwrap();
        let Build::Source(build) = plugin.build else { panic!("file is a source") };
        let table = self.table();
        let mut diagnostics = Diagnostics::new();
        table.refuse_unknown("file", plugin.options, &[], &mut diagnostics);
        let cx = BuildCx { id: id(), data_dir: self.data_dir.path().to_owned(), clock: Clock::System };
        let built = build(&table, &cx, &mut diagnostics).map_err(|errors| {
            let line = |error: &flowstone_core::BuildError| {
                format!("{}: {}, {}", error.option, error.message, error.label)
            };
            errors.iter().map(line).collect::<Vec<_>>()
        })?;
        match built {
            Some(source) if diagnostics.is_empty() => Ok(source),
            _ => Err(diagnostics.into_iter().map(|diagnostic| diagnostic.message).collect()),
        }
    }

    fn table(&self) -> Table {
        let node = |kind| Node { span: Span::default(), text_start: None, from_variable: false, kind };
        let value = |setting: &Setting| match setting {
            Setting::Text(text) => node(NodeKind::String((*text).to_owned())),
            Setting::Truth(truth) => node(NodeKind::Boolean(*truth)),
            Setting::Number(number) => node(NodeKind::Integer(*number)),
            Setting::Paths(paths) => {
                let below = |path: &&str| self.folder.path().join(path).to_str().unwrap().to_owned();
                let nodes = paths.iter().map(|path| node(NodeKind::String(below(path))));
                node(NodeKind::Array(nodes.collect()))
            }
        };
        let entry = |setting| Entry { key_span: Span::default(), value: value(setting) };
        let entries = self.settings.iter().map(|(name, setting)| ((*name).to_owned(), entry(setting)));
        Table { span: Span::default(), entries: entries.collect() }
    }

    pub(crate) fn cx(&self) -> SourceCx {
        let build = BuildCx { id: id(), data_dir: self.data_dir.path().to_owned(), clock: Clock::System };
        SourceCx {
            max_rows: self.max_rows,
            clock: Clock::Fixed(1_700_000_000_000),
            metrics: self.metrics.source(&id()),
            health: self.health.of(&id()),
            ..SourceCx::alone(id(), build.state_dir())
        }
    }

    /// Lets the source look, and takes all that it has. Gives how many rows came.
    pub(crate) async fn read(&mut self) -> usize {
        if self.run.as_ref().is_some_and(|run| run.has_looked) {
            advance(POLL).await;
        }
        self.read_some(usize::MAX).await
    }

    /// Takes at most this many batches, or all there are before the source wants to wait.
    pub(crate) async fn read_some(&mut self, batches: usize) -> usize {
        let mut rows = 0;
        for _ in 0..batches {
            let Some(batch) = self.next().await else { break };
            rows += self.take_in(batch);
        }
        rows
    }

    /// Lets the source look where there is nothing to read; how long it then wants to rest.
    pub(crate) async fn idle(&mut self) -> Duration {
        let run = self.run.as_mut().expect("the source runs");
        match run.source.next(&mut run.cx).await {
            Ok(Next::Idle(wait)) => wait,
            _ => panic!("nothing was written"),
        }
    }

    async fn next(&mut self) -> Option<SourceBatch> {
        let run = self.run.as_mut().expect("the source runs");
        // A source that is busy for ever without giving anything out would spin in the engine.
        for _ in 0..100_000 {
            run.has_looked = true;
            match run.source.next(&mut run.cx).await {
                Ok(Next::Batch(batch)) => return Some(batch),
                Ok(Next::Idle(Duration::ZERO)) => {}
                Ok(Next::Idle(_)) => return None,
                Ok(Next::End) => {
                    self.ended = Some(Ok(()));
                    return None;
                }
                Err(problem) if problem.fatal => {
                    self.ended = Some(Err(problem));
                    return None;
                }
                Err(problem) => {
                    self.problems.push(problem);
                    return None;
                }
            }
        }
        panic!("the source neither gives a batch nor rests");
    }

    fn take_in(&mut self, read: SourceBatch) -> usize {
        let SourceBatch { mut batch, from, position, bytes } = read;
        let run = self.run.as_mut().expect("the source runs");
        self.batches += 1;
        assert!(!batch.is_empty() && bytes > 0, "an empty batch");
        assert!(batch.len() <= self.max_rows, "{} rows in a batch", batch.len());
        let reached = run.reached.entry(Arc::clone(&position.partition)).or_insert(from);
        assert_eq!(from, *reached, "{} was read up to elsewhere", position.partition);
        assert!(position.value > *reached, "{} moved back to {}", position.partition, position.value);
        *reached = position.value;
        let mut fates: BTreeMap<usize, String> = BTreeMap::new();
        for act in batch.take_acts() {
            match act {
                Act::Reject(row, reject) => {
                    fates.insert(row, reject.reason.into_owned());
                }
                Act::Discard { reason, rows } => {
                    fates.extend(rows.iter().map(|row| (row, reason.to_owned())))
                }
                Act::Send { .. } => panic!("lines go nowhere else"),
            }
        }
        let mut rows = Vec::new();
        for row in 0..batch.len() {
            let field = |name: &str| match batch.row(row).get_path(&Field::new(["@metadata", name])) {
                Some(Value::Str(text)) => Some(text.to_string()),
                Some(other) => panic!("{name} is {other:?}"),
                None => None,
            };
            let message = batch.row(row).str("message").unwrap_or_default().to_owned();
            let text = match fates.get(&row) {
                Some(fate) => format!("{fate}: {message}"),
                None => message,
            };
            let path = field("path").expect("every event says where it came from");
            let path =
                Path::new(&path).strip_prefix(self.folder.path()).unwrap().to_str().unwrap().to_owned();
            let format = field("flow_log_format");
            let seen = Seen { text, path, format, partition: Arc::clone(&position.partition) };
            let row_id = batch.id(row);
            assert!(!self.committed.contains(&row_id), "given out again after its commit: {seen:?}");
            assert!(run.given.insert(row_id), "given out twice in one run: {seen:?}");
            if let Some(first) = self.rows.get(&row_id) {
                // Its file may have been renamed, and a restart may have told the header from it; nothing else.
                assert_eq!((&first.text, &first.format), (&seen.text, &seen.format), "an id names two lines");
            }
            if self.texts_are_unique {
                let first = *self.ids.entry(seen.text.clone()).or_insert(row_id);
                assert_eq!(first, row_id, "a line has two ids: {seen:?}, first {:?}", self.rows.get(&first));
            }
            self.rows.entry(row_id).or_insert(seen);
            rows.push(row_id);
        }
        let count = rows.len();
        run.in_flight.push(InFlight { from, position, rows });
        count
    }

    /// The sink takes everything in flight, and the source is told.
    pub(crate) async fn deliver(&mut self) {
        self.deliver_some(usize::MAX).await;
    }

    /// The sink takes the first batches in flight, and the source is told.
    pub(crate) async fn deliver_some(&mut self, batches: usize) {
        self.take_up(batches);
        let run = self.run.as_mut().expect("the source runs");
        let mut due: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        for flight in run.in_flight.drain(..batches.min(run.in_flight.len())) {
            self.committed.extend(flight.rows);
            due.insert(flight.position.partition, flight.position.value);
        }
        let due: Vec<Position> =
            due.into_iter().map(|(partition, value)| Position { partition, value }).collect();
        if !due.is_empty() {
            run.source.commit(&due).await.unwrap();
        }
    }

    /// The sink takes the first batches in flight, and the source is not told: a crash may come between.
    pub(crate) fn take_up(&mut self, batches: usize) {
        let run = self.run.as_ref().expect("the source runs");
        self.documents.extend(run.in_flight.iter().take(batches).flat_map(|flight| &flight.rows));
    }

    /// A batch fails: it and all of its partition behind it is to be read again.
    pub(crate) async fn fail(&mut self, batch: usize) {
        let run = self.run.as_mut().expect("the source runs");
        let Some(flight) = run.in_flight.get(batch) else { return };
        let (from, position) = (flight.from, flight.position.clone());
        run.in_flight.retain(|flight| {
            let again =
                flight.position.partition == position.partition && flight.position.value >= position.value;
            if again {
                run.given.retain(|row| !flight.rows.contains(row));
            }
            !again
        });
        run.reached.insert(Arc::clone(&position.partition), from);
        run.source.rewind(&position).await.unwrap();
    }

    /// A batch of the source, so that [`Rig::fail`] can choose.
    pub(crate) fn in_flight(&self) -> usize {
        self.run.as_ref().map_or(0, |run| run.in_flight.len())
    }

    /// The process ends without another word.
    pub(crate) fn crash(&mut self) {
        self.run = None;
    }

    /// Everything is delivered and committed, then the process ends.
    pub(crate) async fn stop(&mut self) {
        self.deliver().await;
        self.run = None;
    }

    /// The checkpoint was lost: what it knew of may come again.
    pub(crate) fn forget_what_was_committed(&mut self) {
        self.committed.clear();
    }

    pub(crate) fn runs(&self) -> bool {
        self.run.is_some()
    }

    /// Reads and delivers while time passes.
    pub(crate) async fn wait(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until && self.ended.is_none() {
            self.read().await;
            self.deliver().await;
        }
    }

    /// Reads and delivers until every rotation is over.
    pub(crate) async fn quiesce(&mut self) {
        self.wait(2 * ROTATE_WAIT + 4 * POLL).await;
    }

    // --- what came

    /// The texts of the documents that the sink has, sorted.
    pub(crate) fn documents(&self) -> Vec<String> {
        let mut texts: Vec<String> = self.documents.iter().map(|id| self.rows[id].text.clone()).collect();
        texts.sort();
        texts
    }

    /// The document of this text.
    pub(crate) fn document(&self, text: &str) -> &Seen {
        let mut found = self.documents.iter().map(|id| &self.rows[id]).filter(|seen| seen.text == text);
        let first = found.next().unwrap_or_else(|| panic!("{text:?} did not come: {:?}", self.documents()));
        assert!(found.next().is_none(), "{text:?} came twice");
        first
    }

    /// Whether some row of this text was ever given out.
    pub(crate) fn was_given(&self, text: &str) -> bool {
        self.rows.values().any(|seen| seen.text == text)
    }

    /// Asserts that the documents are these lines, each as often as it stands there.
    #[track_caller]
    pub(crate) fn expect<T: AsRef<str>>(&self, lines: impl IntoIterator<Item = T>) {
        let mut wanted: Vec<String> = lines.into_iter().map(|line| line.as_ref().to_owned()).collect();
        wanted.sort();
        assert_eq!(self.documents(), wanted);
    }

    /// [`Rig::expect`], now and after a restart, a crash before anything is delivered, and time.
    pub(crate) async fn expect_for_good<T: AsRef<str> + Clone>(
        &mut self,
        lines: impl IntoIterator<Item = T>,
    ) {
        let lines: Vec<T> = lines.into_iter().collect();
        self.quiesce().await;
        self.expect(lines.iter().cloned());
        self.stop().await;
        self.start().await;
        self.quiesce().await;
        self.crash();
        self.start().await;
        self.quiesce().await;
        self.expect(lines);
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // It is deleted where it was made.
        self.bring_folder_back();
    }
}

fn id() -> ComponentId {
    ComponentId { name: "in".into(), kind: Kind::Source, type_name: "file" }
}

fn inode(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap())
}

/// What `gzip` makes of it.
pub(crate) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Lines `NAME 0` to `NAME (count - 1)`, each with its newline.
pub(crate) fn lines(name: &str, count: usize) -> String {
    texts(name, count).iter().map(|line| format!("{line}\n")).collect()
}

/// The same lines without their newlines.
pub(crate) fn texts(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{name} {number}")).collect()
}
