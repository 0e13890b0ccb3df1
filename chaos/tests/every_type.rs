//! Values of every column type arrive exactly: the checker, which reads MySQL as text and shares no code with the reader,
//! finds every row equal, and a list of literal values stands in Redis as docs/types.md says.

#![allow(clippy::unwrap_used, clippy::panic)]

use chaos::drill::{Drill, Phases};
use chaos::history::History;
use chaos::rig::{Rig, Setup};
use chaos::verdict::Verdict;
use mysync::queue::kafka::KafkaQueue;
use mysync::reader;
use mysync::source::mysql::MySqlSource;
use mysync::tables::TableFilter;
use mysync::writer;
use redis::AsyncCommands;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

const STATEMENTS: &str = include_str!("every_type.sql");
const SEED: u64 = 1;

/// All columns but the key, `id`.
const MASKS: &str = "[mask]\nsalt = \"pepper\"\nhash = [\"types.wide.???*\"]\ntext = { \"types.*.size\" = \"***\" }\n";

/// Bytes of the value of `blob_long` in row 4, and of its base64 text, which is just below what HBase takes as one cell.
const BLOB_BYTES: usize = 7 << 20;
const BLOB_TEXT_BYTES: usize = BLOB_BYTES.div_ceil(3) * 4;

/// Row, column, text in Redis; none for NULL.
const EXPECTED: [(&str, &str, Option<&str>); 46] = [
    ("1", "id", Some("1")),
    ("1", "text_utf8", None),
    ("1", "big_unsigned", None),
    ("2", "tiny", Some("-128")),
    ("2", "truth", Some("1")),
    ("2", "medium", Some("-8388608")),
    ("2", "medium_unsigned", Some("16777215")),
    ("2", "big", Some("-9223372036854775808")),
    ("2", "big_unsigned", Some("18446744073709551615")),
    ("2", "bit_17", Some("65537")),
    ("2", "bit_64", Some("18446744073709551615")),
    ("2", "single", Some("-3.4028235e38")),
    ("2", "twofold", Some("2.2250738585072014e-308")),
    (
        "2",
        "wide_decimal",
        Some("12345678901234567890123456789012345.123456789012345678901234567891"),
    ),
    (
        "2",
        "whole_decimal",
        Some("-99999999999999999999999999999999999999999999999999999999999999999"),
    ),
    ("2", "year_of", Some("2155")),
    ("2", "time_0", Some("-838:59:59")),
    ("2", "time_2", Some("-00:00:00.01")),
    ("2", "time_6", Some("-12:34:56.000001")),
    ("2", "moment_3", Some("1000-01-01 00:00:00.001")),
    ("2", "stamp_0", Some("2038-01-19T03:14:07Z")),
    ("2", "stamp_3", Some("2024-02-29T12:00:00.120Z")),
    ("2", "stamp_6", Some("1970-01-01T00:00:01.000001Z")),
    (
        "2",
        "text_utf8",
        Some("emoji \u{1f600} \u{1f469}\u{200d}\u{1f469}\u{200d}\u{1f467}"),
    ),
    ("2", "text_latin1", Some("caf\u{e9} \u{ff} \u{20ac}")),
    ("2", "text_gbk", Some("\u{4f60}\u{597d} \u{55e8}")),
    ("2", "text_tiny", Some("")),
    ("2", "text_long", Some("null \0 inside")),
    ("2", "bytes_fixed", Some("YWIAAAAAAAA=")),
    ("2", "bytes_var", Some("AP8A")),
    ("2", "size", Some("gr\u{f6}\u{df}e")),
    ("2", "flags", Some("a,c,\u{e9}")),
    ("2", "shape", Some(r#"{"srid":0,"wkb":"AQEAAAAAAAAAAADwPwAAAAAAAABA"}"#)),
    ("3", "twofold", Some("-0.0")),
    ("3", "year_of", Some("0")),
    ("3", "day", Some("0000-00-00")),
    ("3", "time_2", Some("-838:59:58.99")),
    ("3", "moment_3", Some("2024-00-00 00:00:00.000")),
    ("3", "stamp_3", Some("0000-00-00T00:00:00.000Z")),
    ("3", "bytes_fixed", Some("AAAAAAAAAAA=")),
    ("3", "size", Some("")),
    ("3", "document", Some("\"text\"")),
    ("7", "text_utf8", None),
    ("7", "medium", Some("-7")),
    ("7", "time_2", Some("-01:02:03.40")),
    ("60", "text_utf8", Some("gets another key")),
];

#[tokio::test(flavor = "multi_thread")]
async fn values_of_every_type_arrive_exactly() {
    let drill = drill();
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("every-type-{}", std::process::id()));
    let setup = Setup {
        drill: &drill,
        seed: SEED,
        folder: &folder,
        more_tables: &["types.*"],
    };
    let mut rig = Rig::set_up(setup).await.unwrap();
    write_all(&rig).await;
    rig.settle().await.unwrap();
    rig.converge().await.unwrap();
    let rows = rows_of_wide(&rig).await;
    let keys = keys(&rig).await;
    hidden_columns_arrive_hidden(&rig).await;
    rig.tear_down(None).await.unwrap();

    let convergence = History::read(&folder).unwrap().convergence;
    let verdicts: Vec<Verdict> = convergence.iter().map(|store| store.verdict).collect();
    assert_eq!(verdicts, [Verdict::Consistent; 3], "{convergence:#?}");
    let mut wrong = BTreeMap::new();
    for (id, column, expected) in EXPECTED {
        let found = rows[id].get(column).map(String::as_str);
        if found != expected {
            wrong.insert((id, column), (expected, found.map(str::to_owned)));
        }
    }
    assert!(wrong.is_empty(), "row and column: expected and found: {wrong:#?}");
    assert_eq!(rows["1"].len(), 1, "NULL is an absent field: {:?}", rows["1"]);
    assert_eq!(rows["4"]["blob_long"].len(), BLOB_TEXT_BYTES);
    assert!(rows["5"].is_empty() && rows["6"].is_empty(), "deleted, and moved away");
    let big = r#""big": 18446744073709551615"#;
    assert!(rows["2"]["document"].contains(big), "{}", rows["2"]["document"]);
    for key in [
        "types:pair:1:x%3Ay",
        "types:pair:18446744073709551615:a%3Ab%25c",
        "types:pair:2:caf\u{e9}",
        "types:bytes_key:AP86",
    ] {
        assert!(keys.contains(&key.to_owned()), "{key} is not among {keys:?}");
    }
}

/// The same rows once more, under another prefix, in the compact form and one topic, with columns hashed and left out: the
/// checker, which computes the hashes from what MySQL prints, finds every row equal.
async fn hidden_columns_arrive_hidden(rig: &Rig) {
    let text = rig
        .lab
        .config_toml("hidden", &["types.*"])
        .replace("server_id = ", "server_id = 1")
        .replace("[source]\n", "[source]\ncolumns_exclude = [\"types.*.NO?E\"]\n")
        .replace(
            "[writer.redis]\n",
            "[writer.redis]\nkey = \"hidden|{db}:{table}:{pk}\"\n",
        )
        .replace(
            "[writer.elasticsearch]\n",
            "[writer.elasticsearch]\nindex = \"hidden-{db}.{table}\"\n",
        )
        .replace("[writer.hbase]\n", "[writer.hbase]\ntable = \"hidden-{db}.{table}\"\n");
    let text = format!("{text}\n[messages]\nformat = \"protobuf\"\ntopics = \"one\"\n{MASKS}");
    let config = mysync::config::parse(&text, "hidden.toml").unwrap();
    let (mut source, queue) = (MySqlSource::new(&config), KafkaQueue::new(&config));
    let (filter, options) = (TableFilter::new(&config), reader::Options::new(&config, true));
    let (_sender, stop) = mysync::stop::channel();
    let read = reader::run(&mut source, &queue, &filter, &config.source.keys, &options, stop);
    assert!(read.await.unwrap().changes > 10);
    let metrics = std::sync::Arc::default;
    let written = tokio::try_join!(
        writer::run_redis(&config, true, metrics(), std::future::pending()),
        writer::run_elasticsearch(&config, true, metrics(), std::future::pending()),
        writer::run_hbase(&config, true, metrics(), std::future::pending()),
    );
    written.unwrap();

    let config = consistency::Config::parse(&text, "hidden.toml").unwrap();
    let options = consistency::Options {
        fence: false,
        ..consistency::Options::default()
    };
    let report = consistency::check(&config, &options, &consistency::Silent)
        .await
        .unwrap();
    assert_eq!(report.verdict, consistency::Verdict::Consistent, "{report:#?}");
    assert!(report.not_compared.is_empty());
    let mut connection = rig.lab.redis().unwrap().connect().await.unwrap();
    let row: HashMap<String, String> = connection.hgetall("hidden|types:wide:2").await.unwrap();
    assert_eq!(row["size"], "***");
    // printf %s 18446744073709551615 | openssl dgst -sha256 -hmac pepper
    assert_eq!(
        row["big_unsigned"],
        "fea6139d90a6d27fdd21fe2700b740fbbd794c8742d779335b59487c0b9e183c"
    );
    let row: HashMap<String, String> = connection.hgetall("hidden|types:pair:1:x%3Ay").await.unwrap();
    assert_eq!(
        row.into_keys().collect::<BTreeSet<_>>(),
        ["code", "number"].map(str::to_owned).into()
    );
}

fn drill() -> Drill {
    let mut drill = Drill::named("kill-partition-leader").unwrap();
    drill.name = "every-type".into();
    drill.about = "values of every column type".into();
    drill.workload.accounts = 2;
    drill.faults.clear();
    drill.phases = Phases {
        before_seconds: 0,
        during_seconds: 0,
        after_seconds: 0,
    };
    drill
}

async fn write_all(rig: &Rig) {
    use mysql_async::prelude::Queryable;
    let mut connection = rig.lab.primary().unwrap().connect().await.unwrap();
    connection
        .query_drop("CREATE DATABASE types CHARACTER SET utf8mb4")
        .await
        .unwrap();
    for statement in STATEMENTS
        .split(";\n")
        .map(str::trim)
        .filter(|statement| !statement.is_empty())
    {
        connection
            .query_drop(statement)
            .await
            .unwrap_or_else(|error| panic!("{error}: {statement}"));
    }
}

async fn rows_of_wide(rig: &Rig) -> HashMap<String, HashMap<String, String>> {
    let mut connection = rig.lab.redis().unwrap().connect().await.unwrap();
    let mut rows = HashMap::new();
    for id in ["1", "2", "3", "4", "5", "6", "7", "60"] {
        rows.insert(
            id.to_owned(),
            connection.hgetall(format!("types:wide:{id}")).await.unwrap(),
        );
    }
    rows
}

async fn keys(rig: &Rig) -> Vec<String> {
    let mut connection = rig.lab.redis().unwrap().connect().await.unwrap();
    connection.keys("types:*").await.unwrap()
}
