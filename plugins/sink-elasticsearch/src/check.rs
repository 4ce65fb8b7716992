//! What is wrong with the options taken together, and what follows from them: hosts, the index, what a template covers.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flowstone_core::event::{Batch, Column, Path, RowId, Value};
use flowstone_core::{BuildError, OptionType as _};
use flowstone_dialect::Template;

use crate::client::Connection;
use crate::index_name;
use crate::options::{
    AwsService, BulkOperation, Coverage, DataStreamOptions, ElasticsearchOptions, IdMode, IndexMode,
    ServerName, TemplateMode,
};

/// Parameters of a bulk request that are not the user's: the reply is read by the first two.
const OWN_PARAMETERS: [&str; 5] = ["filter_path", "timeout", "pipeline", "routing", "pretty"];

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
