//! The way from a writer to a server, which can be slow or cut. A cut way is one on which packets vanish: connections stay, and
//! nothing comes.

use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What comes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Open,
    /// 400 KB/s, 20 ms late each way.
    Slow,
    Cut,
}

const BYTES_AT_ONCE: usize = 8 * 1024;
const DELAY: Duration = Duration::from_millis(20);

pub struct Way {
    pub address: String,
    mode: watch::Sender<Mode>,
}

impl Way {
    pub async fn start(to: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (mode, seen) = watch::channel(Mode::Open);
        let to = to.to_owned();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                // Like a server that is not there: the connection ends.
                let Ok(far) = TcpStream::connect(&to).await else {
                    continue;
                };
                let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
                tokio::spawn(copy(near_read, far_write, seen.clone()));
                tokio::spawn(copy(far_read, near_write, seen.clone()));
            }
        });
        Self { address, mode }
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn copy(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut mode: watch::Receiver<Mode>,
) {
    let mut buffer = vec![0; BYTES_AT_ONCE];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let Ok(mode) = mode.wait_for(|mode| *mode != Mode::Cut).await.map(|mode| *mode) else {
            return;
        };
        if mode == Mode::Slow {
            tokio::time::sleep(DELAY).await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
