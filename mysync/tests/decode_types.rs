//! The decoder against real servers: what it reads from the binlog is what the server says in SQL. Needs Docker and the images
//! of `ci/setup`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "decode_types/capture.rs"]
mod capture;
#[path = "decode_types/charsets.rs"]
mod charsets;
#[path = "decode_types/events.rs"]
mod events;
#[path = "decode_types/json.rs"]
mod json;
#[path = "decode_types/random.rs"]
mod random;
#[path = "decode_types/selected.rs"]
mod selected;
#[path = "decode_types/types.rs"]
mod types;
