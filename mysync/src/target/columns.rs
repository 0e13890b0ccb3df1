//! What the columns of a table hold, for a target whose store has types of its own.
//!
//! The rows themselves do not say it: a DECIMAL and a VARCHAR are both texts in a message. So information_schema is asked, on
//! the server that `source.servers` leads to, when a table comes for the first time and when a row has a column that was not
//! known. What it says is what the table is NOW; a row may be older, and then may have values that its column's type would
//! not let in any more, or columns that are gone. A store's types must bear the one, and do without the other.

use super::TableName;
use crate::config::Config;
use crate::error::Result;
use crate::source::mysql::{DescribedColumn, MySqlSource};
use crate::tables::Pattern;

/// What a column holds, as far as a store's own type for it depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// Whole numbers that a signed 64-bit integer holds.
    Integer,
    /// Whole numbers up to 2^64 - 1.
    Unsigned64,
    /// FLOAT and DOUBLE.
    Float,
    /// DECIMAL of so many digits.
    Decimal {
        /// Digits in all.
        digits: u64,
    },
    /// DATE.
    Date,
    /// TIME.
    Time,
    /// DATETIME with so many digits of a second's fraction.
    DateTime {
        /// 0 to 6.
        fraction_digits: usize,
    },
    /// TIMESTAMP with so many digits of a second's fraction.
    Timestamp {
        /// 0 to 6.
        fraction_digits: usize,
    },
    /// Short text: CHAR, VARCHAR, ENUM, SET; and any column that is masked.
    Text,
    /// TINYTEXT to LONGTEXT.
    LongText,
    /// JSON, as text.
    Json,
    /// Bytes, shapes, vectors, and types that are not known: nothing to look for.
    Opaque,
}

/// The columns of tables.
#[allow(async_fn_in_trait)] // A target asks on its own task.
pub trait Columns {
    /// The columns of a table as they are now, in order; none if there is no such table.
    async fn of(&mut self, table: &TableName) -> Result<Option<Vec<(String, ColumnKind)>>>;
}

/// The columns as information_schema has them.
#[derive(Debug)]
pub struct SourceColumns {
    config: Config,
    masked: Vec<Pattern>,
}

impl SourceColumns {
    /// Asks the servers of the section `[source]`.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let masked = config.mask.hash.iter().chain(config.mask.text.keys());
        Self {
            masked: masked.map(|pattern| Pattern::of_column(pattern)).collect(),
            config: config.clone(),
        }
    }
}

impl Columns for SourceColumns {
    async fn of(&mut self, table: &TableName) -> Result<Option<Vec<(String, ColumnKind)>>> {
        // A source watches its servers as long as it lives, and it is needed for one question.
        let mut source = MySqlSource::new(&self.config);
        let name = (table.database.clone(), table.table.clone());
        let Some(columns) = source.columns(&name).await? else {
            return Ok(None);
        };
        let kind_of = |column: DescribedColumn| {
            let names = [table.database.as_str(), table.table.as_str(), column.name.as_str()];
            let kind = match self.masked.iter().any(|pattern| pattern.matches(&names)) {
                true => ColumnKind::Text,
                false => kind(&column),
            };
            (column.name, kind)
        };
        Ok(Some(columns.into_iter().map(kind_of).collect()))
    }
}

fn kind(column: &DescribedColumn) -> ColumnKind {
    use ColumnKind as Kind;
    let fraction_digits = usize::try_from(column.fraction_digits.unwrap_or(0)).unwrap_or(0);
    match column.data_type.to_ascii_lowercase().as_str() {
        "bigint" if column.column_type.to_ascii_lowercase().contains("unsigned") => Kind::Unsigned64,
        "bit" if column.precision == Some(64) => Kind::Unsigned64,
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "bit" | "year" => Kind::Integer,
        "float" | "double" => Kind::Float,
        "decimal" => Kind::Decimal {
            digits: column.precision.unwrap_or(65),
        },
        "date" => Kind::Date,
        "time" => Kind::Time,
        "datetime" => Kind::DateTime { fraction_digits },
        "timestamp" => Kind::Timestamp { fraction_digits },
        "char" | "varchar" | "enum" | "set" => Kind::Text,
        "tinytext" | "text" | "mediumtext" | "longtext" => Kind::LongText,
        "json" => Kind::Json,
        _ => Kind::Opaque,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_described_column_has_its_kind() {
        let kind_of = |data_type: &str, column_type: &str, precision, fraction_digits| {
            kind(&DescribedColumn {
                name: "c".into(),
                data_type: data_type.into(),
                column_type: column_type.into(),
                precision,
                fraction_digits,
            })
        };
        for (found, expected) in [
            (kind_of("bigint", "bigint(20)", Some(19), None), ColumnKind::Integer),
            (
                kind_of("bigint", "bigint unsigned", Some(20), None),
                ColumnKind::Unsigned64,
            ),
            (kind_of("int", "int unsigned", Some(10), None), ColumnKind::Integer),
            (kind_of("bit", "bit(64)", Some(64), None), ColumnKind::Unsigned64),
            (kind_of("bit", "bit(8)", Some(8), None), ColumnKind::Integer),
            (
                kind_of("decimal", "decimal(20,4)", Some(20), None),
                ColumnKind::Decimal { digits: 20 },
            ),
            (
                kind_of("datetime", "datetime(6)", None, Some(6)),
                ColumnKind::DateTime { fraction_digits: 6 },
            ),
            (
                kind_of("timestamp", "timestamp", None, None),
                ColumnKind::Timestamp { fraction_digits: 0 },
            ),
            (kind_of("varbinary", "varbinary(8)", None, None), ColumnKind::Opaque),
            (kind_of("set", "set('a')", None, None), ColumnKind::Text),
            (kind_of("tinytext", "tinytext", None, None), ColumnKind::LongText),
            (
                kind_of("geomcollection", "geomcollection", None, None),
                ColumnKind::Opaque,
            ),
        ] {
            assert_eq!(found, expected);
        }
    }
}
