//! Where dead letters go that nobody reads: `<data_dir>/rejected/NAME.ndjson`. Never nowhere.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use flowstone_core::event::{Batch, EncodeOptions};
use flowstone_core::{Body, Request, Sink, SinkLimits, Verdict, Verdicts};
use flowstone_lines::{LineFileOptions, SharedLineFiles, WriteError};

use crate::letter;

/// Appends each rejected record to the file of the component that rejected it, synced before it counts as delivered.
pub(crate) struct DeadLetterFile {
    folder: PathBuf,
    files: SharedLineFiles,
}

// === impl DeadLetterFile ===

impl DeadLetterFile {
    pub(crate) fn new(folder: PathBuf) -> Self {
        let options = LineFileOptions {
            mode: 0o600,
            private: true,
            max_bytes: None,
            unsynced: folder.join(".unsynced"),
        };
        Self { folder, files: SharedLineFiles::new(options) }
    }

    fn verdict(&self, failed: &WriteError) -> Verdict {
        let folder = self.folder.display();
        Verdict::blocked(
            "dead_letter_file",
            format!("cannot write to {}: {}", failed.path.display(), failed.error),
            format!(
                "make room on the disk and let flowstone write to {folder}, or read the `rejected` ports with a sink of your own"
            ),
        )
    }
}

#[async_trait]
impl Sink for DeadLetterFile {
    fn encode(&self, batch: &Batch, body: &mut Body) {
        let mut letters = batch.json_rows(EncodeOptions::default());
        body.json(EncodeOptions::default());
        for row in batch.live_rows() {
            let component = letter::component_of(batch, row).unwrap_or_else(|| "unknown".to_owned());
            let key = body.key(&file_name(&component));
            body.row(batch.id(row), key, |buffer| {
                let start = buffer.len();
                letters.write(row, buffer);
                buffer.push(b'\n');
                start
            });
        }
    }

    async fn send(&self, request: &Request) -> Verdicts {
        let folder = self.folder.clone();
        self.files.write(request, move |name| folder.join(name), |failed| self.verdict(failed)).await
    }

    async fn close(&self) {
        self.files.close().await;
    }

    fn rejects(&self) -> bool {
        false
    }

    fn limits(&self) -> SinkLimits {
        SinkLimits { flush_interval: Duration::from_millis(200), ..SinkLimits::default() }
    }
}

/// The file of a component; one with a name that no file can have shares one with its like.
fn file_name(component: &str) -> String {
    let name = component.replace(['/', '\\', '\0'], "_");
    let end = (0..=name.len().min(200)).rev().find(|&end| name.is_char_boundary(end)).unwrap_or(0);
    format!("{}.ndjson", &name[..end])
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use flowstone_core::event::{Map, RowId, Value};

    use super::*;

    #[tokio::test]
    async fn each_component_has_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let sink = DeadLetterFile::new(folder.path().join("rejected"));
        let events = vec![letter("a", "one"), letter("../b", "two"), letter("a", "three")];
        assert_eq!(send(&sink, events).await, Verdicts::All(Verdict::Delivered));
        let read = |name: &str| fs::read_to_string(folder.path().join("rejected").join(name)).unwrap();
        assert_eq!(read("a.ndjson").lines().count(), 2);
        assert!(read(".._b.ndjson").contains("two"));
    }

    #[tokio::test]
    async fn letters_are_for_this_user_alone_also_in_a_folder_that_was_open() {
        let folder = tempfile::tempdir().unwrap();
        let rejected = folder.path().join("rejected");
        fs::create_dir(&rejected).unwrap();
        fs::write(rejected.join("a.ndjson"), "{\"older\":1}\n").unwrap();
        for (path, mode) in [(rejected.clone(), 0o755), (rejected.join("a.ndjson"), 0o644)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let sink = DeadLetterFile::new(rejected.clone());
        let long = "n".repeat(5_000);
        let events = vec![letter("a", "one"), letter("b", "two"), letter(&long, "three")];
        assert_eq!(send(&sink, events).await, Verdicts::All(Verdict::Delivered));
        sink.close().await;
        let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&rejected), 0o700);
        let mut files: Vec<PathBuf> =
            fs::read_dir(&rejected).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert_eq!(files.len(), 3, "{files:?}");
        assert!(files.iter().all(|file| mode(file) == 0o600));
        assert_eq!(fs::read_to_string(&files[0]).unwrap().lines().count(), 2);
    }

    #[tokio::test]
    async fn a_full_disk_is_waited_for_and_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/full", folder.path().join("a.ndjson")).unwrap();
        let sink = DeadLetterFile::new(folder.path().to_owned());
        let events = || vec![letter("a", "one"), letter("b", "two")];
        let Verdicts::Rows(verdicts) = send(&sink, events()).await else { panic!("two verdicts") };
        let Verdict::Blocked { detail, help, .. } = &verdicts[0] else { panic!("{verdicts:?}") };
        assert!(detail.contains("a.ndjson") && help.contains("room"), "{detail}: {help}");
        assert_eq!(verdicts[1], Verdict::Delivered);
    }

    #[tokio::test]
    async fn a_disk_that_hangs_holds_up_no_other_task() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.ndjson");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        // Held open, it takes some 64 KiB and then nothing more until somebody reads.
        let mut pipe = fs::File::options().read(true).write(true).open(&path).unwrap();
        let sink = DeadLetterFile::new(folder.path().to_owned());
        let events = vec![letter("a", &"x".repeat(100_000))];
        let sent = tokio::time::timeout(Duration::from_millis(300), send(&sink, events)).await;
        // This one thread went on, or the time would not have come.
        assert!(sent.is_err(), "the write hangs");
        std::io::Read::read_exact(&mut pipe, &mut vec![0; 100_000]).unwrap();
    }

    async fn send(sink: &DeadLetterFile, events: Vec<(RowId, Map)>) -> Verdicts {
        let mut body = Body::default();
        sink.encode(&Batch::of_events(events), &mut body);
        sink.send(&Request::of(body.finish(bytes::Bytes::from))).await
    }

    fn letter(component: &str, message: &str) -> (RowId, Map) {
        let text = format!(r#"{{"message":"{message}","rejected":{{"component":"{component}"}}}}"#);
        let Value::Object(event) = flowstone_core::parse_json(&mut text.into_bytes()).unwrap() else {
            panic!("an object")
        };
        (RowId::of(message.as_bytes()), event)
    }
}
