//! How long matching may take.

use std::time::{Duration, Instant};

/// Steps between two looks at the clock.
const STEPS_PER_LOOK: u32 = 4096;

/// How long matching may take: so much time, or so many steps, which are the same on every machine.
#[derive(Clone, Debug)]
pub struct Budget {
    limit: Limit,
    deadline: Option<Instant>,
    /// Steps since the last look.
    steps: u32,
}

#[derive(Clone, Copy, Debug)]
enum Limit {
    None,
    Time(Duration),
    /// So many steps are left.
    Steps(u64),
}

/// The budget is used up, and it is not known whether there is a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GaveUp;

// === impl Budget ===

impl Budget {
    /// So much time for what follows; `None` for as much as it takes.
    pub fn time(limit: Option<Duration>) -> Self {
        Self::new(limit.map_or(Limit::None, Limit::Time))
    }

    /// As many steps as one look at a text of so many bytes may take: some dozens of milliseconds for a short one.
    pub fn steps(bytes: usize) -> Self {
        Self::new(Limit::Steps((1 << 21) + 32 * bytes as u64))
    }

    /// As many steps as matching needs in a text of so many bytes unless the pattern goes astray, and no more time
    /// than is left.
    pub(crate) fn trial(&self, bytes: usize) -> Self {
        Self { deadline: self.deadline, ..Self::new(Limit::Steps((1 << 16) + 16 * bytes as u64)) }
    }

    fn new(limit: Limit) -> Self {
        Self { limit, deadline: None, steps: 0 }
    }

    /// Begins the time anew.
    #[inline]
    pub fn reset(&mut self) {
        self.deadline = None;
        self.steps = 0;
    }

    /// Starts the clock at once, for texts so long that reading it costs little beside them.
    pub(crate) fn start(&mut self) {
        if let (Limit::Time(limit), None) = (self.limit, self.deadline) {
            self.deadline = Instant::now().checked_add(limit);
        }
    }

    /// The clock is looked at only now and then, and started by the first look: most matches never see it.
    #[inline]
    pub(crate) fn step(&mut self) -> Result<(), GaveUp> {
        self.spend(1)
    }

    /// Several steps at once.
    #[inline]
    pub(crate) fn spend(&mut self, steps: usize) -> Result<(), GaveUp> {
        self.steps = self.steps.saturating_add(u32::try_from(steps).unwrap_or(u32::MAX));
        if self.steps < STEPS_PER_LOOK { Ok(()) } else { self.look() }
    }

    #[cold]
    fn look(&mut self) -> Result<(), GaveUp> {
        let steps = u64::from(std::mem::take(&mut self.steps));
        match &mut self.limit {
            Limit::None => {}
            Limit::Steps(left) => *left = left.checked_sub(steps).ok_or(GaveUp)?,
            Limit::Time(_) => self.start(),
        }
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(GaveUp),
            _ => Ok(()),
        }
    }
}

impl std::fmt::Display for GaveUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a regular expression took too long and was given up")
    }
}

impl std::error::Error for GaveUp {}
