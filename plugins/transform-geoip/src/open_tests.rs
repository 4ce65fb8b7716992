//! New files in place of old ones, while everybody reads.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use flowstone_mmdb::AreaCache;
use flowstone_testkit::mmdb::Mmdb;

use super::*;

/// A database in which every address has the same country, and so does every batch that asks one database.
fn country(code: &str, nodes: u32) -> Vec<u8> {
    let mut database = Mmdb::new("GeoLite2-Country");
    for number in 0..nodes {
        let record = serde_json::json!({ "country": { "iso_code": code, "names": { "en": format!("Country {code} {number}") } } });
        database.insert(&format!("{}.{}.0.0/16", 1 + number / 256, number % 256), &record);
    }
    database.bytes()
}

/// Puts a file in place as one should: written beside, then renamed.
fn put(path: &Path, bytes: &[u8]) {
    let beside = path.with_extension("new");
    fs::write(&beside, bytes).unwrap();
    fs::rename(&beside, path).unwrap();
}

fn code_of(database: &Database) -> String {
    let record = record_of(database, [1, 0, 0, 1]);
    record.country_code.unwrap_or_default().to_owned()
}

fn record_of(database: &Database, ip: [u8; 4]) -> flowstone_mmdb::Record<'_> {
    let mut offsets = [0];
    database.mmdb.find_v4(&[u32::from_be_bytes(ip)], &mut offsets);
    database.mmdb.record(offsets[0] - 1, &mut AreaCache::default()).unwrap()
}

fn folder_with(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("country.mmdb");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

#[test]
fn one_file_is_open_once_by_whatever_path() {
    let (folder, path) = folder_with(&country("AA", 1));
    let first = open(&path).unwrap();
    assert!(Arc::ptr_eq(&first, &open(&path).unwrap()));
    assert!(Arc::ptr_eq(&first, &open(&folder.path().join(".").join("country.mmdb")).unwrap()));
    #[cfg(unix)]
    {
        let link = folder.path().join("link.mmdb");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(Arc::ptr_eq(&first, &open(&link).unwrap()));
    }
    let weak = Arc::downgrade(&first);
    drop(first);
    assert!(weak.upgrade().is_none(), "nobody needs it any more");
}

#[test]
fn a_new_file_is_read_when_it_has_settled_and_a_broken_one_leaves_the_old() {
    let (_folder, path) = folder_with(&country("AA", 1));
    let watched = open(&path).unwrap();
    assert!(!watched.has_settled_anew() && !watched.has_settled_anew(), "it is the same");

    put(&path, &country("BB", 2));
    assert!(!watched.has_settled_anew(), "it might still be written to");
    assert!(watched.has_settled_anew());
    watched.reload();
    assert_eq!(code_of(&watched.current()), "BB");
    assert!(!watched.has_settled_anew(), "it is known");

    for broken in [&b"no database"[..], &country("CC", 3)[..200], &[]] {
        put(&path, broken);
        watched.has_settled_anew();
        assert!(watched.has_settled_anew());
        watched.reload();
        assert_eq!(code_of(&watched.current()), "BB");
        assert_eq!((watched.take_refused(), watched.take_refused()), (1, 0));
        assert!(!watched.has_settled_anew(), "a broken file is not tried again");
    }
    fs::remove_file(&path).unwrap();
    assert!(!watched.has_settled_anew() && !watched.has_settled_anew(), "a file that is gone is no new one");

    put(&path, &country("DD", 4));
    watched.has_settled_anew();
    assert!(watched.has_settled_anew());
    watched.reload();
    assert_eq!(code_of(&watched.current()), "DD");
}

#[test]
fn the_file_is_looked_at_once_a_second_and_read_by_a_thread_of_its_own() {
    let (_folder, path) = folder_with(&country("AA", 1));
    let watched = open(&path).unwrap();
    put(&path, &country("BB", 2));
    let end = Instant::now() + Duration::from_secs(60);
    while code_of(&watched.current()) == "AA" {
        assert!(Instant::now() < end, "the new file is not read");
        watched.check();
        std::thread::sleep(Duration::from_millis(5));
    }
    // It is looked at twice, a second apart, before it is read.
    assert!(watched.started.elapsed() >= 2 * INTERVAL);
}

#[test]
fn who_reads_while_files_come_and_go_reads_one_of_them() {
    let codes = ["AA", "BB", "CC"];
    // Of different sizes, so that no offset in one is the same in another.
    let files = [country("AA", 50), country("BB", 300), country("CC", 120)];
    let (_folder, path) = folder_with(&files[0]);
    let watched = open(&path).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = [false; 3];
                    while !done.load(Ordering::Relaxed) {
                        let database = watched.current();
                        let first = code_of(&database);
                        seen[codes.iter().position(|code| *code == first).unwrap()] = true;
                        for number in 0..50 {
                            let record = record_of(&database, [1, number, 2, 3]);
                            let name = format!("Country {first} {number}");
                            assert_eq!(
                                (record.country_code, record.country_name),
                                (Some(&*first), Some(&*name))
                            );
                        }
                    }
                    seen
                })
            })
            .collect();
        for round in 0..60 {
            match round % 4 {
                // Now and then somebody writes over the file in place, and is not done.
                3 => fs::write(&path, &files[round % 3][..100]).unwrap(),
                _ => put(&path, &files[round % 3]),
            }
            watched.reload();
            std::thread::sleep(Duration::from_millis(2));
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            assert_eq!(reader.join().unwrap(), [true; 3], "each file was in use");
        }
    });
    assert_eq!(watched.take_refused(), 15);
}
