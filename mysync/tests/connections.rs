//! Servers that let in only who is encrypted, certified and logged in: with the right credentials everything works, with
//! wrong ones each error says what to do; and no secret gets out. Needs Docker and the lab's images.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/process.rs"]
mod process;

use fixtures::{KAFKA_PASSWORD, KafkaSecurity, Lab};
use mysync::config::{self, Config};
use mysync::error::{Error, Kind};
use mysync::metrics::{Exposed, ReaderMetrics};
use mysync::queue::Queue;
use mysync::queue::kafka::KafkaQueue;
use mysync::source::mysql::MySqlSource;
use mysync::source::{Source, preflight};
use process::{Process, free_address, get, mysync, wait_until};
use std::sync::Arc;
use std::time::Duration;

/// The account's password in these tests: nothing else looks like it.
const MYSQL_PASSWORD: &str = "geheim-of-mysql-4711";
const REDIS_PASSWORD: &str = "geheim-of-redis-4711";

const DEADLINE: Duration = Duration::from_secs(90);

/// A lab's configuration, and ways to get it wrong.
struct World {
    lab: Lab,
    toml: String,
}

impl World {
    fn new(lab: Lab) -> Self {
        let toml = lab.config_toml("secure", &["shop.*"]);
        let toml = toml.replace(fixtures::mysql::PASSWORD, MYSQL_PASSWORD);
        Self { lab, toml }
    }

    fn file(&self, name: &str) -> String {
        self.lab.certificates().unwrap().file(name).display().to_string()
    }

    /// The configuration with replacements.
    fn config(&self, changes: &[(&str, &str)]) -> Config {
        let mut toml = self.toml.clone();
        for (from, to) in changes {
            assert!(toml.contains(from), "{from} is not in {toml}");
            toml = toml.replace(from, to);
        }
        config::parse(&toml, "test.toml").unwrap()
    }

    async fn sql(&self, statement: &str) {
        self.lab.primary().unwrap().sql(statement).await.unwrap();
    }
}

/// What a reader's look at MySQL gives.
async fn mysql(config: &Config) -> Result<(), Error> {
    let checks = MySqlSource::new(config).preflight().await?;
    preflight::require(&checks, config.reader.allow_unsafe)
}

/// What a reader's look at Kafka gives.
async fn kafka(config: &Config) -> Result<(), Error> {
    KafkaQueue::new(config).preflight().await.map(|_| ())
}

