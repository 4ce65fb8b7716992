//! A thread for calls into file systems: one that does not return (a hung mount) costs its file, and neither the others
//! nor the source.
//!
//! Calls are made one after the other. One that takes longer than [`CALL_TIMEOUT`] is given up with its thread, another
//! thread makes the rest, and its result can be asked for later ([`Late`]).

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A call that takes longer no longer holds up the others.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// A device gets no more calls while this many have not returned.
const MAX_LATE: usize = 4;

/// Makes calls on a thread of its own.
#[derive(Debug)]
pub(crate) struct CallThread {
    jobs: Sender<Job>,
    queue: Arc<Mutex<Receiver<Job>>>,
    /// Set when the thread was given up; nothing while none could be started.
    thread: Option<Arc<AtomicBool>>,
    /// The calls that did not return in time, by device; a call that still runs holds its token.
    late: Vec<(u64, Arc<()>)>,
    timeout: Duration,
}

/// What is to be done, and on which device.
pub(crate) struct Call<T> {
    device: u64,
    run: Box<dyn FnOnce() -> T + Send>,
}

/// What a call that did not return in time comes to.
#[derive(Debug)]
pub(crate) struct Late<T>(Slot<T>);

type Slot<T> = Arc<Mutex<Option<Result<T, Panic>>>>;
type Panic = Box<dyn Any + Send>;
type Job = Box<dyn FnOnce() + Send>;

enum Report {
    Begun(usize),
    Ended(usize),
}

// === impl Call ===

impl<T> Call<T> {
    pub(crate) fn new(device: u64, run: impl FnOnce() -> T + Send + 'static) -> Self {
        Self { device, run: Box::new(run) }
    }
}

// === impl CallThread ===

impl CallThread {
    pub(crate) fn new() -> Self {
        Self::with_timeout(CALL_TIMEOUT)
    }

    fn with_timeout(timeout: Duration) -> Self {
        let (jobs, queue) = channel();
        Self { jobs, queue: Arc::new(Mutex::new(queue)), thread: None, late: Vec::new(), timeout }
    }

    /// Whether the device gets no more calls until one returns.
    pub(crate) fn is_hung(&mut self, device: u64) -> bool {
        self.late.retain(|(_, token)| Arc::strong_count(token) > 1);
        self.late.iter().filter(|(late, _)| *late == device).count() >= MAX_LATE
    }

    /// Makes one call.
    pub(crate) fn run<T: Send + 'static>(
        &mut self,
        device: u64,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Late<T>> {
        let mut results = self.run_all(vec![Call::new(device, run)]);
        // One call has one result.
        results.pop().unwrap_or_else(|| Err(Late(Slot::default())))
    }

