//! Binlogs made by hand: the same items as different servers write them, in other files, events and forms.

pub(super) const READER: &str = "p.default";
pub(super) const FILE_START: usize = 4;

/// Two tables `(id INT PRIMARY KEY, name VARCHAR(20))` that are followed, and one that is not.
const TABLES: [(&str, &str); 3] = [("shop", "t"), ("shop", "u"), ("other", "x")];

/// A change of a row: the table's index, what happened, its id, and its name or NULL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) table: usize,
    /// 0 insert, 1 update, 2 delete.
    pub(super) kind: u8,
    pub(super) id: i32,
    pub(super) name: Option<u8>,
}

impl Row {
    pub(super) fn is_followed(&self) -> bool {
        TABLES[self.table].0 == "shop"
    }
}

/// What stands in every server's binlog, in whatever form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    Rows(Vec<Row>),
    Ddl(&'static str),
    Anchor { sequence: u64, server: u8, second: u64 },
    Prepare(u8, Vec<Row>),
    Commit(u8),
    Rollback(u8),
}

impl Item {
    /// Whether it leaves a trace in the running hash.
    pub(super) fn counts(&self) -> bool {
        match self {
            Item::Rows(rows) => rows.iter().any(Row::is_followed),
            Item::Ddl(text) => text.contains("shop"),
            Item::Anchor { .. } => false,
            Item::Prepare(..) | Item::Commit(_) | Item::Rollback(_) => true,
        }
    }

    pub(super) fn is_xa(&self) -> bool {
        matches!(self, Item::Prepare(..) | Item::Commit(_) | Item::Rollback(_))
    }
}

pub(super) fn server_uuid(server: u8) -> String {
    format!("3e11fa47-71ca-11e1-9e33-c80aa94295{server:02}")
}

/// How a server writes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    pub(super) server: u8,
    pub(super) rows_per_event: usize,
    /// Items after which a new file begins.
    pub(super) items_per_file: usize,
    pub(super) compresses: bool,
    /// Fills the bits behind the last column.
    pub(super) fills_bits: bool,
    /// Rows of an event in the order of their ids, as a replica without a key to find them by.
    pub(super) sorts_rows: bool,
    /// Leaves out what is not followed.
    pub(super) filters: bool,
}

/// A server's binlog files.
#[derive(Debug, Clone)]
pub(super) struct Binlog {
    pub(super) manner: Manner,
    pub(super) files: Vec<(String, Vec<Vec<u8>>)>,
    /// Where each item ends: file, and offset.
    pub(super) ends: Vec<(usize, u64)>,
}

impl Binlog {
    pub(super) fn new(items: &[Item], manner: Manner) -> Self {
        let mut binlog = Self {
            manner,
            files: Vec::new(),
            ends: Vec::new(),
        };
        binlog.begin_file();
        for (index, item) in items.iter().enumerate() {
            if index > 0 && index % manner.items_per_file == 0 {
                let next = binlog.name(binlog.files.len());
                let mut body = 4_u64.to_le_bytes().to_vec();
                body.extend_from_slice(next.as_bytes());
                binlog.push(4, &body);
                binlog.begin_file();
            }
            binlog.item(item);
            let file = binlog.files.len() - 1;
            binlog
                .ends
                .push((file, binlog.offset(file, binlog.files[file].1.len())));
        }
        binlog
    }

    /// The offset at which an event begins; of the one behind the last, the end of the file.
    pub(super) fn offset(&self, file: usize, event: usize) -> u64 {
        (FILE_START + self.files[file].1[..event].iter().map(Vec::len).sum::<usize>()) as u64
    }

    /// The items that are complete at a place.
    pub(super) fn items_before(&self, file: &str, offset: u64) -> usize {
        let file = self
            .files
            .iter()
            .position(|(name, _)| name == file)
            .expect("one of its files");
        self.ends.iter().filter(|end| **end <= (file, offset)).count()
    }

    fn name(&self, file: usize) -> String {
        format!(
            "log{}.{:06}",
            self.manner.server,
            10 * usize::from(self.manner.server) + file
        )
    }

