//! `written_by` of rows in HBase, which are rows of the table `{db}.{table}` with the columns in family `r`.

use super::rows::{Look, Watched};
use futures::FutureExt;
use futures::future::BoxFuture;
use hbase_thrift2::thrift::protocol::{TBinaryInputProtocol, TBinaryOutputProtocol};
use hbase_thrift2::{TColumn, TGet, THBaseServiceSyncClient, TTHBaseServiceSyncClient};
use std::io::{BufReader, BufWriter};
use std::net::TcpStream;
use std::time::Duration;

/// Between two looks, each of which costs the server more than one at Redis.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// A session that does not answer is given up.
const ANSWER_MAX: Duration = Duration::from_secs(1);

type Session =
    THBaseServiceSyncClient<TBinaryInputProtocol<BufReader<TcpStream>>, TBinaryOutputProtocol<BufWriter<TcpStream>>>;

/// One session, which blocks the thread that asks; opened anew when it broke.
pub(super) struct Looker {
    address: String,
    table: Vec<u8>,
    question: Vec<TGet>,
    session: Option<Session>,
}

impl Looker {
    pub(super) fn new(watched: &Watched) -> Self {
        let get = |key: &u64| TGet {
            row: key.to_string().into_bytes(),
            columns: Some(vec![TColumn {
                family: b"r".to_vec(),
                qualifier: Some(b"written_by".to_vec()),
                timestamp: None,
            }]),
            timestamp: None,
            time_range: None,
            max_versions: None,
            filter_string: None,
            attributes: None,
            consistency: None,
            target_replica_id: None,
            cache_blocks: None,
            store_limit: None,
            store_offset: None,
            existence_only: None,
            filter_bytes: None,
        };
        Self {
            address: watched.address.clone(),
            table: watched.table.clone().into_bytes(),
            question: watched.keys.iter().map(get).collect(),
            session: None,
        }
    }

    async fn ask(&mut self) -> std::result::Result<Vec<Option<u64>>, String> {
        let (session, address) = (self.session.take(), self.address.clone());
        let (table, question) = (self.table.clone(), self.question.clone());
        let asked = tokio::task::spawn_blocking(move || {
            let mut session = match session {
                Some(session) => session,
                None => open(&address).map_err(|error| error.to_string())?,
            };
            let rows = session
                .get_multiple(table, question)
                .map_err(|error| error.to_string())?;
            Ok::<_, String>((session, rows))
        });
        let (session, rows) = asked.await.map_err(|error| error.to_string())??;
        self.session = Some(session);
        let value =
            |cells: &[hbase_thrift2::TColumnValue]| std::str::from_utf8(&cells.first()?.value).ok()?.parse().ok();
        Ok(rows.iter().map(|row| value(&row.column_values)).collect())
    }
}

impl Look for Looker {
    fn look(&mut self) -> BoxFuture<'_, std::result::Result<Vec<Option<u64>>, String>> {
        self.ask().boxed()
    }
}

fn open(address: &str) -> std::io::Result<Session> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.set_write_timeout(Some(ANSWER_MAX))?;
    let writing = BufWriter::new(stream.try_clone()?);
    let input = TBinaryInputProtocol::new(BufReader::new(stream), true);
    Ok(Session::new(input, TBinaryOutputProtocol::new(writing, true)))
}
