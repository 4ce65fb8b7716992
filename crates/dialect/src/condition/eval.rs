//! What a condition answers: for one row, and for whole batches column by column.

use std::cmp::Ordering;

use flowstone_regex::Regex;
use memchr::memmem::Finder;

use crate::access::{Access, Held};
use flowstone_core::event::{
    ABSENT_INT, Batch, BitSet, Cell, Column, Digits, Path, RowView, StrRef, VERSION, Value,
    format_iso_millis, java_f64,
};

/// A condition ready to be asked. Chains of `and` and `or` are flat, so that depth is bounded by the parentheses.
#[derive(Clone, Debug)]
pub(super) enum Expr {
    Constant(bool),
    All(Vec<Expr>),
    Any(Vec<Expr>),
    Xor(Box<[Expr; 2]>),
    Not(Box<Expr>),
    /// `[a]`: there, and neither null, false, `""` nor `"false"`.
    Truthy(Path),
    /// `[a] == 1`.
    Equal {
        path: Path,
        value: Value,
    },
    /// `[a] == [b]`.
    FieldsEqual(Box<[Path; 2]>),
    /// `[a] < 1`.
    Ordered {
        path: Path,
        order: Order,
        value: Value,
    },
    /// `[a] < [b]`.
    FieldsOrdered {
        fields: Box<[Path; 2]>,
        order: Order,
    },
    /// `"x" in [a]`: part of a text, or an element of a list.
    TextInField {
        path: Path,
        finder: Box<Finder<'static>>,
    },
    /// `1 in [a]`: an element of a list.
    NumberInField {
        path: Path,
        value: Value,
    },
    /// `[a] in "text"`.
    FieldInText {
        path: Path,
        text: Box<str>,
    },
    /// `[a] in ["x", "y"]`: equal by text.
    FieldInList {
        path: Path,
        texts: Box<[Box<str>]>,
    },
    /// `[a] in [b]`.
    FieldInField(Box<[Path; 2]>),
    /// `[a] =~ /x/`.
    Matches {
        path: Path,
        regex: Regex,
    },
}

/// The four ways to order two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What a test says about one cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Yes,
    No,
    /// The comparison cannot be made.
    Incomparable,
}

// === impl Order ===

impl Order {
    /// Whether two values that compare like this satisfy it.
    pub(super) fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }

    /// The same with its sides exchanged.
    pub(super) fn flipped(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
        }
    }
}

impl From<bool> for Answer {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

// === impl Expr ===

impl Expr {
    /// All of `terms`.
    pub(super) fn all(terms: Vec<Self>) -> Self {
        Self::joined(terms, Self::All)
    }

    /// Any of `terms`.
    pub(super) fn any(terms: Vec<Self>) -> Self {
        Self::joined(terms, Self::Any)
    }

    fn joined(mut terms: Vec<Self>, join: fn(Vec<Self>) -> Self) -> Self {
        match terms.pop() {
            Some(only) if terms.is_empty() => only,
            Some(last) => {
                terms.push(last);
                join(terms)
            }
            None => join(terms),
        }
    }

    /// The opposite.
    pub(super) fn negated(self) -> Self {
        match self {
            Self::Not(inner) => *inner,
            Self::Constant(value) => Self::Constant(!value),
            other => Self::Not(Box::new(other)),
        }
    }

    /// Calls `each` for every field, in the order of the text.
    pub(super) fn visit_fields(&self, each: &mut impl FnMut(&Path)) {
        match self {
            Self::Constant(_) => {}
            Self::All(terms) | Self::Any(terms) => terms.iter().for_each(|term| term.visit_fields(each)),
            Self::Xor(terms) => terms.iter().for_each(|term| term.visit_fields(each)),
            Self::Not(inner) => inner.visit_fields(each),
            Self::Truthy(path)
            | Self::Equal { path, .. }
            | Self::Ordered { path, .. }
            | Self::TextInField { path, .. }
            | Self::NumberInField { path, .. }
            | Self::FieldInText { path, .. }
            | Self::FieldInList { path, .. }
            | Self::Matches { path, .. } => each(path),
            Self::FieldsEqual(fields) | Self::FieldInField(fields) | Self::FieldsOrdered { fields, .. } => {
                fields.iter().for_each(each);
            }
        }
    }

