//! A Redis Cluster, a master that sentinels or its replicas know, and one that wants TLS and a login are compared like a server
//! alone. Needs Docker and the lab's images.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use consistency::{Config, ErrorKind, Options, Report, Silent, Verdict, check};
use fixtures::{Lab, LabBuilder, Redis};

const ROWS: usize = 60;
const PASSWORD: &str = "geheim-of-redis-4711";

async fn lab(builder: LabBuilder) -> Lab {
    let lab = builder.mysql("8.0").start().await.expect("a lab");
    let primary = lab.primary().expect("a MySQL server");
    let values: Vec<String> = (0..ROWS).map(|id| format!("({id}, 'n{id}')")).collect();
    for statement in [
        "CREATE DATABASE bank",
        "CREATE TABLE bank.a (id INT PRIMARY KEY, note VARCHAR(20))",
        &format!("INSERT INTO bank.a VALUES {}", values.join(", ")),
    ] {
        primary.sql(statement).await.expect("a good statement");
    }
    lab
}

/// Sends a command to the node that takes it.
async fn everywhere(lab: &Lab, command: &str) {
    let mut last = None;
    for server in lab.redis_servers() {
        match server.command::<redis::Value>(command).await {
            Ok(_) => return,
            Err(error) => last = Some(error),
        }
    }
    panic!("nobody did {command}: {last:?}");
}

async fn fill(lab: &Lab) {
    for id in 0..ROWS {
        everywhere(lab, &format!("HSET bank:a:{id} id {id} note n{id}")).await;
    }
}

async fn run(toml: &str) -> Result<Report, consistency::Error> {
    let config = Config::parse(toml, "mysync.toml")?;
    let options = Options {
        fence: false,
        ..Options::default()
    };
    check(&config, &options, &Silent).await
}

/// Finds nothing, then one row that is missing and one too many.
async fn is_compared(lab: &Lab, toml: &str) {
    let report = run(toml).await.expect("a report");
    assert_eq!(report.verdict, Verdict::Consistent, "{report:?}");
    everywhere(lab, "DEL bank:a:7").await;
    everywhere(lab, &format!("HSET bank:a:{ROWS} id {ROWS}")).await;
    let report = run(toml).await.expect("a report");
    assert_eq!(report.verdict, Verdict::Inconsistent, "{report:?}");
    let table = &report.stores[0].tables[0];
    assert_eq!((table.missing, table.extra, table.different), (1, 1, 0), "{report:?}");
    everywhere(lab, "HSET bank:a:7 id 7 note n7").await;
    everywhere(lab, &format!("DEL bank:a:{ROWS}")).await;
}

async fn set_slot(node: &Redis, slot: u16, what: &str) {
    let command = format!("CLUSTER SETSLOT {slot} {what}");
    node.command::<()>(&command).await.expect("a good command");
}

#[tokio::test]
async fn a_cluster_is_compared_also_while_a_slot_moves() {
    let lab = lab(Lab::builder().name("check-cluster").redis_cluster()).await;
    fill(&lab).await;
    let toml = lab.config_toml("mysync", &["bank.*"]);
    is_compared(&lab, &toml).await;

    // One row's slot is half way to another node.
    let nodes = lab.redis_servers();
    let slot: u16 = nodes[0].command("CLUSTER KEYSLOT bank:a:7").await.expect("a slot");
    let from = usize::from(slot) * 3 / 16_384;
    let (from, to) = (&nodes[from], &nodes[(from + 1) % 3]);
    let id = async |node: &Redis| node.command::<String>("CLUSTER MYID").await.expect("an id");
    set_slot(to, slot, &format!("IMPORTING {}", id(from).await)).await;
    set_slot(from, slot, &format!("MIGRATING {}", id(to).await)).await;
    let mut connection = from.connect().await.expect("a session");
    let mut migrate = redis::cmd("MIGRATE");
    migrate
        .arg(to.host().to_string())
        .arg(to.port())
        .arg("bank:a:7")
        .arg(0)
        .arg(5_000);
    migrate.exec_async(&mut connection).await.expect("a good command");
    let report = run(&toml).await.expect("a report");
    assert_eq!(report.verdict, Verdict::Consistent, "{report:?}");
    lab.down().await.expect("removed");
}

#[tokio::test]
async fn a_master_is_found_by_sentinels_and_among_replicas() {
    let lab = lab(Lab::builder().name("check-sentinel").redis_sentinel()).await;
    fill(&lab).await;
    let toml = lab.config_toml("mysync", &["bank.*"]);
    is_compared(&lab, &toml).await;
    let other = toml.replace("master_name = \"lab\"", "master_name = \"other\"");
    let error = run(&other).await.expect_err("refused");
    assert_eq!(error.kind, ErrorKind::Configuration, "{error}");

    let [master, replica] = lab.redis_servers() else {
        panic!("{:?}", lab.redis_servers());
    };
    let (begin, end) = (
        toml.find("sentinels = ").expect("sentinels"),
        toml.find("master_name = \"lab\"").expect("a name"),
    );
    let addresses = format!("addresses = [{:?}, {:?}]", replica.address(), master.address());
    let mut among = toml.clone();
    among.replace_range(begin..end + "master_name = \"lab\"".len(), &addresses);
    is_compared(&lab, &among).await;
    lab.down().await.expect("removed");
}

#[tokio::test]
async fn tls_and_logins_are_asked_for_and_given() {
    let lab = lab(Lab::builder().name("check-redis-tls").redis_tls()).await;
    fill(&lab).await;
    let plain = lab.config_toml("mysync", &["bank.*"]);
    let rule = format!("ACL SETUSER check on >{PASSWORD} ~* +hgetall +scan +select");
    everywhere(&lab, &rule).await;
    let with = |lines: &str| plain.replace("[writer.redis]\n", &format!("[writer.redis]\n{lines}\n"));
    let toml = with(&format!("user = \"check\"\npassword = {PASSWORD:?}"));
    is_compared(&lab, &toml).await;

    let file = |name: &str| {
        lab.certificates()
            .expect("certificates")
            .file(name)
            .display()
            .to_string()
    };
    for (toml, said) in [
        (
            toml.replace(&file("ca.pem"), &file("other-ca.pem")),
            "certificate verify failed",
        ),
        (
            with("user = \"check\"\npassword = \"wrong\""),
            "Password authentication failed",
        ),
        (
            toml.replace("certificate = ", "# "),
            "key writer.redis.tls.certificate is wrong",
        ),
    ] {
        let error = run(&toml).await.expect_err("refused").to_string();
        assert!(error.contains(said) && !error.contains(PASSWORD), "{said}: {error}");
    }
    lab.down().await.expect("removed");
}
