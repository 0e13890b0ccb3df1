//! The server's settings that the reader depends on.

use super::endpoint::Endpoint;
use super::servers::ANSWER_TIMEOUT;
use super::{MySqlSource, cascades};
use crate::error::{Error, Result};
use crate::source::Facts;
use crate::source::preflight::Check;
use futures::future::join_all;
use mysql_async::{Conn, Row};
use std::collections::{BTreeMap, BTreeSet};

/// Binlogs that are purged sooner than this leave no time to mend a stopped reader, seconds.
const RETENTION_SECONDS_MIN: u64 = 86_400;

pub(super) async fn variables(endpoint: &Endpoint, connection: &mut Conn) -> Result<BTreeMap<String, String>> {
    let statement = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('server_uuid', 'server_id', 'gtid_mode', 'log_bin', \
                     'binlog_format', 'binlog_row_image', 'binlog_row_metadata', 'binlog_row_value_options', \
                     'binlog_expire_logs_seconds', 'lower_case_table_names', 'innodb_native_foreign_keys', \
                     'log_replica_updates', 'log_slave_updates', 'replica_parallel_workers', 'slave_parallel_workers', \
                     'replica_preserve_commit_order', 'slave_preserve_commit_order', 'binlog_order_commits')";
    let rows = endpoint.rows(connection, statement).await?;
    let pair = |row: &Row| Some((row.get::<String, usize>(0)?, row.get::<String, usize>(1)?));
    Ok(rows.iter().filter_map(pair).collect())
}

pub(super) async fn checks(source: &MySqlSource, connection: &mut Conn) -> Result<Vec<Check>> {
    let variables = variables(&source.endpoint, connection).await?;
    let actual = |name: &str| {
        variables
            .get(name)
            .map_or("(no such variable)", String::as_str)
            .to_owned()
    };
    let equals = |name: &'static str, expected: &'static str, fix: &'static str| Check {
        name,
        expected,
        actual: actual(name),
        holds: actual(name).eq_ignore_ascii_case(expected),
        fix,
        waivable: false,
    };
    let absent_or = |name: &'static str, expected: &'static str, fix: &'static str| Check {
        holds: variables
            .get(name)
            .is_none_or(|value| value.eq_ignore_ascii_case(expected)),
        expected: if expected.is_empty() { "empty" } else { expected },
        ..equals(name, expected, fix)
    };
    let own_id = source.config.server_id.to_string();
    let retention: Option<u64> = variables
        .get("binlog_expire_logs_seconds")
        .and_then(|seconds| seconds.parse().ok());
    let mut checks = vec![
        equals("log_bin", "ON", "start mysqld with --log-bin"),
        equals("binlog_format", "ROW", "SET PERSIST binlog_format = ROW"),
        equals("binlog_row_image", "FULL", "SET PERSIST binlog_row_image = FULL"),
        // Without FULL metadata the columns come from the schema history.
        Check {
            name: "binlog_row_metadata",
            expected: "FULL, MINIMAL, or none on old servers",
            actual: actual("binlog_row_metadata"),
            holds: true,
            fix: "SET PERSIST binlog_row_metadata = FULL",
            waivable: false,
        },
        absent_or(
            "binlog_row_value_options",
            "",
            "SET PERSIST binlog_row_value_options = ''",
        ),
        Check {
            name: "server_id",
            expected: "another than source.server_id",
            actual: actual("server_id"),
            holds: actual("server_id") != own_id,
            fix: "choose a source.server_id that no server of the topology has",
            waivable: false,
        },
        Check {
            name: "binlog_expire_logs_seconds",
            expected: "86400 or more, or 0",
            actual: actual("binlog_expire_logs_seconds"),
            holds: retention.is_none_or(|seconds| seconds == 0 || seconds >= RETENTION_SECONDS_MIN),
            fix: "SET PERSIST binlog_expire_logs_seconds = 604800",
            waivable: true,
        },
        // What SELECT shows before the binlog has it would be read by a refresh, and then published again from the stream, older.
        Check {
            waivable: true,
            ..absent_or(
                "binlog_order_commits",
                "ON",
                "SET PERSIST binlog_order_commits = ON: rows are read between two marks in the binlog",
            )
        },
        privileges(source, connection).await?,
    ];
    checks.extend(replication(
        &variables,
        source.address(),
        source.servers.endpoints.len(),
    ));
    checks.extend(name_case(
        source,
        variables.get("lower_case_table_names").map(String::as_str),
    ));
    checks.extend(keyless_tables(source, connection).await?);
    checks.extend(cascades::check(source, connection, facts_of(&variables)).await?);
    Ok(checks)
}

