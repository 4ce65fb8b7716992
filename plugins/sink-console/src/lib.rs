//! flowstone sink that writes events to standard output or standard error: one JSON document a line for pipes, or
//! flows in columns for people.
//!
//! It promises nothing across a crash: what a terminal or a pipe has taken cannot be asked back.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::disallowed_methods))] // see clippy.toml

mod pretty;

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use bytes::Bytes;
use flowstone_core::event::{EncodeOptions, JsonRows};
use flowstone_core::prelude::*;
use flowstone_core::shown::{printable_json, printable_lines};

use crate::pretty::Pretty;

choices! {
    /// How an event is written.
    pub enum Encoding {
        /// One JSON document a line.
        Json = "json",
        /// A line of columns for a flow, indented JSON for anything else; in colour on a terminal. What a terminal
        /// would obey is escaped, here always, in the other encodings on a terminal only.
        Pretty = "pretty",
        /// The event's `message`; JSON for an event without one.
        Text = "text",
    }
}

choices! {
    /// Where to.
    pub enum Target {
        /// Standard output.
        Stdout = "stdout",
        /// Standard error.
        Stderr = "stderr",
    }
}

options! {
    /// Options of `console`.
    pub struct ConsoleOptions {
        /// How an event is written: `json` for pipes, `pretty` for people, `text` for the message alone.
        encoding: Encoding = Encoding::Json,
        /// Where events are written to: `stdout`, or `stderr` where standard output is taken.
        target: Target = Target::Stdout,
        /// Whether documents carry `"@version": "1"`, as Logstash's do.
        version_field: bool = false,
    }
}

struct Console {
    options: ConsoleOptions,
    pretty: Pretty,
    /// Somebody reads it on a terminal, which obeys what a record may say. A pipe or a file gets documents as they are.
    terminal: bool,
}

// === impl Console ===

impl Console {
    fn new(options: ConsoleOptions) -> Self {
        let terminal = match options.target {
            Target::Stdout => io::stdout().is_terminal(),
            Target::Stderr => io::stderr().is_terminal(),
        };
        // https://no-color.org
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { options, pretty: Pretty { colour }, terminal }
    }

    fn write_row(&self, documents: &mut JsonRows<'_>, batch: &Batch, row: usize, out: &mut Vec<u8>) {
        let start = out.len();
        match self.options.encoding {
            Encoding::Json => documents.write(row, out),
            Encoding::Pretty => self.pretty.write(batch, row, self.options.version_field, out),
            Encoding::Text => match batch.row(row).str("message") {
                Some(message) if self.terminal => {
                    out.extend_from_slice(printable_lines(message).as_bytes());
                }
                Some(message) => out.extend_from_slice(message.as_bytes()),
                None => documents.write(row, out),
            },
        }
        // What `pretty` shows is escaped already; of a text nothing is left to escape.
        if self.terminal && self.options.encoding != Encoding::Pretty {
            escape_json(out, start);
        }
        out.push(b'\n');
    }
}

#[async_trait]
impl Sink for Console {
    fn encode(&self, batch: &Batch, body: &mut Body) {
        let key = body.key(match self.options.target {
            Target::Stdout => "standard output",
            Target::Stderr => "standard error",
        });
        let mut documents = batch.json_rows(EncodeOptions { version_field: self.options.version_field });
        for row in batch.live_rows() {
            body.row(batch.id(row), key, |buffer| {
                let start = buffer.len();
                self.write_row(&mut documents, batch, row, buffer);
                start
            });
        }
    }

    async fn send(&self, request: &Request) -> Verdicts {
        let (chunks, target) = (request.chunks(), self.options.target);
        // A pipe whose reader is slow blocks; that must not hold up other sinks.
        let written = blocking(move || match target {
            Target::Stdout => write_all(&mut io::stdout().lock(), &chunks),
            Target::Stderr => write_all(&mut io::stderr().lock(), &chunks),
        });
        Verdicts::All(verdict(written.await))
    }

    fn limits(&self) -> SinkLimits {
        // Somebody is watching: nothing waits for more.
        SinkLimits { flush_interval: Duration::ZERO, ..SinkLimits::default() }
    }

    fn rejects(&self) -> bool {
        false
    }
}

/// Escapes what a terminal would obey in the JSON that begins at `start`.
fn escape_json(out: &mut Vec<u8>, start: usize) {
    if let Ok(text) = std::str::from_utf8(&out[start..])
        && let Cow::Owned(escaped) = printable_json(text)
    {
        out.truncate(start);
        out.extend_from_slice(escaped.as_bytes());
    }
}

fn write_all(out: &mut impl Write, chunks: &[Bytes]) -> io::Result<()> {
    for chunk in chunks {
        out.write_all(chunk)?;
    }
    out.flush()
}

