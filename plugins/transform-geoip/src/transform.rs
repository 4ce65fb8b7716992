//! The transform: its settings, and how it is applied to a batch.

use std::path::Path as FilePath;
use std::sync::Arc;

use flowstone_core::event::{Batch, ObjectText, Path};
use flowstone_core::{Transform, TransformCx, metrics};

use crate::cache::ObjectCache;
use crate::database::Database;
use crate::field::{Field, FieldSet};
use crate::kind::Kind;
use crate::look::{Caches, Look, OUTCOMES, Row};
use crate::open::Watched;
use crate::render::Layout;
use crate::write::{Findings, write};

metrics! {
    /// What it counts beside what every transform counts.
    pub(crate) struct GeoipMetrics {
        /// addresses looked up
        lookups: counter "geoip_lookups_total" ["outcome"],
    }
}

/// The settings of a `geoip`, shared by its forks.
pub(crate) struct Settings {
    pub(crate) source: Path,
    pub(crate) target: Path,
    pub(crate) layout: Layout,
    pub(crate) files: Vec<Arc<Watched>>,
    /// Unset: what each database says by default.
    pub(crate) fields: Option<FieldSet>,
    pub(crate) cache: Arc<ObjectCache>,
    pub(crate) tags_on_failure: Vec<Arc<str>>,
    /// The name of the member that is the address itself.
    pub(crate) ip: Arc<str>,
    /// An object without members.
    pub(crate) nothing: ObjectText,
}

/// The transform.
pub(crate) struct Geoip {
    settings: Arc<Settings>,
    caches: Caches,
    /// The outcomes of a batch's rows; kept for its allocation.
    rows: Vec<Row>,
}

// === impl Settings ===

impl Settings {
    /// Settings of these parts; some `cache_size` objects are cached.
    pub(crate) fn new(
        [source, target]: [Path; 2],
        layout: Layout,
        files: Vec<Arc<Watched>>,
        fields: Option<FieldSet>,
        tags_on_failure: &[String],
        cache_size: usize,
    ) -> Self {
        let paths: Vec<&FilePath> = files.iter().map(|file| file.path()).collect();
        let asked = format!("{layout:?} {fields:?} {paths:?}");
        Self {
            source,
            target,
            layout,
            fields,
            cache: ObjectCache::shared(asked, cache_size),
            files,
            tags_on_failure: tags_on_failure.iter().map(|tag| Arc::from(tag.as_str())).collect(),
            ip: Field::Ip.legacy().into(),
            nothing: ObjectText::empty(),
        }
    }

    /// What is wanted of a database of this kind.
    pub(crate) fn wanted(&self, kind: Kind) -> FieldSet {
        self.fields.unwrap_or_else(|| kind.says_by_default(self.layout == Layout::Ecs))
    }

    /// Whether the network of an address is wanted; by default it is not.
    pub(crate) fn tells_network(&self) -> bool {
        self.fields.is_some_and(|fields| fields.contains(Field::Network))
    }
}

// === impl Geoip ===

impl Geoip {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings: Arc::new(settings), caches: Caches::default(), rows: Vec::new() }
    }
}

impl Transform for Geoip {
    fn rejects(&self) -> bool {
        false
    }

    fn apply(&mut self, batch: &mut Batch, cx: &mut TransformCx<'_>) {
        let settings = Arc::clone(&self.settings);
        let metrics = cx.metrics();
        for file in &settings.files {
            file.check();
            match file.take_refused() {
                0 => {}
                refused => metrics.error("geoip_reload", refused),
            }
        }
        // The whole batch is looked up in the same databases, whatever is reloaded meanwhile.
        let databases: Vec<Arc<Database>> = settings.files.iter().map(|file| file.current()).collect();
        let mut look = Look::new(&settings, &databases, &mut self.caches, batch);
        look.rows(batch, &mut self.rows);
        let Look { entries, texts, counts, damaged, .. } = look;
        let outcomes = OUTCOMES.iter().zip(counts);
        let lookups = metrics.own::<GeoipMetrics>().lookups;
        outcomes
            .filter(|(_, count)| *count > 0)
            .for_each(|(outcome, count)| lookups.with(&[outcome]).inc_by(count));
        if damaged > 0 {
            metrics.error("geoip_record", damaged);
        }
        let failed = write(&settings, Findings { rows: &self.rows, entries, texts }, batch);
        batch.tag_rows(&failed, &settings.tags_on_failure);
        batch.rows_not_matched(&failed);
    }

    fn fork(&self) -> Box<dyn Transform> {
        Box::new(Self { settings: Arc::clone(&self.settings), caches: Caches::default(), rows: Vec::new() })
    }
}
