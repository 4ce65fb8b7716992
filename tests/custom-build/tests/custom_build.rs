//! The custom build runs the plugins that were linked into it.

use std::fs;
use std::process::Command;

fn run(config: &str, arguments: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("flowstone.toml"), config).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_custom-build"))
        .args(arguments)
        .current_dir(folder.path())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn linked_plugins_run_beside_standard_ones() {
    let config = r#"
[sources.numbers]
type = "ticks"
until = 3

[transforms.loud]
type = "shout"
inputs = ["numbers"]
field = "tick"
add_field = { seen = "%{tick}" }

[sinks.out]
type = "console"
inputs = ["loud"]
encoding = "json"
"#;
    let (code, output, log) = run(config, &["run", "-c", "flowstone.toml"]);
    assert_eq!(code, 0, "{log}");
    let ticks: Vec<&str> = output.lines().map(|line| &line[..10]).collect();
    assert_eq!(ticks, ["{\"tick\":1,", "{\"tick\":2,", "{\"tick\":3,"], "{output}");
    assert!(
        !output.contains("seen"),
        "a number is no text to write in upper case, so nothing was added: {output}"
    );
}

#[test]
fn linked_plugins_are_listed_and_explained_like_standard_ones() {
    let (_, list, _) = run("", &["list"]);
    for name in ["ticks", "shout", "wire", "stdin", "console"] {
        assert!(list.contains(name), "{list}");
    }
    let (code, reference, _) = run("", &["explain", "wire"]);
    assert!(code == 0 && reference.contains("  address: string, required"), "{reference}");
}
