//! A record as the library takes it.

use crate::queue::Record;
use crate::queue::kafka::topics::Declared;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;
use rdkafka::util::IntoOpaque;

/// The record with its headers; `opaque` comes back with its delivery.
pub(super) fn message<'a, O: IntoOpaque>(
    record: &Record<'a>,
    topic: &'a Declared,
    opaque: O,
) -> BaseRecord<'a, [u8], [u8], O> {
    let (mut version, mut origin) = (itoa::Buffer::new(), OriginText::new());
    let version = version.format(record.version.as_i64()).as_bytes();
    let mut headers = OwnedHeaders::new_with_capacity(4)
        .insert(Header {
            key: "mysync.version",
            value: Some(version),
        })
        .insert(Header {
            key: "mysync.origin",
            value: Some(origin.format(record)),
        });
    if record.value.is_none()
        && let Some(table) = &topic.table_header
    {
        headers = headers.insert(Header {
            key: "mysync.table",
            value: Some(table),
        });
    }
    if let Some((key, value)) = record.header {
        headers = headers.insert(Header {
            key,
            value: Some(value),
        });
    }
    let mut message = BaseRecord::<[u8], [u8], O>::with_opaque_to(&topic.name, opaque)
        .key(record.key)
        .timestamp(record.timestamp_ms)
        .headers(headers);
    message.payload = record.value;
    message
}

/// What a record counts against the bounds on memory.
pub(super) fn bytes_of(record: &Record<'_>) -> usize {
    record.key.len() + record.value.map_or(0, <[u8]>::len)
}

/// Formats the header `mysync.origin` without an allocation.
struct OriginText {
    bytes: [u8; 64],
}

impl OriginText {
    fn new() -> Self {
        Self { bytes: [0; 64] }
    }

    fn format(&mut self, record: &Record<'_>) -> &[u8] {
        let mut length = 0;
        let parts = [
            record.origin.file_number,
            record.origin.offset,
            record.origin.row.into(),
        ];
        for (index, part) in parts.into_iter().enumerate() {
            if index > 0 {
                self.bytes[length] = b':';
                length += 1;
            }
            // Three numbers of at most 20 digits and two colons: 62 bytes.
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(part).as_bytes();
            self.bytes[length..length + digits.len()].copy_from_slice(digits);
            length += digits.len();
        }
        &self.bytes[..length]
    }
}
