//! The options of the sink: what a user can write, checked, and turned into what the other modules work with.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flowstone_core::event::{Batch, Column, Path, RowId, Value};
use flowstone_core::{BuildError, ByteSize, Diagnostics, Node, OptionType, Secret, choices, options};
use flowstone_dialect::Template;
use indexmap::IndexMap;

use crate::client::Connection;
use crate::index_name;

options! {
    /// Options of `elasticsearch`.
    pub struct ElasticsearchOptions {
        /// The servers, as `http://HOST:PORT` or `https://HOST:PORT/PREFIX`; without this and `cloud_id`
        /// `http://127.0.0.1:9200`. Requests go to them in turn; one that cannot be reached, or answers that its server
        /// is away (502 to 504), is left out for a while. No other node is looked for (sniffing): what stands between,
        /// a load balancer or Elastic Cloud, does that better. Without a port `http` means 9200 and `https` means 443 (which
        /// is what hosted services listen on); without either, as in `es1` and `es1:9200`, it is `http`.
        pub hosts: Option<Vec<String>> = None,
        /// The Cloud ID of a deployment of Elastic Cloud, as its console shows it, instead of `hosts`.
        pub cloud_id: Option<String> = None,
        /// The proxy that every request goes through, as `http://HOST:PORT`, with `USER:PASSWORD@` where it wants them.
        /// Without it the environment's `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` count; `""` is none at all.
        pub proxy: Option<Secret> = None,
        /// Which server it is: each is spoken to in its own dialect. `"auto"` asks it with `GET /`. One that does not
        /// answer that and takes bulk requests (OpenSearch Serverless, a gateway that lets nothing else through, a
        /// user without `monitor`) is spoken to as Elasticsearch 8 and OpenSearch are; name the server where that is
        /// wrong, or to have it asked nothing. `"elasticsearch-7"` means 7.8 or later.
        pub server: ServerName = ServerName::Auto,
        /// The index of each event, from the event alone: `%{+YYYY.MM.dd}` is the day of its `@timestamp` in UTC,
        /// `%{field}` the text of a field. An event whose index cannot be named (a missing field, a capital letter)
        /// goes to the `rejected` port. May also be an alias with a write index. This or `data_stream` is needed.
        pub index: Option<Template> = None,
        /// A data stream in place of `index`, named `TYPE-DATASET-NAMESPACE`: the server begins a new index by size and
        /// age. Documents are only ever created in it. Elasticsearch 7.9 and later, OpenSearch.
        pub data_stream: Option<DataStreamOptions> = None,
        /// Indices are deleted when all their documents are older: the server's own life cycle does that, of data
        /// streams (Elasticsearch 8.14 and later), by ILM (6.8 to 9) or by ISM (OpenSearch), in a policy named as the
        /// template. `index` must have a date in its name. Without this nothing is ever deleted.
        pub retention: Option<Duration> = None,
        /// Primary shards of new indices, in our template; without it the server's default.
        pub shards: Option<u32> = None,
        /// Replicas of new indices, in our template; without it the server's default.
        pub replicas: Option<u32> = None,
        /// How new indices are compressed, in our template: `"best_compression"` or the server's `"default"`, which
        /// takes a third more of disk and indexes no faster.
        pub codec: Codec = Codec::BestCompression,
        /// What new indices are made for, in our template. `"logsdb"` (Elasticsearch 8.17 and later) takes a little over
        /// half the disk and answers some requests more slowly: documents are then made out of their fields when they
        /// are asked for, in another order, if the server's licence lets it.
        pub index_mode: IndexMode = IndexMode::Standard,
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
        /// A file that holds the password alone. It is read again when it changes, as `api_key_file` and `token_file`.
        pub password_file: Option<PathBuf> = None,
        /// An API key: the `encoded` value that the server gave, or `id:api_key`. Instead of `user`.
        pub api_key: Option<Secret> = None,
        /// A file that holds the API key alone.
        pub api_key_file: Option<PathBuf> = None,
        /// A bearer token, of a service account or a gateway. Instead of `user` and `api_key`.
        pub token: Option<Secret> = None,
        /// A file that holds the token alone.
        pub token_file: Option<PathBuf> = None,
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
        /// counters as `long`, GeoIP locations as `geo_point`, other text as `keyword`, in all name styles; compressed,
        /// sorted by time, and numbers not indexed where the server finds them without. One of ours that nobody has
        /// changed is renewed by a newer flowstone or other options; another is never changed, and none is installed
        /// where another one covers the same indices. `"overwrite"` puts it in place of whatever has its name,
        /// `"none"` leaves templates alone, and `{ file = "PATH" }` installs yours if none of its name is there.
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
        /// The SHA-256 fingerprint of the server's certificate, or of an authority that the server sends along with it, as
        /// Elasticsearch 8 and later say at their first start: that one is trusted, and no other. In hexadecimal
        /// digits, with or without colons.
        pub fingerprint: Option<String> = None,
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

/// What to do about index templates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateMode {
    /// Install the built-in one if none is there, or an older one of ours.
    Install,
    /// Install the built-in one, whatever is there.
    Overwrite,
    /// Nothing.
    None,
    /// Install this one if none is there.
    File(PathBuf),
}

options! {
    /// The three parts of a data stream's name.
    pub struct DataStreamOptions {
        /// What kind of data it is. With any of these three, `TYPE-DATASET-NAMESPACE` is written to in place of
        /// `index`: a data stream, of which the server begins a new index by size and age, and in which documents are
        /// only ever created. Elasticsearch 7.9 and later, OpenSearch.
        pub r#type: String = "logs".to_owned(),
        /// Whose data it is.
        pub dataset: String = "aws.vpcflow".to_owned(),
        /// Which of several environments.
        pub namespace: String = "default".to_owned(),
    }
}

choices! {
    /// How indices are compressed.
    pub enum Codec {
        /// Deflate or zstd, as the server has it.
        BestCompression = "best_compression",
        /// LZ4.
        Default = "default",
    }
}

choices! {
    /// What an index is made for.
    pub enum IndexMode {
        /// Anything.
        Standard = "standard",
        /// Logs: documents are made out of their fields when they are asked for.
        Logsdb = "logsdb",
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

/// The address that a Cloud ID stands for: behind the name, in base64, `DOMAIN[:PORT]$ELASTICSEARCH$KIBANA`, where a part
/// may have a port of its own (Elastic's clients, "Connecting to Elastic Cloud").
fn host_of_cloud_id(id: &str) -> Option<String> {
    let (_, coded) = id.rsplit_once(':')?;
    let text = String::from_utf8(BASE64.decode(coded.trim()).ok()?).ok()?;
    let mut parts = text.split('$');
    let (domain, server) = (parts.next()?, parts.next()?);
    let with_port = |text: &str, default: &str| match text.split_once(':') {
        Some((name, port)) => (name.to_owned(), port.to_owned()),
        None => (text.to_owned(), default.to_owned()),
    };
    let (domain, port) = with_port(domain, "443");
    let (server, port) = with_port(server, &port);
    let is_name = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
    };
    let good = is_name(&domain) && is_name(&server) && port.parse::<u16>().is_ok();
    good.then(|| format!("https://{server}.{domain}:{port}"))
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

impl OptionType for TemplateMode {
    const TYPE: &'static str = "\"install\" | \"overwrite\" | \"none\" | { file = PATH }";

    fn read(node: &Node, diagnostics: &mut Diagnostics) -> Option<Self> {
        options! {
            /// The table.
            struct FileOptions {
                /// The file.
                file: PathBuf,
            }
        }
        if node.as_table().is_some() {
            return <FileOptions as OptionType>::read(node, diagnostics)
                .map(|options| Self::File(options.file));
        }
        match node.as_str() {
            Some("install") => Some(Self::Install),
            Some("overwrite") => Some(Self::Overwrite),
            Some("none") => Some(Self::None),
            _ => {
                node.expected(&format!("one of {}", Self::TYPE), diagnostics);
                None
            }
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Install => "\"install\"".to_owned(),
            Self::Overwrite => "\"overwrite\"".to_owned(),
            Self::None => "\"none\"".to_owned(),
            Self::File(path) => format!("{{ file = {} }}", path.display().to_string().show()),
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
        self.check_template(&mut errors);
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

    /// What names the index of each event: `index`, or the data stream.
    pub(crate) fn destination(&self) -> Result<Template, BuildError> {
        let literal = |text: &str| {
            Template::parse(text).map_err(|error| BuildError::option("data_stream", error.message))
        };
        match (&self.index, &self.data_stream) {
            (Some(index), None) => Ok(index.clone()),
            (None, Some(DataStreamOptions { r#type, dataset, namespace })) => {
                for (part, text) in [("type", r#type), ("dataset", dataset), ("namespace", namespace)] {
                    if text.is_empty() || text.contains(['-', '%']) || index_name::check(text).is_err() {
                        let name = format!("data_stream.{part}");
                        return Err(BuildError::option(
                            name,
                            format!("{text:?} is no part of a data stream's name"),
                        )
                        .label("expected lower case, without hyphens"));
                    }
                }
                literal(&format!("{type}-{dataset}-{namespace}"))
            }
            (None, None) => {
                Err(BuildError::option("index", "neither `index` nor `data_stream` says where to")
                    .help("add `index = \"vpcflowlogs-%{+YYYY.MM.dd}\"`"))
            }
            (Some(_), Some(_)) => {
                Err(BuildError::option("data_stream", "both `index` and `data_stream` are given")
                    .help("keep one of them"))
            }
        }
    }

    /// What our template says of new indices.
    fn check_template(&self, errors: &mut Vec<BuildError>) {
        let ours = matches!(self.template, TemplateMode::Install | TemplateMode::Overwrite);
        let set = [
            ("shards", self.shards.is_some()),
            ("replicas", self.replicas.is_some()),
            ("index_mode", self.index_mode != IndexMode::Standard),
        ];
        for (option, _) in set.into_iter().filter(|(_, set)| *set && !ours) {
            let error = BuildError::option(
                option,
                format!("`{option}` is part of our template, which is not installed"),
            );
            errors.push(error.help("say it in your own template, or leave `template` at \"install\""));
        }
        if self.retention.is_some() && !ours {
            let error =
                BuildError::option("retention", "`retention` needs our template, which is not installed");
            errors.push(error.help("name a policy in your own template, or leave `template` at \"install\""));
        }
        if self.retention.is_some_and(|retention| retention < Duration::from_secs(3600)) {
            let error = BuildError::option("retention", "`retention` is out of range");
            errors.push(error.label("expected at least 1h, as in \"30d\""));
        }
        if self.retention.is_some()
            && let Some(index) = &self.index
            && period_of(index).is_none()
        {
            let error = BuildError::option(
                "retention",
                "`retention` would delete the index as a whole, with what is new in it",
            );
            errors.push(error.help(
                "put a date into `index`, as in \"flow-%{+YYYY.MM.dd}\", or write into a `data_stream`",
            ));
        }
        if self.shards.is_some_and(|shards| !(1..=1024).contains(&shards)) {
            errors.push(BuildError::option("shards", "`shards` is out of range").label("expected 1 to 1024"));
        }
        if self.data_stream.is_some() {
            let wrong = [
                (
                    "operation",
                    self.operation != BulkOperation::Create,
                    "a data stream takes nothing but `create`",
                ),
                ("document_type", self.document_type.is_some(), "a data stream has no mapping type"),
            ];
            for (option, _, why) in wrong.into_iter().filter(|(_, wrong, _)| *wrong) {
                errors.push(BuildError::option(option, why).help("leave it out, or write into an `index`"));
            }
        }
        let lacks_logs = !matches!(
            self.server,
            ServerName::Auto | ServerName::Elasticsearch8 | ServerName::Elasticsearch9
        );
        let named = [
            ("index_mode", self.index_mode == IndexMode::Logsdb && lacks_logs, "index mode for logs"),
            (
                "data_stream",
                self.data_stream.is_some() && self.server == ServerName::Elasticsearch6,
                "data streams",
            ),
        ];
        for (option, _, what) in named.into_iter().filter(|(_, asked, _)| *asked) {
            let error =
                BuildError::option(option, format!("{} has no {what}", self.server.show().trim_matches('"')));
            errors.push(error.help("leave it out, or correct `server`"));
        }
        let serverless = self.auth.aws.as_ref().is_some_and(|aws| aws.service == AwsService::Aoss);
        let lacks = [
            ("data_stream", self.data_stream.is_some(), "data streams"),
            ("retention", self.retention.is_some(), "life cycles of indices"),
            (
                "template",
                matches!(self.template, TemplateMode::Overwrite | TemplateMode::File(_)),
                "index templates",
            ),
        ];
        for (option, _, what) in lacks.into_iter().filter(|(_, asked, _)| *asked && serverless) {
            let error = BuildError::option(option, format!("OpenSearch Serverless has no {what}"));
            errors
                .push(error.help("leave it out; retention is set there by a data lifecycle policy of AWS's"));
        }
    }

    fn check_index(&self, errors: &mut Vec<BuildError>) {
        let index = match self.destination() {
            Ok(index) => index,
            Err(error) => return errors.push(error),
        };
        let text = index.text();
        // What a field will hold is not known yet: any letter stands for it.
        let name =
            if index.window_ms().is_some() { sample_of(&index) } else { format!("{}x", stem_of(&index)) };
        if let Err(why) = index_name::check(&name) {
            errors.push(BuildError::option("index", format!("`{text}` can name no index")).label(why));
        }
        if self.template != TemplateMode::None && self.coverage(&index).pattern.chars().all(|c| c == '*') {
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

    /// What to read hosts from: `hosts`, or what `cloud_id` stands for.
    pub(crate) fn host_texts(&self) -> Result<Vec<String>, BuildError> {
        match (&self.hosts, &self.cloud_id) {
            (Some(hosts), None) => Ok(hosts.clone()),
            (None, None) => Ok(vec!["http://127.0.0.1:9200".to_owned()]),
            (None, Some(id)) => match host_of_cloud_id(id) {
                Some(host) => Ok(vec![host]),
                None => Err(BuildError::option("cloud_id", "this is no Cloud ID").label(
                    "expected `NAME:BASE64`, as the console of Elastic Cloud shows it under \"Cloud ID\"",
                )),
            },
            (Some(_), Some(_)) => {
                Err(BuildError::option("cloud_id", "both `hosts` and `cloud_id` are given")
                    .help("keep one of them"))
            }
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

    /// The name and the pattern of the template.
    pub(crate) fn coverage(&self, index: &Template) -> Coverage {
        let stem = stem_of(index).trim_end_matches(['-', '_', '.']);
        let name = match &self.template_name {
            Some(name) => name.clone(),
            None if stem.is_empty() => "flowstone".to_owned(),
            None => stem.to_owned(),
        };
        if let Some(literal) = index.literal() {
            return Coverage { name, pattern: literal.to_owned() };
        }
        let mut pattern = String::new();
        let mut rest = index.text();
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
    pub(crate) fn placeholder_index(index: &Template) -> String {
        let stem = stem_of(index).trim_end_matches(['-', '_', '.']);
        if index_name::check(stem).is_ok() { stem.to_owned() } else { "flowstone".to_owned() }
    }
}

/// 29 February 2000.
const SAMPLE_MS: i64 = 951_782_400_000;

/// The index of an event of the year 2000, for templates that read nothing but the time.
fn sample_of(index: &Template) -> String {
    name_at(index, SAMPLE_MS)
}

fn name_at(index: &Template, millis: i64) -> String {
    let mut batch = Batch::new(vec![RowId::default()]);
    batch.put_columns(vec![(Path::timestamp(), Column::Const(Value::Time(millis)))]);
    let mut name = String::new();
    index.render(batch.row(0), &mut name);
    name
}

/// How long an index takes events of, at most, by the date in its name: from an hour to a year. `None` without one.
pub(crate) fn period_of(index: &Template) -> Option<Duration> {
    const HOURS: [u64; 5] = [1, 24, 7 * 24, 31 * 24, 366 * 24];
    HOURS.into_iter().map(|hours| Duration::from_secs(3600 * hours)).find(|period| {
        let step = i64::try_from(period.as_millis()).unwrap_or(i64::MAX);
        // Wherever it begins, another one has begun by then.
        (0..24).all(|month| {
            let at = SAMPLE_MS + month * 31 * 86_400_000;
            name_at(index, at) != name_at(index, at + step)
        })
    })
}

/// The part of an index's name that stands before everything that varies.
fn stem_of(index: &Template) -> &str {
    let text = index.text();
    let fixed = if index.literal().is_some() { text.len() } else { text.find("%{").unwrap_or(text.len()) };
    &text[..fixed]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_ends_with_the_smallest_part_of_its_date() {
        let hours =
            |text: &str| period_of(&Template::parse(text).unwrap()).map(|period| period.as_secs() / 3600);
        for (index, expect) in [
            ("flow-%{+YYYY.MM.dd.HH}", Some(1)),
            ("flow-%{+YYYY.MM.dd}", Some(24)),
            ("flow-%{action}-%{+YYYY.DDD}", Some(24)),
            ("flow-%{+xxxx.ww}", Some(7 * 24)),
            ("flow-%{+YYYY.MM}", Some(31 * 24)),
            ("flow-%{+YYYY}", Some(366 * 24)),
            ("flow-%{{yyyy.MM.dd}}", Some(24)),
            ("flow", None),
            ("flow-%{account_id}", None),
        ] {
            assert_eq!(hours(index), expect, "{index}");
        }
    }

    #[test]
    fn a_cloud_id_stands_for_a_host() {
        let of = |text: &str| host_of_cloud_id(&format!("name:{}", BASE64.encode(text)));
        assert_eq!(
            of("us-east-1.aws.found.io$abc$def").as_deref(),
            Some("https://abc.us-east-1.aws.found.io:443")
        );
        assert_eq!(of("found.io:9243$abc$def").as_deref(), Some("https://abc.found.io:9243"));
        assert_eq!(of("found.io$abc:9244$def").as_deref(), Some("https://abc.found.io:9244"));
        for wrong in ["found.io", "found.io$", "$abc$", "found.io$a/b$", "found.io:x$abc$"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        assert_eq!(host_of_cloud_id("no id"), None);
        assert_eq!(host_of_cloud_id("name:???"), None);
    }
}
