//! What the HBase tests share: a lab, a client that looks into the tables, and steps that are put together by hand.

#![allow(dead_code, reason = "each test uses a part of it")]

use fixtures::Lab;
use hbase_thrift2::thrift;
use hbase_thrift2::thrift::protocol::{TBinaryInputProtocol, TBinaryOutputProtocol};
use hbase_thrift2::{
    TColumnFamilyDescriptor, TGet, THBaseServiceSyncClient, TKeepDeletedCells, TScan, TTHBaseServiceSyncClient,
    TTableDescriptor, TTableName,
};
use mysync::config::{HbaseProtocol, HbaseTransport, HbaseWriter};
use mysync::queue::Partition;
use mysync::target::hbase::HbaseTarget;
use mysync::target::{Cursor, Outcome, RowChange, Step, TableName, Target};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::io::{BufReader, BufWriter};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

pub const PREFIX: &str = "w";
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);
const ROWS_MAX: i32 = 100_000;

/// HBase's code of a delete of a family.
pub const DELETE_FAMILY: i8 = 14;
const PUT: i8 = 4;

/// A row as HBase holds it: column and text.
pub type Row = BTreeMap<String, String>;
pub type Rows = BTreeMap<String, Row>;

pub type Client =
    THBaseServiceSyncClient<TBinaryInputProtocol<BufReader<TcpStream>>, TBinaryOutputProtocol<BufWriter<TcpStream>>>;

pub async fn lab() -> Lab {
    Lab::builder().hbase().start().await.unwrap()
}

pub fn config(lab: &Lab) -> HbaseWriter {
    at(&lab.hbase().unwrap().address())
}

pub fn at(address: &str) -> HbaseWriter {
    HbaseWriter {
        thrift: address.to_owned(),
        transport: HbaseTransport::Buffered,
        protocol: HbaseProtocol::Binary,
        table: "{db}.{table}".into(),
        salt_buckets: 0,
        batch_changes_max: 1_000,
        connections: 3,
        answer_seconds_max: 10,
        frame_bytes_max: 2_000_000,
        listen: None,
    }
}

/// A connected target.
pub async fn target(config: &HbaseWriter) -> HbaseTarget {
    let mut target = HbaseTarget::new(config, PREFIX);
    target.connect().await.unwrap();
    target
}

/// A client of the gateway's default form.
pub fn client(lab: &Lab) -> Client {
    try_client(lab).unwrap()
}

pub fn try_client(lab: &Lab) -> std::io::Result<Client> {
    let stream = TcpStream::connect(lab.hbase().unwrap().address())?;
    stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
    stream.set_nodelay(true)?;
    let reader = BufReader::new(stream.try_clone()?);
    Ok(THBaseServiceSyncClient::new(
        TBinaryInputProtocol::new(reader, true),
        TBinaryOutputProtocol::new(BufWriter::new(stream), true),
    ))
}

pub fn scan() -> TScan {
    TScan {
        start_row: None,
        stop_row: None,
        columns: None,
        caching: None,
        max_versions: Some(1),
        time_range: None,
        filter_string: None,
        batch_size: None,
        attributes: None,
        reversed: None,
        cache_blocks: None,
        col_fam_time_range_map: None,
        read_type: None,
        limit: None,
        consistency: None,
        target_replica_id: None,
        filter_bytes: None,
    }
}

/// All rows of a table but the writer's own; none when there is no table.
pub fn rows(client: &mut Client, table: &str) -> Rows {
    try_rows(client, table).unwrap()
}

pub fn try_rows(client: &mut Client, table: &str) -> thrift::Result<Rows> {
    if !client.table_exists(table_name(table))? {
        return Ok(Rows::new());
    }
    let found = client.get_scanner_results(table.as_bytes().to_vec(), scan(), ROWS_MAX)?;
    let mut rows = Rows::new();
    for row in found {
        let key = text(row.row.unwrap());
        if key.starts_with("%mysync") {
            continue;
        }
        let cells = row.column_values.into_iter();
        rows.insert(
            key,
            cells.map(|cell| (text(cell.qualifier), text(cell.value))).collect(),
        );
    }
    Ok(rows)
}

