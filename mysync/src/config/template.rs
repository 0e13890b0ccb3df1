//! The commented file that `mysync config template` prints.

/// A whole configuration with every key, its default and what it means.
pub const TEMPLATE: &str = r#"# MySync: one file for reader, writer and checker. `mysync config check` says what is wrong with it.

[source]
servers = ["127.0.0.1:3306"]       # MySQL servers, host:port; the first is followed
user = "mysync"                    # needs REPLICATION SLAVE, REPLICATION CLIENT, SELECT, and ALL on __db_mysync.*
password_env = "MYSYNC_MYSQL_PASSWORD"   # or password_file = "path", or password = "..."
server_id = 4271                   # unique among the servers and replicas of this MySQL topology
tables = ["shop.*"]                # patterns <database>.<table>; * and ? match

[source.keys]                      # only for tables without a primary key: NOT NULL columns that identify a row
# "shop.log" = ["at", "line"]

[kafka]
brokers = ["127.0.0.1:9092"]       # some of the brokers, host:port
prefix = "mysync"                  # topics are <prefix>.<database>.<table>
partitions = 3                     # of a topic that the reader creates
replication_factor = 3             # less than 3 needs reader.allow_unsafe
min_insync_replicas = 2            # less than 2 needs reader.allow_unsafe
message_bytes_max = 100000000      # largest record; a larger row stops the reader
compression = "lz4"                # none, gzip, snappy, lz4, zstd

[reader]
name = "default"                   # the checkpoint's key; one reader a name
commit_interval_ms = 50            # longest wait of a change for its Kafka transaction to be committed
commit_changes_max = 10000         # changes in a Kafka transaction, up to the end of the MySQL transaction
allow_unsafe = false               # true: start in spite of settings that can lose changes
start = "oldest"                   # without a checkpoint begin with the oldest binlog, or with what comes from now on: newest
on_ddl = "stop"                    # at TRUNCATE, DROP, RENAME, ALTER of a followed table: stop, or ignore

[writer.redis]
address = "127.0.0.1:6379"         # host:port
# password_env = "MYSYNC_REDIS_PASSWORD"   # or password_file = "path", or password = "..."
database = 0
layout = "hash"                    # hash: a field a column; json: one string a row
key = "{db}:{table}:{pk}"          # of {db}, {table}, {pk} and literal text
batch_changes_max = 5000           # changes in one atomic step

[check]
rows_parallel = 2                  # tables compared at the same time
settle_seconds_max = 30            # how long a fence or a differing row may take to settle
"#;
