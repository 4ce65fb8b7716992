//! Folders and files that nobody else may look into, whatever the umask: they hold records.
#![expect(clippy::disallowed_methods, reason = "it blocks: its callers are on threads that may")]

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

const FOLDER: u32 = 0o700;
const FILE: u32 = 0o600;

/// Makes a folder, and those above it that are missing, for this user alone. One that is there already and belongs to
/// this user is closed to others; those above it stay as they are.
pub fn make_private_dir(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => return close_to_others(path, &found, FOLDER),
        Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Err(_) => {}
    }
    if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty() && !above.exists()) {
        make_private_dir(above)?;
    }
    match DirBuilder::new().mode(FOLDER).create(path) {
        // A umask may have taken away what the owner needs.
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(FOLDER)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => make_private_dir(path),
        Err(error) => Err(error),
    }
}

/// Makes flowstone's data folder for this user alone. One that is there is closed to others too if nothing else is in it:
/// `data_dir = "."` locks nobody out of a folder of their own. What lies below is closed in any case.
pub fn make_data_dir(path: &Path) -> io::Result<()> {
    match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => make_private_dir(path),
        Err(error) => Err(error),
        Ok(entries) => {
            for entry in entries {
                let name = entry?.file_name();
                let is_ours =
                    name.to_str().is_some_and(|name| OURS.contains(&name) || name.starts_with("backfill-"));
                if !is_ours {
                    return Ok(());
                }
            }
            make_private_dir(path)
        }
    }
}

/// What flowstone makes in its data folder.
const OURS: [&str; 6] = ["lock", "source", "transform", "sink", "rejected", "waiting"];

/// Opens a file with these options, for this user alone: one that is made, and one that is there and belongs to this
/// user.
pub fn open_private(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = options.mode(FILE).open(path)?;
    let found = file.metadata()?;
    if found.is_file() && is_ours(&found) && found.mode() & 0o777 != FILE {
        file.set_permissions(Permissions::from_mode(FILE))?;
    }
    Ok(file)
}

/// Makes the names in a folder survive a power cut.
pub fn sync_dir(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn close_to_others(path: &Path, found: &fs::Metadata, mode: u32) -> io::Result<()> {
    if found.mode() & 0o077 != 0 && is_ours(found) {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    Ok(())
}

fn is_ours(found: &fs::Metadata) -> bool {
    found.uid() == rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_data_folder_is_closed_unless_others_keep_something_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        make_data_dir(&data).unwrap();
        assert_eq!(mode(&data), 0o700);
        for name in ["lock", "source", "backfill-1"] {
            fs::write(data.join(name), "").unwrap();
        }
        for (other, expect) in [(None, 0o700), (Some("letter.txt"), 0o755)] {
            fs::set_permissions(&data, Permissions::from_mode(0o755)).unwrap();
            if let Some(other) = other {
                fs::write(data.join(other), "").unwrap();
            }
            make_data_dir(&data).unwrap();
            assert_eq!(mode(&data), expect, "{other:?}");
        }
        assert_eq!(make_data_dir(&data.join("lock")).unwrap_err().kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn what_is_made_is_for_this_user_alone_and_what_is_wider_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let above = folder.path().join("wide");
        fs::create_dir(&above).unwrap();
        fs::set_permissions(&above, Permissions::from_mode(0o755)).unwrap();
        let inner = above.join("a/b");
        make_private_dir(&inner).unwrap();
        assert_eq!((mode(&above), mode(&above.join("a")), mode(&inner)), (0o755, 0o700, 0o700));
        make_private_dir(&above).unwrap();
        assert_eq!(mode(&above), 0o700);

        let file = inner.join("f");
        for before in [None, Some(0o644), Some(0o400)] {
            if let Some(before) = before {
                fs::set_permissions(&file, Permissions::from_mode(before)).unwrap();
            }
            open_private(
                &file,
                OpenOptions::new().read(true).append(before != Some(0o400)).create(before != Some(0o400)),
            )
            .unwrap();
            assert_eq!(mode(&file), 0o600, "{before:?}");
        }
        assert_eq!(make_private_dir(&file).unwrap_err().kind(), io::ErrorKind::NotADirectory);
    }
}
