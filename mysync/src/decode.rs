//! The binlog decoder: from the bytes of an event to rows, values and their canonical texts. No I/O, and every value borrowed.
//!
//! # The way of an event
//! A binlog is a sequence of events; each has a header of 19 bytes, a body, and (as the file's first event says) a CRC32.
//! [`Event::parse`] verifies it and types the body. [`Format`] is what must be kept from one event to the next.
//!
//! Rows come in two events: a Table_map gives a table a number and describes its columns ([`TableMapEvent::table_map`]), and
//! rows events name that number ([`RowsEvent::rows`]). A table map stays valid until the end of its statement, and comes again
//! for every statement; [`TableMapEvent::is_source_of`] tells whether a kept one is still the same.
//!
//! ```text
//! bytes -> Event::parse -> Body::TableMap -> TableMap (owned, kept by the reader)
//!                       -> Body::Rows     -> Rows -> RowChange { before, after } -> Row -> Value -> JSON text
//!                       -> Body::TransactionPayload -> PayloadEvents -> Event ...
//! pieces of a large one -> Pieces -> Event ...
//! ```
//!
//! # Errors
//! What a server sends is not trusted: any bytes give an event or an [`Error`], never a panic, and no memory beyond a small
//! multiple of the event's size. All errors are definite; the same bytes fail again. The caller adds file and position.
//!
//! # Speed
//! A row costs no allocation: its values borrow from the event, and [`Row::write_json`] appends to the caller's buffer. All that
//! depends on the column alone (name as JSON, character set, extent) is prepared in the table map.

mod body;
mod charset;
mod charset_double;
mod charset_exceptions;
mod charset_single;
mod column;
mod cursor;
mod decimal;
mod error;
mod event;
mod gtid;
mod image;
mod json_scalar;
mod jsonb;
mod metadata;
mod payload;
mod pieces;
mod rows;
mod table_map;
mod temporal;
mod value;
mod write;

pub use body::{Body, FormatDescription, Query, XaPrepare};
pub use charset::Charset;
pub use column::{Column, ColumnType};
pub use decimal::Decimal;
pub use error::{Error, Reason};
pub use event::{CHECKSUM_BYTES, Checksum, Event, EventType, Format, HEADER_BYTES, Header};
pub use gtid::{Gtid, GtidInterval, PreviousGtids, Uuid};
pub use image::{Cell, TableRows};
pub(crate) use json_scalar::write_double as json_double;
pub use payload::{EVENT_BYTES_MAX, Payload, PayloadEvents};
pub use pieces::Pieces;
pub use rows::{Image, Row, RowChange, Rows, RowsEvent, RowsKind, Values};
pub use table_map::{ColumnSchema, KeyPart, TableMap, TableMapEvent};
pub use temporal::{Date, DateTime, Time, Timestamp};
pub use value::{Members, Value};
pub(crate) use write::{base64, json_string};
