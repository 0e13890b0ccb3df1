//! A way between two processes that can be blocked: what a firewall that drops packets is to real networks.
//!
//! While it is blocked, nothing goes through in either direction, and nobody is told: connections stay, new ones are taken and
//! stay silent. When it is open again, what waited goes on.

use crate::error::{Doing, Result};
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Bytes that are taken at a time; as many may wait in each direction of each connection, besides what the kernel holds.
const BUFFER_BYTES: usize = 64 * 1024;

/// Listens until it is dropped.
pub struct Proxy {
    address: SocketAddr,
    blocked: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// A way to `target`, `<host>:<port>`, open at first.
    pub async fn start(target: &str) -> Result<Self> {
        let what = || format!("no proxy to {target}");
        let listener = TcpListener::bind("127.0.0.1:0").await.doing(what)?;
        let address = listener.local_addr().doing(what)?;
        let (blocked, is_blocked) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, target.to_owned(), is_blocked));
        Ok(Self {
            address,
            blocked,
            _tasks: tasks,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Blocks it, or opens it again.
    pub fn block(&self, blocked: bool) {
        self.blocked.send_replace(blocked);
    }
}

async fn serve(listener: TcpListener, target: String, blocked: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => drop(connections.spawn(connect(client, target.clone(), blocked.clone()))),
                Err(error) => tracing::debug!(%error, "a connection was not taken"),
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Whatever goes wrong ends both connections, as it does without a proxy.
async fn connect(client: TcpStream, target: String, mut blocked: watch::Receiver<bool>) {
    if blocked.wait_for(|blocked| !blocked).await.is_err() {
        return;
    }
    let Ok(server) = TcpStream::connect(&target).await else {
        return;
    };
    // What is small must not wait: latencies are measured through it.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (client, server) = (client.into_split(), server.into_split());
    tokio::select! {
        () = copy(client.0, server.1, blocked.clone()) => {}
        () = copy(server.0, client.1, blocked) => {}
    }
}

/// Ends when one side does, or fails.
async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut blocked: watch::Receiver<bool>) {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = from.read(&mut buffer).await.unwrap_or(0);
        // The end of a connection does not get through either.
        let open = blocked.wait_for(|blocked| !blocked).await.is_ok();
        if count == 0 || !open || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Answers every byte with the next one.
    async fn counting_server() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    while let Ok(byte) = client.read_u8().await {
                        client.write_u8(byte + 1).await.unwrap();
                    }
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn what_waits_while_it_is_blocked_goes_on_afterwards() {
        let proxy = Proxy::start(&counting_server().await).await.unwrap();
        let mut before = TcpStream::connect(proxy.address()).await.unwrap();
        before.write_u8(1).await.unwrap();
        assert_eq!(before.read_u8().await.unwrap(), 2);

        proxy.block(true);
        let mut meanwhile = TcpStream::connect(proxy.address()).await.unwrap();
        for client in [&mut before, &mut meanwhile] {
            client.write_u8(5).await.unwrap();
            let answer = tokio::time::timeout(Duration::from_millis(100), client.read_u8()).await;
            assert!(answer.is_err(), "it is blocked, and says nothing");
        }

        proxy.block(false);
        assert_eq!(before.read_u8().await.unwrap(), 6);
        assert_eq!(meanwhile.read_u8().await.unwrap(), 6);
    }

    #[tokio::test]
    async fn a_server_that_is_gone_ends_the_connection() {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let proxy = Proxy::start(&gone.to_string()).await.unwrap();
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(client.read_u8().await.is_err());
    }
}
