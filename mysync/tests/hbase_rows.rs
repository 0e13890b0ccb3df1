//! Rows in a real HBase are what their last changes say, whatever comes again, late or from a writer that was replaced, and
//! through major compactions and restarts; and few markers are needed for it. No Kafka, no MySQL.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "hbase/history.rs"]
mod history;
#[path = "hbase/store.rs"]
mod store;

use fixtures::{HbaseThrift, Lab};
use history::History;
use mysync::config::{HbaseProtocol, HbaseTransport};
use mysync::target::Target;
use store::{Rows, apply, change, client, markers, partition, row, rows, stands, step, target};

const TABLE: &str = "shop.a";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_old_changes_a_row_again() {
    let lab = store::lab().await;
    let config = store::config(&lab);
    let partition = partition(TABLE, 0);
    let history = History::new(TABLE, 20_261_128, 900);
    let (mut writer, mut zombie) = (target(&config).await, target(&config).await);
    assert_eq!(stands(&mut writer, &partition).await, None);
    assert_eq!(stands(&mut zombie, &partition).await, None);

    // Batches of other sizes than those that are replayed later: other changes are folded away.
    let mut before = None;
    for (index, batch) in history.batches(&[1, 40, 7, 120]).into_iter().enumerate() {
        let after = batch.end;
        apply(&mut writer, step(&partition, before, after, batch.changes)).await;
        before = Some(after);
        if index % 4 == 0 {
            assert_eq!(rows(&mut client(&lab), TABLE), history.state(after), "after {after}");
        }
    }
    let expected = history.state(history.len());
    assert!(expected.len() > 5 && expected.len() < history.keys(), "{expected:?}");
    let unchanged = |when: &str| assert_eq!(rows(&mut client(&lab), TABLE), expected, "{when}");
    unchanged("applied");

    // A zombie writes what it still has, piece by piece; its cursor does not move.
    let replay = async |zombie: &mut mysync::target::hbase::HbaseTarget, sizes: &[usize], when: &str| {
        for batch in history.batches(sizes) {
            let error = zombie
                .apply(&[step(&partition, None, batch.end, batch.changes)])
                .await
                .unwrap_err();
            assert!(
                error.is_transient() && error.what.contains("not where it was left"),
                "{error}"
            );
            unchanged(when);
        }
    };
    replay(&mut zombie, &[64], "replayed by a zombie").await;
    let hbase = lab.hbase().unwrap();
    hbase.compact(TABLE).await.unwrap();
    unchanged("compacted");
    replay(&mut zombie, &[33], "replayed after the compaction").await;
    hbase.compact(TABLE).await.unwrap();
    hbase.kill().await.unwrap();
    hbase.start().await.unwrap();
    unchanged("restarted");

    // The whole topic once more, by a writer whose cursor is gone.
    let mut again = target(&config).await;
    assert_eq!(stands(&mut again, &partition).await, Some(history.len()));
    let other = store::partition(TABLE, 1);
    assert_eq!(stands(&mut again, &other).await, None);
    let mut before = None;
    for batch in history.batches(&[90, 200]) {
        let after = batch.end;
        apply(&mut again, step(&other, before, after, batch.changes)).await;
        before = Some(after);
        unchanged("replayed from the start");
    }
    lab.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn markers_are_few_and_keys_are_spread() {
    let lab = store::lab().await;
    let mut config = store::config(&lab);
    let partition = partition(TABLE, 0);
    let mut writer = target(&config).await;
    stands(&mut writer, &partition).await;
    let mut offset = 0;
    let mut put = async |key: &str, row: Option<&str>| {
        let before = (offset > 0).then_some(offset);
        offset += 1;
        apply(
            &mut writer,
            step(&partition, before, offset, vec![change(TABLE, key, row, offset)]),
        )
        .await;
    };
    // Rows with a value in each column need none, however often they are updated.
    for value in 0..20 {
        put("full", Some(&format!(r#"{{"id":1,"note":"{value}"}}"#))).await;
    }
    assert_eq!(markers(&mut client(&lab), TABLE).0, 0);
    // A row that lacks a column gets one, and one more each time that it lacks another one.
    for value in 0..20 {
        put("lacks", Some(&format!(r#"{{"id":"{value}","note":null}}"#))).await;
    }
    assert_eq!(markers(&mut client(&lab), TABLE).0, 1);
    put("lacks", Some(r#"{"id":1,"note":"there"}"#)).await;
    assert_eq!(markers(&mut client(&lab), TABLE).0, 1);
    put("lacks", Some(r#"{"id":1,"note":null}"#)).await;
    assert_eq!(markers(&mut client(&lab), TABLE).0, 2);
    // A column that is dropped is one that rows lack, and so is one that is new.
    put("full", Some(r#"{"id":1}"#)).await;
    put("lacks", Some(r#"{"id":1,"more":null}"#)).await;
    put("gone", None).await;
    assert_eq!(markers(&mut client(&lab), TABLE).0, 4);
    let expected: Rows = [("full", row(&[("id", "1")])), ("lacks", row(&[("id", "1")]))]
        .map(|(key, row)| (key.to_owned(), row))
        .into();
    assert_eq!(rows(&mut client(&lab), TABLE), expected);

    // Spread over buckets, each a region; keys that HBase orders as bytes, and the two that are escaped.
    config.salt_buckets = 4;
    let salted = store::partition("shop.salted", 0);
    let mut writer = target(&config).await;
    stands(&mut writer, &salted).await;
    let keys = ["", "%x", "é", "10", "9", "a:b"];
    let changes = keys
        .iter()
        .zip(1..)
        .map(|(key, version)| change("shop.salted", key, Some(r#"{"v":""}"#), version));
    apply(&mut writer, step(&salted, None, 9, changes.collect())).await;
    let mut client = client(&lab);
    let found = rows(&mut client, "shop.salted");
    let mut unsalted: Vec<&str> = found.keys().map(|key| key.split_once(':').unwrap().1).collect();
    unsalted.sort_unstable();
    assert_eq!(unsalted, ["%25x", "%empty", "10", "9", "a:b", "é"]);
    assert!(found.values().all(|found| *found == row(&[("v", "")])), "{found:?}");
    use hbase_thrift2::TTHBaseServiceSyncClient;
    let regions = client.get_all_region_locations(b"shop.salted".to_vec()).unwrap();
    assert_eq!(regions.len(), 4);
    lab.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_thrift_is_spoken() {
    for (framed, compact) in [(true, false), (false, true), (true, true)] {
        let thrift = HbaseThrift { framed, compact };
        let lab = Lab::builder().hbase_thrift(thrift).start().await.unwrap();
        let mut config = store::config(&lab);
        config.transport = if framed {
            HbaseTransport::Framed
        } else {
            HbaseTransport::Buffered
        };
        config.protocol = if compact {
            HbaseProtocol::Compact
        } else {
            HbaseProtocol::Binary
        };
        let partition = partition(TABLE, 0);
        let mut writer = target(&config).await;
        stands(&mut writer, &partition).await;
        // 3 MB, more than a frame holds by the gateway's defaults; and a text that fills a buffer in part.
        let text = "x".repeat(60_001);
        let changes = (1..51).map(|id| {
            let row = format!(r#"{{"id":{id},"text":"{text}","gone":null}}"#);
            change(TABLE, &id.to_string(), Some(&row), id)
        });
        apply(&mut writer, step(&partition, None, 60, changes.collect())).await;
        assert_eq!(stands(&mut writer, &partition).await, Some(60));
        // It comes again from an older writer, and is read by the target alone: the test's client speaks one form.
        apply(
            &mut writer,
            step(&partition, Some(60), 61, vec![change(TABLE, "1", None, 61)]),
        )
        .await;
        let mut other = target(&config).await;
        assert_eq!(stands(&mut other, &partition).await, Some(61));

        if framed {
            let large = format!(r#"{{"id":1,"text":"{}"}}"#, "x".repeat(3_000_000));
            let step = step(&partition, Some(61), 62, vec![change(TABLE, "2", Some(&large), 62)]);
            let outcomes = writer.apply_one(step).await;
            assert!(outcomes.contains("frame_bytes_max"), "{outcomes}");
        }
        // The wrong form is an error that says what to look at, not a panic or a hang.
        config.protocol = if compact {
            HbaseProtocol::Binary
        } else {
            HbaseProtocol::Compact
        };
        config.answer_seconds_max = 2;
        let mut wrong = mysync::target::hbase::HbaseTarget::new(&config, store::PREFIX);
        let error = wrong.connect().await.unwrap_err();
        assert!(error.hint.unwrap().contains("transport and protocol"));
        lab.down().await.unwrap();
    }
}

/// What a step's refusal says.
trait ApplyOne {
    async fn apply_one(&mut self, step: mysync::target::Step) -> String;
}

impl ApplyOne for mysync::target::hbase::HbaseTarget {
    async fn apply_one(&mut self, step: mysync::target::Step) -> String {
        use mysync::target::Outcome;
        match self.apply(&[step]).await.unwrap().remove(0) {
            Outcome::Applied => "applied".into(),
            Outcome::Refused(error) => error.to_string(),
        }
    }
}
