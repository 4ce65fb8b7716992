//! How diagnostics look on a screen, and what must never be on it.

use super::*;

/// Every way in which a secret could get into a diagnostic.
#[test]
fn secrets_are_never_shown() {
    let sink = |options: &str| {
        format!("[sources.in]\ntype='lines'\npaths=[]\n[sinks.out]\ntype='store'\ninputs=['in']\n{options}\n")
    };
    let cases = [
        // The secret stands beside the mistake, in one line.
        sink("tls = { key = \"hunter2\", ca_fil = \"x\" }"),
        // The mistake is the secret itself.
        sink("password = [\"hunter2\"]"),
        sink("password = { a = \"hunter2\" }"),
        sink("password = \"${ABSENT:-hunter2} ${ABSENT}\""),
        // A name that is not quite right.
        sink("pasword = \"hunter2\""),
        sink("pw = \"hunter2\""),
        sink("passphrase = \"\"\"\nhunter2\n\"\"\""),
        sink("secret_key = \"hunter2\""),
        // The type is not quite right.
        sink("").replace("'store'", "'stor'") + "tls = { key = \"hunter2\" }; x",
        sink("password = \"hunter2\"").replace("'store'", "'stor'"),
        // The secret is given to an option that shows its value.
        sink("flush_interval = \"hunter2\"\npassword = \"hunter2\""),
        sink("flush_interval = \"${ES_PASSWORD}\""),
        sink("port = \"${ES_PASSWORD}\"\npassword = \"${ES_PASSWORD}\""),
        sink("hosts = [\"ftp://u:hunter2@host\"]"),
        // Broken TOML.
        sink("password = \"hunter2"),
        sink("password = hunter2"),
        sink("password = \"hunter2\" x"),
        sink("password = \"\"\"\nhunter2"),
        sink("tls = { key = \"hunter2\""),
        sink("tls = { password = 'hunter2' ca_file = 1"),
        sink("password = 'hunter2'\npassword = 'hunter2'"),
        sink("x = [1,\npassword = \"hunter2\"\n"),
        sink("api_key = \"hunter2\\q\""),
    ];
    for text in cases {
        let loaded = load_texts(&[("x.toml", &text)]);
        assert!(loaded.has_errors(), "this case says nothing: {text}");
        for colour in [false, true] {
            let rendered = loaded.render(colour);
            assert!(!rendered.contains("hunter2"), "{text}\n{rendered}");
        }
    }
}

#[test]
fn a_masked_line_keeps_its_carets_in_place() {
    check(
        &format!("{SOUND}tls = {{ key = \"hunter2hunter2\", ca_fil = \"x\" }}\n"),
        r#"
error[unknown-option]: unknown option `ca_fil` in this table
  --> x.toml:13:33
13 | tls = { key = ***, ca_fil = *** }
   |                    ^^^^^^ did you mean `ca_file`?

1 error
"#,
    );
}

#[test]
fn carets_stand_right_under_wide_characters_tabs_and_controls() {
    check(
        &format!("{SOUND}\t'日本' = 1\n'e\\u001b\u{301}é' = 2 # \n"),
        "
error[unknown-option]: unknown option `日本` in sink `dead` (store)
  --> x.toml:13:2
13 |     '日本' = 1
   |     ^^^^^^ expected one of hosts, index, path, user, password, flush_interval, port, tls, type, inputs
   = help: `flowstone explain store` lists its options

error[unknown-option]: unknown option `e\\u001b\u{301}é` in sink `dead` (store)
  --> x.toml:14:1
14 | 'e\\u001b\u{301}é' = 2 #
   | ^^^^^^^^^^ expected one of hosts, index, path, user, password, flush_interval, port, tls, type, inputs
   = help: `flowstone explain store` lists its options

2 errors
",
    );
}

#[test]
fn a_long_line_is_shown_around_the_place() {
    let text = format!("{SOUND}tls = {{ ca_file = \"{}\", keyy = 1 }}\n", "x".repeat(1000));
    let rendered = load_texts(&[("x.toml", &text)]).render(false);
    let line = rendered.lines().find(|line| line.starts_with("13 |")).unwrap();
    assert!(line.chars().count() < 180 && line.contains("…xxx") && line.ends_with("keyy = 1 }"), "{line}");
    let carets = rendered.lines().rfind(|line| line.contains("^^^^")).unwrap();
    let column = |line: &str, what: &str| line[..line.find(what).unwrap()].chars().count();
    assert_eq!(column(carets, "^^^^"), column(line, "keyy"));
}
