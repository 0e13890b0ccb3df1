//! The commented file that `mysync config template` prints.

/// A whole configuration with every key, its default and what it means.
pub const TEMPLATE: &str = r#"# MySync: one file for reader, writer and checker. `mysync config check` says what is wrong with it.

[source]
servers = ["127.0.0.1:3306"]       # MySQL servers, host:port; one alone is followed whatever it is, of several the primary
user = "mysync"                    # needs REPLICATION SLAVE, REPLICATION CLIENT, SELECT, and ALL on __db_mysync.*
password_env = "MYSYNC_MYSQL_PASSWORD"   # or password_file = "path", or password = "..."
server_id = 4271                   # unique among the servers and replicas of this MySQL topology
tables = ["shop.*"]                # patterns <database>.<table>; * and ? match
tables_exclude = []                # of those, the ones that are not followed
columns_exclude = []               # patterns <database>.<table>.<column> of columns that are left out of the messages
heartbeat_interval_ms = 1000       # how often a row of __db_mysync.t_binlog_record is advanced, to measure the lag; 0: never

# [source.tls]                     # without this section the connection is not encrypted
# mode = "verify-identity"         # or verify-ca (whatever host it is for), required (nothing is verified), disabled
# ca = "ca.pem"                    # trusted authorities; without it, those of the operating system
# certificate = "client.pem"       # for accounts that REQUIRE X509
# key = "client-key.pem"

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

# [kafka.tls]                      # the same keys as in [source.tls]
# ca = "ca.pem"

# [kafka.sasl]
# mechanism = "SCRAM-SHA-512"      # or SCRAM-SHA-256, PLAIN
# user = "mysync"
# password_env = "MYSYNC_KAFKA_PASSWORD"   # or password_file = "path", or password = "..."

[messages]
format = "debezium"                # debezium; debezium-strict: values as Debezium's defaults; protobuf: proto/change.proto
topics = "table"                   # a topic a table, or one: all changes in <prefix>.changes, partitioned by table and key
transaction_metadata = false       # true: block transaction in each change, begin and end in topic <prefix>.transaction
query = false                      # true: the statement in source.query, if binlog_rows_query_log_events is on
heartbeat_interval_ms = 0          # a record to <prefix>.__heartbeat so often, on an idle source too; 0: never

[mask]                             # values that nobody shall read, by patterns <database>.<table>.<column>; no key columns
hash = []                          # equal values stay equal: HMAC-SHA-256 of the value, keyed with the salt
text = {}                          # "shop.customer.name" = "***": this text for every value; NULL stays NULL in both
# salt_env = "MYSYNC_MASK_SALT"    # or salt_file = "path", or salt = "..."

[reader]
name = "default"                   # the checkpoint's key; one reader a name, unless ha is on
ha = false                         # true: any number of readers of this name may run; one leads, the others stand by
delivery = "transactional"         # or sequenced: sooner to be seen, but after a crash the last changes come twice (same version)
commit_interval_ms = 50            # longest wait of a change for its Kafka transaction to be committed; between two checkpoints
commit_changes_max = 10000         # changes in a Kafka transaction, up to the end of the MySQL transaction
allow_unsafe = false               # true: start in spite of settings that can lose changes
start = "oldest"                   # without a checkpoint begin with the oldest binlog, or with what comes from now on: newest
on_ddl = "stop"                    # at TRUNCATE, DROP, RENAME, ALTER that change rows without row events: stop, ignore, or
                                   # refresh: read the table anew, delete what is gone from it, and go on
on_cascade = "refuse"              # foreign keys that change rows of followed tables unlogged: refuse, follow (read the children's
                                   # tables anew when a parent's row goes or gets another key), or ignore
on_lost = "refresh"                # published transactions that MySQL lost in a switch: refresh their rows, or stop
on_gap = "stop"                    # where the position is not in the server's binlogs (purged, reset, rebuilt): stop, or refresh:
                                   # go on at the binlog's end and read all followed tables anew
dump_tables_max = 2                # tables that are dumped at the same time, each over a connection of its own