    fn begin_file(&mut self) {
        let name = self.name(self.files.len());
        self.files.push((name, Vec::new()));
        let mut body = 4_u16.to_le_bytes().to_vec();
        let mut version = [0_u8; 50];
        version[..6].copy_from_slice(b"8.0.33");
        body.extend_from_slice(&version);
        body.extend_from_slice(&[0; 4]);
        body.push(19);
        let mut lengths = [10_u8; 41];
        lengths[19 - 1] = 8;
        body.extend_from_slice(&lengths);
        body.extend_from_slice(&[0; 5]);
        self.push(15, &body);
    }

    fn item(&mut self, item: &Item) {
        match item {
            // Nothing is left of it.
            Item::Rows(_) if self.manner.filters && !item.counts() => {}
            Item::Rows(rows) if self.manner.compresses => {
                let events = self.transaction(&self.rows(rows));
                self.push(40, &payload(&events));
            }
            Item::Rows(rows) => {
                for (kind, body) in self.transaction(&self.rows(rows)) {
                    self.push(kind, &body);
                }
            }
            Item::Ddl(text) => self.push(2, &query(text)),
            Item::Anchor {
                sequence,
                server,
                second,
            } => {
                let events = vec![(19, heartbeat_map()), (30, heartbeat(*sequence, *server, *second))];
                let events = self.transaction(&events);
                match self.manner.compresses {
                    true => self.push(40, &payload(&events)),
                    false => events.iter().for_each(|(kind, body)| self.push(*kind, body)),
                }
            }
            Item::Prepare(number, rows) => {
                self.push(2, &query(&format!("XA START X'{number:02x}',X'',1")));
                for (kind, body) in self.rows(rows) {
                    self.push(kind, &body);
                }
                self.push(2, &query(&format!("XA END X'{number:02x}',X'',1")));
                let mut prepare = vec![0];
                for part in [1_u32, 1, 0] {
                    prepare.extend_from_slice(&part.to_le_bytes());
                }
                prepare.push(*number);
                self.push(38, &prepare);
            }
            Item::Commit(number) => self.push(2, &query(&format!("XA COMMIT X'{number:02x}',X'',1"))),
            Item::Rollback(number) => self.push(2, &query(&format!("XA ROLLBACK X'{number:02x}',X'',1"))),
        }
    }

    fn transaction(&self, events: &[(u8, Vec<u8>)]) -> Vec<(u8, Vec<u8>)> {
        let mut all = vec![(2, query("BEGIN"))];
        all.extend_from_slice(events);
        all.push((16, 7_u64.to_le_bytes().to_vec()));
        all
    }

    /// Runs of rows of one table and kind, each in as many events as the server makes of them.
    fn rows(&self, rows: &[Row]) -> Vec<(u8, Vec<u8>)> {
        let mut events = Vec::new();
        let kept = rows.iter().filter(|row| row.is_followed() || !self.manner.filters);
        let kept: Vec<Row> = kept.copied().collect();
        for run in kept.chunk_by(|one, other| (one.table, one.kind) == (other.table, other.kind)) {
            let mut run = run.to_vec();
            if self.manner.sorts_rows {
                run.sort_by_key(|row| row.id);
            }
            for rows in run.chunks(self.manner.rows_per_event) {
                events.push((19, table_map(rows[0].table)));
                events.push((30 + rows[0].kind, rows_event(rows, self.manner.fills_bits)));
            }
        }
        events
    }

    fn push(&mut self, event_type: u8, body: &[u8]) {
        let file = self.files.len() - 1;
        let begin = self.offset(file, self.files[file].1.len());
        let size = u32::try_from(19 + body.len()).unwrap();
        let next = u32::try_from(begin).unwrap() + size;
        let mut event = header(event_type, size, next);
        event.extend_from_slice(body);
        self.files[file].1.push(event);
    }
}

fn header(event_type: u8, size: u32, next: u32) -> Vec<u8> {
    let mut event = 1_790_000_000_u32.to_le_bytes().to_vec();
    event.push(event_type);
    event.extend_from_slice(&1_u32.to_le_bytes());
    event.extend_from_slice(&size.to_le_bytes());
    event.extend_from_slice(&next.to_le_bytes());
    event.extend_from_slice(&[0; 2]);
    event
}

