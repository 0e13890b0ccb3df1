//! One table at a time: its rows are read in ranges, and while one waits for its watermark and is published the next is read.

use super::chunk::{Chunk, Marked};
use super::pace::Pace;
use super::work::{KEYS_MAX, Phase, Table, Task, Work};
use crate::error::{Error, Result};
use crate::queue::outdated::Outdated;
use crate::schema::TableName;
use crate::source::{Edge, Refusal, Wanted};
use std::collections::VecDeque;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// Chunks that are being read or wait.
const CHUNKS_MAX: usize = 2;

/// After an error that passes, until the next try.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// A work that is being done.
pub(in crate::reader) struct Lane {
    /// The work's.
    pub(in crate::reader) id: String,
    pub(in crate::reader) table: TableName,
    pub(in crate::reader) chunks: VecDeque<Chunk>,
    pace: Pace,
    /// Keys that nobody has shown since the refresh began.
    outdated: Option<Outdated>,
    is_outdated_over: bool,
    lists: VecDeque<Vec<Vec<u8>>>,
    /// So many bytes were read that nothing came of them: the next key is read alone.
    reads_one: bool,
    retry_at: Option<Instant>,
    told: String,
}

/// What is next for a lane.
pub(super) enum Next {
    /// To read this.
    Read(Wanted, usize),
    /// To look for keys that are outdated.
    Search,
    /// To wait.
    Nothing,
    /// The phase is over.
    Over,
}

impl Lane {
    pub(super) fn new(work: &Work) -> Self {
        Self {
            id: work.id.clone(),
            table: work.task.table(),
            chunks: VecDeque::new(),
            pace: Pace::new(),
            outdated: None,
            is_outdated_over: false,
            lists: VecDeque::new(),
            reads_one: false,
            retry_at: None,
            told: String::new(),
        }
    }

    /// What was read is void, and what was found, too.
    pub(super) fn reset(&mut self) {
        self.chunks.clear();
        self.outdated = None;
        self.is_outdated_over = false;
        self.lists.clear();
    }

    /// What is to be done next for its work.
    pub(super) fn next(&self, work: &Work, strict: bool, bytes_max: usize) -> Next {
        if self.retry_at.is_some_and(|at| at > Instant::now()) || self.chunks.len() >= CHUNKS_MAX {
            return Next::Nothing;
        }
        let keys = |keys: Vec<Vec<u8>>| Next::Read(Wanted::Keys { keys, strict }, bytes_max);
        match &work.task {
            Task::Keys(_) if !self.chunks.is_empty() => Next::Nothing,
            Task::Keys(request) => {
                let keys_max = if self.reads_one { 1 } else { KEYS_MAX };
                let wanted = request.keys.iter().take(keys_max);
                keys(wanted.map(|key| key.clone().into_bytes()).collect())
            }
            Task::Table(table) => match (&table.phase, &self.lists.front()) {
                (Phase::Over(..), _) => Next::Nothing,
                (Phase::Rows, _) => self.next_range(table),
                (Phase::Gone, Some(list)) => {
                    let keys_max = if self.reads_one { 1 } else { usize::MAX };
                    keys(list.iter().take(keys_max).cloned().collect())
                }
                (Phase::Gone, None) if !self.is_outdated_over => match self.outdated {
                    None => Next::Search,
                    Some(_) => Next::Nothing,
                },
                (Phase::Gone, None) if self.chunks.is_empty() => Next::Over,
                (Phase::Gone, None) => Next::Nothing,
            },
        }
    }

    fn next_range(&self, table: &Table) -> Next {
        let after: Option<Edge> = match self.chunks.back().map(|chunk| &chunk.answer) {
            None => table.after.clone(),
            Some(Some(answer)) if !answer.is_complete => answer.last.clone(),
            Some(_) => return Next::Nothing,
        };
        let range = Wanted::Range {
            after,
            condition: table.condition.clone(),
            rows_max: self.pace.rows(),
        };
        Next::Read(range, super::pace::RANGE_BYTES_MAX)
    }

