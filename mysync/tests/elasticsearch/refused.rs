//! What is refused: the reason and the remedy are told, the step's cursor stays, and other steps go on.

use super::world::{World, change, cursor, partition, step, table};
use mysync::error::{Error, Kind};
use mysync::target::columns::ColumnKind;
use mysync::target::{Outcome, RowChange, Target};

/// Applies a step beside one that is all right, and gives the refusal.
async fn refused(world: &World, prefix: &str, changes: Vec<RowChange>) -> Error {
    let mut target = world.target(prefix, "");
    let (bad, good) = (format!("{prefix}.bad"), format!("{prefix}.good"));
    target.connect().await.unwrap();
    target.cursors(&[partition(&bad), partition(&good)]).await.unwrap();
    let row = change(&table(&format!("shop.{prefix}_good")), "1", Some("{\"id\":1}"), 1);
    let steps = [step(&bad, None, 1, changes), step(&good, None, 1, vec![row])];
    let outcomes = target.apply(&steps).await.unwrap();
    assert_eq!(world.rows(&format!("shop.{prefix}_good")).await.len(), 1);
    let cursors = target.cursors(&[partition(&bad), partition(&good)]).await.unwrap();
    assert_eq!(cursors[&partition(&bad)], None);
    assert!(cursors[&partition(&good)].is_some());
    let mut outcomes = outcomes.into_iter();
    match (outcomes.next(), outcomes.next()) {
        (Some(Outcome::Refused(error)), Some(Outcome::Applied)) => {
            assert_eq!(error.kind, Kind::Definite, "{error}");
            assert!(error.detail.is_some() || error.hint.is_some(), "{error}");
            error
        }
        other => panic!("{other:?}"),
    }
}

pub async fn one_row_stops_its_step_and_no_other(world: &World) {
    world
        .types
        .set("shop.strict", &[("n", ColumnKind::Integer), ("t", ColumnKind::Text)]);
    let name = table("shop.strict");
    let rows = vec![
        change(&name, "1", Some("{\"n\":1}"), 1),
        change(&name, "2", Some("{\"t\":{\"an\":\"object\"}}"), 2),
    ];
    let text = refused(world, "strict", rows).await.to_string();
    for part in ["shop.strict", "id=2", "parsing_exception", "[t]", "columns_exclude"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    // The other rows of the step may be there, and are.
    assert_eq!(world.rows("shop.strict").await.len(), 1);

    let text = refused(
        world,
        "own",
        vec![change(&table("shop.own"), "1", Some("{\"_id\":1}"), 1)],
    )
    .await
    .to_string();
    assert!(text.contains("metadata field"), "{text}");
}

pub async fn a_column_that_cannot_be_mapped_is_refused_with_each_row(world: &World) {
    let topic = "full";
    let mut target = world.target(topic, "");
    target.connect().await.unwrap();
    target.cursors(&[partition(topic)]).await.unwrap();
    let name = table("shop.full");
    let row = |key: &str, row: &str| change(&name, key, Some(row), 1);
    world.types.set("shop.full", &[("n", ColumnKind::Integer)]);
    let first = step(topic, None, 1, vec![row("1", "{\"n\":1}")]);
    assert!(matches!(target.apply(&[first]).await.unwrap()[..], [Outcome::Applied]));
    let limit = async |fields: u32| {
        let body = format!("{{\"index.mapping.total_fields.limit\":{fields}}}");
        world.must("PUT", "/shop.full~rows/_settings", &body).await
    };
    limit(1).await;
    world
        .types
        .set("shop.full", &[("n", ColumnKind::Integer), ("m", ColumnKind::Integer)]);
    let wide = |keys: &[&str], after| {
        let rows = keys.iter().map(|key| row(key, "{\"n\":1,\"m\":2}"));
        step(topic, Some(cursor(1)), after, rows.collect())
    };
    // The search for the one record comes with smaller steps.
    for keys in [&["2", "3"][..], &["2"]] {
        match &target.apply(&[wide(keys, 3)]).await.unwrap()[..] {
            [Outcome::Refused(error)] => assert!(error.what.contains("cannot map new columns"), "{error}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(world.rows("shop.full").await.len(), 1);
    limit(1_000).await;
    let outcomes = target.apply(&[wide(&["2", "3"], 3)]).await.unwrap();
    assert!(matches!(outcomes[..], [Outcome::Applied]), "{outcomes:?}");
    world.must("POST", "/_refresh?expand_wildcards=open", "").await;
    assert_eq!(world.found("shop.full", "{\"term\":{\"m\":2}}").await, ["2", "3"]);
}

pub async fn names_that_cannot_be_are_refused_with_the_remedy(world: &World) {
    let name = format!("shop.{}", "ü".repeat(64));
    let text = refused(world, "long", vec![change(&table(&name), "1", Some("{}"), 1)])
        .await
        .to_string();
    assert!(
        text.contains("too long a name") && text.contains("writer.elasticsearch.index"),
        "{text}"
    );

    let row = "{\"id\":1,\"__mysync_deleted\":false}";
    let text = refused(world, "ours", vec![change(&table("shop.ours"), "1", Some(row), 1)])
        .await
        .to_string();
    assert!(
        text.contains("shop.ours.__mysync_deleted") && text.contains("rename the column"),
        "{text}"
    );
    world
        .types
        .set("shop.ours2", &[("__mysync_deleted_at", ColumnKind::Integer)]);
    let text = refused(world, "ours2", vec![change(&table("shop.ours2"), "1", None, 1)])
        .await
        .to_string();
    assert!(text.contains("__mysync_deleted_at"), "{text}");
}

pub async fn an_index_of_somebody_else_is_left_alone(world: &World) {
    // Where the alias should be.
    world
        .must("PUT", "/shop.taken", "{\"settings\":{\"index.number_of_replicas\":0}}")
        .await;
    let text = refused(world, "taken", vec![change(&table("shop.taken"), "1", Some("{}"), 1)])
        .await
        .to_string();
    assert!(text.contains("something else has that name"), "{text}");
    // Where the rows should be.
    world
        .must(
            "PUT",
            "/shop.other~rows",
            "{\"settings\":{\"index.number_of_replicas\":0}}",
        )
        .await;
    let text = refused(world, "other", vec![change(&table("shop.other"), "1", Some("{}"), 1)])
        .await
        .to_string();
    assert!(text.contains("made by somebody else"), "{text}");
    let count = world.must("GET", "/shop.taken,shop.other~rows/_count", "").await;
    assert_eq!(count["count"], 0);

    // A translog that can lose what was acknowledged.
    let mut target = world.target("lazy", "");
    let topic = partition("lazy.shop.lazy");
    target.connect().await.unwrap();
    target.cursors(std::slice::from_ref(&topic)).await.unwrap();
    let row = |version| vec![change(&table("shop.lazy"), "1", Some("{}"), version)];
    target.apply(&[step("lazy.shop.lazy", None, 1, row(1))]).await.unwrap();
    let lazy = "{\"index.translog.durability\":\"async\"}";
    world.must("PUT", "/shop.lazy~rows/_settings", lazy).await;
    let text = refused(world, "lazy2", row(2)).await.to_string();
    assert!(
        text.contains("translog.durability") && text.contains("set it to request"),
        "{text}"
    );
}
