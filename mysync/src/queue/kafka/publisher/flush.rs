//! The library's flush, held for a while. The one piece of unsafe code of the project.
//!
//! While a flush is held, the library's threads send what they have without letting it linger. The method of the Rust crate asks
//! for no time at all, again and again, and waits in between: the threads wake up when the flush is over already, and then
//! everything lingers. On an idle cluster that was most of a commit's time.

#![allow(unsafe_code, reason = "the crate has no safe way to give the library's flush a time")]

use rdkafka::bindings::rd_kafka_flush;
use rdkafka::producer::{Producer, ProducerContext};
use std::time::Duration;

/// Holds a flush until nothing is left to be acknowledged, but no longer than this. Deliveries have to be taken elsewhere, or not
/// to be reported.
pub(super) fn hold<C: ProducerContext>(producer: &impl Producer<C>, longest: Duration) {
    let longest_ms = i32::try_from(longest.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the pointer is that of the client, which lives as long as the producer that is borrowed here, and the library takes
    // this call from any thread at any time.
    unsafe { rd_kafka_flush(producer.client().native_ptr(), longest_ms) };
}