    /// Whether it holds for one row.
    pub(super) fn holds(&self, row: RowView<'_>) -> bool {
        match self {
            Self::Constant(value) => *value,
            Self::All(terms) => terms.iter().all(|term| term.holds(row)),
            Self::Any(terms) => terms.iter().any(|term| term.holds(row)),
            Self::Xor(terms) => terms[0].holds(row) != terms[1].holds(row),
            Self::Not(inner) => !inner.holds(row),
            Self::FieldsEqual(fields) | Self::FieldInField(fields) | Self::FieldsOrdered { fields, .. } => {
                let [left, right] = &**fields;
                let left = Held::of(row.cell_at(left), || row.get_path(left), left);
                let right = Held::of(row.cell_at(right), || row.get_path(right), right);
                self.test_pair(left.cell(), right.cell()) == Answer::Yes
            }
            Self::Truthy(path)
            | Self::Equal { path, .. }
            | Self::Ordered { path, .. }
            | Self::TextInField { path, .. }
            | Self::NumberInField { path, .. }
            | Self::FieldInText { path, .. }
            | Self::FieldInList { path, .. }
            | Self::Matches { path, .. } => {
                let held = Held::of(row.cell_at(path), || row.get_path(path), path);
                self.test(held.cell()) == Answer::Yes
            }
        }
    }

    /// For which of `rows` it holds; the right side of `and` and `or` is asked only for the rows that still matter.
    pub(super) fn select(&self, batch: &Batch, rows: &BitSet, incomparable: &mut u64) -> BitSet {
        match self {
            Self::Constant(true) => rows.clone(),
            Self::Constant(false) => BitSet::none(rows.len()),
            Self::All(terms) => {
                let mut left = rows.clone();
                for term in terms {
                    left = term.select(batch, &left, incomparable);
                }
                left
            }
            Self::Any(terms) => {
                let mut open = rows.clone();
                for term in terms {
                    let found = term.select(batch, &open, incomparable);
                    open.subtract(&found);
                }
                without(rows, &open)
            }
            Self::Xor(terms) => {
                let left = terms[0].select(batch, rows, incomparable);
                let right = terms[1].select(batch, rows, incomparable);
                let mut both = left.clone();
                both.intersect(&right);
                let neither = without(&without(rows, &left), &right);
                without(&without(rows, &both), &neither)
            }
            Self::Not(inner) => without(rows, &inner.select(batch, rows, incomparable)),
            Self::FieldsEqual(fields) | Self::FieldInField(fields) | Self::FieldsOrdered { fields, .. } => {
                let [left, right] = fields.each_ref().map(|path| Access::of(batch, path));
                collect(rows, incomparable, |row| {
                    let (left, right) = (left.held(batch, row), right.held(batch, row));
                    self.test_pair(left.cell(), right.cell())
                })
            }
            Self::Truthy(path)
            | Self::Equal { path, .. }
            | Self::Ordered { path, .. }
            | Self::TextInField { path, .. }
            | Self::NumberInField { path, .. }
            | Self::FieldInText { path, .. }
            | Self::FieldInList { path, .. }
            | Self::Matches { path, .. } => self.scan(batch, &Access::of(batch, path), rows, incomparable),
        }
    }

    /// Tests one field of `rows`, the kind of its column looked at once.
    fn scan(&self, batch: &Batch, access: &Access<'_>, rows: &BitSet, incomparable: &mut u64) -> BitSet {
        let same = |answer: Answer, incomparable: &mut u64| match answer {
            Answer::Yes => rows.clone(),
            Answer::No => BitSet::none(rows.len()),
            Answer::Incomparable => {
                *incomparable += rows.count() as u64;
                BitSet::none(rows.len())
            }
        };
        let Access::Column { index, path } = *access else {
            return match access {
                Access::Nowhere { path } => {
                    let held = Held::of(Cell::Absent, || None, path);
                    same(self.test(held.cell()), incomparable)
                }
                _ => collect(rows, incomparable, |row| self.test(access.held(batch, row).cell())),
            };
        };
        let absent = || self.test(Held::of(Cell::Absent, || None, path).cell());
        match (batch.column(index), self) {
            (Column::Absent, _) => same(absent(), incomparable),
            (Column::Const(value), _) => same(self.test(Cell::of(value)), incomparable),
            (Column::Str(cells), Self::TextInField { finder, .. }) => {
                let texts = Texts::of(batch);
                let needle = finder.needle();
                collect(rows, incomparable, |row| {
                    // `OK` is the last word of a flow log line: looking there first saves most searches.
                    texts
                        .get(cells[row])
                        .is_some_and(|text| text.ends_with(needle) || finder.find(text).is_some())
                        .into()
                })
            }
            (Column::Str(cells), Self::Equal { value: Value::Str(word), .. }) if path.as_str() != VERSION => {
                let texts = Texts::of(batch);
                collect(rows, incomparable, |row| (texts.get(cells[row]) == Some(word.as_bytes())).into())
            }
            (Column::Str(cells), Self::FieldInList { texts: words, .. }) if path.as_str() != VERSION => {
                let texts = Texts::of(batch);
                collect(rows, incomparable, |row| {
                    texts
                        .get(cells[row])
                        .is_some_and(|text| words.iter().any(|word| word.as_bytes() == text))
                        .into()
                })
            }
            (Column::Int(cells), Self::Ordered { order, value: Value::Int(number), .. }) => {
                collect(rows, incomparable, |row| match cells[row] {
                    ABSENT_INT => Answer::Incomparable,
                    cell => order.holds(cell.cmp(number)).into(),
                })
            }
            (Column::Int(cells), Self::Equal { value: Value::Int(number), .. }) => {
                collect(rows, incomparable, |row| (cells[row] == *number && *number != ABSENT_INT).into())
            }
            _ => collect(rows, incomparable, |row| self.test(access.held(batch, row).cell())),
        }
    }

