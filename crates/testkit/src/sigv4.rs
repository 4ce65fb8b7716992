//! Signature Version 4, verified as AWS does it: written after AWS's description of it, on bytes as they came, and sharing
//! nothing with what signs.

use std::collections::HashMap;
use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::http::{Reply, Request};

/// Whose signatures are good, and for what.
#[derive(Clone, Debug)]
pub struct Verifier {
    /// Secret access keys by their ids.
    pub keys: HashMap<String, String>,
    /// `eu-west-1`.
    pub region: String,
    /// `es`, `aoss`.
    pub service: String,
    /// The time here, in seconds since the epoch.
    pub now: fn() -> i64,
}

/// Signatures are good for so many seconds, before and after.
const GOOD_FOR: i64 = 300;

// === impl Verifier ===

impl Verifier {
    /// Nothing, if the request is signed well, or what AWS would answer.
    ///
    /// # Errors
    /// The reply to send: 403 with AWS's words.
    pub fn verify(&self, request: &Request) -> Result<(), Reply> {
        self.judge(request).map_err(|message| Reply::json(403, serde_json::json!({ "message": message })))
    }

    fn judge(&self, request: &Request) -> Result<(), String> {
        let authorization = request.header("authorization").ok_or("Missing Authentication Token")?;
        let fields = authorization.strip_prefix("AWS4-HMAC-SHA256 ").ok_or_else(|| {
            format!("'{authorization}' not a valid key=value pair in Authorization header.")
        })?;
        let field = |name: &str| {
            let found =
                fields.split(',').find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='));
            found.ok_or_else(|| format!("Authorization header requires '{name}' parameter."))
        };
        let (credential, signed, signature) =
            (field("Credential")?, field("SignedHeaders")?, field("Signature")?);
        let scope: Vec<&str> = credential.split('/').collect();
        let [key, day, region, service, "aws4_request"] = scope[..] else {
            return Err(format!("Credential '{credential}' has no scope."));
        };
        let Some(secret) = self.keys.get(key) else {
            return Err("The security token included in the request is invalid.".to_owned());
        };
        if region != self.region {
            return Err(format!("Credential should be scoped to a valid region, not '{region}'."));
        }
        if service != self.service {
            return Err(format!("Credential should be scoped to correct service: '{}'.", self.service));
        }
        let time =
            request.header("x-amz-date").ok_or("Authorization header requires existence of 'X-Amz-Date'.")?;
        let at =
            seconds_of(time).filter(|_| time.starts_with(day)).ok_or("Date in Credential scope is wrong.")?;
        let now = (self.now)();
        if at < now - GOOD_FOR {
            return Err(format!("Signature expired: {time} is now earlier than {} s ago.", GOOD_FOR));
        }
        if at > now + GOOD_FOR {
            return Err(format!("Signature not yet current: {time} is still later than in {} s.", GOOD_FOR));
        }
        let names: Vec<&str> = signed.split(';').collect();
        if !names.contains(&"host") || names.iter().any(|name| request.header(name).is_none()) {
            return Err("'Host' or a header that is signed must be present.".to_owned());
        }
        let body = hex(&Sha256::digest(&request.body));
        let said = request.header("x-amz-content-sha256");
        // Serverless wants it, signed.
        if said.is_none_or(|_| !names.contains(&"x-amz-content-sha256")) && self.service == "aoss" {
            return Err("x-amz-content-sha256 is missing.".to_owned());
        }
        if said.is_some_and(|said| said != body) {
            return Err(
                "The provided 'x-amz-content-sha256' header does not match what was computed.".to_owned()
            );
        }
        let scope = scope[1..].join("/");
        let canonical = canonical(request, &names, &body);
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(&canonical)));
        let mut signing = format!("AWS4{secret}").into_bytes();
        for part in [day, region, service, "aws4_request"] {
            signing = mac(&signing, part);
        }
        if hex(&mac(&signing, &text)) == signature {
            return Ok(());
        }
        Err("The request signature we calculated does not match the signature you provided. Check your AWS Secret Access \
             Key and signing method."
            .to_owned())
    }
}

/// The canonical request.
fn canonical(request: &Request, names: &[&str], body_sha256: &str) -> String {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let mut parts: Vec<(String, String)> = query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(name, value)| (escaped(&unescaped(name), b""), escaped(&unescaped(value), b"")))
        .collect();
    parts.sort();
    let query: Vec<String> = parts.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut headers = String::new();
    for name in names {
        let values: Vec<String> = request
            .headers
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        writeln!(headers, "{name}:{}", values.join(",")).ok();
    }
    // All services but S3 escape the path, which is escaped already, once more.
    let path = escaped(normal(path).as_bytes(), b"/");
    format!("{}\n{path}\n{}\n{headers}\n{}\n{body_sha256}", request.method, query.join("&"), names.join(";"))
}

/// A path without `.`, `..` and empty parts.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let end = if path.ends_with('/') && !parts.is_empty() { "/" } else { "" };
    format!("/{}{end}", parts.join("/"))
}

