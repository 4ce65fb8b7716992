//! Finds the JDKs of this machine, by their homes.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A JDK, not only a runtime: servers are prepared with its compiler.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Jdk {
    pub(super) major: u32,
    pub(super) home: PathBuf,
}

/// The oldest JDK that is new enough: servers were made for the Java of their day. From 21 on `JDK21` goes
/// before all others.
pub(super) fn at_least(major: u32) -> Result<Jdk, String> {
    let mut found: Vec<Jdk> = homes().iter().filter_map(|home| jdk(home)).collect();
    found.sort();
    if let Some(home) = std::env::var_os("JDK21").filter(|home| !home.is_empty() && major >= 21) {
        let home = PathBuf::from(home);
        return jdk(&home)
            .filter(|jdk| jdk.major >= major)
            .ok_or_else(|| format!("JDK21={} is not the home of a JDK {major} or later", home.display()));
    }
    match found.into_iter().find(|jdk| jdk.major >= major) {
        Some(jdk) => Ok(jdk),
        None if major <= 17 => {
            Err("install a JDK 17 or later, for example Debian's openjdk-17-jdk-headless".to_owned())
        }
        None => Err(format!(
            "install a JDK {major} or later, for example openjdk-21-jdk-headless or temurin-25-jdk, or set JDK21"
        )),
    }
}

impl Jdk {
    pub(super) fn tool(&self, name: &str) -> PathBuf {
        self.home.join("bin").join(name)
    }
}

fn homes() -> Vec<PathBuf> {
    let mut homes: Vec<PathBuf> =
        ["JAVA_HOME", "JDK21"].iter().filter_map(std::env::var_os).map(PathBuf::from).collect();
    if let Ok(entries) = std::fs::read_dir("/usr/lib/jvm") {
        homes.extend(entries.flatten().map(|entry| entry.path()));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    for dir in std::env::split_paths(&path) {
        // bin/javac is often a link out of /usr/bin into the home
        if let Ok(javac) = dir.join("javac").canonicalize() {
            homes.extend(javac.ancestors().nth(2).map(Path::to_owned));
        }
    }
    homes
}

fn jdk(home: &Path) -> Option<Jdk> {
    let home = home.canonicalize().ok()?;
    let tools = ["java", "javac", "jar"];
    if !tools.iter().all(|tool| home.join("bin").join(tool).exists()) {
        return None;
    }
    let release = std::fs::read_to_string(home.join("release")).unwrap_or_default();
    let version = release.lines().find_map(|line| line.strip_prefix("JAVA_VERSION=")).map(str::to_owned);
    let version = version.or_else(|| {
        let output = Command::new(home.join("bin/javac")).arg("-version").output().ok()?;
        String::from_utf8(output.stdout).ok()?.split(' ').nth(1).map(str::to_owned)
    })?;
    Some(Jdk { major: major(&version)?, home })
}

/// 17 of `"17.0.15"`, 8 of `1.8.0_402`.
fn major(version: &str) -> Option<u32> {
    let mut numbers = version.trim().trim_matches('"').split(|c: char| !c.is_ascii_digit());
    match numbers.next()?.parse().ok()? {
        1 => numbers.next()?.parse().ok(),
        major => Some(major),
    }
}

#[cfg(test)]
mod tests {
    use super::major;

    #[test]
    fn a_version_of_java_has_its_major_number_first_or_second() {
        let cases = [
            ("\"17.0.15\"", Some(17)),
            ("25", Some(25)),
            ("1.8.0_402", Some(8)),
            ("25-ea", Some(25)),
            ("", None),
        ];
        for (version, expected) in cases {
            assert_eq!(major(version), expected, "{version}");
        }
    }
}
