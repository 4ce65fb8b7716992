//! The names of a batch's fields, shared by all batches that have the same ones.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError, Weak};

use foldhash::fast::RandomState;

use crate::Path;
use crate::ndjson::Plan;

/// The field paths of a batch, column by column. Interned: two batches with the same fields in the same order share
/// one schema, so a plugin may compare by pointer and resolve a name once per schema.
pub struct Schema {
    fields: Vec<Path>,
    index: HashMap<Path, usize, RandomState>,
    plan: OnceLock<Plan>,
}

#[derive(Default)]
struct Interner {
    known: HashMap<Vec<Path>, Weak<Schema>, RandomState>,
    /// Kept although nobody may hold them at this moment: a topology makes the same few schemas for each batch, and
    /// without this each batch made them and their plans anew (60 of 275 allocations a batch).
    recent: VecDeque<Arc<Schema>>,
}

/// A topology has a schema or two for each transform; documents with arbitrary keys push one another out.
const KEPT: usize = 64;

static INTERNER: LazyLock<Mutex<Interner>> = LazyLock::new(Mutex::default);

impl Schema {
    /// The schema of these fields, which must differ from one another; a repeated path is dropped.
    pub fn of(mut fields: Vec<Path>) -> Arc<Self> {
        let mut interner = INTERNER.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = interner.known.get(&fields).and_then(Weak::upgrade) {
            return known;
        }
        let mut index = HashMap::with_capacity_and_hasher(fields.len(), RandomState::default());
        fields.retain(|path| {
            let next = index.len();
            let new = !index.contains_key(path);
            if new {
                index.insert(path.clone(), next);
            }
            new
        });
        let schema = Arc::new(Self { fields: fields.clone(), index, plan: OnceLock::new() });
        // Documents with arbitrary keys make schemas without end; forget those that nobody holds any more.
        if interner.known.len() >= 1024 {
            interner.known.retain(|_, schema| schema.strong_count() > 0);
        }
        interner.known.insert(fields, Arc::downgrade(&schema));
        if interner.recent.len() >= KEPT {
            interner.recent.pop_front();
        }
        interner.recent.push_back(Arc::clone(&schema));
        schema
    }

    /// The paths, in column order.
    pub fn fields(&self) -> &[Path] {
        &self.fields
    }

    /// The column of `path`.
    pub fn position(&self, path: &Path) -> Option<usize> {
        self.index.get(path).copied()
    }

    /// The column of a field written as its canonical text (`a`, `[a][b]`); nothing for other spellings.
    pub fn position_of(&self, text: &str) -> Option<usize> {
        self.index.get(text).copied()
    }

    pub(crate) fn plan(&self) -> &Plan {
        self.plan.get_or_init(|| Plan::of(&self.fields))
    }

    pub(crate) fn with(&self, paths: &[Path]) -> Arc<Self> {
        let mut fields = self.fields.clone();
        fields.extend(paths.iter().filter(|path| !self.index.contains_key(*path)).cloned());
        Self::of(fields)
    }
}

impl std::fmt::Debug for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.fields.iter().map(Path::as_str)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_fields_share_one_schema() {
        let a = Schema::of(vec![Path::top("a"), Path::top("b")]);
        let b = Schema::of(vec![Path::top("a")]).with(&[Path::top("b"), Path::top("a")]);
        assert!(Arc::ptr_eq(&a, &b));
        assert_eq!(a.position_of("b"), Some(1));
        assert_eq!(a.position(&Path::top("c")), None);
    }

    #[test]
    fn schemas_that_nobody_holds_are_forgotten() {
        for number in 0..5000 {
            drop(Schema::of(vec![Path::top(&format!("forgotten-{number}"))]));
        }
        assert!(INTERNER.lock().unwrap().known.len() <= 1100);
    }
}
