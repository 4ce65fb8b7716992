//! The rules by which the ledger loses nothing, by name. A test breaks each in turn and shows that this is noticed.

/// A rule that the ledger keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A scan's range does not change while its token lives.
    RangeIsFrozen,
    /// An empty page with a token is not the end.
    EmptyPagesGoOn,
    /// The API's end time is inclusive: the last millisecond of a slice is asked for.
    LastMillisecondIsRead,
    /// A scan's watermark is a time before its first page was answered, not its last.
    FirstPageSetsWatermark,
    /// Events in flight are not emitted again.
    InFlightIsKnown,
    /// Delivered events are not emitted again.
    DeliveredIsKnown,
    /// The ingestion rule covers only events older than the watermark by the visibility margin.
    IngestionRuleKeepsMargin,
    /// Ids are kept until the ingestion rule covers them.
    YoungIdsAreKept,
    /// A slice is sealed by a read after the late window and the visibility margin.
    SealWaits,
    /// A sweep reads after its age and the visibility margin.
    SweepWaits,
    /// A scan counts only when all it found is delivered.
    ScanWaitsForDelivery,
    /// Slices remember the ids of delivered events only.
    IdsAreDelivered,
    /// A batch that was lost in flight is read again.
    LostIsReadAgain,
    /// A refused token restarts the scan.
    RefusedTokenRestarts,
    /// A reply to an attempt before a restart is stale and ignored.
    StaleRepliesAreIgnored,
    /// After a restart all that is not known to be read is unread.
    UnknownIsUnread,
    /// History is done only up to the first event in flight.
    HistoryWaitsForDelivery,
    /// History is done up to the last millisecond read, exclusive.
    BoundaryStaysOpen,
    /// Merged slices keep the earlier of their watermarks.
    MergedTakesEarlierWatermark,
}

/// Whether a test breaks this rule: never, without the feature `broken`.
#[cfg(not(feature = "broken"))]
pub(super) const fn broken(_: Rule) -> bool {
    false
}

#[cfg(feature = "broken")]
std::thread_local! {
    static BROKEN: std::cell::Cell<Option<Rule>> = const { std::cell::Cell::new(None) };
}

/// Whether a test breaks this rule.
#[cfg(feature = "broken")]
pub(super) fn broken(rule: Rule) -> bool {
    BROKEN.get() == Some(rule)
}

/// Runs something while the ledgers of this thread break a rule.
#[cfg(feature = "broken")]
pub fn breaking<T>(rule: Rule, run: impl FnOnce() -> T) -> T {
    BROKEN.set(Some(rule));
    let result = run();
    BROKEN.set(None);
    result
}
