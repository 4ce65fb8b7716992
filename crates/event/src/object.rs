//! Objects that many rows share, as the JSON text in which they are written: made once, and parsed only to read a member.

use std::sync::Arc;

use crate::out::Fragment;
use crate::{Cell, Map, Value, write_json_cell, write_json_str};

/// An object as its own JSON text. A clone costs a reference count; a member is parsed out of the text on demand.
///
/// Only [`ObjectWriter`] makes one, so the text is JSON without blanks, spelled as this crate spells it. Values that JSON does
/// not have are strings in it: instants, and numbers that are not finite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectText(Arc<str>);

/// Writes an [`ObjectText`] member by member, and then the next one. Names must differ; nothing checks that.
#[derive(Debug)]
pub struct ObjectWriter {
    /// Each member behind a comma; the first comma of an object becomes its brace.
    text: Vec<u8>,
    /// Where the members of each open object begin.
    open: Vec<usize>,
    /// The last floats and the ranges of their digits: coordinates are often written twice, and formatting is slow.
    floats: [(f64, std::ops::Range<usize>); 2],
}

const NO_FLOATS: [(f64, std::ops::Range<usize>); 2] = [(f64::NAN, 0..0), (f64::NAN, 0..0)];

/// The name of a member as it is written, for names that many objects have.
#[derive(Clone, Debug)]
pub struct MemberName(Fragment);

// === impl MemberName ===

impl MemberName {
    /// A name, escaped once and for all.
    pub fn of(name: &str) -> Self {
        let mut text = vec![b','];
        write_json_str(name, &mut text);
        text.push(b':');
        Self(Fragment::of(text))
    }
}

// === impl ObjectText ===

impl ObjectText {
    /// An object without members.
    pub fn empty() -> Self {
        Self("{}".into())
    }

    /// The text of an object.
    pub fn of(members: &Map) -> Self {
        let mut text = ObjectWriter::default();
        text.members(members);
        text.finish()
    }

    /// The JSON text, braces included.
    #[inline]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it has no members.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.len() == 2
    }

    /// The object itself.
    pub fn to_map(&self) -> Map {
        match (Reader { rest: &self.0 }).value() {
            Value::Object(map) => map,
            _ => Map::default(),
        }
    }

    /// What lies at `names` below it; see [`Value::descend`].
    pub fn get(&self, names: &[Arc<str>]) -> Option<Value> {
        let mut here: &str = &self.0;
        for (depth, name) in names.iter().enumerate() {
            let mut reader = Reader { rest: here };
            if !here.starts_with('{') {
                return reader.value().descend(&names[depth..]).cloned();
            }
            here = reader.members().find(|(found, _)| *found == **name)?.1;
        }
        Some(Reader { rest: here }.value())
    }

    /// Its members that are objects, and the names of those that are not.
    pub fn parts(&self) -> Vec<(String, Option<Self>)> {
        let part = |(name, text): (std::borrow::Cow<'_, str>, &str)| {
            (name.into_owned(), text.starts_with('{').then(|| Self(text.into())))
        };
        Reader { rest: &self.0 }.members().map(part).collect()
    }
}

// === impl ObjectWriter ===

impl Default for ObjectWriter {
    fn default() -> Self {
        // Grown once at most: an object of a dozen members has some 300 bytes.
        Self { text: Vec::with_capacity(480), open: Vec::new(), floats: NO_FLOATS }
    }
}

impl ObjectWriter {
    /// Writes a member; one that is absent is none.
    pub fn member(&mut self, name: &MemberName, value: Cell<'_>) {
        if value.is_absent() {
            return;
        }
        name.0.push_to(&mut self.text);
        self.value(value);
    }

    fn value(&mut self, value: Cell<'_>) {
        let Cell::Float(float) = value else { return write_json_cell(value, &mut self.text) };
        // By bits: 0.0 and -0.0 are spelled differently.
        match self.floats.iter().find(|(known, _)| known.to_bits() == float.to_bits() && !known.is_nan()) {
            Some((_, digits)) => self.text.extend_from_within(digits.clone()),
            None => {
                let start = self.text.len();
                write_json_cell(value, &mut self.text);
                self.floats.rotate_right(1);
                self.floats[0] = (float, start..self.text.len());
            }
        }
    }

