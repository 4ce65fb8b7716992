//! Stops, crashes, failed batches, and a checkpoint that cannot be read.

use std::fs;

use super::rig::{Rig, Setting, lines, texts};

#[tokio::test(start_paused = true)]
async fn a_line_given_out_again_after_a_crash_has_the_same_id() {
    // How many batches the sink had, and how many of them the checkpoint knew of.
    for (taken_up, committed) in [(0, 0), (3, 0), (3, 2), (9, 9), (100, 0), (100, 1)] {
        let mut rig = Rig::new([]);
        rig.max_rows = 5;
        for name in ["a", "b", "c"] {
            rig.write(&format!("{name}.log"), lines(name, 40));
        }
        rig.start().await;
        rig.read_some(12).await;
        rig.take_up(taken_up);
        rig.deliver_some(committed).await;
        rig.crash();
        rig.append("a.log", "a 40\n");
        rig.start().await;
        let all = texts("a", 41).into_iter().chain(texts("b", 40)).chain(texts("c", 40));
        rig.expect_for_good(all).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_fails_is_read_again_with_all_of_its_file_behind_it() {
    for failed in 0..8 {
        for name in ["here", "rotated", "compressed", "deleted"] {
            let mut rig = Rig::new([]);
            rig.max_rows = 5;
            rig.write("a.log", lines("a", 30));
            rig.write("b.log", lines("b", 10));
            rig.start().await;
            rig.read().await;
            assert_eq!(rig.in_flight(), 8);
            match name {
                "here" => {}
                "rotated" => rig.rename("a.log", "a.log.1"),
                "compressed" => rig.compress("a.log"),
                _ => rig.delete("a.log"),
            }
            rig.read().await;
            rig.fail(failed).await;
            rig.fail(0).await;
            rig.expect_for_good(texts("a", 30).into_iter().chain(texts("b", 10))).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_fails_over_and_over_comes_in_the_end() {
    let mut rig = Rig::new([]);
    rig.max_rows = 3;
    rig.write("a.log", lines("a", 20));
    rig.start().await;
    for _ in 0..50 {
        rig.read_some(3).await;
        rig.fail(1).await;
    }
    rig.append("a.log", "a 20\n");
    rig.expect_for_good(texts("a", 21)).await;
}

#[tokio::test(start_paused = true)]
async fn a_source_without_its_checkpoint_gives_the_same_lines_the_same_ids() {
    let mut rig = Rig::new([]);
    for name in ["a", "b"] {
        rig.write(&format!("{name}.log"), format!("version account-id srcaddr\n{}", lines(name, 20)));
    }
    rig.texts_are_unique = false;
    rig.start().await;
    rig.quiesce().await;
    let before = rig.documents();
    rig.crash();
    fs::remove_file(rig.state_file()).unwrap();
    rig.forget_what_was_committed();
    rig.start().await;
    rig.quiesce().await;
    assert_eq!(rig.documents(), before);
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_cannot_be_read_stops_the_source_with_what_to_do() {
    let mut rig = Rig::following("one\n").await;
    rig.stop().await;
    let saved = fs::read_to_string(rig.state_file()).unwrap();
    for (content, expect) in [
        (saved[..saved.len() / 2].to_owned(), "is damaged"),
        (String::new(), "is damaged"),
        (
            saved.replace("\"version\":2", "\"version\":7"),
            "has state version 7, this flowstone knows versions 1 and 2",
        ),
        (
            saved.replace("\"offset\":4", "\"offset\":5"),
            "is damaged (it was changed since it was written: its checksum does not fit)",
        ),
        (saved.replace(".0\"", "\""), "is damaged"),
    ] {
        assert_ne!(content, saved);
        fs::write(rig.state_file(), &content).unwrap();
        let problem = rig.try_start().await.unwrap_err();
        assert!(problem.fatal && problem.reason == "checkpoint");
        for part in [&*rig.state_file().to_string_lossy(), expect, "move it away"] {
            assert!(problem.message.contains(part), "{part}: {}", problem.message);
        }
        // And it is left as it is.
        assert_eq!(fs::read_to_string(rig.state_file()).unwrap(), content);
    }
    // What was written before there were checksums is read.
    let (old, _) = saved.split_once(",\"checksum\"").unwrap();
    fs::write(rig.state_file(), old.replace("\"version\":2", "\"version\":1") + "}\n").unwrap();
    rig.start().await;
    rig.append("app.log", "two\n");
    rig.expect_for_good(["one", "two"]).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_leaves_the_source_while_its_checkpoint_cannot_be_written() {
    let mut rig = Rig::new([]);
    rig.write("a.log", "one\n");
    // A file where its folder should be.
    let folder = rig.state_file().parent().unwrap().parent().unwrap().to_owned();
    rig.start().await;
    fs::write(&folder, "in the way").unwrap();
    rig.quiesce().await;
    assert_eq!(rig.batches, 0);
    let problem = rig.problems.first().expect("it is said");
    assert!(!problem.fatal && problem.message.contains("files.json"), "{problem:?}");
    assert!(problem.message.contains("give flowstone the right to write there, or room"), "{problem:?}");
    fs::remove_file(&folder).unwrap();
    rig.expect_for_good(["one"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_file_that_comes_back_after_a_restart_is_read_on() {
    for days_away in [0, 1] {
        let mut rig = Rig::new([("paths", Setting::Paths(&["*.log"]))]);
        rig.write("a.log", lines("a", 100));
        rig.start().await;
        rig.read().await;
        rig.stop().await;
        rig.rename("a.log", "away");
        for _ in 0..days_away {
            rig.start().await;
            rig.quiesce().await;
            rig.stop().await;
        }
        rig.append("away", "a 100\n");
        rig.rename("away", "a.log");
        rig.start().await;
        rig.expect_for_good(texts("a", 101)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn of_files_that_are_gone_a_thousand_are_remembered_and_ids_never_come_twice() {
    let mut rig = Rig::new([("paths", Setting::Paths(&["*.log"]))]);
    // The same first line in each, so that only the generation tells them apart.
    rig.texts_are_unique = false;
    rig.start().await;
    let mut expect = Vec::new();
    for round in 0..3 {
        for number in 0..600 {
            rig.write(&format!("{number}.log"), format!("start\n{round} {number}\n"));
            expect.extend(["start".to_owned(), format!("{round} {number}")]);
        }
        rig.quiesce().await;
        rig.deliver().await;
        for number in 0..600 {
            rig.delete(&format!("{number}.log"));
        }
        rig.quiesce().await;
        rig.stop().await;
        rig.start().await;
    }
    rig.write("last.log", "start\nlast\n");
    expect.extend(["start".to_owned(), "last".to_owned()]);
    rig.expect_for_good(expect).await;
    let state = fs::read_to_string(rig.state_file()).unwrap();
    assert!(state.lines().count() <= 1003, "{} files are remembered", state.lines().count());
}
