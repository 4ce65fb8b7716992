//! The options of the sink: what a user can write, checked, and turned into what the other modules work with.

use std::path::PathBuf;
use std::time::Duration;

use flowstone_core::event::{Batch, Column, Path, RowId, Value};
use flowstone_core::{BuildError, ByteSize, Diagnostics, Node, OptionType, Secret, choices, options};
use flowstone_dialect::Template;
use indexmap::IndexMap;

use crate::client::Connection;
use crate::index_name;

options! {
    /// Options of `elasticsearch`.
    pub struct ElasticsearchOptions {
        /// The servers, as `http://HOST:PORT` or `https://HOST:PORT/PREFIX`. Requests go to them in turn; one that
        /// cannot be reached is left out for a while. Without a port `http` means 9200 and `https` means 443 (which
        /// is what hosted services listen on); without either, as in `es1` and `es1:9200`, it is `http`.
        pub hosts: Vec<String> = vec!["http://127.0.0.1:9200".to_owned()],
        /// Which server it is: each is spoken to in its own dialect. `"auto"` asks it with `GET /`. One that does not
        /// answer that and takes bulk requests (OpenSearch Serverless, a gateway that lets nothing else through, a
        /// user without `monitor`) is spoken to as Elasticsearch 8 and OpenSearch are; name the server where that is
        /// wrong, or to have it asked nothing. `"elasticsearch-7"` means 7.8 or later.
        pub server: ServerName = ServerName::Auto,
        /// The index of each event, from the event alone: `%{+YYYY.MM.dd}` is the day of its `@timestamp` in UTC,
        /// `%{field}` the text of a field. An event whose index cannot be named (a missing field, a capital letter)
        /// goes to the `rejected` port. May also be an alias with a write index or a data stream.
        pub index: Template,
        /// The document id. `"deterministic"` derives it from the record's identity, so that a record that is read
        /// or sent again is recognised (409) and not stored twice. `"auto"` lets the server choose: indexing is some
        /// 10 to 20 % faster, and every retry of a request whose reply was lost stores its events again. Anything else
        /// is a template, as `"%{[event][id]}"`: an event without one of its fields goes to the `rejected` port.
        pub id: IdMode = IdMode::Deterministic,
        /// What is done with each document. `"create"` stores it once: one whose id is there already stays as it is.
        /// `"index"` replaces that. `"update"` merges into it, or stores the document where there is none.
        pub operation: BulkOperation = BulkOperation::Create,
        /// What the shard is chosen by, in place of the id: a template as `"%{account_id}"`.
        pub routing: Option<Template> = None,
        /// The version of each document, a template that gives a whole number, with `operation = "index"`: a document is
        /// stored unless a newer one is there.
        pub version: Option<Template> = None,
        /// Which versions are stored: `"external"` those that are greater than what is there, `"external_gte"` also the
        /// same.
        pub version_type: VersionType = VersionType::External,
        /// More for the query of each bulk request, as `{ require_alias = "true" }`.
        pub parameters: IndexMap<String, String> = IndexMap::new(),
        /// The user of basic authentication.
        pub user: Option<String> = None,
        /// The password of `user`.
        pub password: Option<Secret> = None,
        /// An API key: the `encoded` value that the server gave, or `id:api_key`. Instead of `user`.
        pub api_key: Option<Secret> = None,
        /// Headers to send with every request, such as `{ "X-Found-Cluster" = "..." }`. Never shown.
        pub headers: IndexMap<String, Secret> = IndexMap::new(),
        /// Ways to identify ourselves that are more than a word: Amazon's signatures.
        pub auth: AuthOptions = AuthOptions::defaults(),
        /// How `https` hosts are checked and how we identify ourselves.
        pub tls: TlsOptions = TlsOptions::defaults(),
        /// Compression of request bodies. `"gzip"` costs about a CPU-second per 100 MB and saves some 90 % of the
        /// traffic: worth it between data centres, not on one machine.
        pub compression: Compression = Compression::None,
        /// How many events share a request.
        pub batch: BatchOptions = BatchOptions::defaults(),
        /// How long an event may wait for others to share its request.
        pub flush_interval: Duration = Duration::from_secs(1),
        /// How long a request may take, from connecting to the last byte of the reply. The server is told to wait
        /// half of it for a missing shard, so that it answers rather than runs into our time-out.
        pub request_timeout: Duration = Duration::from_secs(60),
        /// At most this many requests at once; fewer while the server is slow or refuses.
        pub max_concurrency: usize = 8,
        /// `"install"` puts an index template for VPC flow logs in place before the first event: addresses as `ip`,
        /// counters as `long`, GeoIP locations as `geo_point`, other text as `keyword`, in all name styles. A
        /// template that is there already is never changed, and none is installed where another one covers the same
        /// indices. `"none"` leaves templates alone.
        pub template: TemplateMode = TemplateMode::Install,
        /// The name of the template. Without it: the part of `index` before its first `%{`.
        pub template_name: Option<String> = None,
        /// The mapping type, for Elasticsearch 6 and 7 only: 6 needs one (`doc` unless this says otherwise), 7
        /// accepts one, later versions and OpenSearch have none, and there a line in the log says that it is not
        /// sent.
        pub document_type: Option<String> = None,
        /// The ingest pipeline that the server runs on each document.
        pub pipeline: Option<String> = None,
        /// Writes `"@version":"1"` into each document, as Logstash does.
        pub version_field: bool = false,
        /// Events that wait while others go on (a closed index, a full disk, shards that are away) go to the `rejected`
        /// port after this time. Without it they wait for ever. An outage of the whole server does not count.
        pub blocked_for: Option<Duration> = None,
        /// An event that the server fails at by itself (an internal error, status 500), so often in a row while it
        /// takes others for the same index, goes to the `rejected` port. The waits between the tries grow to 30 s: 20
        /// of them take some six minutes, longer than a node restarts or a shard moves.
        pub max_tries_alone: u32 = 20,
    }
}

