//! The reader and the writers as the binaries that users run, in processes of their own.
//!
//! Their output goes to `reader.log`, `writer-redis.log` and so on in the run folder. Memory and CPU are taken from /proc twice a
//! second and once more before a kill. A process that ends by itself is recorded with its last lines and not started
//! again: a pipeline that needs a nurse has not held. Only processes started here are ever killed here.

pub(crate) mod usage;

use crate::drill::TargetName;
use crate::error::{Doing, Error, Result};
use crate::history::{ProcessChange, ProcessEvent, ProcessSample, Record, Recorder};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use usage::Usage;

/// Between two samples of memory and CPU.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(500);
/// Between two looks whether a doomed process is dead.
const DEATH_POLL_INTERVAL: Duration = Duration::from_millis(10);
/// The signal by which a process dies at its stop point, SIGABRT.
const ABORTED: i32 = 6;
/// Lines of a log that an error shows.
const LOG_LINES_SHOWN: usize = 12;

/// A process of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// `mysync reader`
    Reader,
    /// A second `mysync reader` of the same name.
    SecondReader,
    /// `mysync writer <target>`
    Writer(TargetName),
    /// A second one of the same target.
    SecondWriter(TargetName),
}

impl Role {
    /// Those that the pipeline to these targets has, in the order of a change's way.
    #[must_use]
    pub fn all(targets: &[TargetName]) -> Vec<Role> {
        let writers = targets.iter().map(|target| Role::Writer(*target));
        std::iter::once(Role::Reader).chain(writers).collect()
    }

    /// Its name in the history and of its log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Role::Reader => "reader",
            Role::SecondReader => "reader-2",
            Role::Writer(TargetName::Redis) => "writer-redis",
            Role::Writer(TargetName::Elasticsearch) => "writer-elasticsearch",
            Role::Writer(TargetName::Hbase) => "writer-hbase",
            Role::SecondWriter(TargetName::Redis) => "writer-redis-2",
            Role::SecondWriter(TargetName::Elasticsearch) => "writer-elasticsearch-2",
            Role::SecondWriter(TargetName::Hbase) => "writer-hbase-2",
        }
    }

    fn words(self) -> Vec<&'static str> {
        match self {
            Role::Reader | Role::SecondReader => vec!["reader"],
            Role::Writer(target) | Role::SecondWriter(target) => vec!["writer", target.word()],
        }
    }
}

/// The processes of one run. Dropping it kills them.
pub struct Pipeline {
    binary: PathBuf,
    config: PathBuf,
    second_config: PathBuf,
    second_writer_config: PathBuf,
    folder: PathBuf,
    shared: Arc<Shared>,
    sampler: JoinHandle<()>,
}

struct Shared {
    recorder: Recorder,
    folder: PathBuf,
    children: Mutex<BTreeMap<Role, Child>>,
    /// Those that are to die at a stop point.
    doomed: Mutex<BTreeSet<Role>>,
    /// Those that are to stop by themselves.
    stopping: Mutex<BTreeSet<Role>>,
    ended: Mutex<Vec<String>>,
}

impl Pipeline {
    /// Nothing runs yet. `binary` is what [`binary`] finds, `config` is the file that all processes get, `folder` takes their
    /// logs. The files of a second reader and of second writers are those beside it that [`second_config`] and
    /// [`second_writer_config`] name.
    pub fn new(binary: PathBuf, config: &Path, folder: &Path, recorder: &Recorder) -> Self {
        let shared = Arc::new(Shared {
            recorder: recorder.clone(),
            folder: folder.to_owned(),
            children: Mutex::default(),
            doomed: Mutex::default(),
            stopping: Mutex::default(),
            ended: Mutex::default(),
        });
        let sampler = tokio::spawn(Arc::clone(&shared).sample_for_ever());
        Self {
            binary,
            config: config.to_owned(),
            second_config: second_config(config),
            second_writer_config: second_writer_config(config),
            folder: folder.to_owned(),
            shared,
            sampler,
        }
    }

    /// Starts a process that does not run.
    pub fn start(&self, role: Role) -> Result<()> {
        self.spawn(role, &self.binary, &[])
    }

