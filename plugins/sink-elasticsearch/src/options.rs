//! The options of the sink: what a user can write, checked, and turned into what the other modules work with.

use std::path::PathBuf;
use std::time::Duration;

use flowstone_core::{ByteSize, Diagnostics, Node, OptionType, Secret, choices, nearest, options};
use flowstone_dialect::Template;
use indexmap::IndexMap;

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
            Some(other) => {
                let label = match nearest(other, ["install", "overwrite", "none"]) {
                    Some(word) => format!("did you mean {word:?}? (one of {})", Self::TYPE),
                    None => format!("expected one of {}", Self::TYPE),
                };
                node.invalid(format!("{other:?} is not a choice here"), label, diagnostics);
                None
            }
            None => {
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
