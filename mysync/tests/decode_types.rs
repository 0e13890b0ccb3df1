//! The decoder against real servers: what it reads from the binlog is what the server says in SQL. Needs Docker and the images
//! of `ci/setup`.

#[path = "decode_types/capture.rs"]
mod capture;
#[path = "decode_types/json.rs"]
mod json;
#[path = "decode_types/random.rs"]
mod random;
#[path = "decode_types/types.rs"]
mod types;
