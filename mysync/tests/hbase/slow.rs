//! A way to a server that takes its time: everything that goes through comes late, and only so much a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// 400 KB/s, and 20 ms each way.
const BYTES_AT_ONCE: usize = 8 * 1024;
const DELAY: Duration = Duration::from_millis(20);

pub struct Slow {
    pub address: String,
    bytes: Arc<AtomicUsize>,
}

impl Slow {
    pub async fn start(to: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (to, bytes) = (to.to_owned(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&bytes);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(&to).await else {
                    continue;
                };
                let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
                tokio::spawn(copy(near_read, far_write, Arc::clone(&counted)));
                tokio::spawn(copy(far_read, near_write, Arc::clone(&counted)));
            }
        });
        Self { address, bytes }
    }

    /// How much has come through.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

async fn copy(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin, bytes: Arc<AtomicUsize>) {
    let mut buffer = vec![0; BYTES_AT_ONCE];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        tokio::time::sleep(DELAY).await;
        bytes.fetch_add(read, Ordering::Relaxed);
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
