//! One HTTP client for all requests of the process: TLS by rustls with ring and the system's certificates, proxies as
//! `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say. No reply is read beyond a bound.

use std::sync::LazyLock;
use std::time::Duration;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Connector, ConnectorBuilder};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
    http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use http_body_util::Limited;

/// From no connection to a connection.
pub(super) const CONNECT: Duration = Duration::from_secs(5);
/// From sending a request to the last byte of its answer; a page of 1 MB takes well below a second.
pub(super) const ATTEMPT: Duration = Duration::from_secs(20);

/// Bytes of a good reply at most. A page of events is 1 MB of text and up to 10,000 times some 250 bytes around it, and
/// a byte takes up to six in JSON.
const REPLY: usize = 16 << 20;
/// Bytes of a refusal at most; AWS's have a few kB.
const REFUSAL: usize = 256 << 10;

static CONNECTOR: LazyLock<SharedHttpConnector> = LazyLock::new(|| {
    let settings = HttpConnectorSettings::builder().connect_timeout(CONNECT).build();
    connector_with(settings, ProxyConfig::from_env())
});

/// The connections of all clients.
pub(super) fn connector() -> SharedHttpConnector {
    CONNECTOR.clone()
}

/// The same connections as the SDK takes them.
pub(super) fn client() -> SharedHttpClient {
    http_client_fn(|settings, _components| {
        if settings.connect_timeout() == Some(CONNECT) {
            return connector();
        }
        // The metadata services of an instance, task or pod want timeouts of their own, and no proxy can reach the
        // addresses that they have on this machine. They are asked so seldom that no connection is kept.
        connector_with(settings.clone(), ProxyConfig::disabled())
    })
}

fn connector_with(settings: HttpConnectorSettings, proxies: ProxyConfig) -> SharedHttpConnector {
    let builder: ConnectorBuilder = Connector::builder();
    let builder = builder.tls_provider(Provider::rustls(CryptoMode::Ring));
    SharedHttpConnector::new(Bounded(builder.connector_settings(settings).proxy_config(proxies).build()))
}

/// A connector that fails replies beyond their bound: a server must not fill our memory.
#[derive(Debug)]
struct Bounded<C>(C);

impl<C: HttpConnector> HttpConnector for Bounded<C> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let reply = self.0.call(request);
        HttpConnectorFuture::new(async {
            let reply = reply.await?;
            let most = if reply.status().is_success() { REPLY } else { REFUSAL };
            Ok(reply.map(|body| SdkBody::from_body_1_x(Limited::new(body, most))))
        })
    }
}