[writer]                           # of all targets' writers; each mysync writer <target> is a process, any number may run
format = "mysync"                  # whose records are read: mysync's reader's, or debezium: those of Debezium's MySQL connector
                                   # (docs/debezium.md); the prefix is then its topic.prefix
# member = "writer-1"              # its name among those of its target, no other's, and the same after a restart; without it
                                   # one is made of the host's name
session_seconds = 20               # one that is not heard of for so long is replaced by the others of its target

[writer.redis]
address = "127.0.0.1:6379"         # host:port of a server alone; or, in its place, one of:
# addresses = ["a:6379", "b:6379"] # a master and its replicas: the one that is the master is written to
# sentinels = ["a:26379", "b:26379"]       # they say which server is the master, with its name:
# master_name = "mymaster"
# cluster = ["a:6379", "b:6379"]   # some nodes of a Redis Cluster
# user = "mysync"                  # of the ACL; without it the default user
# password_env = "MYSYNC_REDIS_PASSWORD"   # or password_file = "path", or password = "..."
# sentinel_user = "mysync"         # the sentinels' own accounts, with sentinel_password, _env or _file
database = 0
layout = "hash"                    # hash: a field a column; json: one string a row
key = "{db}:{table}:{pk}"          # of {db}, {table}, {pk} and literal text
# ttl_seconds = 86400              # rows expire so long after their last change; without it never
batch_changes_max = 2000           # changes in one step, which is atomic but in a cluster, and nobody else is served meanwhile
# listen = "127.0.0.1:9465"        # this writer's /metrics, /health, /status, and where mysync writer retry and skip ask

# [writer.redis.tls]               # the same keys as in [source.tls]
# ca = "ca.pem"

# [writer.elasticsearch]           # or OpenSearch
# urls = ["http://127.0.0.1:9200"] # some nodes of one cluster, http:// or https://
# user = "mysync"                  # with a password as in [writer.redis]; or api_key_env, api_key_file, api_key (encoded)
# password_env = "MYSYNC_ELASTICSEARCH_PASSWORD"
# index = "{db}.{table}"           # the alias that is queried, of {db}, {table} and literal text; the index is <alias>~rows
# shards = 1                       # of an index that the writer creates
# replicas = 1                     # likewise
# batch_changes_max = 10000        # changes that are read ahead and applied together
# bulk_bytes_max = 4194304         # of one bulk request
# bulks_parallel = 2               # bulk requests at a time
# tombstones_keep_hours = 168      # of deleted rows; longer than the oldest backup that may be restored is old; 0: for ever
# listen = "127.0.0.1:9466"        # this writer's /metrics, /health, /status, and where mysync writer retry and skip ask

# [writer.elasticsearch.tls]       # the same keys as in [source.tls]; for https without it, everything is verified
# ca = "ca.pem"                    # trusted besides the authorities of the operating system

# [writer.hbase]                   # the rows of each table in a table of HBase, which the writer makes
# thrift = "127.0.0.1:9090"        # host:port of a Thrift2 gateway (hbase thrift2 start)
# transport = "buffered"           # or framed: as the gateway was started
# protocol = "binary"              # or compact
# table = "{db}.{table}"           # of {db}, {table} and literal text
# salt_buckets = 0                 # 1 to 256: rows are spread over so many regions, which a table is made with; for keys that only grow
# batch_changes_max = 10000        # changes before a cursor moves
# connections = 4                  # to the gateway, which are used at the same time
# answer_seconds_max = 30          # a request that takes longer is tried again; regions on the move take some seconds
# frame_bytes_max = 2097152        # framed only: as the gateway's hbase.regionserver.thrift.framed.max_frame_size_in_mb
# listen = "127.0.0.1:9467"        # this writer's /metrics, /health, /status, and where mysync writer retry and skip ask

[metrics]                          # the reader's /metrics for Prometheus, /health for supervisors, /status for mysync status
# listen = "127.0.0.1:9464"        # of the reader; without it nothing is served

[check]
rows_parallel = 2                  # tables compared at the same time
settle_seconds_max = 30            # how long a fence or a differing row may take to settle
"#;
