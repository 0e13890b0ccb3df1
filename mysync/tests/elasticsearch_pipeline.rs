//! From MySQL through Kafka into Elasticsearch, with the binary: values of every type, changed keys, a writer that is killed, an
//! added column, and all of it again. Needs Docker and the lab's images; without them it fails with the remedy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/process.rs"]
mod process;
#[path = "elasticsearch/world.rs"]
mod world;

use fixtures::Lab;
use process::{Process, mysync};
use std::collections::BTreeMap;
use world::{Types, World, wait_until};

const EVERY: &[&str] = &[
    "CREATE DATABASE shop CHARACTER SET utf8mb4",
    "CREATE TABLE shop.every (id BIGINT UNSIGNED PRIMARY KEY, a TINYINT, b SMALLINT UNSIGNED, c MEDIUMINT, d BIGINT, e FLOAT, \
     f DOUBLE, g DECIMAL(30, 12), h DATE, i TIME(1), j TIME(6), k DATETIME(3), l TIMESTAMP(2) NULL, m YEAR, n BIT(33), \
     o CHAR(10), p VARCHAR(300), q TEXT, r BINARY(8), s VARBINARY(8), t LONGBLOB, u ENUM('x', 'y'), v SET('p', 'q', 'r'), \
     w JSON, x GEOMETRY, y CHAR(20) CHARACTER SET gbk, z VARCHAR(20) CHARACTER SET utf16, aa DATETIME(6), ab TIMESTAMP(6) NULL, \
     ac BIT(64), ad DECIMAL(10, 2), ae INT)",
    "INSERT INTO shop.every VALUES (18446744073709551615, -1, 65535, -8388608, 9223372036854775807, 0.1, -2.5e300, \
     -123456789012345678.123456789012, '2026-11-25', '-00:00:00.9', '12:34:56.789012', '2026-11-25 01:02:03.456', \
     '2026-11-25 01:02:03.45', 2026, b'101', 'char', 'a \"quoted\" \\\\ text\\n\\0', 'some longer text', x'01', x'0200', x'ff', \
     'y', 'p,r', '{\"a\": [1, 1.5, \"te\\\\\"xt\", null], \"c\": 18446744073709551615}', ST_GeomFromText('POINT(1 2)', 4326), \
     '中文', '中文😀', '9999-12-31 23:59:59.999999', '2026-11-25 01:02:03.456789', ~0, 12.5, -7)",
    "INSERT INTO shop.every (id) VALUES (2), (3)",
    "DELETE FROM shop.every WHERE id = 3",
];

const EVERY_SOURCE: &str = concat!(
    r#"{"id":18446744073709551615,"a":-1,"b":65535,"c":-8388608,"d":9223372036854775807,"e":0.1,"f":-2.5e300,"#,
    r#""g":"-123456789012345678.123456789012","h":"2026-11-25","i":"-00:00:00.9","j":"12:34:56.789012","#,
    r#""k":"2026-11-25 01:02:03.456","l":"2026-11-25T01:02:03.45Z","m":2026,"n":5,"o":"char","#,
    r#""p":"a \"quoted\" \\ text\n\u0000","q":"some longer text","r":"AQAAAAAAAAA=","s":"AgA=","t":"/w==","u":"y","v":"p,r","#,
    r#""w":"{\"a\": [1, 1.5, \"te\\\"xt\", null], \"c\": 18446744073709551615}","#,
    r#""x":{"srid":4326,"wkb":"AQEAAAAAAAAAAAAAQAAAAAAAAPA/"},"y":"中文","z":"中文😀","aa":"9999-12-31 23:59:59.999999","#,
    r#""ab":"2026-11-25T01:02:03.456789Z","ac":18446744073709551615,"ad":"12.50","ae":-7}"#
);