pub(super) async fn facts(source: &MySqlSource, connection: &mut Conn) -> Result<Facts> {
    Ok(facts_of(&variables(&source.endpoint, connection).await?))
}

fn facts_of(variables: &BTreeMap<String, String>) -> Facts {
    let is = |name: &str, expected: &str| {
        variables
            .get(name)
            .is_some_and(|value| value.eq_ignore_ascii_case(expected))
    };
    Facts {
        names_columns: is("binlog_row_metadata", "FULL"),
        // Both came with the same extension of Table_maps.
        names_charsets: variables.contains_key("binlog_row_metadata"),
        lower_case_names: is("lower_case_table_names", "1"),
        // Servers that know the setting can keep foreign keys themselves, and log what they do then; all others leave it to
        // InnoDB, which does not.
        logs_cascades: is("innodb_native_foreign_keys", "OFF"),
    }
}

/// The servers that may be followed later, as far as they answer.
pub(super) async fn other_checks(source: &MySqlSource) -> Vec<Check> {
    let endpoints = &source.servers.endpoints;
    let others = endpoints.iter().filter(|other| other.address != source.address());
    let asked = others.map(|other| async {
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, async {
            let mut connection = other.connect().await?;
            let variables = variables(other, &mut connection).await?;
            connection.disconnect().await.ok();
            Ok::<_, Error>(variables)
        });
        match answer.await {
            Ok(Ok(variables)) => replication(&variables, &other.address, endpoints.len()),
            _ => {
                tracing::warn!(
                    address = other.address,
                    "a server of source.servers does not answer, so its settings are not checked"
                );
                Vec::new()
            }
        }
    });
    join_all(asked).await.concat()
}

/// What a server must have that is followed after another one.
fn replication(variables: &BTreeMap<String, String>, address: &str, servers: usize) -> Vec<Check> {
    // Old servers have the second name, some have both.
    let value = |names: [&str; 2]| names.iter().find_map(|name| variables.get(*name)).map(String::as_str);
    let logs = value(["log_replica_updates", "log_slave_updates"]);
    let workers = value(["replica_parallel_workers", "slave_parallel_workers"]);
    let in_order = value(["replica_preserve_commit_order", "slave_preserve_commit_order"]);
    let is_parallel = workers.and_then(|workers| workers.parse::<u32>().ok()).unwrap_or(0) > 1;
    let has_gtid = variables.get("gtid_mode").is_some_and(|mode| mode == "ON");
    let of = |value: Option<&str>| format!("{} on {address}", value.unwrap_or("(no such variable)"));
    vec![
        Check {
            name: "log_replica_updates",
            expected: "ON where several servers are in source.servers",
            actual: of(logs),
            holds: servers < 2 || logs == Some("ON"),
            fix: "start mysqld with --log-replica-updates (--log-slave-updates before 8.0.26): changes that came from the server before \
                  it are not in its binlog",
            waivable: true,
        },
        Check {
            name: "replica_preserve_commit_order",
            expected: "ON, or no parallel workers: without GTID a place is found on another server by the order of changes",
            actual: of(in_order),
            holds: has_gtid || !is_parallel || in_order == Some("ON"),
            fix: "SET PERSIST replica_preserve_commit_order = ON, or on 5.6 SET GLOBAL slave_parallel_workers = 0; or gtid_mode = ON",
            waivable: true,
        },
    ]
}

/// A server that keeps names in lower case has none that a pattern with a capital letter could match.
fn name_case(source: &MySqlSource, setting: Option<&str>) -> Option<Check> {
    let is_upper = |pattern: &&String| pattern.chars().any(char::is_uppercase);
    let upper = source.config.tables.iter().find(is_upper);
    match (setting, upper) {
        (Some("1"), Some(pattern)) => Some(Check {
            name: "source.tables",
            expected: "lower case, since lower_case_table_names is 1",
            actual: pattern.clone(),
            holds: false,
            fix: "write the patterns of source.tables in lower case, as the server keeps the names",
            waivable: false,
        }),
        (Some("2"), _) => Some(Check {
            name: "lower_case_table_names",
            expected: "0 or 1",
            actual: "2".into(),
            holds: false,
            fix: "follow a server on a file system that tells upper from lower case",
            waivable: false,
        }),
        _ => None,
    }
}