/// How many delete markers of families, and how many other cells, a table holds, the writer's own row aside.
pub fn markers(client: &mut Client, table: &str) -> (usize, usize) {
    let raw = TScan {
        attributes: Some(BTreeMap::from([(b"_raw_".to_vec(), vec![0xff])])),
        max_versions: Some(i32::MAX),
        ..scan()
    };
    let found = client
        .get_scanner_results(table.as_bytes().to_vec(), raw, ROWS_MAX)
        .unwrap();
    let rows = found
        .iter()
        .filter(|row| !row.row.as_ref().unwrap().starts_with(b"%mysync"));
    let types: Vec<i8> = rows
        .flat_map(|row| &row.column_values)
        .map(|cell| cell.type_.unwrap())
        .collect();
    assert!(
        types.iter().all(|kind| [PUT, DELETE_FAMILY].contains(kind)),
        "{types:?}"
    );
    let markers = types.iter().filter(|kind| **kind == DELETE_FAMILY).count();
    (markers, types.len() - markers)
}

/// One cell as text.
pub fn cell(client: &mut Client, table: &str, row: &str, column: &str) -> Option<String> {
    let found = client.get(table.as_bytes().to_vec(), get(row)).unwrap();
    let mut cells = found.column_values.into_iter();
    cells
        .find(|cell| cell.qualifier == column.as_bytes())
        .map(|cell| text(cell.value))
}

fn get(row: &str) -> TGet {
    TGet {
        row: row.as_bytes().to_vec(),
        columns: None,
        timestamp: None,
        time_range: None,
        max_versions: None,
        filter_string: None,
        attributes: None,
        consistency: None,
        target_replica_id: None,
        cache_blocks: None,
        store_limit: None,
        store_offset: None,
        existence_only: None,
        filter_bytes: None,
    }
}

/// A table with one family that keeps so many versions, and nothing else set.
pub fn descriptor(table: &str, versions: i32) -> TTableDescriptor {
    let family = TColumnFamilyDescriptor {
        name: b"r".to_vec(),
        attributes: None,
        configuration: None,
        block_size: None,
        bloomn_filter_type: None,
        compression_type: None,
        dfs_replication: None,
        data_block_encoding: None,
        keep_deleted_cells: Some(TKeepDeletedCells::FALSE),
        max_versions: Some(versions),
        min_versions: None,
        scope: None,
        time_to_live: None,
        block_cache_enabled: None,
        cache_blooms_on_write: None,
        cache_data_on_write: None,
        cache_indexes_on_write: None,
        compress_tags: None,
        evict_blocks_on_close: None,
        in_memory: None,
    };
    TTableDescriptor::new(
        TTableName::new(None, table.as_bytes().to_vec()),
        vec![family],
        None,
        None,
    )
}

pub fn table_name(table: &str) -> TTableName {
    TTableName::new(None, table.as_bytes().to_vec())
}

pub fn drop_table(client: &mut Client, table: &str) {
    client.disable_table(table_name(table)).unwrap();
    client.delete_table(table_name(table)).unwrap();
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

pub fn partition(table: &str, number: i32) -> Partition {
    Partition {
        topic: format!("{PREFIX}.{table}").into(),
        number,
    }
}

pub fn cursor(offset: i64) -> Cursor {
    Cursor {
        offset,
        version: Some(offset),
    }
}

/// A change of `database.table`; the row as JSON, none when it is gone.
pub fn change(table: &str, key: &str, row: Option<&str>, version: i64) -> RowChange {
    let (database, name) = table.split_once('.').unwrap();
    RowChange {
        table: Arc::new(TableName {
            database: database.into(),
            table: name.into(),
        }),
        key: vec![("id".into(), key.into())],
        row: row.map(|row| RawValue::from_string(row.to_owned()).unwrap()),
        version,
        columns_changed: Some(false),
    }
}

pub fn step(partition: &Partition, before: Option<i64>, after: i64, changes: Vec<RowChange>) -> Step {
    Step {
        partition: partition.clone(),
        cursor_before: before.map(cursor),
        cursor_after: cursor(after),
        changes,
    }
}

/// Where a partition stands, by its offset; as a writer that has just got it asks.
pub async fn stands(target: &mut HbaseTarget, partition: &Partition) -> Option<i64> {
    let cursors = target.cursors(std::slice::from_ref(partition)).await.unwrap();
    cursors[partition].map(|cursor| cursor.offset)
}

/// Applies one step, which must not be refused.
pub async fn apply(target: &mut HbaseTarget, step: Step) {
    for outcome in target.apply(&[step]).await.unwrap() {
        assert!(matches!(outcome, Outcome::Applied), "{outcome:?}");
    }
}

pub fn row(columns: &[(&str, &str)]) -> Row {
    columns
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect()
}