fn payload(events: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut unpacked = Vec::new();
    for (kind, body) in events {
        unpacked.extend(header(*kind, u32::try_from(19 + body.len()).unwrap(), 0));
        unpacked.extend_from_slice(body);
    }
    let packed = zstd::bulk::compress(&unpacked, 3).unwrap();
    let mut body = Vec::new();
    // Size of the data, compression zstd, size unpacked, end.
    for (field, value) in [(1_u8, packed.len()), (2, 0), (3, unpacked.len())] {
        body.extend_from_slice(&[field, 3, 0xfc]);
        body.extend_from_slice(&u16::try_from(value).unwrap().to_le_bytes());
    }
    body.push(0);
    body.extend_from_slice(&packed);
    body
}

fn query(text: &str) -> Vec<u8> {
    let mut body = 9_u32.to_le_bytes().to_vec();
    body.extend_from_slice(&[0; 10]);
    body.extend_from_slice(text.as_bytes());
    body
}

fn map_begin(id: u8, database: &str, table: &str) -> Vec<u8> {
    let mut body = vec![id, 0, 0, 0, 0, 0, 1, 0];
    for name in [database, table] {
        body.push(u8::try_from(name.len()).unwrap());
        body.extend_from_slice(name.as_bytes());
        body.push(0);
    }
    body
}

fn table_map(table: usize) -> Vec<u8> {
    let mut body = map_begin(u8::try_from(70 + table).unwrap(), TABLES[table].0, TABLES[table].1);
    // Two columns, INT and VARCHAR, whose metadata is its length; the second may be NULL.
    body.extend_from_slice(&[2, 3, 15, 2, 20, 0, 0b10]);
    // Signedness, character set, names, primary key.
    body.extend_from_slice(&[1, 1, 0, 2, 1, 45]);
    body.extend_from_slice(&[4, 8, 2, b'i', b'd', 4, b'n', b'a', b'm', b'e']);
    body.extend_from_slice(&[8, 1, 0]);
    body
}

fn rows_event(rows: &[Row], fills_bits: bool) -> Vec<u8> {
    let mut body = vec![
        u8::try_from(70 + rows[0].table).unwrap(),
        0,
        0,
        0,
        0,
        0,
        1,
        0,
        2,
        0,
        2,
        0b11,
    ];
    if rows[0].kind == 1 {
        body.push(0b11);
    }
    let mut image = |id: i32, name: Option<u8>| {
        let unused = if fills_bits { 0b1111_1100 } else { 0 };
        body.push(unused | if name.is_none() { 0b10 } else { 0 });
        body.extend_from_slice(&id.to_le_bytes());
        if let Some(name) = name {
            body.extend_from_slice(&[2, b'x', name]);
        }
    };
    for row in rows {
        if row.kind == 1 {
            image(row.id, Some(b'-'));
        }
        image(row.id, row.name);
    }
    body
}

fn heartbeat_map() -> Vec<u8> {
    let mut body = map_begin(90, "__db_mysync", "t_binlog_record");
    // BIGINT, VARCHAR(255), BIGINT, CHAR(36), DATETIME(6).
    body.extend_from_slice(&[5, 8, 15, 8, 254, 18, 5, 255, 0, 0xfe, 36, 6, 0]);
    body
}

fn heartbeat(sequence: u64, server: u8, second: u64) -> Vec<u8> {
    let mut body = vec![90, 0, 0, 0, 0, 0, 1, 0, 2, 0, 5, 0b11111, 0];
    body.extend_from_slice(&1_u64.to_le_bytes());
    body.push(u8::try_from(READER.len()).unwrap());
    body.extend_from_slice(READER.as_bytes());
    body.extend_from_slice(&sequence.to_le_bytes());
    body.push(36);
    body.extend_from_slice(server_uuid(server).as_bytes());
    // 2026-01-01, and so many seconds of the day.
    let days = ((2_026 * 13 + 1) << 5) | 1_u64;
    let time = ((second / 3_600) << 12) | ((second / 60 % 60) << 6) | (second % 60);
    let packed = (days << 17 | time) + (1 << 39);
    body.extend_from_slice(&packed.to_be_bytes()[3..]);
    body.extend_from_slice(&[0; 3]);
    body
}
