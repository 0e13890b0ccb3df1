//! Mistakes that such a protocol can have. Each turns the model into a variant in which the checker must find the harm.

/// One mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mistake {
    /// The checkpoint has the anchor that was written last, not the one that was read last.
    AnchorWritten,
    /// Anchors are told apart by their sequence only, which two servers can both give.
    AnchorBySequence,
    /// Anchors are told apart by sequence and server, which a server that was restored gives a second time.
    AnchorByServer,
    /// Only the last anchor is kept, and it can be lost.
    LastAnchorOnly,
    /// The position is found by the number of events since the anchor; servers put rows into events differently.
    EventsCounted,
    /// The position is found by the number of rows since the anchor, and nothing is compared.
    NoHash,
    /// What is compared ends with the last transaction of the shorter log: a lost tail goes unnoticed.
    LostTailUnnoticed,
    /// The same server is taken to have what it had.
    SameServerTrusted,
    /// The new server's binlogs are compared with changes, too, that an earlier switch took back.
    LostChangesCompared,
    /// A replica commits in another order than its source.
    CommitOrderIgnored,
    /// It is not asked whether the new server has all that was published.
    ContainmentUnasked,
    /// It is not asked whether the new server still has all that was not published.
    PurgedUnasked,
    /// The checkpoint is written before the changes are acknowledged.
    CheckpointFirst,
    /// The checkpoint is written in a transaction of its own, after the changes.
    CheckpointApart,
    /// The checkpoint is written within a transaction.
    CheckpointWithin,
    /// A replaced reader's transactions are not refused.
    NoFencing,
    /// The checkpoint is looked for before the older reader is fenced.
    FencedTooLate,
    /// Another server goes on in the epoch of the one before.
    EpochKept,
    /// Lost changes are taken out of the position, but their rows are not read back.
    NoRefresh,
    /// A row that was read back is not read back again, though what it was read from is lost, too.
    ReadBackTrusted,
    /// That rows are to be read back is remembered by the reader only.
    RefreshForgotten,
    /// Rows that were read back are published at once, wherever the stream stands.
    NoWatermarks,
    /// Rows that were read back are published though the stream has changed them since.
    OvertakenKept,
    /// Changes behind the checkpoint are taken to be where the checkpoint's are.
    SuspectsTrusted,
    /// What a replaced reader may still write is looked for before it is shut out.
    NoBarrier,
    /// Changes of a new epoch are written before the first checkpoint of it.
    NoFirstCheckpoint,
    /// A reader that reads rows back a second time numbers the changes between them otherwise, in the same epoch.
    RefreshRenumbers,
}
