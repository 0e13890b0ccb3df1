//! What stops the reader, each with an error of its own: settings that are changed under it, statements as text, binlogs that
//! are gone, privileges and passwords.

use super::life::{config, connect, read, read_while, run_all};
use fixtures::Lab;
use mysync::config::{Config, Secret};
use mysync::error::{Error, Kind};

fn require(error: &Error, what: &str, detail: &str, hint: &str) {
    assert_eq!(error.kind, Kind::Definite, "{error}");
    assert!(error.what.contains(what), "{error}");
    assert!(
        error.detail.as_ref().is_some_and(|text| text.contains(detail)),
        "{error}"
    );
    assert!(error.hint.as_ref().is_some_and(|text| text.contains(hint)), "{error}");
}

async fn sql(lab: &Lab, statements: &[&str]) {
    run_all(&mut connect(lab).await, statements).await;
}

/// A reader of its own for each, from here on.
async fn begin(lab: &Lab, prefix: &str) -> Config {
    let mut config = config(lab, prefix, &["shop.*"]);
    config.reader.start = mysync::config::Start::Newest;
    read(&config).await.unwrap();
    config
}

async fn settings_changed(lab: &Lab) {
    let config = begin(lab, "format").await;
    let change = async {
        let statements = [
            "USE shop",
            "SET binlog_format = STATEMENT",
            "INSERT INTO t VALUES (10, 1)",
        ];
        sql(lab, &statements).await;
    };
    let error = read_while(&config, change).await;
    let hint = "some session set binlog_format to STATEMENT or MIXED: SET PERSIST binlog_format = ROW";
    require(
        &error,
        "rows were changed by a statement that is logged as text",
        "INSERT INTO t VALUES (10, 1); at binlog.0",
        hint,
    );

    let config = begin(lab, "image").await;
    let change = sql(
        lab,
        &["SET binlog_row_image = MINIMAL", "UPDATE shop.t SET v = 2 WHERE id = 1"],
    );
    let error = read_while(&config, change).await;
    require(
        &error,
        "a row image lacks columns: shop.t",
        "binlog_row_image was not FULL",
        "SET PERSIST binlog_row_image = FULL",
    );

    let config = begin(lab, "value_options").await;
    let change = sql(
        lab,
        &[
            "SET binlog_row_value_options = PARTIAL_JSON",
            "UPDATE shop.docs SET j = JSON_SET(j, '$.b', 2)",
        ],
    );
    let error = read_while(&config, change).await;
    require(
        &error,
        "an update that logs only parts of a JSON value",
        "at binlog.0",
        "SET PERSIST binlog_row_value_options = ''",
    );
}

async fn access(lab: &Lab) {
    let config = begin(lab, "access").await;
    let mut wrong = config.clone();
    wrong.source.password = Secret::new("not-the-password");
    let error = read(&wrong).await.unwrap_err();
    require(
        &error,
        "cannot log in to MySQL",
        "Access denied",
        "check that 'mysync'@'%' exists and its password",
    );
    assert!(!error.to_string().contains("not-the-password"), "{error}");
    for (user, granted, missing) in [
        ("no_stream", "REPLICATION CLIENT, SELECT", "no REPLICATION SLAVE"),
        ("no_status", "REPLICATION SLAVE, SELECT", "no REPLICATION CLIENT"),
    ] {
        let create = format!("CREATE USER {user}@'%' IDENTIFIED BY 'word'");
        sql(lab, &[&create, &format!("GRANT {granted} ON *.* TO {user}@'%'")]).await;
        let mut poor = config.clone();
        poor.source.user = user.into();
        poor.source.password = Secret::new("word");
        let error = read(&poor).await.unwrap_err();
        require(&error, "not what the reader needs", missing, "mend the settings");
        assert!(
            error
                .to_string()
                .contains("fix: GRANT REPLICATION SLAVE, REPLICATION CLIENT"),
            "{error}"
        );
    }
}

async fn purged(lab: &Lab) {
    let config = begin(lab, "purged").await;
    let mut conn = connect(lab).await;
    let first = lab.primary().unwrap().position().await.unwrap().file;
    for id in 20..23 {
        run_all(
            &mut conn,
            &[&format!("INSERT INTO shop.t VALUES ({id}, 1)"), "FLUSH BINARY LOGS"],
        )
        .await;
    }
    let held = lab.primary().unwrap().position().await.unwrap().file;
    run_all(&mut conn, &[&format!("PURGE BINARY LOGS TO '{held}'")]).await;
    let error = read(&config).await.unwrap_err();
    let number = |file: &str| file.rsplit('.').next().unwrap().parse::<u32>().unwrap();
    let last = format!("binlog.{:06}", number(&held) - 1);
    let gone = format!("{first} to {last} are gone");
    require(
        &error,
        "the binlog was purged past the checkpoint",
        &gone,
        "load the tables anew",
    );
    assert!(
        error
            .to_string()
            .contains(&format!("the oldest that the server has is {held}")),
        "{error}"
    );
    assert!(error.hint.unwrap().contains("binlog_expire_logs_seconds"));
}

/// `max_allowed_packet` of the server does not bound what it sends to readers.
async fn packet_limit(lab: &Lab) {
    let config = begin(lab, "packet").await;
    sql(
        lab,
        &[
            "INSERT INTO shop.docs VALUES (2, JSON_QUOTE(REPEAT('x', 3000000)))",
            "SET GLOBAL max_allowed_packet = 1048576",
            "SET GLOBAL replica_max_allowed_packet = 1048576",
        ],
    )
    .await;
    assert_eq!(read(&config).await.unwrap().changes, 1);
}

async fn refused_by(version: &str, gtid: bool) {
    let lab = Lab::builder()
        .mysql(version)
        .gtid(gtid)
        .brokers(1)
        .start()
        .await
        .unwrap();
    sql(
        &lab,
        &[
            "CREATE DATABASE shop",
            "CREATE TABLE shop.t (id INT PRIMARY KEY, v INT)",
            "CREATE TABLE shop.docs (id INT PRIMARY KEY, j JSON)",
            "INSERT INTO shop.t VALUES (1, 1)",
            "INSERT INTO shop.docs VALUES (1, '{\"a\": \"a long text that makes a difference worthwhile\", \"b\": 1}')",
        ],
    )
    .await;
    settings_changed(&lab).await;
    access(&lab).await;
    packet_limit(&lab).await;
    purged(&lab).await;
    lab.down().await.unwrap();
}

#[tokio::test]
async fn refused_by_8_0() {
    refused_by("8.0", false).await;
}

#[tokio::test]
async fn refused_by_9_7() {
    refused_by("9.7", true).await;
}