    /// Tests one value. Only for the kinds that read one field.
    fn test(&self, cell: Cell<'_>) -> Answer {
        match self {
            Self::Truthy(_) => is_truthy(cell).into(),
            Self::Equal { value, .. } => are_equal(cell, Cell::of(value)).into(),
            Self::Ordered { order, value, .. } => match compare(cell, Cell::of(value)) {
                Some(ordering) => order.holds(ordering).into(),
                None => Answer::Incomparable,
            },
            Self::TextInField { finder, .. } => match cell {
                Cell::Str(text) => finder.find(text.as_bytes()).is_some().into(),
                Cell::Tags(tags) => tags.iter().any(|tag| tag.as_bytes() == finder.needle()).into(),
                Cell::Any(Value::Array(items)) => {
                    let found =
                        |item: &Value| item.as_str().is_some_and(|text| text.as_bytes() == finder.needle());
                    items.iter().any(found).into()
                }
                _ => Answer::No,
            },
            Self::NumberInField { value, .. } => match cell {
                Cell::Any(Value::Array(items)) => items.contains(value).into(),
                _ => Answer::No,
            },
            Self::FieldInText { text, .. } => cell.as_str().is_some_and(|part| text.contains(part)).into(),
            Self::FieldInList { texts, .. } => {
                with_text(cell, |text| texts.iter().any(|item| **item == *text)).unwrap_or(false).into()
            }
            Self::Matches { regex, .. } => match cell.as_str() {
                Some(text) => regex.is_match(text).map_or(Answer::Incomparable, Answer::from),
                None => Answer::No,
            },
            _ => Answer::No,
        }
    }

    /// Tests two values. Only for the kinds that read two fields.
    fn test_pair(&self, left: Cell<'_>, right: Cell<'_>) -> Answer {
        match self {
            Self::FieldsEqual(_) => are_equal(left, right).into(),
            Self::FieldsOrdered { order, .. } => match compare(left, right) {
                Some(ordering) => order.holds(ordering).into(),
                None => Answer::Incomparable,
            },
            Self::FieldInField(_) => is_in(left, right).into(),
            _ => Answer::No,
        }
    }
}

/// The texts of a batch's string cells, the pages looked up once.
struct Texts<'a>(Vec<&'a [u8]>);

impl<'a> Texts<'a> {
    fn of(batch: &'a Batch) -> Self {
        Self(batch.pages().iter().map(|page| page.as_str().as_bytes()).collect())
    }

    /// The text of a cell; none if it is absent.
    #[inline]
    fn get(&self, place: StrRef) -> Option<&'a [u8]> {
        let page = *self.0.get(place.page as usize)?;
        page.get(place.offset as usize..place.offset as usize + place.len as usize)
    }
}

/// The rows for which `test` says yes.
fn collect(rows: &BitSet, incomparable: &mut u64, mut test: impl FnMut(usize) -> Answer) -> BitSet {
    rows.filter(|row| match test(row) {
        Answer::Yes => true,
        Answer::No => false,
        Answer::Incomparable => {
            *incomparable += 1;
            false
        }
    })
}

