//! Which tables there are to compare, from information_schema.

use std::collections::HashMap;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::canonical::Kind;
use crate::config::{Config, wrong};
use crate::error::Error;
use crate::mask::{Mask, Rule};
use crate::mysql::refused;
use crate::pattern::Pattern;
use crate::table::{Column, Table};

/// The pipeline's own database: its tables change all the time and are nobody's data.
pub const OWN_DATABASE: &str = "__db_mysync";

const SERVER_DATABASES: [&str; 4] = ["information_schema", "mysql", "performance_schema", "sys"];

/// The base tables that match `[source].tables` and, where there are any, the patterns asked for.
pub async fn tables(session: &mut Conn, config: &Config, asked: &[Pattern]) -> Result<Vec<Table>, Error> {
    let names: Vec<(String, String, u64)> = ask(
        session,
        "SELECT table_schema, table_name, IFNULL(table_rows, 0) FROM information_schema.tables \
         WHERE table_type = 'BASE TABLE' ORDER BY table_schema, table_name",
    )
    .await?;
    let any = |patterns: &[Pattern], database: &str, name: &str| {
        patterns.iter().any(|pattern| pattern.matches(database, name))
    };
    let chosen = |database: &str, name: &str| {
        let own = database == OWN_DATABASE || SERVER_DATABASES.contains(&database.to_ascii_lowercase().as_str());
        !own && any(&config.source.tables, database, name)
            && !any(&config.source.tables_exclude, database, name)
            && (asked.is_empty() || any(asked, database, name))
    };
    let names: Vec<_> = names
        .into_iter()
        .filter(|(database, name, _)| chosen(database, name))
        .collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut columns = all_columns(session).await?;
    let primary_keys = all_primary_keys(session).await?;
    let mut tables = Vec::with_capacity(names.len());
    for (database, name, rows_estimate) in names {
        let of_table = (database, name);
        let declared = columns.remove(&of_table).unwrap_or_default();
        let (key, key_is_primary) = key(config, &of_table, &declared, primary_keys.get(&of_table))?;
        let (columns, key) = known_columns(config, &of_table, declared, key)?;
        let (database, name) = of_table;
        tables.push(Table {
            number: tables.len(),
            database,
            name,
            columns,
            key,
            key_is_primary,
            rows_estimate,
        });
    }
    Ok(tables)
}

type TableName = (String, String);

struct Declared {
    name: String,
    data_type: String,
    nullable: bool,
}

async fn ask<T: mysql_async::prelude::FromRow + Send + 'static>(
    session: &mut Conn,
    statement: &str,
) -> Result<Vec<T>, Error> {
    session
        .query(statement)
        .await
        .map_err(|error| refused("information_schema", &error))
}

async fn all_columns(session: &mut Conn) -> Result<HashMap<TableName, Vec<Declared>>, Error> {
    let rows: Vec<(String, String, String, String, String)> = ask(
        session,
        "SELECT table_schema, table_name, column_name, data_type, is_nullable FROM information_schema.columns \
         WHERE table_schema NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys') \
         ORDER BY table_schema, table_name, ordinal_position",
    )
    .await?;
    let mut columns: HashMap<TableName, Vec<Declared>> = HashMap::new();
    for (database, table, name, data_type, nullable) in rows {
        let declared = Declared {
            name,
            data_type,
            nullable: nullable.eq_ignore_ascii_case("YES"),
        };
        columns.entry((database, table)).or_default().push(declared);
    }
    Ok(columns)
}

async fn all_primary_keys(session: &mut Conn) -> Result<HashMap<TableName, Vec<String>>, Error> {
    let rows: Vec<(String, String, String)> = ask(
        session,
        "SELECT table_schema, table_name, column_name FROM information_schema.statistics \
         WHERE index_name = 'PRIMARY' \
         AND table_schema NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys') \
         ORDER BY table_schema, table_name, seq_in_index",
    )
    .await?;
    let mut keys: HashMap<TableName, Vec<String>> = HashMap::new();
    for (database, table, column) in rows {
        keys.entry((database, table)).or_default().push(column);
    }
    Ok(keys)
}

/// The places of the key columns, and whether they are the primary key.
fn key(
    config: &Config,
    table: &TableName,
    declared: &[Declared],
    primary: Option<&Vec<String>>,
) -> Result<(Vec<usize>, bool), Error> {
    let full_name = format!("{}.{}", table.0, table.1);
    let configured = config.source.keys.get(&full_name);
    let Some(names) = primary.or(configured) else {
        return Err(Error::configuration(
            "a table has no key",
            format!("{}: {full_name} has no primary key", config.file),
            format!("name NOT NULL columns that identify a row: [source.keys] \"{full_name}\" = [\"...\"]"),
        ));
    };
    let mut places = Vec::with_capacity(names.len());
    for name in names {
        let place = declared
            .iter()
            .position(|column| column.name.eq_ignore_ascii_case(name));
        match place {
            Some(place) if primary.is_some() || !declared[place].nullable => places.push(place),
            Some(_) => return Err(wrong_key(config, &full_name, &format!("column `{name}` may be NULL"))),
            None => return Err(wrong_key(config, &full_name, &format!("no column `{name}`"))),
        }
    }
    if places.is_empty() {
        return Err(wrong_key(config, &full_name, "no column named"));
    }
    Ok((places, primary.is_some()))
}

fn wrong_key(config: &Config, table: &str, reason: &str) -> Error {
    let place = format!("key source.keys.\"{table}\"");
    wrong(
        &config.file,
        &place,
        reason,
        "name NOT NULL columns of the table that identify a row",
    )
}

/// The columns that a store has, and the places of the key among them.
fn known_columns(
    config: &Config,
    table: &TableName,
    declared: Vec<Declared>,
    key: Vec<usize>,
) -> Result<(Vec<Column>, Vec<usize>), Error> {
    let mut columns = Vec::with_capacity(declared.len());
    let mut places = vec![None; declared.len()];
    for (index, Declared { name, data_type, .. }) in declared.into_iter().enumerate() {
        let rule = config.columns.rule(&table.0, &table.1, &name);
        if rule != Rule::Plain && key.contains(&index) {
            return Err(wrong(
                &config.file,
                "section [mask] or key source.columns_exclude",
                &format!("a key column is masked or left out: {}.{}.{name}", table.0, table.1),
                "narrow the pattern: rows are told apart by their keys",
            ));
        }
        let Some(kind) = Kind::of_data_type(&data_type) else {
            return Err(Error::failed(
                "a column's type is not known",
                format!("{}.{}, column `{name}`: {data_type}", table.0, table.1),
                "leave the table out with --table, or use a checker that knows the type",
            ));
        };
        places[index] = Some(columns.len());
        match rule {
            Rule::Plain => columns.push(Column::plain(name, kind)),
            Rule::LeftOut => places[index] = None,
            Rule::Masked(rule) => columns.push(Column {
                mask: Some(Mask { kind, rule }),
                // Masks are texts.
                ..Column::plain(name, Kind::Characters)
            }),
        }
    }
    // No key column is left out.
    let key = key.into_iter().filter_map(|index| places[index]).collect();
    Ok((columns, key))
}
