//! Reads a pattern: a regular expression in Oniguruma's Ruby syntax with grok's `%{NAME:field:type}` in it. References
//! are parsed where they stand, so that an error in a definition points into that definition.

use std::collections::HashMap;
use std::sync::Arc;

use regex_syntax::hir::ClassUnicode;

use crate::ast::{Assert, Expression, Look, Node, Repeat};
use crate::charset::{self, CharSet};
use crate::error::{PatternError, Source};
use crate::names::{Names, nearest};

/// Oniguruma's own limit for `{n,m}`.
const MAX_REPEAT: u32 = 100_000;
/// Groups and references within one another; a guard for the stack.
const MAX_DEPTH: usize = 200;
/// Logstash's limit of substitutions.
const MAX_REFERENCES: usize = 10_000;

/// Reads `pattern`. Unless `named_only`, a reference without a field (`%{WORD}`) is a field of its own name.
pub(crate) fn parse(pattern: &str, names: &dyn Names, named_only: bool) -> Result<Expression, PatternError> {
    let mut parser = Parser {
        names,
        inline: HashMap::new(),
        named_only,
        groups: Vec::new(),
        numbered: None,
        within: Vec::new(),
        references: 0,
        depth: 0,
    };
    let mut cursor = Cursor { text: pattern, at: 0, base: 0, source: Source::Pattern };
    let root = parser.whole(&mut cursor, Flags::default())?;
    parser.finish(root)
}

/// What the options in `(?imx)` say.
#[derive(Clone, Copy)]
pub(crate) struct Flags {
    pub(crate) ignore_case: bool,
    dot_all: bool,
    extended: bool,
}

impl Default for Flags {
    /// Grok compiles with MULTILINE, which is Ruby's word for a dot that matches newlines.
    fn default() -> Self {
        Self { ignore_case: false, dot_all: true, extended: false }
    }
}

/// A place in one of the texts being read.
pub(crate) struct Cursor<'t> {
    pub(crate) text: &'t str,
    pub(crate) at: usize,
    /// Where `text` begins within the text of `source`.
    base: usize,
    source: Source,
}

struct Parser<'n> {
    names: &'n dyn Names,
    /// Definitions made within the pattern, `%{NAME=regex}`: the expression, its place and its source.
    inline: HashMap<String, (String, usize, Source)>,
    named_only: bool,
    /// Names by group number; empty for unnamed groups.
    groups: Vec<String>,
    /// Where a numbered back reference stands, and the largest number.
    numbered: Option<(PatternError, usize)>,
    /// The names being expanded, outermost first.
    within: Vec<String>,
    references: usize,
    depth: usize,
}

// === impl Cursor ===

