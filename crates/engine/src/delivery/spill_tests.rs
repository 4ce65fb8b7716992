use std::os::unix::fs::PermissionsExt;

use flowstone_core::event::RowId;
use flowstone_core::{Body, Metrics};

use super::*;

struct Rig {
    folder: tempfile::TempDir,
    budget: Arc<Budget>,
    settled: Arc<Mutex<usize>>,
}

impl Rig {
    fn new() -> Self {
        let budget = Budget::new(1 << 20, Metrics::new());
        Self { folder: tempfile::tempdir().unwrap(), budget, settled: Arc::default() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("waiting/es.log")
    }

    fn spill(&self, max: u64) -> Spill {
        Spill::new(&self.folder.path().join("waiting"), "es", "fake", max)
    }

    /// `rows` rows of 100 bytes for `key`, numbered from `first`.
    fn unit(&self, key: &str, first: u32, rows: u32) -> (Arc<str>, Vec<Unit>) {
        let mut body = Body::default();
        let number = body.key(key);
        for row in first..first + rows {
            body.row(RowId::of(&row.to_be_bytes()), number, |buffer| {
                let start = buffer.len();
                buffer.extend_from_slice(format!("{row:0100}").as_bytes());
                start
            });
        }
        let settled = Arc::clone(&self.settled);
        let ack = Ack::new(move |outcome| *lock(&settled) += usize::from(outcome == AckOutcome::Settled), ());
        let unit = Unit::apart_of(body.finish(Bytes::from).with_ack(ack), &self.budget);
        (key.into(), vec![unit.waiting_since(i64::from(first))])
    }

    async fn rows(&self, spill: &Spill, key: &Arc<str>, block: Block) -> Vec<u32> {
        let units = spill.load(key, block, &self.budget).await.unwrap();
        numbers(&units)
    }
}

fn numbers(units: &[Unit]) -> Vec<u32> {
    let text = |unit: &Unit, row| String::from_utf8(unit.segment.document(row).to_vec()).unwrap();
    units.iter().flat_map(|unit| unit.rows.iter().map(|row| text(unit, row).parse().unwrap())).collect()
}

fn settle(units: Vec<Unit>) {
    units.iter().for_each(|unit| unit.settle());
}

#[tokio::test]
async fn rows_on_disk_are_acknowledged_and_found_again_in_their_order() {
    let rig = Rig::new();
    let spill = rig.spill(1 << 20);
    let blocks = spill.put(vec![rig.unit("a", 0, 3), rig.unit("b", 10, 2)]).await.unwrap();
    assert_eq!(*lock(&rig.settled), 2);
    let more = spill.put(vec![rig.unit("a", 3, 1)]).await.unwrap();
    assert_eq!(rig.rows(&spill, &blocks[1].0, blocks[1].1).await, [10, 11]);
    drop(spill);

    let spill = rig.spill(1 << 20);
    let found = spill.recover().await.unwrap();
    assert_eq!(found, [blocks, more].concat());
    assert_eq!(rig.rows(&spill, &found[0].0, found[0].1).await, [0, 1, 2]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&rig.path()), mode(rig.path().parent().unwrap())), (0o600, 0o700));
}

#[tokio::test]
async fn what_is_taken_is_not_sent_again_and_what_was_dropped_comes_back() {
    let rig = Rig::new();
    let spill = rig.spill(1 << 20);
    let blocks =
        spill.put(vec![rig.unit("a", 0, 2), rig.unit("a", 2, 2), rig.unit("a", 4, 2)]).await.unwrap();
    settle(spill.load(&blocks[0].0, blocks[0].1, &rig.budget).await.unwrap());
    drop(spill.load(&blocks[1].0, blocks[1].1, &rig.budget).await.unwrap());
    let back: Vec<Block> = spill.returned().await.into_iter().map(|returned| returned.block).collect();
    assert_eq!(back, [blocks[1].1]);
    // Settled when nobody listens any more: marked when the last handle is gone.
    let last = spill.load(&blocks[2].0, blocks[2].1, &rig.budget).await.unwrap();
    drop(spill);
    settle(last);
    let spill = rig.spill(1 << 20);
    let found = spill.recover().await.unwrap();
    assert_eq!(found.len(), 1);
    let units = spill.load(&found[0].0, found[0].1, &rig.budget).await.unwrap();
    assert_eq!(numbers(&units), [2, 3]);
    // With nothing left the file is as short as it began.
    settle(units);
    assert!(spill.returned().await.is_empty());
    assert_eq!(fs::read_to_string(rig.path()).unwrap(), format!("{VERSION}fake\n"));
}

#[tokio::test]
async fn a_crash_at_any_byte_of_a_write_loses_nothing_that_was_acknowledged() {
    let rig = Rig::new();
    let spill = rig.spill(1 << 20);
    spill.put(vec![rig.unit("a", 0, 3)]).await.unwrap();
    let whole = fs::metadata(rig.path()).unwrap().len() as usize;
    spill.put(vec![rig.unit("b", 3, 1)]).await.unwrap();
    drop(spill);
    let content = fs::read(rig.path()).unwrap();
    for length in 0..content.len() {
        fs::write(rig.path(), &content[..length]).unwrap();
        let spill = rig.spill(1 << 20);
        let found = spill.recover().await.unwrap();
        assert_eq!(found.len(), usize::from(length >= whole), "{length} of {}", content.len());
        // What is appended then is found as well.
        spill.put(vec![rig.unit("c", 9, 1)]).await.unwrap();
        drop(spill);
        let found = rig.spill(1 << 20).recover().await.unwrap();
        assert_eq!(found.last().map(|(key, _)| &**key), Some("c"), "{length}");
    }
}

