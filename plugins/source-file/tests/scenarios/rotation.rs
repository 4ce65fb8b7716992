//! Rotation of every kind, while the source runs, while it is stopped, and after a crash.

use super::rig::{POLL, ROTATE_WAIT, Rig, gzip, lines, texts};

/// What the source does while files are rotated.
#[derive(Clone, Copy, Debug)]
enum Meanwhile {
    /// It looks after each step.
    Runs,
    /// It looks when all is done.
    RunsAndIsLate,
    /// Everything it read is committed; it starts again when all is done.
    IsStopped,
    /// The sink has half of what it read, and the checkpoint knows of nothing.
    HasCrashed,
}

const MEANWHILE: [Meanwhile; 4] =
    [Meanwhile::Runs, Meanwhile::RunsAndIsLate, Meanwhile::IsStopped, Meanwhile::HasCrashed];

type Steps = &'static [fn(&Rig)];

/// `app.log` holds `first` and is read, then it grows by `late` and is rotated step by step. In the end `first`, `late`
/// and `new`, which the steps write, are there, each line once.
async fn check(name: &str, first: &str, late: &str, steps: Steps, new: &[String]) {
    for meanwhile in MEANWHILE {
        eprintln!("{name}: {} bytes, the source {meanwhile:?}", first.len());
        let mut rig = Rig::new([]);
        rig.max_rows = 7;
        rig.write("app.log", first);
        rig.start().await;
        rig.read().await;
        match meanwhile {
            Meanwhile::Runs | Meanwhile::RunsAndIsLate => {}
            Meanwhile::IsStopped => rig.stop().await,
            Meanwhile::HasCrashed => {
                rig.take_up(rig.in_flight() / 2);
                rig.crash();
            }
        }
        rig.append("app.log", late);
        for step in steps {
            step(&rig);
            if matches!(meanwhile, Meanwhile::Runs) {
                rig.read().await;
            }
        }
        if !rig.runs() {
            rig.start().await;
        }
        let all = first.lines().chain(late.lines()).map(str::to_owned);
        rig.expect_for_good(all.chain(new.iter().cloned())).await;
    }
}

/// Files with little in them, which could begin like another one by chance, and files with much.
const SIZES: [usize; 3] = [1, 5, 300];

