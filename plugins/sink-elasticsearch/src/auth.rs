//! Who we are: a user and a password, an API key or a token, from the configuration or from files that are read again when
//! they change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flowstone_core::{BuildError, Secret, Verdict, blocking, shown};
use reqwest::header::HeaderValue;

use crate::options::ElasticsearchOptions;

/// The `Authorization` of every request, where there is one.
#[derive(Debug)]
pub(crate) struct Authorization {
    scheme: Scheme,
    secret: Source,
}

/// How a secret is said.
#[derive(Clone, Debug)]
enum Scheme {
    /// The password of this user.
    Basic(String),
    ApiKey,
    Bearer,
}

#[derive(Debug)]
enum Source {
    Text(HeaderValue),
    File(Arc<File>),
}

/// A file that holds a secret alone.
#[derive(Debug)]
struct File {
    path: PathBuf,
    read: Mutex<Read>,
}

/// What was read of it last.
#[derive(Debug, Default)]
struct Read {
    value: Option<HeaderValue>,
    changed: Option<SystemTime>,
    looked: Option<Instant>,
}

/// A file is looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A longer one holds no secret.
const LONGEST: u64 = 64 << 10;

/// The options that name a way to identify ourselves, each with its secret and the file that may hold it.
type Way<'a> = (&'static str, &'a Option<Secret>, &'a Option<PathBuf>);

// === impl Authorization ===

impl Authorization {
    /// The way that the options name, if any.
    pub(crate) fn new(options: &ElasticsearchOptions) -> Result<Option<Self>, Vec<BuildError>> {
        let ways: [Way<'_>; 3] = [
            ("password", &options.password, &options.password_file),
            ("api_key", &options.api_key, &options.api_key_file),
            ("token", &options.token, &options.token_file),
        ];
        let given: Vec<&Way<'_>> =
            ways.iter().filter(|(_, text, file)| text.is_some() || file.is_some()).collect();
        let error =
            |option: &str, what: String, help: &str| vec![BuildError::option(option, what).help(help)];
        let way = match given[..] {
            [] => match &options.user {
                None => return Ok(None),
                Some(_) => {
                    let help = "add `password = \"...\"` or `password_file`";
                    return Err(error("user", "`user` has no `password`".to_owned(), help));
                }
            },
            [way] => way,
            [(first, ..), (second, ..), ..] => {
                let what = format!("both `{first}` and `{second}` are given");
                return Err(error(second, what, "keep one way to identify ourselves"));
            }
        };
        let (name, text, file) = way;
        let scheme = match (*name, &options.user) {
            ("password", Some(user)) => Scheme::Basic(user.clone()),
            ("password", None) => {
                let what = "`password` has no `user`".to_owned();
                return Err(error("password", what, "add `user = \"...\"`"));
            }
            (_, Some(_)) => {
                let what = format!("both `{name}` and a user are given");
                return Err(error(name, what, "keep one way to identify ourselves"));
            }
            ("api_key", None) => Scheme::ApiKey,
            _ => Scheme::Bearer,
        };
        let secret = match (text, file) {
            (Some(_), Some(_)) => {
                let what = format!("both `{name}` and `{name}_file` are given");
                return Err(error(name, what, "keep one of them"));
            }
            (Some(text), None) => match scheme.header(text.expose()) {
                Some(value) => Source::Text(value),
                None => {
                    let what = format!("`{name}` holds characters that no header can carry");
                    return Err(vec![BuildError::option(*name, what)]);
                }
            },
            (None, file) => {
                let path = (*file).clone().unwrap_or_default();
                Source::File(Arc::new(File { path, read: Mutex::default() }))
            }
        };
        Ok(Some(Self { scheme, secret }))
    }

    /// The header as of now. The error is a verdict on all of a request.
    pub(crate) async fn header(&self) -> Result<HeaderValue, Verdict> {
        let file = match &self.secret {
            Source::Text(value) => return Ok(value.clone()),
            Source::File(file) => Arc::clone(file),
        };
        if let Some(value) = file.held() {
            return Ok(value);
        }
        let scheme = self.scheme.clone();
        blocking(move || file.look(&scheme)).await
    }

    /// The server does not know us: a file is looked at before the next request.
    pub(crate) fn refused(&self) {
        if let Source::File(file) = &self.secret {
            file.read().looked = None;
        }
    }
}

// === impl Scheme ===

