//! How long matching may take.

use std::time::{Duration, Instant};

/// Steps between two looks at the clock.
const STEPS_PER_LOOK: u32 = 4096;

/// How long matching may take.
#[derive(Clone, Debug)]
pub struct Budget {
    limit: Option<Duration>,
    deadline: Option<Instant>,
    pub(crate) steps: u32,
}

/// The budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut;

// === impl Budget ===

impl Budget {
    /// So much time for what follows; `None` for as much as it takes.
    pub fn new(limit: Option<Duration>) -> Self {
        Self { limit, deadline: None, steps: 0 }
    }

    /// Begins anew.
    pub fn reset(&mut self) {
        self.deadline = None;
        self.steps = 0;
    }

    /// The clock is looked at only now and then, and started by the first look: most matches never see it.
    #[inline]
    pub(crate) fn step(&mut self) -> Result<(), TimedOut> {
        self.steps += 1;
        if self.steps < STEPS_PER_LOOK { Ok(()) } else { self.look() }
    }

    #[cold]
    fn look(&mut self) -> Result<(), TimedOut> {
        self.steps = 0;
        let Some(limit) = self.limit else { return Ok(()) };
        let now = Instant::now();
        match self.deadline {
            None => self.deadline = now.checked_add(limit),
            Some(deadline) if now >= deadline => return Err(TimedOut),
            Some(_) => {}
        }
        Ok(())
    }
}
