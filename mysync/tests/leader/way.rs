//! A way to a server that can be closed: connections end, and new ones end at once.

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub struct Way {
    address: String,
    is_open: watch::Sender<bool>,
}

impl Way {
    pub async fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (is_open, state) = watch::channel(true);
        let target = target.to_owned();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (target, mut state) = (target.clone(), state.clone());
                tokio::spawn(async move {
                    let pass = async {
                        let mut server = TcpStream::connect(target).await?;
                        copy_bidirectional(&mut client, &mut server).await
                    };
                    // Whichever it is, the connection ends.
                    tokio::select! {
                        _ = state.wait_for(|is_open| !is_open) => {}
                        _ = pass => {}
                    }
                });
            }
        });
        Self { address, is_open }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn open(&self, is_open: bool) {
        self.is_open.send_replace(is_open);
    }
}
