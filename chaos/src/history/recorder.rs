//! Appends to the history while the run goes on, from every task.

use super::{FILE_NAME, Record};
use crate::error::{Doing, Result};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 1 << 20;

/// The clock of the run and the file. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    began: Instant,
    file: Arc<Mutex<Sink>>,
}

struct Sink {
    writer: BufWriter<File>,
    /// The first failure to write; a history with holes must not be judged, so it is reported at the end.
    failure: Option<std::io::Error>,
}

impl Recorder {
    /// Begins the history of a run folder, which must not have one.
    pub fn create(run_folder: &Path) -> Result<Self> {
        let path = run_folder.join(FILE_NAME);
        let file = File::create_new(&path).doing(|| format!("the history cannot be created: {}", path.display()))?;
        let sink = Sink {
            writer: BufWriter::with_capacity(BUFFER_BYTES, file),
            failure: None,
        };
        Ok(Self {
            began: Instant::now(),
            file: Arc::new(Mutex::new(sink)),
        })
    }

    /// Microseconds since the run began.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        self.us_of(Instant::now())
    }

    /// Microseconds from the begin of the run to `instant`.
    #[must_use]
    pub fn us_of(&self, instant: Instant) -> u64 {
        u64::try_from(instant.saturating_duration_since(self.began).as_micros()).unwrap_or(u64::MAX)
    }

    /// Appends one line. A failure is kept and comes out of [`Recorder::flush`].
    pub fn append(&self, record: &Record) {
        let mut sink = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let written = serde_json::to_writer(&mut sink.writer, record)
            .map_err(std::io::Error::from)
            .and_then(|()| sink.writer.write_all(b"\n"));
        if let Err(error) = written {
            sink.failure.get_or_insert(error);
        }
    }

    /// Writes what was gathered, and says whether all went well since the begin.
    pub fn flush(&self) -> Result<()> {
        let mut sink = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = sink.writer.flush() {
            sink.failure.get_or_insert(error);
        }
        match sink.failure.take() {
            None => Ok(()),
            Some(error) => Err(error).doing(|| "the history could not be written".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Ended, History, Phase, PhaseBegun};
    use super::*;

    fn recorded(folder: &Path) {
        let recorder = Recorder::create(folder).unwrap();
        recorder.append(&Record::Phase(PhaseBegun {
            at_us: recorder.now_us(),
            phase: Phase::Before,
        }));
        recorder.append(&Record::Ended(Ended {
            at_us: recorder.now_us(),
            trouble: None,
        }));
        recorder.flush().unwrap();
    }

    #[test]
    fn reads_back_what_was_appended() {
        let folder = tempfile::tempdir().unwrap();
        recorded(folder.path());
        let history = History::read(folder.path()).unwrap();
        assert_eq!(history.phases[0].phase, Phase::Before);
        assert!(history.ended.is_some() && !history.cut_off);
    }

    #[test]
    fn never_overwrites_an_older_run() {
        let folder = tempfile::tempdir().unwrap();
        recorded(folder.path());
        assert!(Recorder::create(folder.path()).is_err());
    }

    #[test]
    fn a_cut_off_last_line_is_marked_and_a_damaged_one_refused() {
        let folder = tempfile::tempdir().unwrap();
        recorded(folder.path());
        let path = folder.path().join(FILE_NAME);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 5]).unwrap();
        let history = History::read(folder.path()).unwrap();
        assert!(history.cut_off && history.ended.is_none());
        std::fs::write(&path, format!("{{}}\n{text}")).unwrap();
        assert!(History::read(folder.path()).unwrap_err().to_string().contains("line 1"));
    }
}
