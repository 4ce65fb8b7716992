//! `flowstone new plugin`: a plugin crate of one file with its test, and a custom build that carries it.
//!
//! The file is the repository's own example of that kind with the name exchanged, so that what is written was compiled
//! and tested with this program.
#![expect(clippy::disallowed_methods, reason = "a command that writes files and ends")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use flowstone_core::{Kind, plugins};

use crate::exit::Exit;
use crate::output;

/// An example, the name in it that is exchanged, and what its crate needs beside `flowstone-core`.
struct Example {
    kind: &'static str,
    name: &'static str,
    lib: &'static str,
    dependencies: &'static str,
}

const TRANSFORM: Example = Example {
    kind: "transform",
    name: "shout",
    lib: include_str!("../../../plugins/example-shout/src/lib.rs"),
    dependencies: "",
};

const SOURCE: Example = Example {
    kind: "source",
    name: "ticks",
    lib: include_str!("../../../plugins/example-ticks/src/lib.rs"),
    dependencies: "\n[dev-dependencies]\nfutures = { version = \"0.3\", default-features = false, features = [\"executor\"] }\ntempfile = \"3\"\n",
};

const SINK: Example = Example {
    kind: "sink",
    name: "wire",
    lib: include_str!("../../../plugins/example-wire/src/lib.rs"),
    dependencies: "tokio = { version = \"1\", features = [\"io-util\", \"net\"] }\n\n[dev-dependencies]\n\
                   tokio = { version = \"1\", features = [\"macros\", \"rt\"] }\n",
};

/// A file to write: its path within the new folder, and what is in it.
type NewFile = (&'static str, String);

/// Writes the crate `KIND-NAME` below `parent`, which must not have one.
pub(crate) fn plugin(name: &str, kind: Kind, parent: &Path, checkout: Option<PathBuf>) -> Exit {
    let example = match kind {
        Kind::Source => SOURCE,
        Kind::Transform => TRANSFORM,
        Kind::Sink => SINK,
    };
    if let Err(problem) = check_name(name, example.kind) {
        output::complain(&problem);
        return Exit::Configuration;
    }
    // Where this program was built; on another machine the person says where the checkout is.
    let built_from =
        || Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(Path::to_owned).unwrap_or_default();
    let checkout = checkout.unwrap_or_else(built_from);
    let Ok(checkout) =
        checkout.canonicalize().and_then(|path| path.join("crates/flowstone").canonicalize().map(|_| path))
    else {
        output::complain(&format!(
            "`{}` is no checkout of flowstone; name one with `--flowstone FOLDER`",
            checkout.display()
        ));
        return Exit::Configuration;
    };
    let folder = parent.join(format!("{}-{}", example.kind, name.replace('_', "-")));
    match write(&folder, &files(&example, name, &checkout)) {
        Ok(()) => output::print(&format!(
            "wrote {0}: a {1} plugin with its test, and a custom build in {0}/flowstone\n\n\
             cd {0}\ncargo test\ncargo run -p flowstone-{2} -- explain {name}\n",
            folder.display(),
            example.kind,
            name.replace('_', "-"),
        )),
        Err(error) => {
            output::complain(&format!("cannot write {}: {error}", folder.display()));
            Exit::Failed
        }
    }
}

/// The name becomes a `type`, a crate's and a Rust type's.
fn check_name(name: &str, kind: &str) -> Result<(), String> {
    let sound = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !name.ends_with('_')
        && !name.contains("__");
    if !sound {
        return Err(format!(
            "`{name}` cannot name a plugin; expected lower-case letters, digits and single `_`, such as `my_plugin`"
        ));
    }
    if plugins().iter().any(|plugin| plugin.type_name == name && plugin.kind().as_str() == kind) {
        return Err(format!(
            "this build has a {kind} `{name}` already; two of one name cannot be linked together"
        ));
    }
    Ok(())
}

fn files(example: &Example, name: &str, checkout: &Path) -> Vec<NewFile> {
    let krate = format!("{}-{}", example.kind, name.replace('_', "-"));
    let crates = checkout.join("crates");
    let path_of = |name: &str| format!("{:?}", crates.join(name).display().to_string());
    let lib = example.lib.replace(example.name, name).replace(&camel_case(example.name), &camel_case(name));
    let manifest = format!(
        "[package]\nname = \"{krate}\"\nversion = \"0.1.0\"\nedition = \"2024\"\npublish = false\n\n[dependencies]\n\
         flowstone-core = {{ path = {} }}\n{}\n[workspace]\nmembers = [\"flowstone\"]\n\n[profile.release]\nlto = \"thin\"\n",
        path_of("core"),
        example.dependencies,
    );
    let custom_manifest = format!(
        "[package]\nname = \"flowstone-{}\"\nversion = \"0.1.0\"\nedition = \"2024\"\npublish = false\n\n[dependencies]\n\
         {krate} = {{ path = \"..\" }}\n# All standard plugins; `default-features = false` and `features = [\"source-file\", ...]` carries only some.\n\
         flowstone = {{ path = {} }}\n",
        name.replace('_', "-"),
        path_of("flowstone"),
    );
    let custom_main = format!(
        "use {} as _;\nfn main() -> std::process::ExitCode {{ flowstone::main() }}\n",
        krate.replace('-', "_")
    );
    vec![
        ("Cargo.toml", manifest),
        ("src/lib.rs", lib),
        ("flowstone/Cargo.toml", custom_manifest),
        ("flowstone/src/main.rs", custom_main),
    ]
}

fn write(folder: &Path, files: &[NewFile]) -> io::Result<()> {
    fs::create_dir_all(folder.parent().unwrap_or(Path::new(".")))?;
    // Fails where something of this name is there: nobody's work is overwritten.
    fs::create_dir(folder)?;
    for (path, content) in files {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, content)?;
    }
    Ok(())
}

fn camel_case(name: &str) -> String {
    let words = name.split('_').map(|word| {
        let mut letters = word.chars();
        letters
            .next()
            .map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
            .unwrap_or_default()
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_be_a_crate_and_a_type_are_refused() {
        for name in ["shout", "my_plugin", "x2"] {
            assert_eq!(check_name(name, "transform"), Ok(()), "{name}");
        }
        for name in ["", "Shout", "2x", "a-b", "_a", "a_", "a__b", "é", "a/b", "../a"] {
            assert!(check_name(name, "transform").is_err(), "{name}");
        }
    }

    #[test]
    fn the_examples_name_is_exchanged_everywhere_and_each_file_stays_small() {
        for example in [TRANSFORM, SOURCE, SINK] {
            let files = files(&example, "my_own", Path::new("/flowstone"));
            let lib = &files[1].1;
            assert!(!lib.to_lowercase().contains(example.name), "{lib}");
            assert!(lib.contains("struct MyOwn") && lib.contains("\"my_own\","), "{lib}");
            assert_eq!(files[3].1.lines().count(), 2, "a custom build is two lines");
        }
        assert!(TRANSFORM.lib.lines().count() <= 60);
    }
}