fn without(rows: &BitSet, less: &BitSet) -> BitSet {
    let mut left = rows.clone();
    left.subtract(less);
    left
}

fn is_truthy(cell: Cell<'_>) -> bool {
    !matches!(cell, Cell::Absent | Cell::Null | Cell::Bool(false) | Cell::Str("" | "false"))
}

/// Equality of the Java engine: by type, so that `1`, `1.0` and `"1"` all differ; two missing fields are equal.
fn are_equal(left: Cell<'_>, right: Cell<'_>) -> bool {
    match (left, right) {
        (Cell::Tags(tags), Cell::Any(Value::Array(items)))
        | (Cell::Any(Value::Array(items)), Cell::Tags(tags)) => {
            tags.len() == items.len()
                && tags.iter().zip(items).all(|(tag, item)| item.as_str() == Some(&**tag))
        }
        (Cell::Object(left), Cell::Object(right)) => left.to_value() == right.to_value(),
        (Cell::Object(object), Cell::Any(value)) | (Cell::Any(value), Cell::Object(object)) => {
            matches!(value, Value::Object(_)) && object.to_value() == *value
        }
        _ => left == right,
    }
}

/// How two values compare, if they do: numbers with numbers, strings with strings by their bytes, timestamps with
/// timestamps.
fn compare(left: Cell<'_>, right: Cell<'_>) -> Option<Ordering> {
    match (left, right) {
        (Cell::Int(left), Cell::Int(right)) | (Cell::Time(left), Cell::Time(right)) => Some(left.cmp(&right)),
        (Cell::Str(left), Cell::Str(right)) => Some(left.cmp(right)),
        (Cell::Any(Value::BigInt(left)), Cell::Any(Value::BigInt(right))) => {
            Some(compare_digits(left, right))
        }
        _ => number(left)?.partial_cmp(&number(right)?),
    }
}

/// Integers beyond 64 bits: no leading zeros, an optional minus.
fn compare_digits(left: &str, right: &str) -> Ordering {
    let magnitude = |left: &str, right: &str| left.len().cmp(&right.len()).then_with(|| left.cmp(right));
    match (left.strip_prefix('-'), right.strip_prefix('-')) {
        (None, None) => magnitude(left, right),
        (Some(left), Some(right)) => magnitude(right, left),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
    }
}

fn number(cell: Cell<'_>) -> Option<f64> {
    match cell {
        Cell::Int(number) => Some(number as f64),
        Cell::Float(number) => Some(number),
        Cell::Any(Value::BigInt(digits)) => digits.parse().ok(),
        _ => None,
    }
}

/// How two constants compare; Java compares only equal types.
pub(super) fn compare_constants(left: &Value, right: &Value) -> Option<Ordering> {
    (std::mem::discriminant(left) == std::mem::discriminant(right))
        .then(|| compare(Cell::of(left), Cell::of(right)))?
}

/// `[left] in [right]`.
fn is_in(left: Cell<'_>, right: Cell<'_>) -> bool {
    match (left, right) {
        (
            Cell::Tags(_) | Cell::Object(_) | Cell::Any(Value::Array(_) | Value::Object(_)) | Cell::Absent,
            _,
        ) => false,
        (Cell::Str(part), Cell::Str(text)) => text.contains(part),
        (Cell::Str(text), Cell::Tags(tags)) => tags.iter().any(|tag| **tag == *text),
        (_, Cell::Any(Value::Array(items))) => items.iter().any(|item| are_equal(left, Cell::of(item))),
        _ => are_equal(left, right),
    }
}

/// Calls `each` with a scalar's text, as `in` compares a field with a list; nothing for lists and objects.
fn with_text<T>(cell: Cell<'_>, each: impl FnOnce(&str) -> T) -> Option<T> {
    Some(match cell {
        Cell::Absent | Cell::Tags(_) | Cell::Object(_) | Cell::Any(Value::Array(_) | Value::Object(_)) => {
            return None;
        }
        Cell::Null => each(""),
        Cell::Bool(value) => each(if value { "true" } else { "false" }),
        Cell::Int(value) => each(Digits::of(value).as_str()),
        Cell::Float(value) => each(&java_f64(value)),
        Cell::Time(millis) => each(&format_iso_millis(millis)),
        Cell::Str(text) => each(text),
        Cell::Any(Value::BigInt(digits)) => each(digits),
        Cell::Any(_) => return None,
    })
}