impl Cursor<'_> {
    pub(crate) fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    pub(crate) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(crate) fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    pub(crate) fn eat(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    /// The digits here, as long as they are of `radix` and no more than `limit`.
    pub(crate) fn digits(&mut self, radix: u32, limit: usize) -> &str {
        let start = self.at;
        while self.at - start < limit && self.peek().is_some_and(|c| c.is_digit(radix)) {
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    /// Everything up to `end`, which is eaten as well.
    fn until(&mut self, end: char) -> Option<&str> {
        let start = self.at;
        let length = self.rest().find(end)?;
        self.at += length + end.len_utf8();
        Some(&self.text[start..start + length])
    }

    pub(crate) fn error(
        &self,
        start: usize,
        end: usize,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> PatternError {
        PatternError {
            source: self.source.clone(),
            start: self.base + start,
            end: self.base + end,
            message: message.into(),
            label: label.into(),
            help: None,
        }
    }
}

// === impl Parser ===

impl Parser<'_> {
    fn whole(&mut self, cursor: &mut Cursor<'_>, flags: Flags) -> Result<Node, PatternError> {
        let node = self.alternation(cursor, flags)?;
        if cursor.at < cursor.text.len() {
            return Err(cursor.error(
                cursor.at,
                cursor.at + 1,
                "a `)` closes no group",
                "expected `\\)` for a plain one",
            ));
        }
        Ok(node)
    }

    /// Branches up to a `)` or the end, neither of which is eaten.
    fn alternation(&mut self, cursor: &mut Cursor<'_>, flags: Flags) -> Result<Node, PatternError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(cursor.error(
                cursor.at,
                cursor.at + 1,
                "groups are nested too deeply",
                format!("at most {MAX_DEPTH}"),
            ));
        }
        let mut branches = Vec::new();
        let mut sequence = Vec::new();
        loop {
            match cursor.peek() {
                None | Some(')') => break,
                Some('|') => {
                    cursor.at += 1;
                    branches.push(Node::concat(std::mem::take(&mut sequence)));
                }
                Some(_) => {
                    if let Some(node) = self.quantified(cursor, flags)? {
                        sequence.push(node);
                    }
                }
            }
        }
        branches.push(Node::concat(sequence));
        self.depth -= 1;
        Ok(Node::alternate(branches))
    }

    /// An atom and the quantifiers behind it; nothing for a comment.
    fn quantified(&mut self, cursor: &mut Cursor<'_>, flags: Flags) -> Result<Option<Node>, PatternError> {
        if cursor.eat("(?#") {
            let start = cursor.at - 3;
            loop {
                match cursor.next() {
                    Some(')') => return Ok(None),
                    Some('\\') => drop(cursor.next()),
                    Some(_) => {}
                    None => {
                        return Err(cursor.error(
                            start,
                            start + 3,
                            "a comment is not closed",
                            "expected `)`",
                        ));
                    }
                }
            }
        }
        if flags.extended {
            let blank = cursor.rest().len()
                - cursor.rest().trim_start_matches(|c: char| c.is_ascii_whitespace()).len();
            cursor.at += blank;
            if cursor.peek() == Some('#') {
                cursor.at += cursor.rest().find('\n').unwrap_or(cursor.rest().len());
                return Ok(None);
            }
            if blank > 0 {
                return Ok(None);
            }
        }
        let mut node = self.atom(cursor, flags)?;
        while let Some((min, max, kind)) = quantifier(cursor)? {
            let repeat = |greedy, node| Node::Repeat(Box::new(Repeat { node, min, max, greedy }));
            node = match kind {
                Kind::Greedy => repeat(true, node),
                Kind::Lazy => repeat(false, node),
                Kind::Possessive => Node::Atomic(Box::new(repeat(true, node))),
            };
        }
        Ok(Some(node))
    }

    fn atom(&mut self, cursor: &mut Cursor<'_>, flags: Flags) -> Result<Node, PatternError> {
        let start = cursor.at;
        if cursor.rest().starts_with("%{")
            && let Some(node) = self.reference(cursor, flags)?
        {
            return Ok(node);
        }
        let Some(c) = cursor.next() else { return Ok(Node::Empty) };
        Ok(match c {
            '(' => return self.group(cursor, flags),
            '[' => set(crate::class::bracket(cursor, flags)?),
            '.' if flags.dot_all => set(charset::any()),
            '.' => set(charset::negated(charset::ranges(&[('\n', '\n')]))),
            '^' => Node::Assert(Assert::LineStart),
            '$' => Node::Assert(Assert::LineEnd),
            '\\' => return self.escape(cursor, flags),
            '*' | '+' | '?' => {
                let label = format!("expected something to repeat, or `\\{c}` for a plain one");
                return Err(cursor.error(start, start + 1, format!("`{c}` repeats nothing"), label));
            }
            c => literal(c, flags),
        })
    }

    fn escape(&mut self, cursor: &mut Cursor<'_>, flags: Flags) -> Result<Node, PatternError> {
        let start = cursor.at - 1;
        let Some(c) = cursor.peek() else {
            return Err(cursor.error(
                start,
                start + 1,
                "a `\\` at the end means nothing",
                "expected `\\\\` for a plain one",
            ));
        };
        let assert = match c {
            'b' => Some(Assert::WordBoundary),
            'B' => Some(Assert::NotWordBoundary),
            'A' | 'G' => Some(Assert::TextStart),
            'Z' => Some(Assert::TextEndNewline),
            'z' => Some(Assert::TextEnd),
            _ => None,
        };
        if let Some(assert) = assert {
            cursor.at += 1;
            return Ok(Node::Assert(assert));
        }
        match c {
            // The start of the match is not used for anything, so moving it changes nothing.
            'K' => {
                cursor.at += 1;
                return Ok(Node::Empty);
            }
            'R' => {
                cursor.at += 1;
                let breaks = charset::ranges(&[('\n', '\r'), ('\u{85}', '\u{85}'), ('\u{2028}', '\u{2029}')]);
                let pair = Node::Concat(vec![Node::Char('\r'), Node::Char('\n')]);
                return Ok(Node::Atomic(Box::new(Node::Alternate(vec![pair, set(breaks)]))));
            }
            'k' => {
                cursor.at += 1;
                return self.named_back_reference(cursor, start, flags);
            }
            'X' | 'g' => {
                let what = if c == 'X' { "a grapheme cluster" } else { "a call of a group" };
                let message = format!("`\\{c}` ({what}) is not supported");
                return Err(cursor.error(start, cursor.at + 1, message, "expected another way to say it"));
            }
            '1'..='9' => {
                let save = cursor.at;
                let digits = cursor.digits(10, 3);
                let number: usize = digits.parse().unwrap_or(usize::MAX);
                // As in Ruby: beyond the groups there are, `\12` is an octal number.
                if number <= 9 || number <= self.groups.len() {
                    return Ok(self.numbered_back_reference(cursor, start, number, flags));
                }
                cursor.at = save;
            }
            _ => {}
        }
        match crate::class::escape(cursor)? {
            crate::class::Escape::Char(c) => Ok(literal(c, flags)),
            crate::class::Escape::Class(class) => Ok(set(class)),
        }
    }

    fn numbered_back_reference(
        &mut self,
        cursor: &Cursor<'_>,
        start: usize,
        number: usize,
        flags: Flags,
    ) -> Node {
        let error = cursor.error(start, cursor.at, "", "");
        let largest = self.numbered.as_ref().map_or(0, |(_, largest)| *largest).max(number);
        self.numbered = Some((error, largest));
        Node::BackReference { groups: vec![number - 1], ignore_case: flags.ignore_case }
    }

    fn named_back_reference(
        &mut self,
        cursor: &mut Cursor<'_>,
        start: usize,
        flags: Flags,
    ) -> Result<Node, PatternError> {
        let close = match cursor.next() {
            Some('<') => '>',
            Some('\'') => '\'',
            _ => return Err(cursor.error(start, start + 2, "`\\k` names no group", "expected `\\k<name>`")),
        };
        let at = cursor.at;
        let Some(name) = cursor.until(close).map(str::to_owned) else {
            return Err(cursor.error(
                start,
                cursor.text.len(),
                "a back reference is not closed",
                format!("expected `{close}`"),
            ));
        };
        if let Ok(number) = name.parse::<usize>()
            && number > 0
        {
            return Ok(self.numbered_back_reference(cursor, start, number, flags));
        }
        let groups: Vec<usize> = (0..self.groups.len()).filter(|&group| self.groups[group] == name).collect();
        if groups.is_empty() || name.is_empty() {
            let known = self.groups.iter().map(String::as_str).filter(|name| !name.is_empty());
            let label = match nearest(&name, known) {
                Some(known) => format!("did you mean `{known}`?"),
                None => "expected the name of a group that stands before it".to_owned(),
            };
            return Err(cursor.error(
                at,
                at + name.len().max(1),
                format!("no group is called `{name}`"),
                label,
            ));
        }
        Ok(Node::BackReference { groups, ignore_case: flags.ignore_case })
    }

    /// What stands behind a `(`.
    fn group(&mut self, cursor: &mut Cursor<'_>, flags: Flags) -> Result<Node, PatternError> {
        let start = cursor.at - 1;
        if !cursor.eat("?") {
            let number = self.new_group("");
            let node = self.closed(cursor, flags, start)?;
            return Ok(Node::Capture(number, Box::new(node)));
        }
        for (mark, behind, negated) in
            [("=", false, false), ("!", false, true), ("<=", true, false), ("<!", true, true)]
        {
            if cursor.eat(mark) {
                let node = self.closed(cursor, flags, start)?;
                let branches = if let Node::Alternate(branches) = &node {
                    branches
                } else {
                    std::slice::from_ref(&node)
                };
                if behind && branches.iter().any(|branch| branch.fixed_chars().is_none()) {
                    let label = "expected one fixed length in each alternative";
                    return Err(cursor.error(start, cursor.at, "look-behind of no fixed length", label));
                }
                return Ok(Node::Look(Box::new(Look { behind, negated, node })));
            }
        }
        match cursor.next() {
            Some(':') => self.closed(cursor, flags, start),
            Some('>') => Ok(Node::Atomic(Box::new(self.closed(cursor, flags, start)?))),
            Some(open @ ('<' | '\'')) => {
                let at = cursor.at;
                let close = if open == '<' { '>' } else { '\'' };
                let Some(name) = cursor.until(close).map(str::to_owned) else {
                    return Err(cursor.error(
                        start,
                        cursor.at,
                        "the name of a group is not closed",
                        format!("expected `{close}`"),
                    ));
                };
                self.check_name(cursor, at, &name)?;
                let number = self.new_group(&name);
                let node = self.closed(cursor, flags, start)?;
                Ok(Node::Capture(number, Box::new(node)))
            }
            Some('P') => {
                let label = "expected `(?<name>...)`";
                Err(cursor.error(start, cursor.at, "`(?P` is the syntax of other libraries", label))
            }
            Some('(') => Err(cursor.error(
                start,
                cursor.at,
                "conditional groups are not supported",
                "expected a choice `(?:a|b)`",
            )),
            Some('~') => Err(cursor.error(
                start,
                cursor.at,
                "the absence operator is not supported",
                "expected a negative look-ahead",
            )),
            Some(c) if "imx-".contains(c) => {
                cursor.at -= 1;
                self.options(cursor, flags, start)
            }
            _ => {
                let label = "expected `(?:`, `(?>`, `(?=`, `(?!`, `(?<=`, `(?<!`, `(?<name>` or `(?imx)`";
                Err(cursor.error(start, cursor.at, "a group of an unknown kind", label))
            }
        }
    }

    /// `(?i-mx)` up to the end of the group around it, or `(?i-mx:...)`.
    fn options(
        &mut self,
        cursor: &mut Cursor<'_>,
        mut flags: Flags,
        start: usize,
    ) -> Result<Node, PatternError> {
        let mut on = true;
        loop {
            match cursor.next() {
                Some('-') => on = false,
                Some('i') => flags.ignore_case = on,
                Some('m') => flags.dot_all = on,
                Some('x') => flags.extended = on,
                Some(':') => return self.closed(cursor, flags, start),
                Some(')') => return self.alternation(cursor, flags),
                _ => {
                    return Err(cursor.error(
                        start,
                        cursor.at,
                        "an unknown option",
                        "expected `i`, `m` or `x`",
                    ));
                }
            }
        }
    }

    /// The inside of a group and its `)`.
    fn closed(&mut self, cursor: &mut Cursor<'_>, flags: Flags, start: usize) -> Result<Node, PatternError> {
        let node = self.alternation(cursor, flags)?;
        if cursor.eat(")") {
            Ok(node)
        } else {
            Err(cursor.error(start, start + 1, "a group is not closed", "expected a `)` for this"))
        }
    }

    fn check_name(&self, cursor: &Cursor<'_>, at: usize, full: &str) -> Result<(), PatternError> {
        self.names
            .check(full)
            .map_err(|why| cursor.error(at + why.start, at + why.end, why.message, why.label))
    }

    fn new_group(&mut self, name: &str) -> usize {
        self.groups.push(name.to_owned());
        self.groups.len() - 1
    }

    /// `%{NAME}`, `%{NAME:field:type}`, `%{NAME=regex}`, `%{NAME:field=regex}`; anything else after the part that was
    /// understood is passed over up to the `}`, as in Logstash. Not a reference at all: plain text.
    fn reference(&mut self, cursor: &mut Cursor<'_>, flags: Flags) -> Result<Option<Node>, PatternError> {
        let open = cursor.at;
        let Some(reference) = Reference::read(cursor.text, open) else { return Ok(None) };
        cursor.at = reference.end;
        let name = &cursor.text[reference.name.clone()];
        if let Some(definition) = &reference.definition {
            let text = cursor.text[definition.clone()].to_owned();
            self.inline
                .insert(name.to_owned(), (text, cursor.base + definition.start, cursor.source.clone()));
        }
        self.references += 1;
        if self.references > MAX_REFERENCES {
            let label = format!("at most {MAX_REFERENCES}");
            return Err(cursor.error(open, reference.end, "the pattern refers to too many others", label));
        }
        if self.within.iter().any(|outer| outer == name) {
            let path: Vec<&str> = self
                .within
                .iter()
                .map(String::as_str)
                .skip_while(|outer| *outer != name)
                .chain([name])
                .collect();
            let message = format!("pattern `{name}` refers to itself");
            return Err(cursor.error(reference.name.start, reference.name.end, message, path.join(" > ")));
        }
        let (text, base, source) = match (self.inline.get(name), self.names.get(name)) {
            (Some((text, base, source)), _) => (Arc::from(text.as_str()), *base, source.clone()),
            (None, Some(text)) => {
                let source = Source::Definition { name: name.into(), text: Arc::clone(&text) };
                (text, 0, source)
            }
            (None, None) => {
                let message = format!("no pattern is called `{name}`");
                let mut error = match nearest(name, self.names.all()) {
                    Some(near) => cursor.error(
                        reference.name.start,
                        reference.name.end,
                        message,
                        format!("did you mean `{near}`?"),
                    ),
                    None => {
                        cursor.error(reference.name.start, reference.name.end, message, "an unknown name")
                    }
                };
                error.help = Some(
                    "define it in `pattern_definitions` or in a file named in `patterns_dir`".to_owned(),
                );
                return Err(error);
            }
        };
        // The group has its number before those within it.
        let full = &cursor.text[reference.name.start..reference.field.end];
        let number = match () {
            () if !reference.field.is_empty() => {
                self.check_name(cursor, reference.name.start, full)?;
                Some(self.new_group(full))
            }
            () if !self.named_only => Some(self.new_group(full)),
            () => None,
        };
        self.within.push(name.to_owned());
        let mut inner = Cursor { text: &text, at: 0, base, source };
        let node = self.whole(&mut inner, flags)?;
        self.within.pop();
        Ok(Some(match number {
            Some(number) => Node::Capture(number, Box::new(node)),
            None => node,
        }))
    }

    /// Decides which groups keep text: the named ones, or where there are none and numbers refer back, all.
    fn finish(self, root: Node) -> Result<Expression, PatternError> {
        let named = self.groups.iter().any(|name| !name.is_empty());
        if let Some((mut error, largest)) = self.numbered {
            if named {
                error.message = "a numbered back reference beside named groups".to_owned();
                error.label = "expected `\\k<name>`: where groups have names, only those count".to_owned();
                return Err(error);
            }
            if largest > self.groups.len() {
                error.message = format!("there is no group {largest}");
                error.label = format!("the pattern has {}", self.groups.len());
                return Err(error);
            }
            return Ok(Expression { root, groups: self.groups });
        }
        let mut numbers = Vec::with_capacity(self.groups.len());
        let mut groups = Vec::new();
        for name in self.groups {
            numbers.push((!name.is_empty()).then_some(groups.len()));
            if !name.is_empty() {
                groups.push(name);
            }
        }
        Ok(Expression { root: renumber(root, &numbers), groups })
    }
}

