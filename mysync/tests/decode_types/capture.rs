//! A server, its raw binlog events, and the rows that the decoder finds in them.

use std::collections::HashMap;
use std::time::Duration;

use fixtures::{Lab, Mysql};
use futures::StreamExt;
use mysql_async::prelude::Queryable;
use mysql_async::{BinlogStreamRequest, Conn, Row as SqlRow};
use mysql_common::proto::MySerialize;
use mysync::decode::{Body, ColumnSchema, Event, Format, RowChange, RowsEvent, TableMap};

/// No event is waited for longer than this.
const EVENT_DEADLINE: Duration = Duration::from_secs(30);
const FORMAT_DESCRIPTION_EVENT: u8 = 15;
const TRANSACTION_PAYLOAD_EVENT: u8 = 40;

/// A lab with one MySQL server, and a connection whose session lets every value in and prints times in UTC.
pub struct Bench {
    pub lab: Lab,
    pub conn: Conn,
}

impl Bench {
    pub async fn start(version: &str) -> Bench {
        Bench::start_with(version, &[]).await
    }

    pub async fn start_with(version: &str, options: &[&str]) -> Bench {
        let builder = Lab::builder().name("decode").mysql(version);
        // Nobody kills this server: thousands of small transactions need not be on its disk.
        let builder = builder
            .mysql_option("sync-binlog=0")
            .mysql_option("innodb-flush-log-at-trx-commit=0");
        let builder = options
            .iter()
            .fold(builder, |builder, option| builder.mysql_option(*option));
        let lab = builder.start().await.expect("the lab starts");
        let mut conn = lab.primary().expect("a primary").connect().await.expect("a connection");
        for statement in [
            "SET NAMES utf8mb4",
            "SET sql_mode = ''",
            "SET time_zone = '+00:00'",
            "CREATE DATABASE t",
            "USE t",
        ] {
            conn.query_drop(statement).await.expect(statement);
        }
        Bench { lab, conn }
    }

    pub async fn run(&mut self, statement: &str) {
        if let Err(error) = self.conn.query_drop(statement).await {
            panic!("{statement:.200}: {error}");
        }
    }

    /// The rows of a query as text.
    pub async fn rows(&mut self, statement: &str) -> Vec<Vec<Option<String>>> {
        let rows: Vec<SqlRow> = match self.conn.query(statement).await {
            Ok(rows) => rows,
            Err(error) => panic!("{statement:.200}: {error}"),
        };
        let text = |value| mysql_async::from_value::<Option<String>>(value);
        rows.into_iter()
            .map(|row| row.unwrap().into_iter().map(text).collect())
            .collect()
    }

    fn server(&self) -> &Mysql {
        self.lab.primary().expect("a primary")
    }

    /// All events of the server's binlog file, from its start to now, as bytes.
    pub async fn events(&mut self) -> Vec<Vec<u8>> {
        let until = self.server().position().await.expect("a position");
        let conn = self.server().connect().await.expect("a connection");
        let request = BinlogStreamRequest::new(4271)
            .with_filename(until.file.as_bytes())
            .with_pos(4_u64);
        let mut stream = conn.get_binlog_stream(request).await.expect("a stream");
        let mut events = Vec::new();
        let mut in_payload = false;
        loop {
            let next = tokio::time::timeout(EVENT_DEADLINE, stream.next()).await;
            let event = next
                .expect("an event before the deadline")
                .expect("no end")
                .expect("an event");
            // The client unpacks compressed transactions as well, and hands out their events, which have no position.
            in_payload = in_payload && event.header().log_pos() == 0;
            if in_payload {
                continue;
            }
            in_payload = event.header().event_type_raw() == TRANSACTION_PAYLOAD_EVENT;
            let mut bytes = Vec::new();
            event.header().serialize(&mut bytes);
            bytes.extend_from_slice(event.data());
            if event.header().event_type_raw() == FORMAT_DESCRIPTION_EVENT
                && let Ok(Some(algorithm)) = event.footer().get_checksum_alg()
            {
                bytes.push(algorithm as u8);
            }
            if let Some(checksum) = event.checksum() {
                bytes.extend_from_slice(&checksum);
            }
            let end = u64::from(event.header().log_pos());
            events.push(bytes);
            if end >= until.offset {
                return events;
            }
        }
    }

