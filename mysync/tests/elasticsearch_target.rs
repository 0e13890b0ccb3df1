//! The target Elasticsearch on real servers, without Kafka and MySQL: the same checks on Elasticsearch and on OpenSearch. Needs
//! Docker and the lab's images; without them it fails with the remedy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "elasticsearch/indices.rs"]
mod indices;
#[path = "elasticsearch/refused.rs"]
mod refused;
#[path = "elasticsearch/rows.rs"]
mod rows;
#[path = "elasticsearch/searched.rs"]
mod searched;
#[path = "elasticsearch/swept.rs"]
mod swept;
#[path = "elasticsearch/world.rs"]
mod world;

use world::World;

async fn every_check(world: &World) {
    rows::a_row_is_its_text_and_a_deleted_one_is_hidden(world).await;
    rows::what_is_older_changes_nothing(world).await;
    rows::a_writer_that_was_replaced_changes_nothing(world).await;
    rows::ids_are_the_keys_that_the_contract_says(world).await;
    searched::rows_are_found_by_their_types(world).await;
    searched::a_column_that_is_added_is_found_too(world).await;
    searched::mysql_that_is_away_is_waited_for_only_by_what_needs_it(world).await;
    refused::one_row_stops_its_step_and_no_other(world).await;
    refused::a_column_that_cannot_be_mapped_is_refused_with_each_row(world).await;
    refused::names_that_cannot_be_are_refused_with_the_remedy(world).await;
    refused::an_index_of_somebody_else_is_left_alone(world).await;
    indices::a_lost_alias_is_given_again(world).await;
    indices::an_index_that_is_gone_or_another_one_is_filled_anew(world).await;
    indices::a_snapshot_that_is_restored_is_replayed_over(world).await;
    indices::lost_cursors_replay_everything_and_change_nothing(world).await;
    swept::only_old_tombstones_go(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn elasticsearch() {
    let world = World::elasticsearch().await;
    every_check(&world).await;
    world.lab.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn opensearch() {
    let world = World::opensearch().await;
    every_check(&world).await;
    world.lab.down().await.unwrap();
}
