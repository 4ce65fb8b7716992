use std::io::{self, Read};
use std::sync::mpsc;
use std::time::Duration;

use flowstone_core::{Clock, ComponentId, Kind, StateDir};

use super::*;

fn cx(max_rows: usize) -> SourceCx {
    let id = ComponentId { name: "in".into(), kind: Kind::Source, type_name: "stdin" };
    SourceCx { max_rows, clock: Clock::Fixed(0), ..SourceCx::alone(id, StateDir::new("unused".into())) }
}

fn stdin(input: impl Read + Send + 'static) -> Stdin {
    Stdin::new(StdinOptions::defaults(), Some(Box::new(input))).unwrap()
}

/// Gives what a test sends it.
struct Pipe(mpsc::Receiver<Vec<u8>>);

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Ok(bytes) = self.0.recv() else { return Ok(0) };
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }
}

fn texts(read: &SourceBatch) -> Vec<String> {
    read.batch.live_rows().map(|row| read.batch.row(row).str("message").unwrap().to_owned()).collect()
}

async fn next(source: &mut Stdin, cx: &mut SourceCx) -> Option<SourceBatch> {
    match source.next(cx).await.unwrap() {
        Next::Batch(read) => Some(read),
        Next::End => None,
        Next::Idle(_) => panic!("it waits by itself"),
    }
}

#[tokio::test]
async fn lines_come_until_the_end_and_the_last_one_needs_no_newline() {
    let mut source = stdin(&b"one\r\ntwo\n\nlast"[..]);
    let mut cx = cx(2);
    source.start(&mut cx).await.unwrap();
    let mut seen = Vec::new();
    let mut ids = Vec::new();
    while let Some(read) = next(&mut source, &mut cx).await {
        seen.extend(texts(&read));
        ids.extend(read.batch.live_rows().map(|row| read.batch.id(row)));
    }
    assert_eq!(seen, ["one", "two", "", "last"]);
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

#[tokio::test]
async fn a_line_does_not_wait_for_others_and_waiting_can_be_cancelled() {
    let (send, receive) = mpsc::channel();
    let mut source = stdin(Pipe(receive));
    let mut cx = cx(1000);
    source.start(&mut cx).await.unwrap();
    send.send(b"one\ntw".to_vec()).unwrap();
    assert_eq!(texts(&next(&mut source, &mut cx).await.unwrap()), ["one"]);
    let waited = tokio::time::timeout(Duration::from_millis(20), source.next(&mut cx)).await;
    assert!(waited.is_err(), "the second line is not complete");
    send.send(b"o\n".to_vec()).unwrap();
    assert_eq!(texts(&next(&mut source, &mut cx).await.unwrap()), ["two"]);
    drop(send);
    assert!(next(&mut source, &mut cx).await.is_none());
}

#[tokio::test]
async fn what_was_not_delivered_comes_again_with_the_same_ids() {
    let mut source = stdin(&b"a\nb\nc\nd\ne\nf\n"[..]);
    let mut cx = cx(2);
    source.start(&mut cx).await.unwrap();
    let mut reads = Vec::new();
    for _ in 0..2 {
        reads.push(next(&mut source, &mut cx).await.unwrap());
    }
    let second = (reads[1].batch.id(0), reads[1].position.clone());
    source.commit(&[reads[0].position.clone()]).await.unwrap();
    source.rewind(&second.1).await.unwrap();
    let again = next(&mut source, &mut cx).await.unwrap();
    assert_eq!((again.batch.id(0), again.position.clone()), second);
    assert_eq!(texts(&again), ["c", "d"]);
    assert_eq!(texts(&next(&mut source, &mut cx).await.unwrap()), ["e", "f"]);
}

#[tokio::test]
async fn the_next_topology_begins_with_what_this_one_did_not_deliver() {
    let (send, receive) = mpsc::channel();
    let mut source = stdin(Pipe(receive));
    let mut cx = cx(1);
    source.start(&mut cx).await.unwrap();
    send.send(b"one\ntwo\nthr".to_vec()).unwrap();
    let first = next(&mut source, &mut cx).await.unwrap();
    let second = next(&mut source, &mut cx).await.unwrap();
    source.commit(&[first.position]).await.unwrap();
    let id = second.batch.id(0);
    drop((source, second.batch));

    let mut reloaded = Stdin::new(StdinOptions::defaults(), None).unwrap();
    reloaded.start(&mut cx).await.unwrap();
    let again = next(&mut reloaded, &mut cx).await.unwrap();
    assert_eq!((texts(&again), again.batch.id(0)), (vec!["two".to_owned()], id));
    send.send(b"ee\n".to_vec()).unwrap();
    assert_eq!(texts(&next(&mut reloaded, &mut cx).await.unwrap()), ["three"]);
}

#[tokio::test]
async fn a_stream_that_breaks_says_so_after_its_lines() {
    struct Broken(bool);
    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if std::mem::replace(&mut self.0, true) {
                return Err(io::Error::other("gone"));
            }
            buffer[..4].copy_from_slice(b"one\n");
            Ok(4)
        }
    }
    let mut source = stdin(Broken(false));
    let mut cx = cx(10);
    source.start(&mut cx).await.unwrap();
    assert_eq!(texts(&next(&mut source, &mut cx).await.unwrap()), ["one"]);
    let Err(error) = source.next(&mut cx).await else { panic!("an error") };
    assert!(error.fatal && error.message.contains("standard input: gone"), "{error:?}");
}

#[tokio::test]
async fn a_byte_order_mark_and_nuls_where_a_line_begins_are_no_content_and_ids_stay_when_lines_come_again() {
    let stream = [b"\xef\xbb\xbfone\n", &vec![0; 200_000][..], b"two\n\0\0three\n\0four\n"].concat();
    let mut source = stdin(io::Cursor::new(stream));
    let mut cx = cx(1);
    source.start(&mut cx).await.unwrap();
    let mut first = Vec::new();
    for _ in 0..3 {
        let read = next(&mut source, &mut cx).await.unwrap();
        first.push((texts(&read), read.batch.id(0), read.position));
    }
    assert_eq!(
        first.iter().map(|(texts, ..)| texts[0].as_str()).collect::<Vec<_>>(),
        ["one", "two", "three"]
    );
    source.rewind(&first[0].2).await.unwrap();
    for seen in &first {
        let again = next(&mut source, &mut cx).await.unwrap();
        assert_eq!((texts(&again), again.batch.id(0), again.position), *seen);
    }
    source.commit(&[first[0].2.clone()]).await.unwrap();
    // The next topology.
    drop(source);
    let mut reloaded = Stdin::new(StdinOptions::defaults(), None).unwrap();
    reloaded.start(&mut cx).await.unwrap();
    for seen in &first[1..] {
        let again = next(&mut reloaded, &mut cx).await.unwrap();
        assert_eq!((texts(&again), again.batch.id(0), again.position), *seen);
    }
    assert_eq!(texts(&next(&mut reloaded, &mut cx).await.unwrap()), ["four"]);
}