    /// What the server's schema says of each table, where the binlog does not.
    pub async fn schemas(&mut self) -> HashMap<String, Vec<ColumnSchema>> {
        let query = "SELECT c.TABLE_NAME, c.COLUMN_NAME, c.COLUMN_TYPE, l.ID, c.DATA_TYPE FROM information_schema.COLUMNS c \
             LEFT JOIN information_schema.COLLATIONS l ON l.COLLATION_NAME = c.COLLATION_NAME \
             WHERE c.TABLE_SCHEMA = 't' ORDER BY c.TABLE_NAME, c.ORDINAL_POSITION";
        let mut schemas: HashMap<String, Vec<ColumnSchema>> = HashMap::new();
        for row in self.rows(query).await {
            let [Some(table), Some(name), Some(column_type), collation, Some(data_type)] = &row[..] else {
                panic!("{row:?}")
            };
            let has_members = matches!(data_type.as_str(), "enum" | "set");
            schemas.entry(table.clone()).or_default().push(ColumnSchema {
                name: name.clone(),
                unsigned: column_type.contains("unsigned") || data_type == "year",
                collation: Some(collation.as_ref().map_or(63, |id| id.parse().unwrap())),
                members: if has_members { members(column_type) } else { Vec::new() },
                geometry_type: GEOMETRIES
                    .iter()
                    .position(|name| name == data_type)
                    .map(|number| number as u8),
            });
        }
        schemas
    }
}

/// By their numbers.
const GEOMETRIES: [&str; 8] = [
    "geometry",
    "point",
    "linestring",
    "polygon",
    "multipoint",
    "multilinestring",
    "multipolygon",
    "geometrycollection",
];

/// `enum('a','it''s')` -> a, it's
fn members(column_type: &str) -> Vec<String> {
    let inside = &column_type[column_type.find('(').unwrap() + 2..column_type.len() - 2];
    inside.split("','").map(|member| member.replace("''", "'")).collect()
}

/// Calls `visit` with each rows event's table map, the event and its rows, those of compressed transactions too.
pub fn each_rows_event(
    events: &[Vec<u8>],
    schemas: &HashMap<String, Vec<ColumnSchema>>,
    mut visit: impl FnMut(&TableMap, &RowsEvent<'_>, Vec<RowChange<'_>>),
) {
    let mut format = Format::default();
    let mut maps = HashMap::new();
    let mut handle = |event: Event<'_>| match event.body {
        Body::TableMap(event) if event.database == "t" => {
            let mut map = event.table_map().unwrap();
            if let Some(schema) = schemas.get(&map.table) {
                map.supply(schema).unwrap();
            }
            assert!(event.is_source_of(&map));
            maps.insert(event.table_id, map);
            true
        }
        Body::Rows(event) => {
            if let Some(map) = maps.get(&event.table_id) {
                let changes = event.rows(map).unwrap().map(|change| change.unwrap()).collect();
                visit(map, &event, changes);
            }
            true
        }
        Body::TransactionPayload(_) => false,
        Body::Unknown { .. } => panic!("unknown event {:?}", event.header),
        _ => true,
    };
    for bytes in events {
        let event = Event::parse(bytes, &mut format).unwrap();
        if let Body::TransactionPayload(payload) = &event.body {
            let mut inner = payload.events().unwrap();
            while let Some(event) = inner.next_event().unwrap() {
                assert!(handle(event));
            }
            continue;
        }
        handle(event);
    }
}
