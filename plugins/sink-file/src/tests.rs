use std::fs;
use std::path::Path;

use super::*;

fn sink(path: &Path, change: impl FnOnce(&mut FileOptions)) -> FileSink {
    let mut options = FileOptions {
        path: Template::parse(path.to_str().unwrap()).unwrap(),
        encoding: Encoding::Json,
        max_bytes: None,
        flush_interval: Duration::ZERO,
        version_field: false,
    };
    change(&mut options);
    FileSink::new(options).unwrap()
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
async fn an_unfinished_last_line_is_cut_off_when_the_file_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    for (before, kept) in [("whole\ntorn", "whole\n"), ("torn", ""), ("whole\n", "whole\n")] {
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
    fs::write(folder.path().join("file"), "").unwrap();
    let sink = sink(&folder.path().join("%{message}/out"), |_| ());
    // The second one's folder is a file.
    let Verdicts::Rows(verdicts) = write(&sink, &["fine", "file"]).await else { panic!("two verdicts") };
    assert_eq!(verdicts[0], Verdict::Delivered);
    let Verdict::Blocked { detail, what_to_do, .. } = &verdicts[1] else { panic!("{verdicts:?}") };
    assert!(detail.contains("file/out") && !what_to_do.is_empty(), "{detail}: {what_to_do}");
    fs::remove_file(folder.path().join("file")).unwrap();
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
        let options = FileOptions {
            path: Template::parse(path).unwrap(),
            encoding: Encoding::Json,
            max_bytes: None,
            flush_interval: Duration::ZERO,
            version_field: false,
        };
        assert_eq!(FileSink::new(options).err().unwrap()[0].option, "path");
    }
}
