//! The rules between the rooms of the house, held to the manifests, the sources and the registry: who may depend on whom,
//! that a plugin's folder, crate, feature and `type` agree, that each plugin's reference is complete and true, and how
//! long a file may be.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use flowstone::STANDARD_PLUGINS;
use flowstone::config::check_plugin;
use flowstone::core::plugins;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The manifests below `folder`, by the folder's name.
fn manifests(folder: &str) -> BTreeMap<String, toml::Table> {
    let mut manifests = BTreeMap::new();
    for entry in fs::read_dir(workspace().join(folder)).unwrap() {
        let path = entry.unwrap().path();
        if let Ok(text) = fs::read_to_string(path.join("Cargo.toml")) {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            manifests.insert(name, text.parse().unwrap());
        }
    }
    manifests
}

/// Every `.rs` file of ours below `folder`, of `fuzz/` too.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            found.extend(sources(&path));
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
    found
}

/// What a crate depends on when it is built, dependencies of its tests left out.
fn dependencies(manifest: &toml::Table) -> BTreeSet<String> {
    let keys = |section: &str| {
        manifest.get(section).and_then(|table| table.as_table()).into_iter().flat_map(|t| t.keys())
    };
    keys("dependencies").chain(keys("build-dependencies")).cloned().collect()
}

#[test]
fn plugins_depend_on_core_and_never_on_each_other_or_on_config_or_engine() {
    let plugins = manifests("plugins");
    assert!(plugins.len() >= 12, "the plugins were found");
    for (name, manifest) in &plugins {
        let allowed =
            ["flowstone-core", "flowstone-dialect", "flowstone-lines", "flowstone-mmdb", "flowstone-aws"];
        for dependency in dependencies(manifest) {
            let ours = dependency.starts_with("flowstone") || plugins.contains_key(&dependency);
            assert!(!ours || allowed.contains(&dependency.as_str()), "{name} depends on {dependency}");
        }
    }
}

#[test]
fn the_crates_stand_on_one_another_in_one_direction() {
    let crates = manifests("crates");
    for (name, allowed) in [
        ("event", &[][..]),
        ("regex", &[]),
        ("mmdb", &[]),
        ("core", &["flowstone-event"]),
        ("dialect", &["flowstone-core", "flowstone-regex"]),
        ("lines", &["flowstone-core"]),
        ("aws", &["flowstone-core"]),
        ("config", &["flowstone-core", "flowstone-dialect"]),
        ("http", &[]),
        (
            "engine",
            &["flowstone-core", "flowstone-dialect", "flowstone-lines", "flowstone-config", "flowstone-http"],
        ),
    ] {
        let ours =
            dependencies(&crates[name]).into_iter().filter(|dependency| dependency.starts_with("flowstone"));
        for dependency in ours {
            assert!(allowed.contains(&dependency.as_str()), "{name} depends on {dependency}");
        }
    }
}

