//! From text to [`Expr`]: the grammar of Logstash's conditionals and what its Java engine refuses at start.
//!
//! ```text
//! condition  = expression (("and" | "or" | "xor" | "nand") expression)*
//! expression = "(" condition ")" | "!" "(" condition ")" | "!" field
//!            | operand ("in" | "not in" | "==" | "!=" | "<" | "<=" | ">" | ">=") operand
//!            | operand ("=~" | "!~") (string | regex) | operand
//! ```

use flowstone_regex::Regex;
use memchr::memmem::Finder;

use super::eval::{Expr, Order};
use super::lexer::{Cursor, MAX_DEPTH, Operand, OperandKind};
use crate::ExprError;
use flowstone_core::event::{Path, Value};

/// Reads a whole condition; the second part are warnings.
pub(super) fn parse(text: &str) -> Result<(Expr, Vec<ExprError>), ExprError> {
    let mut parser = Parser { cursor: Cursor::new(text), warnings: Vec::new() };
    let expr = parser.condition(0)?;
    parser.cursor.skip_blanks();
    if parser.cursor.is_at_end() { Ok((expr, parser.warnings)) } else { Err(parser.left_over()) }
}

struct Parser<'a> {
    cursor: Cursor<'a>,
    warnings: Vec<ExprError>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Join {
    And,
    Or,
    Xor,
    Nand,
}

#[derive(Clone, Copy)]
enum Operator {
    In,
    NotIn,
    Equal,
    NotEqual,
    Order(Order),
    Match,
    NotMatch,
}

// === impl Parser ===

