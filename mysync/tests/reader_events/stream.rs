//! The stream's connection: on the oldest server, which has another way to log in and fewer settings; every way to log in that
//! newer ones have, encrypted and not; and large compressed transactions, which come in pieces.

use super::life::{connect, run_all};
use fixtures::Lab;
use mysync::config::{self, Config};
use mysync::decode::{Body, Event, Format, Pieces, RowsEvent, TableMap};
use mysync::source::Source;
use mysync::source::mysql::MySqlSource;

/// A broker has to be named, and is not asked.
fn config(text: &str) -> Config {
    let kafka = "[kafka]\nbrokers = [\"127.0.0.1:1\"]\nprefix = \"p\"\n";
    config::parse(&format!("{text}\n{kafka}"), "test").unwrap()
}

#[tokio::test]
async fn stream_of_5_6() {
    for gtid in [false, true] {
        let lab = Lab::builder().mysql("5.6").gtid(gtid).start().await.unwrap();
        let statements = [
            "CREATE DATABASE shop",
            "CREATE TABLE shop.t (id INT PRIMARY KEY, v LONGTEXT)",
            // More than a packet's first chunk.
            "INSERT INTO shop.t VALUES (1, REPEAT('x', 9000000))",
            "UPDATE shop.t SET v = REPEAT('y', 9000000)",
        ];
        run_all(&mut connect(&lab).await, &statements).await;
        let mut source = MySqlSource::new(&config(&lab.config_toml("p", &["shop.*"])));
        let oldest = source.oldest().await.unwrap();
        source.start(&oldest).await.unwrap();
        let (mut format, mut rows_bytes) = (Format::default(), Vec::new());
        while rows_bytes.len() < 2 {
            let bytes = source.next().await.unwrap();
            if let Body::Rows(_) = Event::parse(bytes, &mut format).unwrap().body {
                rows_bytes.push(bytes.len());
            }
        }
        assert!(
            rows_bytes[0] > 9_000_000 && rows_bytes[1] > 18_000_000,
            "{rows_bytes:?}"
        );
        lab.down().await.unwrap();
    }
}

/// Rows of 1 kB that do not compress.
const PACKED_ROWS: usize = 40_000;
/// What a piece has at most: memory is what it is about.
const PIECE_BYTES_MAX: usize = 256 << 10;

/// Reads a compressed transaction, and the row behind it. Gives bytes and rows of the transaction.
async fn read_in_pieces(config: &Config) -> (usize, usize) {
    let mut source = MySqlSource::new(config);
    let oldest = source.oldest().await.unwrap();
    source.start(&oldest).await.unwrap();
    let mut format = Format::default();
    let (mut bytes, mut rows, mut maps) = (0, 0, Vec::new());
    let count = |event: &RowsEvent<'_>, maps: &[TableMap]| event.rows(maps.last().unwrap()).unwrap().count();
    let mut pieces: Option<Pieces> = None;
    loop {
        let piece = source.next_piece().await.unwrap();
        let mut data = match &mut pieces {
            Some(pieces) => pieces.take(piece).unwrap(),
            None if Pieces::begin_in(piece) => {
                let (begun, _, data) = Pieces::begin(piece, &format).unwrap();
                pieces = Some(begun);
                data
            }
            None => {
                let event = Event::parse(piece, &mut format).unwrap();
                match event.body {
                    Body::Rows(_) if rows > 0 => return (bytes, rows),
                    _ => continue,
                }
            }
        };
        assert!(piece.len() <= PIECE_BYTES_MAX);
        bytes += piece.len();
        let coming = pieces.as_mut().unwrap();
        while coming.advance(&mut data).unwrap() {
            match coming.event().unwrap().body {
                Body::TableMap(map) => maps.push(map.table_map().unwrap()),
                Body::Rows(event) => rows += count(&event, &maps),
                _ => {}
            }
        }
        if coming.is_complete() {
            pieces.take().unwrap().finish().unwrap();
        }
    }
}

async fn pieces_over(lab: &Lab, configs: &[&Config]) {
    let pack = format!(
        "SET SESSION cte_max_recursion_depth = 1000000; SET binlog_transaction_compression = ON; \
         CREATE TABLE shop.packed (id INT PRIMARY KEY, v BLOB); \
         INSERT INTO shop.packed WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < {PACKED_ROWS}) \
         SELECT i, RANDOM_BYTES(1024) FROM n; \
         SET binlog_transaction_compression = OFF; INSERT INTO shop.t VALUES (3)"
    );
    lab.primary().unwrap().sql(&pack).await.unwrap();
    for config in configs {
        let (bytes, rows) = read_in_pieces(config).await;
        assert_eq!(rows, PACKED_ROWS);
        // More than two packets' chunks.
        assert!(bytes > 33 << 20, "{bytes}");
    }
}

/// Opens the stream and reads to its first row.
async fn require_a_row(config: &Config) {
    let mut source = MySqlSource::new(config);
    let oldest = source.oldest().await.unwrap();
    source.start(&oldest).await.unwrap();
    let mut format = Format::default();
    while !matches!(
        Event::parse(source.next().await.unwrap(), &mut format).unwrap().body,
        Body::Rows(_)
    ) {}
}

#[tokio::test]
async fn logins_of_the_stream() {
    for version in ["8.0", "9.7"] {
        let lab = Lab::builder().mysql(version).mysql_tls().start().await.unwrap();
        let primary = lab.primary().unwrap();
        for statement in [
            "CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY); INSERT INTO shop.t VALUES (1)",
            // What the server remembers of passwords is forgotten at each login: the next one, the stream's, is a full one.
            "GRANT RELOAD ON *.* TO 'mysync'@'%'; SET GLOBAL init_connect = 'FLUSH NO_WRITE_TO_BINLOG PRIVILEGES'",
        ] {
            primary.sql(statement).await.unwrap();
        }
        let text = lab.config_toml("p", &["shop.*"]);
        let encrypted = config(&text);
        let plain = config(&text.replace("[source.tls]\n", "[source.tls]\nmode = \"disabled\"\n"));
        // The account has to show its certificate; the password goes through the encrypted connection.
        require_a_row(&encrypted).await;
        primary.sql("ALTER USER 'mysync'@'%' REQUIRE NONE").await.unwrap();
        // The password is encrypted with the server's key.
        require_a_row(&plain).await;
        if version == "8.0" {
            // The server greets with one way to log in and goes over to another.
            let password = fixtures::mysql::PASSWORD;
            primary
                .sql(&format!(
                    "ALTER USER 'mysync'@'%' IDENTIFIED WITH mysql_native_password BY '{password}'"
                ))
                .await
                .unwrap();
            require_a_row(&plain).await;
            require_a_row(&encrypted).await;
            pieces_over(&lab, &[&plain, &encrypted]).await;
        }
        lab.down().await.unwrap();
    }
}
