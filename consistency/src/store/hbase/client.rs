//! The sessions with the Thrift2 gateway: blocking ones, each used by one thread at a time.

use std::io::{BufReader, BufWriter};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hbase_thrift2::thrift::protocol::{
    TBinaryInputProtocol, TBinaryOutputProtocol, TCompactInputProtocol, TCompactOutputProtocol, TInputProtocol,
    TOutputProtocol,
};
use hbase_thrift2::thrift::transport::{TFramedReadTransport, TFramedWriteTransport};
use hbase_thrift2::thrift::{self, TransportErrorKind};
use hbase_thrift2::{TIOError, TTHBaseServiceSyncClient, TTableName};
use tokio::sync::Semaphore;

use super::Session;
use crate::config::{self, Address, Protocol, Transport};
use crate::error::Error;

const CONNECT_MAX: Duration = Duration::from_secs(10);
/// A batch of large rows on a busy machine takes its time.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// How long a table may be refused that is there.
const BUSY_MAX: Duration = Duration::from_secs(30);
/// Before it is asked again.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// The gateway closes a session that nobody uses for a minute.
const IDLE_MAX: Duration = Duration::from_secs(30);

pub type Input = Box<dyn TInputProtocol + Send>;
pub type Output = Box<dyn TOutputProtocol + Send>;

/// A few sessions, opened when they are needed.
pub struct Client {
    gateway: Gateway,
    turns: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<(Session, Instant)>>>,
}

#[derive(Clone)]
struct Gateway {
    address: Address,
    transport: Transport,
    protocol: Protocol,
}

/// What became of a question about a table.
enum Asked<T> {
    Answer(T),
    NoTable,
    Refused(String),
}

impl Client {
    /// At most `sessions_max` at a time; nothing is opened yet.
    pub fn new(section: &config::Hbase, sessions_max: usize) -> Self {
        Self {
            gateway: Gateway {
                address: section.thrift.clone(),
                transport: section.transport,
                protocol: section.protocol,
            },
            turns: Arc::new(Semaphore::new(sessions_max)),
            idle: Arc::default(),
        }
    }

    /// Asks about a table; none if there is no such table. One that was just made, or whose regions move, is asked again for
    /// a while.
    pub async fn ask_of_table<T, F>(&self, table: &[u8], question: F) -> Result<Option<T>, Error>
    where
        T: Send + 'static,
        F: Fn(&mut Session) -> thrift::Result<T> + Send + Sync + 'static,
    {
        let name = TTableName {
            ns: None,
            qualifier: table.to_vec(),
        };
        let question = Arc::new(question);
        let deadline = Instant::now() + BUSY_MAX;
        loop {
            let (question, name) = (question.clone(), name.clone());
            let asked = self.ask(move |session| match question(session) {
                Ok(answer) => Ok(Asked::Answer(answer)),
                // What it says of a table that is not there is different from call to call.
                Err(error) if is_refusal(&error) && !session.table_exists(name.clone())? => Ok(Asked::NoTable),
                Err(error) if is_refusal(&error) => Ok(Asked::Refused(text_of(&error))),
                Err(error) => Err(error),
            });
            match asked.await? {
                Asked::Answer(answer) => return Ok(Some(answer)),
                Asked::NoTable => return Ok(None),
                Asked::Refused(_) if Instant::now() < deadline => tokio::time::sleep(BUSY_PAUSE).await,
                Asked::Refused(text) => return Err(self.gateway.failed(&text)),
            }
        }
    }

    /// Asks on a thread for blocking work; once more on a new session if the one at hand turns out to be broken.
    pub async fn ask<T, F>(&self, question: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Fn(&mut Session) -> thrift::Result<T> + Send + 'static,
    {
        // Never closed.
        let turn = self.turns.clone().acquire_owned().await;
        let (gateway, idle) = (self.gateway.clone(), self.idle.clone());
        let answer = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            if let Some((mut session, _)) = kept.filter(|(_, used_at)| used_at.elapsed() < IDLE_MAX) {
                match question(&mut session) {
                    Err(thrift::Error::Transport(_)) => {}
                    answer => return gateway.keep(&idle, session, answer),
                }
            }
            let mut session = gateway.open()?;
            let answer = question(&mut session);
            gateway.keep(&idle, session, answer)
        });
        match answer.await {
            Ok(answer) => answer,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(error) => Err(self.gateway.failed(&error.to_string())),
        }
    }
}

impl Gateway {
    fn open(&self) -> Result<Session, Error> {
        let stream = self.connect().map_err(|error| {
            Error::failed(
                "cannot open an HBase session",
                format!("{}: {error}", self.address),
                "start the Thrift2 gateway, or correct thrift in [writer.hbase]",
            )
        })?;
        let writing = stream.try_clone().map_err(|error| self.failed(&error.to_string()))?;
        let (input, output): (Input, Output) = match self.transport {
            Transport::Buffered => self.speak(BufReader::new(stream), BufWriter::new(writing)),
            Transport::Framed => self.speak(
                TFramedReadTransport::new(BufReader::new(stream)),
                TFramedWriteTransport::new(BufWriter::new(writing)),
            ),
        };
        Ok(Session::new(input, output))
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let mut failed = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
        for address in (self.address.host.as_str(), self.address.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT_MAX) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(ANSWER_MAX))?;
                    stream.set_write_timeout(Some(ANSWER_MAX))?;
                    return Ok(stream);
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    fn speak<R, W>(&self, reading: R, writing: W) -> (Input, Output)
    where
        R: std::io::Read + Send + 'static,
        W: std::io::Write + Send + 'static,
    {
        match self.protocol {
            Protocol::Binary => (
                Box::new(TBinaryInputProtocol::new(reading, true)),
                Box::new(TBinaryOutputProtocol::new(writing, true)),
            ),
            Protocol::Compact => (
                Box::new(TCompactInputProtocol::new(reading)),
                Box::new(TCompactOutputProtocol::new(writing)),
            ),
        }
    }

    /// Keeps a session whose answer came whole.
    fn keep<T>(
        &self,
        idle: &Mutex<Vec<(Session, Instant)>>,
        session: Session,
        answer: thrift::Result<T>,
    ) -> Result<T, Error> {
        if answer.is_ok() {
            idle.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((session, Instant::now()));
        }
        answer.map_err(|error| self.failed(&text_of(&error)))
    }

    fn failed(&self, detail: &str) -> Error {
        Error::failed(
            "hbase did not answer as it should",
            format!("{}: {detail}", self.address),
            "check that HBase and its Thrift2 gateway are up, and transport and protocol in [writer.hbase]",
        )
    }
}

fn refusal(error: &thrift::Error) -> Option<&TIOError> {
    match error {
        thrift::Error::User(error) => error.downcast_ref(),
        _ => None,
    }
}

fn is_refusal(error: &thrift::Error) -> bool {
    refusal(error).is_some()
}

/// The first line: the gateway sends whole traces.
fn text_of(error: &thrift::Error) -> String {
    let text = match (refusal(error), error) {
        (Some(refused), _) => refused.message.clone().unwrap_or_default(),
        (None, thrift::Error::Transport(error)) if error.kind == TransportErrorKind::TimedOut => {
            format!("no answer within {} s", ANSWER_MAX.as_secs())
        }
        (None, error) => error.to_string(),
    };
    text.lines().next().unwrap_or_default().to_owned()
}