options! {
    /// Ways to identify ourselves.
    pub struct AuthOptions {
        /// Signs every request for Amazon OpenSearch Service or Serverless, instead of `user` or `api_key`.
        pub aws: Option<AwsOptions> = None,
    }
}

options! {
    /// Whose signatures, and where they are good.
    pub struct AwsOptions {
        /// `"es"` for a domain of Amazon OpenSearch Service, `"aoss"` for a collection of OpenSearch Serverless. That
        /// has no index templates, and is not asked for its version; a collection for time series takes no ids, and so
        /// needs `id = "auto"`.
        pub service: AwsService,
        /// The region. Without it what the hosts' names say (`NAME.REGION.es.amazonaws.com`), then `AWS_REGION`, the
        /// profile's, the instance's.
        pub region: Option<String> = None,
        /// A role to take on with the credentials that are found: `arn:aws:iam::ACCOUNT:role/NAME`.
        pub role_arn: Option<String> = None,
        /// The external id that the role's trust policy asks for.
        pub external_id: Option<Secret> = None,
        /// The profile of `~/.aws` that credentials are taken from, and from nowhere else. Without it AWS's default
        /// chain: environment, profile, single sign-on, web identity, the task's role, the instance's. Credentials are
        /// renewed before they end, and read anew after a refusal.
        pub profile: Option<String> = None,
    }
}

choices! {
    /// A service of Amazon's.
    pub enum AwsService {
        /// Amazon OpenSearch Service.
        Es = "es",
        /// Amazon OpenSearch Serverless.
        Aoss = "aoss",
    }
}

options! {
    /// How `https` hosts are checked.
    pub struct TlsOptions {
        /// PEM file of the certificate authorities to trust, instead of the system's.
        pub ca_file: Option<PathBuf> = None,
        /// `false` accepts any certificate: the connection is then encrypted but open to whoever stands between.
        pub verify: bool = true,
        /// PEM file of our own certificate, for servers that ask for one; needs `client_key`.
        pub client_cert: Option<PathBuf> = None,
        /// PEM file of the key to `client_cert`.
        pub client_key: Option<PathBuf> = None,
    }
}

options! {
    /// How many events share a request.
    pub struct BatchOptions {
        /// A request has at most this many bytes before compression, unless a single event is larger. Must stay
        /// below the server's `http.max_content_length` (100 MB).
        pub max_bytes: ByteSize = ByteSize(4 << 20),
        /// A request has at most this many events.
        pub max_rows: usize = 10_000,
    }
}

