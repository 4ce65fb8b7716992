//! The rules by which the ledger loses nothing, by name, so that a test can break each and show that it is noticed.

/// A rule that the ledger keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A scan's range does not change while its token lives.
    RangeIsFrozen,
    /// An empty page with a token is not the end.
    EmptyPagesGoOn,
    /// The API's end time is inclusive: the last millisecond of a slice is asked for.
    LastMillisecondIsRead,
    /// A scan speaks for what was visible before its first page, not its last.
    FirstPageSaysWhen,
    /// What is on its way is not handed on again.
    OnItsWayIsKnown,
    /// What was delivered is not handed on again.
    DeliveredIsKnown,
    /// The ingestion rule speaks only for events older than the visibility margin.
    RuleKeepsMargin,
    /// Ids are kept for as long as the ingestion rule does not speak for them.
    YoungIdsAreKept,
    /// A slice is sealed by a read after the late window and the visibility margin.
    SealWaits,
    /// A sweep is a read as long after its age.
    SweepWaits,
    /// A scan counts only when all it found is delivered.
    ScanWaitsForDelivery,
    /// Ids are those of delivered events only.
    IdsAreDelivered,
    /// A batch that was lost on its way is found again.
    LostIsFoundAgain,
    /// A refused token begins the scan anew.
    RefusedTokenRestarts,
    /// A reply to a chain that was begun anew is nobody's.
    OldRepliesAreIgnored,
    /// After a restart all that is not known to be read is unread.
    UnknownIsUnread,
    /// History is done only up to what is on its way.
    HistoryWaitsForDelivery,
    /// History is done up to the last millisecond read, without it.
    BoundaryStaysOpen,
    /// Slices that are joined speak for the earlier of their times.
    JoinedTakeEarlierTime,
}