impl Parser<'_> {
    fn condition(&mut self, depth: usize) -> Result<Expr, ExprError> {
        // Alternatives of `or`, each a conjunction of `and`: both kept flat, so that a long chain is no deep tree.
        let mut alternatives: Vec<Vec<Expr>> = vec![vec![self.expression(depth)?]];
        let mut special: Option<(Join, usize, Expr)> = None;
        let mut joins = 0;
        loop {
            self.cursor.skip_blanks();
            let at = self.cursor.at();
            let Some(join) = self.join() else { break };
            joins += 1;
            if joins > 1 && (special.is_some() || matches!(join, Join::Xor | Join::Nand)) {
                let (at, end) = special.map_or((at, self.cursor.at()), |(_, at, _)| (at, at + 3));
                return Err(ExprError::new(
                    "`xor` and `nand` do not mix with other operators",
                    "put parentheses around one side",
                    at,
                    end,
                ));
            }
            let right = self.expression(depth)?;
            match join {
                Join::And => match alternatives.last_mut() {
                    Some(terms) => terms.push(right),
                    None => alternatives.push(vec![right]),
                },
                Join::Or => alternatives.push(vec![right]),
                Join::Xor | Join::Nand => special = Some((join, at, right)),
            }
        }
        let left = Expr::any(alternatives.into_iter().map(Expr::all).collect());
        Ok(match special {
            Some((Join::Xor, _, right)) => Expr::Xor(Box::new([left, right])),
            Some((_, _, right)) => Expr::all(vec![left, right]).negated(),
            None => left,
        })
    }

    fn join(&mut self) -> Option<Join> {
        [("and", Join::And), ("or", Join::Or), ("xor", Join::Xor), ("nand", Join::Nand)]
            .into_iter()
            .find_map(|(word, join)| self.cursor.eat(word).then_some(join))
    }

    fn expression(&mut self, depth: usize) -> Result<Expr, ExprError> {
        self.cursor.skip_blanks();
        let start = self.cursor.at();
        if depth >= MAX_DEPTH {
            return Err(ExprError::new(
                "parentheses nest too deep",
                format!("at most {MAX_DEPTH} levels"),
                start,
                start + 1,
            ));
        }
        if self.cursor.eat("(") {
            return self.closed(start, depth);
        }
        if self.cursor.eat("!") {
            self.cursor.skip_blanks();
            let open = self.cursor.at();
            if self.cursor.eat("(") {
                return Ok(self.closed(open, depth)?.negated());
            }
            let Some(path) = self.cursor.field() else {
                return Err(self.cursor.error("expected `(` or a field `[name]` after `!`"));
            };
            self.warn_list_of_one(&path, open);
            return Ok(Expr::Truthy(path).negated());
        }
        let left = self.operand()?;
        self.cursor.skip_blanks();
        let at = self.cursor.at();
        let Some(operator) = self.operator() else {
            return match left.kind {
                OperandKind::Field(path) => Ok(Expr::Truthy(path)),
                _ => Err(ExprError::new(
                    "a constant is no condition",
                    "expected a field `[name]` or a comparison",
                    left.start,
                    left.end,
                )),
            };
        };
        let end = self.cursor.at();
        self.cursor.skip_blanks();
        let right = self.operand()?;
        let expr = match operator {
            Operator::In | Operator::NotIn => contained(left, right, at, end)?,
            Operator::Equal | Operator::NotEqual => equal(left, right)?,
            Operator::Order(order) => ordered(order, left, right)?,
            Operator::Match | Operator::NotMatch => matched(left, right)?,
        };
        Ok(match operator {
            Operator::NotIn | Operator::NotEqual | Operator::NotMatch => expr.negated(),
            _ => expr,
        })
    }

    /// The rest of a condition in parentheses that opened at `open`.
    fn closed(&mut self, open: usize, depth: usize) -> Result<Expr, ExprError> {
        let inner = self.condition(depth + 1)?;
        self.cursor.skip_blanks();
        if self.cursor.eat(")") {
            return Ok(inner);
        }
        Err(if self.cursor.is_at_end() {
            ExprError::new("the parenthesis is not closed", "expected `)` for this one", open, open + 1)
        } else {
            self.left_over()
        })
    }

    fn operand(&mut self) -> Result<Operand, ExprError> {
        let operand = self.cursor.operand()?;
        if let OperandKind::Field(path) = &operand.kind {
            self.warn_list_of_one(path, operand.start);
        }
        Ok(operand)
    }

    fn warn_list_of_one(&mut self, path: &Path, start: usize) {
        let [name] = path.names() else { return };
        let bare = name.trim();
        if bare.len() > 1 && bare.starts_with(['"', '\'']) && bare.ends_with(['"', '\'']) {
            self.warnings.push(ExprError::new(
                format!("`[{name}]` is a field with quotes in its name, not a list of one"),
                format!("to compare with one text, write `[field] == {bare}`"),
                start,
                self.cursor.at(),
            ));
        }
    }

    fn operator(&mut self) -> Option<Operator> {
        for (token, operator) in [
            ("in", Operator::In),
            ("==", Operator::Equal),
            ("!=", Operator::NotEqual),
            ("<=", Operator::Order(Order::LessOrEqual)),
            (">=", Operator::Order(Order::GreaterOrEqual)),
            ("<", Operator::Order(Order::Less)),
            (">", Operator::Order(Order::Greater)),
            ("=~", Operator::Match),
            ("!~", Operator::NotMatch),
        ] {
            if self.cursor.eat(token) {
                return Some(operator);
            }
        }
        let mut ahead = self.cursor;
        if ahead.eat("not ") {
            ahead.skip_blanks();
            if ahead.eat("in") {
                self.cursor = ahead;
                return Some(Operator::NotIn);
            }
        }
        None
    }

    /// Something stands where an operator or the end was expected.
    fn left_over(&self) -> ExprError {
        let rest = self.cursor.rest();
        let label = if rest.starts_with("&&") {
            "write `and`".to_owned()
        } else if rest.starts_with("||") {
            "write `or`".to_owned()
        } else if ["==", "!=", "<", ">", "=~", "!~"].iter().any(|operator| rest.starts_with(operator)) {
            "expected `and`, `or` or the end; a negated comparison is `!([field] == ...)`".to_owned()
        } else if rest.starts_with('=') {
            "write `==` to compare, `=~` to match a regular expression".to_owned()
        } else if rest.starts_with('#') {
            "a comment ends with its line: add a line break or take it out".to_owned()
        } else {
            let word = self.cursor.word();
            match flowstone_core::nearest(word, ["and", "or", "xor", "nand", "in", "not in"]) {
                Some(name) if word.len() > 1 => format!("did you mean `{name}`?"),
                _ => "expected `and`, `or`, a comparison or the end".to_owned(),
            }
        };
        self.cursor.error(label)
    }
}