    /// Begins a member that is an object; what follows are its members, until [`ObjectWriter::close`].
    pub fn open(&mut self, name: &MemberName) {
        name.0.push_to(&mut self.text);
        self.open.push(self.text.len());
    }

    /// Ends the member that was begun last.
    pub fn close(&mut self) {
        if let Some(start) = self.open.pop() {
            self.brace(start);
        }
    }

    /// Ends all that is open and gives the object. What follows belongs to another one.
    pub fn finish(&mut self) -> ObjectText {
        while !self.open.is_empty() {
            self.close();
        }
        self.brace(0);
        // All of it came as text.
        let object = ObjectText(str::from_utf8(&self.text).unwrap_or("{}").into());
        self.text.clear();
        self.floats = NO_FLOATS;
        object
    }

    fn brace(&mut self, start: usize) {
        match self.text.get_mut(start) {
            Some(comma) => *comma = b'{',
            None => self.text.push(b'{'),
        }
        self.text.push(b'}');
    }

    fn members(&mut self, members: &Map) {
        for (name, value) in members {
            match value {
                Value::Object(inner) => {
                    self.open(&MemberName::of(name));
                    self.members(inner);
                    self.close();
                }
                value => self.member(&MemberName::of(name), Cell::of(value)),
            }
        }
    }
}

/// Reads the JSON that this crate writes, and nothing else: no blanks, no other escapes than its own.
struct Reader<'a> {
    rest: &'a str,
}

// === impl Reader ===

impl<'a> Reader<'a> {
    fn eat(&mut self, token: char) -> bool {
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// The members of the object that begins here, each value as its text.
    fn members(&mut self) -> impl Iterator<Item = (std::borrow::Cow<'a, str>, &'a str)> + '_ {
        self.eat('{');
        std::iter::from_fn(|| {
            if self.eat('}') || self.rest.is_empty() {
                return None;
            }
            self.eat(',');
            let name = self.string();
            self.eat(':');
            Some((name, self.skip()))
        })
    }

    /// Steps over a value and gives its text.
    fn skip(&mut self) -> &'a str {
        let mut depth = 0;
        let mut in_string = false;
        let mut bytes = self.rest.bytes().enumerate();
        let mut end = self.rest.len();
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'"' => in_string = !in_string,
                b'\\' if in_string => {
                    bytes.next();
                }
                _ if in_string => {}
                b'{' | b'[' => depth += 1,
                b'}' | b']' | b',' if depth == 0 => {
                    end = at;
                    break;
                }
                b'}' | b']' => depth -= 1,
                _ => {}
            }
        }
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        text
    }

    fn value(&mut self) -> Value {
        match self.rest.as_bytes().first() {
            Some(b'{') => {
                let members: Vec<(Arc<str>, &str)> =
                    self.members().map(|(name, text)| (Arc::from(name), text)).collect();
                let values = members.into_iter().map(|(name, text)| (name, Reader { rest: text }.value()));
                Value::Object(values.collect())
            }
            Some(b'[') => {
                self.eat('[');
                let mut items = Vec::new();
                while !self.rest.is_empty() && !self.eat(']') {
                    self.eat(',');
                    items.push(self.value());
                }
                Value::Array(items)
            }
            Some(b'"') => Value::Str(self.string().into()),
            _ => scalar(self.skip()),
        }
    }

    fn string(&mut self) -> std::borrow::Cow<'a, str> {
        self.eat('"');
        let end = self.rest.find(['"', '\\']).unwrap_or(self.rest.len());
        let (plain, rest) = self.rest.split_at(end);
        self.rest = rest;
        if self.eat('"') || self.rest.is_empty() {
            return plain.into();
        }
        let mut text = plain.to_owned();
        while let Some(next) = self.rest.chars().next() {
            self.rest = &self.rest[next.len_utf8()..];
            match next {
                '"' => break,
                '\\' => text.extend(self.escape()),
                next => text.push(next),
            }
        }
        text.into()
    }

    /// The character behind a backslash.
    fn escape(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(match next {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'u' => {
                let (digits, rest) = self.rest.split_at_checked(4)?;
                self.rest = rest;
                char::from_u32(u32::from_str_radix(digits, 16).ok()?)?
            }
            itself => itself,
        })
    }
}

