//! The client and its session against a scripted service: what is sent, what becomes of every kind of answer, where
//! credentials come from.
//!
//! Credentials and endpoints come from the environment, which a process cannot change for one test. So the tests run
//! in a process with an environment that is known ([`base`]), and what is about the environment is asked of
//! further processes ([`Probe`]).

mod credentials;
mod errors;
mod operations;

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{Write as _, stdout};
use std::process::{Command, ExitCode};

use flowstone_aws::sdk::{Client, Role, Session, SessionSettings};
use flowstone_aws::{GroupsRequest, LogsApi as _};
use libtest_mimic::{Arguments, Trial};

const REGION: &str = "eu-west-1";
const KEY: &str = "AKIDOFTHEENVIRONMENT";
const SECRET: &str = "secretoftheenvironment+/0123456789abcdef";
const TOKEN: &str = "tokenoftheenvironment//FwoGZXIvYXdzEXAMPLE==";

fn main() -> ExitCode {
    if let Ok(what) = std::env::var("PROBE") {
        writeln!(stdout(), "{}", block_on(probe(&what))).expect("somebody who asked");
        return ExitCode::SUCCESS;
    }
    if std::env::var_os("IN_A_KNOWN_ENVIRONMENT").is_none() {
        let keys =
            [("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", SECRET), ("AWS_SESSION_TOKEN", TOKEN)];
        let mut tests = base();
        tests.args(std::env::args_os().skip(1)).envs(keys).env("IN_A_KNOWN_ENVIRONMENT", "1");
        return if tests.status().expect("this program again").success() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
    }
    let mut tests: Vec<Trial> = Vec::new();
    tests.extend(operations::tests());
    tests.extend(errors::tests());
    tests.extend(credentials::tests());
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}

/// This program again, knowing nothing of AWS's on this machine and in its environment.
fn base() -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a path to this program"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("AWS_") || name.to_ascii_lowercase().ends_with("_proxy") {
            command.env_remove(name);
        }
    }
    command
        .env("AWS_CONFIG_FILE", "/nonexistent/config")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent/credentials");
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("HOME", "/nonexistent");
    command
}

fn trial(name: &str, test: fn()) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// A client of a scripted service, with the environment's credentials.
async fn client(url: &str) -> Client {
    let settings = SessionSettings { endpoint: Some(url.to_owned()), ..SessionSettings::default() };
    Client::new(&Session::load(&settings).await.expect("a session"), REGION)
}

/// One question, asked in a process of its own.
#[derive(Default)]
struct Probe {
    env: BTreeMap<String, String>,
}

impl Probe {
    fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.env.insert(name.to_owned(), value.to_string());
        self
    }

    /// With keys in the environment.
    fn keys(self) -> Self {
        self.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET)
    }

    /// What [`probe`] prints.
    fn ask(&self, what: &str) -> String {
        let output = base()
            .env_remove("IN_A_KNOWN_ENVIRONMENT")
            .env("PROBE", what)
            .envs(&self.env)
            .output()
            .expect("this program again");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }
}

/// Asks what `what` says, with the settings of `SET_REGION`, `SET_ENDPOINT`, `SET_PROFILE`, `SET_ROLE`.
async fn probe(what: &str) -> String {
    let set = |name: &str| std::env::var(name).ok();
    let settings = SessionSettings {
        region: set("SET_REGION"),
        endpoint: set("SET_ENDPOINT"),
        profile: set("SET_PROFILE"),
        role: set("SET_ROLE").map(|arn| Role {
            arn,
            external_id: None,
            session_name: "flowstone".to_owned(),
        }),
    };
    let session = match Session::load(&settings).await {
        Ok(session) => session,
        Err(e) => return format!("{e:?}"),
    };
    let client = Client::new(&session, session.region().unwrap_or(REGION));
    match what {
        "region" => format!("{:?}", session.region()),
        "account" => format!("{:?}", client.account_id().await),
        "groups" => format!("{:?}", client.describe_log_groups(&GroupsRequest::default()).await),
        "flow logs" => format!("{:?}", client.describe_flow_logs("/vpc/flow").await),
        "minutes" => format!("{:?}", client.incoming_log_events("/vpc/flow", 0, 60_000, 60).await),
        "groups, account, flow logs" => {
            let groups = client.describe_log_groups(&GroupsRequest::default()).await;
            let account = client.account_id().await;
            format!("{groups:?}\n{account:?}\n{:?}", client.describe_flow_logs("/vpc/flow").await)
        }
        _ => panic!("nobody knows how to ask for {what}"),
    }
}
