//! Foreign keys by which rows of followed tables change without row events.

use super::MySqlSource;
use crate::config::OnCascade;
use crate::error::Result;
use crate::schema::TableName;
use crate::source::preflight::Check;
use crate::source::{Cascade, Facts, Parent};
use mysql_async::{Conn, Row};
use std::collections::{BTreeMap, BTreeSet};

/// Every foreign key of a followed table that deletes or changes its rows with a parent's, whether the parent is followed or
/// not. A chain of them is a list: each table of it whose rows change has such a key of its own.
pub(super) async fn find(source: &MySqlSource, connection: &mut Conn) -> Result<Vec<Cascade>> {
    let found = all(source, connection).await?.into_iter();
    Ok(found
        .filter(|cascade| source.filter.follows(&cascade.child.0, &cascade.child.1))
        .collect())
}

/// Those of tables that are not followed, too.
async fn all(source: &MySqlSource, connection: &mut Conn) -> Result<Vec<Cascade>> {
    let statement = "SELECT constraint_schema, table_name, constraint_name, unique_constraint_schema, referenced_table_name, \
                     delete_rule, update_rule FROM information_schema.referential_constraints \
                     WHERE delete_rule IN ('CASCADE', 'SET NULL') OR update_rule IN ('CASCADE', 'SET NULL') \
                     ORDER BY constraint_schema, table_name, constraint_name";
    let rows = source.rows(connection, statement).await?;
    let cascade = |row: &Row| {
        let text = |index: usize| row.get::<String, usize>(index);
        let rule = |event: &str, rule: String| {
            matches!(rule.as_str(), "CASCADE" | "SET NULL").then(|| format!("ON {event} {rule}"))
        };
        let rules = [rule("DELETE", text(5)?), rule("UPDATE", text(6)?)];
        Some(Cascade {
            child: (text(0)?, text(1)?),
            constraint: text(2)?,
            parent: (text(3)?, text(4)?),
            rules: rules.into_iter().flatten().collect::<Vec<_>>().join(", "),
        })
    };
    Ok(rows.iter().filter_map(cascade).collect())
}

/// The tables by which rows of followed tables change, also by way of tables that are not followed.
pub(super) async fn parents(source: &MySqlSource, connection: &mut Conn) -> Result<Vec<Parent>> {
    let cascades = all(source, connection).await?;
    let mut children: BTreeMap<TableName, BTreeSet<TableName>> = BTreeMap::new();
    for cascade in &cascades {
        children
            .entry(cascade.parent.clone())
            .or_default()
            .insert(cascade.child.clone());
    }
    let mut parents = Vec::new();
    for table in children.keys() {
        let reached = reached_from(table, &children);
        let followed: Vec<TableName> = reached
            .into_iter()
            .filter(|(database, table)| source.filter.follows(database, table))
            .collect();
        if !followed.is_empty() {
            parents.push(Parent {
                table: table.clone(),
                columns: referenced(source, connection, table).await?,
                children: followed,
            });
        }
    }
    Ok(parents)
}

/// The children, and theirs, and so on.
fn reached_from(table: &TableName, children: &BTreeMap<TableName, BTreeSet<TableName>>) -> BTreeSet<TableName> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![table]);
    while let Some(table) = open.pop() {
        for child in children.get(table).into_iter().flatten() {
            if reached.insert(child.clone()) {
                open.push(child);
            }
        }
    }
    reached
}

/// The columns of a table that foreign keys refer to.
async fn referenced(source: &MySqlSource, connection: &mut Conn, table: &TableName) -> Result<Vec<(String, usize)>> {
    let [database, name] = [&table.0, &table.1].map(|part| part.replace('\\', "\\\\").replace('\'', "''"));
    let statement = format!(
        "SELECT DISTINCT c.column_name, c.ordinal_position FROM information_schema.key_column_usage k \
         JOIN information_schema.columns c ON c.table_schema = '{database}' AND c.table_name = '{name}' \
         AND c.column_name = k.referenced_column_name \
         WHERE k.referenced_table_schema = '{database}' AND k.referenced_table_name = '{name}'"
    );
    let rows = source.rows(connection, &statement).await?;
    let column = |row: &Row| {
        Some((
            row.get::<String, usize>(0)?,
            row.get::<usize, usize>(1)?.checked_sub(1)?,
        ))
    };
    Ok(rows.iter().filter_map(column).collect())
}

/// Followed tables whose rows can change unseen.
pub(super) async fn check(source: &MySqlSource, connection: &mut Conn, facts: Facts) -> Result<Option<Check>> {
    if facts.logs_cascades {
        return Ok(None);
    }
    let found = find(source, connection).await?;
    let shown: Vec<String> = found.iter().map(Cascade::to_string).collect();
    if shown.is_empty() {
        return Ok(None);
    }
    let is_ignored = source.on_cascade == OnCascade::Ignore;
    if source.on_cascade == OnCascade::Follow {
        tracing::info!(
            tables = shown.join("; "),
            "these tables are read anew when a parent's row goes or gets another key"
        );
    }
    if is_ignored {
        tracing::warn!(
            tables = shown.join("; "),
            "rows that these foreign keys delete or change are not in the binlog: ignored, as reader.on_cascade says"
        );
    }
    Ok(Some(Check {
        name: "foreign keys",
        expected: "none that delete or change rows of followed tables, since this server does not log them",
        actual: shown.join("; "),
        holds: source.on_cascade != OnCascade::Refuse,
        fix: Cascade::FIX,
        waivable: false,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_of_children_are_reached_once_also_in_a_circle() {
        let name = |table: &str| ("d".to_owned(), table.to_owned());
        let set = |tables: &[&str]| tables.iter().map(|table| name(table)).collect::<BTreeSet<_>>();
        let children = BTreeMap::from([
            (name("a"), set(&["b", "c"])),
            (name("b"), set(&["d", "b"])),
            (name("d"), set(&["a"])),
            (name("x"), set(&["y"])),
        ]);
        assert_eq!(reached_from(&name("a"), &children), set(&["a", "b", "c", "d"]));
        assert_eq!(reached_from(&name("x"), &children), set(&["y"]));
        assert_eq!(reached_from(&name("y"), &children), set(&[]));
    }
}