/// What finds that row, by each column that can be searched.
const QUERIES: &[&str] = &[
    r#"{"term":{"a":-1}}"#,
    r#"{"range":{"b":{"gte":65535}}}"#,
    r#"{"term":{"c":-8388608}}"#,
    r#"{"term":{"d":9223372036854775807}}"#,
    r#"{"term":{"e":0.1}}"#,
    r#"{"range":{"f":{"lt":-1e300}}}"#,
    r#"{"term":{"g.exact":"-123456789012345678.123456789012"}}"#,
    r#"{"term":{"h":"2026-11-25"}}"#,
    r#"{"term":{"i":"-00:00:00.9"}}"#,
    r#"{"term":{"j":"12:34:56.789012"}}"#,
    r#"{"term":{"k":"2026-11-25 01:02:03.456"}}"#,
    r#"{"term":{"l":"2026-11-25T01:02:03.450Z"}}"#,
    r#"{"term":{"m":2026}}"#,
    r#"{"term":{"n":5}}"#,
    r#"{"term":{"o":"char"}}"#,
    r#"{"prefix":{"p":"a \"quoted\""}}"#,
    r#"{"match":{"q":"longer"}}"#,
    r#"{"term":{"u":"y"}}"#,
    r#"{"term":{"v":"p,r"}}"#,
    r#"{"match":{"w":"18446744073709551615"}}"#,
    r#"{"term":{"y":"中文"}}"#,
    r#"{"term":{"z":"中文😀"}}"#,
    r#"{"term":{"aa.exact":"9999-12-31 23:59:59.999999"}}"#,
    r#"{"term":{"ab":"2026-11-25T01:02:03.456789Z"}}"#,
    r#"{"term":{"ad":12.5}}"#,
    r#"{"range":{"ae":{"lte":-7}}}"#,
];

struct Pipeline {
    world: World,
    file: String,
}

impl Pipeline {
    async fn sql(&self, statement: &str) {
        self.world.lab.primary().unwrap().sql(statement).await.unwrap();
    }

    fn start(&self, name: &str, arguments: &[&str]) -> Process {
        Process::start(
            name,
            &[arguments, &["--config", &self.file]].concat(),
            "mysync=debug,warn",
        )
    }

    fn writer(&self) -> Process {
        self.start("elasticsearch-writer", &["writer", "elasticsearch"])
    }

    /// A writer's life until there is nothing left to do; gives what it did.
    fn catch_up(&self) -> serde_json::Value {
        let ended = mysync(&[
            "writer",
            "elasticsearch",
            "--until-caught-up",
            "--json",
            "--config",
            &self.file,
        ]);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        serde_json::from_str(&ended.stdout).unwrap()
    }

    /// The rows of a query whose only column is the row's key and text.
    async fn mysql(&self, statement: &str) -> BTreeMap<String, String> {
        let rows = self.world.lab.primary().unwrap().sql(statement).await.unwrap();
        let text = |row: &[Option<String>], index: usize| row[index].clone().unwrap();
        let pair = |row: Vec<Option<String>>| (text(&row, 0), text(&row, 1));
        rows.into_iter().map(pair).collect()
    }

    /// Until an alias has what a query of MySQL says.
    async fn equal(&self, alias: &str, statement: &str) {
        let expected = self.mysql(statement).await;
        assert!(!expected.is_empty());
        wait_until(&format!("{alias} is equal"), async || {
            self.world.rows(alias).await == expected
        })
        .await;
    }
}

const PAIRS: &str = "SELECT CONCAT(REPLACE(REPLACE(part, '%', '%25'), ':', '%3A'), ':', id), CONCAT('{\"part\":\"', part, \
                     '\",\"id\":', id, ',\"name\":', IF(name IS NULL, 'null', CONCAT('\"', name, '\"')), '}') FROM shop.pair";