fn scalar(text: &str) -> Value {
    match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        "null" => Value::Null,
        number if number.contains(['.', 'E']) => number.parse().map_or(Value::Null, Value::Float),
        number => number.parse().map_or_else(|_| Value::BigInt(number.into()), Value::Int),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::write_json_value;

    /// Values that JSON has a word for.
    fn values() -> impl Strategy<Value = Value> {
        let texts = prop_oneof![
            any::<String>(),
            "[a-z{}\\[\\]\",:\\\\\u{0}-\u{1f}]{0,12}".prop_map(|text: String| text)
        ];
        let scalars = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            "-?[1-9][0-9]{20,25}".prop_map(|digits: String| Value::BigInt(digits.into())),
            any::<f64>().prop_filter("JSON has a word for it", |v| v.is_finite()).prop_map(Value::Float),
            texts.prop_map(|text| Value::Str(text.into())),
        ];
        scalars.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                maps(inner).prop_map(Value::Object),
            ]
        })
    }

    fn maps(values: impl Strategy<Value = Value>) -> impl Strategy<Value = Map> {
        let names = prop_oneof!["[a-e]", any::<String>()].prop_map(|name: String| Arc::from(name));
        prop::collection::vec((names, values), 0..6).prop_map(|members| members.into_iter().collect())
    }

    proptest! {
        #[test]
        fn an_object_comes_out_of_its_text_as_it_went_in(members in maps(values())) {
            let text = ObjectText::of(&members);
            let mut written = Vec::new();
            write_json_value(&Value::Object(members.clone()), &mut written);
            prop_assert_eq!(text.as_str().as_bytes(), written);
            prop_assert_eq!(text.is_empty(), members.is_empty());
            prop_assert_eq!(text.to_map(), members);
        }

        #[test]
        fn a_member_is_found_wherever_it_lies(members in maps(values()), names in prop::collection::vec("[a-e]|-?[0-3]", 1..4)) {
            let text = ObjectText::of(&members);
            let names: Vec<Arc<str>> = names.into_iter().map(Arc::from).collect();
            let object = Value::Object(members.clone());
            prop_assert_eq!(text.get(&names), object.descend(&names).cloned());
            for (name, value) in &members {
                prop_assert_eq!(text.get(std::slice::from_ref(name)), Some(value.clone()));
            }
        }

        #[test]
        fn its_parts_are_its_members(members in maps(values())) {
            let parts: Vec<(String, Option<Map>)> =
                ObjectText::of(&members).parts().into_iter().map(|(name, part)| (name, part.map(|part| part.to_map()))).collect();
            let expected = members.into_iter().map(|(name, value)| match value {
                Value::Object(map) => (name.to_string(), Some(map)),
                _ => (name.to_string(), None),
            });
            prop_assert_eq!(parts, expected.collect::<Vec<_>>());
        }
    }

    #[test]
    fn it_is_written_member_by_member() {
        let mut object = ObjectWriter::default();
        object.member(&MemberName::of("a"), Cell::Int(1));
        object.open(&MemberName::of("b"));
        object.member(&MemberName::of("c"), Cell::Float(2.0));
        object.member(&MemberName::of("d"), Cell::Absent);
        object.close();
        object.open(&MemberName::of("e"));
        object.close();
        object.open(&MemberName::of("f"));
        object.open(&MemberName::of("g"));
        assert_eq!(object.finish().as_str(), r#"{"a":1,"b":{"c":2.0},"e":{},"f":{"g":{}}}"#);
        assert_eq!(ObjectWriter::default().finish(), ObjectText::empty());
    }

    #[test]
    fn floats_that_come_again_are_spelled_as_before() {
        let floats =
            [1.5, -1.5, 1.5, 0.0, -0.0, f64::NAN, f64::NAN, 1e-4, 1.5, 1e-4, f64::INFINITY, f64::INFINITY];
        let mut object = ObjectWriter::default();
        let mut expected = Map::default();
        for (number, float) in floats.into_iter().enumerate() {
            object.member(&MemberName::of(&number.to_string()), Cell::Float(float));
            expected.insert(number.to_string().into(), Value::Float(float));
        }
        let mut written = Vec::new();
        write_json_value(&Value::Object(expected), &mut written);
        assert_eq!(object.finish().as_str().as_bytes(), written);
    }
}