#[tokio::test(start_paused = true)]
async fn every_line_comes_once_through_every_rotation() {
    let rotations: [(&str, Steps); 13] = [
        ("renamed", &[|rig| rig.rename("app.log", "app.log.1"), |rig| rig.write("app.log", lines("new", 9))]),
        (
            "renamed, and written to under the new name",
            &[
                |rig| rig.rename("app.log", "app.log.1"),
                |rig| rig.append("app.log.1", lines("new", 4)),
                |rig| rig.write("app.log", "new 4\nnew 5\nnew 6\n"),
                |rig| rig.append("app.log.1", "new 7\nnew 8\n"),
            ],
        ),
        (
            "renamed, then compressed",
            &[
                |rig| rig.rename("app.log", "app.log.1"),
                |rig| rig.write("app.log", lines("new", 9)),
                |rig| rig.compress("app.log.1"),
            ],
        ),
        ("compressed at once", &[|rig| rig.compress("app.log"), |rig| rig.write("app.log", lines("new", 9))]),
        (
            "compressed bit by bit beside the original",
            &[
                |rig| rig.rename("app.log", "app.log-2026"),
                |rig| {
                    let whole = gzip(&rig.content("app.log-2026"));
                    rig.write("app.log-2026.gz", &whole[..whole.len() / 2]);
                },
                |rig| rig.append("app.log", lines("new", 5)),
                |rig| {
                    let whole = gzip(&rig.content("app.log-2026"));
                    rig.append("app.log-2026.gz", &whole[whole.len() / 2..]);
                },
                |rig| rig.delete("app.log-2026"),
                |rig| rig.append("app.log", "new 5\nnew 6\nnew 7\nnew 8\n"),
            ],
        ),
        (
            "copied and truncated",
            &[|rig| {
                rig.copy("app.log", "app.log.1");
                rig.write("app.log", lines("new", 9));
            }],
        ),
        (
            "copied, truncated a while later, written anew later still",
            &[
                |rig| rig.copy("app.log", "app.log.1"),
                |rig| rig.truncate("app.log"),
                |rig| rig.append("app.log", lines("new", 9)),
            ],
        ),
        (
            "copied in two parts and truncated",
            &[
                |rig| {
                    let content = rig.content("app.log");
                    rig.write("app.log.1", &content[..content.len() / 2]);
                },
                |rig| {
                    let content = rig.content("app.log");
                    rig.append("app.log.1", &content[content.len() / 2..]);
                    rig.truncate("app.log");
                },
                |rig| rig.append("app.log", lines("new", 9)),
            ],
        ),
        (
            "copied and truncated, the copy compressed",
            &[
                |rig| {
                    rig.copy("app.log", "app.log.1");
                    rig.truncate("app.log");
                },
                |rig| rig.compress("app.log.1"),
                |rig| rig.append("app.log", lines("new", 9)),
            ],
        ),
        (
            "rotated twice by renaming",
            &[
                |rig| rig.rename("app.log", "app.log.1"),
                |rig| rig.write("app.log", lines("new", 5)),
                |rig| rig.rename("app.log.1", "app.log.2"),
                |rig| rig.rename("app.log", "app.log.1"),
                |rig| rig.write("app.log", "new 5\nnew 6\nnew 7\nnew 8\n"),
            ],
        ),
        (
            "rotated three times, compressed from the second on",
            &[
                |rig| rig.rename("app.log", "app.log.1"),
                |rig| rig.write("app.log", lines("new", 5)),
                |rig| rig.compress("app.log.1"),
                |rig| rig.rename("app.log.1.gz", "app.log.2.gz"),
                |rig| rig.rename("app.log", "app.log.1"),
                |rig| rig.write("app.log", "new 5\nnew 6\nnew 7\n"),
                |rig| rig.rename("app.log.2.gz", "app.log.3.gz"),
                |rig| rig.compress("app.log.1"),
                |rig| rig.rename("app.log.1.gz", "app.log.2.gz"),
                |rig| rig.rename("app.log", "app.log.1"),
                |rig| rig.write("app.log", "new 8\n"),
            ],
        ),
        (
            "moved to another file system and back",
            &[
                |rig| {
                    rig.copy("app.log", "app.log.moved");
                    rig.delete("app.log");
                },
                |rig| {
                    rig.copy("app.log.moved", "app.log.back");
                    rig.delete("app.log.moved");
                },
                |rig| rig.write("app.log", lines("new", 9)),
            ],
        ),
        (
            "compressed and unpacked again",
            &[
                |rig| rig.compress("app.log"),
                |rig| {
                    rig.write("app.log.2", rig.content_of_gzip("app.log.gz"));
                    rig.delete("app.log.gz");
                },
                |rig| rig.write("app.log", lines("new", 9)),
            ],
        ),
    ];
    for (name, steps) in rotations {
        for size in SIZES {
            // A plain file of a few lines under another inode could as well be another file.
            if size < 100 && (name.starts_with("moved") || name.ends_with("unpacked again")) {
                continue;
            }
            check(name, &lines("old", size), &lines("late", 3), steps, &texts("new", 9)).await;
            // Nothing in it was read before.
            check(name, "", &lines("late", size), steps, &texts("new", 9)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_line_of_a_file_that_is_written_anew_comes_once() {
    for size in SIZES {
        // Shorter, as long, and longer than what was there.
        for new in ["new 0\n".to_owned(), lines("new", size), lines("new", size + 100)] {
            for meanwhile in MEANWHILE {
                for anew in ["truncated", "truncated and seen empty", "made anew", "made anew on its inode"] {
                    eprintln!("{anew}: {size} lines, then {} bytes, the source {meanwhile:?}", new.len());
                    let mut rig = Rig::new([]);
                    rig.write("app.log", lines("old", size));
                    rig.start().await;
                    rig.read().await;
                    rig.take_up(usize::MAX);
                    match meanwhile {
                        Meanwhile::Runs | Meanwhile::RunsAndIsLate => {}
                        Meanwhile::IsStopped => rig.stop().await,
                        Meanwhile::HasCrashed => rig.crash(),
                    }
                    match anew {
                        "truncated" => rig.write("app.log", &new),
                        "truncated and seen empty" => {
                            rig.truncate("app.log");
                            if rig.runs() {
                                rig.read().await;
                            }
                            rig.append("app.log", &new);
                        }
                        "made anew" => {
                            rig.delete("app.log");
                            rig.write("app.log", &new);
                        }
                        _ => {
                            if rig.runs() {
                                // While it is open, its inode is not given again.
                                rig.wait(std::time::Duration::from_secs(301)).await;
                            }
                            if !rig.recreate_on_same_inode("app.log", &new) {
                                continue;
                            }
                        }
                    }
                    if !rig.runs() {
                        rig.start().await;
                    }
                    rig.expect_for_good(lines("old", size).lines().chain(new.lines())).await;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn lines_that_a_rewritten_file_has_again_are_other_lines() {
    let old = "starting\nversion 1\nold 0\n";
    let new = "starting\nversion 1\nnew 0\nnew 1\n";
    for meanwhile in MEANWHILE {
        for recreate in [false, true] {
            let mut rig = Rig::new([]);
            rig.texts_are_unique = false;
            rig.write("app.log", old);
            rig.start().await;
            rig.read().await;
            rig.take_up(usize::MAX);
            match meanwhile {
                Meanwhile::Runs | Meanwhile::RunsAndIsLate => {}
                Meanwhile::IsStopped => rig.stop().await,
                Meanwhile::HasCrashed => rig.crash(),
            }
            if recreate {
                rig.delete("app.log");
            }
            rig.write("app.log", new);
            if !rig.runs() {
                rig.start().await;
            }
            rig.expect_for_good(old.lines().chain(new.lines())).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rewritten_file_with_exactly_its_former_content_is_read_again_if_its_emptiness_was_seen() {
    let mut rig = Rig::following("same 0\nsame 1\n").await;
    rig.texts_are_unique = false;
    rig.deliver().await;
    rig.truncate("app.log");
    rig.read().await;
    rig.append("app.log", "same 0\nsame 1\n");
    rig.expect_for_good(["same 0", "same 1", "same 0", "same 1"]).await;
    // Made anew, it is another file even if nobody saw it gone: its inode or its time of birth says so.
    rig.delete("app.log");
    rig.write("app.log", "same 0\nsame 1\n");
    rig.read().await;
    rig.quiesce().await;
    rig.expect(["same 0", "same 1"].repeat(3));
}

#[tokio::test(start_paused = true)]
async fn a_line_under_way_while_its_file_is_rotated_stays_whole() {
    for meanwhile in MEANWHILE {
        let mut rig = Rig::new([]);
        rig.write("app.log", "one\ntw");
        rig.start().await;
        rig.read().await;
        match meanwhile {
            Meanwhile::Runs | Meanwhile::RunsAndIsLate => {}
            Meanwhile::IsStopped => rig.stop().await,
            Meanwhile::HasCrashed => rig.crash(),
        }
        rig.rename("app.log", "app.log.1");
        rig.write("app.log", "three\n");
        if !rig.runs() {
            rig.start().await;
        }
        rig.read().await;
        rig.wait(ROTATE_WAIT - 2 * POLL).await;
        rig.append("app.log.1", "o\nfour");
        rig.read().await;
        rig.wait(ROTATE_WAIT - 2 * POLL).await;
        rig.append("app.log.1", " five");
        rig.expect_for_good(["one", "two", "three", "four five"]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_unfinished_last_line_of_a_rotated_file_comes_after_rotate_wait_over_restarts_too() {
    for restart in [false, true] {
        for rotate in ["renamed", "renamed, later", "compressed"] {
            eprintln!("{rotate}, restart {restart}");
            let mut rig = Rig::following("one\n").await;
            rig.deliver().await;
            if rotate != "renamed, later" {
                rig.append("app.log", "two");
            }
            rig.rename("app.log", "app.log.1");
            if rotate == "compressed" {
                rig.compress("app.log.1");
            }
            rig.write("app.log", "three\n");
            rig.read().await;
            rig.deliver().await;
            if rotate == "renamed, later" {
                rig.append("app.log.1", "two");
                rig.read().await;
            }
            if rotate != "compressed" {
                rig.expect(["one", "three"]);
            }
            if restart {
                rig.crash();
                rig.start().await;
            }
            rig.expect_for_good(["one", "three", "two"]).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_file_is_read_to_its_end_although_its_name_is_gone() {
    for renamed in [true, false] {
        let mut rig = Rig::new([("paths", super::rig::Setting::Paths(&["*.log"]))]);
        rig.write("app.log", lines("old", 3));
        rig.start().await;
        rig.read().await;
        let mut file = std::fs::OpenOptions::new().append(true).open(rig.path("app.log")).unwrap();
        if renamed {
            rig.rename("app.log", "out-of-sight");
        } else {
            rig.delete("app.log");
        }
        let mut write = |text: &str| std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        write("late 0\n");
        rig.read().await;
        rig.wait(ROTATE_WAIT - 2 * POLL).await;
        write("late 1\nlate");
        rig.read().await;
        rig.wait(ROTATE_WAIT - 2 * POLL).await;
        write(" 2");
        rig.expect_for_good(["late 0", "late 1", "late 2", "old 0", "old 1", "old 2"]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_compressed_copy_beside_its_original_is_passed_over() {
    for restart in [false, true] {
        let mut rig = Rig::following(&lines("old", 100)).await;
        rig.write("app.log.gz", gzip(&rig.content("app.log")));
        if restart {
            rig.stop().await;
            rig.start().await;
        }
        rig.quiesce().await;
        rig.append("app.log", "more\n");
        rig.read().await;
        rig.delete("app.log");
        rig.expect_for_good(texts("old", 100).into_iter().chain(["more".to_owned()])).await;
    }
}

#[tokio::test(start_paused = true)]
async fn files_that_begin_alike_are_told_apart() {
    let header = "version account-id interface-id srcaddr\n";
    for (a, b) in [
        // The same header line.
        (format!("{header}2 1 eni-a 10.0.0.1\n"), format!("{header}2 1 eni-b 10.0.0.2\n")),
        // One is a beginning of the other.
        (lines("same", 3), lines("same", 5)),
        (lines("same", 500), lines("same", 501)),
        // All is the same.
        (lines("same", 3), lines("same", 3)),
        (lines("same", 500), lines("same", 500)),
    ] {
        for late in [false, true] {
            let mut rig = Rig::new([]);
            rig.texts_are_unique = false;
            rig.write("a.log", &a);
            if !late {
                rig.write("b.log", &b);
            }
            rig.start().await;
            rig.read().await;
            if late {
                rig.write("b.log", &b);
                rig.read().await;
            }
            rig.quiesce().await;
            rig.append("a.log", "more a\n");
            rig.append("b.log", "more b\n");
            let text = |line: &str| match line == header.trim_end() {
                true => format!("header_line: {line}"),
                false => line.to_owned(),
            };
            let all = a.lines().chain(b.lines()).chain(["more a", "more b"]).map(text);
            rig.expect_for_good(all).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rotate_wait_is_how_long_a_rotation_may_take() {
    let mut rig = Rig::new([("rotate_wait", super::rig::Setting::Text("60s"))]);
    rig.texts_are_unique = false;
    rig.write("app.log", "one\ntwo");
    rig.write("a.log", "same\n");
    rig.start().await;
    rig.read().await;
    rig.rename("app.log", "app.log.1");
    rig.write("b.log", "same\n");
    rig.read().await;
    rig.wait(std::time::Duration::from_secs(59)).await;
    rig.expect(["one", "same"]);
    rig.wait(std::time::Duration::from_secs(2)).await;
    rig.expect(["one", "same", "same", "two"]);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_written_anew_before_its_first_byte_was_read_is_a_new_file() {
    let mut rig = Rig::new([]);
    rig.write("a.log", "a\n");
    rig.write("b.log", "never seen\n");
    rig.start().await;
    // Both are known by now; the older one was read, the other one not even opened.
    assert_eq!(rig.read_some(1).await, 1);
    rig.write("b.log", "b 0\nb 1\n");
    rig.expect_for_good(["a", "b 0", "b 1"]).await;
}
