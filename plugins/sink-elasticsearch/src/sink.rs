//! The sink itself: finds the server, puts the template in place, sends bulk requests and has their replies judged.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use flowstone_core::event::Batch;
use flowstone_core::{BuildError, Request, Sink, SinkCx, SinkLimits, Verdict, Verdicts, blocking};
use indexmap::IndexMap;
use reqwest::Method;
use serde_json::Value;
use tracing::{info, warn};

use crate::action::{ActionOptions, Encoder};
use crate::asking::{self, Asked};
use crate::check;
use crate::client::{Answer, Call, Connection, IS_IT_UP};
use crate::lifecycle;
use crate::mapping::{self, Settings};
use crate::operator::Operator;
use crate::options::{AwsService, Compression, Coverage, ElasticsearchOptions, IndexMode, TemplateMode};
use crate::server::{Lifecycle, Server};
use crate::signing;
use crate::template::{self, Outcome, Wanted};
use crate::verdict::classify;

/// What of a bulk reply is asked for: enough to judge each row, and a tenth of the bytes.
const FILTER: &str = "errors,items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by,\
                      items.*.error.header,error,status";

/// Writes events to Elasticsearch or OpenSearch.
#[derive(Debug)]
pub(crate) struct Elasticsearch {
    connection: Connection,
    encoder: Encoder,
    limits: SinkLimits,
    compression: Compression,
    /// What the template is to cover, what is done about it, and what it says.
    coverage: Coverage,
    template: TemplateMode,
    settings: Settings,
    /// How long an index takes events of; nothing for a data stream, whose life cycle knows.
    period: Duration,
    document_type: Option<String>,
    /// The index in the path where the server wants one; each row names its own.
    placeholder_index: String,
    pipeline: Option<String>,
    /// More for the query.
    parameters: IndexMap<String, String>,
    /// How long the server may wait for a shard.
    server_timeout: String,
    /// Which server it is by the options; it is asked where they do not say.
    named: Option<Server>,
    /// Whether it has been told that the server does not say which it is.
    told: AtomicBool,
    /// Which server it is, once that is known.
    server: RwLock<Option<Server>>,
}

// === impl Elasticsearch ===

impl Elasticsearch {
    pub(crate) fn new(options: ElasticsearchOptions) -> Result<Self, Vec<BuildError>> {
        let connection = options.check()?;
        let is_serverless = options.auth.aws.as_ref().is_some_and(|aws| aws.service == AwsService::Aoss);
        let serverless = is_serverless.then(Server::serverless);
        let limits = SinkLimits {
            max_bytes: options.batch.max_bytes.as_usize(),
            max_rows: options.batch.max_rows,
            flush_interval: options.flush_interval,
            max_concurrency: options.max_concurrency,
            ordered: false,
            blocked_for: options.blocked_for,
            max_tries_alone: options.max_tries_alone,
        };
        let index = options.destination().map_err(|error| vec![error])?;
        let settings = Settings {
            shards: options.shards,
            replicas: options.replicas,
            codec: options.codec,
            mode: options.index_mode,
            retention: options.retention,
            data_stream: options.data_stream.is_some(),
        };
        let action = ActionOptions {
            operation: options.operation,
            id: options.id.clone(),
            routing: options.routing.clone(),
            version: options.version.clone(),
            version_type: options.version_type,
            data_stream: options.data_stream.is_some(),
        };
        Ok(Self {
            connection,
            limits,
            compression: options.compression,
            coverage: options.coverage(&index),
            template: options.template,
            settings,
            period: options.index.as_ref().and_then(check::period_of).unwrap_or_default(),
            placeholder_index: ElasticsearchOptions::placeholder_index(&index),
            server_timeout: format!("{}ms", options.request_timeout.as_millis() / 2),
            encoder: Encoder::new(index, action, options.version_field),
            parameters: options.parameters,
            document_type: options.document_type,
            pipeline: options.pipeline,
            named: Server::named(options.server).or(serverless),
            told: AtomicBool::new(false),
            server: RwLock::new(None),
        })
    }

    /// The server: the one that is named, or what a host says that it is. One that does not say is told once.
    async fn ask(&self) -> Result<Server, Verdict> {
        if let Some(server) = &self.named {
            return Ok(server.clone());
        }
        let Asked { server, unsaid } = asking::ask(&self.connection).await?;
        if let Some(said) = unsaid.filter(|_| !self.told.swap(true, Ordering::Relaxed)) {
            warn!(
                said,
                help = "if bulk requests are refused for another version's sake, or to be rid of this line: name \
                              the server with `server`, as in server = \"opensearch-2\"",
                "the server does not say which it is; it takes bulk requests and is spoken to as Elasticsearch 8 and \
                 OpenSearch are"
            );
        }
        Ok(server)
    }

    /// The server, asked for if it is not known (any more).
    async fn server(&self) -> Result<Server, Verdict> {
        let known = self.server.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(server) = known {
            return Ok(server);
        }
        let server = self.ask().await?;
        self.remember(Some(server.clone()));
        Ok(server)
    }

