//! The HTTP server of `/metrics`, `/health` and `/status`, and of the orders of people.

use super::{Exposed, orders};
use crate::error::{Error, Result};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Clients that are served at the same time; more wait.
const CONNECTIONS_MAX: usize = 16;

/// How long a client may take to ask, and in all to be served.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);

/// After an accept that failed (no file descriptors left), until the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

const TICK: Duration = Duration::from_secs(1);

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Listens at `host:port` and serves for as long as the runtime lives. Returns the address, whose port differs where 0 was
/// asked for.
pub async fn serve(address: &str, exposed: Arc<dyn Exposed>) -> Result<SocketAddr> {
    let refused = |error: std::io::Error| {
        Error::configuration(format!("cannot serve metrics at {address}"))
            .detail(error)
            .hint("is another process there? correct key listen in section [metrics] or in that of the writer's target")
    };
    let listener = TcpListener::bind(address).await.map_err(refused)?;
    let bound = listener.local_addr().map_err(refused)?;
    tracing::info!(address = %bound, "serving /metrics, /health and /status");
    tokio::spawn(tick(Arc::clone(&exposed)));
    tokio::spawn(accept(listener, exposed));
    Ok(bound)
}

async fn tick(exposed: Arc<dyn Exposed>) {
    let mut interval = tokio::time::interval(TICK);
    loop {
        interval.tick().await;
        exposed.tick();
    }
}

async fn accept(listener: TcpListener, exposed: Arc<dyn Exposed>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let exposed = Arc::clone(&exposed);
                tokio::spawn(async move {
                    talk(stream, exposed).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a client of the metrics was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn talk(stream: TcpStream, exposed: Arc<dyn Exposed>) {
    let service = service_fn(|request: Request<Incoming>| {
        let exposed = Arc::clone(&exposed);
        async move {
            Ok::<_, Infallible>(match (request.method(), request.uri().path()) {
                (&Method::POST, orders::PATH) => {
                    let (status, text) = orders::serve(request, exposed.orders()).await;
                    response(status, TEXT, text)
                }
                (method, path) => answer(method, path, &*exposed),
            })
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    // A client that goes away is its own affair.
    if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        tracing::debug!(%error, "a client of the metrics went away");
    }
}

fn answer(method: &Method, path: &str, exposed: &dyn Exposed) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n".into());
    }
    match path {
        "/metrics" => response(StatusCode::OK, OPENMETRICS, exposed.text()),
        "/status" => response(
            StatusCode::OK,
            JSON,
            serde_json::to_string(&exposed.status()).unwrap_or_default(),
        ),
        "/health" => match exposed.status().reason {
            None => response(StatusCode::OK, TEXT, "healthy\n".into()),
            Some(reason) => response(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{reason}\n")),
        },
        _ => response(StatusCode::NOT_FOUND, TEXT, "/metrics, /health, /status\n".into()),
    }
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let content_type = header::HeaderValue::from_static(content_type);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}
