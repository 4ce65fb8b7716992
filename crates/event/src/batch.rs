//! The batch: rows that travel together from a source to the sinks.

use std::sync::Arc;

use crate::{BitSet, Cell, Column, ObjectCell, Page, Path, Row, RowId, RowView, Schema, StrRef, Value};

/// Rows that travel together: one column per field, and what a transform decided about each row.
///
/// A row is *live* until a transform takes it out ([`Batch::discard`], [`Batch::reject`], [`Batch::send_to`]); while
/// a transform runs with a `when`, only some of the live rows are *active* and the others must stay as they are.
///
/// # Fields
///
/// A field is a [`Path`]. `[a]` may be one value in a row (a string, or an object as one [`Value`]), or lie spread
/// over the columns `[a][b]`, `[a][c]`; never both in one row. Reading or removing `[a]` covers everything below it.
#[derive(Debug)]
pub struct Batch {
    pub(crate) schema: Arc<Schema>,
    pub(crate) columns: Vec<Arc<Column>>,
    ids: Arc<Vec<RowId>>,
    pub(crate) rows: usize,
    pages: Vec<Page>,
    pub(crate) tag_lists: Arc<Vec<Arc<[Arc<str>]>>>,
    live: Option<BitSet>,
    active: Option<BitSet>,
    acts: Vec<Act>,
    unmatched: Option<BitSet>,
}

/// What a transform did with rows that do not go on through its default output. A typed act with a reason: rows never
/// just vanish.
#[derive(Clone, Debug)]
pub enum Act {
    /// The rows are dropped on purpose.
    Discard {
        /// The reason, a metric label: `condition_false`, `empty_line`.
        reason: &'static str,
        /// Which rows.
        rows: BitSet,
    },
    /// The rows go to the named output of this number (see `Transform::outputs`); they may go to several.
    Send {
        /// Index into the transform's named outputs.
        output: usize,
        /// Which rows.
        rows: BitSet,
    },
    /// The row goes to the component's `rejected` port, whole.
    Reject(usize, Reject),
}

/// Why a record was rejected. Becomes `rejected = {component, type, reason, detail, time}` beside the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// What went wrong in one word, a metric label: `field_count`, `not_a_number`, `mapper_parsing_exception`.
    pub reason: std::borrow::Cow<'static, str>,
    /// The same for people: what was found, what was expected.
    pub detail: String,
}

impl Reject {
    /// A rejection.
    pub fn new(reason: impl Into<std::borrow::Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self { reason: reason.into(), detail: detail.into() }
    }
}

// === impl Batch ===

impl Batch {
    /// A batch of rows with these ids and no fields yet.
    pub fn new(ids: Vec<RowId>) -> Self {
        let rows = ids.len();
        Self {
            schema: Schema::of(Vec::new()),
            columns: Vec::new(),
            ids: Arc::new(ids),
            rows,
            pages: Vec::new(),
            tag_lists: Arc::default(),
            live: None,
            active: None,
            acts: Vec::new(),
            unmatched: None,
        }
    }

    /// A batch of lines: `message` and `@timestamp` (the time of reading, milliseconds since the epoch). `lines` are
    /// places within `page`, which becomes page 0.
    pub fn of_lines(page: Page, lines: Vec<StrRef>, ids: Vec<RowId>, read_at: i64) -> Self {
        debug_assert_eq!(lines.len(), ids.len(), "one id per line");
        let mut batch = Self::new(ids);
        batch.pages.push(page);
        batch.put_columns(vec![
            (Path::message(), Column::Str(lines)),
            (Path::timestamp(), Column::Const(Value::Time(read_at))),
        ]);
        batch
    }

    /// How many rows there are, live or not.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are no rows at all.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// How many rows are live.
    pub fn live_count(&self) -> usize {
        self.live.as_ref().map_or(self.rows, BitSet::count)
    }

    /// Whether `row` is live.
    pub fn is_live(&self, row: usize) -> bool {
        self.live.as_ref().is_none_or(|live| live.contains(row))
    }

