//! The floors: what the stream itself costs, what decoding adds, and what the messages add, without any sink. Run in a
//! process of its own, so that it can be measured as the others are.

use crate::error::{Doing, Error, Result};
use clap::ValueEnum;
use mysync::config::{self, Config};
use mysync::decode::{Body, Event, Format, RowsEvent, TableMap, Value};
use mysync::source::Source;
use mysync::source::mysql::MySqlSource;
use serde_json::json;
use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

/// How far a floor goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Floor {
    /// Take the events from the server.
    Raw,
    /// Look at every value, too.
    Decode,
    /// Write every row as JSON, too.
    Json,
}

impl Floor {
    pub(super) fn name(self) -> &'static str {
        match self {
            Floor::Raw => "raw",
            Floor::Decode => "decode",
            Floor::Json => "json",
        }
    }
}

/// Reads from the oldest event to the place that was the newest at the start; gives what the process is to say.
pub(super) async fn run(floor: Floor, file: &Path) -> Result<serde_json::Value> {
    let config: Config = config::load(file)?;
    let mut source = MySqlSource::new(&config);
    let end = source.newest().await?;
    let begin = source.oldest().await?;
    source.start(&begin).await?;
    let begun = Instant::now();
    let mut work = Work {
        floor,
        format: Format::default(),
        tables: HashMap::new(),
        json: Vec::new(),
        rows: 0,
        values: 0,
    };
    let (mut bytes, mut at) = (0, (String::new(), 0));
    while at < (end.file.clone(), end.offset) {
        let event = source.next().await?;
        bytes += event.len() as u64;
        work.take(event, &mut at)?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    Ok(json!({ "changes": work.rows, "binlog_bytes": bytes, "seconds": seconds, "values": work.values }))
}

struct Work {
    floor: Floor,
    format: Format,
    tables: HashMap<u64, TableMap>,
    json: Vec<u8>,
    rows: u64,
    values: u64,
}

impl Work {
    /// Takes an event; `at` follows the file and the offset.
    fn take(&mut self, bytes: &[u8], at: &mut (String, u64)) -> Result<()> {
        let refuse = |error: mysync::decode::Error| Error::definite(error.to_string());
        if self.floor == Floor::Raw {
            return follow(bytes, at);
        }
        let event = Event::parse(bytes, &mut self.format).map_err(refuse)?;
        if event.header.next_position != 0 && !event.header.is_artificial() {
            at.1 = event.header.next_position.into();
        }
        match event.body {
            Body::Rotate { position, file } => *at = (file.to_owned(), position),
            Body::TableMap(introduced) => {
                let known = self.tables.get(&introduced.table_id);
                if !known.is_some_and(|map| introduced.is_source_of(map)) {
                    let map = introduced.table_map().map_err(refuse)?;
                    self.tables.insert(introduced.table_id, map);
                }
            }
            Body::Rows(rows) => self.rows(&rows).map_err(refuse)?,
            _ => {}
        }
        Ok(())
    }

    fn rows(&mut self, rows: &RowsEvent<'_>) -> Result<(), mysync::decode::Error> {
        let Some(map) = self.tables.get(&rows.table_id) else {
            return Ok(());
        };
        for change in rows.rows(map)? {
            let change = change?;
            self.rows += 1;
            for row in [change.before, change.after].into_iter().flatten() {
                if self.floor == Floor::Json {
                    self.json.clear();
                    row.write_json(&mut self.json)?;
                    self.values += row.table_map().columns.len() as u64;
                    continue;
                }
                for value in row.values() {
                    // Counted, so that no value can be left out by the compiler.
                    self.values += u64::from(!matches!(value?.2, Value::Null));
                }
            }
        }
        Ok(())
    }
}

/// The file and the offset by the header alone: type at 4, the next offset at 13, a rotation's body from 19.
fn follow(bytes: &[u8], at: &mut (String, u64)) -> Result<()> {
    const ROTATE: u8 = 4;
    let header = bytes
        .first_chunk::<19>()
        .ok_or_else(|| Error::definite("an event without header"))?;
    let next = u32::from_le_bytes([header[13], header[14], header[15], header[16]]);
    if header[4] == ROTATE && bytes.len() > 27 {
        // A checksum of four bytes may follow; a file's name ends in digits.
        let name = String::from_utf8_lossy(&bytes[27..]);
        let end = name.rfind(|c: char| c.is_ascii_digit()).map_or(0, |index| index + 1);
        let file = name.get(..end).unwrap_or_default().to_owned();
        let offset = bytes[19..27]
            .try_into()
            .map(u64::from_le_bytes)
            .doing(|| "a rotation is cut".into())?;
        *at = (file, offset);
    } else if next != 0 {
        at.1 = u64::from(next);
    }
    Ok(())
}
