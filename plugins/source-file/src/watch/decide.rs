//! What new files are: new files, known ones that moved, or copies ([`crate::new_file`] says who may be what).

use std::io;
use std::sync::Arc;

use flowstone_core::SourceCx;
use tokio::time::Instant;

use super::{Watch, no_answer};
use crate::calls::Call;
use crate::identity::{Checkpoint, birth_hash};
use crate::new_file::{NewFile, ProofGoal, Proving};
use crate::proof::{Evidence, Proof, ProofStep};
use crate::reader::{Beginning, Outcome, Reader, may_be_part_of, open};
use crate::tail::{FileStatus, Tail};

// === impl Watch ===

impl Watch {
    /// Decides about every new file that can be decided about; begins proofs for those that may be known files.
    pub(super) fn decide_new_files(&mut self, cx: &SourceCx, now: Instant) {
        self.read_first(cx);
        let mut waiting = Vec::new();
        for mut new_file in std::mem::take(&mut self.new_files) {
            if new_file.proof.is_some() || !self.decide(&mut new_file, cx, now) {
                self.report_broken(&mut new_file, cx, now);
                waiting.push(new_file);
            }
        }
        self.new_files = waiting;
    }

    /// Reads the first bytes of the files that were found since.
    fn read_first(&mut self, cx: &SourceCx) {
        let (mut asked, mut calls, mut results) = (Vec::new(), Vec::new(), Vec::new());
        for (index, new_file) in self.new_files.iter_mut().enumerate() {
            if let Some(late) = new_file.late.take() {
                match late.take() {
                    Some(first) => results.push((index, Ok(first))),
                    None => new_file.late = Some(late),
                }
            } else if new_file.beginning.is_none() && !self.call_thread.is_hung(new_file.stat.dev) {
                asked.push(index);
                calls.push(Call::new(new_file.stat.dev, new_file.first()));
            }
        }
        results.extend(asked.into_iter().zip(self.call_thread.run_all(calls)));
        for (index, result) in results {
            let new_file = &mut self.new_files[index];
            let path = new_file.path.clone();
            match result {
                Ok(Ok(first)) => {
                    new_file.take_first(first);
                    self.clear_error(&path);
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {}
                Ok(Err(error)) => self.report_error(cx, &path, &error),
                Err(late) => {
                    new_file.late = Some(late);
                    self.report_error(cx, &path, &no_answer());
                }
            }
        }
    }

    /// Reports a compressed file without one readable record, once it no longer grows.
    fn report_broken(&mut self, new_file: &mut NewFile, cx: &SourceCx, now: Instant) {
        let Some(beginning) = &mut new_file.beginning else { return };
        let may_grow = self.options.follow
            && now.duration_since(new_file.quiet_since) < self.options.rotate_wait
            && beginning.broken.as_ref().is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof);
        if !may_grow && let Some(error) = beginning.broken.take() {
            self.report_error(cx, &new_file.path, &error);
        }
    }

    /// Whether the new file became a file that is read.
    fn decide(&mut self, new_file: &mut NewFile, cx: &SourceCx, now: Instant) -> bool {
        let Some(beginning) = new_file.beginning.take() else { return false };
        let became = self.decide_by(new_file, &beginning, cx, now);
        new_file.beginning = Some(beginning);
        became
    }

    fn decide_by(
        &mut self,
        new_file: &mut NewFile,
        beginning: &Beginning,
        cx: &SourceCx,
        now: Instant,
    ) -> bool {
        let predecessor = self
            .tails
            .values()
            .filter(|tail| new_file.may_succeed(tail, beginning))
            .max_by_key(|tail| tail.read.offset);
        if let Some(tail) = predecessor {
            let goal = ProofGoal::Successor(tail.id);
            let evidence = tail.evidence();
            new_file.proof = self.begin_proof(cx, new_file, beginning, evidence).map(|proof| (goal, proof));
            return false;
        }
        let options = self.options;
        let quiet = |since: Instant| !options.follow || now.duration_since(since) >= options.rotate_wait;
        if let Some(original) = self.original_of(new_file, beginning) {
            let original = &self.tails[&original];
            if !quiet(new_file.quiet_since) {
                return false;
            }
            let goal = ProofGoal::Copy(original.id);
            if beginning.gzip && !original.gzip && !new_file.refuted.contains(&goal) {
                if original.has_ended() {
                    let evidence = original.evidence();
                    new_file.proof =
                        self.begin_proof(cx, new_file, beginning, evidence).map(|proof| (goal, proof));
                }
                return false;
            }
        }
        let over = new_file.rotated.is_some_and(quiet) && quiet(new_file.quiet_since);
        let complete = !self.options.follow || beginning.whole || over;
        let Some(birth) = birth_hash(&beginning.bytes, complete, self.options.headers) else { return false };
        let id = self.identities.new_id(birth);
        let mut tail = Tail::new(id, &new_file.path, beginning, new_file.start, &self.options, now);
        tail.seen = cx.clock.now_ms();
        if new_file.skip_present && beginning.gzip {
            tail.take_as_read(Checkpoint::start(0));
        }
        tracing::debug!(path = %new_file.path.display(), component = %cx.id.name, key = %tail.key, "new file");
        self.tails.insert(Arc::clone(&tail.key), tail);
        self.unsaved = true;
        true
    }

