//! The sessions with Elasticsearch: one node is asked as long as it answers, then the next. A cluster that says that it cannot
//! answer now is asked again for a while: a shard that was just made, or moves, is not there for a moment.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use elasticsearch::auth::{ClientCertificate, Credentials};
use elasticsearch::cert::{Certificate, CertificateValidation};
use elasticsearch::http::headers::HeaderMap;
use elasticsearch::http::transport::{SingleNodeConnectionPool, Transport, TransportBuilder};
use elasticsearch::http::{Method, StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::config::tls::{Mode, TlsFiles};
use crate::config::{self, Login};
use crate::error::Error;

/// A search over a large index on a busy machine takes its time.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// How long a cluster may say that it cannot answer now.
pub const BUSY_MAX: Duration = Duration::from_secs(30);
/// Before it is asked again.
pub const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// Characters of an error's body that are shown.
const BODY_SHOWN_MAX: usize = 400;

/// The nodes.
pub struct Client {
    nodes: Vec<(String, Transport)>,
    /// The one that answered last.
    preferred: AtomicUsize,
}

/// What a node answered.
pub struct Answer {
    status: StatusCode,
    body: Vec<u8>,
    url: String,
}

impl Client {
    /// Prepares the sessions; nothing is asked yet.
    pub fn open(section: &config::Elasticsearch) -> Result<Self, Error> {
        let tls = match &section.tls {
            Some(tls) => tls.files("writer.elasticsearch.tls")?,
            None => None,
        };
        let node = |url: &String| Ok((url.clone(), transport(url, section, tls.as_ref())?));
        Ok(Self {
            nodes: section.urls.iter().map(node).collect::<Result<_, _>>()?,
            preferred: AtomicUsize::new(0),
        })
    }

    /// Asks until there is an answer, or the cluster has been busy for too long.
    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<Answer, Error> {
        let deadline = Instant::now() + BUSY_MAX;
        loop {
            let answer = self.ask_nodes(method, path, body.as_ref()).await?;
            if !answer.is_busy() || Instant::now() >= deadline {
                return Ok(answer);
            }
            tokio::time::sleep(BUSY_PAUSE).await;
        }
    }

    /// Asks one node after the other until one answers, whatever it says.
    async fn ask_nodes(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, Error> {
        let first = self.preferred.load(Ordering::Relaxed);
        let mut failed = None;
        for place in (0..self.nodes.len()).map(|step| (first + step) % self.nodes.len()) {
            let (url, transport) = &self.nodes[place];
            match ask_node(transport, method, path, body.map(Value::to_string)).await {
                Ok((status, body)) => {
                    self.preferred.store(place, Ordering::Relaxed);
                    let url = url.clone();
                    return Ok(Answer { status, body, url });
                }
                Err(error) => failed = failed.or(Some(unreachable(url, &error))),
            }
        }
        Err(failed.unwrap_or_else(|| self.failed("no node")))
    }

    /// An answer that is of no use.
    pub fn failed(&self, detail: &str) -> Error {
        let place = self.preferred.load(Ordering::Relaxed) % self.nodes.len().max(1);
        let url = self.nodes.get(place).map_or("", |(url, _)| url);
        refused(url, detail)
    }
}

impl Answer {
    /// Whether the same question may have an answer in a moment.
    fn is_busy(&self) -> bool {
        matches!(self.status.as_u16(), 429 | 502 | 503 | 504)
    }

    /// Whether there is nothing because there is no such index.
    pub fn no_such_index(&self) -> bool {
        self.status == StatusCode::NOT_FOUND && self.text().contains("index_not_found_exception")
    }

    /// The body of a good answer.
    pub fn parsed<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Error> {
        if !self.status.is_success() {
            let said: String = self.text().chars().take(BODY_SHOWN_MAX).collect();
            return Err(refused(&self.url, &format!("status {}: {said}", self.status.as_u16())));
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| refused(&self.url, &format!("an answer that is not understood: {error}")))
    }

    fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }
}

async fn ask_node(
    transport: &Transport,
    method: Method,
    path: &str,
    body: Option<String>,
) -> Result<(StatusCode, Vec<u8>), elasticsearch::Error> {
    let answer = transport
        .send(method, path, HeaderMap::new(), None::<&()>, body, None)
        .await?;
    let status = answer.status_code();
    Ok((status, answer.bytes().await?.into()))
}

fn transport(url: &str, section: &config::Elasticsearch, tls: Option<&TlsFiles>) -> Result<Transport, Error> {
    let wrong = |error: &dyn std::fmt::Display| {
        Error::configuration(
            "cannot prepare a session with Elasticsearch",
            format!("{url}: {error}"),
            "correct urls and section [writer.elasticsearch.tls]",
        )
    };
    let node = Url::parse(url).map_err(|error| wrong(&error))?;
    let mut builder = TransportBuilder::new(SingleNodeConnectionPool::new(node))
        .timeout(ANSWER_MAX)
        .disable_proxy();
    if let Some(tls) = tls {
        builder = builder.cert_validation(match (tls.mode, &tls.ca) {
            (Mode::Required | Mode::Disabled, _) => CertificateValidation::None,
            (Mode::VerifyCa, Some(ca)) => {
                CertificateValidation::Certificate(Certificate::from_pem(&ca.pem).map_err(|error| wrong(&error))?)
            }
            (Mode::VerifyIdentity, Some(ca)) => {
                CertificateValidation::Full(Certificate::from_pem(&ca.pem).map_err(|error| wrong(&error))?)
            }
            (Mode::VerifyIdentity, None) => CertificateValidation::Default,
            (Mode::VerifyCa, None) => return Err(wrong(&"mode verify-ca needs ca, the authority's certificate")),
        });
        if let Some(archive) = &tls.identity {
            let certificate = ClientCertificate::Pkcs12(archive.clone(), Some(String::new()));
            builder = builder.auth(Credentials::Certificate(certificate));
        }
    }
    let transport = builder.build().map_err(|error| wrong(&error))?;
    match &section.login {
        Login::None => {}
        Login::User { user, password } => {
            transport.set_auth(Credentials::Basic(user.clone(), password.reveal().to_owned()));
        }
        Login::ApiKey(key) => transport.set_auth(Credentials::EncodedApiKey(key.reveal().to_owned())),
    }
    Ok(transport)
}

/// The causes tell more than the error itself, which says what was sent where.
fn unreachable(url: &str, error: &elasticsearch::Error) -> Error {
    let mut causes = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        causes.push(next.to_string());
        cause = next.source();
    }
    let detail = causes.last().cloned().unwrap_or_else(|| error.to_string());
    Error::failed(
        "cannot reach Elasticsearch",
        format!("{url}: {detail}"),
        "start the server, or correct urls and section [writer.elasticsearch.tls]",
    )
}

fn refused(url: &str, detail: &str) -> Error {
    Error::failed(
        "elasticsearch did not answer as it should",
        format!("{url}: {detail}"),
        "check that the cluster is well, and that the account has the privileges read and maintenance on the indices",
    )
}
