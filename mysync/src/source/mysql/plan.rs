//! What a dump would do: which tables there are, how large, by which key they would be read, and which cannot be, and why.

use super::condition::quoted;
use super::range::Order;
use super::{MySqlSource, tables};
use crate::encode::key_columns;
use crate::error::{Error, Result};
use crate::schema::TableName;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A table that is to be dumped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// Database.
    pub database: String,
    /// Table.
    pub table: String,
    /// Whether MySQL has it. One that it does not have is emptied in the stores.
    pub is_there: bool,
    /// About how many rows it has.
    pub rows: u64,
    /// About how many bytes they take in MySQL.
    pub bytes: u64,
    /// The columns by which it is read.
    pub key: Vec<String>,
    /// Whether an index has these columns; without one each range of rows means reading the whole table.
    pub has_index: bool,
    /// Why it cannot be dumped, and what to do about it.
    pub refusal: Option<String>,
}

impl MySqlSource {
    /// Looks at these tables, or at all that are followed; `keys` are those of `source.keys`.
    pub async fn plan(
        &self,
        names: Option<&[TableName]>,
        keys: &BTreeMap<String, Vec<String>>,
        condition: Option<&str>,
    ) -> Result<Vec<Planned>> {
        let mut connection = self.connect().await?;
        tables::prepare(self, &mut connection).await?;
        if connection.server_version() >= (8, 0, 0) {
            // Figures of today, not of when somebody asked last.
            let fresh = "SET SESSION information_schema_stats_expiry = 0";
            self.rows(&mut connection, fresh).await?;
        }
        let sizes = self.sizes(&mut connection).await?;
        let names: BTreeSet<TableName> = match names {
            Some(names) => names.iter().cloned().collect(),
            None => sizes.keys().cloned().collect(),
        };
        let mut planned = Vec::new();
        for name in names {
            let size = sizes.get(&name).copied();
            planned.push(self.look_at(&mut connection, &name, size, keys, condition).await?);
        }
        connection.disconnect().await.ok();
        Ok(planned)
    }

    /// Rows and bytes of the followed tables.
    async fn sizes(&self, connection: &mut Conn) -> Result<BTreeMap<TableName, (u64, u64)>> {
        let statement = "SELECT table_schema, table_name, CAST(COALESCE(table_rows, 0) AS UNSIGNED), \
                         CAST(COALESCE(data_length, 0) AS UNSIGNED) FROM information_schema.tables \
                         WHERE table_type = 'BASE TABLE' AND table_schema NOT IN \
                         ('mysql', 'sys', 'information_schema', 'performance_schema')";
        let rows = self.rows(connection, statement).await?;
        let size = |row: &Row| {
            let name = (row.get::<String, usize>(0)?, row.get::<String, usize>(1)?);
            Some((name, (row.get(2)?, row.get(3)?)))
        };
        let sizes = rows.iter().filter_map(size);
        Ok(sizes
            .filter(|((database, table), _)| self.filter.follows(database, table))
            .collect())
    }

    async fn look_at(
        &self,
        connection: &mut Conn,
        name: &TableName,
        size: Option<(u64, u64)>,
        keys: &BTreeMap<String, Vec<String>>,
        condition: Option<&str>,
    ) -> Result<Planned> {
        let (rows, bytes) = size.unwrap_or_default();
        let mut planned = Planned {
            database: name.0.clone(),
            table: name.1.clone(),
            is_there: size.is_some(),
            rows,
            bytes,
            key: Vec::new(),
            has_index: true,
            refusal: None,
        };
        if !self.filter.follows(&name.0, &name.1) {
            let why = "it is not followed; add it to source.tables, and start the reader again";
            planned.refusal = Some(why.to_owned());
        } else if planned.is_there {
            let looked = self.look_closely(connection, name, keys, condition, &mut planned).await;
            match looked {
                Err(error) if !error.is_transient() => planned.refusal = Some(error.one_line()),
                other => other?,
            }
            self.rows(connection, "ROLLBACK").await?;
        }
        Ok(planned)
    }

    async fn look_closely(
        &self,
        connection: &mut Conn,
        name: &TableName,
        keys: &BTreeMap<String, Vec<String>>,
        condition: Option<&str>,
        planned: &mut Planned,
    ) -> Result<()> {
        let Some(schema) = tables::open(self, connection, name).await? else {
            planned.is_there = false;
            return Ok(());
        };
        let map = schema.selected(&name.0, &name.1)?;
        let configured = keys.get(&format!("{}.{}", name.0, name.1));
        let columns = key_columns(&map, configured.map(Vec::as_slice))?;
        let index = match configured {
            None => Some("PRIMARY".to_owned()),
            Some(_) => tables::unique_index(self, connection, name, &map, &columns).await?,
        };
        planned.has_index = index.is_some();
        let order = Order {
            map: &map,
            columns: &columns,
            collations: &BTreeMap::new(),
            index,
        };
        planned.key = order.names();
        order.require()?;
        if let Some(condition) = condition {
            let statement = format!(
                "EXPLAIN SELECT 1 FROM {}.{} WHERE ({condition}\n)",
                quoted(&name.0),
                quoted(&name.1)
            );
            let explained: std::result::Result<Vec<Row>, mysql_async::Error> = connection.query(&statement).await;
            explained.map_err(|error| {
                Error::definite("the condition of --where cannot be used on this table")
                    .detail(error)
                    .hint("it is what stands behind WHERE in SQL, on this table's columns")
            })?;
        }
        Ok(())
    }
}