    /// A chunk of what [`Lane::next`] gave has begun.
    pub(super) fn begun(&mut self, chunk: Chunk) {
        self.retry_at = None;
        // Of a list of outdated keys.
        if let (false, Some(list)) = (chunk.is_range, self.lists.front_mut()) {
            list.drain(..chunk.asked_for.min(list.len()));
            if list.is_empty() {
                self.lists.pop_front();
            }
        }
        self.chunks.push_back(chunk);
    }

    /// Keys were not read since there were too many bytes.
    pub(super) fn left(&mut self, read: usize, left: Vec<Vec<u8>>, is_list: bool) {
        self.reads_one = !left.is_empty() && left.len() == read;
        if is_list && !left.is_empty() {
            self.lists.push_front(left);
        }
    }

    pub(super) fn search(&mut self, outdated: Outdated) {
        self.outdated = Some(outdated);
    }

    pub(super) fn is_searching(&self) -> bool {
        self.outdated.is_some()
    }

    pub(super) fn see(&mut self, mark: &[u8], marked: Marked) {
        self.chunks.iter_mut().for_each(|chunk| chunk.see(mark, marked));
    }

    pub(super) fn touch(&mut self, key: &[u8]) {
        self.chunks.iter_mut().for_each(|chunk| chunk.touch(key));
    }

    /// Reads again what the stream has changed too much of.
    pub(super) fn drop_overrun(&mut self) {
        if let Some(first) = self.chunks.iter().position(Chunk::is_overrun) {
            tracing::debug!(
                database = self.table.0,
                table = self.table.1,
                "the stream changed more rows than are remembered while others were read: they are read again"
            );
            self.chunks.truncate(first);
            self.pace.shrink();
        }
    }

    /// Takes what has come; ready if anything has.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let mut is_ready = false;
        for index in 0..self.chunks.len() {
            match self.chunks[index].poll(context) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => {
                    is_ready = true;
                    self.note(index);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(self.fail(index, error)),
            }
        }
        if let (Some(outdated), true) = (&mut self.outdated, self.lists.is_empty())
            && !self.is_outdated_over
        {
            match outdated.poll_next(context) {
                Poll::Pending => {}
                Poll::Ready(Ok(Some(list))) => {
                    is_ready = true;
                    self.lists.push_back(list);
                }
                Poll::Ready(Ok(None)) => {
                    is_ready = true;
                    self.is_outdated_over = true;
                }
                Poll::Ready(Err(error)) => {
                    self.outdated = None;
                    self.wait_after(&error);
                    return Poll::Ready(if error.is_transient() { Ok(()) } else { Err(error) });
                }
            }
        }
        match is_ready {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }

    fn note(&mut self, index: usize) {
        let chunk = &self.chunks[index];
        if let (None, Some(answer)) = (&chunk.wanted, &chunk.answer)
            && let Some(rows) = &answer.rows
        {
            self.pace.note(rows.len(), rows.bytes_len(), answer.took);
        }
    }

    /// An error that passes is none of the stream's: if the server is gone, the stream notices that itself.
    fn fail(&mut self, index: usize, error: Error) -> Result<()> {
        if !error.is_transient() {
            return Err(error);
        }
        self.wait_after(&error);
        if self.chunks[index].wanted.is_some() {
            // Their keys are not in a list any more.
            self.reset();
        } else {
            self.chunks.truncate(index);
        }
        Ok(())
    }

    fn wait_after(&mut self, error: &Error) {
        let text = error.one_line();
        match self.told == text {
            true => tracing::debug!("{text}"),
            false => tracing::warn!(
                database = self.table.0,
                table = self.table.1,
                "rows cannot be read beside the stream, trying again: {text}"
            ),
        }
        self.told = text;
        self.retry_at = Some(Instant::now() + RETRY_PAUSE);
    }

    /// When it wants to try again.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        self.retry_at.filter(|at| *at > Instant::now())
    }

    /// Why its table cannot be read, if it says so.
    pub(super) fn refusal(&mut self) -> Option<Refusal> {
        let chunk = self.chunks.front_mut()?;
        chunk.answer.as_mut()?.refusal.take()
    }
}