fn require(error: &Error, kind: Kind, parts: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind, kind, "{text}");
    for part in parts {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
    for secret in [MYSQL_PASSWORD, KAFKA_PASSWORD, "wrong-password"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_right_credentials_everything_works_and_with_wrong_ones_each_error_says_what_to_do() {
    let lab = Lab::builder()
        .name("connections")
        .mysql("8.0")
        .mysql_tls()
        .brokers(1)
        .kafka_security(KafkaSecurity::SaslTls)
        .redis()
        .start()
        .await
        .unwrap();
    let world = World::new(lab);
    let user = fixtures::mysql::USER;
    world
        .sql(&format!("ALTER USER '{user}'@'%' IDENTIFIED BY '{MYSQL_PASSWORD}'"))
        .await;
    world.sql("CREATE DATABASE shop").await;
    world
        .sql("CREATE TABLE shop.a (id INT PRIMARY KEY, v VARCHAR(20))")
        .await;
    end_to_end(&world).await;
    mysql_refusals(&world).await;
    kafka_refusals(&world).await;
    // The last word: after it nobody comes in over a connection that is not encrypted.
    world.sql(&format!("ALTER USER '{user}'@'%' REQUIRE NONE")).await;
    world.sql("SET GLOBAL require_secure_transport = ON").await;
    let disabled = ("[source.tls]", "[source.tls]\nmode = \"disabled\"");
    let error = mysql(&world.config(&[disabled])).await.unwrap_err();
    require(
        &error,
        Kind::Definite,
        &["the server wants TLS: add section [source.tls]"],
    );
}

/// Reader and writer as processes at the highest level of log: a row arrives, the lag is known, and no secret is anywhere.
async fn end_to_end(world: &World) {
    let (reader_address, writer_address) = (free_address(), free_address());
    let file = world.lab.folder().join("mysync.toml");
    let metrics = format!("[metrics]\nlisten = \"{reader_address}\"\n");
    // The lab's Redis wants no password until it is told to; this one comes from a file.
    let mut redis = world.lab.redis().unwrap().connect().await.unwrap();
    let mut demand = redis::cmd("CONFIG");
    demand.arg(&["SET", "requirepass", REDIS_PASSWORD]);
    demand.exec_async(&mut redis).await.unwrap();
    let secret = world.lab.folder().join("redis-password");
    std::fs::write(&secret, format!("{REDIS_PASSWORD}\n")).unwrap();
    let with_password = format!(
        "[writer.redis]\nlisten = \"{writer_address}\"\npassword_file = {:?}\n",
        secret.display().to_string()
    );
    let toml = world.toml.replace("[writer.redis]\n", &with_password);
    std::fs::write(&file, format!("{toml}\n{metrics}")).unwrap();
    let file = file.to_str().unwrap();
    let mut reader = Process::start("reader", &["reader", "--config", file], "trace");
    let mut writer = Process::start("writer", &["writer", "redis", "--config", file], "trace");
    world.sql("INSERT INTO shop.a VALUES (1, 'one'), (2, 'two')").await;
    world.sql("UPDATE shop.a SET v = 'zwei' WHERE id = 2").await;

    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let value: Option<String> = redis::cmd("HGET")
            .arg("shop:a:2")
            .arg("v")
            .query_async(&mut redis)
            .await
            .unwrap();
        if value.as_deref() == Some("zwei") {
            break;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "{value:?}\n{}\n{}",
            reader.stderr(),
            writer.stderr()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (asked_reader, asked_writer) = (reader_address.clone(), writer_address.clone());
    let told = tokio::task::spawn_blocking(move || {
        let (reader_address, writer_address) = (asked_reader, asked_writer);
        let metrics = wait_until("the lag is known", || {
            let (_, text) = get(&reader_address, "/metrics")?;
            (!text.contains("mysync_reader_lag_seconds -1.0")).then_some(text)
        });
        let written = wait_until("the writer knows its lag", || {
            let (_, text) = get(&writer_address, "/metrics")?;
            text.contains("mysync_writer_lag_records 0").then_some(text)
        });
        let health = [get(&reader_address, "/health"), get(&writer_address, "/health")];
        let status = [get(&reader_address, "/status"), get(&writer_address, "/status")];
        (metrics, written, health, status)
    });
    let (metrics, written, health, status) = told.await.unwrap();
    for expected in [
        "mysync_reader_changes_read_total{database=\"shop\",table=\"a\",op=\"insert\"} 2",
        "mysync_reader_changes_read_total{database=\"shop\",table=\"a\",op=\"update\"} 1",
        "mysync_reader_changes_total 3",
        "mysync_reader_changes_in_flight 0",
        "mysync_reader_resumptions_total 0",
        "mysync_reader_position_file_number 1",
    ] {
        assert!(metrics.contains(expected), "{expected} is not in:\n{metrics}");
    }
    assert!(
        !metrics.contains("t_binlog_record"),
        "heartbeats are nobody's changes:\n{metrics}"
    );
    for expected in [
        "mysync_writer_changes_total{database=\"shop\",table=\"a\"}",
        "mysync_writer_partition_lag_records{topic=\"secure.shop.a\",partition=\"0\"} 0",
    ] {
        assert!(written.contains(expected), "{expected} is not in:\n{written}");
    }
    for answer in health {
        assert_eq!(answer, Some((200, "healthy\n".into())));
    }
    let table = tokio::task::block_in_place(|| mysync(&["status", "--config", file]));
    assert_eq!(table.code, 0, "{table:?}");
    assert!(
        table
            .stdout
            .contains("kafka.min_insync_replicas: expected 2 or more, found 1"),
        "one broker is accepted, and told: {table:?}"
    );

    // MySQL dies and comes back: so does the reader's health, with the reason in between.
    let primary = world.lab.primary().unwrap();
    primary.kill().await.unwrap();
    let address = reader_address.clone();
    let reason = tokio::task::spawn_blocking(move || {
        wait_until("the reader is not healthy", || {
            get(&address, "/health").filter(|(code, _)| *code == 503)
        })
    });
    let (_, reason) = reason.await.unwrap();
    assert!(reason.starts_with("waiting: "), "{reason}");
    primary.start().await.unwrap();
    let address = reader_address.clone();
    let metrics_after = tokio::task::spawn_blocking(move || {
        wait_until("the reader is healthy again, and its lag is small", || {
            let (code, _) = get(&address, "/health")?;
            let (_, text) = get(&address, "/metrics")?;
            let lag_s: f64 = text
                .split("\nmysync_reader_lag_seconds ")
                .nth(1)?
                .lines()
                .next()?
                .parse()
                .ok()?;
            (code == 200 && (0.0..3.0).contains(&lag_s)).then_some(text)
        })
    });
    let metrics_after = metrics_after.await.unwrap();
    assert!(
        !metrics_after.contains("mysync_reader_resumptions_total 0"),
        "{metrics_after}"
    );

    let codes = tokio::task::block_in_place(|| [reader.terminate(), writer.terminate()]);
    assert_eq!(codes, [0, 0]);
    let key = std::fs::read_to_string(world.file("client-key.pem")).unwrap();
    let key_line = key.lines().nth(1).unwrap();
    let everything = [
        metrics,
        written,
        format!("{status:?}{table:?}"),
        reader.stdout(),
        reader.stderr(),
        writer.stdout(),
        writer.stderr(),
    ];
    for text in everything {
        for secret in [MYSQL_PASSWORD, KAFKA_PASSWORD, REDIS_PASSWORD, key_line] {
            assert!(!text.contains(secret), "a secret got out:\n{text}");
        }
    }
    assert!(
        reader.stderr().contains("TRACE") && writer.stderr().contains("TRACE"),
        "all was logged"
    );
}

async fn mysql_refusals(world: &World) {
    let files = ["ca.pem", "other-ca.pem", "client.pem", "client-key.pem"].map(|name| world.file(name));
    let [ca, other_ca, certificate, key] = files.each_ref().map(String::as_str);
    let certificate_line = format!("certificate = {certificate:?}\nkey = {key:?}\n");
    let host = ("servers = [\"127.0.0.1", "servers = [\"localhost");
    let mode = |mode: &'static str| ("[source.tls]\n", mode);
    mysql(&world.config(&[])).await.unwrap();
    // Whose name is not verified may have another, and who is not verified at all may be anybody.
    mysql(&world.config(&[host, mode("[source.tls]\nmode = \"verify-ca\"\n")]))
        .await
        .unwrap();
    let required = mode("[source.tls]\nmode = \"required\"\n");
    mysql(&world.config(&[(ca, other_ca), required])).await.unwrap();

    let not_trusted = "the server's certificate is not from source.tls.ca, not for the host in source.servers";
    let disabled = mode("[source.tls]\nmode = \"disabled\"\n");
    for (changes, parts) in [
        (vec![(ca, other_ca)], ["certificate verify failed", not_trusted]),
        (vec![host], ["certificate verify failed", not_trusted]),
        (
            vec![(ca, other_ca), mode("[source.tls]\nmode = \"verify-ca\"\n")],
            ["certificate verify failed", not_trusted],
        ),
        (
            vec![(&*certificate_line, "")],
            ["Access denied", "set certificate and key in section [source.tls]"],
        ),
        (vec![disabled], ["Access denied", "add section [source.tls]"]),
        (
            vec![(MYSQL_PASSWORD, "wrong-password")],
            ["Access denied", "exists and its password"],
        ),
        (
            vec![(certificate, key)],
            ["key source.tls.certificate: not a usable PEM file", "BEGIN CERTIFICATE"],
        ),
    ] {
        let error = mysql(&world.config(&changes)).await.unwrap_err();
        let kind = match parts[0].starts_with("key ") {
            true => Kind::Configuration,
            false => Kind::Definite,
        };
        require(&error, kind, &parts);
    }

    // A process that meets it ends at once, with the exit code.
    let broken = world.lab.folder().join("wrong-password.toml");
    std::fs::write(&broken, world.toml.replace(MYSQL_PASSWORD, "wrong-password")).unwrap();
    let broken = broken.to_str().unwrap();
    let run = |arguments: &[&str]| tokio::task::block_in_place(|| mysync(arguments));
    let ended = run(&["reader", "--config", broken]);
    assert_eq!(ended.code, 4, "{ended:?}");
    assert!(
        ended
            .stderr
            .contains("hint: check that 'mysync'@'%' exists and its password"),
        "{ended:?}"
    );
    assert_eq!(run(&["config", "check", "--config", broken]).code, 3);

    // An account without privileges: for the stream a definite error, for the heartbeat an unknown lag.
    world
        .sql(&format!("CREATE USER 'bare'@'%' IDENTIFIED BY '{MYSQL_PASSWORD}'"))
        .await;
    let bare = world.config(&[(
        "user = \"mysync\"\npassword = \"geheim-of-mysql",
        "user = \"bare\"\npassword = \"geheim-of-mysql",
    )]);
    let error = mysql(&bare).await.unwrap_err();
    require(&error, Kind::Definite, &["privileges", "GRANT REPLICATION SLAVE"]);
    world
        .sql("GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'bare'@'%'")
        .await;
    let metrics = Arc::new(ReaderMetrics::default());
    let mut source = MySqlSource::new(&bare).with_heartbeat(&bare, &metrics);
    source.choose(None).await.unwrap();
    let newest = source.newest().await.unwrap();
    source.start(&newest).await.unwrap();
    // As the reader does once a checkpoint on this server is committed: the heartbeat begins only then.
    source.settle();
    let deadline = tokio::time::Instant::now() + DEADLINE;
    let told = loop {
        let status = metrics.status();
        if let Some(error) = status.last_error {
            break (error.text, status.reader.unwrap().lag_seconds);
        }
        assert!(tokio::time::Instant::now() < deadline, "no refusal in {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(told.0.contains("GRANT ALL ON __db_mysync.*"), "{told:?}");
    assert!((told.1 + 1.0).abs() < f64::EPSILON, "{told:?}");
}

async fn kafka_refusals(world: &World) {
    let [ca, other_ca] = ["ca.pem", "other-ca.pem"].map(|name| format!("{:?}", world.file(name)));
    let in_kafka = |text: &str| format!("[kafka.tls]\nca = {text}");
    let (right_ca, wrong_ca) = (in_kafka(&ca), in_kafka(&other_ca));
    let host = ("brokers = [\"127.0.0.1", "brokers = [\"localhost");
    let plain = ("SCRAM-SHA-512", "PLAIN");
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let config = world.config(&[("SCRAM-SHA-512", mechanism)]);
        kafka(&config).await.unwrap();
    }
    let verify_ca = ("[kafka.tls]\n", "[kafka.tls]\nmode = \"verify-ca\"\n");
    kafka(&world.config(&[host, verify_ca])).await.unwrap();

    let not_trusted = "the broker's certificate is not from kafka.tls.ca, not for the host in kafka.brokers";
    let login = "check user, password and mechanism in section [kafka.sasl]";
    let refused = "the brokers refuse the connection";
    let cases = [
        (vec![(&*right_ca, &*wrong_ca)], [refused, not_trusted]),
        (vec![host], [refused, not_trusted]),
        (vec![(KAFKA_PASSWORD, "wrong-password")], [refused, login]),
        (vec![(KAFKA_PASSWORD, "wrong-password"), plain], [refused, login]),
    ];
    let meet_refusals = cases.map(async |(changes, parts)| {
        let config = world.config(&changes);
        require(&kafka(&config).await.unwrap_err(), Kind::Definite, &parts);
        let Err(error) = KafkaQueue::new(&config).subscriber("secure.redis").await else {
            panic!("a writer was let in: {changes:?}");
        };
        require(&error, Kind::Definite, &parts);
    });
    // Who does not speak TLS is not answered at all, as by a broker that is down.
    let tls_off = ("[kafka.tls]\n", "[kafka.tls]\nmode = \"disabled\"\n");
    let meet_silence = async {
        let error = kafka(&world.config(&[tls_off])).await.unwrap_err();
        let hint = "do they want TLS or a login (sections [kafka.tls], [kafka.sasl])?";
        require(&error, Kind::Transient, &[hint]);
    };
    tokio::join!(futures::future::join_all(meet_refusals), meet_silence);

    // A rule forbids what the reader needs.
    let deny = [
        "--deny-principal",
        "User:mysync",
        "--operation",
        "Write",
        "--transactional-id",
        "*",
    ];
    let arguments = [&["--add"][..], &deny].concat();
    let cluster = world.lab.kafka().unwrap();
    cluster
        .tool("org.apache.kafka.tools.AclCommand", &arguments)
        .await
        .unwrap();
    let Err(error) = KafkaQueue::new(&world.config(&[])).publisher().await else {
        panic!("a reader was let in against the rule");
    };
    require(
        &error,
        Kind::Definite,
        &["grant the account the operations named, by kafka-acls"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_want_a_certificate_get_one_or_say_so() {
    let lab = Lab::builder()
        .name("connections-mutual")
        .mysql("8.0")
        .brokers(1)
        .kafka_security(KafkaSecurity::MutualTls)
        .start()
        .await
        .unwrap();
    let world = World::new(lab);
    kafka(&world.config(&[])).await.unwrap();
    let file = |name: &str| format!("{:?}", world.file(name));
    let identity = format!(
        "certificate = {}\nkey = {}\n",
        file("client.pem"),
        file("client-key.pem")
    );
    let stranger = format!(
        "certificate = {}\nkey = {}\n",
        file("other-client.pem"),
        file("other-client-key.pem")
    );
    let hint =
        "the broker does not accept our certificate, or wants one: check certificate and key in section [kafka.tls]";
    for change in ["", &*stranger] {
        let error = kafka(&world.config(&[(&*identity, change)])).await.unwrap_err();
        require(&error, Kind::Definite, &["the brokers refuse the connection", hint]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_without_tls_is_possible() {
    let lab = Lab::builder()
        .name("connections-sasl")
        .mysql("8.0")
        .brokers(1)
        .kafka_security(KafkaSecurity::Sasl)
        .start()
        .await
        .unwrap();
    let world = World::new(lab);
    for mechanism in ["PLAIN", "SCRAM-SHA-512"] {
        kafka(&world.config(&[("SCRAM-SHA-512", mechanism)])).await.unwrap();
    }
    let error = kafka(&world.config(&[(KAFKA_PASSWORD, "wrong-password")]))
        .await
        .unwrap_err();
    require(
        &error,
        Kind::Definite,
        &["check user, password and mechanism in section [kafka.sasl]"],
    );
}
