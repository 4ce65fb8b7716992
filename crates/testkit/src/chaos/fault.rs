//! What the proxy does wrong, and to which requests.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::http::{Reply, Request};

/// What to do to a request or to its reply.
#[derive(Clone)]
pub enum Fault {
    /// The server does not see the request; the client gets this reply ([`Reply::never`] and
    /// [`Reply::hang_up`] among them).
    Answer(Reply),
    /// The server has processed the request; its reply comes so much later.
    Delay(Duration),
    /// The server has processed the request; its reply is held until [`ChaosProxy::release`](super::ChaosProxy::release) or
    /// [`ChaosProxy::clear`](super::ChaosProxy::clear).
    Hold,
    /// The server has processed the request; the connection closes instead of a reply.
    LoseReply,
    /// The server has processed the request; the connection closes after so many bytes of the reply's body,
    /// framing of chunks included.
    Cut(usize),
    /// The server has processed the request; its reply, when it is JSON, is changed. See [`Fault::edit`].
    Edit(Edit),
    /// Of the rows of a bulk request, the first `refuse` of every `of` never reach the server and come back as
    /// items with status 429; the others are processed.
    RefuseItems {
        /// How many of every `of` rows.
        refuse: usize,
        /// The length of the pattern.
        of: usize,
    },
}

/// A change to a reply's JSON.
#[derive(Clone)]
pub struct Edit(pub(super) Arc<dyn Fn(&mut Value) + Send + Sync>);

/// A fault and the requests that it is for. The oldest rule that wants a request gets it.
pub struct Rule {
    fault: Fault,
    wants: Box<dyn Fn(&Request) -> bool + Send>,
    skip: usize,
    times: usize,
    /// `fire` of every `of`.
    fire: usize,
    of: usize,
    seen: usize,
    fired: usize,
}

// === impl Fault ===

impl Fault {
    /// The request is accepted and never answered; the server does not see it.
    pub fn never_answer() -> Self {
        Self::Answer(Reply::never())
    }

    /// The connection closes after the request; the server does not see it.
    pub fn hang_up() -> Self {
        Self::Answer(Reply::hang_up())
    }

    /// 413 with an empty body and a closed connection; the server does not see the request.
    pub fn too_large() -> Self {
        Self::Answer(Reply::too_large())
    }

    /// 429 for the whole request, as under indexing pressure; the server does not see it.
    pub fn busy() -> Self {
        Self::Answer(Reply::busy())
    }

    /// The server has processed the request; its reply, when it is JSON, is what this makes of it.
    pub fn edit(edit: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        Self::Edit(Edit(Arc::new(edit)))
    }

    /// The server has processed the bulk request; its reply lacks the last item and says that there were
    /// errors, for without them the number of items does not matter.
    pub fn drop_item() -> Self {
        Self::edit(|reply| {
            if let Some(items) = reply["items"].as_array_mut() {
                items.pop();
                reply["errors"] = Value::Bool(true);
            }
        })
    }
}

impl fmt::Debug for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Edit")
    }
}

// === impl Rule ===

impl Rule {
    /// This fault for every request.
    pub fn new(fault: Fault) -> Self {
        Self {
            fault,
            wants: Box::new(|_| true),
            skip: 0,
            times: usize::MAX,
            fire: 1,
            of: 1,
            seen: 0,
            fired: 0,
        }
    }

    /// This fault for every bulk request.
    pub fn bulk(fault: Fault) -> Self {
        Self::new(fault).when(Request::is_bulk)
    }

    /// Only for such requests. What follows counts these.
    #[must_use]
    pub fn when(mut self, wants: impl Fn(&Request) -> bool + Send + 'static) -> Self {
        self.wants = Box::new(wants);
        self
    }

    /// Lets the first `skip` of them pass.
    #[must_use]
    pub fn after(mut self, skip: usize) -> Self {
        self.skip = skip;
        self
    }

    /// Ends after it has done its work so often.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    /// Only for the first `fire` of every `of` of them.
    #[must_use]
    pub fn of(mut self, fire: usize, of: usize) -> Self {
        assert!(fire <= of && of > 0, "expected some of many, got {fire} of {of}");
        (self.fire, self.of) = (fire, of);
        self
    }

    pub(super) fn take(&mut self, request: &Request) -> Option<Fault> {
        if self.fired == self.times || !(self.wants)(request) {
            return None;
        }
        self.seen += 1;
        let nth = self.seen.checked_sub(self.skip + 1)?;
        if nth % self.of >= self.fire {
            return None;
        }
        self.fired += 1;
        Some(self.fault.clone())
    }
}

// === refused rows ===

/// A bulk request in two: what goes to the server, and the rows that do not.
pub(super) struct Refused {
    pub(super) kept: Vec<u8>,
    /// Where a row stood, and its item.
    rows: Vec<(usize, Value)>,
}

impl Refused {
    /// `None` when the request is no bulk request or nothing is refused.
    pub(super) fn split(request: &Request, refuse: usize, of: usize) -> Option<Self> {
        if !request.is_bulk() {
            return None;
        }
        let mut split = Self { kept: Vec::new(), rows: Vec::new() };
        let text = request.text();
        let mut lines = text.lines().filter(|line| !line.is_empty());
        for row in 0.. {
            let Some(line) = lines.next() else { break };
            let action: Value = serde_json::from_str(line).ok()?;
            let (verb, target) = action.as_object()?.iter().next()?;
            let document = if verb == "delete" { None } else { lines.next() };
            if row % of < refuse {
                let error = json!({
                    "type": "es_rejected_execution_exception",
                    "reason": "rejected execution of primary operation",
                });
                let (index, id) = (&target["_index"], &target["_id"]);
                let item = json!({verb: {"_index": index, "_id": id, "status": 429, "error": error}});
                split.rows.push((row, item));
            } else {
                for line in [Some(line), document].into_iter().flatten() {
                    split.kept.extend_from_slice(line.as_bytes());
                    split.kept.push(b'\n');
                }
            }
        }
        (!split.rows.is_empty()).then_some(split)
    }

    pub(super) fn put_back(&self, reply: &mut Value) {
        let Some(items) = reply["items"].as_array_mut() else { return };
        for (row, item) in &self.rows {
            items.insert((*row).min(items.len()), item.clone());
        }
        reply["errors"] = Value::Bool(true);
    }
}
