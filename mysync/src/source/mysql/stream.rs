//! The stream of raw events: each event as the server sends it, header and checksum included; large compressed transactions in
//! pieces, where that is wanted.
//!
//! Silence is an error: the server is asked for a heartbeat every second, so a stream without any event for
//! [`SILENCE_SECONDS_MAX`] is a half-open connection.

use super::endpoint::{ANSWER_SECONDS_MAX, Endpoint};
use super::tls;
use super::wire::{Login, Wire};
use crate::checkpoint::Position;
use crate::config::Tls;
use crate::decode::{EventType, Header};
use crate::error::{Error, Result};
use crate::source::gtid_set::GtidSet;
use crate::tls::connector;
use futures::FutureExt;
use mysql_async::Sid;
use mysql_common::misc::raw::Either;
use mysql_common::packets::ComRegisterSlave;
use mysql_common::packets::binlog_request::BinlogRequest;
use std::time::Duration;

/// Offset of a binlog file's first event, after the file's magic number.
pub(super) const FILE_START: u64 = 4;

const HEARTBEAT_NANOSECONDS: u64 = 1_000_000_000;
const SILENCE_SECONDS_MAX: u64 = 15;

/// Set before the stream. Of two names for one thing the first is known to all versions, the second to 8.0.26 and later.
const SETTINGS: [&str; 2] = ["master", "source"];

/// First byte of a packet that holds an event, and of the one that ends the stream.
const EVENT: u8 = 0x00;
const END: u8 = 0xfe;
/// The end has at most so many bytes.
const END_BYTES_MAX: usize = 8;

/// What may come in pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pieces {
    Never,
    OfCompressedTransactions,
}

impl Pieces {
    fn allow(self, packet: &[u8]) -> bool {
        let header = packet.strip_prefix(&[EVENT]).map(Header::parse);
        let is_compressed = |header: Header| header.event_type == EventType::TRANSACTION_PAYLOAD;
        self == Pieces::OfCompressedTransactions && header.is_some_and(|header| header.is_ok_and(is_compressed))
    }
}

pub(super) struct EventStream {
    wire: Wire,
}

/// Why the stream ended.
pub(super) enum Lost {
    /// It was never opened, or the server ended it.
    Closed,
    /// No event, not even a heartbeat.
    Silent,
    /// A packet that is none of a binlog stream.
    Malformed,
    /// What the connection or the server says.
    Client(mysql_async::Error),
}

impl Lost {
    pub(super) fn into_error(self, server: &Endpoint) -> Error {
        let address = &server.address;
        match self {
            Lost::Closed => Error::transient(format!("the server ended the binlog stream: {address}")),
            Lost::Silent => Error::transient(format!(
                "no event and no heartbeat for {SILENCE_SECONDS_MAX} s: {address}"
            )),
            Lost::Malformed => Error::definite(format!("a malformed packet in the binlog stream: {address}"))
                .hint("verify the server's binlog with: mysqlbinlog --verify-binlog-checksum"),
            Lost::Client(error) => server.sort(error, "the binlog stream broke"),
        }
    }
}

impl EventStream {
    /// Logs in and asks for the stream from `position` on; by its GTID set if the server has GTIDs too.
    pub(super) async fn open(server: &Endpoint, gtid: bool, position: &Position) -> Result<Self> {
        let opening = tokio::time::timeout(Duration::from_secs(ANSWER_SECONDS_MAX), request(server, gtid, position));
        match opening.await {
            Ok(opened) => opened.map(|wire| Self { wire }),
            Err(_) => Err(Error::transient(format!(
                "MySQL did not answer in {ANSWER_SECONDS_MAX} s: {}",
                server.address
            ))),
        }
    }

    /// Waits for the next event, or piece of one. Dropping the future while it waits loses nothing.
    pub(super) async fn fill(&mut self, pieces: Pieces) -> Result<(), Lost> {
        let allow = |packet: &[u8]| pieces.allow(packet);
        let filled = match self.wire.fill(allow).now_or_never() {
            Some(filled) => filled,
            None => {
                let filling = self.wire.fill(allow);
                match tokio::time::timeout(Duration::from_secs(SILENCE_SECONDS_MAX), filling).await {
                    Ok(filled) => filled,
                    Err(_elapsed) => return Err(Lost::Silent),
                }
            }
        };
        filled.map_err(Lost::Client)?;
        match self.wire.packet() {
            _ if self.wire.is_continued() => Ok(()),
            [EVENT, ..] => Ok(()),
            end @ [END, ..] if end.len() <= END_BYTES_MAX => Err(Lost::Closed),
            _ => Err(Lost::Malformed),
        }
    }

    /// The event, or the piece of one, that [`EventStream::fill`] brought.
    pub(super) fn bytes(&self) -> &[u8] {
        match self.wire.is_continued() {
            true => self.wire.packet(),
            false => self.wire.packet().get(1..).unwrap_or_default(),
        }
    }
}

/// Logs in.
pub(super) async fn log_in(server: &Endpoint) -> Result<Wire> {
    let (host, port) = server.host_and_port();
    let login = Login {
        host,
        port,
        user: &server.config.user,
        password: server.config.password.reveal(),
        tls: Tls::used(server.config.tls.as_ref())
            .map(|tls| connector(tls, tls::SECTION))
            .transpose()?,
    };
    let logged_in = Wire::connect(&login).await;
    logged_in.map_err(|error| server.sort(error, "cannot log in to MySQL"))
}

async fn request(server: &Endpoint, gtid: bool, position: &Position) -> Result<Wire> {
    let mut wire = log_in(server).await?;
    let asked = wire.text("SELECT @@GLOBAL.server_uuid").await;
    let uuid = asked.map_err(|error| server.sort(error, "cannot set up the binlog stream"))?;
    require_owner(server, &uuid, position)?;
    for name in SETTINGS {
        let statement = format!(
            "SET @{name}_heartbeat_period = {HEARTBEAT_NANOSECONDS}, @{name}_binlog_checksum = @@GLOBAL.binlog_checksum"
        );
        let set = wire.query(&statement).await;
        set.map_err(|error| server.sort(error, "cannot set up the binlog stream"))?;
    }
    let server_id = server.config.server_id;
    let registered = wire.order(&ComRegisterSlave::new(server_id)).await;
    registered.map_err(|error| server.sort(error, "cannot register for the binlog stream"))?;
    let request = BinlogRequest::new(server_id);
    let request = match (gtid, &position.gtid_set) {
        (true, Some(set)) => request.with_use_gtid(true).with_sids(sids(set)?),
        _ => request
            .with_filename(position.file.as_bytes())
            .with_pos(position.offset),
    };
    let begun = match request.as_cmd() {
        Either::Left(command) => wire.begin(&command).await,
        Either::Right(command) => wire.begin(&command).await,
    };
    begun.map_err(|error| server.sort(error, "cannot open the binlog stream"))?;
    Ok(wire)
}

/// Requires that the server whose uuid this is wrote the position. The name of one can become another's between two connections.
pub(super) fn require_owner(server: &Endpoint, uuid: &str, position: &Position) -> Result<()> {
    if uuid == position.server_uuid {
        return Ok(());
    }
    let what = format!("the server is not the one that the position is of: {}", server.address);
    Err(Error::transient(what).detail(format!("server_uuid {uuid} instead of {}", position.server_uuid)))
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
