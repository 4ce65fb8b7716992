//! One JSON value, and the two things JSON has no word for: a timestamp and the difference between 6 and 6.0.

use std::sync::Arc;

use indexmap::IndexMap;

/// An object's members in the order they were written.
pub type Map = IndexMap<Arc<str>, Value, foldhash::fast::RandomState>;

/// Any value a field can hold. `6` and `6.0` are different values, as in Logstash; null is a value, absence is not.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// JSON null.
    Null,
    /// true or false.
    Bool(bool),
    /// An integer of 64 bits.
    Int(i64),
    /// An integer beyond 64 bits, as decimal digits with an optional minus.
    BigInt(Arc<str>),
    /// A floating point number; infinities and NaN are written as the strings `"Infinity"`, `"-Infinity"`, `"NaN"`.
    Float(f64),
    /// An instant in milliseconds since 1970-01-01T00:00:00Z.
    Time(i64),
    /// Text.
    Str(Arc<str>),
    /// A list.
    Array(Vec<Value>),
    /// An object.
    Object(Map),
}

impl Value {
    /// An empty object.
    pub fn object() -> Self {
        Self::Object(Map::default())
    }

    /// The text of a string value.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The type's name as an error message says it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Int(_) | Self::BigInt(_) => "integer",
            Self::Float(_) => "float",
            Self::Time(_) => "timestamp",
            Self::Str(_) => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }

    /// The value as a list, as Ruby's `Array()` makes one: null is empty, an object is a list of pairs, anything else
    /// a list of one.
    #[must_use]
    pub fn into_list(self) -> Vec<Self> {
        match self {
            Self::Null => Vec::new(),
            Self::Array(items) => items,
            Self::Object(map) => {
                map.into_iter().map(|(key, value)| Self::Array(vec![Self::Str(key), value])).collect()
            }
            scalar => vec![scalar],
        }
    }

    /// What lies at `names` below this value; list elements by index, negative from the end.
    pub fn descend(&self, names: &[Arc<str>]) -> Option<&Value> {
        let mut here = self;
        for name in names {
            here = match here {
                Self::Object(map) => map.get(&**name)?,
                Self::Array(items) => &items[index_of(name, items.len())?],
                _ => return None,
            };
        }
        Some(here)
    }

    /// Heap bytes held by this value, roughly.
    pub fn heap_bytes(&self) -> usize {
        // An allocation has a head, and a shared text two counts; a member has a hash, its key and a place in the index.
        const TEXT: usize = 32;
        const MEMBER: usize = size_of::<Value>() + 48;
        match self {
            Self::Str(text) | Self::BigInt(text) => TEXT + text.len(),
            Self::Array(items) => {
                items.capacity() * size_of::<Self>() + items.iter().map(Self::heap_bytes).sum::<usize>()
            }
            Self::Object(map) => {
                map.capacity() * MEMBER
                    + map.iter().map(|(key, value)| TEXT + key.len() + value.heap_bytes()).sum::<usize>()
            }
            _ => 0,
        }
    }
}

/// The place that `name` means in a list of `len`: `0`, `-1` from the end; nothing when it is no number or outside.
pub(crate) fn index_of(name: &str, len: usize) -> Option<usize> {
    let index: i64 = name.parse().ok()?;
    let index = if index < 0 { index + i64::try_from(len).ok()? } else { index };
    usize::try_from(index).ok().filter(|&index| index < len)
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}
impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}
impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}
impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Str(value.into())
    }
}
impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Str(value.into())
    }
}
impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(value: Vec<T>) -> Self {
        Self::Array(value.into_iter().map(Into::into).collect())
    }
}
