//! The target HBase, through its Thrift2 gateway: a row is a row, its columns are cells of family `r`, in a table a table.
//!
//! # What keeps older changes out
//! HBase has no transaction over rows, so nothing stops a writer that was replaced without having noticed (a zombie), or a request
//! of our own that was given up and is carried out late. Instead every cell's timestamp is its change's version, of which
//! HBase shows the highest, whenever it was written. What a change takes away is hidden by a delete of the family up to a
//! timestamp, for ever: a deleted row up to the delete's version, and columns that a row has no more up to the version before
//! the row's own. An equal timestamp, on which a delete would win over a put, is never of two changes. So changes can be written in
//! any order, again, and late, and the row is what its last change says. The table's settings (`table`) keep that so through
//! compactions and restarts.
//!
//! # Markers stay, so they are few
//! A marker for each update would be the simplest. But none is ever purged, a row that is updated a million times
//! would have a million, and each read of it would pass all of them. Markers of single NULL columns would be more still. So an
//! update has one only if the row lacks a column that rows of its table have had (NULL, or dropped), and not if this
//! writer itself has written the row with the same columns before, and no change in between had others: then the first marker
//! still hides all that is older (`shapes`). A table whose rows have a value in each column gets none but for deletes.
//! What is not known is settled by a marker, never by reading: reads would cost more than the writes, and say nothing
//! of what a zombie is about to write.
//!
//! # One round
//! The rows of all steps are written in chunks, over several connections at once (`rows`, `connection`). When all are
//! acknowledged, each cursor is moved, if it stands where it was left, and then the marks of the tables note how far the
//! partition is in them, if they say what they said before. Whatever fails in between leaves rows that are written
//! again, to the same end.
//!
//! # The cursor
//! is a row of table `mysync-cursors`, `<group>:<topic>:<partition>`, compared and set at once: a writer that was replaced finds it
//! moved. HBase keeps its tables apart from each other, so they are also lost, emptied and restored from a copy one by one: the
//! cursor's row names the tables that its changes went to, and their marks say what they hold (`cursors`).
//!
//! # Errors
//! A server that is busy, on the move or gone, a table that cannot be written now, an answer that does not come: transient. A row
//! that HBase refuses (its key or a cell too large, a table without its family) is refused alone (`errors`).

mod connection;
mod cursors;
mod errors;
mod name;
mod rows;
mod shapes;
mod table;
mod transport;
mod workers;

pub use name::{TableTemplate, row_key};

use super::{Cursor, Outcome, Step, TableName, Target};
use crate::config::HbaseWriter;
use crate::error::{Error, Kind, Result};
use crate::queue::Partition;
use connection::Pool;
use cursors::Held;
use futures::stream::{self, StreamExt, TryStreamExt};
use hbase_thrift2::TTHBaseServiceSyncClient;
use rows::{Chunk, Row};
use shapes::Shapes;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use table::Table;
use transport::Endpoint;
use workers::Workers;

/// Bounds of a chunk. Requests of this size cost little more a row than larger ones, and no server is asked for much at once.
const CHUNK_ROWS: std::ops::RangeInclusive<usize> = 100..=1_000;
const CHUNK_BYTES_MAX: usize = 1024 * 1024;

/// HBase behind a Thrift2 gateway.
pub struct HbaseTarget {
    address: String,
    pool: Pool,
    connections: usize,
    template: TableTemplate,
    salt_buckets: u16,
    cursor_prefix: String,
    connected: bool,
    tables: HashMap<Arc<TableName>, Arc<Table>>,
    held: BTreeMap<Partition, Life>,
    lives: u32,
    shapes: Arc<Mutex<Shapes>>,
}

/// A partition since its cursor was read.
struct Life {
    /// No other one has this number.
    number: u32,
    held: Held,
}

