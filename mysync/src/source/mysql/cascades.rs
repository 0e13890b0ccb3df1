//! Foreign keys by which rows of followed tables change without row events.

use super::MySqlSource;
use crate::config::OnCascade;
use crate::error::Result;
use crate::source::preflight::Check;
use crate::source::{Cascade, Facts};
use mysql_async::{Conn, Row};

/// Every foreign key of a followed table that deletes or changes its rows with a parent's, whether the parent is followed or
/// not. A chain of them is a list: each table of it whose rows change has such a key of its own.
pub(super) async fn find(source: &MySqlSource, connection: &mut Conn) -> Result<Vec<Cascade>> {
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
    let found = rows.iter().filter_map(cascade);
    Ok(found
        .filter(|cascade| source.filter.follows(&cascade.child.0, &cascade.child.1))
        .collect())
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
        holds: is_ignored,
        fix: Cascade::FIX,
        waivable: false,
    }))
}
