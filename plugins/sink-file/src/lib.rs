//! flowstone sink that writes events to files, one a line, and acknowledges them when they are on the disk.
//!
//! It promises at least once: a crash between the write and the checkpoint writes the same lines again at the next
//! start. What a crash of the program left unfinished is known from its state folder, and cut off before the next write;
//! nothing else is ever cut off. Behind any other end without a newline, its lines begin with one.
//!
//! A path that no disk would take (a name that is too long, a folder where a file should be) is the fault of the event
//! that names it, which goes to the `rejected` port. What an operator can put right (a full disk, a permission) is
//! waited for, and so that each file keeps its order all of this sink waits.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::disallowed_methods))] // see clippy.toml

mod path;

use std::path::PathBuf;
use std::time::Duration;

use flowstone_core::event::{EncodeOptions, Reject};
use flowstone_core::prelude::*;
use flowstone_dialect::Destinations;
use flowstone_lines::{LineFileOptions, SharedLineFiles};

pub use crate::path::FilePath;

choices! {
    /// How an event is written.
    pub enum Encoding {
        /// One JSON document a line.
        Json = "json",
        /// The event's `message`; JSON for an event without one.
        Text = "text",
    }
}

options! {
    /// Options of `file`.
    pub struct FileOptions {
        /// Where to: a path in which `%{+YYYY-MM-dd}` is the event's day (`@timestamp`, in UTC) and `%{field}` one of
        /// its fields. Folders are made as needed. A field names a file below the folder that is written out in front of
        /// it: it cannot make the path absolute, nor climb with `..`.
        path: FilePath,
        /// How an event is written: `json`, or its `message` alone as `text`.
        encoding: Encoding = Encoding::Json,
        /// A file that would become larger is first renamed to `PATH.1`, `PATH.2` and so on, the higher the newer.
        /// Nothing is ever deleted. Unset: files grow without end; a date in `path` rotates them.
        max_bytes: Option<ByteSize> = None,
        /// Permissions of files that are made, in octal and whatever the umask: events are nobody else's business unless you
        /// say so, as with `"0640"`. Folders that are made can be entered by whoever may read. What is there keeps its own.
        mode: String = "0600".to_owned(),
        /// How long events may wait for others: each write ends with an fsync.
        flush_interval: Duration = Duration::from_millis(500),
        /// Whether documents carry `"@version": "1"`, as Logstash's do.
        version_field: bool = false,
    }
}

struct FileSink {
    options: FileOptions,
    files: SharedLineFiles,
}

// === impl FileSink ===

impl FileSink {
    /// `unsynced` is where it notes what it is writing.
    fn new(options: FileOptions, unsynced: PathBuf) -> Result<Self, Vec<BuildError>> {
        let mut errors = Vec::new();
        if options.max_bytes.is_some_and(|limit| limit.0 == 0) {
            errors.push(
                BuildError::option("max_bytes", "a file of no bytes holds nothing")
                    .label("expected more than 0"),
            );
        }
        if let Err(why) = options.path.check_literal() {
            errors.push(BuildError::option("path", why).label("expected the path of a file"));
        }
        let mode = u32::from_str_radix(&options.mode, 8).ok().filter(|mode| mode & !0o777 == 0);
        // Files are looked into before they are appended to.
        let Some(mode) = mode.filter(|mode| mode & 0o600 == 0o600) else {
            errors.push(
                BuildError::option("mode", format!("`{}` lets nobody write a file", options.mode)).label(
                    "expected permissions in octal that let their owner read and write, such as \"0640\"",
                ),
            );
            return Err(errors);
        };
        if !errors.is_empty() {
            return Err(errors);
        }
        let max_bytes = options.max_bytes.map(|limit| limit.0);
        let files = SharedLineFiles::new(LineFileOptions { mode, private: false, max_bytes, unsynced });
        Ok(Self { options, files })
    }
}

#[async_trait]
impl Sink for FileSink {
    fn encode(&self, batch: &Batch, body: &mut Body) {
        let path = &self.options.path;
        let mut paths: Destinations<'_, Result<u32, Reject>> = Destinations::new(&path.0, batch);
        let options = EncodeOptions { version_field: self.options.version_field };
        let mut documents = batch.json_rows(options);
        if self.options.encoding == Encoding::Json {
            body.json(options);
        }
        for row in batch.live_rows() {
            let place = paths.of(row, |rendered| match path.check(rendered) {
                Ok(()) => Ok(body.key(rendered)),
                Err(why) => Err(Reject::new("path", why)),
            });
            let key = match place {
                Some(Ok(key)) => *key,
                Some(Err(reject)) => {
                    body.reject(row, reject.clone());
                    continue;
                }
                None => {
                    let detail = "the file is named by the day of @timestamp, which the event does not have";
                    body.reject(row, Reject::new("no_timestamp", detail));
                    continue;
                }
            };
            body.row(batch.id(row), key, |buffer| {
                let start = buffer.len();
                match (self.options.encoding, batch.row(row).str("message")) {
                    (Encoding::Text, Some(message)) => buffer.extend_from_slice(message.as_bytes()),
                    _ => documents.write(row, buffer),
                }
                buffer.push(b'\n');
                start
            });
        }
    }

    async fn send(&self, request: &Request) -> Verdicts {
        let verdict = |failed: &_| self.options.path.verdict(failed);
        self.files.write(request, |path| path.into(), verdict).await
    }

    async fn close(&self) {
        self.files.close().await;
    }

    fn limits(&self) -> SinkLimits {
        SinkLimits { flush_interval: self.options.flush_interval, ..SinkLimits::default() }
    }

    fn claims(&self) -> Vec<String> {
        self.options.path.0.literal().map(|path| format!("file {path}")).into_iter().collect()
    }
}

register_sink! {
    "file",
    summary: "writes events to files, one a line, synced before they are acknowledged",
    options: FileOptions,
    example: "path = \"/var/lib/flowstone/dead-%{+YYYY-MM-dd}.ndjson\"",
    build: |options: FileOptions, cx: &BuildCx| {
        Ok(Box::new(FileSink::new(options, cx.state_dir().path().join("unsynced"))?))
    },
}

#[cfg(test)]
mod tests;
