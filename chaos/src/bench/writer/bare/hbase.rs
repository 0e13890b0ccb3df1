//! HBase: puts and deletes in requests as long as the writer's, into a table like the writer's, over as many connections.

use super::super::batches::Batches;
use super::key;
use crate::error::{Doing, Result};
use hbase_thrift2::thrift::protocol::{TBinaryInputProtocol, TBinaryOutputProtocol};
use hbase_thrift2::{
    TColumn, TColumnValue, TDelete, TDeleteType, THBaseServiceSyncClient, TPut, TTHBaseServiceSyncClient, TTableName,
};
use mysync::config::HbaseWriter;
use mysync::target::{RowChange, canonical};
use std::io::{BufReader, BufWriter};
use std::net::TcpStream;
use std::sync::Mutex;

const FAMILY: &[u8] = b"r";

/// Bounds of a request, as the writer has them.
const ROWS: std::ops::RangeInclusive<usize> = 100..=1_000;

type Session =
    THBaseServiceSyncClient<TBinaryInputProtocol<BufReader<TcpStream>>, TBinaryOutputProtocol<BufWriter<TcpStream>>>;

#[derive(Default)]
struct Request {
    puts: Vec<TPut>,
    deletes: Vec<TDelete>,
}

pub(super) struct Client {
    table: Vec<u8>,
    sessions: Vec<Session>,
    requests: Vec<Request>,
}

impl Client {
    /// The writer has run: its table is the pattern of the bare one.
    pub(super) fn open(section: &HbaseWriter, prefix: &str, read: &Batches) -> Result<Self> {
        let opened = (0..section.connections)
            .map(|_| open(&section.thrift))
            .collect::<std::io::Result<Vec<_>>>();
        let mut sessions = opened.doing(|| format!("HBase cannot be reached at {}", section.thrift))?;
        let table = format!("bare-{prefix}");
        if let Some(session) = sessions.first_mut() {
            let pattern = session.get_table_descriptor(name(&format!("{prefix}-{}", super::super::TABLE)));
            let mut descriptor = pattern.doing(|| "the writer's table is not there".into())?;
            descriptor.table_name = name(&table);
            let made = session.create_table(descriptor, Vec::new());
            made.doing(|| format!("table {table} cannot be made"))?;
        }
        let mut requests = Vec::new();
        for batch in &read.batches {
            let (least, most) = ROWS.into_inner();
            let rows = batch.len().div_ceil(section.connections).clamp(least, most);
            for chunk in batch.chunks(rows) {
                requests.push(request(chunk)?);
            }
        }
        // Taken from the end.
        requests.reverse();
        Ok(Self {
            table: table.into_bytes(),
            sessions,
            requests,
        })
    }

    pub(super) async fn send(self) -> Result<()> {
        let Self {
            table,
            sessions,
            requests,
        } = self;
        let sent = tokio::task::spawn_blocking(move || {
            let rest = Mutex::new(requests);
            std::thread::scope(|scope| {
                let (rest, table) = (&rest, &table);
                let threads: Vec<_> = sessions
                    .into_iter()
                    .map(|session| scope.spawn(move || work(session, table, rest)))
                    .collect();
                let ended = threads.into_iter().map(|thread| thread.join().unwrap_or(Ok(())));
                ended.collect::<hbase_thrift2::thrift::Result<()>>()
            })
        });
        let sent = sent.await.doing(|| "a thread ended early".into())?;
        sent.doing(|| "HBase refuses rows".into())
    }
}

fn work(mut session: Session, table: &[u8], rest: &Mutex<Vec<Request>>) -> hbase_thrift2::thrift::Result<()> {
    loop {
        let next = rest.lock().map(|mut rest| rest.pop());
        let Ok(Some(Request { puts, deletes })) = next else {
            return Ok(());
        };
        if !puts.is_empty() {
            session.put_multiple(table.to_vec(), puts)?;
        }
        if !deletes.is_empty() {
            session.delete_multiple(table.to_vec(), deletes)?;
        }
    }
}

fn request(changes: &[RowChange]) -> Result<Request> {
    let mut request = Request::default();
    for change in changes {
        let row = key(change).as_bytes().to_vec();
        let Some(object) = &change.row else {
            request.deletes.push(delete(row, change.version));
            continue;
        };
        let columns = canonical::columns(object.get()).doing(|| "a row is not understood".into())?;
        let cells = columns.into_iter().filter_map(|(name, text)| {
            Some(TColumnValue {
                family: FAMILY.to_vec(),
                qualifier: name.into_owned().into_bytes(),
                value: text?.into_owned().into_bytes(),
                timestamp: None,
                tags: None,
                type_: None,
            })
        });
        request.puts.push(TPut {
            row,
            column_values: cells.collect(),
            timestamp: Some(change.version),
            attributes: None,
            durability: None,
        });
    }
    Ok(request)
}

fn delete(row: Vec<u8>, version: i64) -> TDelete {
    TDelete {
        row,
        columns: Some(vec![TColumn {
            family: FAMILY.to_vec(),
            qualifier: None,
            timestamp: Some(version),
        }]),
        timestamp: None,
        delete_type: Some(TDeleteType::DELETE_FAMILY),
        attributes: None,
        durability: None,
    }
}

fn name(table: &str) -> TTableName {
    TTableName {
        ns: None,
        qualifier: table.as_bytes().to_vec(),
    }
}

fn open(address: &str) -> std::io::Result<Session> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let writing = BufWriter::new(stream.try_clone()?);
    let input = TBinaryInputProtocol::new(BufReader::new(stream), true);
    Ok(Session::new(input, TBinaryOutputProtocol::new(writing, true)))
}
