//! What a line becomes, whatever is in it, and however it comes.

use std::time::Duration;

use super::rig::{ROTATE_WAIT, Rig, Setting, gzip, lines, texts};

const HEADER: &str = "version account-id interface-id srcaddr dstaddr";

#[tokio::test(start_paused = true)]
async fn each_line_becomes_an_event_whatever_its_bytes() {
    let long = "x".repeat(200_000);
    let too_long = "y".repeat(5 << 20);
    let (end, left_out) = (&too_long[..64 << 10], too_long.len() - (128 << 10));
    let head = format!("line_too_long: {end} [... {left_out} bytes left out ...] {end}");
    let cases: [(&[u8], Vec<&str>); 9] = [
        (b"", vec![]),
        (b"\n", vec![""]),
        (b"a\n\n\nb\n", vec!["", "", "a", "b"]),
        (b"a\r\nb\r\n\r\n", vec!["", "a", "b"]),
        (b"a\rb\n", vec!["a\rb"]),
        (b"\xff\xfe a\nb\n\xc3\n", vec!["\u{fffd}", "\u{fffd}\u{fffd} a", "b"]),
        (b"\0\0\0\nnul\0\n\0\0a\n\0", vec!["", "a", "nul\0"]),
        (&[long.as_bytes(), b"\n"].concat(), vec![&long]),
        (
            &[b"a\n", too_long.as_bytes(), b"\nb\n", too_long.as_bytes(), b"\n"].concat(),
            vec!["a", "b", &head, &head],
        ),
    ];
    for (content, expect) in cases {
        for as_gzip in [false, true] {
            let mut rig = Rig::new([]);
            rig.texts_are_unique = false;
            rig.max_rows = 2;
            let bytes = if as_gzip { gzip(content) } else { content.to_vec() };
            // Some of it at once, the rest later.
            rig.write("a.log", &bytes[..bytes.len() / 2]);
            rig.start().await;
            rig.read().await;
            rig.append("a.log", &bytes[bytes.len() / 2..]);
            rig.expect_for_good(expect.iter().copied()).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_of_one_line_that_grows_gives_that_line_when_its_newline_comes() {
    for restart in [false, true] {
        for length in [1_usize, 100, 3000, 5000, 70_000, 3 << 20] {
            let mut rig = Rig::new([("max_line_bytes", Setting::Number(4 << 20))]);
            let line: String = (0..length).map(|number| char::from(b'a' + (number % 23) as u8)).collect();
            rig.start().await;
            for part in line.as_bytes().chunks(length.div_ceil(7)) {
                rig.append("a.log", part);
                assert_eq!(rig.read().await, 0);
                // Longer than any rotation takes: nobody says that the file is at its end.
                rig.wait(2 * ROTATE_WAIT).await;
                if restart {
                    rig.stop().await;
                    rig.start().await;
                }
            }
            rig.expect(Vec::<&str>::new());
            rig.append("a.log", "\n");
            rig.expect_for_good([&line]).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_last_line_without_a_newline_waits_while_the_file_is_followed_and_comes_in_a_finite_run() {
    let mut rig = Rig::following("one\ntw").await;
    rig.quiesce().await;
    rig.expect(["one"]);
    rig.append("app.log", "o\nthree");
    rig.expect_for_good(["one", "two"]).await;

    for content in ["one\ntwo", "one\ntwo\n"] {
        for as_gzip in [false, true] {
            let mut rig = Rig::new([("follow", Setting::Truth(false))]);
            rig.write("a.log", if as_gzip { gzip(content.as_bytes()) } else { content.into() });
            rig.start().await;
            rig.quiesce().await;
            assert_eq!(rig.ended, Some(Ok(())));
            rig.expect(["one", "two"]);
            // Again: there is nothing left.
            rig.stop().await;
            rig.start().await;
            rig.quiesce().await;
            assert_eq!(rig.ended, Some(Ok(())));
            rig.expect(["one", "two"]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_finite_run_after_another_reads_what_came_between() {
    let mut rig = Rig::new([("follow", Setting::Truth(false))]);
    let mut expect = Vec::new();
    for run in 0..4 {
        rig.append("a.log", format!("a {run}\n"));
        rig.write(&format!("{run}.log"), format!("in {run}\nwithout a newline {run}"));
        expect.extend([format!("a {run}"), format!("in {run}"), format!("without a newline {run}")]);
        rig.start().await;
        rig.quiesce().await;
        assert_eq!(rig.ended, Some(Ok(())));
        rig.stop().await;
        rig.expect(&expect);
    }
}

#[tokio::test(start_paused = true)]
async fn the_header_line_of_a_flow_log_file_is_no_event_and_its_format_stays_with_every_batch() {
    let first = lines("2 1 eni-1 10.0.0.1", 20);
    let late = lines("2 1 eni-2 10.0.0.2", 20);
    for as_gzip in [false, true] {
        for step in ["runs", "crashes after the header", "stops", "rewinds"] {
            let mut rig = Rig::new([]);
            rig.max_rows = 6;
            let write = |rig: &Rig, content: String| match as_gzip {
                true => rig.write("flow.log", gzip(content.as_bytes())),
                false => rig.write("flow.log", content),
            };
            write(&rig, format!("{HEADER}\n{first}"));
            rig.start().await;
            rig.read_some(2).await;
            match step {
                "crashes after the header" => {
                    rig.deliver_some(1).await;
                    rig.crash();
                    rig.start().await;
                }
                "stops" => {
                    rig.stop().await;
                    rig.start().await;
                }
                "rewinds" => rig.fail(0).await,
                _ => {}
            }
            rig.quiesce().await;
            write(&rig, format!("{HEADER}\n{first}{late}"));
            let all: Vec<String> = first.lines().chain(late.lines()).map(str::to_owned).collect();
            rig.expect_for_good(all.iter().cloned().chain([format!("header_line: {HEADER}")])).await;
            for line in &all {
                assert_eq!(rig.document(line).format.as_deref(), Some(HEADER), "{line}, the source {step}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_takes_its_own_header_and_a_rewritten_one_its_new_header() {
    let other = "account-id srcaddr version";
    let mut rig = Rig::new([]);
    rig.write("a.log", format!("{HEADER}\n2 a\n"));
    rig.write("b.log", format!("{other}\r\n1 b 2\r\n"));
    rig.write("c.log", "2 c\n");
    rig.start().await;
    rig.quiesce().await;
    rig.write("a.log", format!("{other} end\n1 a 2\n"));
    rig.quiesce().await;
    let headers = [HEADER.to_owned(), other.to_owned(), format!("{other} end")];
    let headers = headers.map(|header| format!("header_line: {header}"));
    rig.expect_for_good(headers.iter().map(String::as_str).chain(["2 a", "1 b 2", "2 c", "1 a 2"])).await;
    for (text, path, format) in [
        ("2 a", "a.log", Some(HEADER)),
        ("1 b 2", "b.log", Some(other)),
        ("2 c", "c.log", None),
        ("1 a 2", "a.log", Some("account-id srcaddr version end")),
    ] {
        let seen = rig.document(text);
        assert_eq!((seen.path.as_str(), seen.format.as_deref()), (path, format));
    }
}

#[tokio::test(start_paused = true)]
async fn with_header_none_and_with_json_a_header_line_is_a_record() {
    for (name, value, expect) in [
        ("header", "none", vec![HEADER, "2 a"]),
        ("decoding", "json", vec!["not_json: 2 a", &format!("not_json: {HEADER}")]),
    ] {
        let mut rig = Rig::new([(name, Setting::Text(value))]);
        rig.write("a.log", format!("{HEADER}\n2 a\n"));
        rig.start().await;
        rig.quiesce().await;
        let found = rig.documents();
        let found: Vec<String> = match value {
            // The reason's name is core's.
            "json" => {
                found.iter().map(|text| format!("not_json: {}", text.split_once(": ").unwrap().1)).collect()
            }
            _ => found,
        };
        let mut expect = expect;
        expect.sort_unstable();
        assert_eq!(found, expect);
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_says_where_its_line_came_from_at_the_time() {
    let mut rig = Rig::following("one\n").await;
    rig.rename("app.log", "app.log.1");
    rig.append("app.log.1", "two\n");
    rig.read().await;
    rig.quiesce().await;
    assert_eq!(rig.document("one").path, "app.log");
    assert_eq!(rig.document("two").path, "app.log.1");
}

#[tokio::test(start_paused = true)]
async fn a_compressed_file_that_is_still_being_written_is_read_on_as_it_grows() {
    let whole = gzip(lines("line", 5000).as_bytes());
    let mut rig = Rig::new([]);
    rig.start().await;
    for part in whole.chunks(whole.len().div_ceil(10)) {
        rig.append("a.gz", part);
        rig.wait(Duration::from_secs(1)).await;
    }
    rig.expect_for_good(texts("line", 5000)).await;
    // Another member behind it.
    rig.append("a.gz", gzip(b"and more\n"));
    rig.expect_for_good(texts("line", 5000).into_iter().chain(["and more".to_owned()])).await;
}

#[tokio::test(start_paused = true)]
async fn a_damaged_compressed_file_gives_what_can_be_read_and_does_not_stop_the_others() {
    let mut whole = gzip(lines("line", 5000).as_bytes());
    let middle = whole.len() / 2;
    whole[middle..middle + 20].fill(0xff);
    for follow in [true, false] {
        let mut rig = Rig::new([("follow", Setting::Truth(follow))]);
        // What the damage makes of a line is anything.
        rig.texts_are_unique = false;
        rig.write("a.gz", &whole);
        rig.write("b.log", "other\n");
        rig.start().await;
        rig.quiesce().await;
        assert!(rig.was_given("line 0") && rig.was_given("other") && !rig.was_given("line 4999"));
        match (follow, &rig.ended) {
            (true, None) => {}
            (false, Some(Err(problem))) => {
                assert!(
                    problem.message.contains("a.gz") && problem.message.contains("checksum"),
                    "{problem:?}"
                );
            }
            (_, ended) => panic!("{ended:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn max_line_bytes_is_what_it_says() {
    let mut rig = Rig::new([("max_line_bytes", Setting::Number(3))]);
    rig.write("a.log", "abc\nabcd\n");
    rig.start().await;
    rig.read().await;
    rig.deliver().await;
    // What is no longer than both ends together is kept whole.
    rig.expect(["abc", "line_too_long: abcd"]);
}