    /// Makes these calls; each must return in time. Results are in the order of the calls.
    pub(crate) fn run_all<T: Send + 'static>(&mut self, calls: Vec<Call<T>>) -> Vec<Result<T, Late<T>>> {
        let (report, reports) = channel();
        let mut runs = Vec::with_capacity(calls.len());
        for (index, call) in calls.into_iter().enumerate() {
            let (slot, token) = (Slot::default(), Arc::new(()));
            runs.push((Arc::clone(&slot), Arc::clone(&token), call.device));
            let report = report.clone();
            let job = move || {
                let _ = report.send(Report::Begun(index));
                let result = catch_unwind(AssertUnwindSafe(call.run));
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
                drop((slot, token));
                let _ = report.send(Report::Ended(index));
            };
            // The receiver is a field of this.
            let _ = self.jobs.send(Box::new(job));
        }
        drop(report);
        let mut given_up = vec![false; runs.len()];
        let (mut open, mut current) = (runs.len(), None);
        while open > 0 {
            self.start_thread();
            match reports.recv_timeout(self.timeout) {
                Ok(Report::Begun(index)) => current = Some(index),
                Ok(Report::Ended(index)) => {
                    current = current.filter(|current| *current != index);
                    open -= usize::from(!given_up[index]);
                }
                Err(RecvTimeoutError::Timeout) => {
                    let Some(index) = current.take() else { continue };
                    given_up[index] = true;
                    open -= 1;
                    self.late.push((runs[index].2, Arc::clone(&runs[index].1)));
                    if let Some(thread) = self.thread.take() {
                        thread.store(true, Ordering::Relaxed);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        runs.into_iter()
            .map(|(slot, ..)| {
                let late = Late(slot);
                late.take().ok_or(late)
            })
            .collect()
    }

    /// Starts a thread where there is none. Where none can be started, calls wait until one can.
    fn start_thread(&mut self) {
        if self.thread.is_some() {
            return;
        }
        let (queue, given_up) = (Arc::clone(&self.queue), Arc::new(AtomicBool::new(false)));
        let seen = Arc::clone(&given_up);
        let work = move || {
            while !seen.load(Ordering::Relaxed) {
                let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(job) = job else { return };
                job();
            }
        };
        if std::thread::Builder::new().name("file calls".to_owned()).spawn(work).is_ok() {
            self.thread = Some(given_up);
        }
    }
}

// === impl Late ===

impl<T> Late<T> {
    /// The result, once it is there.
    ///
    /// # Panics
    /// If the call did.
    pub(crate) fn take(&self) -> Option<T> {
        let result = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(result.unwrap_or_else(|panic| resume_unwind(panic)))
    }

    /// Whether the result is there.
    pub(crate) fn is_there(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who waits long enough on a busy machine.
    fn patient() -> CallThread {
        CallThread::with_timeout(Duration::from_secs(600))
    }

    fn impatient() -> CallThread {
        CallThread::with_timeout(Duration::from_secs(1))
    }

    /// A call that returns when it is let go.
    fn stuck(value: usize) -> (Sender<()>, Call<usize>) {
        let (let_go, wait) = channel();
        let call = Call::new(7, move || {
            let _ = wait.recv();
            value
        });
        (let_go, call)
    }

    #[test]
    fn results_come_in_the_order_of_the_calls_and_none_is_made_by_the_thread_that_asks() {
        let mut call_thread = patient();
        let here = std::thread::current().id();
        let calls = (0..1000).map(|number| Call::new(1, move || (number, std::thread::current().id())));
        let results = call_thread.run_all(calls.collect());
        for (number, result) in results.into_iter().enumerate() {
            let (seen, thread) = result.unwrap();
            assert!(seen == number && thread != here);
        }
    }

    #[test]
    fn a_call_that_does_not_return_does_not_hold_up_the_others_and_its_result_is_not_lost() {
        let mut call_thread = impatient();
        let (let_go, call) = stuck(1);
        let mut results =
            call_thread.run_all(vec![Call::new(7, || 0), call, Call::new(7, || 2), Call::new(8, || 3)]);
        let late = results.remove(1).unwrap_err();
        assert_eq!(results.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [0, 2, 3]);
        assert!(!late.is_there() && late.take().is_none());
        assert_eq!(call_thread.run(7, || 4).unwrap(), 4);
        let_go.send(()).unwrap();
        while !late.is_there() {
            std::thread::yield_now();
        }
        assert_eq!(late.take(), Some(1));
    }

    #[test]
    fn a_device_of_which_calls_do_not_return_is_left_alone_until_one_does() {
        let mut call_thread = impatient();
        let (gates, calls): (Vec<_>, Vec<_>) = (0..MAX_LATE).map(stuck).unzip();
        assert!(!call_thread.is_hung(7));
        assert!(call_thread.run_all(calls).iter().all(Result::is_err));
        assert!(call_thread.is_hung(7) && !call_thread.is_hung(8));
        gates[2].send(()).unwrap();
        while call_thread.is_hung(7) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_panic_in_a_call_is_one_of_who_asked_for_it() {
        let mut call_thread = patient();
        let outcome = catch_unwind(AssertUnwindSafe(|| call_thread.run(1, || -> usize { panic!("a bug") })));
        assert!(outcome.is_err());
        assert_eq!(call_thread.run(1, || 5).unwrap(), 5);
    }
}
