//! The path of a file: a template in which a field may choose a name below what is written out, and nothing else.

use std::io::ErrorKind;

use flowstone_core::{Diagnostic, Diagnostics, Node, OptionType, Verdict};
use flowstone_dialect::Template;
use flowstone_lines::WriteError;

/// No system takes longer paths.
const MAX_LENGTH: usize = 4096;

/// The option `path`.
#[derive(Clone, Debug)]
pub struct FilePath(pub(crate) Template);

// === impl FilePath ===

impl OptionType for FilePath {
    const TYPE: &'static str = Template::TYPE;

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        let path = Self(Template::read(node, diagnostics)?);
        if path.0.beginning().is_empty() && path.varies() {
            let message = "the path begins with what comes out of an event";
            diagnostics.push(
                Diagnostic::warning("path-from-event", message, node.span)
                    .label("no folder that events stay in is written out")
                    .help("begin with a folder, as in `/var/lib/flowstone/%{field}.ndjson`"),
            );
        }
        Some(path)
    }

    fn show(&self) -> String {
        self.0.show()
    }
}

impl FilePath {
    /// Whether an event's fields are part of it.
    pub(crate) fn varies(&self) -> bool {
        self.0.fields().next().is_some()
    }

    /// What is wrong with the path as it is written out, if nothing in it varies.
    pub(crate) fn check_literal(&self) -> Result<(), String> {
        match self.0.literal() {
            Some(path) => names_file(path),
            None => Ok(()),
        }
    }

    /// Whether a rendered path may be written to: it names a file below the folder that is written out.
    pub(crate) fn check(&self, path: &str) -> Result<(), String> {
        if self.0.literal().is_some() {
            return Ok(());
        }
        if path.len() > MAX_LENGTH {
            return Err(format!("`{}` has more than {MAX_LENGTH} bytes", shown(path)));
        }
        names_file(path)?;
        let beginning = self.0.beginning();
        let folder = beginning.rfind('/').map_or(0, |slash| slash + 1);
        if folder == 0 && path.starts_with('/') {
            return Err(format!("`{}` is absolute, and `path` is not", shown(path)));
        }
        if path.get(folder..).unwrap_or(path).split('/').any(|part| part == "..") {
            return Err(format!("`{}` leads out of its folder", shown(path)));
        }
        if path.contains("%{") {
            return Err(format!("`{}` names a field that the event does not have", shown(path)));
        }
        Ok(())
    }

    /// What becomes of rows that could not be written. What an event's field brought about is that event's own fault:
    /// no operator can put it right. All else is waited for.
    pub(crate) fn verdict(&self, failed: &WriteError) -> Verdict {
        let path = failed.path.to_string_lossy();
        let detail = format!("cannot write to {}: {}", shown(&path), failed.error);
        if self.varies() && failed.is_about_the_name() {
            return Verdict::reject("path", detail);
        }
        let (reason, help) = match failed.error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                ("disk_full", "make room on the disk, or choose another `path`".to_owned())
            }
            ErrorKind::FileTooLarge => (
                "file_too_large",
                "raise the limit on the size of files, or set `max_bytes` below it".to_owned(),
            ),
            ErrorKind::PermissionDenied => (
                "permission_denied",
                format!(
                    "let the user that flowstone runs as write to {} and its folder, or choose another `path`",
                    shown(&path)
                ),
            ),
            ErrorKind::ReadOnlyFilesystem => {
                ("read_only", "mount the file system for writing, or choose another `path`".to_owned())
            }
            _ => {
                ("write", format!("see why {} cannot be written to, or choose another `path`", shown(&path)))
            }
        };
        Verdict::blocked(reason, detail, help)
    }
}

fn names_file(path: &str) -> Result<(), String> {
    if path.is_empty() || path.ends_with('/') || path.ends_with("/.") {
        return Err(format!("`{}` names no file", shown(path)));
    }
    if path.contains('\0') {
        return Err("a path cannot hold a NUL byte".to_owned());
    }
    Ok(())
}

/// A path as it is told: not more than a few lines of it.
fn shown(path: &str) -> String {
    const MOST: usize = 300;
    match path.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &path[..end]),
        None => path.to_owned(),
    }
}
