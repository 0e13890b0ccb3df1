//! The drills that the binary carries, in the order in which they are listed and run.

/// The text of a plan under its name.
macro_rules! embedded {
    ($($name:literal)*) => {
        [$(($name, include_str!(concat!("../../drills/", $name, ".toml")))),*]
    };
}

/// Names and texts.
pub(super) const EMBEDDED: [(&str, &str); 27] = embedded![
    "kill-partition-leader"
    "switch-gtid"
    "switch-anchor"
    "planned-switchover"
    "switch-lossy-gtid"
    "switch-lossy-anchor"
    "switch-lossy-leader-killed"
    "switch-back"
    "old-primary-returns"
    "switch-while-reader-is-down"
    "switch-and-broker-kill"
    "leader-killed"
    "leader-paused"
    "isolated-primary"
    "purged-position"
    "binlog-reset"
    "kill-redis"
    "kill-elasticsearch"
    "kill-hbase"
    "pause-redis"
    "pause-elasticsearch"
    "pause-hbase"
    "isolate-redis"
    "isolate-elasticsearch"
    "isolate-hbase"
    "kill-writer"
    "pause-writer"
];
