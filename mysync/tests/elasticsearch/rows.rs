//! Rows and versions: what is there, what is hidden, and that nothing older gets in.

use super::world::{Log, World, catch_up_smoothly, change, cursor, partition, step, table};
use mysync::target::columns::ColumnKind;
use mysync::target::{Outcome, Target};
use std::collections::BTreeMap;

pub async fn a_row_is_its_text_and_a_deleted_one_is_hidden(world: &World) {
    world.types.set(
        "shop.order",
        &[("id", ColumnKind::Unsigned64), ("note", ColumnKind::Text)],
    );
    let mut log = Log::new("rows.shop.order", "shop.order");
    log.push(
        "1",
        Some(r#"{"id":18446744073709551615, "note":"a\"\u00e9😀\n","f":-0.0,"d":"12.50"}"#),
    );
    log.push("2", Some("{\"id\":2,\n \"note\":null}"));
    log.put("3", "gone soon");
    log.delete("3");
    log.delete("4");
    log.put("5", "comes back");
    log.delete("5");
    log.put("5", "came back");
    let mut target = world.target("rows", "");
    assert_eq!(target.name(), "elasticsearch");
    catch_up_smoothly(&mut target, &[&log]).await;
    let mut expected = log.rows();
    // A line break between tokens would end the line of the request.
    expected.insert("2".into(), "{\"id\":2,  \"note\":null}".into());
    assert_eq!(world.rows("shop.order").await, expected);

    let documents = world.documents("shop.order~rows").await;
    assert_eq!(documents["1"].0, log.changes[0].version);
    let (version, tombstone) = &documents["4"];
    assert_eq!(*version, log.changes[4].version);
    let members: Vec<&String> = tombstone.as_object().unwrap().keys().collect();
    assert_eq!(members, ["__mysync_deleted", "__mysync_deleted_at"]);
    assert_eq!(tombstone["__mysync_deleted"], true);
    assert!(tombstone["__mysync_deleted_at"].as_i64().unwrap() > 1_700_000_000_000);

    let settings = world.must("GET", "/shop.order~rows?flat_settings=true", "").await;
    let index = &settings["shop.order~rows"];
    assert_eq!(index["settings"]["index.translog.durability"], "request");
    assert_eq!(index["settings"]["index.number_of_replicas"], "0");
    assert_eq!(index["mappings"]["dynamic"], "false");
    assert_eq!(index["mappings"]["properties"]["note"]["type"], "keyword");
    let stored = world
        .must("GET", "/mysync~cursors/_doc/rows.elasticsearch:rows.shop.order:0", "")
        .await;
    assert_eq!(stored["_source"]["cursor"], "8 108");
    assert_eq!(
        stored["_source"]["indices"]["shop.order~rows"],
        index["settings"]["index.uuid"]
    );
}

pub async fn what_is_older_changes_nothing(world: &World) {
    let mut log = Log::new("older.shop.older", "shop.older");
    log.churn(200, 20);
    let mut target = world.target("older", "");
    catch_up_smoothly(&mut target, &[&log]).await;
    let expected = log.rows();
    assert!(expected.len() > 3 && expected.len() < 20, "{}", expected.len());
    assert_eq!(world.rows("shop.older").await, expected);
    let before = versions(world, "shop.older~rows").await;

    // The whole log again, one change at a time and in large steps, by writers that have no cursor.
    for (prefix, changes_max) in [("older-again", 1), ("older-once-more", 64)] {
        let mut again = world.target(prefix, "");
        let (sent, errors) = super::world::catch_up(&mut again, &[&log], changes_max).await.unwrap();
        assert!(sent > 20 && errors.is_empty(), "{errors:?}");
        assert_eq!(world.rows("shop.older").await, expected);
        assert_eq!(versions(world, "shop.older~rows").await, before);
    }

    // When the store has forgotten what it really deleted, and was killed.
    world
        .must("PUT", "/shop.older~rows/_settings", r#"{"index.gc_deletes":"1ms"}"#)
        .await;
    world.node.kill().await.unwrap();
    world.node.start().await.unwrap();
    let mut again = world.target("older-after-a-restart", "");
    let (sent, _) = super::world::catch_up(&mut again, &[&log], 16).await.unwrap();
    assert!(sent > 20);
    assert_eq!(world.rows("shop.older").await, expected);
    assert_eq!(versions(world, "shop.older~rows").await, before);
}

async fn versions(world: &World, index: &str) -> BTreeMap<String, i64> {
    let documents = world.documents(index).await;
    documents.into_iter().map(|(id, (version, _))| (id, version)).collect()
}

pub async fn a_writer_that_was_replaced_changes_nothing(world: &World) {
    let name = table("shop.zombie");
    let topic = "zombie.shop.zombie";
    let row = |note: &str| format!("{{\"id\":1,\"note\":{note:?}}}");
    let (mut old, mut new) = (world.target("zombie", ""), world.target("zombie", ""));
    old.connect().await.unwrap();
    new.connect().await.unwrap();
    assert_eq!(old.cursors(&[partition(topic)]).await.unwrap()[&partition(topic)], None);
    let first = [step(topic, None, 1, vec![change(&name, "1", Some(&row("first")), 1)])];
    assert!(matches!(old.apply(&first).await.unwrap()[..], [Outcome::Applied]));

    // Another one takes over, goes on and deletes the row.
    let read = new.cursors(&[partition(topic)]).await.unwrap()[&partition(topic)];
    assert_eq!(read, Some(cursor(1)));
    new.apply(&[step(topic, read, 2, vec![change(&name, "1", Some(&row("second")), 2)])])
        .await
        .unwrap();
    new.apply(&[step(topic, Some(cursor(2)), 3, vec![change(&name, "1", None, 3)])])
        .await
        .unwrap();

    // What the old one still has in hand.
    let late = [step(
        topic,
        Some(cursor(1)),
        2,
        vec![change(&name, "1", Some(&row("second")), 2)],
    )];
    let error = old.apply(&late).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(error.to_string().contains("moved by somebody else"), "{error}");
    assert_eq!(world.rows("shop.zombie").await, BTreeMap::new());
    old.connect().await.unwrap();
    let read = old.cursors(&[partition(topic)]).await.unwrap()[&partition(topic)];
    assert_eq!(read, Some(cursor(3)));
    // A cursor that is not where the caller believes it to be.
    let error = old.apply(&late).await.unwrap_err();
    assert!(
        error.is_transient() && error.to_string().contains("not where it was left"),
        "{error}"
    );
}

pub async fn ids_are_the_keys_that_the_contract_says(world: &World) {
    let name = table("shop.ids");
    let topic = "ids.shop.ids";
    let mut target = world.target("ids", "");
    target.connect().await.unwrap();
    target.cursors(&[partition(topic)]).await.unwrap();
    let long = "ü".repeat(300);
    let keys = ["7", "", "%x", "a:b/c?d", "\u{1}\"\\", &long];
    let mut changes: Vec<_> = keys.iter().map(|key| change(&name, key, Some("{}"), 1)).collect();
    let mut joined = change(&name, "a:b", Some("{}"), 1);
    joined.key.push(("second".into(), "%".into()));
    changes.push(joined);
    target.apply(&[step(topic, None, 7, changes)]).await.unwrap();
    let ids: Vec<String> = world.rows("shop.ids").await.into_keys().collect();
    let mut expected = [
        "7",
        "%empty",
        "%25x",
        "a:b/c?d",
        "\u{1}\"\\",
        "a%3Ab:%25",
        // printf 'ü%.0s' $(seq 300) | sha256sum
        "%sha256:969222e5c9d4ea6630efe52a32662d0793efa5e778c2e17b1e5769b621ae4e86",
    ];
    expected.sort_unstable();
    assert_eq!(ids, expected);
}
