//! The binary `mysync` without servers: it waits for them and says so, in the log, at `/health` and in `mysync status`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/process.rs"]
mod process;

use process::{Process, free_address, mysync, wait_until};
use std::path::PathBuf;

fn config(name: &str, more: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("mysync-command-line-{}-{name}.toml", std::process::id()));
    let text = mysync::config::TEMPLATE
        .replace(
            "password_env = \"MYSYNC_MYSQL_PASSWORD\"",
            "password = \"geheim-of-mysql\"",
        )
        // Nobody listens there: the port is free.
        .replace("127.0.0.1:3306", &free_address())
        .replace("127.0.0.1:9092", &free_address());
    std::fs::write(&path, format!("{text}\n{more}")).unwrap();
    path
}

#[test]
fn a_reader_waits_for_its_servers_and_says_so_everywhere() {
    let address = free_address();
    let file = config("waits", "");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        text.replace("# listen = \"127.0.0.1:9464\"", &format!("listen = \"{address}\"")),
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let mut reader = Process::start(
        "waits",
        &["reader", "--config", file, "--log-format", "json"],
        "mysync=info",
    );
    wait_until("the reader waits", || {
        process::get(&address, "/health").filter(|(code, _)| *code == 503)
    });
    let (code, health) = wait_until("the reason is told", || {
        process::get(&address, "/health").filter(|(_, text)| text.starts_with("waiting: "))
    });
    assert_eq!(code, 503);
    assert!(
        health.contains("is the server up, and is key source.servers right?"),
        "{health}"
    );
    let (code, metrics) = process::get(&address, "/metrics").unwrap();
    assert_eq!(code, 200);
    for expected in [
        "mysync_build_info{version=",
        "mysync_reader_lag_seconds -1.0",
        "process_resident_memory_bytes ",
        "mysync_reader_commit_seconds_count 0",
        "# EOF",
    ] {
        assert!(metrics.contains(expected), "{expected} is not in:\n{metrics}");
    }

    let told = mysync(&["status", "--config", file]);
    assert_eq!(told.code, 1, "{told:?}");
    assert!(
        told.stdout
            .starts_with(&format!("reader {}: NOT HEALTHY\n", env!("CARGO_PKG_VERSION")))
    );
    assert!(told.stdout.contains("  lag                  unknown\n"), "{told:?}");
    let told = mysync(&["status", "--config", file, "--json"]);
    let answers: serde_json::Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(answers[0]["address"], address.as_str());
    assert_eq!(answers[0]["status"]["phase"], "waiting");
    assert_eq!(answers[0]["status"]["reader"]["lag_seconds"], -1.0);

    assert_eq!(
        reader.terminate(),
        0,
        "asked to stop while it waits, it ends in good order"
    );
    let log = reader.stderr();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    let retry = lines
        .iter()
        .find(|line| line["level"] == "WARN")
        .expect("a line for the retry");
    assert!(retry["retry_in_ms"].is_number(), "{retry}");
    assert!(
        retry["message"].as_str().unwrap().contains("cannot log in to MySQL"),
        "{retry}"
    );
    assert!(retry["timestamp"].is_string(), "{retry}");
    assert!(!log.contains("geheim"), "{log}");

    let told = mysync(&["status", "--config", file]);
    assert_eq!(told.code, 2, "who does not answer is unknown: {told:?}");
    assert!(told.stdout.contains(&format!("no status from {address}")), "{told:?}");
}

#[test]
fn a_configuration_is_checked_at_once_and_wrong_ones_have_their_exit_code() {
    let file = config("checked", "");
    let file = file.to_str().unwrap();
    let checked = mysync(&["config", "check", "--config", file]);
    assert_eq!(checked.code, 3, "{checked:?}");
    assert!(checked.stderr.contains("key source.servers"), "{checked:?}");

    let told = mysync(&["status", "--config", file]);
    assert_eq!(told.code, 3, "{told:?}");
    assert!(
        told.stderr
            .contains("set listen in section [metrics], or in that of a writer's target"),
        "{told:?}"
    );

    for (words, expected) in [
        (&["writer", "retry"] as &[&str], "set key writer.<target>.listen"),
        (
            &["writer", "status", "--target", "redis"],
            "set key writer.redis.listen",
        ),
    ] {
        let told = mysync(&[words, &["--config", file]].concat());
        assert_eq!(told.code, 3, "{told:?}");
        assert!(told.stderr.contains(expected), "{told:?}");
    }
    let told = mysync(&["writer", "status", "--address", &free_address()]);
    assert_eq!(told.code, 2, "who does not answer is unknown: {told:?}");

    let broken = config(
        "broken",
        "[kafka.sasl]\nmechanism = \"PLAIN\"\nuser = \"u\"\npassword = 4711\n",
    );
    let refused = mysync(&["reader", "--config", broken.to_str().unwrap(), "--log-format", "json"]);
    assert_eq!(refused.code, 3);
    let line: serde_json::Value = serde_json::from_str(&refused.stderr).unwrap();
    assert_eq!(line["level"], "ERROR");
    assert!(!refused.stderr.contains("4711"), "{refused:?}");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = mysync(&["reader", "--config", file, "--metrics", &address]);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.stderr.contains("cannot serve metrics at"), "{refused:?}");
}
