//! A server in memory whose clients go on while the reader reads, and whose connections break where they are told to.

use super::binlog::{BORN_S, Binlog, Change, Table, row, signal, watermark};
use mysync::checkpoint::Position;
use mysync::decode::{Cell, ColumnSchema, ColumnType, KeyPart, TableMap, TableRows};
use mysync::error::{Error, Result};
use mysync::schema::{TableName, TableSchema};
use mysync::source::preflight::Check;
use mysync::source::{Cascade, Edge, Facts, Gtids, RowsAnswer, RowsRequest, Server, Source, Wanted};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
const FILE: &str = "binlog.000001";
pub const READER: &str = "mysync.default";

/// What a client does in one transaction, or a statement.
#[derive(Debug, Clone)]
pub enum Step {
    Put(i32, i32),
    Delete(i32),
    /// Gives a row another key.
    Move(i32, i32),
    /// All rows of a range at once.
    PutMany(i32, i32),
    Truncate,
    /// Without a trace in the binlog.
    Unseen(i32, Option<i32>),
    /// Asks for a dump.
    Dump,
    /// Asks for a dump of the rows that are `v < 0`: of none.
    DumpNone,
}

/// What is in the server.
pub struct State {
    pub rows: BTreeMap<i32, i32>,
    pub log: Binlog,
    /// What the stream says of rows, in order: key, and value or none.
    pub changes: Vec<(i32, Option<i32>)>,
    pub script: VecDeque<Step>,
    /// Steps that clients make while rows are read: this many of ten times.
    busy: u32,
    turn: u32,
    reads: usize,
    /// Numbers of reads that fail.
    read_faults: Vec<usize>,
}

impl State {
    pub fn new(script: &[Step], busy: u32, read_faults: &[usize]) -> Self {
        Self {
            rows: BTreeMap::new(),
            log: Binlog::new(),
            changes: Vec::new(),
            script: script.iter().cloned().collect(),
            busy,
            turn: 0,
            reads: 0,
            read_faults: read_faults.to_vec(),
        }
    }

    /// Makes the next step; false if there is none.
    pub fn step(&mut self) -> bool {
        let Some(step) = self.script.pop_front() else {
            return false;
        };
        match step {
            Step::Put(id, v) => {
                let change = self.put(id, v);
                self.log.transaction(Table::Shop, &[change]);
            }
            Step::PutMany(first, v) => {
                let changes: Vec<Change> = (first..first + 4).map(|id| self.put(id, v)).collect();
                self.log.transaction(Table::Shop, &changes);
            }
            Step::Delete(id) => {
                if let Some(v) = self.rows.remove(&id) {
                    self.changes.push((id, None));
                    self.log.transaction(Table::Shop, &[Change::Delete(row(id, v))]);
                }
            }
            Step::Move(from, to) => {
                if let Some(v) = self.rows.get(&from).copied()
                    && !self.rows.contains_key(&to)
                {
                    self.rows.remove(&from);
                    self.rows.insert(to, v);
                    self.changes.extend([(from, None), (to, Some(v))]);
                    self.log
                        .transaction(Table::Shop, &[Change::Update(row(from, v), row(to, v))]);
                }
            }
            Step::Truncate => {
                self.rows.clear();
                self.log.query("TRUNCATE TABLE shop.t");
            }
            Step::Unseen(id, v) => {
                match v {
                    Some(v) => drop(self.rows.insert(id, v)),
                    None => drop(self.rows.remove(&id)),
                };
            }
            Step::Dump => self.ask(""),
            Step::DumpNone => self.ask(",\"condition\":\"v < 0\""),
        }
        true
    }

    fn put(&mut self, id: i32, v: i32) -> Change {
        self.changes.push((id, Some(v)));
        match self.rows.insert(id, v) {
            None => Change::Insert(row(id, v)),
            Some(before) => Change::Update(row(id, before), row(id, v)),
        }
    }

    fn ask(&mut self, more: &str) {
        let request = format!(
            "{{\"request\":\"r{}\",\"tables\":[{{\"database\":\"shop\",\"table\":\"t\"{more}}}]}}",
            self.script.len()
        );
        self.log
            .transaction(Table::Signal, &[Change::Insert(signal(READER, &request))]);
    }

    /// What clients do between two moments of a read.
    fn meanwhile(&mut self) {
        self.turn += 7;
        if self.turn % 10 < self.busy {
            self.step();
        }
    }

    fn mark(&mut self, reader: &str, mark: &str) {
        self.log
            .transaction(Table::Watermark, &[Change::Insert(watermark(reader, mark))]);
    }
}

/// What the reader sees of it.
pub struct Memory {
    pub state: Arc<Mutex<State>>,
    next: usize,
    served: usize,
    description: Option<Vec<u8>>,
    sent: Vec<u8>,
    /// Counts of events served at which the connection breaks, once each.
    faults: Vec<usize>,
    rows_max: usize,
}

impl Memory {
    pub fn new(state: &Arc<Mutex<State>>, faults: &[usize], rows_max: usize) -> Self {
        Self {
            state: Arc::clone(state),
            next: 0,
            served: 0,
            description: None,
            sent: Vec::new(),
            faults: faults.to_vec(),
            rows_max,
        }
    }

    fn position(&self, event: usize) -> Position {
        Position {
            server_uuid: UUID.into(),
            file: FILE.into(),
            offset: self.state.lock().unwrap().log.offset(event),
            file_born_s: 0,
            gtid_set: None,
        }
    }
}

