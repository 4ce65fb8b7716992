//! Reads a pattern: a regular expression in Oniguruma's Ruby syntax with grok's `%{NAME:field:type}` in it. References
//! are parsed where they stand, so that an error in a definition points into that definition.

use std::collections::HashMap;
use std::sync::Arc;

use regex_syntax::hir::ClassUnicode;

use crate::ast::{Assert, Expression, Look, Node, Repeat};
use crate::charset::{self, CharSet};
use crate::cursor::Cursor;
use crate::error::{PatternError, Source};
use crate::names::{Definitions, NameError, nearest};

/// Oniguruma's own limit for `{n,m}`.
const MAX_REPEAT: u32 = 100_000;
/// Groups, references and repetitions within one another; a guard for the stack.
const MAX_DEPTH: usize = 200;
/// Characters, classes and places of an expression, references replaced.
const MAX_NODES: usize = 200_000;
/// An expression that unfolds to more than this cannot match any text that there is.
const MAX_UNFOLDED: usize = 1_000_000_000;

/// Whose syntax a pattern is in.
#[derive(Clone, Copy)]
pub(crate) enum Syntax<'n> {
    /// Ruby's.
    Ruby,
    /// Grok's: the dot matches newlines and `%{NAME}` stands for another expression.
    Grok {
        /// What the names stand for.
        names: &'n dyn Definitions,
        /// A reference without a field (`%{WORD}`) is no group; otherwise it is one of its own name.
        named_only: bool,
    },
}

/// How large a pattern may be.
pub(crate) struct Bounds {
    /// Bytes of its text.
    bytes: usize,
    /// Weight of what the linear engine takes.
    pub(crate) weight: usize,
}

/// Reads `pattern`.
pub(crate) fn parse(pattern: &str, syntax: Syntax<'_>, bounds: &Bounds) -> Result<Expression, PatternError> {
    let mut parser = Parser {
        syntax,
        inline: HashMap::new(),
        groups: Vec::new(),
        numbered: None,
        within: Vec::new(),
        references: 0,
        depth: 0,
        nodes: 0,
    };
    let mut cursor = Cursor { text: pattern, at: 0, base: 0, source: Source::Pattern };
    let end = pattern.len().min(bounds.bytes);
    if pattern.len() > bounds.bytes {
        let label = format!("at most {} bytes, not {}", bounds.bytes, pattern.len());
        return Err(cursor.error(0, pattern.floor_char_boundary(end), "the expression is too long", label));
    }
    let dot_all = matches!(syntax, Syntax::Grok { .. });
    let flags = Flags { ignore_case: false, dot_all, extended: false };
    let root = parser.whole(&mut cursor, flags)?;
    if root.unfolded() > MAX_UNFOLDED {
        let label = "no text is that long".to_owned();
        return Err(cursor.error(0, pattern.len(), "the expression repeats too much", label));
    }
    parser.finish(root)
}

/// What the options in `(?imx)` say.
#[derive(Clone, Copy)]
pub(crate) struct Flags {
    pub(crate) ignore_case: bool,
    dot_all: bool,
    extended: bool,
}

pub(crate) struct Parser<'n> {
    pub(crate) syntax: Syntax<'n>,
    /// Definitions made within the pattern, `%{NAME=regex}`: the expression, its place and its source.
    pub(crate) inline: HashMap<String, (String, usize, Source)>,
    /// Names by group number; empty for unnamed groups.
    groups: Vec<String>,
    /// Where a numbered back reference stands, and the largest number.
    numbered: Option<(PatternError, usize)>,
    /// The names being expanded, outermost first.
    pub(crate) within: Vec<String>,
    pub(crate) references: usize,
    depth: usize,
    nodes: usize,
}

// === impl Bounds ===

impl Bounds {
    /// For what stands in the configuration.
    pub(crate) const CONFIGURED: Self = Self { bytes: 64 << 10, weight: 1 << 18 };
    /// For what an event brings: compiled in a fraction of a millisecond.
    pub(crate) const FROM_EVENT: Self = Self { bytes: 512, weight: 1 << 12 };
}

// === impl Parser ===

impl Parser<'_> {
    pub(crate) fn whole(&mut self, cursor: &mut Cursor<'_>, flags: Flags) -> Result<Node, PatternError> {
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
        self.check_depth(cursor, self.depth)?;
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

    fn check_depth(&self, cursor: &Cursor<'_>, depth: usize) -> Result<(), PatternError> {
        if depth <= MAX_DEPTH {
            return Ok(());
        }
        let (at, label) = (cursor.at, format!("at most {MAX_DEPTH}"));
        Err(cursor.error(at, at + 1, "groups are nested too deeply", label))
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
        let start = cursor.at;
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let label = format!("at most {MAX_NODES} characters and classes");
            return Err(cursor.error(start, start + 1, "the expression is too large", label));
        }
        let mut node = self.atom(cursor, flags)?;
        let mut depth = self.depth;
        while let Some((min, max, kind)) = quantifier(cursor)? {
            depth += 1;
            self.check_depth(cursor, depth)?;
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
        if let Syntax::Grok { names, named_only } = self.syntax
            && cursor.rest().starts_with("%{")
            && let Some(node) = self.reference(cursor, flags, names, named_only)?
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
            'A' => Some(Assert::TextStart),
            // Where the search begins. Grok's begin with the text; a substitution's begin anew behind each match.
            'G' if matches!(self.syntax, Syntax::Grok { .. }) => Some(Assert::TextStart),
            'Z' => Some(Assert::TextEndNewline),
            'z' => Some(Assert::TextEnd),
            _ => None,
        };
        if let Some(assert) = assert {
            cursor.at += 1;
            return Ok(Node::Assert(assert));
        }
        match c {
            'K' => {
                cursor.at += 1;
                // Grok does not use the start of the match for anything, so that moving it changes nothing.
                let is_grok = matches!(self.syntax, Syntax::Grok { .. });
                return Ok(if is_grok { Node::Empty } else { Node::Keep });
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
            'X' | 'g' | 'G' => {
                let what = match c {
                    'X' => "a grapheme cluster",
                    'g' => "a call of a group",
                    _ => "the start of the search",
                };
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

    pub(crate) fn check_name(&self, cursor: &Cursor<'_>, at: usize, full: &str) -> Result<(), PatternError> {
        let checked = match self.syntax {
            Syntax::Grok { names, .. } => names.check(full),
            Syntax::Ruby if full.is_empty() => Err(NameError {
                start: 0,
                end: 1,
                message: "a group's name is empty".to_owned(),
                label: "expected a name".to_owned(),
            }),
            Syntax::Ruby => Ok(()),
        };
        checked.map_err(|why| cursor.error(at + why.start, at + why.end, why.message, why.label))
    }

    pub(crate) fn new_group(&mut self, name: &str) -> usize {
        self.groups.push(name.to_owned());
        self.groups.len() - 1
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
        // A substitution may ask for groups by their number.
        if !named && matches!(self.syntax, Syntax::Ruby) {
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
        Ok(Expression { root: root.renumbered(&numbers), groups })
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
