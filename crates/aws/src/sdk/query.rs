//! Requests of AWS's query protocol: a form, signed, answered in XML.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningParams, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::http::HttpConnector as _;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;

use super::endpoint::Service;
use super::fault::Call;
use super::{http, replies};
use crate::{ApiError, ErrorKind};

const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// The form of a request: its parameters, in their order.
pub(super) struct Form(String);

impl Form {
    pub(super) fn new(action: &str, version: &str) -> Self {
        Self(String::new()).with("Action", action).with("Version", version)
    }

    #[must_use]
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        let and = if self.0.is_empty() { "" } else { "&" };
        self.0.extend([and, name, "="]); // names are letters, digits and dots
        self.0.extend(form_urlencoded::byte_serialize(value.as_bytes()));
        self
    }
}

/// Sends one request and gives the text of its good reply. The caller bounds the time.
pub(super) async fn send(
    call: &Call<'_>,
    service: Service,
    region: &str,
    form: Form,
) -> Result<String, ApiError> {
    let request = signed(call, service, region, &form.0)
        .map_err(|e| ApiError::new(call.operation, ErrorKind::Invalid, "", e.to_string()))?;
    let response = http::connector().call(request).await.map_err(|e| call.of_connector(&e))?;
    let status = response.status();
    let body = ByteStream::new(response.into_body()).collect().await;
    let body = body.map_err(|e| call.unreadable(&e.to_string()))?;
    let text = String::from_utf8_lossy(&body.into_bytes()).into_owned();
    if !status.is_success() {
        let (code, message) = replies::refusal(&text);
        return Err(call.refused(status.as_u16(), &code, &message));
    }
    Ok(text)
}

fn signed(
    call: &Call<'_>,
    service: Service,
    region: &str,
    body: &str,
) -> Result<HttpRequest, Box<dyn std::error::Error + Send + Sync>> {
    let url = format!("{}/", call.endpoint.url);
    let identity = Credentials::clone(call.credentials).into();
    let params: SigningParams<'_> = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service.name())
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()?
        .into();
    let headers = [("content-type", FORM)];
    let signable =
        SignableRequest::new("POST", &url, headers.into_iter(), SignableBody::Bytes(body.as_bytes()))?;
    let (instructions, _signature) = sign(signable, &params)?.into_parts();

    let mut request = HttpRequest::new(SdkBody::from(body));
    request.set_method("POST")?;
    request.set_uri(url)?;
    let user_agent = concat!("flowstone/", env!("CARGO_PKG_VERSION"));
    for (name, value) in headers.into_iter().chain([("user-agent", user_agent)]).chain(instructions.headers())
    {
        request.headers_mut().insert(name.to_owned(), value.to_owned());
    }
    Ok(request)
}
