//! The names of a batch's fields, shared by all batches that have the same ones.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError, Weak};

use foldhash::fast::RandomState;

use crate::Path;
use crate::ndjson::DocumentLayout;

/// The field paths of a batch, column by column. Interned: two batches with the same few fields in the same order share
/// one schema, so a plugin may compare by pointer and resolve a name once per schema. One of very many or very long
/// names is its batch's alone.
pub struct Schema {
    fields: Vec<Path>,
    index: HashMap<Path, usize, RandomState>,
    plan: OnceLock<DocumentLayout>,
    /// How many names the longest path has.
    depth: usize,
    weight: usize,
}

#[derive(Default)]
struct Interner {
    interned: HashMap<Vec<Path>, Weak<Schema>, RandomState>,
    /// The bytes of all entries, dropped schemas included; beyond the limit the dropped ones are removed.
    interned_bytes: usize,
    sweep_at: usize,
    /// Kept alive between batches: a topology makes the same few schemas for each batch, and without this each batch
    /// allocated them and their plans anew (60 of 275 allocations a batch).
    recent: VecDeque<Arc<Schema>>,
    recent_bytes: usize,
}

/// A topology has a schema or two for each transform; those of documents with arbitrary keys evict one another.
const KEPT: usize = 64;
/// How many bytes the kept ones take at most: 64 of a hundred fields each.
const KEPT_BYTES: usize = 4 << 20;
/// A bigger one, of some 700 fields, is not interned.
const MAX_INTERNED: usize = 256 << 10;
/// The bytes of a field beside its name: two allocations for its path, and entries in the list, the index and the plan.
const FIELD_BYTES: usize = 352;

static INTERNER: LazyLock<Mutex<Interner>> = LazyLock::new(Mutex::default);

impl Schema {
    /// The schema of these fields, which must differ from one another; a repeated path is dropped.
    pub fn of(fields: Vec<Path>) -> Arc<Self> {
        let weight = weight_of(&fields);
        if weight > MAX_INTERNED {
            return Arc::new(Self::new(fields, weight));
        }
        let mut interner = INTERNER.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(schema) = interner.interned.get(&fields).and_then(Weak::upgrade) {
            return schema;
        }
        let schema = Arc::new(Self::new(fields, weight));
        interner.learn(&schema);
        schema
    }

    fn new(mut fields: Vec<Path>, weight: usize) -> Self {
        let mut index = HashMap::with_capacity_and_hasher(fields.len(), RandomState::default());
        fields.retain(|path| {
            let next = index.len();
            let new = !index.contains_key(path);
            if new {
                index.insert(path.clone(), next);
            }
            new
        });
        let depth = fields.iter().map(|path| path.names().len()).max().unwrap_or_default();
        Self { fields, index, plan: OnceLock::new(), depth, weight }
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

    /// Whether a path of so many names may have fields below it.
    pub(crate) fn is_deeper_than(&self, names: usize) -> bool {
        self.depth > names
    }

    /// Bytes held, roughly, plan included.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.weight
    }

    pub(crate) fn plan(&self) -> &DocumentLayout {
        self.plan.get_or_init(|| DocumentLayout::of(&self.fields))
    }

    pub(crate) fn with(&self, paths: &[Path]) -> Arc<Self> {
        let mut fields = self.fields.clone();
        fields.extend(paths.iter().filter(|path| !self.index.contains_key(*path)).cloned());
        Self::of(fields)
    }
}

// === impl Interner ===

impl Interner {
    fn learn(&mut self, schema: &Arc<Schema>) {
        // Documents with arbitrary keys make schemas without end; remove those that were dropped.
        if self.interned.len() >= 1024 || self.interned_bytes > self.sweep_at.max(2 * KEPT_BYTES) {
            self.interned.retain(|_, schema| schema.strong_count() > 0);
            self.interned_bytes = self.interned.keys().map(|fields| weight_of(fields)).sum();
            // Looked through again when as much has come as was left.
            self.sweep_at = 2 * self.interned_bytes;
        }
        self.interned_bytes += schema.weight;
        self.interned.insert(schema.fields.clone(), Arc::downgrade(schema));
        self.recent_bytes += schema.weight;
        self.recent.push_back(Arc::clone(schema));
        while self.recent.len() > KEPT || self.recent_bytes > KEPT_BYTES {
            let Some(oldest) = self.recent.pop_front() else { break };
            self.recent_bytes -= oldest.weight;
        }
    }
}

/// Its name stands in the path and, quoted, in the plan; a path of several names has a text of its own.
fn weight_of(fields: &[Path]) -> usize {
    fields.iter().map(|path| FIELD_BYTES * path.names().len() + 3 * path.as_str().len()).sum()
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
        assert!(INTERNER.lock().unwrap().interned.len() <= 1100);
    }

    #[test]
    fn what_is_kept_has_a_weight() {
        for number in 0..3000 {
            let fields = (0..500).map(|field| Path::top(&format!("kept-{number}-{field}"))).collect();
            assert!(Schema::of(fields).memory_bytes() < MAX_INTERNED);
        }
        {
            let interner = INTERNER.lock().unwrap();
            let weight = |schemas: &mut dyn Iterator<Item = usize>| schemas.sum::<usize>();
            assert!(weight(&mut interner.recent.iter().map(|schema| schema.weight)) <= KEPT_BYTES);
            assert!(weight(&mut interner.interned.keys().map(|fields| weight_of(fields))) <= 4 * KEPT_BYTES);
        }
        let wide = (0..10_000).map(|field| Path::top(&format!("wide-{field}"))).collect();
        let long = vec![Path::top(&"x".repeat(1 << 20))];
        for schema in [wide, long].map(Schema::of) {
            let alone = Arc::downgrade(&schema);
            drop(schema);
            assert!(alone.upgrade().is_none(), "nobody keeps it");
        }
    }
}
