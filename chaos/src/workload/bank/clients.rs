//! Where the clients find the primary: what a virtual address, a name or a proxy is to real ones.

use super::{PASSWORD, USER};
use fixtures::Mysql;
use mysql_async::Opts;
use tokio::sync::watch;

/// The clients of one bank. Cheap to clone.
#[derive(Clone)]
pub struct Clients {
    primary: watch::Sender<Opts>,
}

impl Clients {
    /// They begin with this primary.
    pub(super) fn of(primary: &Mysql) -> Self {
        let (primary, _) = watch::channel(primary.opts(USER, PASSWORD));
        Self { primary }
    }

    /// Leads them to another primary: they give up connections to the old one as soon as their transaction has ended.
    pub fn follow(&self, primary: &Mysql) {
        self.primary.send_replace(primary.opts(USER, PASSWORD));
    }

    pub(super) fn primary(&self) -> watch::Receiver<Opts> {
        self.primary.subscribe()
    }
}