impl Scheme {
    /// The header, which never shows in a log, not even if a server says it back.
    fn header(&self, secret: &str) -> Option<HeaderValue> {
        match self {
            Self::Basic(user) => {
                shown::hide(secret);
                sensitive(&format!("Basic {}", BASE64.encode(format!("{user}:{secret}"))))
            }
            // `id:api_key` is encoded for the user; base64 has no colon.
            Self::ApiKey if secret.contains(':') => sensitive(&format!("ApiKey {}", BASE64.encode(secret))),
            Self::ApiKey => sensitive(&format!("ApiKey {secret}")),
            Self::Bearer => sensitive(&format!("Bearer {secret}")),
        }
    }
}

/// A header value that never shows in a log, not even if a server says it back.
pub(crate) fn sensitive(text: &str) -> Option<HeaderValue> {
    // `Basic` and `ApiKey` are words like others; what stands behind them is not.
    shown::hide(text.rsplit(' ').next().unwrap_or(text));
    shown::hide(text);
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

// === impl File ===

impl File {
    /// What was read, if the file was looked at a moment ago.
    fn held(&self) -> Option<HeaderValue> {
        let read = self.read();
        read.looked.is_some_and(|at| at.elapsed() < LOOK_EVERY).then(|| read.value.clone()).flatten()
    }

    #[expect(clippy::disallowed_methods, reason = "it is called within `blocking`")]
    fn look(&self, scheme: &Scheme) -> Result<HeaderValue, Verdict> {
        let mut read = self.read();
        let before = read.value.clone();
        let changed = std::fs::metadata(&self.path).and_then(|found| found.modified()).ok();
        read.looked = Some(Instant::now());
        if let (Some(value), true) = (before.clone(), changed.is_some() && changed == read.changed) {
            return Ok(value);
        }
        match (load(&self.path, scheme), before) {
            (Ok(value), _) => {
                (read.value, read.changed) = (Some(value.clone()), changed);
                Ok(value)
            }
            // It is being written anew: what it held is good for as long as the server says so.
            (Err(_), Some(value)) => Ok(value),
            (Err(why), None) => {
                let detail = format!("cannot use {}: {why}", self.path.display());
                Err(Verdict::blocked(
                    "credentials",
                    detail,
                    "put the secret there, alone, and let flowstone read it",
                ))
            }
        }
    }

    fn read(&self) -> std::sync::MutexGuard<'_, Read> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::disallowed_methods, reason = "it is called within `blocking`")]
fn load(path: &Path, scheme: &Scheme) -> Result<HeaderValue, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    std::io::Read::read_to_string(&mut std::io::Read::take(file, LONGEST), &mut text)
        .map_err(|error| error.to_string())?;
    let secret = text.trim_end_matches(['\n', '\r']);
    if secret.is_empty() {
        return Err("it is empty".to_owned());
    }
    scheme.header(secret).ok_or_else(|| "it holds characters that no header can carry".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_file(path: &Path) -> Authorization {
        let mut options = ElasticsearchOptions::defaults();
        options.token_file = Some(path.to_owned());
        Authorization::new(&options).unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_file_is_read_again_when_it_changes_and_one_that_is_gone_for_a_moment_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let token = of_file(&path);
        let Verdict::Blocked { detail, .. } = token.header().await.unwrap_err() else { panic!("blocked") };
        assert!(detail.contains("token"), "{detail}");
        std::fs::write(&path, "first\n").unwrap();
        assert_eq!(token.header().await.unwrap(), "Bearer first");
        std::fs::remove_file(&path).unwrap();
        token.refused();
        assert_eq!(token.header().await.unwrap(), "Bearer first");
        std::fs::write(&path, "second").unwrap();
        token.refused();
        let value = token.header().await.unwrap();
        assert_eq!(value, "Bearer second");
        assert!(value.is_sensitive());
        assert_eq!(shown::scrub("it said second back"), "it said *** back");
    }

    #[test]
    fn one_way_is_kept_and_each_half_needs_the_other() {
        type Set = fn(&mut ElasticsearchOptions);
        let cases: [(Set, &str); 6] = [
            (|o| o.user = Some("joe".into()), "`user` has no `password`"),
            (|o| o.password = Some(Secret::new("x")), "`password` has no `user`"),
            (
                |o| (o.api_key, o.token) = (Some(Secret::new("x")), Some(Secret::new("y"))),
                "both `api_key` and `token`",
            ),
            (
                |o| (o.token, o.token_file) = (Some(Secret::new("x")), Some("y".into())),
                "both `token` and `token_file`",
            ),
            (|o| (o.token, o.user) = (Some(Secret::new("x")), Some("joe".into())), "both `token` and a user"),
            (|o| o.token = Some(Secret::new("a\nb")), "no header can carry"),
        ];
        for (set, said) in cases {
            let mut options = ElasticsearchOptions::defaults();
            set(&mut options);
            let errors = Authorization::new(&options).map(drop).unwrap_err();
            assert!(errors[0].message.contains(said), "{errors:?}");
        }
    }
}
