//! The binary `mysync`, run beside a test: with its output kept, asked over HTTP, and gone when the test is.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(60);
const LOG_LINES_SHOWN: usize = 40;
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A process that runs.
pub struct Process {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// A process that has ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command to its end.
pub fn mysync(arguments: &[&str]) -> Ended {
    let output = Command::new(env!("CARGO_BIN_EXE_mysync"))
        .args(arguments)
        .output()
        .unwrap();
    Ended {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Process {
    /// Starts a command; `filter` is that of its log.
    pub fn start(name: &str, arguments: &[&str], filter: &str) -> Self {
        let file = |kind: &str| std::env::temp_dir().join(format!("mysync-{}-{name}.{kind}", std::process::id()));
        let (stdout, stderr) = (file("stdout"), file("stderr"));
        let child = Command::new(env!("CARGO_BIN_EXE_mysync"))
            .args(arguments)
            .env("MYSYNC_LOG", filter)
            .stdin(Stdio::null())
            .stdout(File::create(&stdout).unwrap())
            .stderr(File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        Self { child, stdout, stderr }
    }

    /// Sends a signal, given by its name.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status();
        assert!(sent.unwrap().success());
    }

    /// SIGTERM; gives the exit code.
    pub fn terminate(&mut self) -> i32 {
        self.signal("TERM");
        self.ended()
    }

    /// SIGKILL; it must not have ended by itself.
    pub fn kill(mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "the process ended by itself: {ended:?}");
    }

    /// Waits until it has ended by itself; gives the exit code.
    pub fn ended(&mut self) -> i32 {
        wait_until("the process has ended", || self.child.try_wait().unwrap())
            .code()
            .unwrap_or(-1)
    }

    /// What it wrote to standard output until now.
    pub fn stdout(&self) -> String {
        std::fs::read_to_string(&self.stdout).unwrap()
    }

    /// What it logged until now.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap()
    }
}

#[allow(clippy::print_stderr)]
impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            // The test has failed: what the process said last may say why.
            let log = std::fs::read_to_string(&self.stderr).unwrap_or_default();
            let lines: Vec<&str> = log.lines().filter(|line| !line.contains("TRACE")).collect();
            let first = lines.len().saturating_sub(LOG_LINES_SHOWN);
            eprintln!(
                "last lines of {}:\n{}",
                self.stderr.display(),
                lines[first..].join("\n")
            );
        }
        for file in [&self.stdout, &self.stderr] {
            std::fs::remove_file(file).ok();
        }
    }
}

/// An address on this machine that nobody listens at.
pub fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Status code and text of what is served there; `None` while nobody listens.
pub fn get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let code = answer.split(' ').nth(1)?.parse().ok()?;
    Some((code, answer.split_once("\r\n\r\n")?.1.to_owned()))
}

/// The answer to a request, whose first lines are given.
pub fn raw(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{request}Host: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Waits for a condition; the error names it and the deadline.
#[allow(clippy::disallowed_methods)] // This is the wait that names them.
pub fn wait_until<T>(condition: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not in {DEADLINE:?}: {condition}");
        std::thread::sleep(POLL_INTERVAL);
    }
}
