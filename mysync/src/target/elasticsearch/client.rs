//! Requests to a cluster by any of its nodes: round robin over those that answer, on to the next when one does not.
//!
//! A request may be sent twice, when a connection breaks after it was sent: every write of this target says which version, or
//! which state of a document, it replaces, so twice is once.

use crate::config::{ElasticsearchWriter, Tls, TlsMode};
use crate::error::{Error, Result};
use crate::tls::archive;
use base64::Engine as _;
use elasticsearch::auth::{ClientCertificate, Credentials};
use elasticsearch::cert::{Certificate, CertificateValidation};
use elasticsearch::http::headers::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use elasticsearch::http::transport::{SingleNodeConnectionPool, Transport, TransportBuilder};
use elasticsearch::http::{Method, Url};
use prost::bytes::Bytes;
use serde_json::Value;
use std::cell::Cell;
use std::time::Duration;
use tokio::time::Instant;

/// For everything but bulk requests.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// For what changes the state of the cluster: the shards of a new index are waited for.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(40);

/// How long a node that did not answer is asked after the others only.
const DOWN_TIME: Duration = Duration::from_secs(10);

/// What of an answer that is not understood is shown.
const EXCERPT_CHARACTERS: usize = 300;

/// A cluster.
#[derive(Debug)]
pub(super) struct Client {
    nodes: Vec<Node>,
    next: Cell<usize>,
}

#[derive(Debug)]
struct Node {
    url: String,
    transport: Transport,
    down_until: Cell<Option<Instant>>,
}

/// An answer, whatever it says.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
    /// Who gave it.
    pub(super) url: String,
}

/// No answer.
#[derive(Debug)]
pub(super) struct Silence {
    /// The node may still be at it.
    pub(super) timed_out: bool,
    pub(super) error: Error,
}

impl From<Silence> for Error {
    fn from(silence: Silence) -> Self {
        silence.error
    }
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The answer as JSON.
    pub(super) fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).map_err(|error| self.not_understood(&error))
    }

    pub(super) fn not_understood(&self, reason: &dyn std::fmt::Display) -> Error {
        Error::definite(format!("an answer of {} is not Elasticsearch's", self.url))
            .detail(format!("status {}: {reason}: {}", self.status, self.excerpt()))
            .hint("is key writer.elasticsearch.urls right? Elasticsearch 8 or OpenSearch 2 or later must answer there")
    }

    pub(super) fn excerpt(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        text.chars().take(EXCERPT_CHARACTERS).collect()
    }
}

impl Client {
    pub(super) fn new(config: &ElasticsearchWriter) -> Result<Self> {
        let nodes = config
            .urls
            .iter()
            .map(|url| Node::new(url, config))
            .collect::<Result<_>>()?;
        Ok(Self {
            nodes,
            next: Cell::new(0),
        })
    }

    /// The nodes' addresses.
    pub(super) fn address(&self) -> String {
        let urls: Vec<&str> = self.nodes.iter().map(|node| node.url.as_str()).collect();
        urls.join(", ")
    }

    pub(super) async fn get(&self, path: &str) -> Result<Answer> {
        Ok(self.send(Method::Get, path, None, ANSWER_TIMEOUT).await?)
    }

    pub(super) async fn put(&self, path: &str, body: &Value) -> Result<Answer> {
        Ok(self
            .send(Method::Put, path, Some(json_bytes(body)), CHANGE_TIMEOUT)
            .await?)
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        Ok(self
            .send(Method::Post, path, Some(json_bytes(body)), ANSWER_TIMEOUT)
            .await?)
    }

    /// A bulk request: lines of JSON.
    pub(super) async fn bulk(&self, path: &str, lines: Bytes, timeout: Duration) -> Result<Answer, Silence> {
        self.send(Method::Post, path, Some(lines), timeout).await
    }

    /// Sends a request to one node after the other until one answers, twice around: a connection that was kept open may have been
    /// closed at the other end. After a timeout no other is tried: it may be the request that takes so long.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        timeout: Duration,
    ) -> Result<Answer, Silence> {
        let first = self.next.get();
        self.next.set(first.wrapping_add(1));
        let mut order: Vec<&Node> = (0..self.nodes.len())
            .map(|step| &self.nodes[first.wrapping_add(step) % self.nodes.len()])
            .collect();
        order.sort_by_key(|node| node.is_down());
        let mut silence = None;
        for node in order.iter().chain(&order) {
            match node.send(method, path, body.clone(), timeout).await {
                Ok(answer) => {
                    node.down_until.set(None);
                    return Ok(answer);
                }
                Err(failed) => {
                    node.down_until.set(Some(Instant::now() + DOWN_TIME));
                    let timed_out = failed.timed_out;
                    silence = Some(failed);
                    if timed_out {
                        break;
                    }
                }
            }
        }
        Err(silence.unwrap_or_else(|| Silence {
            timed_out: false,
            error: Error::configuration("writer.elasticsearch.urls is empty"),
        }))
    }
}

