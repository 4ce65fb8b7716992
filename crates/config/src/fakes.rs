//! Plugins for this crate's tests: they build, claim and refuse, and carry no event.

use async_trait::async_trait;
use flowstone_core::choices;
use flowstone_core::prelude::*;
use flowstone_dialect::Template;

options! {
    /// Options of `lines`.
    pub(crate) struct LinesOptions {
        /// The files to read, or globs for them.
        paths: Vec<String>,
        /// Whether to wait for more at the end.
        follow: bool = true,
        /// What each line holds.
        decoding: Decoding = Decoding::Text,
        /// Whether the fake says that it dates its events.
        dated: bool = false,
    }
}

choices! {
    /// What a line holds.
    pub(crate) enum Decoding {
        /// Text.
        Text = "text",
        /// JSON.
        Json = "json",
    }
}

struct Lines(LinesOptions);

#[async_trait]
impl Source for Lines {
    async fn next(&mut self, _cx: &mut SourceCx) -> Result<Next, SourceError> {
        let _ = (self.0.follow, self.0.decoding);
        Ok(Next::End)
    }
    async fn commit(&mut self, _positions: &[Position]) -> Result<(), SourceError> {
        Ok(())
    }
    async fn rewind(&mut self, _position: &Position) -> Result<(), SourceError> {
        Ok(())
    }
    fn traits(&self) -> SourceTraits {
        let claims = self.0.paths.iter().map(|path| format!("file {path}")).collect();
        SourceTraits { claims, dates: self.0.dated, ..SourceTraits::default() }
    }
}

register_source! {
    "lines",
    summary: "reads lines",
    options: LinesOptions,
    example: "paths = [\"/var/log/x.log\"]",
    build: |options: LinesOptions, _cx: &BuildCx| Ok(Box::new(Lines(options))),
}

options! {
    /// Options of `pass`.
    pub(crate) struct PassOptions {
        /// Patterns, which must not be `bad`.
        patterns: Vec<String> = Vec::new(),
        /// Whether the fake says that it dates events.
        dated: bool = false,
        /// Whether the fake panics when it is built.
        panic: bool = false,
    }
}

#[derive(Clone)]
struct Pass(PassOptions);

impl Transform for Pass {
    fn apply(&mut self, _batch: &mut Batch, _cx: &mut TransformCx<'_>) {}
    fn fork(&self) -> Box<dyn Transform> {
        Box::new(self.clone())
    }
    fn dates(&self) -> bool {
        self.0.dated
    }
}

register_transform! {
    "pass",
    summary: "passes events on",
    options: PassOptions,
    example: "patterns = [\"good\"]",
    build: |options: PassOptions, _cx: &BuildCx| {
        assert!(!options.panic, "a plugin's bug");
        let bad = options.patterns.iter().enumerate().filter_map(|(index, pattern)| {
            let at = pattern.find("bad")?;
            Some(BuildError::option("patterns", "a bad pattern").at_index(index).within(at, at + 3).label("expected a good one"))
        });
        let bad: Vec<BuildError> = bad.collect();
        if bad.is_empty() { Ok(Box::new(Pass(options))) } else { Err(bad) }
    },
}

options! {
    /// Options of `split`.
    pub(crate) struct SplitOptions {
        /// The names of the outputs.
        outputs: Vec<String>,
    }
}

#[derive(Clone)]
struct Split(SplitOptions);

impl Transform for Split {
    fn rejects(&self) -> bool {
        false
    }
    fn outputs(&self) -> Vec<String> {
        self.0.outputs.clone()
    }
    fn apply(&mut self, _batch: &mut Batch, _cx: &mut TransformCx<'_>) {}
    fn fork(&self) -> Box<dyn Transform> {
        Box::new(self.clone())
    }
}

register_transform! {
    "split",
    summary: "has named outputs",
    options: SplitOptions,
    example: "outputs = [\"a\", \"b\"]",
    build: |options: SplitOptions, _cx: &BuildCx| Ok(Box::new(Split(options))),
}

options! {
    /// Options of `store`.
    pub(crate) struct StoreOptions {
        /// Where the servers are.
        hosts: Vec<String> = vec!["http://127.0.0.1:9200".to_owned()],
        /// Which index to write to.
        index: Option<Template> = None,
        /// Which file to write to.
        path: Option<Template> = None,
        /// Who we are; needs `password`.
        user: Option<String> = None,
        /// The user's password.
        password: Option<Secret> = None,
        /// How long events may wait for others.
        flush_interval: std::time::Duration = std::time::Duration::from_secs(1),
        /// The port to listen on.
        port: Option<u16> = None,
        /// Options of the connection.
        tls: TlsOptions = TlsOptions::defaults(),
    }
}

options! {
    /// Options of a connection.
    pub(crate) struct TlsOptions {
        /// The authority's certificate.
        ca_file: Option<String> = None,
        /// The key of our own certificate.
        key: Option<Secret> = None,
    }
}

struct Store(StoreOptions);

#[async_trait]
impl Sink for Store {
    fn encode(&self, _batch: &Batch, _body: &mut Body) {
        let _ = (
            &self.0.hosts,
            &self.0.index,
            &self.0.path,
            &self.0.password,
            self.0.flush_interval,
            &self.0.tls.ca_file,
            &self.0.tls.key,
        );
    }
    async fn send(&self, _request: &Request) -> Verdicts {
        Verdicts::All(Verdict::Delivered)
    }
    fn claims(&self) -> Vec<String> {
        self.0.port.iter().map(|port| format!("port {port}")).collect()
    }
}

register_sink! {
    "store",
    summary: "keeps events",
    options: StoreOptions,
    example: "hosts = [\"http://es:9200\"]\npassword = \"${ES_PASSWORD}\"",
    build: |options: StoreOptions, _cx: &BuildCx| {
        let mut errors = Vec::new();
        for (index, host) in options.hosts.iter().enumerate() {
            if !host.starts_with("http") {
                errors.push(BuildError::option("hosts", format!("`{host}` is no URL")).at_index(index).label("expected http://..."));
            }
        }
        if options.tls.ca_file.as_deref() == Some("") {
            errors.push(BuildError::option("tls.ca_file", "the name is empty").help("leave it out"));
        }
        if options.user.is_some() && options.password.is_none() {
            errors.push(BuildError::option("user", "`user` has no `password`"));
        }
        if options.port == Some(1) {
            errors.push(BuildError::component("cannot be had today"));
        }
        if errors.is_empty() { Ok(Box::new(Store(options))) } else { Err(errors) }
    },
}
