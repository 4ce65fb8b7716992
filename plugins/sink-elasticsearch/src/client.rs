//! One HTTP request to one of the hosts, and its reply or why there is none. No redirects, no retries.

use std::error::Error as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use flowstone_core::{BuildError, Verdict, shown};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, ClientBuilder, Identity, Method, Url};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::chunks;
use crate::hosts::Hosts;
use crate::options::{AwsService, ElasticsearchOptions, TlsOptions};
use crate::reply::{Bound, LONG, Reply, TooLong};
use crate::signing::Signing;
use crate::verdict::says_no_errors;

/// The cluster: its hosts and how to speak to them.
#[derive(Debug)]
pub(crate) struct Connection {
    hosts: Hosts,
    http: reqwest::Client,
    signing: Option<Signing>,
    /// Long replies are read one at a time, or a server could fill the memory with as many as there are requests.
    long_reply: Arc<Semaphore>,
}

/// A request, whichever host gets it.
#[derive(Debug, Default)]
pub(crate) struct Call<'a> {
    /// The parts of the path; each is escaped.
    pub(crate) path: &'a [&'a str],
    /// The query; values are escaped.
    pub(crate) query: &'a [(&'a str, &'a str)],
    /// The body, in pieces, with its content type.
    pub(crate) body: Option<(&'static str, Vec<Bytes>)>,
    /// Whether the body is compressed.
    pub(crate) gzip: bool,
    /// How many rows a bulk request has.
    pub(crate) rows: Option<usize>,
}

/// A reply that has arrived whole.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The body. Of a bulk reply that begins by saying that there were no errors only the beginning.
    pub(crate) body: Vec<u8>,
    /// Who answered, for messages.
    pub(crate) host: Url,
    /// For which of Amazon's services the request was signed.
    pub(crate) signed: Option<AwsService>,
    /// Held while a long reply is in memory.
    pub(crate) _turn: Option<OwnedSemaphorePermit>,
}

/// What to do about a server that does not answer.
pub(crate) const IS_IT_UP: &str = "is the server up, and the address right?";

// === impl Connection ===

impl Connection {
    /// Reads hosts, credentials and certificates. Opens nothing but the files that the options name.
    pub(crate) fn new(options: &ElasticsearchOptions) -> Result<Self, Vec<BuildError>> {
        let mut errors = Vec::new();
        let signing = options.auth.aws.as_ref().map(|aws| Signing::new(aws, &options.hosts));
        let signing = signing.transpose().map_err(|more| errors.extend(more)).ok().flatten();
        let headers = headers(options, &mut errors);
        let hosts = Hosts::parse(&options.hosts).map_err(|more| errors.extend(more)).ok();
        let use_tls = hosts.as_ref().is_some_and(Hosts::use_tls);
        let http = client_builder(options, headers);
        let http = tls(http, &options.tls, use_tls, &mut errors);
        match (hosts, errors.is_empty()) {
            (Some(hosts), true) => match http.build() {
                Ok(http) => Ok(Self { hosts, http, signing, long_reply: Arc::new(Semaphore::new(1)) }),
                Err(error) => Err(vec![BuildError::component(format!("the HTTP client: {}", chain(&error)))]),
            },
            _ => Err(errors),
        }
    }

    /// How many hosts there are.
    pub(crate) fn host_count(&self) -> usize {
        self.hosts.count()
    }