    fn remember(&self, server: Option<Server>) {
        *self.server.write().unwrap_or_else(PoisonError::into_inner) = server;
    }

    async fn post(&self, request: &Request) -> Result<Answer, Verdict> {
        let server = self.server().await?;
        let mut path = Vec::with_capacity(3);
        if let Some(document_type) = server.document_type(self.document_type.as_deref()) {
            // The path gives every row its type, so that encoded rows suit every version.
            path.extend([self.placeholder_index.as_str(), document_type]);
        }
        path.push("_bulk");
        let mut query = vec![("filter_path", FILTER), ("timeout", &self.server_timeout)];
        query.extend(self.pipeline.as_deref().map(|pipeline| ("pipeline", pipeline)));
        query.extend(self.parameters.iter().map(|(name, value)| (&**name, &**value)));
        let gzip = self.compression == Compression::Gzip;
        let chunks = request.chunks();
        let body = if gzip { vec![compress(chunks).await?.into()] } else { chunks };
        let call = Call {
            path: &path,
            query: &query,
            body: Some(("application/x-ndjson", body)),
            gzip,
            rows: Some(request.rows()),
        };
        self.connection.call(Method::POST, call).await
    }

    /// Asks a server who it is, whether it can do what the options ask for, and for a known mistake in its templates.
    async fn look(&self) -> Result<(), Verdict> {
        let server = self.ask().await?;
        self.check_server(&server)?;
        if !server.has_templates() || server.is_assumed() {
            return Ok(());
        }
        match template::coordinate_as_point(&self.connection, &server, &self.coverage.pattern).await {
            Ok(Some((name, field))) => Err(Operator::PointPerCoordinate
                .blocked(format!("the template `{name}` maps `{field}` as geo_point"))),
            Ok(None) => Ok(()),
            // Who may not see templates may write all the same.
            Err(Verdict::Blocked { .. }) => Ok(()),
            Err(verdict) => Err(verdict),
        }
    }

    /// Whether the server can do what the options ask for.
    fn check_server(&self, server: &Server) -> Result<(), Verdict> {
        let lacks = |what: &str| Err(Operator::NotSupported.blocked(format!("{server} has no {what}")));
        let Settings { data_stream, mode, .. } = &self.settings;
        if *data_stream && !server.has_data_streams() {
            return lacks("data streams");
        }
        if *mode == IndexMode::Logsdb && !server.has_logsdb() {
            return lacks("index mode for logs");
        }
        Ok(())
    }

    async fn install(&self, server: &Server) -> Result<(), Verdict> {
        let coverage = &self.coverage;
        let (name, pattern) = (coverage.name.as_str(), coverage.pattern.as_str());
        let lifecycle = self.retain(server).await?;
        let document_type = server.document_type(self.document_type.as_deref()).unwrap_or("_doc");
        let (template, ours) = match &self.template {
            TemplateMode::None => return Ok(()),
            TemplateMode::File(path) => (load(path.clone()).await?, false),
            TemplateMode::Install | TemplateMode::Overwrite => {
                (mapping::template(server, coverage, document_type, &self.settings, lifecycle), true)
            }
        };
        let overwrite = self.template == TemplateMode::Overwrite;
        let data_stream = self.settings.data_stream;
        let wanted = Wanted { coverage, template, ours, overwrite, data_stream };
        let outcome = match template::ensure(&self.connection, server, wanted).await {
            // What lets only bulk requests through lets no template through: no reason to deliver nothing.
            Err(Verdict::Blocked { detail, .. }) if server.is_assumed() => {
                let help = "install an index template by hand, and set template = \"none\"";
                warn!(name, pattern, said = %detail, help, "index template not installed");
                return Ok(());
            }
            outcome => outcome?,
        };
        match outcome {
            Outcome::Installed => info!(name, pattern, "index template installed"),
            Outcome::Renewed => {
                info!(name, pattern, "index template renewed; it holds for indices that are made from now on")
            }
            Outcome::Present => {}
            Outcome::Changed => info!(
                name,
                pattern,
                help = "take your changes over and set template = \"overwrite\" once, or set template = \"none\"",
                "index template left as it is: it is flowstone's, and somebody has changed it"
            ),
            Outcome::Covered(by) => info!(
                name,
                pattern, by, "index template not installed: another template covers the same indices"
            ),
        }
        Ok(())
    }

