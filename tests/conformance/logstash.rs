//! A small reader of Logstash's configuration text: as much of it as the cases' filter sections use.

use serde_json::{Map, Value as Json};

/// One statement of a filter section.
#[derive(Debug)]
pub(crate) enum Statement {
    Plugin { name: String, options: Json },
    If(Vec<Branch>),
}

/// `if CONDITION { ... }`, `else if CONDITION { ... }` or, without a condition, `else { ... }`.
#[derive(Debug)]
pub(crate) struct Branch {
    pub(crate) condition: Option<String>,
    pub(crate) body: Vec<Statement>,
}

/// The statements of the `filter` sections of a configuration.
pub(crate) fn filters(text: &str) -> Result<Vec<Statement>, String> {
    let mut reader = Reader { text, at: 0 };
    let mut statements = Vec::new();
    reader.skip_blanks();
    while reader.at < text.len() {
        let section = reader.word()?;
        if section != "filter" {
            return Err(format!("a section `{section}`: only `filter` is read here"));
        }
        statements.extend(reader.block()?);
        reader.skip_blanks();
    }
    Ok(statements)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_blanks(&mut self) {
        loop {
            self.at = self.text.len() - self.rest().trim_start().len();
            if !self.rest().starts_with('#') {
                return;
            }
            self.at += self.rest().find('\n').unwrap_or(self.rest().len());
        }
    }

    fn eat(&mut self, token: &str) -> bool {
        self.skip_blanks();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.eat(token) {
            return Ok(());
        }
        let found: String = self.rest().chars().take(20).collect();
        Err(format!("expected `{token}` at byte {}, found {found:?}", self.at))
    }

    fn word(&mut self) -> Result<&'a str, String> {
        self.skip_blanks();
        let rest = self.rest();
        let end =
            rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-').unwrap_or(rest.len());
        if end == 0 {
            return Err(format!("expected a name at byte {}", self.at));
        }
        self.at += end;
        Ok(&rest[..end])
    }

    fn block(&mut self) -> Result<Vec<Statement>, String> {
        self.expect("{")?;
        let mut statements = Vec::new();
        while !self.eat("}") {
            statements.push(self.statement()?);
        }
        Ok(statements)
    }

    fn statement(&mut self) -> Result<Statement, String> {
        let name = self.word()?;
        if name != "if" {
            return Ok(Statement::Plugin { name: name.to_owned(), options: self.options()? });
        }
        let mut branches = vec![Branch { condition: Some(self.condition()?), body: self.block()? }];
        loop {
            let before = self.at;
            if !self.eat("else") {
                self.at = before;
                return Ok(Statement::If(branches));
            }
            let condition = if self.eat("if") { Some(self.condition()?) } else { None };
            let is_last = condition.is_none();
            branches.push(Branch { condition, body: self.block()? });
            if is_last {
                return Ok(Statement::If(branches));
            }
        }
    }

    /// The text up to the brace that opens the branch; braces in quotes, brackets and expressions do not count.
    fn condition(&mut self) -> Result<String, String> {
        self.skip_blanks();
        let start = self.at;
        let mut closing = None;
        let mut chars = self.rest().char_indices();
        while let Some((offset, c)) = chars.next() {
            match closing {
                Some(_) if c == '\\' => {
                    chars.next();
                }
                Some(close) if c == close => closing = None,
                Some(_) => {}
                None => match c {
                    '"' | '\'' | '/' => closing = Some(c),
                    '{' => {
                        self.at = start + offset;
                        return Ok(self.text[start..self.at].trim_end().to_owned());
                    }
                    _ => {}
                },
            }
        }
        Err(format!("no `{{` behind the condition at byte {start}"))
    }

    /// `{ name => value ... }`. A name that comes again adds to its table or list.
    fn options(&mut self) -> Result<Json, String> {
        self.expect("{")?;
        let mut options = Map::new();
        while !self.eat("}") {
            let name = self.key()?;
            self.expect("=>")?;
            let value = self.value()?;
            match (options.get_mut(&name), value) {
                (Some(Json::Object(known)), Json::Object(more)) => known.extend(more),
                (Some(Json::Array(known)), Json::Array(more)) => known.extend(more),
                (_, value) => {
                    options.insert(name, value);
                }
            }
        }
        Ok(Json::Object(options))
    }

    fn key(&mut self) -> Result<String, String> {
        self.skip_blanks();
        if self.rest().starts_with(['"', '\'']) { self.string() } else { self.word().map(str::to_owned) }
    }

    fn string(&mut self) -> Result<String, String> {
        let start = self.at;
        let rest = self.rest();
        let quote = rest.chars().next().unwrap_or('"');
        let mut chars = rest.char_indices().skip(1);
        while let Some((offset, c)) = chars.next() {
            if c == '\\' {
                chars.next();
            } else if c == quote {
                self.at += offset + 1;
                return Ok(rest[1..offset].to_owned());
            }
        }
        Err(format!("the string at byte {start} is not closed"))
    }

    fn value(&mut self) -> Result<Json, String> {
        self.skip_blanks();
        match self.rest().chars().next() {
            Some('"' | '\'') => self.string().map(Json::String),
            Some('[') => self.list(),
            Some('{') => self.table(),
            Some(c) if c.is_ascii_digit() || c == '-' => {
                let rest = self.rest();
                let end =
                    rest.find(|c: char| !c.is_ascii_digit() && c != '-' && c != '.').unwrap_or(rest.len());
                self.at += end;
                serde_json::from_str(&rest[..end]).map_err(|error| format!("{}: {error}", &rest[..end]))
            }
            // A bare word is a text.
            _ => self.word().map(Json::from),
        }
    }

    fn list(&mut self) -> Result<Json, String> {
        self.expect("[")?;
        let mut items = Vec::new();
        while !self.eat("]") {
            items.push(self.value()?);
            self.eat(",");
        }
        Ok(Json::Array(items))
    }

    fn table(&mut self) -> Result<Json, String> {
        self.expect("{")?;
        let mut members = Map::new();
        while !self.eat("}") {
            let name = self.key()?;
            self.expect("=>")?;
            members.insert(name, self.value()?);
        }
        Ok(Json::Object(members))
    }
}
