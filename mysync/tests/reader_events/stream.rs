//! The stream's connection on the oldest server: another way to log in, and fewer settings.

use super::life::{connect, run_all};
use fixtures::Lab;
use mysync::config;
use mysync::decode::{Body, Event, Format};
use mysync::source::Source;
use mysync::source::mysql::MySqlSource;

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
        // A broker has to be named, and is not asked.
        let kafka = "[kafka]\nbrokers = [\"127.0.0.1:1\"]\nprefix = \"p\"\n";
        let text = format!("{}\n{kafka}", lab.config_toml("p", &["shop.*"]));
        let mut source = MySqlSource::new(&config::parse(&text, "test").unwrap());
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