#[test]
fn what_a_crate_must_not_do_it_has_no_means_for() {
    let crates = manifests("crates");
    for (name, forbidden) in [
        // No I/O, nothing spawned.
        ("event", &["tokio", "async-trait", "futures", "reqwest", "hyper", "tracing"][..]),
        ("regex", &["tokio", "async-trait", "futures", "reqwest", "hyper", "tracing"]),
        ("mmdb", &["tokio", "async-trait", "futures", "reqwest", "hyper", "tracing"]),
        // Plugins bring their own clients. What it has of tokio starts tasks, and reads and writes nothing.
        ("core", &["reqwest", "hyper"]),
        // No I/O, nothing spawned.
        ("dialect", &["tokio", "async-trait", "futures", "reqwest", "hyper", "tracing", "rustix"]),
        // Files, and nothing spawned.
        ("lines", &["tokio", "async-trait", "futures", "reqwest", "hyper"]),
        // No socket, nothing spawned.
        ("config", &["tokio", "reqwest", "hyper"]),
        // The engine never reads a status code: it has no client.
        ("engine", &["reqwest", "hyper", "http"]),
        ("http", &["reqwest"]),
    ] {
        for dependency in dependencies(&crates[name]) {
            assert!(!forbidden.contains(&dependency.as_str()), "{name} depends on {dependency}");
        }
    }
    let tokio = crates["core"]["dependencies"]["tokio"]["features"].as_array().unwrap();
    assert_eq!(tokio.iter().filter_map(toml::Value::as_str).collect::<Vec<_>>(), ["rt"]);
    let root: toml::Table = fs::read_to_string(workspace().join("Cargo.toml")).unwrap().parse().unwrap();
    for dependency in ["hyper", "hyper-util"] {
        let asked =
            [&root["workspace"]["dependencies"][dependency], &crates["http"]["dependencies"][dependency]];
        for features in asked.iter().filter_map(|entry| entry.get("features")?.as_array()) {
            let client =
                features.iter().filter_map(toml::Value::as_str).find(|name| name.starts_with("client"));
            assert_eq!(client, None, "{dependency} is a server only");
        }
    }
    for name in ["event", "mmdb"] {
        let lib = fs::read_to_string(workspace().join(format!("crates/{name}/src/lib.rs"))).unwrap();
        assert!(lib.contains("#![forbid(unsafe_code)]"), "{name}");
    }
}

/// The feature `broken` makes rules breakable. Only a `[dev-dependencies]` section may ask for it.
#[test]
fn nothing_that_is_shipped_can_break_a_rule_on_purpose() {
    let root: toml::Table = fs::read_to_string(workspace().join("Cargo.toml")).unwrap().parse().unwrap();
    let mut sections = vec![("workspace".to_owned(), root["workspace"]["dependencies"].clone())];
    let mut tested = 0;
    for (name, manifest) in manifests("crates").into_iter().chain(manifests("plugins")) {
        for section in ["dependencies", "build-dependencies", "target"] {
            sections.extend(manifest.get(section).map(|table| (name.clone(), table.clone())));
        }
        let features = manifest.get("features").and_then(|features| features.as_table());
        for (feature, enables) in features.into_iter().flatten().filter(|(feature, _)| *feature != "broken") {
            assert!(!asks_for_broken(enables), "feature {feature} of {name} enables `broken`");
        }
        let tests = manifest.get("dev-dependencies").is_some_and(asks_for_broken);
        tested += usize::from(tests);
    }
    for (name, section) in sections {
        assert!(!asks_for_broken(&section), "{name} ships `broken`");
    }
    assert_eq!(tested, 2, "the ledger's properties and the crash test break rules");
}

/// Whether one of the texts in it names the feature `broken`.
fn asks_for_broken(value: &toml::Value) -> bool {
    match value {
        toml::Value::String(text) => text.rsplit('/').next() == Some("broken"),
        toml::Value::Array(values) => values.iter().any(asks_for_broken),
        toml::Value::Table(table) => table.values().any(asks_for_broken),
        _ => false,
    }
}

#[test]
fn a_crate_that_shares_the_io_threads_asks_for_what_clippy_toml_bans() {
    for folder in ["crates", "plugins"] {
        for (name, manifest) in manifests(folder) {
            let shares = ["tokio", "async-trait"].iter().any(|it| dependencies(&manifest).contains(*it));
            if !shares || name == "testkit" || name.starts_with("example-") {
                continue;
            }
            let lib = fs::read_to_string(workspace().join(folder).join(&name).join("src/lib.rs")).unwrap();
            let bans =
                "cfg_attr(not(test), warn(clippy::arithmetic_side_effects, clippy::disallowed_methods))";
            assert!(lib.contains(bans), "{folder}/{name}/src/lib.rs");
        }
    }
}

#[test]
fn what_is_measured_is_built_as_what_is_shipped() {
    let root: toml::Table = fs::read_to_string(workspace().join("Cargo.toml")).unwrap().parse().unwrap();
    let [dist, bench] = ["dist", "bench"].map(|name| root["profile"][name].as_table().unwrap());
    assert_eq!(dist["inherits"].as_str(), Some("release"), "as `bench` does");
    for (name, value) in dist.iter().filter(|(name, _)| !["inherits", "strip"].contains(&name.as_str())) {
        assert_eq!(bench.get(name), Some(value), "{name}");
    }
}

