//! Errors that say nothing about a file, what is lost and told, and bytes that are no content.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use std::time::Duration;

use super::finding::runs_as_nobody;
use super::rig::{POLL, ROTATE_WAIT, Rig, Setting, gzip, lines, texts};

// --- errors that say nothing about a file

#[tokio::test(start_paused = true)]
async fn half_a_line_is_no_record_while_its_folder_is_away_and_an_open_file_is_read_meanwhile() {
    let mut rig = Rig::following("one\nbytes=12").await;
    rig.take_folder_away();
    rig.wait(3 * ROTATE_WAIT).await;
    rig.append("app.log", "34567\ntwo\nand a ha");
    rig.wait(3 * ROTATE_WAIT).await;
    rig.expect(["one", "bytes=1234567", "two"]);
    rig.append("app.log", "lf\n");
    rig.wait(POLL).await;
    rig.bring_folder_back();
    rig.expect_for_good(["one", "bytes=1234567", "two", "and a half"]).await;
    assert_eq!(rig.errors("vanished"), 0);
}

#[test]
fn half_a_line_is_no_record_while_its_folder_may_not_be_entered_or_listed() {
    if runs_as_nobody("edges::half_a_line_is_no_record_while_its_folder_may_not_be_entered_or_listed") {
        return;
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        for (mode, glob) in [(0o000, "sub/*"), (0o300, "sub/*"), (0o600, "sub/app.log"), (0o000, "**/app.*")]
        {
            let mut rig = Rig::new([(
                "paths",
                Setting::Paths(match glob {
                    "sub/*" => &["sub/*"],
                    "**/app.*" => &["**/app.*"],
                    _ => &["sub/app.log"],
                }),
            )]);
            fs::create_dir(rig.path("sub")).unwrap();
            rig.write("sub/app.log", "one\nbytes=12");
            rig.start().await;
            rig.read().await;
            rig.deliver().await;
            fs::set_permissions(rig.path("sub"), Permissions::from_mode(mode)).unwrap();
            rig.wait(3 * ROTATE_WAIT).await;
            rig.expect(["one"]);
            let problems = rig.health.problems();
            assert!(problems.len() == 1 && problems[0].contains("sub"), "{mode:o} {glob}: {problems:?}");
            fs::set_permissions(rig.path("sub"), Permissions::from_mode(0o700)).unwrap();
            rig.append("sub/app.log", "34567\n");
            rig.wait(POLL).await;
            assert!(rig.health.problems().is_empty(), "{:?}", rig.health.problems());
            rig.expect_for_good(["one", "bytes=1234567"]).await;
            assert_eq!(rig.errors("vanished"), 0);
        }
    });
}