    /// Starts a process that dies at a stop point, `<place>@<n>=<action>` (mysync/src/stop_point/armed.rs).
    pub fn start_doomed(&self, role: Role, stop_point: &str) -> Result<()> {
        self.shared.doomed().insert(role);
        self.spawn(role, &stop_points_binary()?, &[("MYSYNC_STOP_POINT", stop_point)])
    }

    /// Starts a process that is expected to stop by itself, since it cannot go on.
    pub fn start_to_stop(&self, role: Role) -> Result<()> {
        self.shared.stopping().insert(role);
        self.start(role)
    }

    /// Stops a process in its tracks (SIGSTOP): it keeps its connections, and does and hears nothing.
    pub async fn pause(&self, role: Role) -> Result<()> {
        self.signal(role, "STOP").await?;
        self.shared.record(role, ProcessChange::Paused, String::new());
        Ok(())
    }

    /// Lets a paused process go on (SIGCONT).
    pub async fn resume(&self, role: Role) -> Result<()> {
        self.signal(role, "CONT").await?;
        self.shared.record(role, ProcessChange::Resumed, String::new());
        Ok(())
    }

    async fn signal(&self, role: Role, signal: &str) -> Result<()> {
        let pid = self.shared.children().get(&role).and_then(Child::id);
        let pid = pid
            .ok_or_else(|| Error::definite(format!("the {} does not run", role.name())).hint("start it first"))?
            .to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status().await;
        match sent.doing(|| "the command kill cannot be run".into())?.success() {
            true => Ok(()),
            false => Err(Error::definite(format!("no SIG{signal} for the {}", role.name()))),
        }
    }

    /// Waits until a process that was started doomed, or to stop, is gone; false when the deadline passed.
    pub async fn wait_for_death(&self, role: Role, deadline: Duration) -> bool {
        let gone = async {
            while self.runs(role) {
                tokio::time::sleep(DEATH_POLL_INTERVAL).await;
                self.shared.look_for_ended();
            }
        };
        tokio::time::timeout(deadline, gone).await.is_ok()
    }

    fn spawn(&self, role: Role, binary: &Path, environment: &[(&str, &str)]) -> Result<()> {
        let log = open_log(&self.folder, role)?;
        let errors = log
            .try_clone()
            .doing(|| format!("the log of the {} cannot be opened", role.name()))?;
        let child = Command::new(binary)
            .envs(environment.iter().copied())
            .args(role.words())
            .arg("--config")
            .arg(match role {
                Role::SecondReader => &self.second_config,
                Role::SecondWriter(_) => &self.second_writer_config,
                Role::Reader | Role::Writer(_) => &self.config,
            })
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .doing(|| format!("the {} cannot be started: {}", role.name(), binary.display()))?;
        let detail = child.id().map_or(String::new(), |pid| format!("process {pid}"));
        self.shared.children().insert(role, child);
        self.shared.record(role, ProcessChange::Started, detail);
        Ok(())
    }

    /// Ends a process with SIGKILL and waits until it is gone.
    pub async fn kill9(&self, role: Role) -> Result<()> {
        self.end(role, ProcessChange::Killed).await
    }

    /// Kills and starts a process.
    pub async fn restart(&self, role: Role) -> Result<()> {
        self.kill9(role).await?;
        self.start(role)
    }

    /// Ends all processes: they lose nothing by a kill, or the drill would say so.
    pub async fn stop(&self) -> Result<()> {
        let running: Vec<Role> = self.shared.children().keys().copied().collect();
        for role in running {
            self.end(role, ProcessChange::Stopped).await?;
        }
        Ok(())
    }

    /// Whether a process runs that was started here.
    #[must_use]
    pub fn runs(&self, role: Role) -> bool {
        self.shared.children().contains_key(&role)
    }

