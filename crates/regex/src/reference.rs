//! Reads grok's references: `%{NAME}`, `%{NAME:field:type}`, `%{NAME=regex}`.

use std::sync::Arc;

use crate::ast::Node;
use crate::cursor::Cursor;
use crate::error::{PatternError, Source};
use crate::names::{Definitions, nearest};
use crate::parse::{Flags, Parser};

/// Logstash's limit of substitutions.
const MAX_REFERENCES: usize = 10_000;

/// The parts of a reference, as ranges of the text that holds it.
struct Reference {
    name: std::ops::Range<usize>,
    /// Empty where there is none; begins with the colon.
    field: std::ops::Range<usize>,
    definition: Option<std::ops::Range<usize>>,
    end: usize,
}

// === impl Parser ===

impl Parser<'_> {
    /// `%{NAME}`, `%{NAME:field:type}`, `%{NAME=regex}`, `%{NAME:field=regex}`; anything else after the part that was
    /// understood is passed over up to the `}`, as in Logstash. Not a reference at all: plain text.
    pub(crate) fn reference(
        &mut self,
        cursor: &mut Cursor<'_>,
        flags: Flags,
        names: &dyn Definitions,
        named_only: bool,
    ) -> Result<Option<Node>, PatternError> {
        let open = cursor.at;
        let Some(reference) = Reference::read(cursor.text, open) else { return Ok(None) };
        cursor.at = reference.end;
        let name = &cursor.text[reference.name.clone()];
        if let Some(definition) = &reference.definition {
            let text = cursor.text[definition.clone()].to_owned();
            self.inline
                .insert(name.to_owned(), (text, cursor.base + definition.start, cursor.source.clone()));
        }
        self.references += 1;
        if self.references > MAX_REFERENCES {
            let label = format!("at most {MAX_REFERENCES}");
            return Err(cursor.error(open, reference.end, "the pattern refers to too many others", label));
        }
        if self.within.iter().any(|outer| outer == name) {
            let path: Vec<&str> = self
                .within
                .iter()
                .map(String::as_str)
                .skip_while(|outer| *outer != name)
                .chain([name])
                .collect();
            let message = format!("pattern `{name}` refers to itself");
            return Err(cursor.error(reference.name.start, reference.name.end, message, path.join(" > ")));
        }
        let (text, base, source) = match (self.inline.get(name), names.get(name)) {
            (Some((text, base, source)), _) => (Arc::from(text.as_str()), *base, source.clone()),
            (None, Some(text)) => {
                let source = Source::Definition { name: name.into(), text: Arc::clone(&text) };
                (text, 0, source)
            }
            (None, None) => {
                let message = format!("no pattern is called `{name}`");
                let mut error = match nearest(name, names.all()) {
                    Some(near) => cursor.error(
                        reference.name.start,
                        reference.name.end,
                        message,
                        format!("did you mean `{near}`?"),
                    ),
                    None => {
                        cursor.error(reference.name.start, reference.name.end, message, "an unknown name")
                    }
                };
                error.help = Some(
                    "define it in `pattern_definitions` or in a file named in `patterns_dir`".to_owned(),
                );
                return Err(error);
            }
        };
        // The group has its number before those within it.
        let full = &cursor.text[reference.name.start..reference.field.end];
        let number = match () {
            () if !reference.field.is_empty() => {
                self.check_name(cursor, reference.name.start, full)?;
                Some(self.new_group(full))
            }
            () if !named_only => Some(self.new_group(full)),
            () => None,
        };
        self.within.push(name.to_owned());
        let mut inner = Cursor { text: &text, at: 0, base, source };
        let node = self.whole(&mut inner, flags)?;
        self.within.pop();
        Ok(Some(match number {
            Some(number) => Node::Capture(number, Box::new(node)),
            None => node,
        }))
    }
}

// === impl Reference ===

impl Reference {
    fn read(text: &str, open: usize) -> Option<Self> {
        let bytes = text.as_bytes();
        let run = |from: usize, more: &[u8]| {
            let ours = |byte: &u8| matches!(byte, b'A'..=b'z' | b'0'..=b'9') || more.contains(byte);
            from + bytes[from..].iter().take_while(|&byte| ours(byte)).count()
        };
        let start = open + 2;
        let name = start..run(start, b"");
        if name.is_empty() {
            return None;
        }
        let mut field = name.end..name.end;
        if bytes.get(name.end) == Some(&b':') {
            let end = run(name.end + 1, b"@:.-");
            if end > name.end + 1 {
                field.end = end;
            }
        }
        let mut at = field.end;
        let mut definition = None;
        if bytes.get(at) == Some(&b'=') {
            let from = at + 1;
            let mut depth = 0;
            let mut to = from;
            while let Some(&byte) = bytes.get(to) {
                match byte {
                    b'\\' => to += 1,
                    b'{' => depth += 1,
                    b'}' if depth == 0 => break,
                    b'}' => depth -= 1,
                    _ => {}
                }
                to += 1;
            }
            let to = to.min(bytes.len());
            if to > from {
                definition = Some(from..to);
                at = to;
            }
        }
        let end = at + text.get(at..)?.find('}')? + 1;
        Some(Self { name, field, definition, end })
    }
}
