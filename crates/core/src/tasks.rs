//! What a component may run beside itself, and what it may leave to its successor.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::{JoinSet, spawn_blocking};

/// Work of a task.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The tasks of a component, on the I/O runtime. Clones share them; with the last clone they end.
#[derive(Clone, Default)]
pub struct Tasks {
    running: Arc<Mutex<JoinSet<()>>>,
    /// What each of them runs under. `None` outside of a run.
    supervised: Option<Arc<dyn Fn(Task) -> Task + Send + Sync>>,
}

/// What a component of one topology leaves to the component of the next that takes its place (a reload): one value of
/// each type. Clones share it.
#[derive(Clone, Default)]
pub struct HandOver(Arc<Mutex<HashMap<TypeId, Box<dyn Any + Send>>>>);

// === impl Tasks ===

impl Tasks {
    /// No task yet. Each that comes is what `supervised` makes of it. The engine's.
    pub fn new(supervised: impl Fn(Task) -> Task + Send + Sync + 'static) -> Self {
        Self { supervised: Some(Arc::new(supervised)), ..Self::default() }
    }

    /// Begins a task. It is dropped at its next `await` when its component has ended.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let work: Task = Box::pin(work);
        let work = match &self.supervised {
            Some(supervised) => supervised(work),
            None => work,
        };
        let mut running = locked(&self.running);
        // Those that have ended are let go.
        while running.try_join_next().is_some() {}
        running.spawn(work);
    }

    /// Ends all tasks and waits until they have ended. The engine's.
    pub async fn end(&self) {
        let mut running = std::mem::take(&mut *locked(&self.running));
        running.shutdown().await;
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tasks").field(&locked(&self.running).len()).finish()
    }
}

// === impl HandOver ===

impl HandOver {
    /// Leaves `value`, in place of one that nobody took.
    pub fn give<T: Any + Send>(&self, value: T) {
        locked(&self.0).insert(TypeId::of::<T>(), Box::new(value));
    }

    /// What a component of an earlier topology left.
    pub fn take<T: Any + Send>(&self) -> Option<T> {
        locked(&self.0).remove(&TypeId::of::<T>())?.downcast().ok().map(|value| *value)
    }
}

impl fmt::Debug for HandOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HandOver").field(&locked(&self.0).len()).finish()
    }
}

/// Runs work that blocks (files, compression) on a thread where it holds up no one. A panic of it is a panic here. When
/// the run is over it never answers, and its end is not waited for.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => std::future::pending().await,
        },
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    #[test]
    fn each_task_is_supervised_and_none_is_left_at_the_end() {
        let supervised = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&supervised);
        let tasks = Tasks::new(move |work| {
            seen.fetch_add(1, Ordering::Relaxed);
            work
        });
        let held = Arc::new(());
        runtime().block_on(async {
            for _ in 0..3 {
                let held = Arc::clone(&held);
                tasks.spawn(async move {
                    std::future::pending::<()>().await;
                    drop(held);
                });
            }
            tokio::task::yield_now().await;
            assert_eq!(Arc::strong_count(&held), 4);
            tasks.end().await;
            assert_eq!(Arc::strong_count(&held), 1);
        });
        assert_eq!(supervised.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn tasks_that_have_ended_are_not_kept() {
        let tasks = Tasks::default();
        runtime().block_on(async {
            for _ in 0..100 {
                tasks.spawn(async {});
                tokio::task::yield_now().await;
            }
        });
        assert!(locked(&tasks.running).len() <= 2);
    }

    #[test]
    fn blocking_work_answers_and_its_panic_is_the_callers() {
        let answer = runtime().block_on(blocking(|| 6 * 7));
        assert_eq!(answer, 42);
        let panic = std::panic::catch_unwind(|| runtime().block_on(blocking(|| panic!("no such disk"))));
        assert_eq!(panic.unwrap_err().downcast_ref::<&str>(), Some(&"no such disk"));
    }

    #[test]
    fn what_is_left_is_taken_once_and_by_its_type() {
        let hand_over = HandOver::default();
        hand_over.give(1_u8);
        hand_over.clone().give(2_u8);
        assert_eq!(hand_over.take::<u16>(), None);
        assert_eq!(hand_over.take::<u8>(), Some(2));
        assert_eq!(hand_over.take::<u8>(), None);
    }
}