/// The parts of a reference, as ranges of the text that holds it.
struct Reference {
    name: std::ops::Range<usize>,
    /// Empty where there is none; begins with the colon.
    field: std::ops::Range<usize>,
    definition: Option<std::ops::Range<usize>>,
    end: usize,
}

impl Reference {
    fn read(text: &str, open: usize) -> Option<Self> {
        let bytes = text.as_bytes();
        let run = |from: usize, more: &[u8]| {
            let ours = |byte: &u8| matches!(byte, b'A'..=b'z' | b'0'..=b'9') || more.contains(byte);
            from + bytes[from..].iter().take_while(|&byte| ours(byte)).count()
        };
        let start = open + 2;
        let name = start..run(start, b"");
        if name.is_empty() {
            return None;
        }
        let mut field = name.end..name.end;
        if bytes.get(name.end) == Some(&b':') {
            let end = run(name.end + 1, b"@:.-");
            if end > name.end + 1 {
                field.end = end;
            }
        }
        let mut at = field.end;
        let mut definition = None;
        if bytes.get(at) == Some(&b'=') {
            let from = at + 1;
            let mut depth = 0;
            let mut to = from;
            while let Some(&byte) = bytes.get(to) {
                match byte {
                    b'\\' => to += 1,
                    b'{' => depth += 1,
                    b'}' if depth == 0 => break,
                    b'}' => depth -= 1,
                    _ => {}
                }
                to += 1;
            }
            let to = to.min(bytes.len());
            if to > from {
                definition = Some(from..to);
                at = to;
            }
        }
        let end = at + text.get(at..)?.find('}')? + 1;
        Some(Self { name, field, definition, end })
    }
}

