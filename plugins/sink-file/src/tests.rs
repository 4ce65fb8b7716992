use std::fs;
use std::path::Path;

use flowstone_dialect::Template;

use super::*;

fn sink(path: &Path, change: impl FnOnce(&mut FileOptions)) -> FileSink {
    let mut options = options(path.to_str().unwrap());
    change(&mut options);
    // Where nothing can be noted, but in the tests that are about it.
    FileSink::new(options, "/dev/null/unsynced".into()).unwrap()
}

fn options(path: &str) -> FileOptions {
    FileOptions {
        path: FilePath(Template::parse(path).unwrap()),
        encoding: Encoding::Json,
        max_bytes: None,
        mode: "0600".to_owned(),
        flush_interval: Duration::ZERO,
        version_field: false,
    }
}

fn batch(messages: &[&str]) -> Batch {
    let mut batch = Batch::new(messages.iter().map(|message| RowId::of(message.as_bytes())).collect());
    for (row, message) in messages.iter().enumerate() {
        batch.row_mut(row).set("message", *message).unwrap();
        batch
            .row_mut(row)
            .set("@timestamp", Value::Time(1_551_002_309_000 + row as i64 * 86_400_000))
            .unwrap();
    }
    batch
}

fn request(sink: &FileSink, batch: &Batch) -> Request {
    let mut body = Body::default();
    sink.encode(batch, &mut body);
    assert!(body.take_rejected().is_empty());
    Request::of(body.finish(bytes::Bytes::from))
}

async fn write(sink: &FileSink, messages: &[&str]) -> Verdicts {
    sink.send(&request(sink, &batch(messages))).await
}

#[tokio::test]
async fn events_are_lines_and_files_are_appended_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/folder/out.ndjson");
    for _ in 0..2 {
        assert_eq!(write(&sink(&path, |_| ()), &["a\nb"]).await, Verdicts::All(Verdict::Delivered));
    }
    let line = "{\"message\":\"a\\nb\",\"@timestamp\":\"2019-02-24T09:58:29.000Z\"}\n";
    assert_eq!(fs::read_to_string(path).unwrap(), line.repeat(2));
}

#[tokio::test]
async fn a_date_in_the_path_makes_a_file_a_day() {
    let folder = tempfile::tempdir().unwrap();
    let sink =
        sink(&folder.path().join("dead-%{+YYYY-MM-dd}.txt"), |options| options.encoding = Encoding::Text);
    assert_eq!(write(&sink, &["one", "two", "three"]).await, Verdicts::All(Verdict::Delivered));
    for (day, text) in [("24", "one\n"), ("25", "two\n"), ("26", "three\n")] {
        let path = folder.path().join(format!("dead-2019-02-{day}.txt"));
        assert_eq!(fs::read_to_string(path).unwrap(), text);
    }
}

#[test]
fn a_path_out_of_an_event_cannot_lead_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let sink = sink(&folder.path().join("%{message}.log"), |_| ());
    let mut batch = batch(&["fine", "../../etc/x", "a/../b"]);
    batch.row_mut(2).remove("message");
    let mut body = Body::default();
    sink.encode(&batch, &mut body);
    let rejected = body.take_rejected();
    assert_eq!(body.rows(), 1);
    assert_eq!(rejected.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [1, 2]);
    assert!(rejected[0].1.detail.contains("leads out"), "{:?}", rejected[0]);
    assert!(rejected[1].1.detail.contains("does not have"), "{:?}", rejected[1]);
}

#[tokio::test]
async fn what_others_left_unfinished_stays_and_lines_begin_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    for (before, kept) in
        [("whole\nunfinished", "whole\nunfinished\n"), ("{}", "{}\n"), ("whole\n", "whole\n"), ("", "")]
    {
        fs::write(&path, before).unwrap();
        let sink = sink(&path, |options| options.encoding = Encoding::Text);
        assert_eq!(write(&sink, &["next"]).await, Verdicts::All(Verdict::Delivered));
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{kept}next\n"), "{before:?}");
    }
}

