//! Of several servers the check takes the one that takes writes, and says what is wrong where there is not exactly one.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use consistency::{Config, Options, Silent, Verdict, check};
use fixtures::Lab;

#[tokio::test]
async fn the_primary_is_compared_wherever_it_is_now() {
    let lab = Lab::builder().name("check-primary").mysql("8.0").replicas(1).redis();
    let lab = lab.start().await.expect("a lab");
    let [old, new] = lab.mysql_servers() else {
        panic!("two servers")
    };
    for statement in [
        "CREATE DATABASE bank",
        "CREATE TABLE bank.a (id INT PRIMARY KEY)",
        "INSERT INTO bank.a VALUES (1)",
    ] {
        old.sql(statement).await.expect("a good statement");
    }
    new.wait_until_caught_up(old).await.expect("a replica");
    let mut redis = lab.redis().expect("a Redis").connect().await.expect("a session");
    for id in ["1", "2"] {
        let mut row = redis::cmd("HSET");
        row.arg(&[&format!("bank:a:{id}"), "id", id]);
        row.exec_async(&mut redis).await.expect("a good command");
    }
    let servers = vec![new.address(), old.address()];
    let toml = lab.config("mysync", &["bank.*"]).servers(servers).toml();
    let options = Options {
        fence: false,
        ..Options::default()
    };
    let run = async || check(&Config::parse(&toml, "mysync.toml")?, &options, &Silent).await;

    let report = run().await.expect("a report");
    assert_eq!(report.verdict, Verdict::Inconsistent, "row 2 is in Redis only");

    new.promote().await.expect("a new primary");
    let error = run().await.expect_err("two primaries").to_string();
    assert!(error.starts_with("several servers of [source] take writes"), "{error}");

    old.kill().await.expect("a dead server");
    new.sql("INSERT INTO bank.a VALUES (2)")
        .await
        .expect("a good statement");
    let report = run().await.expect("a report");
    assert_eq!(report.verdict, Verdict::Consistent, "the new primary has it too");

    new.kill().await.expect("a dead server");
    let error = run().await.expect_err("no primary").to_string();
    assert!(error.starts_with("no server of [source] is a primary"), "{error}");
}
