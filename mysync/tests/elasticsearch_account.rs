//! The target Elasticsearch with an account that may do what README says and nothing more, on a real node with accounts; and with
//! accounts that may not. Needs Docker and the lab's images; without them it fails with the remedy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "elasticsearch/world.rs"]
mod world;

use mysync::error::{Error, Kind};
use mysync::target::Target;
use world::{Log, World, catch_up, catch_up_smoothly, wait_until};

const ROLES: &str = r#"
writer:
  cluster: [monitor]
  indices:
    - names: ["shop.*", "mysync~cursors"]
      privileges: [create_index, manage, write, read]
reader:
  cluster: [monitor]
  indices:
    - names: ["*"]
      privileges: [read]
"#;

/// Accounts in the node's own files, which it looks at every few seconds.
async fn make_accounts(world: &World) {
    let script = format!(
        "cd /usr/share/elasticsearch && cat > config/roles.yml <<'X'\n{ROLES}\nX\n\
         export ES_JAVA_HOME=$(dirname $(dirname $(readlink -f $(command -v java)))) && \
         bin/elasticsearch-users useradd writer -p geheim1 -r writer && \
         bin/elasticsearch-users useradd reader -p geheim2 -r reader"
    );
    world.node.exec(&["bash", "-c", &script]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_needs_what_readme_says_and_nothing_more() {
    let world = World::accounts().await;
    make_accounts(&world).await;
    let login = |user: &str, password: &str| format!("user = {user:?}\npassword = {password:?}\n");
    let mut log = Log::new("account.shop.account", "shop.account");
    log.churn(40, 10);
    let mut writer = world.target("account", &login("writer", "geheim1"));
    let mut reader = world.target("account", &login("reader", "geheim2"));
    wait_until("the node knows the writer", async || writer.connect().await.is_ok()).await;
    // The node may have looked at the file between the two.
    let unknown = |error: &Error| error.to_string().contains("status 401");
    wait_until("the node knows the reader", async || {
        !reader.connect().await.is_err_and(|error| unknown(&error))
    })
    .await;
    catch_up_smoothly(&mut writer, &[&log]).await;
    world.must("DELETE", "/shop.account~rows", "").await;
    let (sent, _) = catch_up(&mut writer, &[&log], 10).await.unwrap();
    assert!(sent > 10);
    assert_eq!(world.rows("shop.account").await, log.rows());

    log.put("1", "more");
    for (more, expected) in [
        (login("writer", "geheim-wrong"), "status 401"),
        (String::new(), "status 401"),
        (login("reader", "geheim2"), "status 403"),
    ] {
        let mut target = world.target("account", &more);
        let error = catch_up(&mut target, &[&log], 10).await.unwrap_err();
        assert_eq!(error.kind, Kind::Configuration, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!error.to_string().contains("geheim"), "{error}");
    }
    world.lab.down().await.unwrap();
}
