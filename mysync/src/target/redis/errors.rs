//! What an error of Redis means.

use super::script::CURSOR_MOVED;
use crate::error::Error;
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Answers of a server that is there but cannot serve now: their first words.
const TRANSIENT_CODES: [&str; 13] = [
    CURSOR_MOVED,
    "ASK",
    "BUSY",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "MOVED",
    "NOREPLICAS",
    "NOSCRIPT",
    "OOM",
    "READONLY",
    "TRYAGAIN",
];

const LOGIN_HINT: &str = "check writer.redis.user and password, password_env or password_file (for sentinels: sentinel_user and \
    sentinel_password)";

const ACL_HINT: &str = "let the user run +get +mget +set +setrange +del +hset +hlen +hkeys +hdel +expire \
              +persist +evalsha +script|load +select, with addresses \
    or sentinels also +role, in a cluster +cluster|slots +exists +asking, on all keys that writer.redis.key makes and on \
    ~__mysync:*; a sentinel's user +sentinel";

const CERTIFICATE_HINT: &str = "the server wants a certificate that it trusts: writer.redis.tls.certificate and key";

/// Sorts an error by what to do about it.
pub(super) fn sort(error: &RedisError, what: String) -> Error {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::AuthenticationFailed => Error::configuration(what).detail(text).hint(LOGIN_HINT),
        ErrorKind::InvalidClientConfig => Error::configuration(what)
            .detail(text)
            .hint("check section [writer.redis]"),
        ErrorKind::Io if wants_certificate(&text) => Error::configuration(what).detail(text).hint(CERTIFICATE_HINT),
        ErrorKind::Io | ErrorKind::Parse | ErrorKind::Client => Error::transient(what)
            .detail(text)
            .hint("is Redis up? does this port want TLS, and [writer.redis.tls] is missing?"),
        _ if is_transient(error, &text) => Error::transient(what).detail(text).hint(
            "the server is there but cannot take writes now: see the detail (out of memory, loading, read only, or another \
             writer of the same group)",
        ),
        _ if needs_password(&text) => Error::configuration(what).detail(text).hint(LOGIN_HINT),
        ErrorKind::Server(ServerErrorKind::NoPerm) => Error::configuration(what).detail(text).hint(ACL_HINT),
        _ if text.contains("NOPERM") || text.contains("ACL failure") => {
            Error::configuration(what).detail(text).hint(ACL_HINT)
        }
        _ if text.contains("cluster support disabled") => Error::configuration(what)
            .detail(text)
            .hint("the server is no part of a cluster: name it as writer.redis.address"),
        _ => Error::definite(what).detail(text).hint(
            "Redis refuses the change for good: see the detail and the server's log; mysync needs Redis 6 or newer, or Valkey",
        ),
    }
}

/// Sorts what went wrong before a connection was encrypted.
pub(super) fn sort_tls(text: &str, what: String) -> Error {
    let hint = if text.contains("certificate verify failed") {
        "the server's certificate is not to be trusted as it is: check writer.redis.tls.ca, the host in the address, or mode"
    } else if wants_certificate(text) {
        CERTIFICATE_HINT
    } else if text.contains("wrong version number") || text.contains("packet length too long") {
        "this port does not speak TLS: use its tls-port, or remove [writer.redis.tls]"
    } else {
        return Error::transient(what)
            .detail(text)
            .hint("is Redis up, and is this its tls-port?");
    };
    Error::configuration(what).detail(text).hint(hint)
}

/// What OpenSSL says when the server turns a client away.
fn wants_certificate(text: &str) -> bool {
    ["certificate required", "bad certificate", "unknown ca", "alert unknown"]
        .iter()
        .any(|words| text.to_lowercase().contains(words))
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
