//! Real servers for tests: Elasticsearch and OpenSearch as single nodes in a JVM of their own, made from the jars
//! on Maven Central, without an image and without the distributions; and [`moto`], which answers as AWS does, from
//! Python's package index.
//!
//! [`available`] prepares a server once, in a cache folder (`FLOWSTONE_SERVERS_DIR`, otherwise
//! `~/.cache/flowstone/servers`), or says in one line what is missing. [`Installed::start`] runs a node on a
//! free loopback port with data of its own. A [`Node`] ends when it is dropped, and also when the test's
//! process dies in whatever way, for its standard input closes then.
//!
//! | variable | meaning |
//! |---|---|
//! | `FLOWSTONE_SERVERS_DIR` | where the servers are kept |
//! | `FLOWSTONE_REQUIRE_SERVERS=1` | a server that is missing fails its tests instead of skipping them |
//! | `FLOWSTONE_ES_URL` | a server that runs already, for tests that ask for [`Node::from_env`] |
//! | `JDK21` | the home of a JDK of 21 or later, for es9 and os3, if it is not where JDKs are looked for |
//! | `FLOWSTONE_KEEP_NODES=1` | folders of nodes (data, log) stay behind, for a look |

mod install;
mod jdk;
mod node;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use libtest_mimic::{Completion, Failed, Trial};

pub use node::{Document, Node, StartError};

/// Who makes a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Product {
    /// Elasticsearch.
    Elasticsearch,
    /// OpenSearch.
    OpenSearch,
    /// moto: AWS's services in memory, each account and region with a state of its own.
    Moto,
}

/// What a server runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Needs {
    /// A JDK of this version or later.
    Java(u32),
    /// Python 3 of this minor version or later, with `venv`.
    Python(u32),
}

/// A server that the tests know.
#[derive(Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ServerSpec {
    /// Its short name: `es8`.
    pub name: &'static str,
    /// Who makes it.
    pub product: Product,
    /// Its version, as `GET /` gives it where there is such a thing.
    pub version: &'static str,
    /// The oldest that it runs on here.
    pub needs: Needs,
    family: Family,
    /// What `pom.xml` would name: `group:artefact:version`; for [`Family::Modular`] the server's, then the
    /// netty module's; for [`Family::Package`] what `pip` would be given, without the version.
    artefacts: &'static [&'static str],
}

/// How a version wants to be built; the launcher's word for it is the variant in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Family {
    /// 6.8: a class path, and a class of ours that extends `Node`.
    Six,
    /// 7.x and OpenSearch: a class path, and a list of plugins.
    Seven,
    /// 8.x and 9.x: a module path, and a folder of modules.
    Modular,
    /// moto: a virtual environment.
    Package,
}

/// A server that is ready to start.
#[derive(Clone, Debug)]
pub struct Installed {
    spec: &'static ServerSpec,
    dir: PathBuf,
    /// `java` or `python`.
    program: PathBuf,
}

/// Why a server cannot be had, and how to get it: one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    spec: &'static ServerSpec,
    why: String,
}

static KNOWN: [ServerSpec; 8] = [
    ServerSpec {
        name: "es6",
        product: Product::Elasticsearch,
        version: "6.8.23",
        needs: Needs::Java(17),
        family: Family::Six,
        artefacts: &[
            "org.elasticsearch:elasticsearch:6.8.23",
            "org.elasticsearch.plugin:transport-netty4-client:6.8.23",
            "org.apache.logging.log4j:log4j-core:2.17.1",
        ],
    },
    ServerSpec {
        name: "es7", // 7.10.2 is the last under the Apache licence, and what compatible forks report
        product: Product::Elasticsearch,
        version: "7.10.2",
        needs: Needs::Java(17),
        family: Family::Seven,
        artefacts: &[
            "org.elasticsearch:elasticsearch:7.10.2",
            "org.elasticsearch.plugin:transport-netty4-client:7.10.2",
            "org.elasticsearch.plugin:reindex-client:7.10.2",
            "org.apache.logging.log4j:log4j-core:2.11.1",
        ],
    },
    ServerSpec {
        name: "es8",
        product: Product::Elasticsearch,
        version: "8.19.21",
        needs: Needs::Java(17),
        family: Family::Modular,
        artefacts: &[
            "org.elasticsearch:elasticsearch:8.19.21",
            "org.elasticsearch.plugin:transport-netty4:8.19.21",
        ],
    },
    ServerSpec {
        name: "es9",
        product: Product::Elasticsearch,
        version: "9.5.3",
        needs: Needs::Java(21),
        family: Family::Modular,
        artefacts: &[
            "org.elasticsearch:elasticsearch:9.5.3",
            "org.elasticsearch.plugin:transport-netty4:9.5.3",
        ],
    },
    ServerSpec {
        name: "os2",
        product: Product::OpenSearch,
        version: "2.19.1",
        needs: Needs::Java(17),
        family: Family::Seven,
        artefacts: &[
            "org.opensearch:opensearch:2.19.1",
            "org.opensearch.plugin:transport-netty4-client:2.19.1",
            "org.opensearch.plugin:reindex-client:2.19.1",
            "org.apache.logging.log4j:log4j-core:2.21.0",
        ],
    },
    ServerSpec {
        name: "os3",
        product: Product::OpenSearch,
        version: "3.8.0",
        needs: Needs::Java(21),
        family: Family::Seven,
        artefacts: &[
            "org.opensearch:opensearch:3.8.0",
            "org.opensearch.plugin:transport-netty4-client:3.8.0",
            "org.apache.logging.log4j:log4j-core:2.25.4",
        ],
    },
    // Not one of `all`: by name only, for what changed between 7.10 and 7.17.
    ServerSpec {
        name: "es717",
        product: Product::Elasticsearch,
        version: "7.17.9",
        needs: Needs::Java(17),
        family: Family::Seven,
        artefacts: &[
            "org.elasticsearch:elasticsearch:7.17.9",
            "org.elasticsearch.plugin:transport-netty4-client:7.17.9",
            "org.apache.logging.log4j:log4j-core:2.17.1",
        ],
    },
    ServerSpec {
        name: "moto",
        product: Product::Moto,
        version: "5.2.5",
        needs: Needs::Python(10),
        family: Family::Package,
        artefacts: &["moto[server]"],
    },
];

