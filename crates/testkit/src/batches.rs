//! Batches as sources make them, for tests and benches of what comes behind.

use flowstone_core::event::{Batch, Page, RowId, StrRef};

/// A batch of these lines, all in one page: `message`, and `@timestamp`, the time of reading in milliseconds since the
/// epoch. The ids are the lines' numbers.
pub fn lines<S: AsRef<str>>(lines: &[S], read_at: i64) -> Batch {
    let mut text = String::new();
    let mut places = Vec::with_capacity(lines.len());
    for line in lines {
        let line = line.as_ref();
        places.push(StrRef { page: 0, offset: text.len() as u32, len: line.len() as u32 });
        text.push_str(line);
        text.push('\n');
    }
    let ids = (0..lines.len() as u128).map(RowId::from_u128).collect();
    let has_newlines = lines.iter().any(|line| line.as_ref().contains('\n'));
    let page = if has_newlines { Page::from_text(text) } else { Page::of_lines(text) };
    Batch::of_lines(page, places, ids, read_at)
}
