//! An HTTP server that answers as a test tells it, with or without TLS, and keeps what it was asked.

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub path: String,
    pub authorization: Option<String>,
    pub body: String,
}

type Answer = dyn Fn(&Asked, usize) -> Option<(u16, String)> + Send + Sync;

/// A server that ends with its handle's runtime.
pub struct Fake {
    pub port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    /// `answer` is told the request and how many bulk requests there were before; none stands for what a healthy, empty store
    /// says.
    pub async fn start(
        tls: Option<native_tls::TlsAcceptor>,
        answer: impl Fn(&Asked, usize) -> Option<(u16, String)> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (kept, answer): (_, Arc<Answer>) = (Arc::clone(&asked), Arc::new(answer));
        let tls = tls.map(tokio_native_tls::TlsAcceptor::from);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (asked, answer, tls) = (Arc::clone(&kept), Arc::clone(&answer), tls.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| serve(request, Arc::clone(&asked), Arc::clone(&answer)));
                    // A client that goes away is its own business.
                    match tls {
                        None => drop(
                            http1::Builder::new()
                                .serve_connection(TokioIo::new(stream), service)
                                .await,
                        ),
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                drop(
                                    http1::Builder::new()
                                        .serve_connection(TokioIo::new(stream), service)
                                        .await,
                                );
                            }
                        }
                    }
                });
            }
        });
        Self { port, asked }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The bulk requests about rows.
    pub fn bulks(&self) -> Vec<Asked> {
        self.asked().into_iter().filter(is_rows).collect()
    }
}

fn is_rows(asked: &Asked) -> bool {
    asked.path.starts_with("/_bulk") && !asked.body.contains("mysync~cursors")
}

async fn serve(
    request: Request<Incoming>,
    kept: Arc<Mutex<Vec<Asked>>>,
    answer: Arc<Answer>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let authorization = request.headers().get("authorization");
    let authorization = authorization.map(|value| value.to_str().unwrap().to_owned());
    let path = request.uri().to_string();
    let body = request
        .into_body()
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    let asked = Asked {
        path,
        authorization,
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let bulks = {
        let mut kept = kept.lock().unwrap();
        let bulks = kept.iter().filter(|asked| is_rows(asked)).count();
        kept.push(asked.clone());
        bulks
    };
    let (status, text) = answer(&asked, bulks).unwrap_or_else(|| (200, healthy(&asked)));
    Ok(Response::builder().status(status).body(Full::from(text)).unwrap())
}

/// What an empty store of one table `shop.a` says.
fn healthy(asked: &Asked) -> String {
    match asked.path.split('?').next().unwrap_or_default() {
        "/" => r#"{"version":{"number":"8.19.21"}}"#.into(),
        "/_nodes/http" => r#"{"nodes":{"n":{"http":{"max_content_length_in_bytes":2000}}}}"#.into(),
        "/shop.a~rows" => concat!(
            r#"{"shop.a~rows":{"aliases":{"shop.a":{"is_write_index":true,"#,
            r#""filter":{"bool":{"must_not":{"exists":{"field":"__mysync_deleted"}}}}}},"#,
            r#""mappings":{"_meta":{"mysync":{"database":"shop","table":"a"}},"properties":{"id":{"type":"long"}}},"#,
            r#""settings":{"index.uuid":"u"}}}"#
        )
        .into(),
        "/mysync~cursors/_mget" => {
            let ids: BTreeMap<String, Vec<String>> = serde_json::from_str(&asked.body).unwrap();
            let docs: Vec<String> = ids["ids"].iter().map(|_| r#"{"found":false}"#.to_owned()).collect();
            format!("{{\"docs\":[{}]}}", docs.join(","))
        }
        "/_bulk" => results(asked, |_| r#"{"status":201,"_seq_no":1,"_primary_term":1}"#.into()),
        _ => "{}".into(),
    }
}

/// The answer to a bulk request, by each document's place.
pub fn results(asked: &Asked, result: impl Fn(usize) -> String) -> String {
    let documents = asked.body.lines().count() / 2;
    let items: Vec<String> = (0..documents)
        .map(|place| format!("{{\"index\":{}}}", result(place)))
        .collect();
    let text = items.join(",");
    format!("{{\"errors\":{},\"items\":[{text}]}}", text.contains("\"error\""))
}