#[tokio::test(start_paused = true)]
async fn a_link_that_leads_nowhere_for_a_while_says_nothing_about_its_file() {
    let mut rig = Rig::new([("paths", Setting::Paths(&["in/*"]))]);
    for folder in ["in", "pod"] {
        fs::create_dir(rig.path(folder)).unwrap();
    }
    rig.write("pod/0.log", "one\nbytes=12");
    symlink(rig.path("pod/0.log"), rig.path("in/app.log")).unwrap();
    rig.start().await;
    rig.read().await;
    rig.rename("pod", "elsewhere");
    rig.wait(3 * ROTATE_WAIT).await;
    rig.expect(["one"]);
    rig.rename("elsewhere", "pod");
    rig.append("pod/0.log", "34567\n");
    rig.expect_for_good(["one", "bytes=1234567"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_found_under_another_of_its_names_was_not_rotated() {
    let mut rig = Rig::new([("paths", Setting::Paths(&["a/app.log", "b/app.log"]))]);
    for folder in ["a", "b"] {
        fs::create_dir(rig.path(folder)).unwrap();
    }
    rig.write("b/app.log", "one\nbytes=12");
    rig.start().await;
    rig.read().await;
    // Now this is the first name that is found.
    fs::hard_link(rig.path("b/app.log"), rig.path("a/app.log")).unwrap();
    rig.wait(3 * ROTATE_WAIT).await;
    rig.append("b/app.log", "34567\n");
    rig.read().await;
    rig.quiesce().await;
    rig.expect(["one", "bytes=1234567"]);
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_was_made_anew_or_deleted_does_not_keep_the_last_line_of_a_deleted_file() {
    for anew in [false, true] {
        let mut rig = Rig::new([("paths", Setting::Paths(&["sub/*"]))]);
        fs::create_dir(rig.path("sub")).unwrap();
        rig.write("sub/app.log", "one\ntwo");
        rig.start().await;
        rig.read().await;
        fs::remove_dir_all(rig.path("sub")).unwrap();
        if anew {
            fs::create_dir(rig.path("sub")).unwrap();
        }
        rig.expect_for_good(["one", "two"]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pipe_that_takes_the_place_of_a_file_is_not_waited_for() {
    let mut rig = Rig::new([("close_inactive", Setting::Text("1s"))]);
    rig.write("a.log", "a 0\n");
    rig.write("b.log", "b 0\n");
    rig.start().await;
    rig.wait(Duration::from_secs(3)).await;
    rig.delete("a.log");
    rustix::fs::mkfifoat(rustix::fs::CWD, rig.path("a.log"), rustix::fs::Mode::RUSR).unwrap();
    rig.append("b.log", "b 1\n");
    rig.wait(Duration::from_secs(3)).await;
    rig.expect(["a 0", "b 0", "b 1"]);
}

/// The test runs once more with few descriptors, all of which it takes.
#[test]
fn with_too_few_descriptors_no_file_is_taken_for_gone() {
    const CHILD: &str = "FLOWSTONE_TEST_FEW_DESCRIPTORS";
    if std::env::var_os(CHILD).is_none() {
        let program = std::env::current_exe().unwrap();
        let script =
            "ulimit -n 64; exec \"$0\" --exact edges::with_too_few_descriptors_no_file_is_taken_for_gone";
        let output = Command::new("sh").args(["-c", script]).arg(program).env(CHILD, "1").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut rig = Rig::new([("close_inactive", Setting::Text("2s"))]);
        rig.write("a.log", "a 0\na");
        rig.write("b.log", "b 0\nb");
        rig.start().await;
        rig.wait(Duration::from_secs(1)).await;
        // One is closed by then, the other one open.
        rig.append("b.log", " 1\n");
        rig.wait(Duration::from_millis(1500)).await;
        let mut all = Vec::new();
        for _ in 0..10 {
            // The source closes one now and then.
            while let Ok(file) = File::open("/dev/null") {
                all.push(file);
            }
            rig.wait(ROTATE_WAIT / 2).await;
        }
        let problems = rig.health.problems();
        assert!(problems[0].contains("raise the limit of open files"), "{problems:?}");
        assert_eq!(rig.errors("vanished"), 0);
        drop(all);
        rig.append("a.log", " 1\n");
        rig.expect_for_good(["a 0", "a 1", "b 0", "b 1"]).await;
        assert_eq!(rig.errors("vanished"), 0);
    });
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_left_out_from_now_on_is_not_read_on_and_not_said_to_be_gone() {
    let mut rig = Rig::new([]);
    rig.write("a.log", "a 0\n");
    rig.write("b.log", "b 0\n");
    rig.start().await;
    rig.read().await;
    rig.stop().await;
    rig.append("a.log", "a 1\n");
    rig.append("b.log", "b 1\n");
    rig.configure("exclude", Setting::Paths(&["b.log"]));
    rig.start().await;
    rig.expect_for_good(["a 0", "a 1", "b 0"]).await;
    assert_eq!(rig.errors("vanished"), 0);
}

// --- what is lost is told

#[tokio::test(start_paused = true)]
async fn lines_that_were_lost_before_they_were_read_are_told_and_counted_once() {
    for (how, reason) in [("truncated", "truncated"), ("overwritten", "truncated"), ("deleted", "vanished")] {
        for restart in [false, true] {
            eprintln!("{how}, restart {restart}");
            let mut rig = Rig::new([("paths", Setting::Paths(&["*.log"]))]);
            rig.max_rows = 10;
            rig.write("a.log", lines("a", 1000));
            rig.start().await;
            rig.read_some(3).await;
            rig.deliver().await;
            if restart || how == "deleted" {
                // An open file is read to its end.
                rig.stop().await;
            }
            match how {
                "truncated" => rig.truncate("a.log"),
                "overwritten" => rig.write("a.log", lines("other", 3)),
                _ => rig.delete("a.log"),
            }
            if !rig.runs() {
                rig.start().await;
            }
            rig.wait(ROTATE_WAIT - 2 * POLL).await;
            assert_eq!(rig.errors(reason), 0, "a copy may turn up");
            rig.quiesce().await;
            assert_eq!(rig.errors(reason), 1);
            rig.stop().await;
            rig.start().await;
            rig.quiesce().await;
            assert_eq!(rig.errors(reason), 1, "once");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_told_of_lines_whose_copy_turns_up_and_of_files_that_were_read() {
    for copied in [false, true] {
        let mut rig = Rig::new([]);
        rig.max_rows = 10;
        rig.write("a.log", lines("a", 1000));
        rig.start().await;
        if copied {
            rig.read_some(3).await;
            rig.copy("a.log", "a.log.1");
        } else {
            rig.read().await;
        }
        rig.truncate("a.log");
        rig.read_some(1).await;
        rig.append("a.log", "new\n");
        rig.expect_for_good(texts("a", 1000).into_iter().chain(["new".to_owned()])).await;
        assert_eq!((rig.errors("truncated"), rig.errors("vanished")), (0, 0));
    }
    // Compressed before it was read, while the source is stopped.
    let mut rig = Rig::new([]);
    rig.max_rows = 10;
    rig.write("a.log", lines("a", 1000));
    rig.start().await;
    rig.read_some(3).await;
    rig.stop().await;
    rig.compress("a.log");
    rig.start().await;
    rig.expect_for_good(texts("a", 1000)).await;
    assert_eq!((rig.errors("truncated"), rig.errors("vanished")), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_finite_run_tells_what_was_lost_before_it_ends() {
    let mut rig = Rig::new([("follow", Setting::Truth(false))]);
    rig.max_rows = 10;
    rig.write("a.log", lines("a", 1000));
    rig.start().await;
    rig.read_some(3).await;
    rig.truncate("a.log");
    rig.quiesce().await;
    assert_eq!(rig.ended, Some(Ok(())));
    assert_eq!(rig.errors("truncated"), 1);
}

// --- bytes that are no content

/// A writer without `O_APPEND`: after a truncation it goes on at its old place.
struct Writer(File);

impl Writer {
    fn new(rig: &Rig, name: &str) -> Self {
        Self(File::create(rig.path(name)).unwrap())
    }

    fn write(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_record_behind_the_hole_of_a_copied_and_truncated_file_is_delivered() {
    // A page, more than a line may be long, and more than could be read.
    for hole in [4_096_u64, 5 << 20, 100 << 30] {
        for copied in [false, true] {
            for restart in [false, true] {
                eprintln!("a hole of {hole} bytes, copied {copied}, restart {restart}");
                let mut rig = Rig::new([]);
                let mut writer = Writer::new(&rig, "app.log");
                writer.write(&lines("old", 100));
                rig.start().await;
                rig.read().await;
                rig.deliver().await;
                let mut expect = texts("old", 100);
                for round in 0..3 {
                    if copied && hole < 1 << 30 {
                        rig.copy("app.log", &format!("app.log.{}", 3 - round));
                    }
                    rig.truncate("app.log");
                    let at = writer.0.stream_position().unwrap();
                    writer.0.seek(SeekFrom::Start(at + hole)).unwrap();
                    for number in 0..3 {
                        let line = format!("new {round} {number}");
                        writer.write(&line[..4]);
                        rig.read().await;
                        writer.write(&format!("{}\n", &line[4..]));
                        rig.read().await;
                        expect.push(line);
                    }
                    rig.deliver().await;
                    if restart {
                        rig.crash();
                        rig.start().await;
                    }
                }
                let started = std::time::Instant::now();
                rig.expect_for_good(expect).await;
                assert!(started.elapsed() < Duration::from_secs(60), "it was read byte by byte");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nuls_at_the_end_of_a_file_are_read_once_and_are_nothing_that_is_lost() {
    let mut rig = Rig::new([("paths", Setting::Paths(&["*.log"]))]);
    rig.write("a.log", [b"one\n", &[0; 10_000][..]].concat());
    rig.start().await;
    rig.quiesce().await;
    rig.append("a.log", "two\n");
    rig.append("a.log", [0; 10]);
    rig.quiesce().await;
    rig.delete("a.log");
    rig.expect_for_good(["one", "two"]).await;
    assert_eq!(rig.errors("vanished"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_byte_order_mark_is_no_content() {
    const MARK: &str = "\u{feff}";
    let header = "version account-id srcaddr";
    for as_gzip in [false, true] {
        let bytes = |text: String| if as_gzip { gzip(text.as_bytes()) } else { text.into_bytes() };
        let mut rig = Rig::new([]);
        rig.write("a.log", bytes(format!("{MARK}{header}\r\n2 1 a\r\n2 1 b\r\n")));
        rig.write("b.log", bytes(format!("{MARK}2 2 c\n")));
        rig.write("c.log", bytes(MARK.to_owned()));
        rig.start().await;
        rig.quiesce().await;
        let header_line = format!("header_line: {header}");
        rig.expect_for_good(["2 1 a", "2 1 b", "2 2 c", &header_line]).await;
        assert_eq!(rig.document("2 1 b").format.as_deref(), Some(header));
        assert_eq!(rig.document("2 2 c").format, None);

        let mut rig = Rig::new([("decoding", Setting::Text("json"))]);
        rig.texts_are_unique = false;
        rig.write("a.log", bytes(format!("{MARK}{{\"message\":\"a\"}}\n{{\"message\":\"b\"}}\n")));
        rig.start().await;
        rig.expect_for_good(["a", "b"]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_follows_the_last_member_of_a_gzip_file_costs_none_of_its_lines() {
    for count in [2, 5000] {
        for (behind, told) in [(&[0; 512][..], 0), (b"garbage", 1), (b"\0\0garbage", 1)] {
            for follow in [true, false] {
                let mut rig = Rig::new([("follow", Setting::Truth(follow))]);
                rig.write("a.gz", [&gzip(lines("a", count).as_bytes()), behind].concat());
                rig.start().await;
                rig.quiesce().await;
                rig.expect(texts("a", count));
                assert_eq!(rig.ended, (!follow).then_some(Ok(())));
                assert_eq!(rig.errors("gzip_trailing"), told);
                assert!(rig.health.problems().is_empty());
            }
        }
    }
    // Padding, and later another member.
    let mut rig = Rig::new([]);
    rig.write("a.gz", [&gzip(b"one\n"), &[0; 512][..]].concat());
    rig.start().await;
    rig.quiesce().await;
    rig.append("a.gz", gzip(b"two\n"));
    rig.expect_for_good(["one", "two"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_gzip_file_gives_what_can_be_read_of_it_and_says_that_it_is_cut_or_damaged() {
    let content = "2 1 eni-a 10.0.0.1\n2 1 eni-b 10.0.0.2\n2 1 eni-c 10.0.0.3\n";
    let whole = gzip(content.as_bytes());
    let mut damaged = whole.clone();
    let crc = damaged.len() - 6;
    damaged[crc] ^= 1;
    let cuts = [0, 1, 2, 5, 9, 10, 20, whole.len() - 9, whole.len() - 8, whole.len() - 1];
    let cuts = cuts.map(|cut| (cut, whole[..cut].to_vec()));
    for (cut, bytes) in cuts.into_iter().chain([(whole.len(), damaged)]) {
        for follow in [false, true] {
            eprintln!("{cut} bytes, follow {follow}");
            let mut rig = Rig::new([("follow", Setting::Truth(follow))]);
            rig.write("a.gz", &bytes);
            rig.start().await;
            rig.quiesce().await;
            if cut >= whole.len() - 8 {
                rig.expect(content.lines());
            }
            let told = rig.errors("gzip_incomplete") + rig.errors("unreadable");
            assert_eq!(told, u64::from(cut > 0));
            match &rig.ended {
                None => assert!(follow),
                Some(Ok(())) => assert_eq!(cut, 0),
                Some(Err(problem)) => {
                    assert!(problem.fatal && problem.message.contains("a.gz"), "{problem:?}");
                }
            }
            if follow && cut < whole.len() {
                // The rest comes after all.
                rig.append("a.gz", &whole[cut..]);
                rig.expect_for_good(content.lines()).await;
            }
        }
    }
}

// --- names

#[tokio::test(start_paused = true)]
async fn a_file_whose_name_is_no_utf_8_is_read_and_known_again() {
    let name = |bytes: &'static [u8]| OsStr::from_bytes(bytes);
    let mut rig = Rig::new([]);
    let path = rig.path("x").with_file_name(name(b"\xff\xfe.log"));
    fs::write(&path, "one\ntw").unwrap();
    rig.start().await;
    rig.quiesce().await;
    rig.expect(["one"]);
    assert_eq!(rig.document("one").path, "\u{fffd}\u{fffd}.log");
    rig.stop().await;
    rig.start().await;
    rig.quiesce().await;
    // It was not renamed, which the lossy path would look like.
    rig.expect(["one"]);
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"o\nthree\n").unwrap();
    fs::rename(&path, path.with_file_name(name(b"\xff\xfe.log.1"))).unwrap();
    rig.expect_for_good(["one", "two", "three"]).await;
}

#[tokio::test(start_paused = true)]
async fn links_to_an_ancestor_do_not_make_a_look_endless() {
    let mut rig = Rig::new([("paths", Setting::Paths(&["**/*.log"]))]);
    fs::create_dir(rig.path("sub")).unwrap();
    for number in 0..8 {
        symlink("..", rig.path(&format!("sub/up{number}"))).unwrap();
    }
    rig.write("sub/a.log", "one\n");
    rig.start().await;
    rig.expect_for_good(["one"]).await;
    assert_eq!(rig.document("one").path, "sub/a.log");
}
