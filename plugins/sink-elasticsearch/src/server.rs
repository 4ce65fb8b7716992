//! Which server this is, and what follows from it: where bulk requests go and how templates are written.

use serde_json::Value;

use crate::options::ServerName;

/// A server's make and version, as `GET /` or the option `server` tells them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    product: Product,
    major: u32,
    minor: u32,
    number: String,
}

/// Why the other end is no server that we can write to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotOurs {
    /// Something else answers there.
    Unknown(String),
    /// Elasticsearch before 6.
    TooOld(String),
}

/// Who makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Product {
    Elasticsearch,
    OpenSearch,
    /// OpenSearch Serverless, which is not asked.
    Serverless,
    /// One that does not say.
    Unsaid,
}

/// How an index template is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TemplateDialect {
    /// `_template` with the mapping under its type: Elasticsearch 6.
    LegacyTyped,
    /// `_template` with a mapping without type: Elasticsearch 7.0 to 7.7.
    Legacy,
    /// `_index_template`: Elasticsearch 7.8 and later, OpenSearch.
    Composable,
}

/// Who deletes old indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifecycle {
    /// The life cycle of data streams: Elasticsearch 8.14 and later.
    DataStream,
    /// Index lifecycle management: Elasticsearch from 6.6 on.
    Ilm,
    /// Index state management: OpenSearch.
    Ism,
}

// === impl Server ===

