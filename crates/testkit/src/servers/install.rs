//! Lays out a server in the cache folder: jars by Maven and our launcher by `javac`, or a virtual environment by `pip`.
//!
//! The folder's name ends with a fingerprint of everything that goes into it, so a change makes a new folder and
//! never pulls one away from under a running node. `.complete` is written last; a lock keeps two processes from
//! preparing the same server.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::jdk::{self, Jdk};
use super::{Family, Installed, Missing, Needs, ServerSpec};

const LAUNCHER: &str = include_str!("../../java/Launcher.java");
const SIX: &str = include_str!("../../java/Six.java");
const ROOT_HANDLER: &str = include_str!("../../java/RootHandler.java");
const ROOT_PLUGIN_8: &str = include_str!("../../java/RootPlugin8.java");
const ROOT_PLUGIN_9: &str = include_str!("../../java/RootPlugin9.java");
const LOG4J2: &str = include_str!("../../java/log4j2.properties");
const LOG4J2_SIX: &str = include_str!("../../java/log4j2-six.properties");
const NETTY_MODULE: &str = include_str!("../../java/transport-netty4.properties");
const ROOT_MODULE: &str = include_str!("../../java/rest-root.properties");
const LAUNCHER_PY: &str = include_str!("../../python/launcher.py");
const MAVEN_PLUGIN: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies";

pub(super) fn install(spec: &'static ServerSpec) -> Result<Installed, Missing> {
    let missing = |why: String| Missing { spec, why };
    let root = root().map_err(missing)?;
    let sources = sources(spec);
    let dir = root.join(format!("{}-{}-{:08x}", spec.name, spec.version, fingerprint(spec, &sources) as u32));
    let program = match spec.needs {
        Needs::Java(major) => {
            let jdk = jdk::at_least(major).map_err(missing)?;
            let jars = || jars(spec, &jdk, &major.to_string(), &root, &dir);
            prepare(spec, &root, &dir, &sources, jars).map_err(missing)?;
            jdk.tool("java")
        }
        Needs::Python(minor) => {
            prepare(spec, &root, &dir, &sources, || package(spec, minor, &dir)).map_err(missing)?;
            dir.join("venv/bin/python")
        }
    };
    Ok(Installed { spec, dir, program })
}

fn root() -> Result<PathBuf, String> {
    let set = std::env::var_os("FLOWSTONE_SERVERS_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let root = set
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache/flowstone/servers")))
        .ok_or("there is no home directory; set FLOWSTONE_SERVERS_DIR")?;
    fs::create_dir_all(&root).map_err(said(&root))?;
    root.canonicalize().map_err(said(&root))
}

/// The files of ours that go into the folder: name and text.
fn sources(spec: &ServerSpec) -> Vec<(&'static str, String)> {
    let Needs::Java(java) = spec.needs else {
        return vec![("launcher.py", LAUNCHER_PY.to_owned())];
    };
    let fill = |text: &str| text.replace("@VERSION@", spec.version).replace("@JAVA@", &java.to_string());
    let mut sources = vec![("src/Launcher.java", LAUNCHER.to_owned())];
    match spec.family {
        Family::Package => {}
        Family::Six => {
            sources.push(("src/Six.java", SIX.to_owned()));
            sources.push(("log4j2.properties", LOG4J2_SIX.to_owned()));
        }
        Family::Seven => sources.push(("log4j2.properties", LOG4J2.to_owned())),
        Family::Modular => {
            let plugin = match spec.major() {
                8 => ("root-src/RootPlugin8.java", ROOT_PLUGIN_8),
                _ => ("root-src/RootPlugin9.java", ROOT_PLUGIN_9),
            };
            let descriptor = fill(ROOT_MODULE).replace("@MAJOR@", &spec.major().to_string());
            sources.push(("root-src/RootHandler.java", ROOT_HANDLER.to_owned()));
            sources.push((plugin.0, plugin.1.to_owned()));
            sources.push(("modules/rest-root/plugin-descriptor.properties", descriptor));
            sources.push(("modules/transport-netty4/plugin-descriptor.properties", fill(NETTY_MODULE)));
            sources.push(("log4j2.properties", LOG4J2.to_owned()));
        }
    }
    sources
}

fn fingerprint(spec: &ServerSpec, sources: &[(&str, String)]) -> u64 {
    let mut hasher = DefaultHasher::new();
    let (Needs::Java(version) | Needs::Python(version)) = spec.needs;
    (spec.artefacts, version, MAVEN_PLUGIN, sources).hash(&mut hasher);
    hasher.finish()
}

/// Lays out the server by `fill`, after our own files, unless that has been done.
fn prepare(
    spec: &ServerSpec,
    root: &Path,
    dir: &Path,
    sources: &[(&str, String)],
    fill: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    let complete = dir.join(".complete");
    if complete.exists() {
        return Ok(());
    }
    let lock = root.join(format!("{}.lock", spec.name));
    let lock = File::create(&lock).and_then(|file| file.lock().map(|()| file)).map_err(said(&lock))?;
    if complete.exists() {
        return Ok(()); // by whoever had the lock
    }
    if dir.exists() {
        fs::remove_dir_all(dir).map_err(said(dir))?; // half of one, from a process that died
    }
    for (name, text) in sources {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().expect("a file in a folder")).map_err(said(&path))?;
        fs::write(&path, text).map_err(said(&path))?;
    }
    fill()?;
    fs::write(&complete, "").map_err(said(&complete))?;
    drop(lock);
    Ok(())
}

