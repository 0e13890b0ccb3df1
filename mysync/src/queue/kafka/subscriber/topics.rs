//! Which topics hold changes of tables: `<prefix>.<database>.<table>` and `<prefix>.changes`, and not the internal
//! `<prefix>.__<name>`.

use super::super::topics::CHANGES;
use crate::tables::{FENCE_TABLE, INTERNAL_DATABASE};

/// The topics of one prefix.
#[derive(Debug, Clone)]
pub(in crate::queue::kafka) struct Topics {
    prefix: String,
}

impl Topics {
    pub(in crate::queue::kafka) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    /// The subscription: the same as [`Topics::follows`], as the POSIX expression that the client wants. A database whose
    /// name begins with `__` is not followed, other than the fence's.
    pub(super) fn pattern(&self) -> String {
        let prefix = self.prefix.replace('.', "\\.");
        format!("^{prefix}\\.({CHANGES}|{INTERNAL_DATABASE}\\.{FENCE_TABLE}|(_|_?[^_.][^.]*)\\..+)$")
    }

    /// Whether a topic holds changes of tables.
    pub(in crate::queue::kafka) fn follows(&self, topic: &str) -> bool {
        let rest = topic.strip_prefix(&self.prefix).and_then(|rest| rest.strip_prefix('.'));
        if rest == Some(CHANGES) {
            return true;
        }
        let Some((database, table)) = rest.and_then(|rest| rest.split_once('.')) else {
            return false;
        };
        if database == INTERNAL_DATABASE {
            return table == FENCE_TABLE;
        }
        !database.is_empty() && !database.starts_with("__") && !table.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::Topics;

    #[test]
    fn tables_are_followed_and_internal_topics_are_not() {
        let topics = Topics::new("my.sync");
        for (topic, expected) in [
            ("my.sync.bank.account", true),
            ("my.sync.bank.__t", true),
            ("my.sync.b.a.c", true),
            ("my.sync._.a", true),
            ("my.sync._b.a", true),
            ("my.sync.__db_mysync.t_fence", true),
            ("my.sync.changes", true),
            ("my.sync.changes2", false),
            ("my.sync.transaction", false),
            ("my.sync.__db_mysync.t_binlog_record", false),
            ("my.sync.__checkpoint", false),
            ("my.sync.__x.y", false),
            ("my.sync.bank", false),
            ("my.sync.bank.", false),
            ("my.sync..a", false),
            ("mysync.bank.account", false),
            ("my.sync2.bank.account", false),
        ] {
            assert_eq!(topics.follows(topic), expected, "{topic}");
        }
    }

    #[test]
    fn the_pattern_takes_the_prefix_literally() {
        assert_eq!(
            Topics::new("my.sync").pattern(),
            "^my\\.sync\\.(changes|__db_mysync\\.t_fence|(_|_?[^_.][^.]*)\\..+)$"
        );
    }
}
