//! The simulated service as AWS's SDK and its command line see it: HTTP on a loopback port.
//!
//! One server is CloudWatch Logs (AWS JSON 1.1), and the parts of EC2, CloudWatch and STS that flowstone asks (the query
//! protocol with XML), all at one address, as `AWS_ENDPOINT_URL` wants it. Requests must be signed for the right service
//! and region; the signature itself is not checked. Left out: TLS, other operations, and the check of a request's time
//! (a test with a virtual clock would fail it; [`Fault::ClockSkew`] answers as if it had).

mod call;
mod clock;
mod logs;
mod query;
mod refusal;
mod sessions;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flowstone_aws::Operation;

use self::call::{Call, Unreadable};
use self::clock::http_date;
use self::refusal::Refusal;
use self::sessions::Sessions;
use super::SimulatedLogs;
use crate::http::{Background, Reply, Request, Wire, send};

pub use self::clock::Clock;
pub use self::refusal::Fault;

/// A [`SimulatedLogs`] behind HTTP on 127.0.0.1, until it is dropped.
///
/// ```
/// use flowstone_testkit::cloudwatch::{Behaviour, Fault, SimulatedLogs, SimulatedServer};
/// let service = SimulatedLogs::new(Behaviour::default());
/// service.create_group("/vpc/flow", 0, ["eni-1-all".to_owned()]);
/// let server = SimulatedServer::start(&service);
/// // Two of three calls of every operation are throttled.
/// server.inject(|_, number| (number % 3 != 0).then_some(Fault::Throttled));
/// for (name, value) in server.environment() {
///     println!("{name}={value}"); // for the program that is tested
/// }
/// ```
pub struct SimulatedServer {
    background: Background,
    face: Arc<Face>,
}

/// How a [`SimulatedServer`] serves.
#[derive(Clone, Copy, Debug)]
pub struct ServerOptions {
    /// The port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// The service's time.
    pub clock: Clock,
    /// How long a call takes, half of it before the service looks and half after.
    pub latency: Duration,
}

/// What a request meets.
struct Face {
    service: SimulatedLogs,
    options: ServerOptions,
    faults: Mutex<Box<Faults>>,
    counts: Mutex<BTreeMap<Operation, u64>>,
    sessions: Sessions,
}

/// Which fault the call of this number (from 0) of an operation meets.
type Faults = dyn FnMut(Operation, u64) -> Option<Fault> + Send;

impl Default for ServerOptions {
    fn default() -> Self {
        Self { port: 0, clock: Clock::wall(), latency: Duration::ZERO }
    }
}

// === impl SimulatedServer ===

impl SimulatedServer {
    /// Serves on a free port, in the time of this machine, as fast as it can.
    ///
    /// # Panics
    /// If there is no free port or no thread to be had.
    pub fn start(service: &SimulatedLogs) -> Self {
        Self::with(service, ServerOptions::default()).expect("a free port on 127.0.0.1 and a thread")
    }

    /// Serves as these options say. Fails if the port is taken.
    pub fn with(service: &SimulatedLogs, options: ServerOptions) -> io::Result<Self> {
        let face = Arc::new(Face {
            service: service.clone(),
            options,
            faults: Mutex::new(Box::new(|_, _| None)),
            counts: Mutex::default(),
            sessions: Sessions::default(),
        });
        let shared = Arc::clone(&face);
        let background = Background::serve("simulated-aws", options.port, move |wire| {
            connection(wire, Arc::clone(&shared))
        })?;
        Ok(Self { background, face })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.background.addr)
    }

    /// The environment variables that lead AWS's SDKs and command line here, and keep them from everything else.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let (_, region) = self.face.service.place();
        crate::aws_environment(&self.url(), &region, "AKIASIMULATED0000000")
    }

    /// From now on, `faults` says which calls fail: it is asked for each call with its operation and its number among
    /// those of the operation, from 0. What it lets through the service may refuse itself, as its
    /// [`Behaviour`](super::Behaviour) says.
    pub fn inject(&self, faults: impl FnMut(Operation, u64) -> Option<Fault> + Send + 'static) {
        *lock(&self.face.faults) = Box::new(faults);
    }

    /// How many calls of an operation came, refused ones included.
    pub fn count(&self, operation: Operation) -> u64 {
        lock(&self.face.counts).get(&operation).copied().unwrap_or_default()
    }

    /// The service's time in milliseconds since the epoch.
    pub fn now_ms(&self) -> i64 {
        self.face.options.clock.now_ms()
    }
}

async fn connection(mut wire: Wire, face: Arc<Face>) -> io::Result<()> {
    let half = face.options.latency / 2;
    while let Some((request, message)) = wire.request().await? {
        if !half.is_zero() {
            tokio::time::sleep(half).await;
        }
        let reply = face.answer(&request).delay(half);
        if !send(&mut wire, &reply, &request.method, || ()).await? || message.last {
            break;
        }
    }
    Ok(())
}

// === impl Face ===

impl Face {
    fn answer(&self, request: &Request) -> Reply {
        // Before the service looks: all that is visible at that second is in the reply.
        let now_ms = self.options.clock.now_ms();
        let reply = match Call::read(request) {
            Ok(call) => self.answer_call(&call, now_ms),
            Err(Unreadable::NoOperation) => Reply::new(404),
            Err(Unreadable::Unknown(protocol, refusal)) => refusal.reply(protocol),
        };
        reply.header("Date", &http_date(now_ms))
    }

    fn answer_call(&self, call: &Call, now_ms: i64) -> Reply {
        let operation = call.operation;
        let number = {
            let mut counts = lock(&self.counts);
            let count = counts.entry(operation).or_default();
            *count += 1;
            *count - 1
        };
        let fault = lock(&self.faults)(operation, number);
        let (account, region) = self.service.place();
        let answer = match fault {
            Some(Fault::HangUp) => return Reply::hang_up(),
            Some(Fault::Never) => return Reply::never(),
            Some(fault) => Err(Refusal::of(fault, call, &account, &region)),
            None => self.sessions.check(call, &account, &region).and_then(|caller| match operation {
                Operation::FilterLogEvents => logs::filter_log_events(&self.service, call, now_ms),
                Operation::DescribeLogGroups => logs::describe_log_groups(&self.service, call),
                Operation::DescribeFlowLogs => {
                    query::describe_flow_logs(&self.service, call).map(String::into_bytes)
                }
                Operation::GetMetricData => {
                    query::get_metric_data(&self.service, call, now_ms).map(String::into_bytes)
                }
                Operation::GetCallerIdentity => {
                    query::get_caller_identity(&self.service, call, &caller).map(String::into_bytes)
                }
                Operation::AssumeRole => {
                    self.sessions.assume_role(&self.service, call).map(String::into_bytes)
                }
            }),
        };
        match answer {
            Ok(body) => {
                let protocol = call.protocol();
                Reply::new(200)
                    .header("Content-Type", protocol.content_type())
                    .header(protocol.request_id_header(), call.request_id())
                    .body(body)
            }
            Err(refusal) => refusal.reply(call.protocol()),
        }
    }
}

/// A closure of a test that panicked has said so; what it left behind is still of use.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
