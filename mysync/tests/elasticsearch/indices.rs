//! Indices that are lost, made anew or restored from an older snapshot while the cursors live on, and cursors that are lost while
//! the rows live on.

use super::world::{Log, World, catch_up, catch_up_smoothly};
use mysync::target::Target;

pub async fn a_lost_alias_is_given_again(world: &World) {
    let mut log = Log::new("alias.shop.alias", "shop.alias");
    log.churn(30, 10);
    let mut target = world.target("alias", "");
    catch_up_smoothly(&mut target, &[&log]).await;
    world.must("DELETE", "/shop.alias~rows/_alias/shop.alias", "").await;
    log.churn(30, 10);
    catch_up(&mut target, &[&log], 10).await.unwrap();
    assert_eq!(world.rows("shop.alias").await, log.rows());
}

pub async fn an_index_that_is_gone_or_another_one_is_filled_anew(world: &World) {
    let mut log = Log::new("gone.shop.gone", "shop.gone");
    log.churn(60, 10);
    let mut target = world.target("gone", "");
    catch_up_smoothly(&mut target, &[&log]).await;

    // While the writer is connected: no index is ever made by a document.
    let cursor = target.cursors(std::slice::from_ref(&log.partition)).await.unwrap()[&log.partition];
    world.must("DELETE", "/shop.gone~rows", "").await;
    log.put("1", "behind the deletion");
    let step = log.step(cursor, 10).unwrap();
    let error = target.apply(&[step]).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(world.ask("GET", "/shop.gone~rows", "").await.0, 404);
    let (sent, _) = catch_up(&mut target, &[&log], 10).await.unwrap();
    assert!(sent > 10, "{sent}");
    assert_eq!(world.rows("shop.gone").await, log.rows());
    let mapping = world.must("GET", "/shop.gone~rows/_mapping", "").await;
    assert_eq!(mapping["shop.gone~rows"]["mappings"]["dynamic"], "false");

    // By another writer meanwhile, so that only its UUID tells.
    world.must("DELETE", "/shop.gone~rows", "").await;
    let mut early = Log::new("early.shop.gone", "shop.gone");
    early.put("1", "somebody began anew");
    catch_up_smoothly(&mut world.target("early", ""), &[&early]).await;
    let (sent, _) = catch_up(&mut target, &[&log], 10).await.unwrap();
    assert!(sent > 10, "{sent}");
    assert_eq!(world.rows("shop.gone").await, log.rows());
}

pub async fn a_snapshot_that_is_restored_is_replayed_over(world: &World) {
    let mut log = Log::new("back.shop.back", "shop.back");
    log.churn(60, 10);
    let mut target = world.target("back", "");
    catch_up_smoothly(&mut target, &[&log]).await;
    let repository = r#"{"type":"fs","settings":{"location":"/tmp/snapshots/back"}}"#;
    world.must("PUT", "/_snapshot/back", repository).await;
    let indices = r#"{"indices":"shop.back~rows,mysync~cursors","include_global_state":false}"#;
    world
        .must("PUT", "/_snapshot/back/old?wait_for_completion=true", indices)
        .await;
    log.churn(60, 10);
    log.delete("3");
    catch_up_smoothly(&mut target, &[&log]).await;
    let expected = log.rows();

    // The rows alone, in place: the same UUID, another history.
    let only_rows = r#"{"indices":"shop.back~rows"}"#;
    world.must("POST", "/shop.back~rows/_close", "").await;
    world
        .must(
            "POST",
            "/_snapshot/back/old/_restore?wait_for_completion=true",
            only_rows,
        )
        .await;
    let (sent, _) = catch_up(&mut target, &[&log], 10).await.unwrap();
    assert!(sent > 20, "{sent}");
    assert_eq!(world.rows("shop.back").await, expected);

    // All of it, from nothing.
    world.must("DELETE", "/shop.back~rows,mysync~cursors", "").await;
    world
        .must("POST", "/_snapshot/back/old/_restore?wait_for_completion=true", indices)
        .await;
    assert_ne!(world.rows("shop.back").await, expected);
    let (sent, _) = catch_up(&mut target, &[&log], 10).await.unwrap();
    assert!(sent > 20, "{sent}");
    assert_eq!(world.rows("shop.back").await, expected);
}

pub async fn lost_cursors_replay_everything_and_change_nothing(world: &World) {
    let mut log = Log::new("lost.shop.lost", "shop.lost");
    log.churn(120, 10);
    let mut target = world.target("lost", "");
    catch_up_smoothly(&mut target, &[&log]).await;
    let before = world.documents("shop.lost~rows").await;
    world.must("DELETE", "/mysync~cursors", "").await;
    let (sent, _) = catch_up(&mut target, &[&log], 10).await.unwrap();
    assert!(sent > 50, "{sent}");
    assert_eq!(world.rows("shop.lost").await, log.rows());
    let after = world.documents("shop.lost~rows").await;
    let versions = |documents: &std::collections::BTreeMap<String, (i64, serde_json::Value)>| {
        documents
            .iter()
            .map(|(id, (version, _))| (id.clone(), *version))
            .collect::<Vec<_>>()
    };
    assert_eq!(versions(&before), versions(&after));
    // And it goes on from there.
    assert_eq!(catch_up_smoothly(&mut target, &[&log]).await, 0);
    log.put("1", "next");
    assert_eq!(catch_up_smoothly(&mut target, &[&log]).await, 1);
}
