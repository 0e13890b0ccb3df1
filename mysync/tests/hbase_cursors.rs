//! Cursors in a real HBase: a writer that was replaced moves none, a refused row stops its own step only, and tables that are
//! dropped, emptied or restored from a copy are found out, whichever of HBase's tables that happens to. No Kafka, no MySQL.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "hbase/store.rs"]
mod store;

use hbase_thrift2::TTHBaseServiceSyncClient;
use mysync::target::hbase::HbaseTarget;
use mysync::target::{Outcome, Target};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use store::{apply, cell, change, client, cursor, drop_table, partition, rows, stands, step, table_name, target};

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_row_stops_its_step_and_nothing_else() {
    let lab = store::lab().await;
    let config = store::config(&lab);
    let mut client = client(&lab);
    client
        .create_table(store::descriptor("shop.versions", 3), Vec::new())
        .unwrap();
    let (good, bad) = (partition("shop.good", 0), partition("shop.bad", 0));
    let mut writer = target(&config).await;
    let partitions = [good.clone(), bad.clone()];
    writer.cursors(&partitions).await.unwrap();
    let row = r#"{"id":1}"#;
    let long = "k".repeat(40_000);
    let large = format!(r#"{{"id":1,"text":"{}"}}"#, "x".repeat(11_000_000));
    let far = "ü".repeat(64);
    let mut at = 0;
    for (what, table, key, object) in [
        ("a row's key is too long for HBase", "shop.bad", long.as_str(), row),
        ("Internal error processing putMultiple", "shop.bad", "large", &large),
        ("a row has no column with a value", "shop.bad", "none", r#"{"id":null}"#),
        ("not a JSON object of columns", "shop.bad", "array", "[1]"),
        (
            "settings with which deleted rows can come back",
            "shop.versions",
            "1",
            row,
        ),
        ("HBase can have no table of the name", &format!("shop.{far}"), "1", row),
    ] {
        let neighbours = |version| (0..30).map(move |id| change("shop.good", &id.to_string(), Some(row), version));
        let steps = [
            step(&good, (at > 0).then_some(at), at + 1, neighbours(at + 1).collect()),
            step(
                &bad,
                None,
                9,
                vec![
                    change("shop.bad", "before", Some(row), 1),
                    change(table, key, Some(object), 2),
                ],
            ),
        ];
        let outcomes = writer.apply(&steps).await.unwrap();
        let [Outcome::Applied, Outcome::Refused(error)] = outcomes.as_slice() else {
            panic!("{what}: {outcomes:?}")
        };
        let text = error.to_string();
        assert!(
            !error.is_transient() && text.contains(what) && error.hint.is_some(),
            "{text}"
        );
        at += 1;
    }
    assert_eq!(stands(&mut writer, &good).await, Some(at));
    assert_eq!(stands(&mut writer, &bad).await, None);
    assert_eq!(rows(&mut client, "shop.good").len(), 30);
    assert_eq!(rows(&mut client, "shop.bad").keys().collect::<Vec<_>>(), ["before"]);

    // Without what is refused the partition goes on.
    apply(
        &mut writer,
        step(&bad, None, 1, vec![change("shop.bad", "1", Some(row), 1)]),
    )
    .await;
    lab.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_was_replaced_moves_no_cursor() {
    let lab = store::lab().await;
    let config = store::config(&lab);
    let partition = partition("shop.a", 0);
    let (mut zombie, mut successor) = (target(&config).await, target(&config).await);
    let put = |text: &str, version| vec![change("shop.a", "1", Some(&format!(r#"{{"v":"{text}"}}"#)), version)];
    assert_eq!(stands(&mut zombie, &partition).await, None);
    apply(&mut zombie, step(&partition, None, 5, put("a", 1))).await;
    assert_eq!(stands(&mut successor, &partition).await, Some(5));
    apply(&mut successor, step(&partition, Some(5), 9, put("c", 3))).await;
    for before in [Some(5), None, Some(9)] {
        let error = zombie
            .apply(&[step(&partition, before, 7, put("b", 2))])
            .await
            .unwrap_err();
        assert!(error.is_transient(), "{error}");
    }
    assert_eq!(cell(&mut client(&lab), "shop.a", "1", "v").unwrap(), "c");
    let mut third = target(&config).await;
    assert_eq!(stands(&mut third, &partition).await, Some(9));
    // A step without changes moves the cursor, too: of a partition that holds marks only.
    apply(&mut third, step(&partition, Some(9), 11, Vec::new())).await;
    let cursors = third.cursors(std::slice::from_ref(&partition)).await.unwrap();
    assert_eq!(cursors[&partition], Some(cursor(11)));
    lab.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_are_not_what_the_cursors_speak_of_are_found_out() {
    let lab = store::lab().await;
    let hbase = lab.hbase().unwrap();
    let config = store::config(&lab);
    let mut client = client(&lab);
    // One partition with changes of two tables, and one with changes of one of them.
    let (both, one) = (partition("both", 0), partition("shop.a", 1));
    let row = |version: i64| format!(r#"{{"v":{version}}}"#);
    let at = |table: &str, version: i64| change(table, &version.to_string(), Some(&row(version)), version);
    let mut writer = target(&config).await;
    writer.cursors(&[both.clone(), one.clone()]).await.unwrap();
    apply(
        &mut writer,
        step(&both, None, 3, vec![at("shop.a", 1), at("shop.b", 2)]),
    )
    .await;
    apply(&mut writer, step(&one, None, 2, vec![at("shop.a", 3)])).await;

    // An older copy of one of them, restored behind the writer's back: at its next change, and at a start.
    hbase.snapshot("shop.a", "older").await.unwrap();
    apply(&mut writer, step(&both, Some(3), 4, vec![at("shop.a", 4)])).await;
    apply(&mut writer, step(&both, Some(4), 6, vec![at("shop.b", 5)])).await;
    hbase.restore("shop.a", "older").await.unwrap();
    let error = until_transient(&mut writer, || step(&both, Some(6), 7, vec![at("shop.a", 6)])).await;
    assert!(error.contains("is not the one any more"), "{error}");
    let mut writer = target(&config).await;
    assert_eq!(stands(&mut writer, &both).await, Some(3), "where the copy stands");
    assert_eq!(stands(&mut writer, &one).await, Some(2), "nothing of it was lost");
    apply(
        &mut writer,
        step(
            &both,
            Some(3),
            7,
            vec![at("shop.a", 4), at("shop.b", 5), at("shop.a", 6)],
        ),
    )
    .await;
    assert_eq!(
        rows(&mut client, "shop.a").keys().collect::<Vec<_>>(),
        ["1", "3", "4", "6"]
    );
    assert_eq!(stands(&mut writer, &both).await, Some(7));

    // Emptied; its partitions begin anew.
    client.disable_table(table_name("shop.a")).unwrap();
    client.truncate_table(table_name("shop.a"), true).unwrap();
    let error = until_transient(&mut writer, || step(&both, Some(7), 8, vec![at("shop.a", 7)])).await;
    assert!(error.contains("is not the one any more"), "{error}");
    let mut writer = target(&config).await;
    assert_eq!(stands(&mut writer, &both).await, None);
    assert_eq!(stands(&mut writer, &one).await, None);
    apply(&mut writer, step(&one, None, 2, vec![at("shop.a", 3)])).await;
    // The other table is still named by a cursor whose partition has not come to it again.
    apply(&mut writer, step(&both, None, 2, vec![at("shop.b", 2)])).await;
    let mut writer = target(&config).await;
    assert_eq!(stands(&mut writer, &both).await, Some(2));
    assert_eq!(stands(&mut writer, &one).await, Some(2));

    // Dropped; and the cursors' own table.
    drop_table(&mut client, "shop.b");
    assert_eq!(stands(&mut writer, &both).await, None);
    assert_eq!(stands(&mut writer, &one).await, Some(2));
    drop_table(&mut client, "mysync-cursors");
    let mut writer = target(&config).await;
    assert_eq!(stands(&mut writer, &one).await, None);
    apply(&mut writer, step(&one, None, 2, vec![at("shop.a", 3)])).await;

    // Of a column that only another writer's rows have had, a marker hides what is left.
    let mut second = target(&config).await;
    stands(&mut second, &one).await;
    let wide = vec![change("shop.a", "3", Some(r#"{"v":3,"more":1}"#), 10)];
    apply(&mut second, step(&one, Some(2), 3, wide)).await;
    assert_eq!(stands(&mut writer, &one).await, Some(3));
    apply(
        &mut writer,
        step(&one, Some(3), 4, vec![change("shop.a", "3", Some(r#"{"v":3}"#), 11)]),
    )
    .await;
    assert_eq!(
        rows(&mut client, "shop.a")["3"],
        BTreeMap::from([("v".to_owned(), "3".to_owned())])
    );
    lab.down().await.unwrap();
}

/// Tries a step until its error is transient: right after a table was enabled again, its first request can take a moment.
async fn until_transient(writer: &mut HbaseTarget, step: impl Fn() -> mysync::target::Step) -> String {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match writer.apply(&[step()]).await {
            Err(error) if error.is_transient() && error.what.contains("is not the one") => return error.to_string(),
            Err(error) if error.is_transient() && Instant::now() < deadline => {}
            other => panic!("{other:?}"),
        }
    }
}