pub(crate) fn set(class: ClassUnicode) -> Node {
    match class.ranges() {
        [one] if one.start() == one.end() => Node::Char(one.start()),
        _ => Node::Set(Arc::new(CharSet::of(&class))),
    }
}

fn literal(c: char, flags: Flags) -> Node {
    if !flags.ignore_case {
        return Node::Char(c);
    }
    let mut class = charset::ranges(&[(c, c)]);
    class.case_fold_simple();
    set(class)
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Greedy,
    Lazy,
    Possessive,
}

/// A quantifier, if one stands here. A `{` that begins none is plain text.
fn quantifier(cursor: &mut Cursor<'_>) -> Result<Option<(u32, Option<u32>, Kind)>, PatternError> {
    let start = cursor.at;
    let (min, max) = match cursor.peek() {
        Some('*') => (0, None),
        Some('+') => (1, None),
        Some('?') => (0, Some(1)),
        Some('{') => return interval(cursor, start),
        _ => return Ok(None),
    };
    cursor.at += 1;
    let kind = if cursor.eat("?") {
        Kind::Lazy
    } else if cursor.eat("+") {
        Kind::Possessive
    } else {
        Kind::Greedy
    };
    Ok(Some((min, max, kind)))
}

fn interval(cursor: &mut Cursor<'_>, start: usize) -> Result<Option<(u32, Option<u32>, Kind)>, PatternError> {
    cursor.at += 1;
    let low = cursor.digits(10, 10).to_owned();
    let comma = cursor.eat(",");
    let high = if comma { cursor.digits(10, 10).to_owned() } else { low.clone() };
    if (low.is_empty() && high.is_empty()) || !cursor.eat("}") {
        cursor.at = start;
        return Ok(None);
    }
    let number = |digits: &str| digits.parse::<u32>().ok().filter(|&number| number <= MAX_REPEAT);
    let min = if low.is_empty() { Some(0) } else { number(&low) };
    let max = if high.is_empty() { Some(None) } else { number(&high).map(Some) };
    let (Some(min), Some(max)) = (min, max) else {
        return Err(cursor.error(start, cursor.at, "too many repetitions", format!("at most {MAX_REPEAT}")));
    };
    if max.is_some_and(|max| max < min) {
        return Err(cursor.error(
            start,
            cursor.at,
            "the repetitions end below where they begin",
            "expected `{least,most}`",
        ));
    }
    // As in Ruby: `{n}?` is "n times or not at all", and a `+` behind braces repeats instead of possessing.
    let lazy = comma && cursor.eat("?");
    Ok(Some((min, max, if lazy { Kind::Lazy } else { Kind::Greedy })))
}

/// Gives groups their final numbers and drops those that have none.
fn renumber(node: Node, numbers: &[Option<usize>]) -> Node {
    let all = |nodes: Vec<Node>| nodes.into_iter().map(|node| renumber(node, numbers)).collect::<Vec<_>>();
    match node {
        Node::Capture(number, inner) => {
            let inner = renumber(*inner, numbers);
            match numbers[number] {
                Some(number) => Node::Capture(number, Box::new(inner)),
                None => inner,
            }
        }
        Node::Concat(nodes) => Node::concat(all(nodes)),
        Node::Alternate(nodes) => Node::Alternate(all(nodes)),
        Node::Repeat(repeat) => {
            Node::Repeat(Box::new(Repeat { node: renumber(repeat.node, numbers), ..*repeat }))
        }
        Node::Atomic(inner) => Node::Atomic(Box::new(renumber(*inner, numbers))),
        Node::Look(look) => Node::Look(Box::new(Look { node: renumber(look.node, numbers), ..*look })),
        Node::BackReference { groups, ignore_case } => Node::BackReference {
            groups: groups.into_iter().filter_map(|group| numbers[group]).collect(),
            ignore_case,
        },
        node => node,
    }
}