choices! {
    /// Which server it is.
    pub enum ServerName {
        /// Whatever it says.
        Auto = "auto",
        /// Elasticsearch 6.
        Elasticsearch6 = "elasticsearch-6",
        /// Elasticsearch 7.8 or later.
        Elasticsearch7 = "elasticsearch-7",
        /// Elasticsearch 8.
        Elasticsearch8 = "elasticsearch-8",
        /// Elasticsearch 9.
        Elasticsearch9 = "elasticsearch-9",
        /// OpenSearch 1.
        OpenSearch1 = "opensearch-1",
        /// OpenSearch 2, and Serverless.
        OpenSearch2 = "opensearch-2",
        /// OpenSearch 3.
        OpenSearch3 = "opensearch-3",
    }
}

/// Where document ids come from.
#[derive(Clone, Debug)]
pub enum IdMode {
    /// From the record's identity.
    Deterministic,
    /// From the server.
    Auto,
    /// From the event's fields.
    Template(Template),
}

choices! {
    /// What is done with a document.
    pub enum BulkOperation {
        /// Stored once.
        Create = "create",
        /// Stored in place of what is there.
        Index = "index",
        /// Merged into what is there.
        Update = "update",
    }
}

choices! {
    /// Which versions are stored.
    pub enum VersionType {
        /// Those greater than what is there.
        External = "external",
        /// The same, too.
        ExternalGte = "external_gte",
    }
}

choices! {
    /// Compression of request bodies.
    pub enum Compression {
        /// None.
        None = "none",
        /// gzip, at its fastest level.
        Gzip = "gzip",
    }
}

choices! {
    /// What to do about index templates.
    pub enum TemplateMode {
        /// Install the built-in one if none is there.
        Install = "install",
        /// Nothing.
        None = "none",
    }
}

/// Parameters of a bulk request that are not the user's: the reply is read by the first two.
const OWN_PARAMETERS: [&str; 5] = ["filter_path", "timeout", "pipeline", "routing", "pretty"];

/// What a template covers: which indices, under which name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Coverage {
    /// The template's name.
    pub(crate) name: String,
    /// The indices, with `*` for what varies.
    pub(crate) pattern: String,
}

// === impl IdMode ===

impl OptionType for IdMode {
    const TYPE: &'static str = "\"deterministic\" | \"auto\" | template";

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        match node.as_str() {
            Some("deterministic") => Some(Self::Deterministic),
            Some("auto") => Some(Self::Auto),
            Some(text) if !text.contains("%{") => {
                let label = "expected \"deterministic\", \"auto\" or a template with a field, as in \"%{[event][id]}\"";
                node.invalid(
                    format!("{text:?} would be the id of every event"),
                    label.to_owned(),
                    diagnostics,
                );
                None
            }
            _ => Template::read(node, diagnostics).map(Self::Template),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Deterministic => "\"deterministic\"".to_owned(),
            Self::Auto => "\"auto\"".to_owned(),
            Self::Template(template) => template.show(),
        }
    }
}

impl VersionType {
    /// As the action line says it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::External => "external",
            Self::ExternalGte => "external_gte",
        }
    }
}

// === impl ElasticsearchOptions ===

impl ElasticsearchOptions {
    /// Everything that is wrong with the options taken together, or the connection that they describe.
    pub(crate) fn check(&self) -> Result<Connection, Vec<BuildError>> {
        let mut errors = Vec::new();
        self.check_index(&mut errors);
        self.check_numbers(&mut errors);
        self.check_documents(&mut errors);
        for (option, text) in [
            ("template_name", &self.template_name),
            ("document_type", &self.document_type),
            ("pipeline", &self.pipeline),
        ] {
            if text.as_ref().is_some_and(String::is_empty) {
                errors.push(
                    BuildError::option(option, format!("`{option}` is empty"))
                        .help("leave it out, or give a name"),
                );
            }
        }
        match Connection::new(self) {
            Ok(connection) if errors.is_empty() => return Ok(connection),
            Ok(_) => {}
            Err(more) => errors.extend(more),
        }
        Err(errors)
    }

    fn check_index(&self, errors: &mut Vec<BuildError>) {
        let text = self.index.text();
        // What a field will hold is not known yet: any letter stands for it.
        let name =
            if self.index.window_ms().is_some() { self.sample_index() } else { format!("{}x", self.stem()) };
        if let Err(why) = index_name::check(&name) {
            errors.push(BuildError::option("index", format!("`{text}` can name no index")).label(why));
        }
        if self.template == TemplateMode::Install && self.coverage().pattern.chars().all(|c| c == '*') {
            errors.push(
                BuildError::option(
                    "index",
                    format!("a template for `{text}` would cover every index of the server"),
                )
                .label("expected some text beside the fields, as in `flow-%{field}`")
                .help("or set `template = \"none\"` and install one of your own"),
            );
        }
    }