impl Node {
    fn new(url: &str, config: &ElasticsearchWriter) -> Result<Self> {
        let refuse = |error: &dyn std::fmt::Display| {
            Error::configuration(format!("cannot use writer.elasticsearch.urls: {url}"))
                .detail(error)
                .hint("set it to \"http://host:port\" or \"https://host:port\"")
        };
        let parsed = Url::parse(url).map_err(|error| refuse(&error))?;
        let is_encrypted = parsed.scheme() == "https";
        let mut builder = TransportBuilder::new(SingleNodeConnectionPool::new(parsed))
            // No other connection of MySync's goes through a proxy either.
            .disable_proxy()
            .enable_meta_header(false)
            // Answers are short, and packing them costs more than sending them.
            .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(login) = login(config)? {
            builder = builder.header(AUTHORIZATION, login);
        }
        if let Some(tls) = Tls::used(config.tls.as_ref()).filter(|_| is_encrypted) {
            builder = encrypted(builder, tls)?;
        }
        Ok(Self {
            url: url.to_owned(),
            transport: builder.build().map_err(|error| refuse(&error))?,
            down_until: Cell::new(None),
        })
    }

    fn is_down(&self) -> bool {
        self.down_until.get().is_some_and(|until| Instant::now() < until)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        timeout: Duration,
    ) -> Result<Answer, Silence> {
        let mut headers = HeaderMap::new();
        if path.starts_with("/_bulk") {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        }
        let request = self
            .transport
            .send(method, path, headers, None::<&()>, body, Some(timeout));
        let answered = async {
            let response = request.await?;
            let status = response.status_code().as_u16();
            Ok((status, response.bytes().await?))
        };
        match answered.await {
            Ok((status, body)) => Ok(Answer {
                status,
                body,
                url: self.url.clone(),
            }),
            Err(error) => Err(self.silence(&error, timeout)),
        }
    }

    fn silence(&self, error: &elasticsearch::Error, timeout: Duration) -> Silence {
        let reasons = reasons(error);
        let what = format!("no answer from Elasticsearch at {}", self.url);
        let error = match (error.is_timeout(), reasons.contains("certificate")) {
            (true, _) => Error::transient(what)
                .detail(format!("nothing within {} s", timeout.as_secs()))
                .hint("is the cluster up, and is it not overloaded?"),
            (false, true) => Error::configuration(what)
                .detail(reasons)
                .hint("check section [writer.elasticsearch.tls]"),
            (false, false) => Error::transient(what).detail(reasons).hint("is Elasticsearch up?"),
        };
        Silence {
            timed_out: error
                .detail
                .as_deref()
                .is_some_and(|detail| detail.starts_with("nothing within")),
            error,
        }
    }
}

fn json_bytes(body: &Value) -> Bytes {
    Bytes::from(body.to_string())
}

/// An error and what caused it, without the request's address, which is told already.
fn reasons(error: &dyn std::error::Error) -> String {
    let mut texts = Vec::new();
    let mut cause = error.source();
    while let Some(found) = cause {
        let text = found.to_string();
        if !text.contains("for url") {
            texts.push(text);
        }
        cause = found.source();
    }
    match texts.is_empty() {
        true => error.to_string(),
        false => texts.join(": "),
    }
}

fn login(config: &ElasticsearchWriter) -> Result<Option<HeaderValue>> {
    let (text, key) = if !config.api_key.is_empty() {
        (
            format!("ApiKey {}", config.api_key.reveal()),
            "writer.elasticsearch.api_key",
        )
    } else if !config.user.is_empty() {
        let pair = format!("{}:{}", config.user, config.password.reveal());
        let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
        (format!("Basic {encoded}"), "writer.elasticsearch.password")
    } else {
        return Ok(None);
    };
    let mut value = HeaderValue::from_str(&text).map_err(|_| {
        Error::configuration(format!("key {key} has a character that cannot be sent"))
            .hint("an API key in its encoded form is base64: letters, digits, '+', '/' and '='")
    })?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn encrypted(builder: TransportBuilder, tls: &Tls) -> Result<TransportBuilder> {
    let refuse = |error: &dyn std::fmt::Display| {
        Error::configuration("section [writer.elasticsearch.tls] cannot be used").detail(error)
    };
    let authorities = match &tls.ca {
        Some(file) => {
            let pem = std::fs::read(file).map_err(|error| refuse(&format!("{}: {error}", file.display())))?;
            Some(Certificate::from_pem(&pem).map_err(|error| refuse(&format!("{}: {error}", file.display())))?)
        }
        None => None,
    };
    let validation = match (tls.mode, authorities) {
        (TlsMode::Required | TlsMode::Disabled, _) => CertificateValidation::None,
        (TlsMode::VerifyIdentity, None) => CertificateValidation::Default,
        (TlsMode::VerifyIdentity, Some(authorities)) => CertificateValidation::Full(authorities),
        (TlsMode::VerifyCa, Some(authorities)) => CertificateValidation::Certificate(authorities),
        (TlsMode::VerifyCa, None) => {
            let hint = "add key ca, or say mode = \"verify-identity\"";
            return Err(refuse(&"mode verify-ca needs key ca").hint(hint));
        }
    };
    let builder = builder.cert_validation(validation);
    let Some((certificate, key)) = tls.identity() else {
        return Ok(builder);
    };
    let archive = archive(certificate, key, "writer.elasticsearch.tls")?;
    let identity = ClientCertificate::Pkcs12(archive, Some(String::new()));
    Ok(builder.auth(Credentials::Certificate(identity)))
}