#[tokio::test(flavor = "multi_thread")]
async fn mysql_s_rows_arrive_exactly_whatever_happens_to_the_writer() {
    let builder = Lab::builder().name("elasticsearch-pipeline").mysql("8.0").brokers(1);
    let lab = builder.elasticsearch().start().await.unwrap();
    let file = lab.folder().join("mysync.toml");
    std::fs::write(&file, lab.config_toml("pipe", &["shop.*"])).unwrap();
    let node = lab.elasticsearch().unwrap().clone();
    let pipeline = Pipeline {
        file: file.display().to_string(),
        world: World {
            lab,
            node,
            types: Types::default(),
        },
    };
    let world = &pipeline.world;
    let checked = mysync(&["config", "check", "--config", &pipeline.file]);
    let answers = format!("ok    Elasticsearch answers at {}", world.node.url());
    assert!(checked.code == 0 && checked.stdout.contains(&answers), "{checked:?}");
    assert_eq!(world.ask("GET", "/mysync~cursors", "").await.0, 404);
    for statement in EVERY {
        pipeline.sql(statement).await;
    }
    let mut reader = pipeline.start("elasticsearch-reader", &["reader"]);
    let writer = pipeline.writer();
    wait_until("the rows of every type", async || {
        world.ask("GET", "/shop.every~rows", "").await.0 == 200 && world.rows("shop.every").await.len() == 2
    })
    .await;
    let rows = world.rows("shop.every").await;
    assert_eq!(rows["18446744073709551615"], EVERY_SOURCE);
    let nulls: BTreeMap<String, serde_json::Value> = serde_json::from_str(&rows["2"]).unwrap();
    assert!(nulls.len() == 32 && nulls.iter().all(|(name, value)| (*name == "id") != value.is_null()));
    for query in QUERIES {
        assert_eq!(
            world.found("shop.every", query).await,
            ["18446744073709551615"],
            "{query}"
        );
    }

    // Changes of keys too, with the writer killed in the middle.
    pipeline
        .sql("CREATE TABLE shop.pair (part VARCHAR(10), id INT, name VARCHAR(20), PRIMARY KEY (part, id))")
        .await;
    pipeline
        .sql("INSERT INTO shop.pair VALUES ('x', 0, 'zero'), ('y:%', 3, NULL)")
        .await;
    let mut writer = Some(writer);
    for turn in 1..=120 {
        pipeline
            .sql(&format!("INSERT INTO shop.pair VALUES ('x', {turn}, 'row {turn}')"))
            .await;
        pipeline
            .sql(&format!("UPDATE shop.pair SET id = id + 1000 WHERE id = {}", turn / 2))
            .await;
        if turn % 3 == 0 {
            pipeline
                .sql(&format!("DELETE FROM shop.pair WHERE id = {}", 1_000 + turn / 4))
                .await;
        }
        if turn % 40 == 0 {
            writer.take().unwrap().kill();
            writer = Some(pipeline.writer());
        }
    }
    pipeline.equal("shop.pair", PAIRS).await;

    // A column that comes later is mapped by its type.
    pipeline
        .sql("ALTER TABLE shop.pair ADD COLUMN score DECIMAL(20, 4)")
        .await;
    pipeline
        .sql("INSERT INTO shop.pair VALUES ('z', 1, 'scored', 1234567890123456.7891)")
        .await;
    let query = r#"{"term":{"score.exact":"1234567890123456.7891"}}"#;
    wait_until("the new column is found", async || {
        world.rows("shop.pair").await.contains_key("z:1") && world.found("shop.pair", query).await == ["z:1"]
    })
    .await;
    let mut writer = writer.unwrap();
    assert_eq!(writer.terminate(), 0);

    // Everything again changes nothing.
    let (pairs, every) = (world.rows("shop.pair").await, world.rows("shop.every").await);
    world.must("DELETE", "/mysync~cursors", "").await;
    let figures = pipeline.catch_up();
    assert!(figures["records"].as_u64().unwrap() > 300, "{figures}");
    assert_eq!(
        (world.rows("shop.pair").await, world.rows("shop.every").await),
        (pairs, every)
    );
    assert_eq!(pipeline.catch_up()["changes"], 0);
    assert_eq!(reader.terminate(), 0);
    pipeline.world.lab.down().await.unwrap();
}