fn unescaped(text: &str) -> Vec<u8> {
    let (bytes, mut out) = (text.as_bytes(), Vec::new());
    let mut at = 0;
    while at < bytes.len() {
        let code = text.get(at + 1..at + 3).and_then(|code| u8::from_str_radix(code, 16).ok());
        match (bytes[at], code) {
            (b'%', Some(code)) => {
                out.push(code);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

fn escaped(bytes: &[u8], also: &[u8]) -> String {
    let mut out = String::new();
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || also.contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").ok();
        }
    }
    out
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length will do");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").ok();
        out
    })
}

/// `20150830T123600Z` in seconds since the epoch.
fn seconds_of(time: &str) -> Option<i64> {
    let (day, clock) = time.strip_suffix('Z')?.split_once('T')?;
    if day.len() != 8 || clock.len() != 6 || !day.is_ascii() || !clock.is_ascii() {
        return None;
    }
    let iso = format!(
        "{}-{}-{}T{}:{}:{}Z",
        &day[..4],
        &day[4..6],
        &day[6..],
        &clock[..2],
        &clock[2..4],
        &clock[4..]
    );
    flowstone_event::parse_iso_millis(&iso).map(|millis| millis / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    const HOST: &str = "example.amazonaws.com";
    const TIME: &str = "20150830T123600Z";

    fn verifier() -> Verifier {
        Verifier {
            keys: HashMap::from([("AKIDEXAMPLE".to_owned(), KEY.to_owned())]),
            region: "us-east-1".to_owned(),
            service: "service".to_owned(),
            now: || seconds_of(TIME).unwrap(),
        }
    }

    fn request(method: &str, path: &str, more: &[(&str, &str)], signed: &str, signature: &str) -> Request {
        let mut request = Request { method: method.into(), path: path.into(), ..Request::default() };
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders={signed}, \
             Signature={signature}"
        );
        let own = [("Host", HOST), ("X-Amz-Date", TIME), ("Authorization", &authorization)];
        own.iter().chain(more).for_each(|(name, value)| request.headers.push(*name, *value));
        request
    }

    /// Requests of AWS's own test suite for signers ("Signature Version 4 test suite"), as signed there.
    #[test]
    fn awss_test_vectors_are_good_and_nothing_else_is() {
        let plain = "host;x-amz-date";
        let token = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";
        let unreserved = "/?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=\
                          -._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, &'a str);
        let cases: [Case<'_>; 8] = [
            ("GET", "/", &[], plain, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            (
                "GET",
                unreserved,
                &[],
                plain,
                "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
            ),
            ("GET", "/ሴ", &[], plain, "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
            (
                "GET",
                "/?ሴ=bar",
                &[],
                plain,
                "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
            ),
            (
                "GET",
                "/?Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
                &[],
                plain,
                "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
            ),
            (
                "GET",
                "/",
                &[("X-Amz-Security-Token", token)],
                "host;x-amz-date;x-amz-security-token",
                "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8",
            ),
            (
                "GET",
                "/",
                &[("My-Header1", " value1"), ("My-Header2", " \"a   b   c\"")],
                "host;my-header1;my-header2;x-amz-date",
                "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
            ),
            (
                "POST",
                "/?Param1=value1",
                &[],
                plain,
                "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
            ),
        ];
        for (method, path, more, signed, signature) in cases {
            let good = request(method, path, more, signed, signature);
            assert_eq!(verifier().judge(&good), Ok(()), "{method} {path}");
            let refused = |request: &Request| verifier().judge(request).unwrap_err();
            let other = Request { path: format!("/x{path}"), ..good.clone() };
            assert!(refused(&other).contains("does not match"), "{method} {path}");
            let other = Request { method: "PUT".to_owned(), ..good.clone() };
            assert!(refused(&other).contains("does not match"), "{method} {path}");
            let other = Request { body: b"x".to_vec(), ..good.clone() };
            assert!(refused(&other).contains("does not match"), "{method} {path}");
        }
    }

    #[test]
    fn each_refusal_has_awss_words() {
        let signature = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
        let good = request("GET", "/", &[], "host;x-amz-date", signature);
        let late: fn() -> i64 = || seconds_of(TIME).unwrap() + 301;
        let early: fn() -> i64 = || seconds_of(TIME).unwrap() - 301;
        for (change, said) in [
            (Verifier { region: "eu-west-1".to_owned(), ..verifier() }, "a valid region, not 'us-east-1'"),
            (Verifier { service: "es".to_owned(), ..verifier() }, "correct service: 'es'"),
            (
                Verifier { keys: HashMap::new(), ..verifier() },
                "security token included in the request is invalid",
            ),
            (Verifier { now: late, ..verifier() }, "Signature expired: 20150830T123600Z"),
            (Verifier { now: early, ..verifier() }, "Signature not yet current"),
        ] {
            let refused = change.judge(&good).unwrap_err();
            assert!(refused.contains(said), "{refused}");
        }
        assert_eq!(verifier().judge(&Request::default()), Err("Missing Authentication Token".to_owned()));
    }
}
