//! Reading rows beside the stream: on threads of their own, each with its connection.
//!
//! The stream is decoded and encoded on one thread, which must neither wait for rows nor be waited for. A thread lives as long
//! as there is work, and some seconds longer. Whoever stops waiting for an answer ends the thread that works on it.

use super::MySqlSource;
use super::rows::Link;
use crate::error::{Error, Result};
use crate::source::{RowsAnswer, RowsRequest};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How long a thread without work keeps its connection.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// The threads that have nothing to do.
#[derive(Default)]
pub(super) struct Workers {
    idle: Mutex<Vec<mpsc::UnboundedSender<Order>>>,
}

struct Order {
    source: Box<MySqlSource>,
    request: RowsRequest,
    answer: oneshot::Sender<Result<RowsAnswer>>,
}

impl Workers {
    /// Has a request read.
    pub(super) async fn read(self: Arc<Self>, source: MySqlSource, request: RowsRequest) -> Result<RowsAnswer> {
        let ended = || Error::transient("a thread that reads rows has ended");
        let (answer, answered) = oneshot::channel();
        let order = Order {
            source: Box::new(source),
            request,
            answer,
        };
        let worker = self.give(order)?;
        let answer = answered.await.map_err(|_| ended())??;
        self.idle().push(worker);
        Ok(answer)
    }

    /// Gives the order to a thread that is idle, or to a new one.
    fn give(&self, mut order: Order) -> Result<mpsc::UnboundedSender<Order>> {
        loop {
            let worker = match self.idle().pop() {
                Some(worker) => worker,
                None => start()?,
            };
            match worker.send(order) {
                Ok(()) => return Ok(worker),
                // It was idle for too long.
                Err(refused) => order = refused.0,
            }
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<mpsc::UnboundedSender<Order>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn start() -> Result<mpsc::UnboundedSender<Order>> {
    let (sender, orders) = mpsc::unbounded_channel();
    let failed = |error| Error::transient("cannot start a thread that reads rows").detail(error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(failed)?;
    std::thread::Builder::new()
        .name("mysql-rows".into())
        .spawn(move || runtime.block_on(work(orders)))
        .map_err(failed)?;
    Ok(sender)
}

/// Takes orders until there are none for a while, or one fails.
async fn work(mut orders: mpsc::UnboundedReceiver<Order>) {
    let mut kept: Option<(String, Link)> = None;
    while let Ok(Some(order)) = tokio::time::timeout(IDLE_MAX, orders.recv()).await {
        let Order {
            source,
            request,
            mut answer,
        } = order;
        let server = source
            .chosen
            .as_ref()
            .map_or_else(String::new, |server| server.uuid.clone());
        let link = kept.take().filter(|(uuid, _)| *uuid == server).map(|(_, link)| link);
        let reading = async {
            let mut link = match link {
                Some(link) => link,
                None => Link::open(&source).await?,
            };
            let read = link.read(&source, &request).await?;
            Ok((read, link))
        };
        let read = tokio::select! {
            read = reading => read,
            () = answer.closed() => return,
        };
        match read {
            Ok((read, link)) => {
                // One that was refused may have left its statement half done.
                kept = read.refusal.is_none().then_some((server, link));
                answer.send(Ok(read)).ok();
            }
            Err(error) => {
                answer.send(Err(error)).ok();
                return;
            }
        }
    }
    if let Some((_, link)) = kept {
        link.close().await;
    }
}
