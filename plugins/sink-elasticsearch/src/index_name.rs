//! What may name an index, by Elasticsearch's own rules, so that a name it would refuse is known before it is sent.

/// Checks a whole index name; the error says in a few words what is wrong with it.
///
/// The rules are those of Elasticsearch's `MetadataCreateIndexService.validateIndexOrAliasName` (the same in
/// OpenSearch). Capital letters are refused for aliases too, where the server would allow them: a name with capitals
/// nearly always comes from a field such as `ACCEPT` and never becomes an index. `%{` is refused because it is what
/// stays of a field that the event does not have.
pub(crate) fn check(name: &str) -> Result<(), String> {
    if let Some(field) = missing_field(name) {
        return Err(format!("the event has no `{field}`"));
    }
    if name.is_empty() {
        return Err("an index name cannot be empty".to_owned());
    }
    if name == "." || name == ".." {
        return Err(format!("an index cannot be called `{name}`"));
    }
    if let Some(first) = name.chars().next().filter(|first| matches!(first, '_' | '-' | '+')) {
        return Err(format!("an index name cannot begin with `{first}`"));
    }
    if let Some(bad) = name.chars().find(|&c| r#"\/*?"<>| ,#:"#.contains(c) || c.is_control()) {
        return Err(format!("an index name cannot contain {bad:?}"));
    }
    if name.chars().any(char::is_uppercase) {
        return Err("an index name must be in lower case".to_owned());
    }
    if name.len() > 255 {
        return Err(format!("an index name has at most 255 bytes, this one {}", name.len()));
    }
    Ok(())
}

/// What stays in a rendered text of a field that the event does not have.
pub(crate) fn missing_field(text: &str) -> Option<&str> {
    let at = text.find("%{")?;
    let end = text[at..].find('}').map_or(text.len(), |end| at + end + 1);
    Some(&text[at..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_server_takes_pass() {
        for name in ["vpcflowlogs-2019.02.24", ".hidden", "a", "a_b+c", "flüsse", &"x".repeat(255)] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn names_that_the_server_refuses_are_refused_with_the_reason() {
        for (name, why) in [
            ("", "empty"),
            (".", "called `.`"),
            ("..", "called `..`"),
            ("_all", "begin with `_`"),
            ("-x", "begin with `-`"),
            ("+x", "begin with `+`"),
            ("a b", "contain ' '"),
            ("a/b", "contain '/'"),
            ("a\\b", "contain '\\\\'"),
            ("a*", "contain '*'"),
            ("a?", "contain '?'"),
            ("a\"b", "contain '\"'"),
            ("<a", "contain '<'"),
            ("a>", "contain '>'"),
            ("a|b", "contain '|'"),
            ("a,b", "contain ','"),
            ("a#b", "contain '#'"),
            ("a:b", "contain ':'"),
            ("a\nb", "contain '\\n'"),
            ("flow-ACCEPT", "lower case"),
            ("Ärger", "lower case"),
            (&"x".repeat(256), "at most 255 bytes"),
            ("flow-%{action}", "has no `%{action}`"),
            ("flow-%{action", "has no `%{action`"),
        ] {
            let found = check(name).unwrap_err();
            assert!(found.contains(why), "{name}: {found}");
        }
    }
}