    /// Sends a request to the next host. The error is a verdict on all of it: no whole reply came.
    pub(crate) async fn call(&self, method: Method, call: Call<'_>) -> Result<Answer, Verdict> {
        let host = self.hosts.pick();
        let mut url = host.url().clone();
        // A prefix alone keeps its slash: without it many a proxy redirects.
        if !call.path.is_empty()
            && let Ok(mut segments) = url.path_segments_mut()
        {
            segments.pop_if_empty().extend(call.path);
        }
        if !call.query.is_empty() {
            url.set_query(Some(&query(call.query)));
        }
        let (content_type, body) = call.body.unzip();
        let body = body.unwrap_or_default();
        let mut headers: Vec<(&str, &str)> = Vec::with_capacity(2);
        headers.extend(content_type.map(|content_type| ("content-type", content_type)));
        headers.extend(call.gzip.then_some(("content-encoding", "gzip")));
        let signed = match &self.signing {
            Some(signing) => Some((signing, signing.sign(&method, &url, &headers, &body).await?)),
            None => None,
        };
        let mut request = self.http.request(method, url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        for (name, value) in signed.iter().flat_map(|(_, signed)| &signed.headers) {
            request = request.header(name, value);
        }
        if content_type.is_some() {
            request = request.body(chunks::body(body));
        }
        let bound = call.rows.map_or_else(Bound::of_admin, Bound::of_rows);
        match self.receive(request, bound).await {
            Ok((status, headers, body, turn)) => {
                self.hosts.wake(host);
                if let (401 | 403, Some((signing, signed))) = (status, &signed) {
                    signing.refused(signed).await;
                }
                let signed = self.signing.as_ref().map(Signing::service);
                Ok(Answer { status, headers, body, host: host.url().clone(), signed, _turn: turn })
            }
            Err(Failure::TooLong) => {
                let detail =
                    format!("{}: the reply is longer than any to such a request should be", host.url());
                // To fewer rows the reply is shorter.
                let several = call.rows.is_some_and(|rows| rows > 1);
                Err(if several {
                    Verdict::split("reply_too_long", detail)
                } else {
                    Verdict::busy("bad_reply", detail)
                })
            }
            Err(Failure::Http(error)) => {
                self.hosts.rest(host);
                let reason = if error.is_timeout() { "timeout" } else { "connection" };
                Err(Verdict::busy(reason, format!("{}: {}; {IS_IT_UP}", host.url(), chain(&error))))
            }
        }
    }

    async fn receive(
        &self,
        request: reqwest::RequestBuilder,
        bound: Bound,
    ) -> Result<(u16, HeaderMap, Vec<u8>, Option<OwnedSemaphorePermit>), Failure> {
        let mut response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), std::mem::take(response.headers_mut()));
        let mut reply = Reply::new(bound);
        let mut settled = false;
        let mut turn = None;
        while let Some(chunk) = response.chunk().await? {
            // Once a bulk reply has said that all is well its items are of no interest, only that it ends.
            if settled {
                reply.skip(chunk.len())?;
                continue;
            }
            // Most replies say it in their first bytes.
            let first = &chunk[..chunk.len().min(128)];
            settled = reply.body().is_empty() && says_no_errors(status, &headers, first);
            reply.push(if settled { first } else { &chunk })?;
            settled = settled || says_no_errors(status, &headers, reply.body());
            if turn.is_none() && reply.body().len() > LONG {
                turn = Arc::clone(&self.long_reply).acquire_owned().await.ok();
            }
        }
        Ok((status, headers, reply.into_body(), turn))
    }
}

/// A query, escaped as signatures have it: what is neither a letter, a digit nor one of `-_.~`.
fn query(parts: &[(&str, &str)]) -> String {
    const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    let escaped = |text| utf8_percent_encode(text, ESCAPED);
    let parts: Vec<String> =
        parts.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
    parts.join("&")
}

enum Failure {
    Http(reqwest::Error),
    TooLong,
}

impl From<TooLong> for Failure {
    fn from(_: TooLong) -> Self {
        Self::TooLong
    }
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        // The URL is in the message already, as the host's.
        Self::Http(error.without_url())
    }
}

/// An error and its causes in one line. reqwest's own text says only that something went wrong while sending.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    text
}

