//! Encoded rows as bytes that survive the process, for rows that wait on disk: what a segment holds, types of values
//! included. Length and checksum are the file's.

use std::sync::Arc;

use crate::Position;
use crate::event::{Batch, EncodeOptions, RowId, Value};
use crate::kept::{Kept, Origin};
use crate::sink::{RowSpan, Segment};

/// The first byte; another one is another flowstone's.
const VERSION: u8 = 1;

/// Deeper values are refused rather than followed.
const MAX_DEPTH: usize = 1024;

// === impl Segment ===

impl Segment {
    /// Appends the segment in a form that [`Segment::read_from`] reads.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        put_len(self.keys().len(), out);
        self.keys().iter().for_each(|key| put_bytes(key.as_bytes(), out));
        match self.origin() {
            Some(origin) => {
                out.push(1);
                put_bytes(origin.source.as_bytes(), out);
                put_bytes(origin.position.partition.as_bytes(), out);
                out.extend_from_slice(&origin.position.value.to_le_bytes());
            }
            None => out.push(0),
        }
        let kept = self.kept();
        out.push(match kept.map(|kept| kept.documents) {
            None => 0,
            Some(None) => 1,
            Some(Some(EncodeOptions { version_field: false })) => 2,
            Some(Some(EncodeOptions { version_field: true })) => 3,
        });
        put_len(self.rows(), out);
        let mut beside = kept.map(|kept| kept.values());
        for row in 0..self.rows() {
            let span = self.span(row);
            out.extend_from_slice(&self.id(row).0);
            put_len(span.key as usize, out);
            put_len((span.document - span.start) as usize, out);
            put_bytes(&self.bytes()[span.start as usize..span.end as usize], out);
            if let Some(beside) = &mut beside {
                put_value(&beside.next().unwrap_or_else(Value::object), out);
            }
        }
    }

    /// The segment that [`Segment::write_to`] wrote; `None` for anything else.
    pub fn read_from(stored: &[u8]) -> Option<Self> {
        let mut input = Input(stored);
        if input.byte()? != VERSION {
            return None;
        }
        let keys = (0..input.len()?).map(|_| input.text()).collect::<Option<Vec<_>>>()?;
        let origin = match input.byte()? {
            0 => None,
            _ => Some(Origin {
                source: input.text()?,
                position: Position { partition: input.text()?, value: u64::from_le_bytes(input.array()?) },
            }),
        };
        let kept = match input.byte()? {
            0 => None,
            1 => Some(None),
            flag => Some(Some(EncodeOptions { version_field: flag == 3 })),
        };
        let (mut bytes, mut spans, mut ids, mut beside) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..input.len()? {
            ids.push(RowId(input.array()?));
            let key = u32::try_from(input.len()?).ok().filter(|&key| (key as usize) < keys.len())?;
            let action = u32::try_from(input.len()?).ok()?;
            let row = input.bytes()?;
            let start = u32::try_from(bytes.len()).ok()?;
            bytes.extend_from_slice(row);
            let end = u32::try_from(bytes.len()).ok()?;
            spans.push(RowSpan {
                start,
                document: start.checked_add(action).filter(|&at| at <= end)?,
                end,
                key,
            });
            if kept.is_some() {
                let Value::Object(fields) = input.value(0)? else { return None };
                beside.push(fields);
            }
        }
        if !input.0.is_empty() {
            return None;
        }
        let kept = kept.map(|documents| {
            let events = ids.iter().copied().zip(beside).collect();
            Kept { batch: Batch::of_events(events), documents }
        });
        Some(Self::of_parts(bytes.into(), spans, ids, keys, kept, origin))
    }
}

// --- writing

fn put_len(len: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(len as u64).to_le_bytes());
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_len(bytes.len(), out);
    out.extend_from_slice(bytes);
}

fn put_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(0),
        Value::Bool(value) => out.extend_from_slice(&[1, u8::from(*value)]),
        Value::Int(value) => put_number(2, *value as u64, out),
        Value::Float(value) => put_number(3, value.to_bits(), out),
        Value::Time(value) => put_number(4, *value as u64, out),
        Value::BigInt(digits) => {
            out.push(5);
            put_bytes(digits.as_bytes(), out);
        }
        Value::Str(text) => {
            out.push(6);
            put_bytes(text.as_bytes(), out);
        }
        Value::Array(items) => {
            put_number(7, items.len() as u64, out);
            items.iter().for_each(|item| put_value(item, out));
        }
        Value::Object(members) => {
            put_number(8, members.len() as u64, out);
            for (name, value) in members {
                put_bytes(name.as_bytes(), out);
                put_value(value, out);
            }
        }
    }
}

fn put_number(kind: u8, number: u64, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(&number.to_le_bytes());
}

// --- reading

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A count of bytes or things, of which there are no more than there are bytes left.
    fn len(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.len()?;
        self.take(len)
    }

    fn text(&mut self) -> Option<Arc<str>> {
        std::str::from_utf8(self.bytes()?).ok().map(Arc::from)
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        Some(match self.byte()? {
            0 => Value::Null,
            1 => Value::Bool(self.byte()? == 1),
            2 => Value::Int(self.number()? as i64),
            3 => Value::Float(f64::from_bits(self.number()?)),
            4 => Value::Time(self.number()? as i64),
            5 => Value::BigInt(self.text()?),
            6 => Value::Str(self.text()?),
            7 => Value::Array((0..self.len()?).map(|_| self.value(depth + 1)).collect::<Option<_>>()?),
            8 => {
                let members = (0..self.len()?).map(|_| Some((self.text()?, self.value(depth + 1)?)));
                Value::Object(members.collect::<Option<_>>()?)
            }
            _ => return None,
        })
    }
}
