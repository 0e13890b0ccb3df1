//! What each type of event says.

use super::cursor::Cursor;
use super::error::Error;
use super::event::{CHECKSUM_BYTES, Checksum, EventType, Format, HEADER_BYTES, Header};
use super::gtid::{Gtid, PreviousGtids};
use super::payload::Payload;
use super::rows::RowsEvent;
use super::table_map::TableMapEvent;

/// The content of an event, by type.
#[derive(Debug, Clone)]
pub enum Body<'a> {
    /// The first event of every file: version, checksum, sizes.
    FormatDescription(FormatDescription<'a>),
    /// The file goes on in another one. Also artificial, at the start of a stream.
    Rotate {
        /// Position in that file of its first event to come.
        position: u64,
        /// Name of that file, without directory.
        file: &'a str,
    },
    /// A transaction begins; it has this GTID, or none (ANONYMOUS_GTID).
    Gtid(Gtid<'a>),
    /// A statement: BEGIN, COMMIT, ROLLBACK, SAVEPOINT, XA ..., DDL; or DML where the format is not ROW.
    Query(Query<'a>),
    /// A transaction of InnoDB commits.
    Xid(u64),
    /// An XA transaction is prepared (or, with `one_phase`, commits): it ends here, and its decision comes in a Query.
    XaPrepare(XaPrepare<'a>),
    /// Number and shape of the table whose rows follow.
    TableMap(TableMapEvent<'a>),
    /// Rows written, updated or deleted.
    Rows(RowsEvent<'a>),
    /// Partial JSON updates (binlog_row_value_options=PARTIAL_JSON): the rows hold differences, which nothing here can
    /// apply. The reader must stop.
    PartialUpdateRows {
        /// Number of the table, as in its table map.
        table_id: u64,
    },
    /// The statement whose rows follow, a comment (binlog_rows_query_log_events). In the client's character set.
    RowsQuery(&'a [u8]),
    /// Nothing happened for a while.
    Heartbeat {
        /// The file that the server stands in.
        file: &'a str,
        /// Its position: absent in version 1, whose header holds it modulo 2^32.
        position: Option<u64>,
    },
    /// GTIDs of all earlier files.
    PreviousGtids(PreviousGtids<'a>),
    /// A whole transaction's events, compressed (binlog_transaction_compression).
    TransactionPayload(Payload<'a>),
    /// The server lost events (LOST_EVENTS): the binlog has a gap. The reader must stop.
    Incident {
        /// 1 for lost events.
        number: u16,
        /// What the server says about it.
        message: &'a [u8],
    },
    /// Part of a statement that is logged as text (INTVAR, RAND, USER_VAR, LOAD DATA): the format is not ROW.
    StatementPart,
    /// What group replication notes for itself (TRANSACTION_CONTEXT, VIEW_CHANGE): no rows.
    GroupReplication,
    /// The server shut down in good order.
    Stop,
    /// Anything else. Unless `ignorable`, skipping it may lose changes: the reader must stop.
    Unknown {
        /// The server says that a reader may skip it.
        ignorable: bool,
    },
}

/// The first event of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormatDescription<'a> {
    /// The server's version, such as `8.0.33-log`.
    pub server_version: &'a str,
    /// Whether the file's events end with a CRC32.
    pub checksum: Checksum,
    /// When the server wrote it, Unix seconds; 0 unless it is the first file since the server's start.
    pub created_seconds: u32,
    post_header_bytes: &'a [u8],
}

impl<'a> FormatDescription<'a> {
    const VERSION_BYTES: usize = 50;
    const FIXED_BYTES: usize = 2 + Self::VERSION_BYTES + 4 + 1;

    /// A format description says itself whether the file has checksums, in the byte before the place of its own.
    pub(crate) fn checksum_of(bytes: &[u8]) -> Result<Checksum, Error> {
        let fixed = HEADER_BYTES + Self::FIXED_BYTES;
        let place = bytes
            .len()
            .checked_sub(CHECKSUM_BYTES + 1)
            .filter(|place| *place >= fixed);
        let Some(place) = place else {
            return Err(
                Error::truncated("format description", fixed + CHECKSUM_BYTES + 1, bytes.len()).at(bytes.len()),
            );
        };
        match bytes[place] {
            0 => Ok(Checksum::Off),
            1 => Ok(Checksum::Crc32),
            other => {
                let detail = format!("unknown checksum algorithm {other}; servers before 5.6 are not supported");
                Err(Error::malformed("format description", detail).at(place))
            }
        }
    }

    fn parse(mut cursor: Cursor<'a>) -> Result<FormatDescription<'a>, Error> {
        let what = "format description";
        let offset = cursor.offset();
        let version = cursor.u16(what)?;
        if version != 4 {
            let detail = format!("binlog version {version}, only 4 (MySQL 5.0 and later) can be read");
            return Err(Error::malformed(what, detail).at(offset));
        }
        let version_offset = cursor.offset();
        let padded = cursor.take(Self::VERSION_BYTES, what)?;
        let end = padded.iter().position(|byte| *byte == 0).unwrap_or(padded.len());
        let server_version = Cursor::new(&padded[..end], version_offset).text(end, what)?;
        let created_seconds = cursor.u32(what)?;
        let header_bytes = cursor.u8(what)?;
        if usize::from(header_bytes) != HEADER_BYTES {
            return Err(
                Error::malformed(what, format!("event headers of {header_bytes} bytes")).at(cursor.offset() - 1)
            );
        }
        let rest = cursor.rest();
        let Some((algorithm, post_header_bytes)) = rest.split_last() else {
            return Err(Error::truncated(what, 1, 0).at(cursor.offset()));
        };
        let checksum = if *algorithm == 1 {
            Checksum::Crc32
        } else {
            Checksum::Off
        };
        Ok(FormatDescription {
            server_version,
            checksum,
            created_seconds,
            post_header_bytes,
        })
    }

    /// How to parse the events that follow.
    pub fn format(&self) -> Format {
        Format {
            checksum: self.checksum,
            post_header_bytes: self.post_header_bytes.to_vec(),
        }
    }
}

/// A statement as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<'a> {
    /// Connection that ran it, which also names its temporary tables.
    pub thread_id: u32,
    /// The error that the statement ended with on the server, 0 for none.
    pub error_code: u16,
    /// Default database; empty for none.
    pub schema: &'a str,
    /// The session's sql_mode, whose bits decide how `text` reads.
    pub sql_mode: Option<u64>,
    /// Collation id of the client, which names the character set of `text`.
    pub client_collation: Option<u16>,
    /// The statement, in the client's character set.
    pub text: &'a [u8],
}

impl<'a> Query<'a> {
    fn parse(mut cursor: Cursor<'a>) -> Result<Query<'a>, Error> {
        let what = "query event";
        let thread_id = cursor.u32(what)?;
        let _execution_seconds = cursor.u32(what)?;
        let schema_length = usize::from(cursor.u8(what)?);
        let error_code = cursor.u16(what)?;
        let status_length = usize::from(cursor.u16(what)?);
        let status_offset = cursor.offset();
        let status = Cursor::new(cursor.take(status_length, what)?, status_offset);
        let schema = cursor.text(schema_length, what)?;
        let _terminator = cursor.u8(what)?;
        let (sql_mode, client_collation) = session(status)?;
        Ok(Query {
            thread_id,
            error_code,
            schema,
            sql_mode,
            client_collation,
            text: cursor.rest(),
        })
    }

    /// The statement, if it is text in the client's character set.
    pub fn decoded_text(&self) -> Option<std::borrow::Cow<'a, str>> {
        let charset = self.client_collation.map(super::charset::Charset::of_collation);
        match charset {
            Some(charset) if charset.name() != "binary" => charset.decode_to_string(self.text).ok().map(Into::into),
            _ => std::str::from_utf8(self.text).ok().map(Into::into),
        }
    }

    /// The statement for reading its first words or for a message: what is no UTF-8 is replaced.
    pub fn text_lossy(&self) -> std::borrow::Cow<'a, str> {
        String::from_utf8_lossy(self.text)
    }
}

/// Looks for Q_SQL_MODE_CODE and Q_CHARSET_CODE among the status variables. Each has a code and a length of its own, so the
/// search ends at the first one whose length is unknown here; those that precede the character set have been fixed since 5.0.
fn session(mut status: Cursor<'_>) -> Result<(Option<u64>, Option<u16>), Error> {
    let what = "query event's status variables";
    let mut sql_mode = None;
    while !status.is_empty() {
        match status.u8(what)? {
            // Flags2, auto increment.
            0 | 3 => drop(status.take(4, what)?),
            1 => sql_mode = Some(status.u64(what)?),
            // Catalog, with a final zero.
            2 => {
                let length = usize::from(status.u8(what)?);
                status.take(length + 1, what)?;
            }
            4 => return Ok((sql_mode, Some(status.u16(what)?))),
            // Time zone, catalog.
            5 | 6 => {
                let length = usize::from(status.u8(what)?);
                status.take(length, what)?;
            }
            _ => break,
        }
    }
    Ok((sql_mode, None))
}

/// The end of the first phase of an XA transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XaPrepare<'a> {
    /// XA COMMIT ... ONE PHASE: the transaction commits here.
    pub one_phase: bool,
    /// Format number of the XID.
    pub format_id: u32,
    /// Global part of the XID.
    pub global: &'a [u8],
    /// Branch part of the XID.
    pub branch: &'a [u8],
}

impl<'a> XaPrepare<'a> {
    fn parse(mut cursor: Cursor<'a>) -> Result<XaPrepare<'a>, Error> {
        let what = "XA prepare event";
        let one_phase = cursor.u8(what)? != 0;
        let format_id = cursor.u32(what)?;
        let offset = cursor.offset();
        let (global_length, branch_length) = (cursor.u32(what)?, cursor.u32(what)?);
        if global_length > 64 || branch_length > 64 {
            let detail = format!("XID parts of {global_length} and {branch_length} bytes, at most 64 are possible");
            return Err(Error::malformed(what, detail).at(offset));
        }
        let global = cursor.take(global_length as usize, what)?;
        let branch = cursor.take(branch_length as usize, what)?;
        Ok(XaPrepare {
            one_phase,
            format_id,
            global,
            branch,
        })
    }
}

/// Parses the body that `cursor` stands before.
pub(crate) fn parse<'a>(header: &Header, mut cursor: Cursor<'a>, format: &Format) -> Result<Body<'a>, Error> {
    let event_type = header.event_type;
    Ok(match event_type {
        EventType::FORMAT_DESCRIPTION => Body::FormatDescription(FormatDescription::parse(cursor)?),
        EventType::ROTATE => {
            let position = cursor.u64("rotate event")?;
            Body::Rotate {
                position,
                file: cursor.text(cursor.rest().len(), "rotate event")?,
            }
        }
        EventType::GTID => Body::Gtid(Gtid::parse(cursor, false)?),
        EventType::ANONYMOUS_GTID => Body::Gtid(Gtid::parse(cursor, true)?),
        EventType::GTID_TAGGED => Body::Gtid(Gtid::parse_tagged(cursor)?),
        EventType::QUERY => Body::Query(Query::parse(cursor)?),
        EventType::XID => Body::Xid(cursor.u64("xid event")?),
        EventType::XA_PREPARE => Body::XaPrepare(XaPrepare::parse(cursor)?),
        EventType::TABLE_MAP => Body::TableMap(TableMapEvent::parse(cursor, format)?),
        EventType::WRITE_ROWS
        | EventType::WRITE_ROWS_V1
        | EventType::UPDATE_ROWS
        | EventType::UPDATE_ROWS_V1
        | EventType::DELETE_ROWS
        | EventType::DELETE_ROWS_V1 => Body::Rows(RowsEvent::parse(event_type, cursor, format)?),
        EventType::PARTIAL_UPDATE_ROWS => {
            let table_id = cursor.uint(format.table_id_bytes(event_type), "partial update event")?;
            Body::PartialUpdateRows { table_id }
        }
        EventType::ROWS_QUERY => {
            // One byte of length that servers have always cut off: the text is what follows.
            cursor.u8("rows query event")?;
            Body::RowsQuery(cursor.rest())
        }
        EventType::HEARTBEAT => Body::Heartbeat {
            file: cursor.text(cursor.rest().len(), "heartbeat event")?,
            position: None,
        },
        EventType::HEARTBEAT_V2 => heartbeat_v2(cursor)?,
        EventType::PREVIOUS_GTIDS => Body::PreviousGtids(PreviousGtids::new(cursor)),
        EventType::TRANSACTION_PAYLOAD => Body::TransactionPayload(Payload::parse(cursor, format, 0)?),
        EventType::INCIDENT => {
            let number = cursor.u16("incident event")?;
            let length = usize::from(cursor.u8("incident event")?);
            Body::Incident {
                number,
                message: cursor.take(length, "incident event")?,
            }
        }
        EventType::INTVAR
        | EventType::RAND
        | EventType::USER_VAR
        | EventType::APPEND_BLOCK
        | EventType::DELETE_FILE
        | EventType::BEGIN_LOAD_QUERY
        | EventType::EXECUTE_LOAD_QUERY => Body::StatementPart,
        EventType::TRANSACTION_CONTEXT | EventType::VIEW_CHANGE => Body::GroupReplication,
        EventType::STOP => Body::Stop,
        EventType::IGNORABLE => Body::Unknown { ignorable: true },
        _ => Body::Unknown {
            ignorable: header.is_ignorable(),
        },
    })
}

/// Version 2 of the heartbeat is a list of typed fields, so that a position past 4 GiB fits.
fn heartbeat_v2(mut cursor: Cursor<'_>) -> Result<Body<'_>, Error> {
    const FIELD_END: u64 = 0;
    const FIELD_FILE: u64 = 1;
    const FIELD_POSITION: u64 = 2;
    let what = "heartbeat event";
    let (mut file, mut position) = ("", None);
    while !cursor.is_empty() {
        let field = cursor.packed(what)?;
        if field == FIELD_END {
            break;
        }
        let length = cursor.packed_length(what)?;
        let offset = cursor.offset();
        let mut value = Cursor::new(cursor.take(length, what)?, offset);
        match field {
            FIELD_FILE => file = value.text(length, what)?,
            FIELD_POSITION => position = Some(value.packed(what)?),
            _ => {}
        }
    }
    Ok(Body::Heartbeat { file, position })
}