    /// The live rows, ascending.
    pub fn live_rows(&self) -> impl Iterator<Item = usize> + '_ {
        rows_of(self.live.as_ref(), self.rows)
    }

    /// The live rows as a set.
    pub fn live_set(&self) -> BitSet {
        self.live.clone().unwrap_or_else(|| BitSet::all(self.rows))
    }

    /// The rows that the running transform may touch, ascending: the live ones for which its `when` holds.
    pub fn active_rows(&self) -> impl Iterator<Item = usize> + '_ {
        rows_of(self.active.as_ref().or(self.live.as_ref()), self.rows)
    }

    /// The active rows as a set of their own, for a loop that writes to the batch.
    pub fn active_set(&self) -> BitSet {
        self.active.clone().unwrap_or_else(|| self.live_set())
    }

    /// Whether every live row is active, so that whole columns may be replaced.
    pub fn all_active(&self) -> bool {
        self.active.is_none()
    }

    /// Limits the running transform to `rows` (and to the live ones); `None` makes every live row active.
    pub fn set_active(&mut self, rows: Option<BitSet>) {
        self.active = rows.map(|mut rows| {
            if let Some(live) = &self.live {
                rows.intersect(live);
            }
            rows
        });
    }

    /// Keeps only these rows live.
    pub fn retain(&mut self, rows: BitSet) {
        match &mut self.live {
            Some(live) => live.intersect(&rows),
            None => self.live = Some(rows),
        }
    }

    fn kill(&mut self, row: usize) {
        self.live.get_or_insert_with(|| BitSet::all(self.rows)).remove(row);
        if let Some(active) = &mut self.active {
            active.remove(row);
        }
    }

    // --- rows

    /// Calls `each` for every active row: the documented way to write a transform.
    pub fn rows(&mut self, mut each: impl FnMut(&mut Row<'_>)) {
        for row in self.active_set().iter() {
            each(&mut Row::new(self, row));
        }
    }

    /// One row to read from.
    pub fn row(&self, row: usize) -> RowView<'_> {
        RowView::new(self, row)
    }

    /// One row to read from and write to, active or not.
    pub fn row_mut(&mut self, row: usize) -> Row<'_> {
        Row::new(self, row)
    }

    /// The id of `row`.
    pub fn id(&self, row: usize) -> RowId {
        self.ids[row]
    }

    /// Replaces every row's id (the engine, where two paths from one source meet in one sink).
    pub fn map_ids(&mut self, each: impl Fn(RowId) -> RowId) {
        for id in Arc::make_mut(&mut self.ids) {
            *id = each(*id);
        }
    }

    // --- acts

    /// Takes `row` out on purpose; `reason` is counted.
    pub fn discard(&mut self, row: usize, reason: &'static str) {
        self.kill(row);
        for act in &mut self.acts {
            if let Act::Discard { reason: known, rows } = act
                && *known == reason
            {
                return rows.insert(row);
            }
        }
        let mut rows = BitSet::none(self.rows);
        rows.insert(row);
        self.acts.push(Act::Discard { reason, rows });
    }

    /// Takes all of `rows` out on purpose.
    pub fn discard_rows(&mut self, rows: BitSet, reason: &'static str) {
        if rows.count() == 0 {
            return;
        }
        self.live.get_or_insert_with(|| BitSet::all(self.rows)).subtract(&rows);
        if let Some(active) = &mut self.active {
            active.subtract(&rows);
        }
        self.acts.push(Act::Discard { reason, rows });
    }

    /// Takes `row` out and sends it, as it is now, to the component's `rejected` port.
    pub fn reject(&mut self, row: usize, reject: Reject) {
        self.kill(row);
        self.acts.push(Act::Reject(row, reject));
    }

    /// Sends `rows` to the named output `output`; they leave the default output. May be called again with overlapping
    /// rows for another output.
    pub fn send_to(&mut self, output: usize, rows: BitSet) {
        if rows.count() == 0 {
            return;
        }
        self.live.get_or_insert_with(|| BitSet::all(self.rows)).subtract(&rows);
        self.acts.push(Act::Send { output, rows });
    }

    /// Marks `row` as not matched: it gets no `add_field`, `remove_field`, `add_tag`, `remove_tag` (Logstash's rule).
    pub fn not_matched(&mut self, row: usize) {
        self.unmatched.get_or_insert_with(|| BitSet::none(self.rows)).insert(row);
    }

    /// Marks `rows` as not matched; see [`Batch::not_matched`].
    pub fn rows_not_matched(&mut self, rows: &BitSet) {
        if rows.count() > 0 {
            self.unmatched.get_or_insert_with(|| BitSet::none(self.rows)).unite(rows);
        }
    }

    /// What the transform did with single rows, and leaves none behind (the engine, after each transform).
    pub fn take_acts(&mut self) -> Vec<Act> {
        std::mem::take(&mut self.acts)
    }

    /// The rows marked by [`Batch::not_matched`], and leaves none behind.
    pub fn take_unmatched(&mut self) -> Option<BitSet> {
        self.unmatched.take()
    }

    // --- columns

    /// The fields, column by column.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// The column at `index` of the schema.
    pub fn column(&self, index: usize) -> &Column {
        &self.columns[index]
    }

    /// The column of `path`, if the batch has one.
    pub fn column_of(&self, path: &Path) -> Option<&Column> {
        Some(self.column(self.schema.position(path)?))
    }

    /// Puts whole columns in place, replacing those of the same path. Only for sources and for transforms that see
    /// every row ([`Batch::all_active`]). A column's length must be [`Batch::len`]. Columns above or below a path are
    /// left alone: the caller knows that no row has both.
    pub fn put_columns(&mut self, columns: Vec<(Path, Column)>) {
        let new: Vec<Path> = columns.iter().map(|(path, _)| path.clone()).collect();
        self.make_columns(&new);
        for (path, column) in columns {
            debug_assert!(
                match &column {
                    Column::Absent | Column::Const(_) => true,
                    Column::Bool(c) => c.len() == self.rows,
                    Column::Int(c) | Column::Time(c) => c.len() == self.rows,
                    Column::Float(c) => c.len() == self.rows,
                    Column::Str(c) => c.len() == self.rows,
                    Column::Tags(c) => c.len() == self.rows,
                    Column::Objects(c) => c.len() == self.rows,
                    Column::Any(c) => c.len() == self.rows,
                },
                "column {path} is as long as the batch"
            );
            if let Some(index) = self.schema.position(&path) {
                self.columns[index] = Arc::new(column);
            }
        }
    }

    /// Removes the columns of `path` and of everything below it, for every row. Where only some rows are active, use
    /// [`Row::remove`].
    pub fn drop_columns(&mut self, path: &Path) {
        let fields = self.schema.fields();
        if !fields.iter().any(|field| field.is_within(path)) {
            return;
        }
        let keep: Vec<usize> = (0..fields.len()).filter(|&index| !fields[index].is_within(path)).collect();
        let fields = keep.iter().map(|&index| fields[index].clone()).collect();
        self.columns = keep.into_iter().map(|index| Arc::clone(&self.columns[index])).collect();
        self.schema = Schema::of(fields);
    }

    /// Renames (or copies) the columns of `from` and of everything below it, for every row, in constant time per
    /// column. Refuses (`false`) what needs a look at each row: a path with several names, a target that some row
    /// already has, a source that not every live row has.
    pub fn move_columns(&mut self, from: &Path, to: &Path, keep_source: bool) -> bool {
        if from.names().len() > 1 || to.names().len() > 1 || from == to || !self.all_active() {
            return false;
        }
        let fields = self.schema.fields();
        if fields.iter().any(|field| field.is_within(to)) {
            return false;
        }
        let moved: Vec<(Path, Arc<Column>)> = fields
            .iter()
            .zip(&self.columns)
            .filter(|(field, _)| field.is_within(from))
            .map(|(field, column)| (to.join(&field.names()[1..]), Arc::clone(column)))
            .collect();
        if !keep_source {
            self.drop_columns(from);
        }
        let paths: Vec<Path> = moved.iter().map(|(path, _)| path.clone()).collect();
        self.schema = self.schema.with(&paths);
        self.columns.resize_with(self.schema.fields().len(), || Arc::new(Column::Absent));
        for (path, column) in moved {
            if let Some(index) = self.schema.position(&path) {
                self.columns[index] = column;
            }
        }
        true
    }

    /// The cell of `row` in the column at `index`.
    #[inline]
    pub fn cell(&self, index: usize, row: usize) -> Cell<'_> {
        self.cell_in(&self.columns[index], row)
    }

    /// The cell of `row` in a column made for this batch, in it or not.
    #[inline]
    pub(crate) fn cell_in<'a>(&'a self, column: &'a Column, row: usize) -> Cell<'a> {
        match column {
            column if !column.is_present(row) => Cell::Absent,
            Column::Absent => Cell::Absent,
            Column::Const(value) => Cell::of(value),
            Column::Bool(cells) => Cell::Bool(cells[row] == 1),
            Column::Int(cells) => Cell::Int(cells[row]),
            Column::Time(cells) => Cell::Time(cells[row]),
            Column::Float(cells) => Cell::Float(cells[row]),
            Column::Str(cells) => Cell::Str(self.text(cells[row])),
            Column::Tags(cells) => Cell::Tags(&self.tag_lists[cells[row] as usize]),
            Column::Objects(objects) => match objects.at(row) {
                Some((shared, own)) => Cell::Object(ObjectCell {
                    shared,
                    own: objects
                        .own
                        .as_ref()
                        .filter(|_| !own.is_absent())
                        .map(|member| (&member.name, self.text(own))),
                }),
                None => Cell::Absent,
            },
            Column::Any(cells) => cells[row].as_ref().map_or(Cell::Absent, Cell::of),
        }
    }

    /// The text at `place`; empty if absent.
    #[inline]
    pub fn text(&self, place: StrRef) -> &str {
        self.pages
            .get(place.page as usize)
            .and_then(|page| page.as_str().get(place.offset as usize..(place.offset + place.len) as usize))
            .unwrap_or_default()
    }

    /// The pages that string cells point into.
    pub fn pages(&self) -> &[Page] {
        &self.pages
    }

    /// Adds a page and gives its number, for columns made by hand.
    pub fn push_page(&mut self, page: Page) -> u32 {
        self.pages.push(page);
        (self.pages.len() - 1) as u32
    }

    /// Copies `text` into the batch's scratch page.
    pub fn push_text(&mut self, text: &str) -> StrRef {
        if let Some(page) = self.pages.last_mut()
            && let Some((offset, len)) = page.push(text)
        {
            return StrRef { page: (self.pages.len() - 1) as u32, offset, len };
        }
        let mut page = Page::scratch();
        let Some((offset, len)) = page.push(text) else { return StrRef::ABSENT };
        StrRef { page: self.push_page(page), offset, len }
    }

    /// Sharing copy for fan-out: columns and pages are shared until one side writes.
    #[must_use]
    pub fn share(&mut self) -> Self {
        self.pages.iter_mut().for_each(Page::freeze);
        self.copy()
    }

    fn copy(&self) -> Self {
        Self {
            schema: Arc::clone(&self.schema),
            columns: self.columns.clone(),
            ids: Arc::clone(&self.ids),
            rows: self.rows,
            pages: self.pages.clone(),
            tag_lists: Arc::clone(&self.tag_lists),
            live: self.live.clone(),
            active: None,
            acts: Vec::new(),
            unmatched: None,
        }
    }

    /// A sharing copy ([`Batch::share`]) in which just `rows` are live, whatever became of them here.
    #[must_use]
    pub fn share_rows(&mut self, rows: BitSet) -> Self {
        let mut shared = self.share();
        shared.live = (rows.count() < self.rows).then_some(rows);
        shared
    }

    /// A sharing copy with only those columns for which `keep` holds. Pages stay where such a column has text, in a page
    /// of its own if it is little.
    #[must_use]
    pub fn share_columns(&mut self, keep: impl Fn(&Path, &Column) -> bool) -> Self {
        let fields = self.schema.fields();
        let kept: Vec<usize> =
            (0..fields.len()).filter(|&index| keep(&fields[index], &self.columns[index])).collect();
        let columns: Vec<Arc<Column>> = kept.iter().map(|&index| Arc::clone(&self.columns[index])).collect();
        let has_text = columns.iter().any(|column| !column.places().is_empty());
        let schema = Schema::of(kept.into_iter().map(|index| fields[index].clone()).collect());
        if has_text {
            self.pages.iter_mut().for_each(Page::freeze);
        }
        let pages = if has_text { self.pages.clone() } else { Vec::new() };
        let mut shared = Self {
            schema,
            columns,
            ids: Arc::clone(&self.ids),
            rows: self.rows,
            pages,
            tag_lists: Arc::clone(&self.tag_lists),
            live: self.live.clone(),
            active: None,
            acts: Vec::new(),
            unmatched: None,
        };
        if has_text {
            shared.repage();
        }
        shared
    }

    /// A batch of only these rows, in this order. Few rows of a large page get a page of their own, so that they do
    /// not hold the large one in memory.
    #[must_use]
    pub fn pick(&self, rows: &[usize]) -> Self {
        let mut picked = self.copy();
        picked.live = None;
        picked.rows = rows.len();
        picked.ids = Arc::new(rows.iter().map(|&row| self.ids[row]).collect());
        picked.columns = self.columns.iter().map(|column| Arc::new(column.gather(rows))).collect();
        picked.repage();
        picked
    }

    fn repage(&mut self) {
        let held: usize = self.pages.iter().map(|page| page.as_str().len()).sum();
        let texts = |column: &Column| column.places().iter().map(|place| place.len as usize).sum::<usize>();
        let used: usize = self.columns.iter().map(|column| texts(column)).sum();
        if held < 4096 || used > held / 4 {
            return;
        }
        let mut text = String::with_capacity(used);
        for column in self.columns.iter_mut().filter(|column| !column.places().is_empty()) {
            for place in Arc::make_mut(column).places_mut().iter_mut().filter(|place| !place.is_absent()) {
                let start = text.len();
                text.push_str(
                    &self.pages[place.page as usize].as_str()[place.offset as usize..][..place.len as usize],
                );
                *place = StrRef { page: 0, offset: start as u32, len: place.len };
            }
        }
        self.pages = vec![Page::from_text(text)];
    }

    /// Bytes held, roughly: text, columns, names, lists of tags, and what was decided about single rows.
    pub fn memory_bytes(&self) -> usize {
        const COLUMN: usize = size_of::<Arc<Column>>() + size_of::<Column>() + 2 * size_of::<usize>();
        let of_act = |act: &Act| match act {
            Act::Discard { .. } | Act::Send { .. } => size_of::<Act>() + self.rows / 8,
            Act::Reject(_, reject) => size_of::<Act>() + reject.reason.len() + reject.detail.len(),
        };
        let of_tags = |list: &Arc<[Arc<str>]>| list.iter().map(|tag| 32 + tag.len()).sum::<usize>();
        self.pages.iter().map(|page| page.as_str().len()).sum::<usize>()
            + self.columns.iter().map(|column| COLUMN + column.memory_bytes()).sum::<usize>()
            + self.schema.memory_bytes()
            + self.rows * size_of::<RowId>()
            + self.tag_lists.iter().map(of_tags).sum::<usize>()
            + self.acts.iter().map(of_act).sum::<usize>()
    }
}

fn rows_of(set: Option<&BitSet>, rows: usize) -> impl Iterator<Item = usize> + '_ {
    let all = if set.is_none() { 0..rows } else { 0..0 };
    all.chain(set.into_iter().flat_map(BitSet::iter))
}
