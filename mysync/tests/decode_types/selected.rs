//! Rows that are read from a table by SELECT give the same records as their events in the binlog, in every form.

use mysync::config::{self, Config};
use mysync::decode::{ColumnSchema, KeyPart, RowChange, TableMap};
use mysync::encode::{EventPlace, Form, Frame, TableEncoder};
use mysync::queue::Batch;
use mysync::source::mysql::MySqlSource;
use mysync::source::{RowsRequest, Source, Wanted};
use mysync::version::Version;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::capture::{Bench, each_rows_event};

const FORMATS: [&str; 3] = ["debezium", "debezium-strict", "protobuf"];

/// Key and value of a record; or why there is none.
type Made = Result<(Vec<u8>, Vec<u8>), String>;

fn config(bench: &Bench, format: &str) -> Config {
    let kafka = "[kafka]\nbrokers = [\"127.0.0.1:1\"]\nprefix = \"p\"\n";
    let source = bench.lab.config_toml("p", &["t.*"]);
    let text = format!("{source}\n{kafka}\n[messages]\nformat = \"{format}\"\n");
    config::parse(&text, "test.toml").unwrap()
}

/// What one call of the encoder makes.
fn make(
    form: &Form,
    map: &TableMap,
    encode: impl FnOnce(&mut TableEncoder, &mut Frame, &mut Batch) -> Result<(), String>,
) -> Made {
    let place = EventPlace {
        timestamp_s: 1_790_000_000,
        commit_us: 0,
        server_id: 1,
        gtid: "",
        file: "binlog.000001",
        file_number: 1,
        begin: 4,
        offset: 100,
        thread_id: None,
        query: None,
        transaction: None,
        read_ns: 1,
        is_refresh: false,
    };
    let (mut frame, mut batch) = (Frame::default(), Batch::default());
    let mut encoder = form.table(map, 0, None).unwrap();
    encoder.frame(&place, &mut frame);
    encode(&mut encoder, &mut frame, &mut batch)?;
    let record = batch.record(0).unwrap();
    Ok((record.key.to_vec(), record.value.unwrap().to_vec()))
}

/// Reads back every row that the events inserted; all of them are in their tables.
pub async fn same_records(bench: &Bench, events: &[Vec<u8>], supplied: &HashMap<String, Vec<ColumnSchema>>) -> usize {
    let configs = FORMATS.map(|format| config(bench, format));
    let forms = configs.each_ref().map(Form::new);
    let mut expected: BTreeMap<String, Vec<[Made; 3]>> = BTreeMap::new();
    each_rows_event(events, supplied, |map, _, changes| {
        // What the binlog of 5.6 does not say.
        let mut map = map.clone();
        map.metadata_is_full = true;
        map.primary_key = Some(vec![KeyPart {
            column: 0,
            prefix_characters: None,
        }]);
        for RowChange { after, .. } in changes {
            let inserted = RowChange { before: None, after };
            let made = forms.each_ref().map(|form| {
                make(form, &map, |encoder, frame, batch| {
                    encoder
                        .encode(&inserted, 0, frame, Version::FIRST, batch)
                        .map_err(|error| error.to_string())
                })
            });
            expected.entry(map.table.clone()).or_default().push(made);
        }
    });
    let mut count = 0;
    for (index, format) in FORMATS.iter().enumerate() {
        let source = MySqlSource::new(&configs[index]);
        for (table, rows) in &expected {
            let mut rows: BTreeMap<Vec<u8>, &Made> = rows
                .iter()
                .map(|made| {
                    // A row that has no record in this form has a key in another.
                    let key = made.iter().find_map(|made| made.as_ref().ok()).unwrap().0.clone();
                    (key, &made[index])
                })
                .collect();
            let request = RowsRequest {
                table: ("t".into(), table.clone()),
                wanted: Wanted::Keys {
                    keys: rows.keys().cloned().collect(),
                    strict: *format == "debezium-strict",
                },
                key: None,
                bytes_max: usize::MAX,
                reader: "p.selected".into(),
                low: "low".into(),
                mark: "high".into(),
            };
            if index == 0 {
                let in_ranges = keys_in_ranges(&source, &request, &forms[0]).await;
                assert!(in_ranges.iter().eq(rows.keys()), "{table} in ranges");
            }
            let answer = source.read(request).await.unwrap();
            let found = answer.rows.unwrap();
            assert!(answer.is_complete);
            assert_eq!(found.len(), rows.len(), "{table} {format}");
            for place in 0..found.len() {
                let row = found.row(place).unwrap();
                let mut key = Vec::new();
                let encoder = forms[index].table(found.map(), 0, None).unwrap();
                encoder.write_key(&row, &mut key).unwrap();
                let made = make(&forms[index], found.map(), |encoder, frame, batch| {
                    encoder
                        .encode_read(&row, 0, frame, Version::FIRST, batch)
                        .map_err(|error| error.to_string())
                });
                let shown = String::from_utf8_lossy(&key).into_owned();
                let expected = rows.remove(&key).unwrap_or_else(|| panic!("{table}: {shown}"));
                match (expected, made) {
                    (Ok(expected), Ok(made)) => {
                        assert_eq!(expected.0, made.0, "{table} {format} {shown}");
                        let made = as_insert(&made.1, *format == "protobuf");
                        let texts = [&expected.1, &made].map(|value| String::from_utf8_lossy(value));
                        assert!(
                            expected.1 == made,
                            "{table} {format} {shown}\n{:.400}\n{:.400}",
                            texts[0],
                            texts[1]
                        );
                    }
                    // What the form cannot say, such as a date of no calendar.
                    (Err(_), Err(_)) => {}
                    (expected, made) => panic!(
                        "{table} {format} {shown}: {:?} {:?}",
                        expected.as_ref().err(),
                        made.err()
                    ),
                }
                count += 1;
            }
        }
    }
    count
}

/// The keys of all rows of a table, read a few rows at a time; none twice.
async fn keys_in_ranges(source: &MySqlSource, request: &RowsRequest, form: &Form) -> BTreeSet<Vec<u8>> {
    let (mut keys, mut after) = (BTreeSet::new(), None);
    loop {
        let wanted = Wanted::Range {
            after: after.take(),
            condition: None,
            rows_max: 3,
        };
        let answer = source
            .read(RowsRequest {
                wanted,
                ..request.clone()
            })
            .await
            .unwrap();
        assert!(answer.refusal.is_none(), "{:?}", answer.refusal);
        let found = answer.rows.unwrap();
        let encoder = form.table(found.map(), 0, None).unwrap();
        for place in 0..found.len() {
            let mut key = Vec::new();
            encoder.write_key(&found.row(place).unwrap(), &mut key).unwrap();
            assert!(keys.insert(key), "a row came twice");
        }
        if answer.is_complete {
            return keys;
        }
        after = answer.last;
    }
}

/// The operation is all that differs.
fn as_insert(value: &[u8], is_compact: bool) -> Vec<u8> {
    let mut value = value.to_vec();
    if is_compact {
        assert_eq!(value[..2], [8, 4]);
        value[1] = 1;
        return value;
    }
    let mark = b"\"op\":\"r\"";
    let at = value.windows(mark.len()).rposition(|window| window == mark).unwrap();
    value[at + mark.len() - 2] = b'c';
    value
}
