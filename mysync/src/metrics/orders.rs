//! What a person tells a running writer about a partition that a record stops: to try it again, or to pass over the record.
//!
//! It comes as `POST /orders` to where the writer serves its metrics, and is passed on to the writer's loop, which answers when
//! it is done. A browser cannot send one: it would ask first whether it may send the header [`HEADER`], and says where its page
//! came from.

use super::client;
use crate::error::{Error, Kind, Result};
use crate::queue::Partition;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, StatusCode, header};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// The path.
pub const PATH: &str = "/orders";

/// Whoever sends it is no browser.
pub const HEADER: &str = "x-mysync-order";

/// Orders that wait; no person gives more.
const ORDERS_MAX: usize = 8;

const ORDER_BYTES_MAX: usize = 16 << 10;

/// How long a writer may take: Kafka has to acknowledge, then the target.
pub const DONE_TIMEOUT: Duration = Duration::from_secs(60);

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Try the record that stops a partition again; without a partition, of all that are stopped.
    Retry(Option<Place>),
    /// Pass over the record that stops a partition, if it is the one at this offset.
    Skip(Place, i64),
}

/// A partition, as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Name of the topic.
    pub topic: String,
    /// Number of the partition.
    pub partition: i32,
}

impl From<&Place> for Partition {
    fn from(place: &Place) -> Self {
        Self {
            topic: place.topic.as_str().into(),
            number: place.partition,
        }
    }
}

/// An order, and where its answer goes: what was done, in words.
#[derive(Debug)]
pub struct Asked {
    /// The order.
    pub order: Order,
    /// The answer.
    pub answer: oneshot::Sender<Result<String>>,
}

/// Both ends of what passes orders on.
#[must_use]
pub fn channel() -> (mpsc::Sender<Asked>, mpsc::Receiver<Asked>) {
    mpsc::channel(ORDERS_MAX)
}

/// An answer that is no success.
#[derive(Debug, Serialize, Deserialize)]
struct Refusal {
    what: String,
    detail: Option<String>,
    hint: Option<String>,
    is_transient: bool,
}

/// The writer's side: status code and text of the answer.
pub(super) async fn serve(request: Request<Incoming>, orders: Option<mpsc::Sender<Asked>>) -> (StatusCode, String) {
    let headers = request.headers();
    if !headers.contains_key(HEADER) || headers.contains_key(header::ORIGIN) {
        return (StatusCode::FORBIDDEN, "only mysync writer retry and skip may\n".into());
    }
    let Some(orders) = orders else {
        return (StatusCode::NOT_FOUND, "no writer is here\n".into());
    };
    let body = Limited::new(request.into_body(), ORDER_BYTES_MAX).collect().await;
    let order = body
        .map_err(|error| error.to_string())
        .and_then(|body| serde_json::from_slice(&body.to_bytes()).map_err(|error| error.to_string()));
    let order: Order = match order {
        Ok(order) => order,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")),
    };
    match pass_on(order, &orders).await {
        Ok(done) => (StatusCode::OK, done),
        Err(error) => {
            let refusal = Refusal {
                is_transient: error.is_transient(),
                what: error.what,
                detail: error.detail,
                hint: error.hint,
            };
            (
                StatusCode::CONFLICT,
                serde_json::to_string(&refusal).unwrap_or_default(),
            )
        }
    }
}

async fn pass_on(order: Order, orders: &mpsc::Sender<Asked>) -> Result<String> {
    let (answer, answered) = oneshot::channel();
    let stops = || Error::transient("the writer is about to end");
    orders.try_send(Asked { order, answer }).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => Error::transient("the writer has not done what it was told before"),
        mpsc::error::TrySendError::Closed(_) => stops(),
    })?;
    match tokio::time::timeout(DONE_TIMEOUT, answered).await {
        Ok(answer) => answer.map_err(|_| stops())?,
        Err(_) => Err(Error::transient(format!("not done in {} s", DONE_TIMEOUT.as_secs()))
            .hint("it may still be done: ask mysync writer status")),
    }
}

/// The person's side: tells the writer that serves at this address.
pub async fn tell(address: &str, order: &Order) -> Result<String> {
    let body = serde_json::to_vec(order).unwrap_or_default();
    let request = Request::post(PATH)
        .header(HEADER, "1")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)));
    let (status, bytes) = client::send(address, request, DONE_TIMEOUT + Duration::from_secs(5)).await?;
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    match status {
        StatusCode::OK => Ok(text),
        StatusCode::CONFLICT => Err(match serde_json::from_slice::<Refusal>(&bytes) {
            Ok(refusal) => Error {
                kind: if refusal.is_transient {
                    Kind::Transient
                } else {
                    Kind::Definite
                },
                what: refusal.what,
                detail: refusal.detail,
                hint: refusal.hint,
                is_gap: false,
            },
            Err(_) => unknown(address, &text),
        }),
        _ => Err(unknown(address, &text)),
    }
}

fn unknown(address: &str, text: &str) -> Error {
    Error::definite(format!("no writer takes orders at {address}"))
        .detail(text)
        .hint("another program, the reader or another version of mysync listens there: correct key listen")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_have_one_form() {
        let place = Place {
            topic: "p.a.b".into(),
            partition: 2,
        };
        let texts = [
            Order::Retry(None),
            Order::Retry(Some(place.clone())),
            Order::Skip(place, 41),
        ]
        .map(|order| serde_json::to_string(&order).unwrap());
        assert_eq!(
            texts,
            [
                r#"{"retry":null}"#,
                r#"{"retry":{"topic":"p.a.b","partition":2}}"#,
                r#"{"skip":[{"topic":"p.a.b","partition":2},41]}"#,
            ]
        );
        assert!(serde_json::from_str::<Order>(r#"{"skip":[{"topic":"p.a.b"},41]}"#).is_err());
    }
}