impl HbaseTarget {
    /// A target that connects when it is used; `prefix` is the topics' prefix, which the cursors' rows hold.
    #[must_use]
    pub fn new(config: &HbaseWriter, prefix: &str) -> Self {
        Self {
            address: config.thrift.clone(),
            pool: Pool::new(Endpoint {
                address: config.thrift.clone(),
                transport: config.transport,
                protocol: config.protocol,
                answer_timeout: Duration::from_secs(config.answer_seconds_max),
                frame_bytes_max: config.frame_bytes_max,
            }),
            connections: config.connections,
            template: TableTemplate::parse(&config.table),
            salt_buckets: config.salt_buckets,
            cursor_prefix: format!("{prefix}.hbase"),
            connected: false,
            tables: HashMap::new(),
            held: BTreeMap::new(),
            lives: 0,
            shapes: Arc::default(),
        }
    }

    fn cursor_row(&self, partition: &Partition) -> String {
        format!("{}:{}:{}", self.cursor_prefix, partition.topic, partition.number)
    }

    fn require_connected(&self) -> Result<()> {
        match self.connected {
            true => Ok(()),
            false => Err(Error::transient(format!(
                "not connected to HBase's Thrift2 gateway at {}",
                self.address
            ))),
        }
    }

    async fn table(&mut self, name: &Arc<TableName>) -> Result<Arc<Table>> {
        if let Some(table) = self.tables.get(name) {
            return Ok(Arc::clone(table));
        }
        let (rendered, salt_buckets) = (self.template.render(name)?, self.salt_buckets);
        let open = self.pool.run(move |lent| Table::open(lent, &rendered, salt_buckets));
        let table = Arc::new(open.await?);
        self.tables.insert(Arc::clone(name), Arc::clone(&table));
        Ok(table)
    }

    /// The tables that a step goes to, as they must be for what its partition's cursor says.
    async fn tables_of(&mut self, step: &Step) -> Result<BTreeMap<String, Arc<Table>>> {
        let mut tables = BTreeMap::new();
        let mut last: Option<&Arc<TableName>> = None;
        for change in &step.changes {
            if last.is_some_and(|last| Arc::ptr_eq(last, &change.table)) {
                continue;
            }
            last = Some(&change.table);
            let table = self.table(&change.table).await?;
            tables.insert(table.name.clone(), table);
        }
        let life = self.held.get(&step.partition);
        let Some(held) = life
            .map(|life| &life.held)
            .filter(|held| held.cursor == step.cursor_before)
        else {
            return Err(Error::transient(format!(
                "the cursor of {} is not where the step begins",
                step.partition
            )));
        };
        let other = tables.values().find(|table| {
            let noted = held.tables.get(&table.name);
            noted.is_some_and(|(id, _)| *id != table.id)
        });
        match other {
            Some(table) => Err(table.is_another()),
            None => Ok(tables),
        }
    }

    /// Writes the rows of all steps but those that are refused already.
    async fn write(&mut self, steps: &[Step], refused: &mut [Option<Error>]) -> Result<()> {
        let changes = |index: usize| {
            if refused[index].is_some() {
                0
            } else {
                steps[index].changes.len()
            }
        };
        let changes: usize = (0..steps.len()).map(changes).sum();
        let (least, most) = CHUNK_ROWS.into_inner();
        let rows_max = changes.div_ceil(self.connections).clamp(least, most);
        let mut workers = Workers::new(&self.pool, self.connections, &self.shapes);
        let mut chunks: BTreeMap<String, Chunk> = BTreeMap::new();
        for (index, step) in steps.iter().enumerate().filter(|(index, _)| refused[*index].is_none()) {
            let life = self.held.get(&step.partition).map_or(0, |life| life.number);
            for change in &step.changes {
                let Some(table) = self.tables.get(&change.table) else {
                    continue;
                };
                if !chunks.contains_key(&table.name) {
                    chunks.insert(table.name.clone(), Chunk::new(Arc::clone(table)));
                }
                let Some(chunk) = chunks.get_mut(&table.name) else {
                    continue;
                };
                chunk.push(Row {
                    key: row_key(change, self.salt_buckets),
                    object: change.row.clone(),
                    version: change.version,
                    columns_changed: change.columns_changed == Some(true),
                    life,
                    step: index,
                });
                if chunk.rows.len() >= rows_max || chunk.bytes >= CHUNK_BYTES_MAX {
                    let full = std::mem::replace(chunk, Chunk::new(Arc::clone(table)));
                    workers.send(full);
                }
            }
        }
        chunks
            .into_values()
            .filter(|chunk| !chunk.rows.is_empty())
            .for_each(|chunk| workers.send(chunk));
        for (step, error) in workers.finish().await? {
            refused[step].get_or_insert(error);
        }
        Ok(())
    }