fn contained(left: Operand, right: Operand, at: usize, end: usize) -> Result<Expr, ExprError> {
    Ok(match (left.kind, right.kind) {
        (OperandKind::Field(path), OperandKind::Scalar(value)) => {
            Expr::FieldInText { path, text: text_of(&value).unwrap_or_default() }
        }
        (OperandKind::Scalar(Value::Str(text)), OperandKind::Field(path)) => {
            Expr::TextInField { path, finder: Box::new(Finder::new(text.as_bytes()).into_owned()) }
        }
        (OperandKind::Scalar(value), OperandKind::Field(path)) => Expr::NumberInField { path, value },
        (OperandKind::Field(path), OperandKind::List(items)) => {
            Expr::FieldInList { path, texts: items.iter().filter_map(text_of).collect() }
        }
        (OperandKind::Field(left), OperandKind::Field(right)) => Expr::FieldInField(Box::new([left, right])),
        (OperandKind::Regex(_), _)
        | (_, OperandKind::Regex(_))
        | (OperandKind::List(_), OperandKind::Field(_)) => {
            return Err(ExprError::new(
                "`in` cannot look for that there",
                "expected a field, a string or a number in a field, a string or a list",
                at,
                end,
            ));
        }
        // Two constants: Logstash compares them whole, it looks for no part.
        (OperandKind::Scalar(left), OperandKind::Scalar(right)) => Expr::Constant(left == right),
        (OperandKind::List(left), OperandKind::List(right)) => Expr::Constant(left == right),
        (OperandKind::Scalar(_), OperandKind::List(_)) | (OperandKind::List(_), OperandKind::Scalar(_)) => {
            Expr::Constant(false)
        }
    })
}

fn equal(left: Operand, right: Operand) -> Result<Expr, ExprError> {
    Ok(match (comparable(left, false)?, comparable(right, true)?) {
        (Side::Field(path), Side::Value(value)) | (Side::Value(value), Side::Field(path)) => {
            Expr::Equal { path, value }
        }
        (Side::Field(left), Side::Field(right)) => Expr::FieldsEqual(Box::new([left, right])),
        (Side::Value(left), Side::Value(right)) => Expr::Constant(left == right),
    })
}

fn ordered(order: Order, left: Operand, right: Operand) -> Result<Expr, ExprError> {
    let (start, end) = (left.start, right.end);
    Ok(match (comparable(left, false)?, comparable(right, true)?) {
        (Side::Field(path), Side::Value(value)) => Expr::Ordered { path, order, value },
        (Side::Value(value), Side::Field(path)) => Expr::Ordered { path, order: order.flipped(), value },
        (Side::Field(left), Side::Field(right)) => {
            Expr::FieldsOrdered { fields: Box::new([left, right]), order }
        }
        (Side::Value(left), Side::Value(right)) => match super::eval::compare_constants(&left, &right) {
            Some(ordering) => Expr::Constant(order.holds(ordering)),
            None => {
                return Err(ExprError::new(
                    format!("a {} and a {} cannot be compared", left.kind(), right.kind()),
                    "expected two strings, two integers or two floats",
                    start,
                    end,
                ));
            }
        },
    })
}

fn matched(left: Operand, right: Operand) -> Result<Expr, ExprError> {
    let (pattern, at) = match right.kind {
        OperandKind::Regex(pattern) => (pattern, right.start + 1),
        OperandKind::Scalar(Value::Str(pattern)) => (pattern.to_string(), right.start + 1),
        _ => {
            return Err(ExprError::new(
                "no regular expression to match with",
                "expected `/.../` or a string",
                right.start,
                right.end,
            ));
        }
    };
    let regex = Regex::new(&pattern).map_err(|error| ExprError::from(error).shifted(at))?;
    match left.kind {
        OperandKind::Field(path) => Ok(Expr::Matches { path, regex }),
        OperandKind::Scalar(Value::Str(text)) => Ok(Expr::Constant(regex.is_match(&text) == Some(true))),
        _ => Err(ExprError::new(
            "only a field or a string can match",
            "expected `[field] =~ /.../`",
            left.start,
            left.end,
        )),
    }
}

enum Side {
    Field(Path),
    Value(Value),
}

/// A side of a comparison. A list on the right counts as its first element, as in Logstash's Java engine.
fn comparable(operand: Operand, right: bool) -> Result<Side, ExprError> {
    let value = match operand.kind {
        OperandKind::Field(path) => return Ok(Side::Field(path)),
        OperandKind::Scalar(value) => Some(value),
        OperandKind::List(items) if right => first_scalar(items),
        OperandKind::List(_) | OperandKind::Regex(_) => None,
    };
    value.map(Side::Value).ok_or_else(|| {
        ExprError::new(
            "that cannot be compared",
            "expected a field `[name]`, a string or a number",
            operand.start,
            operand.end,
        )
    })
}

fn first_scalar(items: Vec<Value>) -> Option<Value> {
    match items.into_iter().next()? {
        Value::Array(inner) => first_scalar(inner),
        scalar => Some(scalar),
    }
}

/// A literal as `in` compares it: by its text. A list within a list equals no text.
fn text_of(value: &Value) -> Option<Box<str>> {
    match value {
        Value::Str(text) | Value::BigInt(text) => Some(Box::from(&**text)),
        Value::Int(number) => Some(number.to_string().into()),
        Value::Float(number) => Some(flowstone_core::event::java_f64(*number).into()),
        _ => None,
    }
}