    /// Has the server delete what is older than `retention`; who does that is what the template must name.
    async fn retain(&self, server: &Server) -> Result<Option<Lifecycle>, Verdict> {
        let (Some(retention), Settings { data_stream, .. }) = (self.settings.retention, &self.settings)
        else {
            return Ok(None);
        };
        let name = &self.coverage.name;
        let help = "delete old indices yourself, and leave out `retention`";
        let Some(lifecycle) = server.lifecycle(*data_stream) else {
            warn!(server = %server, help, "nothing is deleted: this server has no life cycle of indices that flowstone knows");
            return Ok(None);
        };
        // The last documents of an index come when it is as old as the stretch that it is for.
        let kept = retention.saturating_add(self.period);
        match lifecycle::ensure(&self.connection, lifecycle, &self.coverage, *data_stream, kept).await? {
            lifecycle::Outcome::Told => return Ok(Some(lifecycle)),
            lifecycle::Outcome::NotOurs => {
                warn!(
                    policy = name,
                    help, "a policy of this name is there that flowstone did not write; it is left as it is"
                );
                return Ok(Some(lifecycle));
            }
            lifecycle::Outcome::Unknown(said) => {
                warn!(server = %server, said, help, "nothing is deleted: this server has no life cycle of indices");
            }
        }
        Ok(None)
    }
}

/// A template of the user's.
async fn load(path: PathBuf) -> Result<Value, Verdict> {
    blocking(move || {
        #[expect(clippy::disallowed_methods, reason = "within `blocking`")]
        let read = std::fs::read(&path).map_err(|error| error.to_string());
        let read = read.and_then(|text| serde_json::from_slice(&text).map_err(|error| error.to_string()));
        let help = "give a template as the server takes it with PUT _index_template/NAME";
        read.map_err(|why| {
            Verdict::blocked("template_file", format!("cannot use {}: {why}", path.display()), help)
        })
    })
    .await
}

#[async_trait]
impl Sink for Elasticsearch {
    fn encode(&self, batch: &Batch, body: &mut flowstone_core::Body) {
        self.encoder.encode(batch, body);
    }

    async fn open(&self, _cx: &SinkCx) -> Result<(), Verdict> {
        let server = self.ask().await?;
        self.check_server(&server)?;
        if server.has_templates() {
            self.install(&server).await?;
        } else if self.template != TemplateMode::None {
            info!(
                pattern = self.coverage.pattern,
                help = "create the indices with mappings of your own, or set template = \"none\" to be rid of this line",
                "index template not installed: this server has none"
            );
        }
        if self.document_type.is_some() && !server.has_types() {
            warn!(server = %server, "`document_type` is not sent: this server has no mapping types");
        }
        info!(server = %server, hosts = self.connection.host_count(), "connected");
        self.remember(Some(server));
        Ok(())
    }

    async fn send(&self, request: &Request) -> Verdicts {
        let mut answer = match self.post(request).await {
            Ok(answer) => answer,
            Err(verdict) => return Verdicts::All(verdict),
        };
        let mut verdicts = classify(answer.status, &answer.headers, &mut answer.body, request.rows());
        if let (Some(service), Verdicts::All(verdict)) = (answer.signed, &mut verdicts) {
            signing::explain(service, verdict);
        }
        match &mut verdicts {
            Verdicts::All(Verdict::Blocked { reason, .. }) if *reason == Operator::NotUnderstood.reason() => {
                // A server that was upgraded wants to be spoken to differently: ask again who it is.
                self.remember(None);
            }
            Verdicts::All(_) => {}
            Verdicts::Rows(rows) => {
                for (verdict, (segment, row)) in rows.iter_mut().zip(request.each_row()) {
                    if let Verdict::Reject(rejection) = verdict {
                        rejection.index = Some(segment.key(row).to_string());
                    }
                }
            }
        }
        verdicts
    }

    fn limits(&self) -> SinkLimits {
        self.limits
    }

    async fn probe(&self) -> Result<(), String> {
        // One that is named is asked nothing else; a bulk request without rows changes nothing.
        let answers = match &self.named {
            None => self.look().await.map(|()| true),
            Some(_) => asking::takes_bulk_requests(&self.connection).await,
        };
        let answers = answers.and_then(|answers| match answers {
            true => Ok(()),
            false => Err(Operator::NotAServer.blocked("`POST _bulk` is not answered as a server does")),
        });
        match answers {
            Ok(()) => Ok(()),
            Err(Verdict::Blocked { detail, help, .. }) => Err(format!("{detail}; {help}")),
            Err(Verdict::Busy { detail, .. } | Verdict::Failed { detail, .. }) => {
                let asked = detail.ends_with(IS_IT_UP);
                Err(if asked { detail } else { format!("{detail}; {IS_IT_UP}") })
            }
            Err(other) => Err(format!("{other:?}")),
        }
    }
}

/// The rows compressed, away from the threads that drive the network.
async fn compress(chunks: Vec<Bytes>) -> Result<Vec<u8>, Verdict> {
    let compressed = blocking(move || {
        let length: usize = chunks.iter().map(Bytes::len).sum();
        let mut encoder = GzEncoder::new(Vec::with_capacity(length / 6), Level::fast());
        for chunk in chunks {
            encoder.write_all(&chunk)?;
        }
        encoder.finish()
    });
    compressed.await.map_err(|error: std::io::Error| Verdict::busy("compression", error.to_string()))
}