async fn privileges(source: &MySqlSource, connection: &mut Conn) -> Result<Check> {
    let rows = source.rows(connection, "SHOW GRANTS").await?;
    let grants: Vec<String> = rows.iter().filter_map(|row| row.get::<String, usize>(0)).collect();
    let granted = |privilege: &str| {
        grants
            .iter()
            .filter(|grant| grant.contains("ON *.*"))
            .any(|grant| grant.contains(privilege) || grant.contains("ALL PRIVILEGES"))
    };
    let needed = ["REPLICATION SLAVE", "REPLICATION CLIENT"];
    let missing: Vec<&str> = needed.into_iter().filter(|privilege| !granted(privilege)).collect();
    Ok(Check {
        name: "privileges",
        expected: "REPLICATION SLAVE, REPLICATION CLIENT",
        actual: if missing.is_empty() {
            "granted".into()
        } else {
            format!("no {}", missing.join(", no "))
        },
        holds: missing.is_empty(),
        fix: "GRANT REPLICATION SLAVE, REPLICATION CLIENT, SELECT ON *.* TO the account of source.user",
        waivable: false,
    })
}

/// Followed tables that have neither a primary key nor an entry in `source.keys`: a row of theirs has no name.
async fn keyless_tables(source: &MySqlSource, connection: &mut Conn) -> Result<Option<Check>> {
    let statement = "SELECT t.table_schema, t.table_name FROM information_schema.tables t \
                     LEFT JOIN information_schema.table_constraints c ON c.table_schema = t.table_schema \
                       AND c.table_name = t.table_name AND c.constraint_type = 'PRIMARY KEY' \
                     WHERE t.table_type = 'BASE TABLE' AND c.constraint_name IS NULL \
                       AND t.table_schema NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')";
    let rows = source.rows(connection, statement).await?;
    let keyless: BTreeSet<String> = rows
        .iter()
        .filter_map(|row: &Row| Some((row.get::<String, usize>(0)?, row.get::<String, usize>(1)?)))
        .filter(|(database, table)| source.filter.follows(database, table))
        .map(|(database, table)| format!("{database}.{table}"))
        .filter(|name| !source.config.keys.contains_key(name))
        .collect();
    Ok((!keyless.is_empty()).then(|| Check {
        name: "primary key",
        expected: "one in each followed table, or an entry in source.keys",
        actual: format!("none in {}", keyless.into_iter().collect::<Vec<_>>().join(", ")),
        holds: false,
        fix: "add a primary key, name NOT NULL columns in [source.keys], or leave the table out of source.tables",
        waivable: false,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_take_turns_log_what_they_apply_and_commit_in_order() {
        let failed = |variables: &[(&str, &str)], servers| {
            let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            let checks = replication(&variables.iter().map(pair).collect(), "db:3306", servers);
            let failed = checks.iter().filter(|check| !check.holds);
            failed.map(|check| check.name).collect::<Vec<_>>()
        };
        let (logs, order) = ("log_replica_updates", "replica_preserve_commit_order");
        // 5.6 as it comes, alone and among several.
        let old = [
            ("log_slave_updates", "OFF"),
            ("slave_parallel_workers", "0"),
            ("gtid_mode", "OFF"),
        ];
        assert!(failed(&old, 1).is_empty());
        assert_eq!(failed(&old, 2), [logs]);
        let workers = |in_order, gtid| {
            [
                (logs, "ON"),
                ("replica_parallel_workers", "4"),
                (order, in_order),
                ("gtid_mode", gtid),
            ]
        };
        assert!(failed(&workers("ON", "OFF"), 2).is_empty());
        assert!(failed(&workers("OFF", "ON"), 2).is_empty());
        assert_eq!(failed(&workers("OFF", "OFF"), 2), [order]);
        assert_eq!(failed(&workers("OFF", "OFF"), 1), [order]);
    }
}