fn verdict(written: io::Result<()>) -> Verdict {
    match written {
        Ok(()) => Verdict::Delivered,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Verdict::Closed,
        Err(error) => Verdict::blocked(
            "write",
            format!("cannot write to the console: {error}"),
            "if the output goes to a file, make room on its disk",
        ),
    }
}

register_sink! {
    "console",
    summary: "writes events to standard output: JSON lines for a pipe, columns for people",
    options: ConsoleOptions,
    example: "encoding = \"json\"",
    build: |options: ConsoleOptions, _cx: &BuildCx| Ok(Box::new(Console::new(options))),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(encoding: Encoding, event: &[(&str, Value)]) -> String {
        encoded_for(false, encoding, event)
    }

    fn encoded_for(terminal: bool, encoding: Encoding, event: &[(&str, Value)]) -> String {
        let mut batch = Batch::new(vec![RowId::default()]);
        for (name, value) in event {
            batch.row_mut(0).set(name, value.clone()).unwrap();
        }
        let options = ConsoleOptions { encoding, ..ConsoleOptions::defaults() };
        let sink = Console { options, pretty: Pretty { colour: false }, terminal };
        let mut body = Body::default();
        sink.encode(&batch, &mut body);
        let segment = body.finish(Bytes::from);
        String::from_utf8(segment.bytes().to_vec()).unwrap()
    }

    #[test]
    fn json_is_one_document_a_line() {
        let line = encoded(Encoding::Json, &[("message", Value::from("a\nb")), ("n", Value::Int(1))]);
        assert_eq!(line, "{\"message\":\"a\\nb\",\"n\":1}\n");
    }

    #[test]
    fn text_is_the_message_or_the_whole_event() {
        assert_eq!(encoded(Encoding::Text, &[("message", Value::from("hello"))]), "hello\n");
        assert_eq!(encoded(Encoding::Text, &[("n", Value::Int(1))]), "{\"n\":1}\n");
    }

    #[test]
    fn a_terminal_is_told_nothing_to_obey_and_a_pipe_gets_documents_as_they_are() {
        const HOSTILE: &str = "a\u{1b}]52;c;eA==\u{7}\u{9b}2J\u{202e}\u{7f}\r\nb\tc";
        let flow = |extra: &[(&'static str, Value)]| {
            let mut event = vec![
                ("srcaddr", Value::from(HOSTILE)),
                ("dstaddr", Value::from(HOSTILE)),
                ("action", Value::from(HOSTILE)),
                ("interface-id", Value::from(HOSTILE)),
                ("[src_geoip][country_code2]", Value::from(HOSTILE)),
            ];
            event.extend_from_slice(extra);
            event
        };
        let message = [("message", Value::from(HOSTILE))];
        let odd = [("\u{202e}key", Value::from(HOSTILE)), ("list", Value::from(vec![HOSTILE, "x"]))];
        for (encoding, event) in [
            (Encoding::Text, &message[..]),
            (Encoding::Text, &odd[..]),
            (Encoding::Json, &odd[..]),
            (Encoding::Pretty, &odd[..]),
            (Encoding::Pretty, &flow(&[])),
        ] {
            let shown = encoded_for(true, encoding, event);
            let obeyed = |c: char| flowstone_core::shown::is_command(c) && !matches!(c, '\n' | '\t');
            assert!(!shown.contains(obeyed), "{encoding:?}: {shown:?}");
            if encoding == Encoding::Pretty {
                assert_eq!(
                    encoded_for(false, encoding, event),
                    shown,
                    "a pipe ends on a terminal often enough"
                );
            }
        }
        assert_eq!(encoded_for(true, Encoding::Pretty, &flow(&[])).lines().count(), 1);
        // Another spelling of the same document.
        assert_eq!(
            encoded_for(true, Encoding::Json, &odd[..1]),
            encoded_for(false, Encoding::Json, &odd[..1])
                .replace('\u{202e}', "\\u202e")
                .replace('\u{7f}', "\\u007f")
                .replace('\u{9b}', "\\u009b")
        );
        assert_eq!(encoded(Encoding::Text, &message), format!("{HOSTILE}\n"));
        assert!(encoded(Encoding::Json, &odd).contains("\u{202e}key"));
    }

    #[test]
    fn a_reader_that_is_gone_closes_and_a_full_disk_blocks() {
        assert_eq!(verdict(Ok(())), Verdict::Delivered);
        assert_eq!(verdict(Err(io::ErrorKind::BrokenPipe.into())), Verdict::Closed);
        assert!(matches!(verdict(Err(io::ErrorKind::StorageFull.into())), Verdict::Blocked { .. }));
    }
}
