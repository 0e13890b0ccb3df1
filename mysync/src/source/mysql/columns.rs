//! What the columns of one table are now, for a store that keeps types of its own: it asks seldom, and never in the stream.

use super::{MySqlSource, tables};
use crate::error::{Error, Result};
use crate::schema::TableName;
use mysql_async::Row;
use mysql_async::prelude::Queryable;

/// A column as information_schema describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedColumn {
    /// Its name.
    pub name: String,
    /// `bigint`, `varchar`, `decimal` and so on.
    pub data_type: String,
    /// With length and attributes: `bigint(20) unsigned`.
    pub column_type: String,
    /// Digits of a number, or bits of a BIT.
    pub precision: Option<u64>,
    /// Digits of a fraction of a second.
    pub fraction_digits: Option<u64>,
}

impl MySqlSource {
    /// The columns of a table on the primary, or else on any server that answers; none if there is no such table, or the account
    /// may not see it.
    pub async fn columns(&mut self, table: &TableName) -> Result<Option<Vec<DescribedColumn>>> {
        let endpoint = self.likely().await?;
        let mut connection = endpoint.connect().await?;
        let statement = format!(
            "SELECT column_name, data_type, column_type, numeric_precision, datetime_precision FROM information_schema.columns {} \
             ORDER BY ordinal_position",
            tables::within(table)
        );
        let rows = endpoint.rows(&mut connection, &statement).await?;
        connection.disconnect().await.ok();
        let columns: Option<Vec<DescribedColumn>> = rows.iter().map(column).collect();
        let columns = columns.ok_or_else(|| {
            Error::definite("information_schema.columns has a row that is not understood").detail(statement)
        })?;
        Ok(Some(columns).filter(|columns| !columns.is_empty()))
    }

    /// An error unless there is no such table: information_schema does not show one that the account may not read, either.
    pub async fn require_absent(&mut self, table: &TableName) -> Result<()> {
        let endpoint = self.likely().await?;
        let mut connection = endpoint.connect().await?;
        let look = tables::lock_of(table);
        let outcome = connection.query_drop(&look).await;
        connection.disconnect().await.ok();
        match tables::is_locked(self, outcome, &look)? {
            false => Ok(()),
            true => Err(Error::transient(format!(
                "table {}.{} was made a moment ago",
                table.0, table.1
            ))),
        }
    }
}

fn column(row: &Row) -> Option<DescribedColumn> {
    Some(DescribedColumn {
        name: row.get(0)?,
        data_type: row.get(1)?,
        column_type: row.get(2)?,
        precision: row.get::<Option<u64>, usize>(3)?,
        fraction_digits: row.get::<Option<u64>, usize>(4)?,
    })
}
