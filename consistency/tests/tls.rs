//! A MySQL that lets the account in only with a certificate, and what a check says without, or with a wrong one.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use consistency::{Config, ErrorKind, Options, Silent, Verdict, check};
use fixtures::Lab;

#[tokio::test]
async fn a_check_goes_over_tls_and_says_what_is_wrong_with_it() {
    let lab = Lab::builder()
        .name("check-tls")
        .mysql("8.0")
        .mysql_tls()
        .redis()
        .start()
        .await
        .expect("a lab");
    let primary = lab.primary().expect("a MySQL server");
    for statement in [
        "CREATE DATABASE bank",
        "CREATE TABLE bank.a (id INT PRIMARY KEY)",
        "INSERT INTO bank.a VALUES (1)",
    ] {
        primary.sql(statement).await.expect("a good statement");
    }
    let mut redis = lab.redis().expect("a Redis").connect().await.expect("a session");
    let mut row = redis::cmd("HSET");
    row.arg(&["bank:a:1", "id", "1"]);
    row.exec_async(&mut redis).await.expect("a good command");

    let toml = lab.config_toml("mysync", &["bank.*"]);
    let report = run(&toml).await.expect("a report");
    assert_eq!(report.verdict, Verdict::Consistent);

    let file = |name: &str| {
        lab.certificates()
            .expect("certificates")
            .file(name)
            .display()
            .to_string()
    };
    let localhost = toml.replace("servers = [\"127.0.0.1", "servers = [\"localhost");
    let other_ca = toml.replace(&file("ca.pem"), &file("other-ca.pem"));
    for (toml, said) in [
        (other_ca.clone(), "certificate verify failed"),
        (localhost.clone(), "certificate verify failed"),
        (
            toml.replace("certificate = ", "# "),
            "key source.tls.certificate is wrong",
        ),
        (
            toml.replace("[source.tls]", "[source.tls]\nmode = \"disabled\""),
            "Access denied",
        ),
    ] {
        let error = run(&toml).await.expect_err("refused");
        let text = error.to_string();
        assert!(text.contains(said), "{said}: {text}");
        assert!(!text.contains(fixtures::mysql::PASSWORD), "{text}");
        let expected = match said.starts_with("key") {
            true => ErrorKind::Configuration,
            false => ErrorKind::Failed,
        };
        assert_eq!(error.kind, expected, "{text}");
    }
    // What is not verified is not refused.
    for (toml, mode) in [(localhost, "verify-ca"), (other_ca, "required")] {
        let toml = toml.replace("[source.tls]", &format!("[source.tls]\nmode = \"{mode}\""));
        let report = run(&toml).await.expect("a report");
        assert_eq!(report.verdict, Verdict::Consistent, "{mode}");
    }
}

async fn run(toml: &str) -> Result<consistency::Report, consistency::Error> {
    let config = Config::parse(toml, "mysync.toml")?;
    let options = Options {
        fence: false,
        ..Options::default()
    };
    check(&config, &options, &Silent).await
}