#[test]
fn no_source_file_has_more_than_600_lines() {
    let files = sources(&workspace());
    assert!(files.len() > 300, "{} files were found", files.len());
    let lines = |path: &PathBuf| fs::read_to_string(path).unwrap().lines().count();
    let long: Vec<String> = files
        .iter()
        .map(|path| (path, lines(path)))
        .filter(|(_, lines)| *lines > 600)
        .map(|(path, lines)| format!("{}: {lines}", path.display()))
        .collect();
    assert_eq!(long, Vec::<String>::new());
}

#[test]
fn each_plugins_folder_is_its_crate_its_feature_and_its_type() {
    let folders: BTreeSet<String> =
        manifests("plugins").into_keys().filter(|name| !name.starts_with("example-")).collect();
    let listed: BTreeSet<String> = STANDARD_PLUGINS.iter().map(|plugin| plugin.feature.to_owned()).collect();
    assert_eq!(listed, folders, "src/plugins.rs and the folders");
    for plugin in STANDARD_PLUGINS {
        assert_eq!(plugin.feature, format!("{}-{}", plugin.kind, plugin.type_name.replace('_', "-")));
    }

    let manifest = &manifests("crates")["flowstone"];
    let features = manifest["features"].as_table().unwrap();
    let names: BTreeSet<String> = features.keys().filter(|name| *name != "default").cloned().collect();
    assert_eq!(names, folders, "the features and the folders");
    let default: BTreeSet<String> = features["default"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(default, folders, "the default features and the folders");
    for name in &folders {
        assert_eq!(features[name].as_array().unwrap()[0].as_str(), Some(format!("dep:{name}").as_str()));
        assert_eq!(manifest["dependencies"][name]["optional"].as_bool(), Some(true), "{name}");
    }

    let linked: BTreeSet<String> = plugins()
        .iter()
        .map(|plugin| {
            assert_eq!(
                plugin.crate_name,
                format!("{}-{}", plugin.kind(), plugin.type_name.replace('_', "-"))
            );
            plugin.crate_name.to_owned()
        })
        .collect();
    // This test is built with every feature, as `cargo test` builds it.
    assert_eq!(linked, folders, "the plugins that register themselves and the folders");
}

#[test]
fn each_plugin_says_what_it_is_what_its_options_do_and_has_an_example_that_works() {
    let problems: Vec<String> = plugins()
        .iter()
        .flat_map(|plugin| {
            let of = format!("{} `{}`", plugin.kind(), plugin.type_name);
            check_plugin(plugin).into_iter().map(move |problem| format!("{of}: {problem}"))
        })
        .collect();
    assert_eq!(problems, Vec::<String>::new());
}

#[test]
fn the_engines_modules_import_one_another_in_no_circle() {
    let folder = workspace().join("crates/engine/src");
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut files = vec![folder.clone()];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let within = path.strip_prefix(&folder).unwrap().to_str().unwrap();
        let module = within.split(['/', '.']).next().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let product = text.split("#[cfg(test)]").next().unwrap();
        let named = product.split("crate::").skip(1).filter_map(|rest| rest.split("::").next());
        imports.entry(module).or_default().extend(named.map(str::to_owned));
    }
    imports.retain(|module, _| !["lib", "testing", "bench"].contains(&module.as_str()));
    assert!(imports.len() > 10, "the modules were found");
    // What imports nothing that is left goes; what cannot go is in a circle or imports one.
    loop {
        let left: BTreeSet<String> = imports.keys().cloned().collect();
        imports.retain(|module, of| of.iter().any(|other| other != module && left.contains(other)));
        if imports.len() == left.len() {
            break;
        }
    }
    assert_eq!(imports.keys().collect::<Vec<_>>(), Vec::<&String>::new());
}
