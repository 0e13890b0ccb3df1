//! What the reader does about a statement that is about tables, not rows.

use super::ddl::Statement;
use super::tracker::{Ddl, shorten};
use crate::config::OnDdl;
use crate::error::{Error, Result};
use crate::tables::TableFilter;

/// Refuses a statement that may change rows of followed tables without row events, or lets it pass with a word.
pub(super) fn allow(ddl: &Ddl, filter: &TableFilter, on_ddl: OnDdl) -> Result<()> {
    let refuse = |what: &str, hint: &str| Error::definite(what).detail(shorten(&ddl.text)).hint(hint);
    match &ddl.statement {
        Statement::Unknown => pass(
            on_ddl,
            refuse(
                "a statement in the binlog that mysync does not know",
                "if it changes no rows of followed tables, start once with reader.on_ddl = \"ignore\"",
            ),
        ),
        Statement::ChangesRows(tables) => match tables
            .iter()
            .find(|(database, table)| filter.follows_any(database, table))
        {
            Some((database, table)) => pass(
                on_ddl,
                refuse(
                    &format!("a statement changes rows without row events: {database}.{table}"),
                    "bring the stores up to date by hand, then start once with reader.on_ddl = \"ignore\"",
                ),
            ),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

fn pass(on_ddl: OnDdl, error: Error) -> Result<()> {
    match on_ddl {
        OnDdl::Stop => Err(error),
        OnDdl::Ignore => {
            tracing::warn!("passed over by reader.on_ddl: {}", super::one_line(&error));
            Ok(())
        }
    }
}
