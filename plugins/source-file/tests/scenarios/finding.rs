//! Which files are found and when, where reading of them begins, and what is said about those that cannot be read.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::rig::{POLL, Rig, Setting, gzip, lines, texts};

#[tokio::test(start_paused = true)]
async fn files_and_folders_that_appear_later_are_read_from_their_beginning() {
    for read_from in ["beginning", "end"] {
        let paths = Setting::Paths(&["*.log", "sub*/**/*.log", "exactly-this"]);
        let mut rig = Rig::new([("paths", paths), ("read_from", Setting::Text(read_from))]);
        rig.start().await;
        rig.quiesce().await;
        rig.write("a.log", "a\n");
        rig.write("a.txt", "not this\n");
        rig.read().await;
        fs::create_dir_all(rig.path("sub1/deep/er")).unwrap();
        rig.write("sub1/b.log", "b\n");
        rig.write("sub1/deep/er/c.log", "c\n");
        rig.write("exactly-this", "d\n");
        rig.read().await;
        rig.stop().await;
        rig.write("e.log", "e\n");
        rig.start().await;
        rig.expect_for_good(["a", "b", "c", "d", "e"]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn exclude_names_files_and_paths() {
    let exclude = Setting::Paths(&["b.log", "sub/*"]);
    let mut rig = Rig::new([("paths", Setting::Paths(&["**/*.log"])), ("exclude", exclude)]);
    fs::create_dir(rig.path("sub")).unwrap();
    for name in ["a.log", "b.log", "sub/c.log"] {
        rig.write(name, format!("{name}\n"));
    }
    rig.start().await;
    rig.expect_for_good(["a.log"]).await;
}

#[tokio::test(start_paused = true)]
async fn reading_from_the_end_begins_with_what_is_written_after_the_first_start() {
    let mut rig = Rig::new([("read_from", Setting::Text("end")), ("max_line_bytes", Setting::Number(100))]);
    rig.write("a.log", "old\nol");
    rig.write("b.log", lines("old", 500));
    rig.write("c.log.gz", gzip(b"old\n"));
    rig.write("flow.log", "version account-id srcaddr\n2 1 old\n");
    rig.write("empty.log", "");
    rig.start().await;
    assert_eq!(rig.read().await, 0);
    rig.append("a.log", "d but finished now\n");
    rig.read().await;
    // The checkpoint counts from now on, even before anything was delivered.
    rig.crash();
    rig.append("b.log", "new b\n");
    rig.append("flow.log", "2 1 new\n");
    rig.append("empty.log", "new e\n");
    rig.start().await;
    rig.read().await;
    rig.rename("b.log", "b.log.1");
    rig.compress("b.log.1");
    rig.write("b.log", lines("old", 2));
    rig.expect_for_good(["old but finished now", "new b", "2 1 new", "new e", "old 0", "old 1"]).await;
    assert_eq!(rig.document("2 1 new").format.as_deref(), Some("version account-id srcaddr"));
}

#[tokio::test(start_paused = true)]
async fn the_first_start_with_read_from_end_was_one_even_if_nothing_was_there() {
    for there in [false, true] {
        let mut rig = Rig::new([("read_from", Setting::Text("end"))]);
        if there {
            rig.write("a.log", "");
        }
        rig.start().await;
        rig.read().await;
        rig.stop().await;
        rig.append("a.log", "new 0\nnew 1\n");
        rig.start().await;
        rig.expect_for_good(["new 0", "new 1"]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn old_files_are_left_out_until_they_are_written_to() {
    for (read_from, expect) in [("beginning", vec!["fresh", "old", "more"]), ("end", vec!["more"])] {
        let mut rig =
            Rig::new([("ignore_older", Setting::Text("1h")), ("read_from", Setting::Text(read_from))]);
        rig.write("fresh.log", "fresh\n");
        rig.write("old.log", "old\n");
        let file = fs::File::options().append(true).open(rig.path("old.log")).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(3700)).unwrap();
        rig.start().await;
        rig.quiesce().await;
        assert!(!rig.was_given("old"));
        rig.append("old.log", "more\n");
        rig.expect_for_good(expect).await;
    }
}

#[tokio::test(start_paused = true)]
async fn many_files_are_read_and_followed_with_few_of_them_open() {
    let mut rig = Rig::new([]);
    let mut expect = Vec::new();
    let write = |rig: &Rig, expect: &mut Vec<String>, round: usize| {
        for number in 0..1500 {
            let line = format!("file {number} round {round}");
            rig.append(&format!("{number}.log"), format!("{line}\n"));
            expect.push(line);
        }
    };
    write(&rig, &mut expect, 0);
    rig.start().await;
    for round in 1..3 {
        rig.read().await;
        rig.deliver().await;
        rig.expect(&expect);
        let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        // Other tests have files open, too.
        assert!(open < 1200, "{open} files are open");
        write(&rig, &mut expect, round);
    }
    rig.expect_for_good(expect).await;
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_vanishes_and_comes_back_is_read_on() {
    for restart in [false, true] {
        let mut rig = Rig::new([("paths", Setting::Paths(&["logs/*"]))]);
        fs::create_dir(rig.path("logs")).unwrap();
        rig.write("logs/a.log", "a 0\na");
        rig.write("logs/b.log", lines("b", 300));
        rig.start().await;
        rig.read().await;
        rig.deliver().await;
        rig.rename("logs", "elsewhere");
        rig.read().await;
        if restart {
            rig.stop().await;
            rig.start().await;
        }
        rig.wait(Duration::from_secs(1)).await;
        rig.rename("elsewhere", "logs");
        rig.quiesce().await;
        // It was not rotated: its last line is still under way.
        assert!(!rig.was_given("a"));
        rig.append("logs/a.log", " 1\n");
        rig.append("logs/b.log", "b 300\n");
        rig.expect_for_good(["a 0", "a 1"].map(str::to_owned).into_iter().chain(texts("b", 301))).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_inactive_file_is_closed_and_opened_again_when_it_grows() {
    let mut rig = Rig::new([("close_inactive", Setting::Text("10s"))]);
    rig.write("a.log", "one\n");
    let path = rig.path("a.log");
    let is_open = || {
        let links = fs::read_dir("/proc/self/fd").unwrap().filter_map(Result::ok);
        links.filter_map(|link| fs::read_link(link.path()).ok()).any(|target| target == path)
    };
    rig.start().await;
    rig.wait(Duration::from_secs(9)).await;
    assert!(is_open());
    rig.wait(Duration::from_secs(2)).await;
    assert!(!is_open());
    rig.append("a.log", "two\n");
    rig.read().await;
    assert!(is_open());
    rig.expect_for_good(["one", "two"]).await;
}

#[tokio::test(start_paused = true)]
async fn looks_are_as_far_apart_as_poll_interval_says() {
    let mut rig = Rig::new([("poll_interval", Setting::Text("30s"))]);
    rig.write("a.log", "one\n");
    rig.start().await;
    rig.read().await;
    rig.append("a.log", "two\n");
    for _ in 0..(30_000 / POLL.as_millis() - 1) {
        assert_eq!(rig.read().await, 0);
    }
    assert_eq!(rig.read().await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_finite_run_ends_with_an_error_that_names_what_is_not_there() {
    for (paths, expect) in [
        (&["here.log", "missing.log"][..], "missing.log is not there; correct `paths`"),
        (&["here.log", "*.none"], ""),
    ] {
        let mut rig = Rig::new([("paths", Setting::Paths(paths)), ("follow", Setting::Truth(false))]);
        rig.write("here.log", "here\n");
        rig.start().await;
        rig.quiesce().await;
        rig.expect(["here"]);
        match rig.ended.take().expect("it ends") {
            Ok(()) => assert_eq!(expect, ""),
            Err(problem) => {
                assert!(
                    problem.fatal && problem.message.contains(expect) && !expect.is_empty(),
                    "{problem:?}"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_finite_run_does_not_wait_for_files_that_come_and_lines_that_are_appended_later() {
    let mut rig = Rig::new([("follow", Setting::Truth(false))]);
    rig.write("a.log", lines("a", 10));
    rig.max_rows = 4;
    rig.start().await;
    rig.read_some(1).await;
    rig.write("b.log", "b\n");
    rig.quiesce().await;
    assert_eq!(rig.ended, Some(Ok(())));
    rig.expect(texts("a", 10));
    rig.stop().await;
    rig.start().await;
    rig.quiesce().await;
    rig.expect(texts("a", 10).into_iter().chain(["b".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_cannot_be_read_is_reported_and_the_others_are_read() {
    // A link to itself, a pipe and a file in another compression: no user may read them, root neither.
    for (name, expect) in [
        ("loop.log", "cannot read"),
        ("pipe.log", "it is no regular file; name it in `exclude`"),
        ("x.zst", "it is compressed with zstd, and only gzip can be read; name it in `exclude`"),
    ] {
        for follow in [true, false] {
            let mut rig = Rig::new([("follow", Setting::Truth(follow))]);
            rig.write("a.log", "a\n");
            match name {
                "loop.log" => std::os::unix::fs::symlink(rig.path(name), rig.path(name)).unwrap(),
                "pipe.log" => assert!(Command::new("mkfifo").arg(rig.path(name)).status().unwrap().success()),
                _ => rig.write(name, b"\x28\xb5\x2f\xfd rest"),
            }
            let said = rig.build().unwrap().probe().await.unwrap_err();
            assert!(said.contains(name) && said.contains(expect), "{said}");
            rig.start().await;
            rig.quiesce().await;
            rig.expect(["a"]);
            match (follow, &rig.ended) {
                (true, None) => {}
                (false, Some(Err(problem))) => {
                    assert!(
                        problem.message.contains(name) && problem.message.contains(expect),
                        "{problem:?}"
                    );
                }
                (_, ended) => panic!("{name}: {ended:?}"),
            }
            // It goes, and with it the trouble.
            fs::remove_file(rig.path(name)).unwrap();
            rig.crash();
            rig.start().await;
            rig.quiesce().await;
            assert_eq!(rig.ended, (!follow).then_some(Ok(())));
            rig.build().unwrap().probe().await.unwrap();
        }
    }
}

/// Root may read everything: where this is root, runs the test once more as somebody else and says `true`.
pub(crate) fn runs_as_nobody(test: &str) -> bool {
    let denied = tempfile::NamedTempFile::new().unwrap();
    fs::set_permissions(denied.path(), fs::Permissions::from_mode(0o0)).unwrap();
    if fs::File::open(denied.path()).is_err() {
        return false;
    }
    let program = std::env::current_exe().unwrap();
    match Command::new(program).args(["--exact", test, "--nocapture"]).uid(65534).gid(65534).output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => eprintln!("left out: this program cannot be run as nobody: {error}"),
    }
    true
}

#[test]
fn a_file_without_permission_is_reported_and_read_as_soon_as_it_may_be() {
    if runs_as_nobody("finding::a_file_without_permission_is_reported_and_read_as_soon_as_it_may_be") {
        return;
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        for follow in [true, false] {
            for restart in [false, true] {
                let mut rig = Rig::new([
                    ("follow", Setting::Truth(follow)),
                    ("paths", Setting::Paths(&["*.log", "sub/*"])),
                ]);
                let allow = |rig: &Rig, name: &str, mode| {
                    fs::set_permissions(rig.path(name), fs::Permissions::from_mode(mode)).unwrap();
                };
                fs::create_dir(rig.path("sub")).unwrap();
                rig.write("sub/c.log", "c 0\n");
                rig.write("a.log", "a 0\n");
                rig.write("b.log", "b 0\n");
                allow(&rig, "b.log", 0o0);
                allow(&rig, "sub", 0o0);
                let said = rig.build().unwrap().probe().await.unwrap_err();
                assert!(said.contains("let the user that flowstone runs as read it"), "{said}");
                rig.start().await;
                rig.quiesce().await;
                rig.expect(["a 0"]);
                if let Some(Err(problem)) = &rig.ended {
                    let told = |name: &str| problem.message.contains(&*rig.path(name).to_string_lossy());
                    assert!(problem.fatal && told("b.log") && told("sub"), "{problem:?}");
                }
                assert_eq!(rig.ended.is_some(), !follow);
                allow(&rig, "b.log", 0o600);
                allow(&rig, "sub", 0o700);
                if restart || !follow {
                    rig.stop().await;
                    rig.start().await;
                }
                rig.quiesce().await;
                rig.expect(["a 0", "b 0", "c 0"]);
                // A known file is locked away for a while.
                if restart || !follow {
                    rig.stop().await;
                }
                allow(&rig, "b.log", 0o0);
                if restart || !follow {
                    rig.start().await;
                }
                rig.quiesce().await;
                allow(&rig, "b.log", 0o600);
                rig.append("b.log", "b 1\n");
                if !follow {
                    rig.stop().await;
                    rig.start().await;
                }
                rig.quiesce().await;
                rig.expect(["a 0", "b 0", "b 1", "c 0"]);
            }
        }
    });
}

#[test]
fn what_is_wrong_with_the_options_is_said_at_once() {
    let rig = Rig::new([
        ("paths", Setting::Paths(&["a**"])),
        ("poll_interval", Setting::Text("0s")),
        ("max_line_bytes", Setting::Number(0)),
    ]);
    let Err(errors) = rig.build() else { panic!("these options are wrong") };
    for option in ["paths", "poll_interval", "max_line_bytes"] {
        assert!(errors.iter().any(|error| error.starts_with(option)), "{option}: {errors:?}");
    }
    let rig = Rig::new([("read_from", Setting::Text("middle")), ("folow", Setting::Truth(true))]);
    let Err(errors) = rig.build() else { panic!("these options are wrong") };
    assert!(errors.iter().any(|error| error.contains("folow")), "{errors:?}");
    assert!(errors.iter().any(|error| error.contains("middle")), "{errors:?}");
}