/// The servers that every test of the sink runs against: es6, es7, es8, es9, os2, os3.
pub fn all() -> &'static [ServerSpec] {
    &KNOWN[..6]
}

/// The server of AWS's services. Of [`Node`] it has what is not about documents.
pub fn moto() -> &'static ServerSpec {
    by_name("moto").expect("it is one of those known")
}

/// A server by its name: one of [`all`], `es717` or `moto`.
pub fn by_name(name: &str) -> Option<&'static ServerSpec> {
    KNOWN.iter().find(|spec| spec.name == name)
}

/// The server, prepared if it was not: this downloads 25 to 60 MB, once per machine. What was missing stays missing for this process.
pub fn available(spec: &'static ServerSpec) -> Result<Installed, Missing> {
    static ANSWERS: Mutex<Option<HashMap<&'static str, Result<Installed, Missing>>>> = Mutex::new(None);
    let mut answers = ANSWERS.lock().unwrap_or_else(PoisonError::into_inner);
    let answers = answers.get_or_insert_with(HashMap::new);
    answers.entry(spec.name).or_insert_with(|| install::install(spec)).clone()
}

/// Whether a missing server is a failure: `FLOWSTONE_REQUIRE_SERVERS=1`, as CI sets it.
pub fn required() -> bool {
    switched_on("FLOWSTONE_REQUIRE_SERVERS")
}

/// A test against a server, named `SPEC::NAME`. A missing server makes it ignored with the reason, or failed if
/// servers are [`required`].
///
/// ```no_run
/// use flowstone_testkit::servers;
/// let tests = servers::all().iter().map(|spec| {
///     servers::trial("counts", spec, |server| {
///         let node = server.start(&[])?;
///         assert_eq!(node.count("nothing"), 0);
///         Ok(())
///     })
/// });
/// libtest_mimic::run(&libtest_mimic::Arguments::from_args(), tests.collect()).exit();
/// ```
pub fn trial(
    name: &str,
    spec: &'static ServerSpec,
    test: impl FnOnce(&Installed) -> Result<(), Failed> + Send + 'static,
) -> Trial {
    Trial::ignorable_test(format!("{}::{name}", spec.name), move || match available(spec) {
        Ok(installed) => test(&installed).map(|()| Completion::Completed),
        Err(missing) if required() => Err(missing.into()),
        Err(missing) => Ok(Completion::ignored_with(missing)),
    })
}

/// [`trial`] with a second server beside the first.
pub fn trial_beside(
    name: &str,
    spec: &'static ServerSpec,
    beside: &'static ServerSpec,
    test: impl FnOnce(&Installed, &Installed) -> Result<(), Failed> + Send + 'static,
) -> Trial {
    Trial::ignorable_test(format!("{}::{name}", spec.name), move || {
        match (available(spec), available(beside)) {
            (Ok(installed), Ok(beside)) => test(&installed, &beside).map(|()| Completion::Completed),
            (Err(missing), _) | (_, Err(missing)) if required() => Err(missing.into()),
            (Err(missing), _) | (_, Err(missing)) => Ok(Completion::ignored_with(missing)),
        }
    })
}

fn switched_on(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|value| !value.is_empty() && value != "0")
}

// === impl ServerSpec ===

impl ServerSpec {
    /// The first number of the version.
    pub fn major(&self) -> u32 {
        self.version
            .split('.')
            .next()
            .and_then(|major| major.parse().ok())
            .expect("a version begins with a number")
    }

    /// Whether an action line of a bulk request must have a `_type`; from 8 and in OpenSearch it must not.
    pub fn needs_type(&self) -> bool {
        self.family == Family::Six
    }
}

impl fmt::Display for ServerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?} {})", self.name, self.product, self.version)
    }
}

// === impl Needs ===

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Java(major) => write!(f, "Java {major} or later"),
            Self::Python(minor) => write!(f, "Python 3.{minor} or later"),
        }
    }
}

// === impl Installed ===

impl Installed {
    /// What is installed.
    pub fn spec(&self) -> &'static ServerSpec {
        self.spec
    }

    /// The program that runs it: `java`, or the `python` of its own environment.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Starts a node with these settings (`name=value`) and waits until it answers.
    pub fn start(&self, settings: &[&str]) -> Result<Node, StartError> {
        Node::launch(self, settings)
    }
}

// === impl Missing ===

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is missing: {}", self.spec, self.why)
    }
}

impl std::error::Error for Missing {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_artefact_of_a_server_bears_its_version_but_log4j() {
        for spec in KNOWN.iter().filter(|spec| spec.product != Product::Moto) {
            for artefact in spec.artefacts {
                let version = artefact.rsplit(':').next().unwrap();
                assert!(version == spec.version || artefact.contains("log4j"), "{artefact} of {spec}");
            }
        }
    }

    #[test]
    fn servers_are_found_by_name() {
        assert_eq!(by_name("es8").unwrap().major(), 8);
        assert_eq!(by_name("es717").unwrap().version, "7.17.9");
        assert_eq!(by_name("es10"), None);
        assert_eq!(all().len(), 6);
        assert!(!all().iter().any(|spec| ["es717", "moto"].contains(&spec.name)));
        assert_eq!(moto().product, Product::Moto);
    }
}
