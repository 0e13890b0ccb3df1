//! What can be published, since the stream is at its watermark, and what becomes of a work when it has been.

use super::Refresh;
use super::chunk::{Chunk, Marked};
use super::lane::Lane;
use super::work::{Phase, Stage, Task};
use crate::error::Error;
use crate::source::State;

impl Refresh {
    /// Whether something can be published.
    pub(in crate::reader) fn is_due(&self) -> bool {
        let is_due = |lane: &Lane| lane.chunks.front().is_some_and(|chunk| chunk.due().is_some());
        self.lanes.iter().any(is_due)
    }

    /// What is to be published next: the lanes take turns. It is to be given back.
    pub(in crate::reader) fn take_due(&mut self) -> Option<(usize, Chunk, Marked)> {
        let count = self.lanes.len();
        for step in 0..count {
            let index = (self.turn + step) % count;
            let marked = self.lanes[index].chunks.front().and_then(Chunk::due);
            if let Some(marked) = marked
                && let Some(chunk) = self.lanes[index].chunks.pop_front()
            {
                self.turn = index + 1;
                return Some((index, chunk, marked));
            }
        }
        None
    }

    /// Gives a chunk back of which not all is published.
    pub(in crate::reader) fn give_back(&mut self, index: usize, chunk: Chunk) {
        self.lanes[index].chunks.push_front(chunk);
    }

    /// Whether a lane's work is a table that a person has asked for.
    pub(in crate::reader) fn is_asked(&self, index: usize) -> bool {
        let work = self.works.get(&self.lanes[index].id);
        work.is_some_and(|work| matches!(&work.task, Task::Table(table) if table.reason.is_none()))
    }

    /// A lane's work cannot be done.
    pub(in crate::reader) fn fail(&mut self, index: usize, error: &Error) {
        let lane = &self.lanes[index];
        let (id, (database, table)) = (lane.id.clone(), lane.table.clone());
        tracing::warn!(database, table, "a table cannot be dumped: {}", error.one_line());
        self.end(&id, State::Failed, &error.one_line());
    }

    /// All of a chunk is published, but for keys that are left since there were too many bytes.
    pub(in crate::reader) fn finish(&mut self, index: usize, chunk: &Chunk, left: Vec<Vec<u8>>) {
        let read = chunk.asked_for;
        self.is_stirred = true;
        let lane = &mut self.lanes[index];
        let Some(work) = self.works.change(&lane.id) else {
            return;
        };
        let mut is_done = false;
        match &mut work.task {
            Task::Keys(request) => {
                let rest = request.keys.split_off(read.min(request.keys.len()));
                request.keys = left
                    .iter()
                    .map(|key| String::from_utf8_lossy(key).into_owned())
                    .collect();
                request.keys.extend(rest);
                lane.left(read, left, false);
                is_done = request.keys.is_empty();
            }
            Task::Table(table) => match &chunk.answer {
                Some(answer) if chunk.is_range => {
                    table.rows += answer.rows.as_ref().map_or(0, |rows| rows.len() as u64);
                    table.after.clone_from(&answer.last);
                    if answer.is_complete {
                        table.after = None;
                        (table.phase, work.stage) = match table.condition {
                            None => (Phase::Gone, Stage::New),
                            Some(_) => (Phase::Over(State::Done, String::new()), Stage::New),
                        };
                        lane.reset();
                    }
                }
                _ => {
                    table.gone += chunk.gone;
                    lane.left(read, left, true);
                }
            },
        }
        let id = lane.id.clone();
        let is_over = matches!(&work.task, Task::Table(table) if table.is_over());
        if is_done {
            self.works.remove(&id);
        }
        if is_done || is_over {
            self.lanes.remove(index);
        }
    }
}
