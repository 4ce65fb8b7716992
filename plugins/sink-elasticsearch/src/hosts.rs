//! The servers of a cluster, taken in turn; one that cannot be reached is left out for a while.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use flowstone_core::BuildError;
use reqwest::Url;

/// How long a host that could not be reached is left out: long enough that a dead one costs no throughput (each
/// attempt may take the whole connect time-out), short enough that a restarted one is back before anybody wonders.
const REST: Duration = Duration::from_secs(10);

/// The hosts and which of them are resting.
#[derive(Debug)]
pub(crate) struct Hosts {
    hosts: Vec<Host>,
    next: AtomicUsize,
    epoch: Instant,
}

/// One server.
#[derive(Debug)]
pub(crate) struct Host {
    url: Url,
    /// Milliseconds since [`Hosts::epoch`] until which it is left out; 0 when it is not.
    rests_until: AtomicU64,
}

// === impl Hosts ===

impl Hosts {
    /// Reads the option `hosts`.
    pub(crate) fn parse(hosts: &[String]) -> Result<Self, Vec<BuildError>> {
        let mut errors = Vec::new();
        let mut urls: Vec<Url> = Vec::new();
        for (index, text) in hosts.iter().enumerate() {
            match read(text) {
                Ok(url) if urls.contains(&url) => {
                    errors.push(
                        BuildError::option("hosts", format!("`{text}` is listed twice")).at_index(index),
                    );
                }
                Ok(url) => urls.push(url),
                Err((message, label)) => {
                    errors.push(BuildError::option("hosts", message).at_index(index).label(label));
                }
            }
        }
        if hosts.is_empty() {
            errors.push(BuildError::option("hosts", "`hosts` is empty").label("expected at least one URL"));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let hosts = urls.into_iter().map(|url| Host { url, rests_until: AtomicU64::new(0) }).collect();
        Ok(Self { hosts, next: AtomicUsize::new(0), epoch: Instant::now() })
    }

    /// The next host in turn that is not resting; when all are, the one that has rested longest.
    pub(crate) fn pick(&self) -> &Host {
        let now = self.now();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let in_turn =
            (0..self.hosts.len()).map(|offset| &self.hosts[first.wrapping_add(offset) % self.hosts.len()]);
        let rests_until = |host: &&Host| host.rests_until.load(Ordering::Relaxed);
        let awake = in_turn.clone().find(|host| rests_until(host) <= now);
        awake.or_else(|| in_turn.min_by_key(rests_until)).unwrap_or(&self.hosts[0])
    }

    /// It could not be reached: leave it out for a while.
    pub(crate) fn rest(&self, host: &Host) {
        host.rests_until.store(self.now() + REST.as_millis() as u64, Ordering::Relaxed);
    }

    /// It answered.
    pub(crate) fn wake(&self, host: &Host) {
        host.rests_until.store(0, Ordering::Relaxed);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.hosts.len()
    }

    /// Whether any of them is spoken to over TLS.
    pub(crate) fn use_tls(&self) -> bool {
        self.hosts.iter().any(|host| host.url.scheme() == "https")
    }

    fn now(&self) -> u64 {
        self.epoch.elapsed().as_millis() as u64 + 1
    }
}

// === impl Host ===

impl Host {
    /// Its URL, with a slash at the end of the path.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }
}

/// A URL as the user wrote it; the error is what is wrong and what was expected.
fn read(text: &str) -> Result<Url, (String, String)> {
    const EXPECTED: &str = "expected a URL such as `http://es1:9200`";
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let invalid = |why: String| (format!("`{text}` is no URL of a server: {why}"), EXPECTED.to_owned());
    let mut url = Url::parse(&with_scheme).map_err(|error| invalid(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid(format!("`{}` is neither http nor https", url.scheme())));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // The text itself is not repeated: it holds the password.
        return Err((
            "a host cannot carry a user and a password".to_owned(),
            "expected `http://HOST:PORT`, with the options `user` and `password` beside `hosts`".to_owned(),
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("it has a query".to_owned()));
    }
    // An explicit `:80` is gone from a parsed URL, so the text decides whether a port was given.
    let authority = with_scheme.split("://").nth(1).unwrap_or_default();
    let authority = &authority[..authority.find('/').unwrap_or(authority.len())];
    let port_given =
        authority.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    if url.scheme() == "http" && !port_given {
        url.set_port(Some(9200)).map_err(|()| invalid("it has no host".to_owned()))?;
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(texts: &[&str]) -> Hosts {
        Hosts::parse(&texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn urls_are_read_with_the_ports_that_servers_listen_on() {
        for (text, expect) in [
            ("http://es1", "http://es1:9200/"),
            ("es1", "http://es1:9200/"),
            ("es1:9201", "http://es1:9201/"),
            ("http://es1:80", "http://es1/"),
            ("http://[::1]", "http://[::1]:9200/"),
            ("http://[::1]:9201", "http://[::1]:9201/"),
            ("https://search.example.com", "https://search.example.com/"),
            ("https://es1:9200/prefix", "https://es1:9200/prefix/"),
        ] {
            assert_eq!(read(text).unwrap().as_str(), expect, "{text}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused_and_no_password_is_repeated() {
        for text in ["", "http://", "ftp://x", "http://x?a=b", "http://x:port", "http://joe:secret@x:9200"] {
            let (message, label) = read(text).unwrap_err();
            assert!(!message.contains("secret") && !label.contains("secret"), "{message} {label}");
            assert!(label.contains("expected"), "{text}");
        }
        assert!(Hosts::parse(&[]).is_err());
        let twice =
            Hosts::parse(&["http://x".to_owned(), "http://y".to_owned(), "x:9200".to_owned()]).unwrap_err();
        assert_eq!(twice[0].index, Some(2));
    }

    #[test]
    fn hosts_are_taken_in_turn_and_resting_ones_left_out() {
        let hosts = hosts(&["a", "b", "c"]);
        let picked = |count: usize| -> String {
            (0..count).map(|_| hosts.pick().url().host_str().unwrap().to_owned()).collect()
        };
        assert_eq!(picked(6), "abcabc");
        hosts.rest(&hosts.hosts[1]);
        assert!(!picked(6).contains('b'));
        hosts.wake(&hosts.hosts[1]);
        assert!(picked(3).contains('b'));
    }

    #[test]
    fn when_all_rest_the_one_that_rested_longest_is_tried() {
        let hosts = hosts(&["a", "b"]);
        hosts.hosts[0].rests_until.store(u64::MAX, Ordering::Relaxed);
        hosts.hosts[1].rests_until.store(u64::MAX - 1, Ordering::Relaxed);
        for _ in 0..3 {
            assert_eq!(hosts.pick().url().host_str(), Some("b"));
        }
    }
}