fn map() -> TableMap {
    let mut map = TableMap::of_columns("shop", "t", vec![(ColumnType::Int, false), (ColumnType::Int, false)]);
    let column = |name: &str| ColumnSchema {
        name: name.into(),
        ..ColumnSchema::default()
    };
    map.supply(&[column("id"), column("v")]).unwrap();
    map.primary_key = Some(vec![KeyPart {
        column: 0,
        prefix_characters: None,
    }]);
    map.metadata_is_full = true;
    map
}

fn select(state: &State, wanted: &Wanted, rows_max: usize) -> RowsAnswer {
    let mut rows = TableRows::new(map());
    let mut add = |id: i32, v: i32| {
        let cells = [Cell::Int(id.into()), Cell::Int(v.into())];
        rows.push(cells.into_iter()).unwrap();
    };
    let (mut last, mut is_complete) = (None, true);
    match wanted {
        Wanted::Keys { keys, .. } => {
            for key in keys {
                let key: serde_json::Value = serde_json::from_slice(key).unwrap();
                let id = i32::try_from(key["id"].as_i64().unwrap()).unwrap();
                if let Some(v) = state.rows.get(&id) {
                    add(id, *v);
                }
            }
        }
        Wanted::Range { after, condition, .. } => {
            let first = after.as_ref().map_or(i32::MIN, |edge| {
                assert_eq!(edge.columns, ["id"]);
                edge.values[0].parse::<i32>().unwrap() + 1
            });
            for (count, (id, v)) in state.rows.range(first..).enumerate() {
                if count == rows_max {
                    is_complete = false;
                    break;
                }
                last = Some(Edge {
                    columns: vec!["id".into()],
                    values: vec![id.to_string()],
                });
                if condition.is_none() {
                    add(*id, *v);
                }
            }
        }
    }
    RowsAnswer {
        rows: Some(rows),
        is_complete,
        last,
        took: Duration::from_millis(1),
        refusal: None,
    }
}

impl Source for Memory {
    async fn choose(&mut self, _position: Option<&Position>) -> Result<Server> {
        Ok(Server {
            address: "memory:3306".into(),
            uuid: UUID.into(),
            gtid: false,
            is_primary: true,
        })
    }

    async fn gtids(&mut self) -> Result<Gtids> {
        Ok(Gtids::default())
    }

    async fn files(&mut self) -> Result<Vec<String>> {
        Ok(vec![FILE.into()])
    }

    async fn preflight(&mut self) -> Result<Vec<Check>> {
        Ok(Vec::new())
    }

    async fn facts(&mut self) -> Result<Facts> {
        Ok(Facts {
            names_columns: true,
            names_charsets: true,
            lower_case_names: false,
            logs_cascades: true,
        })
    }

    async fn tables(&mut self) -> Result<Vec<TableName>> {
        Ok(vec![("shop".into(), "t".into())])
    }

    async fn describe(&mut self, tables: &[TableName]) -> Result<Vec<Option<TableSchema>>> {
        Ok(vec![None; tables.len()])
    }

    fn read(&self, request: RowsRequest) -> impl Future<Output = Result<RowsAnswer>> + Send + 'static {
        let (state, rows_max) = (Arc::clone(&self.state), self.rows_max);
        async move {
            let number = {
                let mut state = state.lock().unwrap();
                state.reads += 1;
                state.meanwhile();
                state.mark(&request.reader, &request.low);
                state.meanwhile();
                state.reads
            };
            tokio::task::yield_now().await;
            let answer = {
                let mut state = state.lock().unwrap();
                state.meanwhile();
                let answer = select(&state, &request.wanted, rows_max);
                state.meanwhile();
                answer
            };
            tokio::task::yield_now().await;
            let mut state = state.lock().unwrap();
            if state.read_faults.contains(&number) {
                return Err(Error::transient("the connection for rows broke"));
            }
            state.mark(&request.reader, &request.mark);
            state.meanwhile();
            Ok(answer)
        }
    }

    async fn cascades(&mut self) -> Result<Vec<Cascade>> {
        Ok(Vec::new())
    }

    async fn oldest(&mut self) -> Result<Position> {
        Ok(self.position(0))
    }

    async fn newest(&mut self) -> Result<Position> {
        let events = self.state.lock().unwrap().log.events.len();
        Ok(self.position(events))
    }

    async fn start(&mut self, position: &Position) -> Result<()> {
        assert!(position.file_born_s == 0 || position.file_born_s == BORN_S);
        let state = self.state.lock().unwrap();
        let found = (0..=state.log.events.len()).find(|&event| state.log.offset(event) == position.offset);
        self.next = found.expect("a position between events");
        self.served = 0;
        // An artificial copy, which does not move the position.
        self.description = (self.next > 0).then(|| {
            let mut copy = state.log.events[0].clone();
            copy[13..17].copy_from_slice(&[0; 4]);
            copy
        });
        Ok(())
    }

    async fn next(&mut self) -> Result<&[u8]> {
        loop {
            {
                let mut state = self.state.lock().unwrap();
                if self.description.is_none() && self.next == state.log.events.len() {
                    // The stream is idle: clients do something, if they have anything to do.
                    state.step();
                }
                let event = match self.description.take() {
                    Some(description) => Some(description),
                    None => state.log.events.get(self.next).cloned().inspect(|_| self.next += 1),
                };
                if let Some(event) = event {
                    self.served += 1;
                    if let Some(fault) = self.faults.iter().position(|&fault| fault == self.served) {
                        self.faults.remove(fault);
                        return Err(Error::transient("the connection broke"));
                    }
                    self.sent = event;
                    break;
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(&self.sent)
    }
}
