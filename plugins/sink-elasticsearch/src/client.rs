//! One HTTP request to one of the hosts, and its reply or why there is none. No redirects, no retries.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flowstone_core::{BuildError, Verdict, shown};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName};
use reqwest::{ClientBuilder, Method, Proxy, Url};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::auth::{Authorization, sensitive};
use crate::chunks;
use crate::hosts::Hosts;
use crate::options::{AwsService, ElasticsearchOptions};
use crate::reply::{Bound, LONG, Reply, TooLong};
use crate::signing::Signing;
use crate::tls;
use crate::verdict::says_no_errors;

/// The cluster: its hosts and how to speak to them.
#[derive(Debug)]
pub(crate) struct Connection {
    hosts: Hosts,
    http: reqwest::Client,
    authorization: Option<Authorization>,
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
        let texts = options.host_texts().unwrap_or_else(|error| {
            errors.push(error);
            Vec::new()
        });
        let hosts = match Hosts::parse(&texts) {
            _ if !errors.is_empty() => None,
            Ok(hosts) => Some(hosts),
            Err(more) => {
                errors.extend(more);
                None
            }
        };
        let signing = options.auth.aws.as_ref().map(|aws| Signing::new(aws, &texts)).transpose();
        let signing = signing.map_err(|more| errors.extend(more)).ok().flatten();
        let authorization = Authorization::new(options).map_err(|more| errors.extend(more)).ok().flatten();
        let headers = headers(options, &mut errors);
        let ways = [signing.is_some(), authorization.is_some(), headers.contains_key(AUTHORIZATION)];
        if ways.iter().filter(|given| **given).count() > 1 {
            let option = if signing.is_some() { "auth.aws" } else { "headers" };
            let error = BuildError::option(option, "there are two ways to identify ourselves");
            errors.push(
                error.help(
                    "keep one: a user, an API key, a token, `auth.aws` or `headers` with `Authorization`",
                ),
            );
        }
        let use_tls = hosts.as_ref().is_some_and(Hosts::use_tls);
        let http = proxied(client_builder(options, headers), options, &mut errors);
        let http = tls::configure(http, &options.tls, use_tls, &mut errors);
        match (hosts, errors.is_empty()) {
            (Some(hosts), true) => match http.build() {
                Ok(http) => {
                    Ok(Self { hosts, http, authorization, signing, long_reply: Arc::new(Semaphore::new(1)) })
                }
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
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.header().await?);
        }
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
                // A gateway whose server is down answers in its place.
                match status {
                    502..=504 => self.hosts.rest(host),
                    _ => self.hosts.wake(host),
                }
                if let (401 | 403, Some(authorization)) = (status, &self.authorization) {
                    authorization.refused();
                }
                if let (401 | 403, Some((signing, signed))) = (status, &signed) {
                    signing.refused(signed).await;
                }
                let signed = self.signing.as_ref().map(Signing::service);
                Ok(Answer { status, headers, body, host: host.url().clone(), signed, _turn: turn })
            }
            Err(NoReply::TooLong) => {
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
            Err(NoReply::Http(error)) => {
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
    ) -> Result<(u16, HeaderMap, Vec<u8>, Option<OwnedSemaphorePermit>), NoReply> {
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

enum NoReply {
    Http(reqwest::Error),
    TooLong,
}

impl From<TooLong> for NoReply {
    fn from(_: TooLong) -> Self {
        Self::TooLong
    }
}

impl From<reqwest::Error> for NoReply {
    fn from(error: reqwest::Error) -> Self {
        // The URL is in the message already, as the host's.
        Self::Http(error.without_url())
    }
}

/// An error and its causes in one line. reqwest's own text says only that something went wrong while sending.
pub(crate) fn chain(error: &reqwest::Error) -> String {
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
        match (name.parse::<HeaderName>(), sensitive(value.expose())) {
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
    headers
}

/// Through the proxy that the options name. Without one the environment's `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` count.
fn proxied(
    http: ClientBuilder,
    options: &ElasticsearchOptions,
    errors: &mut Vec<BuildError>,
) -> ClientBuilder {
    let Some(proxy) = &options.proxy else { return http };
    let text = proxy.expose();
    if text.is_empty() {
        return http.no_proxy();
    }
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if let Some(password) = url.as_ref().and_then(Url::password) {
        shown::hide(password);
    }
    match url.and_then(|url| Proxy::all(url).ok()) {
        Some(proxy) => http.proxy(proxy),
        None => {
            let error = BuildError::option("proxy", "this is no URL of a proxy");
            errors.push(error.label("expected `http://[USER:PASSWORD@]HOST:PORT`, or \"\" for none"));
            http
        }
    }
}
