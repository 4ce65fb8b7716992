//! How `https` hosts are checked: by the system's authorities, by ours, by a certificate's fingerprint, or not at all.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use flowstone_core::BuildError;
use reqwest::{Certificate, ClientBuilder, Identity};
use ring::digest::{SHA256, digest};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::client::chain;
use crate::options::TlsOptions;

/// Takes a certificate with this fingerprint, and those that it has signed.
#[derive(Debug)]
struct Pinned {
    sha256: [u8; 32],
    provider: Arc<CryptoProvider>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// A client that checks its servers as the options say.
pub(crate) fn configure(
    mut http: ClientBuilder,
    options: &TlsOptions,
    use_tls: bool,
    errors: &mut Vec<BuildError>,
) -> ClientBuilder {
    let default = options.ca_file.is_none()
        && options.verify
        && options.fingerprint.is_none()
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
    if let Some(text) = &options.fingerprint {
        if options.ca_file.is_some() || !options.verify {
            let error = BuildError::option(
                "tls.fingerprint",
                "`fingerprint` says whom to trust, and so does another option",
            );
            errors.push(error.help("leave out `ca_file` and `verify`"));
            return http;
        }
        return match (fingerprint(text), pair(options, errors)) {
            (Some(sha256), pair) => match pinned(sha256, pair) {
                Ok(config) => http.tls_backend_preconfigured(config),
                Err((option, path, why)) => {
                    errors.push(unreadable(option, path, &why));
                    http
                }
            },
            (None, _) => {
                let error = BuildError::option("tls.fingerprint", "this is no fingerprint of a certificate");
                errors.push(error.label("expected SHA-256 as 64 hexadecimal digits, with or without colons"));
                http
            }
        };
    }
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
    if let Some((cert, key)) = pair(options, errors) {
        match identity(cert, key) {
            Ok(identity) => http = http.identity(identity),
            Err((option, path, why)) => errors.push(unreadable(option, path, &why)),
        }
    }
    http
}

/// Our own certificate and its key, where both are named.
fn pair<'a>(options: &'a TlsOptions, errors: &mut Vec<BuildError>) -> Option<(&'a Path, &'a Path)> {
    match (&options.client_cert, &options.client_key) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some((cert, key)),
        (cert, _) => {
            let (there, missing) =
                if cert.is_some() { ("client_cert", "client_key") } else { ("client_key", "client_cert") };
            let error =
                BuildError::option(format!("tls.{there}"), format!("`{there}` needs `{missing}` beside it"));
            errors.push(error);
            None
        }
    }
}

type Unusable<'a> = (&'static str, &'a Path, String);

/// Certificate and key as one; the error names the option and the file.
fn identity<'a>(cert: &'a Path, key: &'a Path) -> Result<Identity, Unusable<'a>> {
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

/// 64 hexadecimal digits, with or without colons.
fn fingerprint(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = text.bytes().filter(|&byte| byte != b':').collect();
    let mut sha256 = [0; 32];
    if digits.len() != 2 * sha256.len() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    for (byte, pair) in sha256.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(sha256)
}

fn pinned<'a>(sha256: [u8; 32], pair: Option<(&'a Path, &'a Path)>) -> Result<ClientConfig, Unusable<'a>> {
    let provider = Arc::new(crypto::ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let pinned = Arc::new(Pinned { sha256, provider: Arc::clone(&provider), algorithms });
    // The versions are those that this provider has.
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ("tls.fingerprint", Path::new(""), error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(pinned);
    let Some((cert, key)) = pair else { return Ok(builder.with_no_client_auth()) };
    let pem = read_pem(cert).map_err(|why| ("tls.client_cert", cert, why))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.map_err(|error| ("tls.client_cert", cert, error.to_string()))?;
    let pem = read_pem(key).map_err(|why| ("tls.client_key", key, why))?;
    let read =
        PrivateKeyDer::from_pem_slice(&pem).map_err(|error| ("tls.client_key", key, error.to_string()))?;
    builder
        .with_client_auth_cert(certificates, read)
        .map_err(|error| ("tls.client_key", key, error.to_string()))
}

// === impl Pinned ===

impl Pinned {
    fn is_pinned(&self, certificate: &CertificateDer<'_>) -> bool {
        digest(&SHA256, certificate.as_ref()).as_ref() == self.sha256
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // That it has the certificate's key is checked by the signatures below, and its name is no matter then.
        if self.is_pinned(end_entity) {
            return Ok(ServerCertVerified::assertion());
        }
        // An authority that comes with the server's certificate, as Elasticsearch's own does.
        let Some(authority) = intermediates.iter().find(|certificate| self.is_pinned(certificate)) else {
            return Err(Error::InvalidCertificate(CertificateError::UnknownIssuer));
        };
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|error| Error::General(error.to_string()))?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_sixty_four_digits_with_or_without_colons() {
        let plain = "ab".repeat(32);
        let colons = vec!["AB"; 32].join(":");
        assert_eq!(fingerprint(&plain), Some([0xab; 32]));
        assert_eq!(fingerprint(&colons), Some([0xab; 32]));
        for wrong in ["", "ab", &"ab".repeat(20), &"xy".repeat(32)] {
            assert_eq!(fingerprint(wrong), None, "{wrong}");
        }
    }
}
