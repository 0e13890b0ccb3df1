//! A way to a server that can be closed, and can lead to another one: what a firewall, a proxy or a name in DNS is to real ones.

#![allow(dead_code, reason = "each test uses a part of it")]

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub struct Way {
    pub address: String,
    state: watch::Sender<State>,
}

#[derive(Clone)]
struct State {
    target: String,
    is_open: bool,
}

impl Way {
    pub async fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (state, known) = watch::channel(State {
            target: target.to_owned(),
            is_open: true,
        });
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut known = known.clone();
                let target = known.borrow().target.clone();
                tokio::spawn(async move {
                    let pass = async {
                        let mut server = TcpStream::connect(target).await?;
                        copy_bidirectional(&mut client, &mut server).await
                    };
                    // Whichever it is, the connection ends; so it does when the server is gone, as it would without a way.
                    tokio::select! {
                        _ = known.wait_for(|state| !state.is_open) => {}
                        _ = pass => {}
                    }
                });
            }
        });
        Self { address, state }
    }

    /// Leads new connections there; those that are there already stay where they are.
    pub fn moves_to(&self, target: &str) {
        self.state.send_modify(|state| target.clone_into(&mut state.target));
    }

    /// While it is not open, connections end, and new ones end at once.
    pub fn open(&self, is_open: bool) {
        self.state.send_modify(|state| state.is_open = is_open);
    }
}