    /// An error if a process ended by itself.
    pub fn check(&self) -> Result<()> {
        let ended = self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner);
        match ended.first() {
            None => Ok(()),
            Some(what) => {
                Err(Error::definite(what.clone()).hint(format!("the whole log is in {}", self.folder.display())))
            }
        }
    }

    async fn end(&self, role: Role, change: ProcessChange) -> Result<()> {
        self.shared.sample();
        let child = self.shared.children().remove(&role);
        self.shared.doomed().remove(&role);
        let Some(mut child) = child else {
            self.check()?;
            return Err(Error::definite(format!("the {} does not run", role.name())).hint("start it first"));
        };
        child
            .kill()
            .await
            .doing(|| format!("the {} cannot be killed", role.name()))?;
        self.shared.record(role, change, String::new());
        Ok(())
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.sampler.abort();
        // The sampler's task can outlive this a little and holds the children too.
        self.shared.children().clear();
    }
}

impl Shared {
    fn children(&self) -> MutexGuard<'_, BTreeMap<Role, Child>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn doomed(&self) -> MutexGuard<'_, BTreeSet<Role>> {
        self.doomed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopping(&self) -> MutexGuard<'_, BTreeSet<Role>> {
        self.stopping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, role: Role, what: ProcessChange, detail: String) {
        let (at_us, name) = (self.recorder.now_us(), role.name().to_owned());
        self.recorder.append(&Record::ProcessEvent(ProcessEvent {
            at_us,
            name,
            what,
            detail,
        }));
    }

    async fn sample_for_ever(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(SAMPLE_INTERVAL);
        loop {
            ticks.tick().await;
            self.sample();
        }
    }

    fn sample(&self) {
        self.look_for_ended();
        for (role, child) in self.children().iter() {
            let Some((pid, usage)) = child.id().and_then(|pid| Some((pid, Usage::of(pid)?))) else {
                continue;
            };
            self.recorder.append(&Record::Process(ProcessSample {
                at_us: self.recorder.now_us(),
                name: role.name().into(),
                pid,
                resident_kb: usage.resident_kb,
                resident_peak_kb: usage.resident_peak_kb,
                cpu_ms: usage.cpu_ms,
            }));
        }
    }

    /// A process that ended by itself is nobody's victim, unless it was doomed, or had to stop.
    fn look_for_ended(&self) {
        let mut children = self.children();
        let mut gone = Vec::new();
        for (role, child) in children.iter_mut() {
            if let Ok(Some(status)) = child.try_wait() {
                gone.push((*role, status));
            }
        }
        for (role, status) in gone {
            children.remove(&role);
            let is_doomed = self.doomed().remove(&role);
            if is_doomed && status.signal() == Some(ABORTED) {
                self.record(role, ProcessChange::Killed, format!("at its stop point: {status}"));
                continue;
            }
            let log = last_lines(&self.folder.join(log_name(role)));
            if !self.stopping().remove(&role) {
                let what = format!("the {} ended by itself: {status}\n{log}", role.name());
                self.ended
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(what.trim_end().to_owned());
            }
            self.record(
                role,
                ProcessChange::Ended,
                format!("{status}\n{log}").trim_end().to_owned(),
            );
        }
    }
}

/// The binary `mysync` beside this one, or, in a test, beside the folder of the tests.
pub fn binary() -> Result<PathBuf> {
    beside("mysync", "cargo build --workspace")
}

/// The same with stop points, for tests.
pub fn stop_points_binary() -> Result<PathBuf> {
    let how = "cargo build --workspace --bin mysync-stop-points --features mysync/stop-points";
    beside("mysync-stop-points", how)
}

fn beside(name: &str, how: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().doing(|| "the path of this binary is not known".into())?;
    let folders = own.ancestors().skip(1).take(2);
    let found = folders
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file());
    found.ok_or_else(|| Error::definite(format!("the binary {name} is not beside {}", own.display())).hint(how))
}

/// The configuration of a second reader, beside the one of the first.
#[must_use]
pub fn second_config(config: &Path) -> PathBuf {
    config.with_file_name("mysync-2.toml")
}

/// The configuration of the second writers, beside the one of the first.
#[must_use]
pub fn second_writer_config(config: &Path) -> PathBuf {
    config.with_file_name("mysync-writer-2.toml")
}

fn log_name(role: Role) -> String {
    format!("{}.log", role.name())
}

fn open_log(folder: &Path, role: Role) -> Result<File> {
    let path = folder.join(log_name(role));
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .doing(|| format!("a log cannot be opened: {}", path.display()))
}

fn last_lines(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
}
