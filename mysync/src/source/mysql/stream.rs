//! The stream of raw events.
//!
//! mysql_async takes each event apart into header, body and checksum; the bytes are put together again here as they
//! came, so that the decoder sees the whole event and verifies the checksum itself. The library panics on some malformed
//! packets: such a panic becomes a definite error. Silence is an error too: the server is asked for a heartbeat every
//! second, so a stream without any event for [`SILENCE_SECONDS_MAX`] is a half-open connection.
//!
//! Behind a compressed transaction the library hands out that transaction's events once more, unpacked: exactly as many
//! bytes of them as the event announces, for it fills a buffer of that size. They are counted off here ([`Copies`]); the
//! decoder unpacks the transaction itself, and an event whose unpacking fails ends the stream before the next one is asked for.

use super::{MySqlSource, Server};
use crate::checkpoint::Position;
use crate::error::{Error, Result};
use crate::source::gtid_set::GtidSet;
use futures::{FutureExt, StreamExt};
use mysql_async::prelude::Queryable;
use mysql_async::{BinlogStream, BinlogStreamRequest, Conn, Sid};
use mysql_common::binlog::consts::TransactionPayloadCompressionType;
use mysql_common::binlog::events::{Event as LibraryEvent, TransactionPayloadEvent};
use mysql_common::proto::MySerialize;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

/// Offset of a binlog file's first event, after the file's magic number.
pub(super) const FILE_START: u64 = 4;

const HEARTBEAT_NANOSECONDS: u64 = 1_000_000_000;
const SILENCE_SECONDS_MAX: u64 = 15;
const FORMAT_DESCRIPTION_EVENT: u8 = 15;

const TRANSACTION_PAYLOAD_EVENT: u8 = 40;

/// Memory that is kept from one event to the next, bytes.
const KEPT_BYTES_MAX: usize = 1 << 20;

pub(super) struct EventStream {
    stream: BinlogStream,
    bytes: Vec<u8>,
    copies: Copies,
}

/// Why the stream ended.
pub(super) enum Lost {
    /// It was never opened, or the server ended it.
    Closed,
    /// No event, not even a heartbeat.
    Silent,
    /// The client library panicked.
    Malformed,
    /// What the client library says.
    Client(mysql_async::Error),
}

impl Lost {
    pub(super) fn into_error(self, source: &MySqlSource) -> Error {
        let address = source.address();
        match self {
            Lost::Closed => Error::transient(format!("the server ended the binlog stream: {address}")),
            Lost::Silent => Error::transient(format!(
                "no event and no heartbeat for {SILENCE_SECONDS_MAX} s: {address}"
            )),
            Lost::Malformed => Error::definite(format!("a malformed packet in the binlog stream: {address}"))
                .hint("verify the server's binlog with: mysqlbinlog --verify-binlog-checksum"),
            Lost::Client(error) => source.sort(error, "the binlog stream broke"),
        }
    }
}

impl EventStream {
    pub(super) async fn open(
        source: &MySqlSource,
        mut connection: Conn,
        server: &Server,
        position: &Position,
    ) -> Result<Self> {
        // Two names for one thing: the first is known to all versions, the second to 8.0.26 and later.
        for name in ["master_heartbeat_period", "source_heartbeat_period"] {
            let statement = format!("SET @{name} = {HEARTBEAT_NANOSECONDS}");
            let asked = connection.query_drop(statement).await;
            asked.map_err(|error| source.sort(error, "cannot ask MySQL for heartbeats"))?;
        }
        let request = BinlogStreamRequest::new(source.config.server_id);
        let request = match (server.gtid, &position.gtid_set) {
            (true, Some(set)) => request.with_gtid().with_gtid_set(sids(set)?),
            _ => request
                .with_filename(position.file.as_bytes())
                .with_pos(position.offset),
        };
        let opened = connection.get_binlog_stream(request).await;
        let stream = opened.map_err(|error| source.sort(error, "cannot open the binlog stream"))?;
        Ok(Self {
            stream,
            bytes: Vec::new(),
            copies: Copies::default(),
        })
    }

    /// Waits for the next event. Dropping the future while it waits loses nothing.
    pub(super) async fn fill(&mut self) -> Result<(), Lost> {
        let event = loop {
            let event = self.next().await?;
            if !self.copies.take(&event)? {
                break event;
            }
        };
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
        event.header().serialize(&mut self.bytes);
        self.bytes.extend_from_slice(event.data());
        if event.header().event_type_raw() == FORMAT_DESCRIPTION_EVENT
            && let Ok(Some(algorithm)) = event.footer().get_checksum_alg()
        {
            self.bytes.push(algorithm as u8);
        }
        if let Some(checksum) = event.checksum() {
            self.bytes.extend_from_slice(&checksum);
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<LibraryEvent, Lost> {
        let next = AssertUnwindSafe(self.stream.next()).catch_unwind();
        match tokio::time::timeout(Duration::from_secs(SILENCE_SECONDS_MAX), next).await {
            Ok(Ok(Some(Ok(event)))) => Ok(event),
            Ok(Ok(Some(Err(error)))) => Err(Lost::Client(error)),
            Ok(Ok(None)) => Err(Lost::Closed),
            Ok(Err(_panic)) => Err(Lost::Malformed),
            Err(_elapsed) => Err(Lost::Silent),
        }
    }

    /// The event that [`EventStream::fill`] brought.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Tells the events that the library unpacked from a compressed transaction from those that the server sent.
#[derive(Debug, Default)]
struct Copies {
    /// Bytes of them that are still to come.
    bytes_left: u64,
}

impl Copies {
    /// Whether the event is such a copy.
    fn take(&mut self, event: &LibraryEvent) -> Result<bool, Lost> {
        let header = event.header();
        if self.bytes_left == 0 {
            if header.event_type_raw() == TRANSACTION_PAYLOAD_EVENT {
                self.bytes_left = copied_bytes(event);
            }
            return Ok(false);
        }
        let left = self.bytes_left.checked_sub(header.event_size().into());
        self.bytes_left = left.ok_or(Lost::Malformed)?;
        Ok(true)
    }
}

/// Bytes of the events that the library unpacks from this one: by its own reading, and none if it cannot read it.
fn copied_bytes(event: &LibraryEvent) -> u64 {
    match event.read_event::<TransactionPayloadEvent<'_>>() {
        Ok(payload) if payload.algorithm() == TransactionPayloadCompressionType::NONE => {
            payload.payload_raw().len() as u64
        }
        Ok(payload) => payload.uncompressed_size(),
        Err(_) => 0,
    }
}

fn sids(set: &str) -> Result<Vec<Sid<'static>>> {
    let set: GtidSet = set.parse()?;
    let sids = set.parts().map(|part| part.parse::<Sid<'static>>());
    sids.collect::<Result<_, _>>().map_err(|error| {
        Error::definite(format!("the client library cannot send the GTID set: {set}"))
            .detail(error)
            .hint("this is a defect: please report it")
    })
}