#[tokio::test]
async fn damage_in_the_middle_costs_what_is_damaged_and_a_copy_is_kept() {
    let rig = Rig::new();
    let spill = rig.spill(1 << 20);
    for first in [0, 3, 6] {
        spill.put(vec![rig.unit("a", first, 3)]).await.unwrap();
    }
    drop(spill);
    let mut content = fs::read(rig.path()).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    fs::write(rig.path(), &content).unwrap();
    let spill = rig.spill(1 << 20);
    let found = spill.recover().await.unwrap();
    let mut rows = Vec::new();
    for (key, block) in &found {
        rows.extend(rig.rows(&spill, key, *block).await);
    }
    assert_eq!(rows, [0, 1, 2, 6, 7, 8]);
    assert_eq!(fs::read(rig.path().with_extension("damaged")).unwrap(), content);
}

#[tokio::test]
async fn a_full_file_refuses_and_keeps_the_rows_until_there_is_room() {
    let rig = Rig::new();
    let spill = rig.spill(4 << 10);
    let blocks = spill.put(vec![rig.unit("a", 0, 20)]).await.unwrap();
    let (problem, back) = spill.put(vec![rig.unit("b", 20, 20)]).await.unwrap_err();
    assert_eq!(problem, Problem::Full(4 << 10));
    assert_eq!((numbers(&back[0].1).len(), *lock(&rig.settled)), (20, 1), "they are not acknowledged");
    settle(spill.load(&blocks[0].0, blocks[0].1, &rig.budget).await.unwrap());
    assert!(spill.returned().await.is_empty());
    spill.put(back).await.unwrap();
    assert_eq!(*lock(&rig.settled), 2);
}

#[tokio::test]
async fn the_file_shrinks_when_most_of_it_is_taken() {
    let rig = Rig::new();
    let spill = rig.spill(16 << 20);
    let mut blocks = Vec::new();
    for first in 0..40 {
        blocks.extend(spill.put(vec![rig.unit("a", first * 1000, 500)]).await.unwrap());
    }
    let full = fs::metadata(rig.path()).unwrap().len();
    // A block that is in somebody's hands while the file is written anew is marked in the new one.
    let in_hand = spill.load(&blocks[39].0, blocks[39].1, &rig.budget).await.unwrap();
    for (key, block) in &blocks[..30] {
        settle(spill.load(key, *block, &rig.budget).await.unwrap());
        assert!(spill.returned().await.is_empty());
    }
    let now = fs::metadata(rig.path()).unwrap().len();
    assert!(now < full / 2, "{now} of {full}");
    settle(in_hand);
    assert!(spill.returned().await.is_empty());
    blocks.truncate(39);
    assert_eq!(rig.rows(&spill, &blocks[30].0, blocks[30].1).await[0], 30_000);
    spill.returned().await;
    spill.put(vec![rig.unit("b", 7, 1)]).await.unwrap();
    drop(spill);
    let found = rig.spill(16 << 20).recover().await.unwrap();
    assert_eq!(found.len(), 10);
    let since: Vec<i64> = found.iter().map(|(_, block)| block.since).collect();
    assert_eq!(since[..9], (30..39).map(|number| number * 1000).collect::<Vec<i64>>());
}

#[tokio::test]
async fn a_file_of_somebody_else_is_left_alone() {
    let rig = Rig::new();
    let spill = rig.spill(1 << 20);
    spill.put(vec![rig.unit("a", 0, 1)]).await.unwrap();
    let refused = rig.spill(1 << 20).recover().await.unwrap_err();
    assert!(refused.to_string().contains("another flowstone uses it"), "{refused}");
    drop(spill);
    let other = Spill::new(&rig.folder.path().join("waiting"), "es", "other", 1 << 20);
    let before = fs::read(rig.path()).unwrap();
    let refused = other.recover().await.unwrap_err();
    assert!(refused.to_string().contains("sink of another type"), "{refused}");
    let (problem, _) = other.put(vec![rig.unit("a", 1, 1)]).await.unwrap_err();
    assert!(problem.to_string().contains("sink of another type"), "{problem}");
    assert_eq!(fs::read(rig.path()).unwrap(), before);
    fs::write(rig.path(), "flowstone waiting rows, version 2, for fake\n").unwrap();
    assert!(rig.spill(1 << 20).recover().await.is_err());
}

#[tokio::test]
async fn a_file_that_somebody_deletes_is_made_anew_with_what_waits() {
    let rig = Rig::new();
    let spill = rig.spill(1 << 20);
    spill.put(vec![rig.unit("a", 0, 2)]).await.unwrap();
    std::fs::remove_file(spill.path()).unwrap();
    spill.put(vec![rig.unit("a", 2, 2)]).await.unwrap();
    drop(spill);
    let spill = rig.spill(1 << 20);
    let mut rows = Vec::new();
    for (key, block) in spill.recover().await.unwrap() {
        rows.extend(rig.rows(&spill, &key, block).await);
    }
    assert_eq!(rows, [0, 1, 2, 3]);
}
