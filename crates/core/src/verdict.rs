//! What became of rows that a sink sent. A sink classifies and never retries; the engine acts.

use std::borrow::Cow;
use std::time::Duration;

/// What became of one row, or of a whole request.
#[must_use = "an outcome that nobody acts on loses an event"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Stored.
    Delivered,
    /// Was stored before under the same id.
    Duplicate,
    /// Not now: try again with backoff and less concurrency.
    Busy {
        /// One word, a metric label: `too_many_requests`, `connection`.
        reason: Cow<'static, str>,
        /// For the log: what the server said.
        detail: String,
        /// The server's own wish (`Retry-After`); the engine waits for half a minute at most, whatever it says.
        after: Option<Duration>,
    },
    /// The server failed at it and does not say why (an internal error): perhaps its own fault, perhaps this row's. Tried
    /// again like `Busy`; what fails as a whole is halved, and a row that fails alone, again and again, while others are
    /// taken is rejected with this reason ([`SinkLimits::max_tries_alone`](crate::SinkLimits::max_tries_alone)).
    Failed {
        /// One word, a metric label: `server_error`.
        reason: Cow<'static, str>,
        /// What the server said.
        detail: String,
        /// The server's own wish (`Retry-After`).
        after: Option<Duration>,
    },
    /// Somebody must act first: keep the rows, try slowly, say once what to do.
    Blocked {
        /// One word, a metric label: `index_closed`, `disk_full`.
        reason: Cow<'static, str>,
        /// What the server said.
        detail: String,
        /// What an operator should do.
        help: String,
    },
    /// Too large, or refused as a whole for one row's sake: send each half by itself. A single row that still gets
    /// this is rejected with this reason.
    Split {
        /// One word, a metric label: `too_large`, `request_refused`.
        reason: Cow<'static, str>,
        /// What the server said.
        detail: String,
    },
    /// The row itself can never be stored: to the sink's `rejected` port.
    Reject(Box<Rejection>),
    /// Whoever read our output has gone for good (`| head`): the run ends quietly, with exit code 0.
    Closed,
}

/// Why a row can never be stored.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Rejection {
    /// The error's type: `mapper_parsing_exception`.
    pub reason: Cow<'static, str>,
    /// What was said about it.
    pub detail: String,
    /// HTTP status of the row, where there is one.
    pub status: Option<u16>,
    /// Where the row was to go.
    pub index: Option<String>,
}

/// The verdicts on one request.
#[must_use = "an outcome that nobody acts on loses an event"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdicts {
    /// The same for every row.
    All(Verdict),
    /// One for each row, in the request's order.
    Rows(Vec<Verdict>),
}

impl From<crate::event::Reject> for Rejection {
    fn from(reject: crate::event::Reject) -> Self {
        Self { reason: reject.reason, detail: reject.detail, ..Self::default() }
    }
}

impl Verdict {
    /// Not now, for a reason.
    pub fn busy(reason: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::Busy { reason: reason.into(), detail: detail.into(), after: None }
    }

    /// Not now, and perhaps never, for a reason that the server keeps to itself.
    pub fn failed(reason: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::Failed { reason: reason.into(), detail: detail.into(), after: None }
    }

    /// Not until somebody acts.
    pub fn blocked(
        reason: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self::Blocked { reason: reason.into(), detail: detail.into(), help: help.into() }
    }

    /// Send each half by itself.
    pub fn split(reason: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::Split { reason: reason.into(), detail: detail.into() }
    }

    /// Never.
    pub fn reject(reason: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::Reject(Box::new(Rejection {
            reason: reason.into(),
            detail: detail.into(),
            ..Rejection::default()
        }))
    }
}