#[tokio::test]
async fn a_full_file_is_numbered_and_nothing_is_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let sink = sink(&path, |options| {
        options.encoding = Encoding::Text;
        options.max_bytes = Some(ByteSize(10));
    });
    for messages in [&["1234", "5678"][..], &["90"], &["larger than a file may be", "x"]] {
        assert_eq!(write(&sink, messages).await, Verdicts::All(Verdict::Delivered));
    }
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(read("out.1"), "1234\n5678\n");
    assert_eq!(read("out.2"), "90\n");
    assert_eq!(read("out.3"), "larger than a file may be\n");
    assert_eq!(read("out"), "x\n");
}

#[tokio::test]
async fn a_file_that_somebody_moved_away_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let sink = sink(&path, |options| options.encoding = Encoding::Text);
    assert_eq!(write(&sink, &["one"]).await, Verdicts::All(Verdict::Delivered));
    fs::rename(&path, folder.path().join("moved")).unwrap();
    assert_eq!(write(&sink, &["two"]).await, Verdicts::All(Verdict::Delivered));
    assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
}

#[tokio::test]
async fn what_cannot_be_written_waits_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("file")).unwrap();
    std::os::unix::fs::symlink("/dev/full", folder.path().join("file/out")).unwrap();
    let sink = sink(&folder.path().join("%{message}/out"), |_| ());
    // The second one's disk is full.
    let Verdicts::Rows(verdicts) = write(&sink, &["fine", "file"]).await else { panic!("two verdicts") };
    assert_eq!(verdicts[0], Verdict::Delivered);
    let Verdict::Blocked { detail, help, .. } = &verdicts[1] else { panic!("{verdicts:?}") };
    assert!(detail.contains("file/out") && !help.is_empty(), "{detail}: {help}");
    fs::remove_file(folder.path().join("file/out")).unwrap();
    assert_eq!(write(&sink, &["fine", "file"]).await, Verdicts::All(Verdict::Delivered));
}

#[tokio::test]
async fn any_number_of_files_can_be_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let sink = sink(&folder.path().join("%{message}"), |options| options.encoding = Encoding::Text);
    let names: Vec<String> = (0..300).map(|number| format!("file-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for _ in 0..2 {
        assert_eq!(write(&sink, &names).await, Verdicts::All(Verdict::Delivered));
    }
    for name in names {
        assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), format!("{name}\n{name}\n"));
    }
}

#[test]
fn a_path_that_names_no_file_is_refused_at_start() {
    for path in ["", "/tmp/"] {
        assert_eq!(FileSink::new(options(path), PathBuf::new()).err().unwrap()[0].option, "path");
    }
}

#[tokio::test]
async fn a_name_that_no_disk_takes_is_its_events_fault_and_holds_up_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let sink = sink(&folder.path().join("o/%{message}"), |options| options.encoding = Encoding::Text);
    let long = "n".repeat(300);
    let far = "y/".repeat(1_500) + "y";
    let messages = ["a.log/b", "a.log", "c", "c/d", &long, &far, "fine"];
    let Verdicts::Rows(verdicts) = write(&sink, &messages).await else { panic!("a verdict each") };
    for (message, verdict) in messages.iter().zip(&verdicts) {
        let fine = ["a.log/b", "c", "fine"].contains(message) || *message == far;
        match verdict {
            Verdict::Delivered => assert!(fine, "{message}"),
            Verdict::Reject(why) => {
                assert!(!fine && why.reason == "path", "{message}: {why:?}");
                assert!(why.detail.len() < 1_000 && why.detail.contains("cannot write to"), "{why:?}");
            }
            other => panic!("{message}: {other:?}"),
        }
    }
    assert_eq!(fs::read_to_string(folder.path().join("o/fine")).unwrap(), "fine\n");
}

#[tokio::test]
async fn a_folder_where_the_only_file_should_be_is_for_the_operator_to_see_to() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("out")).unwrap();
    let sink = sink(&folder.path().join("out"), |_| ());
    let Verdicts::Rows(verdicts) = write(&sink, &["a"]).await else { panic!("a verdict each") };
    assert!(matches!(verdicts[0], Verdict::Blocked { .. }), "{verdicts:?}");
}

