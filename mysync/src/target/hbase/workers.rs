//! The threads that write the chunks of one round, each over a connection of its own.

use super::connection::Pool;
use super::rows::{Chunk, Refusal};
use super::shapes::Shapes;
use crate::error::{Error, Result};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use tokio::task::JoinHandle;

/// Threads that share a queue of chunks. They start when chunks come, so that a small round has one.
pub(super) struct Workers<'a> {
    pool: &'a Pool,
    threads_max: usize,
    shapes: &'a Arc<Mutex<Shapes>>,
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<Result<Vec<Refusal>>>>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Chunk>,
    /// No further ones come.
    closed: bool,
}

impl<'a> Workers<'a> {
    pub(super) fn new(pool: &'a Pool, threads_max: usize, shapes: &'a Arc<Mutex<Shapes>>) -> Self {
        Self {
            pool,
            threads_max,
            shapes,
            queue: Arc::default(),
            threads: Vec::new(),
        }
    }

    pub(super) fn send(&mut self, chunk: Chunk) {
        self.queue.change(|state| state.waiting.push_back(chunk));
        if self.threads.len() < self.threads_max {
            let (pool, queue, shapes) = (self.pool.clone(), Arc::clone(&self.queue), Arc::clone(self.shapes));
            self.threads.push(tokio::task::spawn_blocking(move || {
                // After an error, and after a panic, the others need not go on.
                let _closes = Close(&queue);
                let mut lent = pool.lend();
                let mut refused = Vec::new();
                while let Some(chunk) = queue.next() {
                    refused.extend(chunk.apply(&mut lent, &shapes)?);
                }
                Ok(refused)
            }));
        }
    }

    /// What was refused, once all chunks are written.
    pub(super) async fn finish(mut self) -> Result<Vec<Refusal>> {
        self.queue.change(|state| state.closed = true);
        let mut refused = Vec::new();
        let mut failed = None;
        for thread in std::mem::take(&mut self.threads) {
            match thread.await.map_err(Error::transient_join) {
                Ok(Ok(more)) => refused.extend(more),
                Ok(Err(error)) | Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(refused), Err)
    }
}

impl Drop for Workers<'_> {
    fn drop(&mut self) {
        self.queue.abandon();
    }
}

impl Queue {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    /// Waits for the next chunk; none when no further ones come.
    fn next(&self) -> Option<Chunk> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(chunk) = state.waiting.pop_front() {
                return Some(chunk);
            }
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn abandon(&self) {
        self.change(|state| {
            state.waiting.clear();
            state.closed = true;
        });
    }
}

/// Abandons the queue when its thread ends; a thread that ends well has emptied it.
struct Close<'a>(&'a Queue);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}
