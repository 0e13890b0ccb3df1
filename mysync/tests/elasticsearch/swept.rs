//! Tombstones that are old enough go, and nothing else.

use super::world::{Log, World, catch_up_smoothly};
use std::time::{SystemTime, UNIX_EPOCH};

pub async fn only_old_tombstones_go(world: &World) {
    let mut log = Log::new("swept.shop.swept", "shop.swept");
    log.put("live", "stays");
    log.delete("young");
    let mut target = world.target("swept", "tombstones_keep_hours = 24\n");
    catch_up_smoothly(&mut target, &[&log]).await;

    // Tombstones of another day, and a row that has come back since one was written.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let hours_ago = |hours: u64| now.as_millis() - u128::from(hours * 3_600_000);
    for (id, hours) in [("old", 25), ("older", 1_000), ("almost", 23)] {
        let body = format!(
            "{{\"__mysync_deleted\":true,\"__mysync_deleted_at\":{}}}",
            hours_ago(hours)
        );
        let path = format!("/shop.swept~rows/_doc/{id}?version=50&version_type=external_gte");
        world.must("PUT", &path, &body).await;
    }
    world.must("POST", "/shop.swept~rows/_refresh", "").await;
    log.put("live", "stays, again");
    // A writer looks through an index when it has opened it.
    catch_up_smoothly(&mut target, &[&log]).await;
    let left: Vec<String> = world.documents("shop.swept~rows").await.into_keys().collect();
    assert_eq!(left, ["almost", "live", "young"]);
    assert_eq!(world.rows("shop.swept").await, log.rows());

    // For ever is for ever.
    let mut keeps = world.target("swept-never", "tombstones_keep_hours = 0\n");
    let path = "/shop.swept~rows/_doc/old?version=50&version_type=external_gte&refresh=true";
    world
        .must("PUT", path, "{\"__mysync_deleted\":true,\"__mysync_deleted_at\":1}")
        .await;
    catch_up_smoothly(&mut keeps, &[&log]).await;
    assert!(world.documents("shop.swept~rows").await.contains_key("old"));
}