#[test]
fn a_field_names_a_file_below_the_folder_that_is_written_out() {
    let check = |template: &str, path: &str| FilePath(Template::parse(template).unwrap()).check(path);
    for (template, path, expect) in [
        ("%{f}.log", "/etc/x.log", "absolute"),
        ("%{f}.log", "x.log", ""),
        ("%{f}/x.log", "../x.log", "leads out"),
        (".%{f}", "../x", "leads out"),
        ("o/%{f}", "o/../../x", "leads out"),
        ("../o/%{f}", "../o/x", ""),
        ("../o/%{f}", "../o/a/../x", "leads out"),
        ("/d/%{f}", "/d//etc/x", ""),
        ("/d/%{f}", "/d/", "names no file"),
        ("/d/%{f}", "/d/.", "names no file"),
        ("/d/%{f}", "/d/a\0b", "NUL"),
        ("/d/%{f}", "/d/%{f}", "does not have"),
        ("%{f}", "", "names no file"),
    ] {
        match check(template, path) {
            Ok(()) => assert_eq!(expect, "", "{template} {path}"),
            Err(why) => assert!(!expect.is_empty() && why.contains(expect), "{template} {path}: {why}"),
        }
    }
    let why = check("/d/%{f}", &format!("/d/{}", "x/".repeat(500_000))).unwrap_err();
    assert!(why.contains("4096") && why.len() < 500, "{why}");
}

#[test]
fn a_path_that_begins_with_a_field_is_warned_about() {
    use flowstone_core::{Diagnostics, Node, NodeKind, OptionType, Severity, Span};
    for (path, warned) in [
        ("%{f}.log", true),
        ("%{f}/%{+YYYY}", true),
        ("o/%{f}.log", false),
        ("%{+YYYY}.log", false),
        ("x", false),
    ] {
        let kind = NodeKind::String(path.to_owned());
        let node = Node { span: Span::default(), text_start: None, from_variable: false, kind };
        let mut diagnostics = Diagnostics::new();
        assert!(FilePath::read(&node, &mut diagnostics).is_some());
        let told: Vec<_> = diagnostics.into_iter().map(|diagnostic| diagnostic.severity).collect();
        assert_eq!(told, vec![Severity::Warning; usize::from(warned)], "{path}");
    }
}

#[tokio::test]
async fn files_are_for_their_owner_alone_unless_the_option_says_otherwise() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for (option, file, dir) in [("0600", 0o600, 0o700), ("640", 0o640, 0o750), ("0664", 0o664, 0o775)] {
        let path = folder.path().join(option).join("out");
        let made = sink(&path, |options| options.mode = option.to_owned());
        assert_eq!(write(&made, &["a"]).await, Verdicts::All(Verdict::Delivered));
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (file, dir));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(write(&made, &["b"]).await, Verdicts::All(Verdict::Delivered));
        assert_eq!(mode(&path), 0o644, "what is there keeps its own");
    }
    for option in ["", "rw", "0400", "1777", "9"] {
        let mut options = options("x");
        options.mode = option.to_owned();
        assert_eq!(FileSink::new(options, PathBuf::new()).err().unwrap()[0].option, "mode", "{option}");
    }
}

#[tokio::test]
async fn a_disk_that_hangs_holds_up_no_other_task() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    // Held open, it takes some 64 KiB and then nothing more until somebody reads.
    let mut pipe = fs::File::options().read(true).write(true).open(&path).unwrap();
    let sink = sink(&path, |_| ());
    let request = request(&sink, &batch(&[&"x".repeat(100_000)]));
    let patience = Duration::from_millis(300);
    {
        let sent = sink.send(&request);
        tokio::pin!(sent);
        // This one thread goes on: the timers fire.
        assert!(tokio::time::timeout(patience, &mut sent).await.is_err(), "the write hangs");
        assert!(tokio::time::timeout(patience, sink.close()).await.is_err(), "closing waits for it");
    }
    std::io::Read::read_exact(&mut pipe, &mut vec![0; 100_000]).unwrap();
}

