//! Tests: what a configuration may hold, and what each refusal says.

use super::*;
use crate::mask::{MaskRule, Rule};

const WHOLE: &str = r#"
[source]
servers = ["127.0.0.1:13306"]
user = "mysync"
password = "hunter2"
server_id = 4271
tables = ["bank.*", "shop.orders"]
tables_exclude = ["bank.tmp_*"]
columns_exclude = ["bank.*.note"]
[source.keys]
"shop.log" = ["at", "line"]
[kafka]
brokers = ["127.0.0.1:19092"]
prefix = "mysync"
[messages]
format = "protobuf"
topics = "one"
[mask]
salt = "pepper"
hash = ["shop.orders.email"]
text = { "shop.orders.name" = "***" }
[reader]
name = "default"
[writer.redis]
address = "127.0.0.1:6379"
password = ""
database = 3
layout = "json"
key = "{db}:{table}:{pk}"
batch_changes_max = 5000
ttl_seconds = 86400
[writer.elasticsearch]
urls = ["http://127.0.0.1:9200", "https://search.example"]
user = "elastic"
password = "hunter2"
index = "my-{db}.{table}"
shards = 3
[writer.elasticsearch.tls]
mode = "required"
[writer.hbase]
thrift = "127.0.0.1"
transport = "framed"
protocol = "compact"
table = "{db}.{table}"
salt_buckets = 16
connections = 8
[check]
rows_parallel = 4
settle_seconds_max = 7
"#;

fn refused(from: &str, to: &str) -> String {
    assert!(WHOLE.contains(from), "{from}");
    let text = Config::parse(&WHOLE.replace(from, to), "mysync.toml")
        .expect_err("refused")
        .to_string();
    assert!(!text.contains("hunter2"), "{text}");
    text
}

#[test]
fn the_shared_file_is_read() {
    let config = Config::parse(WHOLE, "mysync.toml").expect("a good file");
    assert_eq!(
        config.source.server,
        Address {
            host: "127.0.0.1".into(),
            port: 13306
        }
    );
    assert_eq!(config.source.password.reveal(), "hunter2");
    assert_eq!(config.source.keys["shop.log"], ["at", "line"]);
    let redis = config.redis.as_ref().expect("a section writer.redis");
    assert_eq!((redis.layout, redis.database), (Layout::Json, 3));
    assert_eq!(redis.ttl_seconds, 86400);
    let elasticsearch = config.elasticsearch.as_ref().expect("a section writer.elasticsearch");
    assert_eq!(elasticsearch.urls[1], "https://search.example");
    assert_eq!(elasticsearch.index.name("bank", "a"), "my-bank.a");
    let (user, password) = ("elastic".to_owned(), Secret::new("hunter2"));
    assert_eq!(elasticsearch.login, Login::User { user, password });
    let hbase = config.hbase.as_ref().expect("a section writer.hbase");
    assert_eq!(
        (hbase.thrift.to_string().as_str(), hbase.salt_buckets),
        ("127.0.0.1:9090", 16)
    );
    assert_eq!(
        (hbase.transport, hbase.protocol),
        (Transport::Framed, Protocol::Compact)
    );
    assert_eq!((config.check.rows_parallel, config.check.settle_max.as_secs()), (4, 7));
    assert!(config.source.tables_exclude[0].matches("bank", "tmp_1"));
    assert_eq!(config.columns.rule("bank", "accounts", "note"), Rule::LeftOut);
    let salt = Some(Secret::new("pepper"));
    assert_eq!(
        config.columns.rule("shop", "orders", "email"),
        Rule::Masked(MaskRule::Hash(salt))
    );
    assert!(!format!("{config:?}").contains("hunter2") && !format!("{config:?}").contains("pepper"));
}

#[test]
fn sections_that_are_left_out_have_defaults() {
    let text = "[source]\nservers = [\"db\"]\nuser = \"u\"\ntables = [\"a.b\"]\n[writer.redis]\naddress = \"cache\"\n";
    let config = Config::parse(text, "mysync.toml").expect("a good file");
    assert_eq!(config.source.server.port, 3306);
    assert_eq!(config.check.settle_max.as_secs(), 30);
    let server = Address {
        host: "cache".into(),
        port: 6379,
    };
    assert_eq!(config.redis.expect("redis").servers, redis::Servers::One(server));
}

#[test]
fn errors_name_file_key_and_what_is_expected() {
    let errors = [
        refused("rows_parallel = 4", "rows_paralel = 4"),
        refused("layout = \"json\"", "layuot = \"json\""),
        refused("layout = \"json\"", "layout = \"xml\""),
        refused("rows_parallel = 4", "rows_parallel = 0"),
        refused("settle_seconds_max = 7", "settle_seconds_max = \"7\""),
        refused("{db}:{table}:{pk}", "{db}:{table}"),
        refused("[\"127.0.0.1:13306\"]", "[]"),
        refused("[\"127.0.0.1:13306\"]", "[\"127.0.0.1:port\"]"),
        refused("\"bank.*\"", "\"bank\""),
        refused("\"bank.tmp_*\"", "\"tmp_*\""),
        refused("\"bank.*.note\"", "\"bank.note\""),
        refused("\"shop.orders.email\"", "\"email\""),
        refused("format = \"protobuf\"", "format = \"debezium-strict\""),
        refused(
            "password = \"hunter2\"",
            "password = \"hunter2\"\npassword_env = \"NAME\"",
        ),
        refused("password = \"hunter2\"", "password_env = \"MYSYNC_NO_SUCH_VARIABLE\""),
        refused("password = \"hunter2\"", "password = [\"hunter2\"]"),
        refused("password = \"hunter2\"", "password = hunter2"),
        refused("user = \"mysync\"", ""),
        refused("shards = 3", "shard = 3"),
        refused("my-{db}.{table}", "my-{db}"),
        refused("my-{db}.{table}", "my {table}"),
        refused("\"https://search.example\"", "\"search.example:9200\""),
        refused(
            "\"https://search.example\"",
            "\"https://elastic:hunter2@search.example\"",
        ),
        refused("shards = 3", "api_key = \"hunter2\""),
        refused(
            "urls = [\"http://127.0.0.1:9200\", \"https://search.example\"]",
            "urls = []",
        ),
        refused("salt_buckets = 16", "salt_buckets = 257"),
        refused("salt_buckets = 16", "salt = 16"),
        refused("thrift = \"127.0.0.1\"", "thrift = \"127.0.0.1:port\""),
        refused("protocol = \"compact\"", "protocol = \"json\""),
        refused("table = \"{db}.{table}\"", "table = \"{db}\""),
    ];
    insta::assert_snapshot!(errors.join("\n"));
}

#[test]
fn a_salt_that_cannot_be_read_leaves_hashes_uncompared() {
    let text = WHOLE.replace("salt = \"pepper\"", "salt_env = \"MYSYNC_NO_SUCH_VARIABLE\"");
    let config = Config::parse(&text, "mysync.toml").expect("a good file");
    assert_eq!(
        config.columns.rule("shop", "orders", "email"),
        Rule::Masked(MaskRule::Hash(None))
    );
}

#[test]
fn a_missing_file_has_a_remedy() {
    let error = Config::load(Path::new("no-such-file.toml")).expect_err("no such file");
    insta::assert_snapshot!(error);
}
