//! The column of objects that rows share but for one text of their own, such as what a database knows of an address,
//! and the address.

use std::sync::{Arc, OnceLock};

use crate::{ObjectText, StrRef, Value};

/// Objects, each shared by as many rows as have it; a row may have one member of its own in front, a text.
#[derive(Clone, Debug)]
pub struct Objects {
    /// By row: the number of its object.
    cells: Vec<u32>,
    /// The objects with the lowest numbers.
    arena: ObjectArena,
    /// The objects with the numbers above.
    texts: Vec<ObjectText>,
    pub(crate) own: Option<OwnMember>,
}

/// An arena of objects that many batches share. Each of its slots is filled once, never emptied, and read without a lock.
/// A batch keeps the whole arena alive by one reference count; a count for each object costs more than writing it.
#[derive(Clone, Debug)]
pub struct ObjectArena(Arc<[OnceLock<ObjectText>]>);

/// A member that each row has for itself.
#[derive(Clone, Debug)]
pub(crate) struct OwnMember {
    pub(crate) name: Arc<str>,
    /// By row; [`StrRef::ABSENT`] where a row's object has no such member.
    pub(crate) cells: Vec<StrRef>,
}

/// The object of one row: what it shares, and its own member, a name and a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ObjectCell<'a> {
    /// The members that other rows may share.
    pub shared: &'a ObjectText,
    /// The row's own member; it comes first. The shared members have none of that name.
    pub own: Option<(&'a Arc<str>, &'a str)>,
}

/// Marks an absent cell.
const ABSENT: u32 = u32::MAX;

// === impl Objects ===

impl Objects {
    /// A column of `rows` rows without objects. `own` is the name of the member that each row may have for itself.
    pub fn new(rows: usize, own: Option<&Arc<str>>) -> Self {
        Self::in_arena(rows, own, ObjectArena::new(0))
    }

    /// The same, and rows may be given the objects of an arena, by their numbers in it.
    pub fn in_arena(rows: usize, own: Option<&Arc<str>>, arena: ObjectArena) -> Self {
        let own = own.map(|name| OwnMember { name: Arc::clone(name), cells: vec![StrRef::ABSENT; rows] });
        Self { cells: vec![ABSENT; rows], arena, texts: Vec::new(), own }
    }

    /// A number for an object, to give to rows. The same object may be added twice.
    pub fn add(&mut self, object: ObjectText) -> u32 {
        self.texts.push(object);
        (self.arena.room() + self.texts.len() - 1) as u32
    }

    /// Gives `row` the object of this number, which was added or is in the arena, and a text of its own, if any; a
    /// column without such a member ignores it.
    #[inline]
    pub fn set(&mut self, row: usize, object: u32, own: StrRef) {
        debug_assert!(self.object(object).is_some(), "there is an object of this number");
        self.cells[row] = object;
        if let Some(member) = &mut self.own {
            member.cells[row] = own;
        }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether there are no rows at all.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Whether `row` has an object.
    #[inline]
    pub fn is_present(&self, row: usize) -> bool {
        self.cells[row] != ABSENT
    }

    pub(crate) fn clear(&mut self, row: usize) {
        self.cells[row] = ABSENT;
    }

    /// The object that the row shares, and the cell of its own member.
    #[inline]
    pub(crate) fn at(&self, row: usize) -> Option<(&ObjectText, StrRef)> {
        let own = self.own.as_ref().map_or(StrRef::ABSENT, |member| member.cells[row]);
        Some((self.object(self.cells[row])?, own))
    }

    #[inline]
    fn object(&self, number: u32) -> Option<&ObjectText> {
        match (number as usize).checked_sub(self.arena.room()) {
            None => self.arena.get(number),
            Some(number) => self.texts.get(number),
        }
    }

    /// The rows of `pick`, in its order, with only their objects.
    pub(crate) fn gather(&self, pick: &[usize]) -> Self {
        let mut texts = Vec::new();
        let mut numbers = vec![ABSENT; self.arena.room() + self.texts.len()];
        let cell = |&row: &usize| {
            let old = self.cells[row];
            let Some(object) = self.object(old) else { return ABSENT };
            let number = &mut numbers[old as usize];
            if *number == ABSENT {
                *number = texts.len() as u32;
                texts.push(object.clone());
            }
            *number
        };
        let cells = pick.iter().map(cell).collect();
        let own = self.own.as_ref().map(|member| OwnMember {
            name: Arc::clone(&member.name),
            cells: pick.iter().map(|&row| member.cells[row]).collect(),
        });
        Self { cells, arena: ObjectArena::new(0), texts, own }
    }

    /// Without the arena, which belongs to who made it.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.cells.capacity() * 4
            + self.texts.iter().map(|text| 32 + text.as_str().len()).sum::<usize>()
            + self.own.as_ref().map_or(0, |member| member.cells.capacity() * size_of::<StrRef>())
    }
}