/// Runs in a process of its own that may open few files.
#[tokio::test]
async fn writes_to_many_files() {
    let Ok(folder) = std::env::var("SINK_FILE_MANY") else { return };
    let sink = sink(&Path::new(&folder).join("%{message}"), |_| ());
    let names: Vec<String> = (0..100).map(|number| format!("file-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(write(&sink, &names).await, Verdicts::All(Verdict::Delivered));
}

#[test]
fn with_too_few_descriptors_files_take_turns() {
    let folder = tempfile::tempdir().unwrap();
    let ran = std::process::Command::new("sh")
        .args(["-c", "ulimit -n 30; exec \"$0\" --exact tests::writes_to_many_files"])
        .arg(std::env::current_exe().unwrap())
        .env("SINK_FILE_MANY", folder.path())
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 100);
}

/// Runs in a process of its own that the system kills in the middle of a write (SIGXFSZ).
#[tokio::test]
async fn writes_until_it_is_killed() {
    let Ok(folder) = std::env::var("SINK_FILE_TORN") else { return };
    let folder = Path::new(&folder);
    let mut options = options(folder.join("out").to_str().unwrap());
    options.encoding = Encoding::Text;
    let sink = FileSink::new(options, folder.join("state/unsynced")).unwrap();
    for number in 0..1000 {
        let line = format!("{number} {}", "x".repeat(1_000));
        let _ = write(&sink, &[&line]).await;
    }
}

#[tokio::test]
async fn a_crash_in_the_middle_of_a_write_leaves_whole_lines_after_the_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let state = folder.path().join("state/unsynced");
    let crash = || {
        let program = std::env::current_exe().unwrap();
        let killed = std::process::Command::new("sh")
            .args(["-c", "ulimit -c 0; ulimit -f 9; exec \"$0\" --exact tests::writes_until_it_is_killed"])
            .arg(program)
            .env("SINK_FILE_TORN", folder.path())
            .output()
            .unwrap();
        assert!(!killed.status.success());
        fs::read_to_string(&path).unwrap()
    };
    let again = || {
        let mut options = options(path.to_str().unwrap());
        options.encoding = Encoding::Text;
        FileSink::new(options, state.clone()).unwrap()
    };
    fs::write(&path, "theirs").unwrap();
    let torn = crash();
    assert!(torn.starts_with("theirs\n0 xxx") && !torn.ends_with('\n'), "it was killed within a line");
    let whole = &torn[..=torn.rfind('\n').unwrap()];
    let sink = again();
    assert_eq!(write(&sink, &["next"]).await, Verdicts::All(Verdict::Delivered));
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{whole}next\n"));
    sink.close().await;
    assert!(!state.exists(), "nothing is left to be said");
    assert!(state.parent().unwrap().exists(), "the folder was there before");
    let new = folder.path().join("data/sink/out");
    let sink = FileSink::new(options(path.to_str().unwrap()), new.join("unsynced")).unwrap();
    assert_eq!(write(&sink, &["last"]).await, Verdicts::All(Verdict::Delivered));
    assert!(new.join("unsynced").exists());
    sink.close().await;
    assert!(!folder.path().join("data").exists(), "who keeps nothing leaves nothing behind");

    // Somebody has written behind it, or cut it, or put another file there: then it is left alone.
    for change in [
        |path: &Path, torn: &str| fs::write(path, format!("{torn}{}", "y".repeat(2_000))).unwrap(),
        |path: &Path, _: &str| fs::write(path, "short").unwrap(),
        |path: &Path, torn: &str| {
            fs::remove_file(path).unwrap();
            // The old inode must not be given out again.
            fs::write(path.with_extension("other"), "").unwrap();
            fs::write(path, torn).unwrap();
        },
    ] {
        fs::write(&path, "").unwrap();
        let torn = crash();
        assert!(!torn.ends_with('\n'));
        change(&path, &torn);
        let before = fs::read_to_string(&path).unwrap();
        let sink = again();
        assert_eq!(write(&sink, &["next"]).await, Verdicts::All(Verdict::Delivered));
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{before}\nnext\n"));
        sink.close().await;
    }
}