    /// Moves the cursors, and notes them in the marks, of steps whose rows are all there.
    async fn advance(&mut self, steps: &[Step], tables: &[Option<BTreeMap<String, Arc<Table>>>]) -> Result<()> {
        let mut moves = Vec::with_capacity(steps.len());
        for (step, tables) in steps.iter().zip(tables) {
            let Some(tables) = tables else { continue };
            let Some(life) = self.held.get(&step.partition) else {
                continue;
            };
            let (row, after, mut held) = (self.cursor_row(&step.partition), step.cursor_after, life.held.clone());
            let tables: Vec<Arc<Table>> = tables.values().cloned().collect();
            let partition = step.partition.clone();
            moves.push(self.pool.run(move |lent| {
                held.advance(lent, &row, after, &tables)?;
                Ok((partition, held))
            }));
        }
        let moved: Vec<(Partition, Held)> = stream::iter(moves)
            .buffer_unordered(self.connections)
            .try_collect()
            .await?;
        for (partition, held) in moved {
            if let Some(life) = self.held.get_mut(&partition) {
                life.held = held;
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for HbaseTarget {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("HbaseTarget")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Target for HbaseTarget {
    fn name(&self) -> &'static str {
        "hbase"
    }

    fn compares_columns(&self) -> bool {
        true
    }

    async fn connect(&mut self) -> Result<()> {
        self.connected = false;
        self.pool.forget();
        self.tables.clear();
        self.held.clear();
        let connect = |lent: &mut connection::Lent| {
            // A gateway of the older interface does not know this call.
            lent.call(|| "cannot connect".to_owned(), |client| client.get_thrift_server_type())?;
            cursors::prepare(lent)
        };
        self.pool.run(connect).await?;
        self.connected = true;
        Ok(())
    }

    async fn cursors(&mut self, partitions: &[Partition]) -> Result<BTreeMap<Partition, Option<Cursor>>> {
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        self.require_connected()?;
        let rows: Vec<String> = partitions.iter().map(|partition| self.cursor_row(partition)).collect();
        let (read, marks) = self.pool.run(move |lent| cursors::read(lent, &rows)).await?;
        // Whoever had the partitions before can have noted columns in the marks.
        let knows_all = !read.iter().any(Held::is_new);
        self.tables.retain(|_, table| {
            knows_all
                && marks
                    .get(&table.name)
                    .is_none_or(|mark| mark.as_ref().is_some_and(|mark| table.learn(mark)))
        });
        let mut cursors = BTreeMap::new();
        for (partition, held) in partitions.iter().zip(read) {
            self.lives += 1;
            cursors.insert(partition.clone(), held.cursor);
            let life = Life {
                number: self.lives,
                held,
            };
            self.held.insert(partition.clone(), life);
        }
        Ok(cursors)
    }

    async fn apply(&mut self, steps: &[Step]) -> Result<Vec<Outcome>> {
        self.require_connected()?;
        let mut refused: Vec<Option<Error>> = steps.iter().map(|_| None).collect();
        let mut tables = Vec::with_capacity(steps.len());
        for (step, refused) in steps.iter().zip(&mut refused) {
            tables.push(match self.tables_of(step).await {
                Ok(tables) => Some(tables),
                Err(error) if error.kind != Kind::Definite => return Err(error),
                Err(error) => {
                    *refused = Some(error);
                    None
                }
            });
        }
        self.write(steps, &mut refused).await?;
        for (step, (refused, tables)) in steps.iter().zip(refused.iter().zip(&mut tables)) {
            if refused.is_some() {
                *tables = None;
                // What is known of the shapes of its rows may not have been written.
                self.lives += 1;
                if let Some(life) = self.held.get_mut(&step.partition) {
                    life.number = self.lives;
                }
            }
        }
        self.advance(steps, &tables).await?;
        let outcome = |refused: Option<Error>| refused.map_or(Outcome::Applied, Outcome::Refused);
        Ok(refused.into_iter().map(outcome).collect())
    }
}
