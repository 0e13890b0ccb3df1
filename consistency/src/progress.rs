//! What a check tells while it runs.

/// Who listens to a running check.
pub trait Progress: Send + Sync {
    /// Something went on.
    fn event(&self, event: Event<'_>);
}

/// What went on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A fence was written and is waited for.
    Fence,
    /// A table is being compared; the number of rows is the server's estimate.
    Table {
        /// `<database>.<table>`.
        name: &'a str,
        /// The server's estimate.
        rows_estimate: u64,
    },
    /// So many more rows were compared.
    Rows {
        /// Since the last event of this kind.
        rows: u64,
    },
    /// The stores' keys are being listed.
    Scan {
        /// The stores' names.
        stores: &'a str,
    },
    /// So many more keys were listed.
    Keys {
        /// Since the last event of this kind.
        keys: u64,
    },
    /// Rows that looked different are asked again.
    Settle {
        /// How many are left.
        rows: u64,
    },
}

/// Nobody listens.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: Event<'_>) {}
}
