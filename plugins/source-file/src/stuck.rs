//! For tests: calls on some paths do not return.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

static STUCK: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// From now on calls on this path do not return, until the guard is dropped.
pub(crate) struct Stuck(PathBuf);

impl Stuck {
    pub(crate) fn new(path: &Path) -> Self {
        STUCK.lock().unwrap_or_else(PoisonError::into_inner).push(path.to_owned());
        Self(path.to_owned())
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        STUCK.lock().unwrap_or_else(PoisonError::into_inner).retain(|path| *path != self.0);
    }
}

pub(crate) fn wait_if_stuck(path: &Path) {
    while STUCK.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|stuck| stuck == path) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use flowstone_core::prelude::*;
    use flowstone_core::{ComponentId, Health, Kind};
    use flowstone_lines::Decoding;

    use super::*;
    use crate::{FileOptions, FileSource, HeaderMode, ReadFrom};

    struct Rig {
        folder: tempfile::TempDir,
        source: FileSource,
        cx: SourceCx,
        health: Health,
    }

    impl Rig {
        fn new(paths: &[&str], files: &[&str]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            for file in files {
                let path = folder.path().join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, format!("{file} 0\n")).unwrap();
            }
            let paths = paths.iter().map(|path| folder.path().join(path).to_str().unwrap().to_owned());
            let options = FileOptions {
                paths: paths.collect(),
                exclude: Vec::new(),
                read_from: ReadFrom::Beginning,
                follow: true,
                poll_interval: Duration::from_millis(50),
                rotate_wait: Duration::from_secs(5),
                close_inactive: Duration::from_secs(300),
                ignore_older: None,
                max_line_bytes: ByteSize(1 << 20),
                decoding: Decoding::Text,
                header: HeaderMode::Auto,
            };
            let id = ComponentId { name: "in".into(), kind: Kind::Source, type_name: "file" };
            let data_dir = folder.path().join("data");
            let build = BuildCx { id: id.clone(), data_dir, clock: flowstone_core::Clock::System };
            let source = FileSource::new(options, &build).unwrap();
            let health = Health::default();
            let cx = SourceCx { health: health.of(&id), ..SourceCx::alone(id, build.state_dir()) };
            Self { folder, source, cx, health }
        }

        fn append(&self, file: &str, text: &str) {
            let path = self.folder.path().join(file);
            let mut content = fs::read_to_string(&path).unwrap();
            content.push_str(text);
            fs::write(path, content).unwrap();
        }

        /// Reads until so many lines came.
        async fn lines(&mut self, count: usize) -> Vec<String> {
            let mut lines = Vec::new();
            while lines.len() < count {
                match self.source.next(&mut self.cx).await.unwrap() {
                    Next::Batch(read) => {
                        let text = |row| read.batch.row(row).str("message").unwrap().to_owned();
                        lines.extend((0..read.batch.len()).map(text));
                        self.source.commit(&[read.position]).await.unwrap();
                    }
                    Next::Idle(time) => tokio::time::sleep(time).await,
                    Next::End => panic!("it follows"),
                }
            }
            lines.sort();
            lines
        }
    }

    #[tokio::test]
    async fn a_file_whose_calls_do_not_return_holds_up_neither_the_others_nor_the_runtime_and_is_read_on() {
        let mut rig = Rig::new(&["*.log"], &["a.log", "b.log"]);
        let stuck = Stuck::new(&rig.folder.path().join("a.log"));
        rig.source.start(&mut rig.cx).await.unwrap();
        // The runtime has one thread, and this runs on it.
        let ticks = tokio::spawn(async {
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        assert_eq!(rig.lines(1).await, ["b.log 0"]);
        assert!(ticks.is_finished());
        for round in 1..4 {
            let line = format!("b.log {round}");
            rig.append("b.log", &format!("{line}\n"));
            assert_eq!(rig.lines(1).await, [line]);
        }
        let problems = rig.health.problems();
        assert!(problems[0].contains("a.log: the file system does not answer; see whether"), "{problems:?}");
        drop(stuck);
        assert_eq!(rig.lines(1).await, ["a.log 0"]);
        rig.append("a.log", "a.log 1\n");
        assert_eq!(rig.lines(1).await, ["a.log 1"]);
        rig.append("a.log", "a.log 2\n");
        rig.lines(1).await;
        assert!(rig.health.problems().is_empty(), "{:?}", rig.health.problems());
    }

    #[tokio::test]
    async fn a_folder_that_does_not_answer_holds_up_no_other_and_waiting_for_it_can_be_cancelled() {
        let mut rig = Rig::new(&["hung/a.log", "*.log"], &["hung/a.log", "b.log"]);
        let stuck = Stuck::new(&rig.folder.path().join("hung/a.log"));
        rig.source.start(&mut rig.cx).await.unwrap();
        for _ in 0..5 {
            let next = tokio::time::timeout(Duration::from_millis(20), rig.source.next(&mut rig.cx));
            assert!(next.await.is_err(), "the first look waits for a moment");
        }
        rig.source.commit(&[]).await.unwrap();
        assert_eq!(rig.lines(1).await, ["b.log 0"]);
        assert!(rig.health.problems()[0].contains("does not answer"));
        drop(stuck);
        assert_eq!(rig.lines(1).await, ["hung/a.log 0"]);
    }

    #[tokio::test]
    async fn a_batch_that_was_under_way_when_its_file_was_rewound_comes_once_and_in_order() {
        let mut rig = Rig::new(&["*.log"], &["a.log"]);
        rig.cx.max_rows = 1;
        rig.append("a.log", "a.log 1\na.log 2\n");
        rig.source.start(&mut rig.cx).await.unwrap();
        let first = loop {
            match rig.source.next(&mut rig.cx).await.unwrap() {
                Next::Batch(first) => break first,
                Next::Idle(time) => tokio::time::sleep(time).await,
                Next::End => panic!("it follows"),
            }
        };
        // The second one is asked for, and nobody waits for it.
        let next = tokio::time::timeout(Duration::ZERO, rig.source.next(&mut rig.cx)).await;
        let came_at_once = next.is_ok();
        rig.source.rewind(&first.position).await.unwrap();
        let mut seen = Vec::new();
        while seen.len() < 3 {
            seen.extend(rig.lines(1).await);
        }
        assert_eq!(seen, ["a.log 0", "a.log 1", "a.log 2"], "at once: {came_at_once}");
    }
}
