//! What an error of Elasticsearch means: of a whole request, or of one item of a bulk request.

use super::client::Answer;
use crate::error::Error;
use serde_json::Value;

/// Causes of causes that are told.
const CAUSES_MAX: usize = 4;

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The store has too much to do, or looks for its shards: soon again.
    Busy,
    /// The index takes no writes until somebody lets it.
    Blocked,
    /// The index is not there.
    Gone,
    /// Another version is there.
    Conflict,
    /// Larger than the store takes.
    TooLarge,
    /// Who we are, or what we may do.
    Login,
    /// For good.
    Refused,
}

/// An error as the store tells it.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) status: u16,
    /// `mapper_parsing_exception` and the like; empty where the answer is not the store's.
    pub(super) kind: String,
    pub(super) reason: String,
}

impl Told {
    /// The error of an item, or that of an answer's member `error`.
    pub(super) fn new(status: u16, error: &Value) -> Self {
        let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let mut reason = text(error, "reason");
        let mut cause = &error["caused_by"];
        for _ in 0..CAUSES_MAX {
            if !cause.is_object() {
                break;
            }
            let found = text(cause, "reason");
            if !found.is_empty() && !reason.contains(&found) {
                reason = format!("{reason}: {found}");
            }
            cause = &cause["caused_by"];
        }
        if let Some(plain) = error.as_str() {
            plain.clone_into(&mut reason);
        }
        Self {
            status,
            kind: text(error, "type"),
            reason: reason.replace('\n', " "),
        }
    }

    /// The error that an answer is.
    pub(super) fn of(answer: &Answer) -> Self {
        match serde_json::from_slice::<Value>(&answer.body) {
            Ok(body) if !body["error"].is_null() => Self::new(answer.status, &body["error"]),
            _ => Self {
                status: answer.status,
                kind: String::new(),
                reason: answer.excerpt().replace('\n', " "),
            },
        }
    }

    pub(super) fn meaning(&self) -> Meaning {
        match (self.status, self.kind.as_str()) {
            (_, "cluster_block_exception") if self.status != 503 => Meaning::Blocked,
            (_, "index_closed_exception") => Meaning::Blocked,
            (_, "index_not_found_exception") => Meaning::Gone,
            (409, _) => Meaning::Conflict,
            (413, _) => Meaning::TooLarge,
            (429 | 408 | 500.., _) => Meaning::Busy,
            (401 | 403, _) => Meaning::Login,
            _ => Meaning::Refused,
        }
    }

    /// As it is shown: `status 400, mapper_parsing_exception: ...`.
    pub(super) fn text(&self) -> String {
        match self.kind.is_empty() {
            true => format!("status {}: {}", self.status, self.reason),
            false => format!("status {}, {}: {}", self.status, self.kind, self.reason),
        }
    }

    /// The error of a request that has no way of its own to deal with it.
    pub(super) fn error(&self, what: impl Into<String>) -> Error {
        let what = what.into();
        let detail = self.text();
        match self.meaning() {
            Meaning::Busy => Error::transient(what)
                .detail(detail)
                .hint("the cluster is there but has too much to do, or no master or shard: see its log"),
            Meaning::Blocked => Error::transient(what).detail(detail).hint(
                "the index takes no writes: free disk space below the flood-stage watermark, take the block off \
                 (index.blocks.*), or open the index; the writer goes on by itself",
            ),
            Meaning::Gone => Error::transient(what)
                .detail(detail)
                .hint("the index is made anew, and what was in it is replayed"),
            Meaning::Conflict => Error::transient(what)
                .detail(detail)
                .hint("another writer of the same group is at it"),
            Meaning::Login => Error::configuration(what).detail(detail).hint(
                "check user and password, or api_key, of [writer.elasticsearch]; the account needs monitor on the cluster, and \
                 create_index, manage, write and read on the tables' aliases and indices and on mysync~cursors",
            ),
            Meaning::TooLarge | Meaning::Refused => Error::definite(what)
                .detail(detail)
                .hint("see the detail and the cluster's log"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(status: u16, kind: &str) -> Told {
        Told::new(status, &json!({"type": kind, "reason": "why"}))
    }

    #[test]
    fn each_error_has_its_meaning() {
        for (status, kind, expected) in [
            (429, "es_rejected_execution_exception", Meaning::Busy),
            (429, "circuit_breaking_exception", Meaning::Busy),
            (503, "unavailable_shards_exception", Meaning::Busy),
            (503, "cluster_block_exception", Meaning::Busy),
            (500, "", Meaning::Busy),
            (429, "cluster_block_exception", Meaning::Blocked),
            (403, "cluster_block_exception", Meaning::Blocked),
            (400, "index_closed_exception", Meaning::Blocked),
            (404, "index_not_found_exception", Meaning::Gone),
            (409, "version_conflict_engine_exception", Meaning::Conflict),
            (413, "", Meaning::TooLarge),
            (401, "security_exception", Meaning::Login),
            (403, "security_exception", Meaning::Login),
            (400, "document_parsing_exception", Meaning::Refused),
            (400, "mapper_parsing_exception", Meaning::Refused),
            (400, "illegal_argument_exception", Meaning::Refused),
        ] {
            assert_eq!(told(status, kind).meaning(), expected, "{status} {kind}");
        }
    }

    #[test]
    fn causes_are_told_once_and_plain_answers_as_they_are() {
        let nested = json!({"type": "t", "reason": "a", "caused_by": {"reason": "a", "caused_by": {"reason": "b\nc"}}});
        assert_eq!(Told::new(400, &nested).text(), "status 400, t: a: b c");
        let answer = |body: &'static str| Answer {
            status: 401,
            body: body.as_bytes().into(),
            url: String::new(),
        };
        assert_eq!(Told::of(&answer("Unauthorized")).text(), "status 401: Unauthorized");
        assert_eq!(Told::of(&answer("{\"error\":\"no\"}")).text(), "status 401: no");
    }
}
