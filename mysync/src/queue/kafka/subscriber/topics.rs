//! Which topics hold changes of tables: `<prefix>.<database>.<table>` and `<prefix>.changes`, and not the internal
//! `<prefix>.__<name>`.

use super::super::topics::CHANGES;
use crate::error::{Error, Result};
use crate::tables::{FENCE_TABLE, INTERNAL_DATABASE};

/// Every reader of a prefix has its checkpoint in a topic of this name.
const CHECKPOINT: &str = ".__checkpoint";

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

    /// The prefix of another reader that begins with this one and a dot, or the other way round: `p.q.t` could be table `t` of
    /// prefix `p.q`, and of database `q` of prefix `p`.
    pub(in crate::queue::kafka) fn entangled<'t>(&self, topics: impl IntoIterator<Item = &'t str>) -> Option<&'t str> {
        let begins =
            |longer: &str, shorter: &str| longer.strip_prefix(shorter).is_some_and(|rest| rest.starts_with('.'));
        let prefixes = topics.into_iter().filter_map(|topic| topic.strip_suffix(CHECKPOINT));
        let mut entangled = prefixes.filter(|other| begins(other, &self.prefix) || begins(&self.prefix, other));
        entangled.next()
    }

    /// Refuses to tell apart what cannot be.
    pub(in crate::queue::kafka) fn require_untangled<'t>(
        &self,
        topics: impl IntoIterator<Item = &'t str>,
    ) -> Result<()> {
        match self.entangled(topics) {
            None => Ok(()),
            Some(other) => Err(Error::definite(format!(
                "the prefixes of two readers begin alike: {} and {other}",
                self.prefix
            ))
            .detail(format!("topic {other}{CHECKPOINT}"))
            .hint("whose tables the topics hold cannot be told from their names: choose a kafka.prefix that no other one begins with, up to a dot")),
        }
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
            // Debezium's topic of schema changes.
            ("my.sync", false),
        ] {
            assert_eq!(topics.follows(topic), expected, "{topic}");
        }
    }

    #[test]
    fn prefixes_that_begin_alike_are_not_told_apart() {
        let entangled = |prefix: &str, other: &str| {
            let topic = format!("{other}.__checkpoint");
            Topics::new(prefix).entangled([topic.as_str()]).is_some()
        };
        assert!(entangled("mysync", "mysync.eu") && entangled("mysync.eu", "mysync"));
        assert!(
            !entangled("mysync", "mysync") && !entangled("mysync", "mysync2") && !entangled("mysync.us", "mysync.eu")
        );
        let topics = Topics::new("mysync");
        assert_eq!(topics.entangled(["mysync.eu.shop", "mysync.eu.__schema"]), None);
        let refused = topics.require_untangled(["mysync.eu.__checkpoint"]).unwrap_err();
        assert!(!refused.is_transient());
    }

    #[test]
    fn the_pattern_takes_the_prefix_literally() {
        assert_eq!(
            Topics::new("my.sync").pattern(),
            "^my\\.sync\\.(changes|__db_mysync\\.t_fence|(_|_?[^_.][^.]*)\\..+)$"
        );
    }
}