// === impl ObjectArena ===

impl ObjectArena {
    /// An arena with room for this many objects.
    pub fn new(room: usize) -> Self {
        Self((0..room).map(|_| OnceLock::new()).collect())
    }

    /// How many slots there are.
    #[inline]
    pub fn room(&self) -> usize {
        self.0.len()
    }

    /// Puts an object into a slot; gives it back if the slot is filled, or there is no such slot.
    pub fn put(&self, slot: u32, object: ObjectText) -> Result<(), ObjectText> {
        match self.0.get(slot as usize) {
            Some(slot) => slot.set(object),
            None => Err(object),
        }
    }

    /// The object in a slot.
    #[inline]
    pub fn get(&self, slot: u32) -> Option<&ObjectText> {
        self.0.get(slot as usize)?.get()
    }
}

// === impl ObjectCell ===

impl ObjectCell<'_> {
    /// The object as a value of its own.
    pub fn to_value(self) -> Value {
        let own = self.own.map(|(name, text)| (Arc::clone(name), Value::Str(text.into())));
        Value::Object(own.into_iter().chain(self.shared.to_map()).collect())
    }

    /// What lies at `names` below the object.
    pub fn get(self, names: &[Arc<str>]) -> Option<Value> {
        match (names, self.own) {
            ([], _) => Some(self.to_value()),
            ([name, rest @ ..], Some((own, text))) if name == own => {
                rest.is_empty().then(|| Value::Str(text.into()))
            }
            _ => self.shared.get(names),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Batch, BitSet, Column, Path, RowId};

    /// More than are fetched at once when they are written.
    const ROWS: usize = 20;

    /// A batch whose field `geo` is a column of objects, and the same with plain values.
    fn both(rows: &[Option<(usize, Option<&'static str>)>]) -> [Batch; 2] {
        let objects = [
            Value::object(),
            Value::Object([("a".into(), Value::Int(1))].into_iter().collect()),
            Value::Object(
                [
                    ("city".into(), Value::from("A \"q\"")),
                    ("at".into(), Value::Object([("lat".into(), Value::Float(1.5))].into_iter().collect())),
                ]
                .into_iter()
                .collect(),
            ),
        ];
        let new = || Batch::new((0..rows.len()).map(|row| RowId::of(&row.to_be_bytes())).collect());
        let (mut shared, mut plain) = (new(), new());
        // One is in an arena with room for three, the others are the column's own.
        let arena = ObjectArena::new(3);
        let mut column = Objects::in_arena(rows.len(), Some(&"ip".into()), arena.clone());
        let numbers: Vec<u32> = objects
            .iter()
            .enumerate()
            .map(|(number, object)| match object {
                Value::Object(map) if number == 1 => arena.put(2, ObjectText::of(map)).map(|()| 2).unwrap(),
                Value::Object(map) => column.add(ObjectText::of(map)),
                _ => unreachable!(),
            })
            .collect();
        for (row, cell) in rows.iter().enumerate() {
            let Some((object, own)) = cell else { continue };
            let place = own.map_or(StrRef::ABSENT, |text| shared.push_text(text));
            column.set(row, numbers[*object], place);
            let mut map = crate::Map::default();
            map.extend(own.map(|text| ("ip".into(), Value::from(text))));
            if let Value::Object(members) = &objects[*object] {
                map.extend(members.clone());
            }
            plain.set(row, &Path::top("geo"), Value::Object(map)).unwrap();
        }
        shared.put_columns(vec![(Path::top("geo"), Column::Objects(column))]);
        [shared, plain]
    }

    fn cells() -> impl Strategy<Value = Vec<Option<(usize, Option<&'static str>)>>> {
        let own = prop_oneof![Just(None), Just(Some("192.0.2.1")), Just(Some("a\"\n"))];
        prop::collection::vec(prop::option::of((0usize..3, own)), ROWS)
    }

    /// What may be done to a row.
    #[derive(Clone, Debug)]
    enum Change {
        Set(usize, &'static str, i64),
        Remove(usize, &'static str),
        RemoveFrom(Vec<usize>, &'static str),
        Pick(Vec<usize>),
        Rename,
    }

    fn changes() -> impl Strategy<Value = Vec<Change>> {
        let paths = || {
            prop::sample::select(vec![
                "geo",
                "[geo][ip]",
                "[geo][a]",
                "[geo][at]",
                "[geo][at][lat]",
                "[geo][new][x]",
                "other",
            ])
        };
        let rows = || prop::collection::vec(0..ROWS, 1..4);
        let change = prop_oneof![
            (0..ROWS, paths(), any::<i64>()).prop_map(|(row, path, value)| Change::Set(row, path, value)),
            (0..ROWS, paths()).prop_map(|(row, path)| Change::Remove(row, path)),
            (rows(), paths()).prop_map(|(rows, path)| Change::RemoveFrom(rows, path)),
            rows().prop_map(Change::Pick),
            Just(Change::Rename),
        ];
        prop::collection::vec(change, 0..6)
    }

    fn apply(batch: &mut Batch, change: &Change) {
        let within = |row: &usize| row % batch.len();
        match change {
            Change::Set(row, path, value) => {
                batch.set(within(row), &Path::parse(path).unwrap(), *value).ok();
            }
            Change::Remove(row, path) => {
                batch.remove(within(row), &Path::parse(path).unwrap());
            }
            Change::RemoveFrom(rows, path) => {
                let mut set = BitSet::none(batch.len());
                rows.iter().for_each(|row| set.insert(within(row)));
                batch.remove_from(&set, &Path::parse(path).unwrap());
            }
            Change::Pick(rows) => {
                let rows: Vec<usize> = rows.iter().map(within).collect();
                *batch = batch.pick(&rows);
            }
            Change::Rename => {
                batch.move_columns(&Path::top("geo"), &Path::top("other"), false);
            }
        }
    }

    fn line(batch: &Batch, row: usize) -> serde_json::Value {
        let mut line = Vec::new();
        batch.write_json(row, Default::default(), &mut line);
        serde_json::from_slice(&line).unwrap()
    }

    proptest! {
        #[test]
        fn shared_objects_are_what_plain_ones_are(rows in cells(), changes in changes()) {
            let [mut shared, mut plain] = both(&rows);
            for number in 0..=changes.len() {
                let mut one_after_the_other = shared.json_rows(Default::default());
                for row in 0..plain.len() {
                    let mut written = Vec::new();
                    one_after_the_other.write(row, &mut written);
                    prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&written).unwrap(), line(&plain, row));
                    prop_assert_eq!(shared.to_value(row), plain.to_value(row));
                    prop_assert_eq!(line(&shared, row), line(&plain, row));
                    for path in ["geo", "[geo][ip]", "[geo][ip][x]", "[geo][a]", "[geo][at][lat]", "[geo][at]", "[geo][city]"] {
                        let path = Path::parse(path).unwrap();
                        prop_assert_eq!(shared.get(row, &path), plain.get(row, &path), "{}", path);
                    }
                }
                if let Some(change) = changes.get(number) {
                    apply(&mut shared, change);
                    apply(&mut plain, change);
                }
            }
        }

        #[test]
        fn laid_over_what_is_there_they_are_what_plain_ones_are(rows in cells(), before in prop::collection::vec((0..ROWS, prop::sample::select(vec!["geo", "[geo][a]", "[geo][b][c]", "x"])), 0..6)) {
            let [mut shared, plain] = both(&rows);
            let column = shared.column_of(&Path::top("geo")).unwrap().clone();
            shared.drop_columns(&Path::top("geo"));
            let mut expected = Batch::new((0..ROWS).map(|row| RowId::of(&row.to_be_bytes())).collect());
            for (row, path) in &before {
                shared.set(*row, &Path::parse(path).unwrap(), 7).ok();
                expected.set(*row, &Path::parse(path).unwrap(), 7).ok();
            }
            for row in 0..ROWS {
                if let Some(value) = plain.get(row, &Path::top("geo")) {
                    expected.set(row, &Path::top("geo"), value).unwrap();
                }
            }
            prop_assert_eq!(shared.overlay(vec![(Path::top("geo"), column)]), vec![]);
            for row in 0..ROWS {
                prop_assert_eq!(shared.to_value(row), expected.to_value(row));
            }
        }
    }

    #[test]
    fn a_slot_of_an_arena_is_filled_once() {
        let object = |number: i64| ObjectText::of(&[("n".into(), Value::Int(number))].into_iter().collect());
        let arena = ObjectArena::new(2);
        assert_eq!(arena.get(1), None);
        assert_eq!(arena.put(1, object(1)), Ok(()));
        assert_eq!(arena.put(1, object(2)), Err(object(2)));
        assert_eq!(arena.put(2, object(3)), Err(object(3)), "there is no such slot");
        assert_eq!([0, 1, 2].map(|slot| arena.get(slot).cloned()), [None, Some(object(1)), None]);
    }

    #[test]
    fn a_picked_batch_holds_no_other_objects_and_no_large_page() {
        let rows: Vec<_> = (0..200).map(|row| Some((row % 3, Some("198.51.100.200")))).collect();
        let [mut shared, _] = both(&rows);
        shared.push_text(&"x".repeat(10_000));
        let picked = shared.pick(&[1, 1]);
        let Some(Column::Objects(objects)) = picked.column_of(&Path::top("geo")) else {
            panic!("a column of objects")
        };
        assert_eq!(objects.texts.len(), 1);
        assert_eq!(line(&picked, 1), serde_json::json!({"geo": {"ip": "198.51.100.200", "a": 1}}));
        assert!(picked.memory_bytes() < 1000, "{}", picked.memory_bytes());
    }
}