    fn check_documents(&self, errors: &mut Vec<BuildError>) {
        if self.version.is_some() && self.operation != BulkOperation::Index {
            let error = BuildError::option("version", "`version` needs `operation = \"index\"`");
            errors
                .push(error.help("a document that is only created or updated has the server's own version"));
        }
        if self.version.is_some() && matches!(self.id, IdMode::Auto) {
            let error = BuildError::option(
                "version",
                "`version` compares with nothing where the server chooses the id",
            );
            errors.push(error.help("set `id` to what is the same for each version"));
        }
        if self.operation == BulkOperation::Update && matches!(self.id, IdMode::Auto) {
            let error = BuildError::option("operation", "`update` needs an id that is known");
            errors.push(error.help("set `id` to a template, or leave it at \"deterministic\""));
        }
        for name in self.parameters.keys().filter(|name| OWN_PARAMETERS.contains(&name.as_str())) {
            let error = BuildError::option("parameters", format!("`{name}` is flowstone's own"));
            errors.push(error.help("leave it out; `pipeline` and `routing` are options of their own"));
        }
    }

    fn check_numbers(&self, errors: &mut Vec<BuildError>) {
        let mut must = |holds: bool, option: &str, expected: &str| {
            if !holds {
                errors
                    .push(BuildError::option(option, format!("`{option}` is out of range")).label(expected));
            }
        };
        must(
            (1 << 10..=1 << 30).contains(&self.batch.max_bytes.0),
            "batch.max_bytes",
            "expected 1 KiB to 1 GiB",
        );
        // The reply to a request of which every row failed must stay within reason, too.
        must((1..=100_000).contains(&self.batch.max_rows), "batch.max_rows", "expected 1 to 100000");
        must((1..=1_000_000).contains(&self.max_tries_alone), "max_tries_alone", "expected 1 to 1000000");
        must((1..=1000).contains(&self.max_concurrency), "max_concurrency", "expected 1 to 1000");
        must(self.request_timeout >= Duration::from_millis(10), "request_timeout", "expected at least 10ms");
    }

    /// The index of an event of the year 2000, for templates that read nothing but the time.
    fn sample_index(&self) -> String {
        let mut batch = Batch::new(vec![RowId::default()]);
        batch.put_columns(vec![(Path::timestamp(), Column::Const(Value::Time(951_782_400_000)))]);
        let mut name = String::new();
        self.index.render(batch.row(0), &mut name);
        name
    }

    /// The part of `index` that stands before everything that varies.
    fn stem(&self) -> &str {
        let text = self.index.text();
        let fixed =
            if self.index.literal().is_some() { text.len() } else { text.find("%{").unwrap_or(text.len()) };
        &text[..fixed]
    }

    /// The name and the pattern of the template.
    pub(crate) fn coverage(&self) -> Coverage {
        let stem = self.stem().trim_end_matches(['-', '_', '.']);
        let name = match &self.template_name {
            Some(name) => name.clone(),
            None if stem.is_empty() => "flowstone".to_owned(),
            None => stem.to_owned(),
        };
        if let Some(literal) = self.index.literal() {
            return Coverage { name, pattern: literal.to_owned() };
        }
        let mut pattern = String::new();
        let mut rest = self.index.text();
        while let Some((fixed, varying)) = rest.split_once("%{") {
            let end = if varying.starts_with('{') { "}}" } else { "}" };
            let Some((_, behind)) = varying.split_once(end) else { break };
            pattern.push_str(fixed);
            if !pattern.ends_with('*') {
                pattern.push('*');
            }
            rest = behind;
        }
        pattern.push_str(rest);
        Coverage { name, pattern }
    }

    /// An index name for places where the server wants one and uses none.
    pub(crate) fn placeholder_index(&self) -> String {
        let stem = self.stem().trim_end_matches(['-', '_', '.']);
        if index_name::check(stem).is_ok() { stem.to_owned() } else { "flowstone".to_owned() }
    }
}
