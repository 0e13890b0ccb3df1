//! What an error of the gateway means.
//!
//! The gateway sends an exception's text, which names Java's classes, and whether its own client would try again. For a batch it
//! says so always, whatever the rows' own errors are; so the classes are looked for first.

use crate::error::Error;
use hbase_thrift2::TIOError;
use hbase_thrift2::thrift::{self, ApplicationErrorKind};

/// How the error of a message begins that the gateway would not take.
pub(super) const FRAME_TOO_LARGE: &str = "larger than writer.hbase.frame_bytes_max";

/// What the operating system says of a socket on which nothing came in time.
const WOULD_BLOCK: &str = "(os error 11)";

const TEXT_CHARACTERS_MAX: usize = 400;

/// A store that is there, and cannot take the change now. HBase calls some of them final, though a person or the cluster itself
/// mends them without the writer.
const TRANSIENT_CLASSES: [&str; 12] = [
    "CallQueueTooBigException",
    "NotServingRegionException",
    "RegionServerStoppedException",
    "RegionTooBusyException",
    "ServerNotRunningYetException",
    "PleaseHoldException",
    "SpaceLimitingException",
    "RpcThrottlingException",
    "TableNotEnabledException",
    "TableNotFoundException",
    "TableNotDisabledException",
    "region is read only",
];

/// What stays as it is, however often it is tried.
const FINAL_CLASSES: [&str; 5] = [
    "NoSuchColumnFamilyException",
    "FailedSanityCheckException",
    "IllegalArgumentException",
    "exceeds limit",
    "DoNotRetryIOException",
];

/// Sorts an error by what to do about it; for a row, a definite one refuses it, and nothing but it.
pub(super) fn sort(error: &thrift::Error, what: String) -> Error {
    match error {
        thrift::Error::Transport(error) if error.message.contains(FRAME_TOO_LARGE) => {
            Error::definite(what).detail(&error.message).hint(
                "raise hbase.regionserver.thrift.framed.max_frame_size_in_mb of the gateway and writer.hbase.frame_bytes_max with \
                 it, or use the buffered transport",
            )
        }
        thrift::Error::Transport(error) => Error::transient(what)
            .detail(match error.message.contains(WOULD_BLOCK) {
                true => "no answer within writer.hbase.answer_seconds_max",
                false => error.message.as_str(),
            })
            .hint("is the Thrift2 gateway up, and was it started with the transport and protocol of [writer.hbase]?"),
        thrift::Error::Protocol(error) => Error::transient(what)
            .detail(format!("not an answer of a Thrift2 gateway: {}", error.message))
            .hint("is this the gateway's port, and was it started with the transport and protocol of [writer.hbase]?"),
        thrift::Error::Application(error) => sort_application(error, what),
        thrift::Error::User(error) => match error.downcast_ref::<TIOError>() {
            Some(error) => sort_io(error, what),
            None => Error::transient(what).detail(error),
        },
    }
}

fn sort_application(error: &thrift::ApplicationError, what: String) -> Error {
    match error.kind {
        ApplicationErrorKind::UnknownMethod => Error::configuration(what)
            .detail(&error.message)
            .hint("start a Thrift2 gateway (hbase thrift2 start) of HBase 2.2 or newer: this one knows another interface"),
        // What the gateway's client refuses before it asks a server is an error that the gateway does not expect.
        ApplicationErrorKind::InternalError => Error::definite(what).detail(&error.message).hint(
            "the gateway's log says why; a value of more than hbase.client.keyvalue.maxsize (10 MB by default) is one cause",
        ),
        _ => Error::transient(what).detail(&error.message),
    }
}

fn sort_io(error: &TIOError, what: String) -> Error {
    let message = error.message.as_deref().unwrap_or("no reason given");
    let has = |word: &&str| message.contains(word);
    let text = first_line(message);
    if TRANSIENT_CLASSES.iter().any(has) {
        return Error::transient(what).detail(text).hint(
            "the server is there but cannot take writes now: see the detail (a region on the move or busy, a table that is read only, \
             disabled or gone, a space quota)",
        );
    }
    if message.contains("AccessDeniedException") {
        return Error::configuration(what)
            .detail(text)
            .hint("let the gateway's user create tables, read and write them");
    }
    if FINAL_CLASSES.iter().any(has) {
        return Error::definite(what).detail(text).hint(hint_of(message));
    }
    // Of a table that is gone nothing is said but its name.
    Error::transient(what)
        .detail(text)
        .hint("see the logs of the gateway and of the region servers")
}

fn hint_of(message: &str) -> &'static str {
    if message.contains("NoSuchColumnFamilyException") {
        return "the table was altered: give it its family r back, or drop it and start the writer anew, which then fills it again";
    }
    if message.contains("exceeds limit") {
        return "raise hbase.server.keyvalue.maxsize of the region servers and hbase.client.keyvalue.maxsize of the gateway";
    }
    "HBase refuses the change for good: see the detail and the region server's log"
}

/// The rest is Java's stack.
fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    line.chars().take(TEXT_CHARACTERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn sorted(message: &str, can_retry: bool) -> Error {
        let error = TIOError {
            message: Some(message.to_owned()),
            can_retry: Some(can_retry),
        };
        sort(&thrift::Error::User(Box::new(error)), "cannot".into())
    }

    /// The texts are those that HBase 2.6.1 sent.
    #[test]
    fn what_hbase_says_is_sorted_by_what_to_do() {
        for (message, can_retry, transient) in [
            (
                "Failed 1 action: org.apache.hadoop.hbase.DoNotRetryIOException: region is read only\n\tat org",
                true,
                true,
            ),
            (
                "org.apache.hadoop.hbase.quotas.SpaceLimitingException: NO_WRITES Puts are disallowed",
                false,
                true,
            ),
            (
                "Failed 1 action: org.apache.hadoop.hbase.RegionTooBusyException: Over memstore limit=512.0K",
                true,
                true,
            ),
            (
                "Failed 1 action: NotServingRegionException: 1 time, servers with issues: h,16020,17",
                true,
                true,
            ),
            (
                "Failed 1 action: shop.orders: 1 time, servers with issues: null",
                true,
                true,
            ),
            ("shop.orders", false, true),
            (
                "Failed 1 action: org.apache.hadoop.hbase.regionserver.NoSuchColumnFamilyException: Column family r",
                true,
                false,
            ),
            (
                "org.apache.hadoop.hbase.DoNotRetryIOException: Cell with size 11000052 exceeds limit of 10485760 bytes",
                false,
                false,
            ),
            (
                "org.apache.hadoop.hbase.security.AccessDeniedException: Insufficient permissions",
                false,
                false,
            ),
        ] {
            let error = sorted(message, can_retry);
            assert_eq!(error.is_transient(), transient, "{message}");
            assert!(!error.detail.unwrap().contains('\n') && error.hint.is_some());
        }
    }

    #[test]
    fn a_gateway_of_another_kind_is_a_wrong_configuration() {
        let error = thrift::Error::Application(thrift::ApplicationError {
            kind: ApplicationErrorKind::UnknownMethod,
            message: "Invalid method name: 'getThriftServerType'".into(),
        });
        assert_eq!(sort(&error, "cannot".into()).kind, Kind::Configuration);
    }
}