fn client_builder(options: &ElasticsearchOptions, headers: HeaderMap) -> ClientBuilder {
    // `flowstone::main` installs the provider first thing; a test or a program of one's own may not have.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Somebody else may be installing one at this moment: then there is one.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    reqwest::Client::builder()
        .user_agent(concat!("flowstone/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .timeout(options.request_timeout)
        .connect_timeout(options.request_timeout.min(Duration::from_secs(10)))
        // Load balancers forget idle connections after 60 s or more without a word.
        .pool_idle_timeout(Duration::from_secs(50))
        .pool_max_idle_per_host(options.max_concurrency)
        .tcp_keepalive(Duration::from_secs(30))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
}

fn headers(options: &ElasticsearchOptions, errors: &mut Vec<BuildError>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &options.headers {
        match (name.parse::<HeaderName>(), secret(value.expose())) {
            (Ok(header), Some(value)) => {
                headers.insert(header, value);
            }
            (Err(_), _) => {
                let error = BuildError::option("headers", format!("`{name}` is no name of a header"));
                errors.push(error.label("expected letters, digits and `-`"));
            }
            (Ok(_), None) => {
                let error = BuildError::option(
                    "headers",
                    format!("the value of `{name}` cannot be sent in a header"),
                );
                errors.push(error.label("expected printable characters of ASCII"));
            }
        }
    }
    if options.auth.aws.is_some() {
        let others = [options.user.is_some(), options.password.is_some(), options.api_key.is_some()];
        if others.contains(&true) || headers.contains_key(AUTHORIZATION) {
            let error =
                BuildError::option("auth.aws", "requests are signed, and other credentials are given");
            errors.push(error.help("keep one way to identify ourselves"));
        }
        return headers;
    }
    let authorization = match (&options.user, &options.password, &options.api_key) {
        (None, None, None) => return headers,
        (None, None, Some(key)) => {
            // `id:api_key` is encoded for the user; base64 has no colon.
            let key = key.expose();
            format!("ApiKey {}", if key.contains(':') { BASE64.encode(key) } else { key.to_owned() })
        }
        (Some(user), Some(password), None) => {
            format!("Basic {}", BASE64.encode(format!("{user}:{}", password.expose())))
        }
        (Some(_), None, None) => {
            errors.push(
                BuildError::option("user", "`user` has no `password`").help("add `password = \"...\"`"),
            );
            return headers;
        }
        (None, Some(_), None) => {
            errors.push(
                BuildError::option("password", "`password` has no `user`").help("add `user = \"...\"`"),
            );
            return headers;
        }
        (_, _, Some(_)) => {
            let error = BuildError::option("api_key", "both an API key and a user or password are given");
            errors.push(error.help("keep one way to identify ourselves"));
            return headers;
        }
    };
    match secret(&authorization) {
        Some(value) if !headers.contains_key(AUTHORIZATION) => {
            headers.insert(AUTHORIZATION, value);
        }
        Some(_) => {
            let error =
                BuildError::option("headers", "`headers` sets `Authorization` beside the credentials");
            errors.push(error.help("keep one way to identify ourselves"));
        }
        None => errors
            .push(BuildError::option("api_key", "the API key holds characters that no header can carry")),
    }
    headers
}

/// A header value that never shows in a log, not even if a server says it back.
fn secret(text: &str) -> Option<HeaderValue> {
    // `Basic` and `ApiKey` are words like others; what stands behind them is not.
    shown::hide(text.rsplit(' ').next().unwrap_or(text));
    shown::hide(text);
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn tls(
    http: ClientBuilder,
    options: &TlsOptions,
    use_tls: bool,
    errors: &mut Vec<BuildError>,
) -> ClientBuilder {
    let default = options.ca_file.is_none()
        && options.verify
        && options.client_cert.is_none()
        && options.client_key.is_none();
    if !use_tls {
        if !default {
            let error = BuildError::option("tls", "`tls` is set, but no host begins with `https://`");
            errors.push(error.help("write `https://` in `hosts`, or leave `tls` out"));
        }
        // Without this the system's certificates would be read, for nothing.
        return http.tls_certs_only([]);
    }
    let mut http = http;
    if let Some(path) = &options.ca_file {
        match read_pem(path).and_then(|pem| Certificate::from_pem_bundle(&pem).map_err(|error| chain(&error)))
        {
            Ok(certificates) if !certificates.is_empty() => http = http.tls_certs_only(certificates),
            Ok(_) => errors.push(unreadable("tls.ca_file", path, "it holds no certificate")),
            Err(why) => errors.push(unreadable("tls.ca_file", path, &why)),
        }
    }
    if !options.verify {
        http = http.tls_danger_accept_invalid_certs(true);
    }
    match (&options.client_cert, &options.client_key) {
        (None, None) => {}
        (Some(cert), Some(key)) => match identity(cert, key) {
            Ok(identity) => http = http.identity(identity),
            Err((option, path, why)) => errors.push(unreadable(option, path, &why)),
        },
        (cert, _) => {
            let (there, missing) =
                if cert.is_some() { ("client_cert", "client_key") } else { ("client_key", "client_cert") };
            let error =
                BuildError::option(format!("tls.{there}"), format!("`{there}` needs `{missing}` beside it"));
            errors.push(error);
        }
    }
    http
}

/// Certificate and key as one; the error names the option and the file.
fn identity<'a>(cert: &'a Path, key: &'a Path) -> Result<Identity, (&'static str, &'a Path, String)> {
    let mut pem = read_pem(cert).map_err(|why| ("tls.client_cert", cert, why))?;
    pem.push(b'\n');
    pem.extend(read_pem(key).map_err(|why| ("tls.client_key", key, why))?);
    Identity::from_pem(&pem).map_err(|error| ("tls.client_key", key, chain(&error)))
}

#[expect(clippy::disallowed_methods, reason = "read once, when the sink is built")]
fn read_pem(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| error.to_string())
}

fn unreadable(option: &str, path: &Path, why: &str) -> BuildError {
    BuildError::option(option, format!("cannot use {}: {why}", path.display())).label("expected a PEM file")
}
