//! Asking the process that serves at an address: one request, one answer.

use crate::error::{Error, Result};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Bytes};
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 << 20;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Sends a request; gives the answer's code and body.
pub(super) async fn send<B>(
    address: &str,
    request: hyper::http::Result<Request<B>>,
    timeout: Duration,
) -> Result<(StatusCode, Bytes)>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Cause>,
{
    let what = || format!("no answer from {address}");
    match tokio::time::timeout(timeout, exchange(address, request)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Error::transient(what())
            .detail(error)
            .hint("is the process up, with this configuration?")),
        Err(_) => Err(Error::transient(what()).detail(format!("not in {} s", timeout.as_secs()))),
    }
}

async fn exchange<B>(address: &str, request: hyper::http::Result<Request<B>>) -> Result<(StatusCode, Bytes), Cause>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Cause>,
{
    let mut request = request?;
    let address = tokio::net::lookup_host(address).await?.next().ok_or("no such host")?;
    request.headers_mut().insert(header::HOST, address.to_string().parse()?);
    let stream = TcpStream::connect(reachable(address)).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await?;
    Ok((status, body.to_bytes()))
}

/// Who listens at every address is asked at this machine's own.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_listens_everywhere_is_asked_here() {
        let here = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(here("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(here("[::]:1"), "[::1]:1");
        assert_eq!(here("10.0.0.1:1"), "10.0.0.1:1");
    }
}
