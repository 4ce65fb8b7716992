//! Where dead letters go that nobody reads: `<data_dir>/rejected/NAME.ndjson`. Never nowhere.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

use async_trait::async_trait;
use flowstone_core::event::{Batch, EncodeOptions};
use flowstone_core::{Body, Request, Sink, SinkLimits, Verdict, Verdicts};

use crate::letter;

/// Appends each rejected record to the file of the component that rejected it, synced before it counts as delivered.
pub(crate) struct DeadLetterFile {
    folder: PathBuf,
}

// === impl DeadLetterFile ===

impl DeadLetterFile {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn append(&self, request: &Request) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let mut open: Option<(String, File)> = None;
        for (segment, row) in request.each_row() {
            let name = segment.key(row);
            if open.as_ref().is_none_or(|(opened, _)| **name != **opened) {
                if let Some((_, file)) = open.take() {
                    file.sync_data()?;
                }
                let file = OpenOptions::new().create(true).append(true).open(self.folder.join(&**name))?;
                open = Some((name.to_string(), file));
            }
            if let Some((_, file)) = &mut open {
                file.write_all(segment.document(row))?;
            }
        }
        open.map_or(Ok(()), |(_, file)| file.sync_data())
    }
}

#[async_trait]
impl Sink for DeadLetterFile {
    fn encode(&self, batch: &Batch, body: &mut Body) {
        body.json(EncodeOptions::default());
        for row in batch.live_rows() {
            let component = letter::component_of(batch, row).unwrap_or_else(|| "unknown".to_owned());
            let key = body.key(&format!("{}.ndjson", component.replace(['/', '\\', '\0'], "_")));
            body.row(batch.id(row), key, |buffer| {
                let start = buffer.len();
                batch.write_json(row, EncodeOptions::default(), buffer);
                buffer.push(b'\n');
                start
            });
        }
    }

    async fn send(&self, request: &Request) -> Verdicts {
        Verdicts::All(match self.append(request) {
            Ok(()) => Verdict::Delivered,
            Err(error) => Verdict::blocked(
                "dead_letter_file",
                format!("cannot write to {}: {error}", self.folder.display()),
                format!(
                    "make room on the disk and let flowstone write to {}, or read the `rejected` ports with a sink of your own",
                    self.folder.display()
                ),
            ),
        })
    }

    fn rejects(&self) -> bool {
        false
    }

    fn limits(&self) -> SinkLimits {
        SinkLimits { flush_interval: std::time::Duration::from_millis(200), ..SinkLimits::default() }
    }
}

#[cfg(test)]
mod tests {
    use flowstone_core::event::{RowId, Value};

    use super::*;

    #[tokio::test]
    async fn each_component_has_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let sink = DeadLetterFile::new(folder.path().join("rejected"));
        let letter = |component: &str, message: &str| {
            let text = format!(r#"{{"message":"{message}","rejected":{{"component":"{component}"}}}}"#);
            let Value::Object(event) = flowstone_core::parse_json(&mut text.into_bytes()).unwrap() else {
                panic!("an object")
            };
            (RowId::of(message.as_bytes()), event)
        };
        let events = vec![letter("a", "one"), letter("../b", "two"), letter("a", "three")];
        let mut body = Body::default();
        sink.encode(&Batch::of_events(events), &mut body);
        let request = Request::of(body.finish(bytes::Bytes::from));
        assert_eq!(sink.send(&request).await, Verdicts::All(Verdict::Delivered));
        let read = |name: &str| fs::read_to_string(folder.path().join("rejected").join(name)).unwrap();
        assert_eq!(read("a.ndjson").lines().count(), 2);
        assert!(read(".._b.ndjson").contains("two"));
    }
}
