//! What the columns of tables are in MySQL, which records of Debezium's do not say: asked where the next record needs it, while
//! the rest goes on.

use super::Engine;
use crate::config::Config;
use crate::error::Result;
use crate::queue::Queue;
use crate::source::mysql::{DescribedColumn, MySqlSource};
use crate::target::{TableName, Target};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use std::fmt;
use std::sync::Arc;

/// The columns of a table; none if it is not there.
type Answer = Result<Option<Vec<DescribedColumn>>>;

/// Asks what the columns of a table are.
#[derive(Clone)]
pub struct AskColumns(Arc<dyn Fn(Arc<TableName>) -> LocalBoxFuture<'static, Answer>>);

/// A question on its way.
pub(super) type ColumnsJob = LocalBoxFuture<'static, (Arc<TableName>, Answer)>;

impl AskColumns {
    /// Asks whoever is given.
    pub fn new(ask: impl Fn(Arc<TableName>) -> LocalBoxFuture<'static, Answer> + 'static) -> Self {
        Self(Arc::new(ask))
    }

    /// Asks the servers of the section `[source]`.
    #[must_use]
    pub fn of_source(config: &Config) -> Self {
        let config = config.clone();
        Self::new(move |table| {
            let config = config.clone();
            async move {
                // A source watches its servers as long as it lives, and it is needed for one question.
                let mut source = MySqlSource::new(&config);
                let name = (table.database.clone(), table.table.clone());
                let columns = source.columns(&name).await?;
                if columns.is_none() {
                    source.require_absent(&name).await?;
                }
                Ok(columns)
            }
            .boxed_local()
        })
    }
}

impl fmt::Debug for AskColumns {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("AskColumns")
    }
}

impl<'a, Q: Queue, T: Target + 'a> Engine<'a, Q, T> {
    /// Asks for what the next record needs.
    pub(super) fn ask_columns(&mut self) {
        if let (None, Some(ask), Some(table)) = (&self.columns_job, &self.ask_columns, self.lanes.wanted()) {
            let (table, answer) = (Arc::clone(table), ask.0(Arc::clone(table)));
            self.columns_job = Some(async move { (table, answer.await) }.boxed_local());
        }
    }

    /// MySQL has answered, or is not there: then it is asked again, for ever.
    pub(super) async fn columns_told(&mut self, table: &Arc<TableName>, answer: Answer) -> Result<()> {
        self.columns_job = None;
        match answer {
            Ok(columns) => {
                self.columns_retry.reset();
                self.metrics.condition.run();
                if columns.is_none() {
                    tracing::warn!(
                        database = table.database,
                        table = table.table,
                        "MySQL does not know this table: its records are read by their schemas alone"
                    );
                }
                self.lanes.tell(table, columns);
                Ok(())
            }
            Err(error) => {
                let what = format!("{}.{}", table.database, table.table);
                let error = error.detail(format!("asked for the columns of {what}"));
                self.columns_retry.wait(error).await
            }
        }
    }
}

pub(super) async fn polled_columns(job: &mut Option<ColumnsJob>) -> (Arc<TableName>, Answer) {
    match job {
        Some(job) => job.await,
        None => std::future::pending().await,
    }
}
