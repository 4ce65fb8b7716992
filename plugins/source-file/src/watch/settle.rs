//! What newcomers are: new files, known ones that moved, or copies ([`crate::newcomer`] says who may be what).

use std::io;
use std::sync::Arc;

use flowstone_core::SourceCx;
use tokio::time::Instant;

use super::{Watch, no_answer};
use crate::hands::Call;
use crate::identity::{Mark, birth_hash};
use crate::newcomer::{Aim, Newcomer, Proving};
use crate::proof::{Known, Proof, Verdict};
use crate::reader::{Beginning, Outcome, Reader, may_be_part_of, open};
use crate::tail::{Place, Tail};

// === impl Watch ===

impl Watch {
    /// Decides about every newcomer that can be decided about; begins proofs for those that may be known files.
    pub(super) fn settle(&mut self, cx: &SourceCx, now: Instant) {
        self.read_first(cx);
        let mut waiting = Vec::new();
        for mut newcomer in std::mem::take(&mut self.newcomers) {
            if newcomer.proof.is_some() || !self.decide(&mut newcomer, cx, now) {
                self.tell_broken(&mut newcomer, cx, now);
                waiting.push(newcomer);
            }
        }
        self.newcomers = waiting;
    }

    /// Reads the first bytes of those of which that was not done.
    fn read_first(&mut self, cx: &SourceCx) {
        let (mut asked, mut calls, mut results) = (Vec::new(), Vec::new(), Vec::new());
        for (index, newcomer) in self.newcomers.iter_mut().enumerate() {
            if let Some(late) = newcomer.late.take() {
                match late.take() {
                    Some(first) => results.push((index, Ok(first))),
                    None => newcomer.late = Some(late),
                }
            } else if newcomer.beginning.is_none() && !self.hands.is_hung(newcomer.stat.dev) {
                asked.push(index);
                calls.push(Call::new(newcomer.stat.dev, newcomer.first()));
            }
        }
        results.extend(asked.into_iter().zip(self.hands.run_all(calls)));
        for (index, result) in results {
            let newcomer = &mut self.newcomers[index];
            let path = newcomer.path.clone();
            match result {
                Ok(Ok(first)) => {
                    newcomer.take_first(first);
                    self.no_trouble_to_look_at(&path);
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {}
                Ok(Err(error)) => self.trouble(cx, &path, &error),
                Err(late) => {
                    newcomer.late = Some(late);
                    self.trouble(cx, &path, &no_answer());
                }
            }
        }
    }

    /// A compressed file of which not even one record can be read says so once no more of it is to come.
    fn tell_broken(&mut self, newcomer: &mut Newcomer, cx: &SourceCx, now: Instant) {
        let Some(beginning) = &mut newcomer.beginning else { return };
        let may_grow = self.manner.follow
            && now.duration_since(newcomer.quiet_since) < self.manner.rotate_wait
            && beginning.broken.as_ref().is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof);
        if !may_grow && let Some(error) = beginning.broken.take() {
            self.trouble(cx, &newcomer.path, &error);
        }
    }

    /// Whether the newcomer became a file that is read.
    fn decide(&mut self, newcomer: &mut Newcomer, cx: &SourceCx, now: Instant) -> bool {
        let Some(beginning) = newcomer.beginning.take() else { return false };
        let became = self.decide_by(newcomer, &beginning, cx, now);
        newcomer.beginning = Some(beginning);
        became
    }

    fn decide_by(
        &mut self,
        newcomer: &mut Newcomer,
        beginning: &Beginning,
        cx: &SourceCx,
        now: Instant,
    ) -> bool {
        let heir_of = self
            .tails
            .values()
            .filter(|tail| newcomer.may_succeed(tail, beginning))
            .max_by_key(|tail| tail.read().offset);
        if let Some(tail) = heir_of {
            let aim = Aim::Heir(tail.id);
            let known = tail.known();
            newcomer.proof = self.begin_proof(cx, newcomer, beginning, known).map(|proof| (aim, proof));
            return false;
        }
        let manner = self.manner;
        let quiet = |since: Instant| !manner.follow || now.duration_since(since) >= manner.rotate_wait;
        if let Some(original) = self.original_of(newcomer, beginning) {
            let original = &self.tails[&original];
            if !quiet(newcomer.quiet_since) {
                return false;
            }
            let aim = Aim::Copy(original.id);
            if beginning.gzip && !original.gzip && !newcomer.refuted.contains(&aim) {
                if original.has_ended() {
                    let known = original.known();
                    newcomer.proof =
                        self.begin_proof(cx, newcomer, beginning, known).map(|proof| (aim, proof));
                }
                return false;
            }
        }
        let over = newcomer.rotated.is_some_and(quiet) && quiet(newcomer.quiet_since);
        let complete = !self.manner.follow || beginning.whole || over;
        let Some(birth) = birth_hash(&beginning.bytes, complete, self.manner.headers) else { return false };
        let id = self.identities.new_id(birth);
        let mut tail = Tail::new(id, &newcomer.path, beginning, newcomer.start, &self.manner, now);
        tail.seen = cx.clock.now_ms();
        if newcomer.skip_present && beginning.gzip {
            tail.take_as_read(Mark::start(0));
        }
        tracing::debug!(path = %newcomer.path.display(), component = %cx.id.name, key = %tail.key, "new file");
        self.tails.insert(Arc::clone(&tail.key), tail);
        self.unsaved = true;
        true
    }

