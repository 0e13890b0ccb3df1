//! What can be searched, by the columns' types; what is added to a table; and MySQL that is away.

use super::world::{Log, World, catch_up, catch_up_smoothly, change, cursor, partition, step, table};
use mysync::target::Target;
use mysync::target::columns::ColumnKind;

pub async fn rows_are_found_by_their_types(world: &World) {
    world.types.set(
        "shop.typed",
        &[
            ("id", ColumnKind::Integer),
            ("big", ColumnKind::Unsigned64),
            ("price", ColumnKind::Decimal { digits: 12 }),
            ("fine", ColumnKind::Decimal { digits: 30 }),
            ("ratio", ColumnKind::Float),
            ("day", ColumnKind::Date),
            ("at", ColumnKind::DateTime { fraction_digits: 6 }),
            ("stamp", ColumnKind::Timestamp { fraction_digits: 6 }),
            ("span", ColumnKind::Time),
            ("name", ColumnKind::Text),
            ("essay", ColumnKind::LongText),
            ("doc", ColumnKind::Json),
            ("place", ColumnKind::Opaque),
            // Neither can be told from an object of the other.
            ("a", ColumnKind::Text),
            ("a.b", ColumnKind::Text),
        ],
    );
    let mut log = Log::new("typed.shop.typed", "shop.typed");
    let row = concat!(
        r#"{"id":-5,"big":18446744073709551615,"price":"12.50","fine":"123456789012345678901234.500000","ratio":0.1,"#,
        r#""day":"2026-11-25","at":"2026-11-25 10:11:12.123456","stamp":"2026-11-25T10:11:12.123456Z","span":"-838:59:59","#,
        r#""name":"Grüße you","essay":"the quick brown fox","doc":"{\"a\": 1.0}","#,
        r#""place":{"srid":4326,"wkb":"AQEAAAAAAAAAAADwPwAAAAAAAABA"},"a":"x","a.b":"y"}"#
    );
    log.push("1", Some(row));
    // What no type takes, or what the columns held before their types were changed.
    let odd = concat!(
        r#"{"id":1.5,"big":-1,"price":"x","fine":"","ratio":"y","day":"0000-00-00","at":"2026-02-31 00:00:00.000000","#,
        r#""stamp":"0000-00-00T00:00:00.000000Z","span":"","name":7,"essay":"","doc":"null","place":"text","a":null,"a.b":2}"#
    );
    log.push("2", Some(odd));
    log.push("3", Some(&format!("{{\"id\":3,\"name\":{:?}}}", "😀".repeat(9_000))));
    catch_up_smoothly(&mut world.target("typed", ""), &[&log]).await;
    assert_eq!(world.rows("shop.typed").await, log.rows());
    for query in [
        r#"{"term":{"id":-5}}"#,
        r#"{"range":{"id":{"lt":0}}}"#,
        r#"{"term":{"price":12.5}}"#,
        r#"{"range":{"price":{"gt":12.49,"lt":12.51}}}"#,
        r#"{"term":{"fine.exact":"123456789012345678901234.500000"}}"#,
        r#"{"range":{"fine":{"gt":1e23}}}"#,
        r#"{"term":{"ratio":0.1}}"#,
        r#"{"term":{"day":"2026-11-25"}}"#,
        r#"{"range":{"at":{"gte":"2026-11-25 10:11:12","lt":"2026-11-25T10:11:13"}}}"#,
        r#"{"term":{"at.exact":"2026-11-25 10:11:12.123456"}}"#,
        r#"{"range":{"stamp":{"gte":"2026-11-25T10:11:12.123456Z","lt":"2026-11-25T10:11:12.123457Z"}}}"#,
        r#"{"term":{"span":"-838:59:59"}}"#,
        r#"{"term":{"name":"Grüße you"}}"#,
        r#"{"match":{"essay":"fox"}}"#,
        r#"{"bool":{"should":[{"term":{"big":18446744073709551615}},{"term":{"big.exact":"18446744073709551615"}}]}}"#,
    ] {
        assert_eq!(world.found("shop.typed", query).await, ["1"], "{query}");
    }
    // A fraction is not cut off to be found as another number.
    assert_eq!(world.found("shop.typed", r#"{"term":{"id":1}}"#).await.len(), 0);
    // Text that is too long to be found as a whole is kept.
    assert_eq!(
        world
            .found("shop.typed", r#"{"bool":{"must_not":{"exists":{"field":"name"}}}}"#)
            .await,
        ["3"]
    );
}

pub async fn a_column_that_is_added_is_found_too(world: &World) {
    world.types.set("shop.grows", &[("id", ColumnKind::Integer)]);
    let mut log = Log::new("grows.shop.grows", "shop.grows");
    let mut target = world.target("grows", "");
    log.push("1", Some(r#"{"id":1}"#));
    catch_up_smoothly(&mut target, &[&log]).await;

    let columns = [
        ("id", ColumnKind::Integer),
        ("sp ace\"", ColumnKind::Text),
        ("b.c", ColumnKind::Integer),
    ];
    world.types.set("shop.grows", &columns);
    log.push("2", Some(r#"{"id":2,"sp ace\"":"x","b.c":5,"dropped since":"y"}"#));
    log.push("3", Some(r#"{"id":3,"sp ace\"":"z","b.c":6}"#));
    catch_up_smoothly(&mut target, &[&log]).await;
    assert_eq!(world.rows("shop.grows").await, log.rows());
    assert_eq!(world.found("shop.grows", r#"{"term":{"sp ace\"":"x"}}"#).await, ["2"]);
    assert_eq!(world.found("shop.grows", r#"{"term":{"b.c":6}}"#).await, ["3"]);
    let mapping = world.must("GET", "/shop.grows~rows/_mapping", "").await.to_string();
    assert!(!mapping.contains("dropped since"), "{mapping}");
}

pub async fn mysql_that_is_away_is_waited_for_only_by_what_needs_it(world: &World) {
    world.types.set("shop.known", &[("id", ColumnKind::Integer)]);
    let (known, new) = (table("shop.known"), table("shop.new"));
    let topic = "away.shop.known";
    let mut target = world.target("away", "");
    target.connect().await.unwrap();
    target.cursors(&[partition(topic)]).await.unwrap();
    let row = |id: i64| change(&known, &id.to_string(), Some(&format!("{{\"id\":{id}}}")), id);
    target.apply(&[step(topic, None, 1, vec![row(1)])]).await.unwrap();

    world.types.go_away();
    target
        .apply(&[step(topic, Some(cursor(1)), 2, vec![row(2)])])
        .await
        .unwrap();
    let wants = change(&new, "1", Some("{\"id\":1}"), 3);
    let error = target
        .apply(&[step(topic, Some(cursor(2)), 3, vec![wants])])
        .await
        .unwrap_err();
    assert!(
        error.is_transient() && error.to_string().contains("MySQL is away"),
        "{error}"
    );
    assert_eq!(world.ask("GET", "/shop.new~rows", "").await.0, 404);
    // A table that MySQL does not know is no reason to wait: what was dropped since is kept, and not searched.
    world.types.set("shop.known", &[("id", ColumnKind::Integer)]);
    let mut log = Log::new("away.shop.unknown", "shop.unknown");
    log.put("1", "kept");
    let (sent, errors) = catch_up(&mut target, &[&log], 10).await.unwrap();
    assert_eq!((sent, errors.len()), (1, 0));
    assert_eq!(world.rows("shop.unknown").await, log.rows());
}
