//! Tests of what [`Lines`] passes: NULs where a line begins, and a byte order mark.

use super::*;

#[test]
fn nuls_where_a_line_begins_are_no_content_and_are_not_held() {
    for (stream, expect) in [
        (&b"\0\0a\n"[..], vec![(2, "a")]),
        (b"\0\0\n", vec![(2, "")]),
        (b"\0\r\n\0b\0c\0\n", vec![(1, ""), (4, "b\0c\0")]),
        (b"a\n\0\0\0", vec![(0, "a")]),
        (b"a\n\0\0b", vec![(0, "a"), (4, "b")]),
        (b"\0\xef\xbb\xbfa\n", vec![(1, "\u{feff}a")]),
        // A byte order mark is none where the stream does not begin.
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", vec![(3, "a"), (5, "\u{feff}b")]),
        (b"\xef\xbb\xbf", vec![]),
        (b"\xef\xbb\xbf\0\0\na", vec![(5, ""), (6, "a")]),
        (b"\xef\xbb", vec![(0, "\u{fffd}")]),
    ] {
        for part in [1, 2, 3, usize::MAX] {
            let reading = read(stream, &[part], text(100), &cx(10, 1000));
            let texts = reading.batches.iter().flat_map(|batch| {
                (0..batch.len()).map(|row| batch.row(row).str("message").unwrap().to_owned())
            });
            assert_eq!(texts.collect::<Vec<_>>(), expect.iter().map(|(_, text)| *text).collect::<Vec<_>>());
            let raw = |at: usize| {
                &stream[at..at + stream[at..].iter().take_while(|b| !b"\r\n".contains(b)).count()]
            };
            for ((offset, _), (id, _)) in expect.iter().zip(&reading.rows) {
                assert_eq!(*id, LineIds::new(7).id(*offset, raw(*offset as usize)), "{stream:?} in {part}");
            }
        }
    }
    let mut lines = Lines::new(text(1000), 0);
    for _ in 0..50 {
        lines
            .fill(1 << 20, |buffer| {
                buffer.resize(buffer.len() + (1 << 20), 0);
                Ok(())
            })
            .unwrap();
        assert!(lines.rest.is_empty() && lines.long.is_none());
    }
    assert_eq!((lines.offset(), lines.end()), (50 << 20, 50 << 20));
}

#[test]
fn nuls_that_were_passed_count_as_if_they_were_read() {
    let (cx, ids) = (cx(10, 1000), LineIds::new(7));
    let push = |lines: &mut Lines, bytes: &[u8]| {
        let fill = |buffer: &mut Vec<u8>| {
            buffer.extend_from_slice(bytes);
            Ok(())
        };
        lines.fill(bytes.len(), fill).unwrap();
    };
    for long in [&b""[..], b"0123456789", b"01234567890123456789"] {
        let mut seen = Vec::new();
        for pass in [false, true] {
            let mut lines = Lines::new(text(4), 5);
            push(&mut lines, long);
            if pass {
                assert!(lines.may_pass_nuls());
                lines.pass_nuls(1000);
            } else {
                push(&mut lines, &[0; 1000]);
            }
            push(&mut lines, b"ab\ncd\n");
            let taken = lines.batch(&cx, "x", false, |offset, line| ids.id(offset, line)).unwrap();
            let rows = (0..2)
                .map(|row| (taken.batch.id(row), taken.batch.row(row).str("message").map(str::to_owned)));
            seen.push((rows.collect::<Vec<_>>(), taken.start, taken.end));
        }
        assert_eq!(seen[0], seen[1], "behind {long:?}");
    }
    let mut lines = Lines::new(text(100), 0);
    push(&mut lines, b"ab");
    assert!(!lines.may_pass_nuls(), "its NULs belong to the line");
}