    /// A file that is there and of which the newcomer may be a copy.
    fn original_of(&mut self, newcomer: &Newcomer, beginning: &Beginning) -> Option<Arc<str>> {
        let Self { tails, hands, .. } = self;
        let original = tails.values().find(|tail| {
            if !newcomer.resembles(tail, beginning) || beginning.gzip || tail.gzip {
                return newcomer.resembles(tail, beginning);
            }
            let (shorter, longer) = (newcomer.path.clone(), tail.path.clone());
            let part = hands.run(tail.stat.dev, move || may_be_part_of(&shorter, &longer));
            // What cannot be told now is left to the next look.
            part.map_or(true, |part| part.unwrap_or(true))
        });
        original.map(|tail| Arc::clone(&tail.key))
    }

    fn begin_proof(
        &mut self,
        cx: &SourceCx,
        newcomer: &Newcomer,
        beginning: &Beginning,
        known: Known,
    ) -> Option<Proving> {
        let path = newcomer.path.clone();
        let error = match self.hands.run(newcomer.stat.dev, move || open(&path)) {
            Ok(Ok(file)) => {
                return Some(Proving::Next(Proof::new(file, beginning.gzip, known, self.manner.lines)));
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => return None,
            Ok(Err(error)) => error,
            Err(_) => no_answer(),
        };
        self.trouble(cx, &newcomer.path, &error);
        None
    }

    /// Brings a proof a step further; `false` if none is under way that can be.
    pub(super) fn prove(&mut self, cx: &SourceCx, now: Instant) -> bool {
        let can_go_on = |newcomer: &Newcomer| match &newcomer.proof {
            Some((_, Proving::Next(_))) => true,
            Some((_, Proving::Late(late))) => late.is_there(),
            None => false,
        };
        let Some(index) = self.newcomers.iter().position(can_go_on) else { return false };
        let newcomer = &mut self.newcomers[index];
        let Some((aim, proving)) = newcomer.proof.take() else { return false };
        let path = newcomer.path.clone();
        let step = match proving {
            Proving::Next(proof) => self.hands.run(newcomer.stat.dev, move || proof.step()),
            Proving::Late(late) => late.take().ok_or(late),
        };
        match step {
            Ok(Ok((Verdict::Open, Some(proof)))) => {
                newcomer.proof = Some((aim, Proving::Next(proof)));
                return true;
            }
            Ok(Ok((Verdict::Proven(reader), _))) => self.accept(index, aim, reader, cx, now),
            Ok(Ok(_)) => newcomer.refuted.push(aim),
            Ok(Err(error)) => {
                newcomer.refuted.push(aim);
                self.trouble(cx, &path, &error);
            }
            Err(late) => {
                newcomer.proof = Some((aim, Proving::Late(late)));
                self.trouble(cx, &path, &no_answer());
                return true;
            }
        }
        // Another identity may fit, or it is a new file.
        self.settle(cx, now);
        self.enqueue(now);
        true
    }

    /// The newcomer has been proven to be what `aim` says.
    fn accept(&mut self, index: usize, aim: Aim, mut reader: Reader, cx: &SourceCx, now: Instant) {
        let is_whole = match aim {
            Aim::Heir(_) => false,
            Aim::Copy(_) => {
                let read = move || {
                    let at_end = matches!(reader.read(&mut Vec::new(), 1), Ok(Outcome::Bytes(0)));
                    (reader, at_end)
                };
                match self.hands.run(self.newcomers[index].stat.dev, read) {
                    Ok((back, at_end)) => {
                        reader = back;
                        at_end
                    }
                    Err(_) => return,
                }
            }
        };
        let newcomer = &mut self.newcomers[index];
        let (Aim::Heir(id) | Aim::Copy(id)) = aim;
        let Some(beginning) = newcomer.beginning.take() else { return };
        let Some(tail) = self.tails.get_mut(&id.key()) else { return };
        match aim {
            // In the meantime it may have turned up itself.
            Aim::Heir(_) if tail.place != Place::Here => {
                tracing::debug!(from = %tail.path.display(), to = %newcomer.path.display(), component = %cx.id.name, "a file moved");
                let proven = reader.offset();
                tail.adopt(&newcomer.path, &beginning, proven, reader, &self.manner, now);
                tail.seen = cx.clock.now_ms();
                self.newcomers.remove(index);
            }
            Aim::Copy(_) if is_whole => {
                tracing::info!(path = %newcomer.path.display(), of = %tail.path.display(), component = %cx.id.name, "a compressed copy of a file that was read is passed over");
                let upto = tail.read();
                let birth = birth_hash(&beginning.bytes, true, self.manner.headers).unwrap_or_default();
                let path = newcomer.path.clone();
                self.newcomers.remove(index);
                let id = self.identities.new_id(birth);
                let mut copy = Tail::new(id, &path, &beginning, 0, &self.manner, now);
                copy.seen = cx.clock.now_ms();
                copy.take_as_read(upto);
                self.tails.insert(Arc::clone(&copy.key), copy);
                self.unsaved = true;
            }
            _ => {
                newcomer.refuted.push(aim);
                newcomer.beginning = Some(beginning);
            }
        }
    }
}
