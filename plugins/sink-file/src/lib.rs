//! flowstone sink that writes events to files, one a line, and acknowledges them when they are on the disk.
//!
//! It promises at least once: a crash between the write and the checkpoint writes the same lines again at the next
//! start. A line that a crash left unfinished is cut off when its file is opened again.
#![forbid(unsafe_code)]

mod files;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flowstone_core::Destinations;
use flowstone_core::event::{EncodeOptions, Reject};
use flowstone_core::prelude::*;

use crate::files::{Files, Trouble};

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
        /// its fields. Folders are made as needed.
        path: Template,
        /// How an event is written: `json`, or its `message` alone as `text`.
        encoding: Encoding = Encoding::Json,
        /// A file that would become larger is first renamed to `PATH.1`, `PATH.2` and so on, the higher the newer.
        /// Nothing is ever deleted. Unset: files grow without end; a date in `path` rotates them.
        max_bytes: Option<ByteSize> = None,
        /// How long events may wait for others: each write ends with an fsync.
        flush_interval: Duration = Duration::from_millis(500),
        /// Whether documents carry `"@version": "1"`, as Logstash's do.
        version_field: bool = false,
    }
}

struct FileSink {
    options: FileOptions,
    files: Arc<Mutex<Files>>,
}

// === impl FileSink ===

impl FileSink {
    fn new(options: FileOptions) -> Result<Self, Vec<BuildError>> {
        let mut errors = Vec::new();
        if options.max_bytes.is_some_and(|limit| limit.0 == 0) {
            errors.push(
                BuildError::option("max_bytes", "a file of no bytes holds nothing")
                    .label("expected more than 0"),
            );
        }
        if let Some(literal) = options.path.literal()
            && let Err(why) = check_path(literal, true)
        {
            errors.push(BuildError::option("path", why).label("expected the path of a file"));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let files = Files::new(options.max_bytes.map(|limit| limit.0));
        Ok(Self { options, files: Arc::new(Mutex::new(files)) })
    }
}

/// Whether a rendered path can be written to; `trusted` when nothing of it comes out of an event.
fn check_path(path: &str, trusted: bool) -> Result<(), String> {
    if path.is_empty() || path.ends_with('/') {
        return Err(format!("`{path}` names no file"));
    }
    if path.contains('\0') {
        return Err("a path cannot hold a NUL byte".to_owned());
    }
    if !trusted && path.split('/').any(|part| part == "..") {
        return Err(format!("`{path}` leads out of its folder"));
    }
    if !trusted && path.contains("%{") {
        return Err(format!("`{path}` names a field that the event does not have"));
    }
    Ok(())
}

#[async_trait]
impl Sink for FileSink {
    fn encode(&self, batch: &Batch, body: &mut Body) {
        let trusted = self.options.path.literal().is_some();
        let mut paths: Destinations<'_, Result<u32, Reject>> = Destinations::new(&self.options.path, batch);
        let mut documents = batch.json_rows(EncodeOptions { version_field: self.options.version_field });
        for row in batch.live_rows() {
            let place = paths.of(row, |path| match check_path(path, trusted) {
                Ok(()) => Ok(body.key(path)),
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
        let (request, files) = (request.clone(), Arc::clone(&self.files));
        // A disk takes its time, an fsync most of all; other sinks go on meanwhile.
        let written = tokio::task::spawn_blocking(move || {
            files.lock().unwrap_or_else(PoisonError::into_inner).write(&request)
        });
        match written.await {
            Ok(troubles) if troubles.iter().all(Option::is_none) => Verdicts::All(Verdict::Delivered),
            Ok(troubles) => Verdicts::Rows(troubles.into_iter().map(verdict).collect()),
            Err(error) => Verdicts::All(Verdict::busy("write", error.to_string())),
        }
    }

    async fn close(&self) {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).close();
    }

    fn limits(&self) -> SinkLimits {
        SinkLimits { flush_interval: self.options.flush_interval, ..SinkLimits::default() }
    }

    fn claims(&self) -> Vec<String> {
        self.options.path.literal().map(|path| format!("file {path}")).into_iter().collect()
    }
}

fn verdict(trouble: Option<Arc<Trouble>>) -> Verdict {
    match trouble {
        None => Verdict::Delivered,
        Some(trouble) => Verdict::blocked(trouble.reason, trouble.detail.clone(), trouble.what_to_do.clone()),
    }
}

register_sink! {
    "file",
    summary: "writes events to files, one a line, synced before they are acknowledged",
    options: FileOptions,
    example: "path = \"/var/lib/flowstone/dead-%{+YYYY-MM-dd}.ndjson\"",
    build: |options: FileOptions, _cx: &BuildCx| Ok(Box::new(FileSink::new(options)?)),
}

#[cfg(test)]
mod tests;