/// What a server in Java is made of.
fn jars(spec: &ServerSpec, jdk: &Jdk, java: &str, root: &Path, dir: &Path) -> Result<(), String> {
    let jars = dir.join("jars");
    match spec.family {
        Family::Package => {}
        Family::Six | Family::Seven => maven(dir, spec.artefacts, &jars)?,
        Family::Modular => {
            let module = dir.join("modules/transport-netty4");
            maven(dir, &spec.artefacts[..1], &jars)?;
            maven(dir, &spec.artefacts[1..], &module)?;
            // A jar that the server has as well is refused in a module ("jar hell").
            for jar in files(&module).map_err(said(&module))? {
                if jar.file_name().is_some_and(|name| jars.join(name).exists()) {
                    fs::remove_file(&jar).map_err(said(&jar))?;
                }
            }
            native(root).map_err(said(root))?;
            compile(jdk, java, &jars, &dir.join("root-src"), &dir.join("root"))?;
            let jar = dir.join("modules/rest-root/root.jar");
            run(Command::new(jdk.tool("jar")).arg("cf").arg(jar).arg("-C").arg(dir.join("root")).arg("."))?;
        }
    }
    compile(jdk, java, &jars, &dir.join("src"), &dir.join("launcher"))
}

/// A virtual environment with a package of Python's index.
fn package(spec: &ServerSpec, minor: u32, dir: &Path) -> Result<(), String> {
    let enough = format!("import sys, venv, ensurepip; sys.exit(sys.version_info < (3, {minor}))");
    let needed = format!(
        "(needed: Python 3.{minor} or later with venv, for example Debian's python3-venv, and a way to pypi.org)"
    );
    let said = |why: String| format!("{why} {needed}");
    run(Command::new("python3").arg("-c").arg(enough)).map_err(said)?;
    let venv = dir.join("venv");
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv)).map_err(said)?;
    let packages = spec.artefacts.iter().map(|package| format!("{package}=={}", spec.version));
    let mut pip = Command::new(venv.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]).args(packages);
    run(&mut pip).map_err(said)
}

/// Copies the artefacts, and what they need at run time, into a folder.
fn maven(dir: &Path, artefacts: &[&str], into: &Path) -> Result<(), String> {
    let dependencies: String = artefacts
        .iter()
        .map(|artefact| {
            let mut part = artefact.split(':');
            let mut next = || part.next().expect("group:artefact:version");
            let (group, name, version) = (next(), next(), next());
            format!(
                "<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId>\
                 <version>{version}</version></dependency>"
            )
        })
        .collect();
    let pom = format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>flowstone.testkit</groupId><artifactId>server</artifactId><version>1</version>\
         <packaging>pom</packaging><dependencies>{dependencies}</dependencies></project>\n"
    );
    let path = dir.join("pom.xml");
    fs::write(&path, pom).map_err(said(&path))?;
    let mut command = Command::new("mvn");
    command.args(["-q", "-B", "-Dstyle.color=never", "-f"]).arg(&path).arg(MAVEN_PLUGIN);
    command.arg("-DincludeScope=runtime").arg(format!("-DoutputDirectory={}", into.display()));
    run(&mut command).map_err(|why| format!("{why} (needed: Debian's maven, and a way to Maven Central)"))
}

fn compile(jdk: &Jdk, release: &str, jars: &Path, from: &Path, into: &Path) -> Result<(), String> {
    let mut command = Command::new(jdk.tool("javac"));
    command.args(["-nowarn", "-Xlint:none", "-proc:none", "--release", release, "-cp"]).arg(jars.join("*"));
    command.arg("-d").arg(into).args(files(from).map_err(said(from))?);
    run(&mut command)
}

/// 8.x and 9.x load libzstd by its bare name from a folder, which the distribution brings and Central does not.
fn native(root: &Path) -> io::Result<()> {
    let native = root.join("native");
    fs::create_dir_all(&native)?;
    let mut folders = vec![PathBuf::from("/usr/lib"), PathBuf::from("/usr/lib64")];
    folders.extend(files(Path::new("/usr/lib"))?.into_iter().filter(|path| path.is_dir()));
    let library = folders.iter().map(|folder| folder.join("libzstd.so.1")).find(|path| path.exists());
    let library =
        library.ok_or_else(|| io::Error::other("libzstd.so.1 is missing: install Debian's libzstd1"))?;
    match std::os::unix::fs::symlink(library, native.join("libzstd.so")) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => Ok(()),
    }
}

// === helpers ===

fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files: Vec<_> = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    files.sort();
    Ok(files)
}

/// Runs a command to its end; what it said last is the error, on one line.
fn run(command: &mut Command) -> Result<(), String> {
    let program = Path::new(command.get_program()).file_name().map(OsStr::to_owned).unwrap_or_default();
    let program = program.to_string_lossy();
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("cannot run {program}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let line =
        lines.clone().find(|line| line.contains("ERROR") || line.contains("error:")).or(lines.next_back());
    let line = line.unwrap_or("it said nothing");
    let line = line.split_once("[ERROR] ").map_or(line, |(_colour, line)| line);
    let short: String = line.chars().take(200).collect();
    let dots = if short.len() < line.len() { "..." } else { "" };
    Err(format!("{program} failed: {short}{dots}"))
}

fn said(path: &Path) -> impl Fn(io::Error) -> String + '_ {
    move |e| format!("{}: {e}", path.display())
}
