//! Diagnostics as people read them: code and message, file and line, the line itself with carets under the place,
//! what was expected, what to do.

use std::fmt::Write as _;

use flowstone_core::shown::{MASK, is_command, printable};
use flowstone_core::{Diagnostic, Severity, Span};
use unicode_width::UnicodeWidthChar;

use crate::files::{File, Files};
use crate::secrets::Secrets;

/// A line longer than this is shown in part.
const MAX_COLUMNS: usize = 160;

/// Writes all diagnostics, and a last line that counts them.
pub(crate) fn render(diagnostics: &[Diagnostic], files: &Files, secrets: &Secrets, colour: bool) -> String {
    let renderer = Renderer { files, secrets, paint: Paint { colour } };
    let mut out = String::new();
    for diagnostic in diagnostics {
        renderer.diagnostic(diagnostic, &mut out);
        out.push('\n');
    }
    let count = |severity| diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count();
    let counted: Vec<String> = [(count(Severity::Error), "error"), (count(Severity::Warning), "warning")]
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, word)| format!("{number} {word}{}", if number == 1 { "" } else { "s" }))
        .collect();
    if !counted.is_empty() {
        out.push_str(&counted.join(", "));
        out.push('\n');
    }
    out
}

struct Renderer<'a> {
    files: &'a Files,
    secrets: &'a Secrets,
    paint: Paint,
}

/// Terminal colours, or none.
struct Paint {
    colour: bool,
}

/// A line as it is shown, and the column of each byte at which a character begins.
struct Shown {
    text: String,
    /// Byte of the source line, column on the screen; ascending in both.
    columns: Vec<(usize, usize)>,
}

// === impl Renderer ===

impl Renderer<'_> {
    fn diagnostic(&self, diagnostic: &Diagnostic, out: &mut String) {
        let (word, colour) = match diagnostic.severity {
            Severity::Error => ("error", RED),
            Severity::Warning => ("warning", YELLOW),
        };
        let head = self.paint.with(colour, &format!("{word}[{}]", diagnostic.code));
        let message = self.paint.with(BOLD, &format!(": {}", self.text(&diagnostic.message)));
        writeln!(out, "{head}{message}").ok();
        let spans = diagnostic.span.iter().chain(diagnostic.also.iter().map(|(span, _)| span));
        let gutter = spans
            .filter_map(|span| Some(self.files.get(span.file)?.locate(span.start).line))
            .max()
            .unwrap_or(0);
        let gutter = gutter.to_string().len();
        if let Some(span) = diagnostic.span {
            self.excerpt(span, &diagnostic.label, "-->", (colour, '^'), gutter, out);
        }
        for (span, words) in &diagnostic.also {
            self.excerpt(*span, words, ":::", (BLUE, '-'), gutter, out);
        }
        if let Some(help) = &diagnostic.help {
            let sign = self.paint.with(BLUE, &format!("{:gutter$} =", ""));
            let help = self.text(help).replace('\n', &format!("\n{:gutter$}   ", ""));
            writeln!(out, "{sign} help: {help}").ok();
        }
    }

    fn excerpt(
        &self,
        span: Span,
        label: &str,
        arrow: &str,
        mark: (&str, char),
        gutter: usize,
        out: &mut String,
    ) {
        let Some(file) = self.files.get(span.file) else { return };
        let at = file.locate(span.start);
        let arrow = self.paint.with(BLUE, arrow);
        writeln!(out, "{:gutter$}{arrow} {}:{}:{}", "", printable(&file.name), at.line, at.column).ok();
        let (shown, start, end) = self.line(file, span);
        let number = self.paint.with(BLUE, &format!("{:>gutter$} |", at.line));
        writeln!(out, "{number} {shown}").ok();
        let carets: String = std::iter::repeat_n(mark.1, (end - start).max(1)).collect();
        let bar = self.paint.with(BLUE, &format!("{:gutter$} |", ""));
        let marked = self.paint.with(mark.0, format!("{carets} {}", self.text(label)).trim_end());
        writeln!(out, "{bar} {:start$}{marked}", "").ok();
    }

    /// The line of a span as shown, and the columns of the span's start and end in it.
    fn line(&self, file: &File, span: Span) -> (String, usize, usize) {
        let at = file.locate(span.start);
        let line = &file.text[at.line_start..at.line_end];
        let masks = self.secrets.masked(span.file, at.line_start, line);
        let shown = Shown::of(line, &masks);
        let start = shown.column(span.start.saturating_sub(at.line_start));
        let end = shown.column(span.end.min(at.line_end).saturating_sub(at.line_start)).max(start);
        shown.window(start, end)
    }

    /// Text of a message: without secrets and without what a terminal would take for a command.
    fn text(&self, text: &str) -> String {
        self.secrets
            .scrub(text)
            .chars()
            .map(|c| if c != '\n' && is_command(c) { '\u{fffd}' } else { c })
            .collect()
    }
}

// === impl Shown ===

impl Shown {
    fn of(line: &str, masks: &[std::ops::Range<usize>]) -> Self {
        let mut shown = Self { text: String::new(), columns: Vec::new() };
        let mut column = 0;
        let mut masks = masks.iter().peekable();
        for (at, c) in line.char_indices() {
            while masks.next_if(|mask| mask.end <= at).is_some() {}
            if let Some(mask) = masks.peek()
                && mask.start <= at
            {
                if mask.start == at || at == 0 {
                    shown.columns.push((at, column));
                    shown.text.push_str(MASK);
                    column += MASK.len();
                }
                continue;
            }
            shown.columns.push((at, column));
            match c {
                '\t' => {
                    shown.text.push_str("    ");
                    column += 4;
                }
                c => {
                    // A control character could move the cursor; it has no width to align with either.
                    let c = if is_command(c) || c.width().is_none() { '\u{fffd}' } else { c };
                    shown.text.push(c);
                    column += c.width().unwrap_or(1);
                }
            }
        }
        shown.columns.push((line.len(), column));
        shown
    }

    /// The column of a byte; within a mask, where the mask begins.
    fn column(&self, byte: usize) -> usize {
        let after = self.columns.partition_point(|(at, _)| *at <= byte);
        self.columns[after.max(1) - 1].1
    }

    /// The part of a long line around a place, and the place in it.
    fn window(self, start: usize, end: usize) -> (String, usize, usize) {
        let total = self.columns.last().map_or(0, |(_, column)| *column);
        if total <= MAX_COLUMNS {
            return (self.text, start, end);
        }
        let from = start.saturating_sub(MAX_COLUMNS / 4).min(total - MAX_COLUMNS);
        let mut text = String::new();
        let mut column = 0;
        for c in self.text.chars() {
            if (from..from + MAX_COLUMNS).contains(&column) {
                text.push(c);
            }
            column += c.width().unwrap_or(1);
        }
        let (before, after) =
            (if from > 0 { "…" } else { "" }, if from + MAX_COLUMNS < total { "…" } else { "" });
        let shift = usize::from(from > 0);
        (format!("{before}{text}{after}"), start - from + shift, end.min(from + MAX_COLUMNS) - from + shift)
    }
}

// === impl Paint ===

const RED: &str = "1;31";
const YELLOW: &str = "1;33";
const BLUE: &str = "1;34";
const BOLD: &str = "1";

impl Paint {
    fn with(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