    /// A file that is there and of which the new file may be a copy.
    fn original_of(&mut self, new_file: &NewFile, beginning: &Beginning) -> Option<Arc<str>> {
        let Self { tails, call_thread, .. } = self;
        let original = tails.values().find(|tail| {
            if !new_file.resembles(tail, beginning) || beginning.gzip || tail.gzip {
                return new_file.resembles(tail, beginning);
            }
            let (shorter, longer) = (new_file.path.clone(), tail.path.clone());
            let part = call_thread.run(tail.stat.dev, move || may_be_part_of(&shorter, &longer));
            // Without an answer the next scan decides.
            part.map_or(true, |part| part.unwrap_or(true))
        });
        original.map(|tail| Arc::clone(&tail.key))
    }

    fn begin_proof(
        &mut self,
        cx: &SourceCx,
        new_file: &NewFile,
        beginning: &Beginning,
        evidence: Evidence,
    ) -> Option<Proving> {
        let path = new_file.path.clone();
        let error = match self.call_thread.run(new_file.stat.dev, move || open(&path)) {
            Ok(Ok(file)) => {
                return Some(Proving::Next(Proof::new(file, beginning.gzip, evidence, self.options.lines)));
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => return None,
            Ok(Err(error)) => error,
            Err(_) => no_answer(),
        };
        self.report_error(cx, &new_file.path, &error);
        None
    }

    /// Does a step of a proof; `false` if no proof can go on.
    pub(super) fn prove(&mut self, cx: &SourceCx, now: Instant) -> bool {
        let can_go_on = |new_file: &NewFile| match &new_file.proof {
            Some((_, Proving::Next(_))) => true,
            Some((_, Proving::Late(late))) => late.is_there(),
            None => false,
        };
        let Some(index) = self.new_files.iter().position(can_go_on) else { return false };
        let new_file = &mut self.new_files[index];
        let Some((goal, proving)) = new_file.proof.take() else { return false };
        let path = new_file.path.clone();
        let step = match proving {
            Proving::Next(proof) => self.call_thread.run(new_file.stat.dev, move || proof.step()),
            Proving::Late(late) => late.take().ok_or(late),
        };
        match step {
            Ok(Ok(ProofStep::Inconclusive(proof))) => {
                new_file.proof = Some((goal, Proving::Next(proof)));
                return true;
            }
            Ok(Ok(ProofStep::Proven(reader))) => self.accept(index, goal, reader, cx, now),
            Ok(Ok(ProofStep::Refuted)) => new_file.refuted.push(goal),
            Ok(Err(error)) => {
                new_file.refuted.push(goal);
                self.report_error(cx, &path, &error);
            }
            Err(late) => {
                new_file.proof = Some((goal, Proving::Late(late)));
                self.report_error(cx, &path, &no_answer());
                return true;
            }
        }
        // Another identity may fit, or it is a new file.
        self.decide_new_files(cx, now);
        self.enqueue(now);
        true
    }

    /// The new file has been proven to be what `goal` says.
    fn accept(&mut self, index: usize, goal: ProofGoal, mut reader: Reader, cx: &SourceCx, now: Instant) {
        let is_whole = match goal {
            ProofGoal::Successor(_) => false,
            ProofGoal::Copy(_) => {
                let read = move || {
                    let at_end = matches!(reader.read(&mut Vec::new(), 1), Ok(Outcome::Bytes(0)));
                    (reader, at_end)
                };
                match self.call_thread.run(self.new_files[index].stat.dev, read) {
                    Ok((back, at_end)) => {
                        reader = back;
                        at_end
                    }
                    Err(_) => return,
                }
            }
        };
        let new_file = &mut self.new_files[index];
        let (ProofGoal::Successor(id) | ProofGoal::Copy(id)) = goal;
        let Some(beginning) = new_file.beginning.take() else { return };
        let Some(tail) = self.tails.get_mut(&id.key()) else { return };
        match goal {
            // In the meantime it may have turned up itself.
            ProofGoal::Successor(_) if tail.status != FileStatus::Present => {
                tracing::debug!(from = %tail.path.display(), to = %new_file.path.display(), component = %cx.id.name, "a file moved");
                let proven = reader.offset();
                tail.adopt(&new_file.path, &beginning, proven, reader, &self.options, now);
                tail.seen = cx.clock.now_ms();
                self.new_files.remove(index);
            }
            ProofGoal::Copy(_) if is_whole => {
                tracing::info!(path = %new_file.path.display(), of = %tail.path.display(), component = %cx.id.name, "a compressed copy of a file that was read is passed over");
                let upto = tail.read;
                let birth = birth_hash(&beginning.bytes, true, self.options.headers).unwrap_or_default();
                let path = new_file.path.clone();
                self.new_files.remove(index);
                let id = self.identities.new_id(birth);
                let mut copy = Tail::new(id, &path, &beginning, 0, &self.options, now);
                copy.seen = cx.clock.now_ms();
                copy.take_as_read(upto);
                self.tails.insert(Arc::clone(&copy.key), copy);
                self.unsaved = true;
            }
            _ => {
                new_file.refuted.push(goal);
                new_file.beginning = Some(beginning);
            }
        }
    }
}