impl Server {
    /// Reads the reply to `GET /`.
    pub(crate) fn of_root(body: &[u8]) -> Result<Self, NotOurs> {
        let unknown = |what: &str| NotOurs::Unknown(format!("the reply to `GET /` {what}"));
        let root: Value = serde_json::from_slice(body).map_err(|_| unknown("is no JSON"))?;
        let number = root["version"]["number"].as_str().ok_or_else(|| unknown("names no version"))?;
        // In compatibility mode OpenSearch calls itself 7.10.2: its distribution decides, then its tagline.
        let open_search = root["version"]["distribution"].as_str() == Some("opensearch")
            || root["tagline"].as_str().is_some_and(|tagline| tagline.contains("OpenSearch"));
        let mut numbers = number.split('.').map(str::parse::<u32>);
        let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
            return Err(unknown(&format!("gives `{number}` for a version")));
        };
        let product = if open_search { Product::OpenSearch } else { Product::Elasticsearch };
        if product == Product::Elasticsearch && major < 6 {
            return Err(NotOurs::TooOld(format!("this is Elasticsearch {number}")));
        }
        Ok(Self { product, major, minor, number: number.to_owned() })
    }

    /// The server that the option names; `None` when it is to be asked.
    pub(crate) fn named(name: ServerName) -> Option<Self> {
        let (product, major) = match name {
            ServerName::Auto => return None,
            ServerName::Elasticsearch6 => (Product::Elasticsearch, 6),
            ServerName::Elasticsearch7 => (Product::Elasticsearch, 7),
            ServerName::Elasticsearch8 => (Product::Elasticsearch, 8),
            ServerName::Elasticsearch9 => (Product::Elasticsearch, 9),
            ServerName::OpenSearch1 => (Product::OpenSearch, 1),
            ServerName::OpenSearch2 => (Product::OpenSearch, 2),
            ServerName::OpenSearch3 => (Product::OpenSearch, 3),
        };
        // The last version of each has what its earlier ones have.
        Some(Self { product, major, minor: u32::MAX, number: major.to_string() })
    }

    /// A server that does not say what it is: what Elasticsearch 7.8 and later and OpenSearch have in common.
    pub(crate) fn assumed() -> Self {
        Self { product: Product::Unsaid, major: 0, minor: 0, number: String::new() }
    }

    /// Amazon OpenSearch Serverless: what OpenSearch 2 has, without templates.
    pub(crate) fn serverless() -> Self {
        Self { product: Product::Serverless, ..Self::assumed() }
    }

    /// Whether it has index templates.
    pub(crate) fn has_templates(&self) -> bool {
        self.product != Product::Serverless
    }

    /// Whether it is Elasticsearch of this version or later. One that is only named is as old as its name allows.
    fn is_elasticsearch(&self, major: u32, minor: u32) -> bool {
        let known = if self.minor == u32::MAX { 0 } else { self.minor };
        self.product == Product::Elasticsearch && (self.major, known) >= (major, minor)
    }

    /// Whether it finds numbers that are not indexed, by their doc values. OpenSearch does as far as that was tried.
    pub(crate) fn searches_doc_values(&self) -> bool {
        let open_search = self.product == Product::OpenSearch && self.minor != u32::MAX;
        self.is_elasticsearch(8, 1) || (open_search && (self.major, self.minor) >= (2, 19))
    }

    /// Whether an index may be made for logs.
    pub(crate) fn has_logsdb(&self) -> bool {
        self.is_elasticsearch(8, 17)
    }

    /// Whether it has data streams, as far as is known.
    pub(crate) fn has_data_streams(&self) -> bool {
        match self.product {
            Product::Elasticsearch => (self.major, self.minor) >= (7, 9),
            Product::OpenSearch | Product::Unsaid => true,
            Product::Serverless => false,
        }
    }

    /// Who deletes old indices, if it says who it is.
    pub(crate) fn lifecycle(&self, data_stream: bool) -> Option<Lifecycle> {
        match self.product {
            Product::Elasticsearch if data_stream && self.is_elasticsearch(8, 14) => {
                Some(Lifecycle::DataStream)
            }
            Product::Elasticsearch => Some(Lifecycle::Ilm),
            Product::OpenSearch => Some(Lifecycle::Ism),
            Product::Serverless | Product::Unsaid => None,
        }
    }

    /// Whether it is only assumed.
    pub(crate) fn is_assumed(&self) -> bool {
        self.product == Product::Unsaid
    }

    /// The mapping type that bulk requests and templates must name, if any, given what the user asked for.
    pub(crate) fn document_type<'a>(&self, wanted: Option<&'a str>) -> Option<&'a str> {
        match (self.product, self.major) {
            (Product::Elasticsearch, 6) => Some(wanted.unwrap_or("doc")),
            (Product::Elasticsearch, 7) => wanted,
            _ => None,
        }
    }

    /// Whether it has mapping types at all, so that the option `document_type` means something.
    pub(crate) fn has_types(&self) -> bool {
        self.product == Product::Elasticsearch && self.major <= 7
    }

    /// How its templates are written.
    pub(crate) fn template_dialect(&self) -> TemplateDialect {
        match (self.product, self.major, self.minor) {
            (Product::Elasticsearch, 6, _) => TemplateDialect::LegacyTyped,
            (Product::Elasticsearch, 7, ..=7) => TemplateDialect::Legacy,
            _ => TemplateDialect::Composable,
        }
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let product = match self.product {
            Product::Elasticsearch => "Elasticsearch",
            Product::OpenSearch => "OpenSearch",
            Product::Serverless => return f.write_str("OpenSearch Serverless"),
            Product::Unsaid => return f.write_str("a server that does not say which it is"),
        };
        write!(f, "{product} {}", self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(number: &str, more: &str) -> Vec<u8> {
        format!(r#"{{"version":{{"number":"{number}"{more}}},"tagline":"You Know, for Search"}}"#)
            .into_bytes()
    }

    #[test]
    fn the_version_decides_the_dialect() {
        use TemplateDialect::{Composable, Legacy, LegacyTyped};
        for (number, more, shown, document_type, dialect) in [
            ("6.8.23", "", "Elasticsearch 6.8.23", Some("doc"), LegacyTyped),
            ("6.0.0", "", "Elasticsearch 6.0.0", Some("doc"), LegacyTyped),
            ("7.7.1", "", "Elasticsearch 7.7.1", None, Legacy),
            ("7.8.0", "", "Elasticsearch 7.8.0", None, Composable),
            ("7.17.9", "", "Elasticsearch 7.17.9", None, Composable),
            ("8.19.21", "", "Elasticsearch 8.19.21", None, Composable),
            ("9.5.3", "", "Elasticsearch 9.5.3", None, Composable),
            ("10.0.0-SNAPSHOT", "", "Elasticsearch 10.0.0-SNAPSHOT", None, Composable),
            ("1.3.20", r#","distribution":"opensearch""#, "OpenSearch 1.3.20", None, Composable),
            ("7.10.2", r#","distribution":"opensearch""#, "OpenSearch 7.10.2", None, Composable),
            ("3.8.0", r#","distribution":"opensearch""#, "OpenSearch 3.8.0", None, Composable),
        ] {
            let server = Server::of_root(&root(number, more)).unwrap();
            assert_eq!(server.to_string(), shown);
            assert_eq!(server.document_type(None), document_type, "{shown}");
            assert_eq!(server.template_dialect(), dialect, "{shown}");
        }
    }

    #[test]
    fn a_type_is_named_where_there_are_types() {
        for (number, more, named) in [
            ("6.8.23", "", Some("flow")),
            ("7.10.2", "", Some("flow")),
            ("8.19.21", "", None),
            ("7.10.2", r#","distribution":"opensearch""#, None),
        ] {
            let server = Server::of_root(&root(number, more)).unwrap();
            assert_eq!(server.document_type(Some("flow")), named, "{server}");
            assert_eq!(server.has_types(), named.is_some(), "{server}");
        }
    }

    #[test]
    fn a_server_that_is_named_or_assumed_has_its_dialect() {
        use TemplateDialect::{Composable, LegacyTyped};
        for (name, shown, document_type, dialect) in [
            (ServerName::Elasticsearch6, "Elasticsearch 6", Some("doc"), LegacyTyped),
            (ServerName::Elasticsearch7, "Elasticsearch 7", None, Composable),
            (ServerName::Elasticsearch8, "Elasticsearch 8", None, Composable),
            (ServerName::Elasticsearch9, "Elasticsearch 9", None, Composable),
            (ServerName::OpenSearch1, "OpenSearch 1", None, Composable),
            (ServerName::OpenSearch2, "OpenSearch 2", None, Composable),
            (ServerName::OpenSearch3, "OpenSearch 3", None, Composable),
        ] {
            let server = Server::named(name).unwrap();
            assert_eq!((server.to_string().as_str(), server.document_type(None)), (shown, document_type));
            assert_eq!((server.template_dialect(), server.is_assumed()), (dialect, false), "{shown}");
        }
        assert_eq!(Server::named(ServerName::Auto), None);
        let assumed = Server::assumed();
        assert_eq!((assumed.document_type(Some("x")), assumed.template_dialect()), (None, Composable));
        assert!(assumed.is_assumed() && !assumed.has_types() && assumed.has_templates());
        let serverless = Server::serverless();
        assert_eq!(
            (serverless.to_string().as_str(), serverless.document_type(Some("x"))),
            ("OpenSearch Serverless", None)
        );
        assert!(!serverless.is_assumed() && !serverless.has_templates());
    }

    #[test]
    fn what_a_server_can_do_follows_its_version() {
        let elastic = |number: &str| Server::of_root(&root(number, "")).unwrap();
        let open = |number: &str| Server::of_root(&root(number, r#","distribution":"opensearch""#)).unwrap();
        let can = |server: &Server| {
            (
                server.searches_doc_values(),
                server.has_logsdb(),
                server.has_data_streams(),
                server.lifecycle(true),
            )
        };
        use Lifecycle::{DataStream, Ilm, Ism};
        for (server, expect) in [
            (elastic("6.8.23"), (false, false, false, Some(Ilm))),
            (elastic("7.10.2"), (false, false, true, Some(Ilm))),
            (elastic("8.0.1"), (false, false, true, Some(Ilm))),
            (elastic("8.13.4"), (true, false, true, Some(Ilm))),
            (elastic("8.19.21"), (true, true, true, Some(DataStream))),
            (elastic("9.5.3"), (true, true, true, Some(DataStream))),
            (open("1.3.20"), (false, false, true, Some(Ism))),
            (open("2.19.1"), (true, false, true, Some(Ism))),
            (open("3.8.0"), (true, false, true, Some(Ism))),
            (Server::named(ServerName::Elasticsearch8).unwrap(), (false, false, true, Some(Ilm))),
            (Server::named(ServerName::OpenSearch2).unwrap(), (false, false, true, Some(Ism))),
            (Server::assumed(), (false, false, true, None)),
            (Server::serverless(), (false, false, false, None)),
        ] {
            assert_eq!(can(&server), expect, "{server}");
        }
        assert_eq!(elastic("9.5.3").lifecycle(false), Some(Ilm));
    }

    #[test]
    fn what_is_no_server_of_ours_is_told_apart() {
        for (body, why) in [
            (&b"<html>"[..], "is no JSON"),
            (b"{}", "names no version"),
            (br#"{"version":{"number":"next"}}"#, "gives `next` for a version"),
        ] {
            let expect = NotOurs::Unknown(format!("the reply to `GET /` {why}"));
            assert_eq!(Server::of_root(body), Err(expect));
        }
        let old = Server::of_root(br#"{"version":{"number":"5.6.16"}}"#);
        assert_eq!(old, Err(NotOurs::TooOld("this is Elasticsearch 5.6.16".to_owned())));
    }
}
