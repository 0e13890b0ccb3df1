//! What an error of Redis means.

use super::script::CURSOR_MOVED;
use crate::error::Error;
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Answers of a server that is there but cannot serve now: their first words.
const TRANSIENT_CODES: [&str; 11] = [
    CURSOR_MOVED,
    "BUSY",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "NOREPLICAS",
    "NOSCRIPT",
    "OOM",
    "READONLY",
    "TRYAGAIN",
];

/// Sorts an error by what to do about it.
pub(super) fn sort(error: &RedisError, what: String) -> Error {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::AuthenticationFailed => Error::configuration(what)
            .detail(text)
            .hint("check writer.redis.password, password_env or password_file"),
        ErrorKind::InvalidClientConfig => Error::configuration(what)
            .detail(text)
            .hint("check section [writer.redis]"),
        ErrorKind::Io | ErrorKind::Parse | ErrorKind::Client => Error::transient(what).detail(text).hint("is Redis up?"),
        _ if is_transient(error, &text) => Error::transient(what).detail(text).hint(
            "the server is there but cannot take writes now: see the detail (out of memory, loading, read only, or another \
             writer of the same group)",
        ),
        ErrorKind::Server(ServerErrorKind::NoPerm) => Error::definite(what)
            .detail(text)
            .hint("let the account run GET, MGET, SET, SETRANGE, DEL, HSET, SCRIPT LOAD and EVALSHA on all keys"),
        _ if needs_password(&text) => Error::configuration(what)
            .detail(text)
            .hint("check writer.redis.password, password_env or password_file"),
        _ => Error::definite(what)
            .detail(text)
            .hint("Redis refuses the change for good: see the detail and the server's log; mysync needs Redis 4 or newer, one server without cluster mode"),
    }
}

/// A pipeline's error wraps those of its commands, and a script's error those of its calls: the codes stand in the text.
fn is_transient(error: &RedisError, text: &str) -> bool {
    let has = |code: &&str| {
        text.split(|character: char| !character.is_ascii_alphabetic())
            .any(|word| word == *code)
    };
    error.code().is_some_and(|code| TRANSIENT_CODES.contains(&code)) || TRANSIENT_CODES.iter().any(has)
}

fn needs_password(text: &str) -> bool {
    ["NOAUTH", "WRONGPASS", "invalid password"]
        .iter()
        .any(|word| text.contains(word))
}
