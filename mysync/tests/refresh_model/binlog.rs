//! Events of a binlog that grows: a table `shop.t (id INT PRIMARY KEY, v INT)`, mysync's own tables, statements. No checksums,
//! no GTID.

pub const BORN_S: u32 = 1_790_000_000;
const FILE_START: usize = 4;
const POST_HEADER_ROWS: u8 = 10;

/// The tables, by their ids in rows events.
#[derive(Clone, Copy)]
pub enum Table {
    Shop = 77,
    Watermark = 78,
    Signal = 79,
}

/// What a rows event does.
pub enum Change {
    Insert(Vec<u8>),
    Update(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
}

/// One file, from its beginning.
#[derive(Clone)]
pub struct Binlog {
    pub events: Vec<Vec<u8>>,
    bytes: usize,
}

impl Binlog {
    pub fn new() -> Self {
        let mut log = Self {
            events: Vec::new(),
            bytes: FILE_START,
        };
        log.push(15, &format_description());
        log
    }

    /// A transaction of changes of one table.
    pub fn transaction(&mut self, table: Table, changes: &[Change]) {
        self.query("BEGIN");
        for change in changes {
            self.push(19, &table_map(table));
            let (kind, bitmaps, images) = match change {
                Change::Insert(row) => (30, 1, row.clone()),
                Change::Update(before, after) => (31, 2, [before.clone(), after.clone()].concat()),
                Change::Delete(row) => (32, 1, row.clone()),
            };
            let columns = columns_of(table);
            let mut body = (table as u64).to_le_bytes()[..6].to_vec();
            body.extend_from_slice(&1_u16.to_le_bytes());
            body.extend_from_slice(&2_u16.to_le_bytes());
            body.push(columns);
            body.extend(std::iter::repeat_n(0xff_u8 >> (8 - columns), bitmaps));
            body.extend_from_slice(&images);
            self.push(kind, &body);
        }
        self.push(16, &7_u64.to_le_bytes());
    }

    pub fn query(&mut self, text: &str) {
        let mut body = Vec::new();
        body.extend_from_slice(&9_u32.to_le_bytes());
        body.extend_from_slice(&0_u32.to_le_bytes());
        body.push(0);
        body.extend_from_slice(&0_u16.to_le_bytes());
        body.extend_from_slice(&0_u16.to_le_bytes());
        body.push(0);
        body.extend_from_slice(text.as_bytes());
        self.push(2, &body);
    }

    /// Where an event begins; of the one behind the last, the end.
    pub fn offset(&self, event: usize) -> u64 {
        (FILE_START + self.events[..event].iter().map(Vec::len).sum::<usize>()) as u64
    }

    fn push(&mut self, event_type: u8, body: &[u8]) {
        let size = u32::try_from(19 + body.len()).unwrap();
        let next = u32::try_from(self.bytes).unwrap() + size;
        let mut event = BORN_S.to_le_bytes().to_vec();
        event.push(event_type);
        event.extend_from_slice(&1_u32.to_le_bytes());
        event.extend_from_slice(&size.to_le_bytes());
        event.extend_from_slice(&next.to_le_bytes());
        event.extend_from_slice(&0_u16.to_le_bytes());
        event.extend_from_slice(body);
        self.bytes += event.len();
        self.events.push(event);
    }
}

fn columns_of(table: Table) -> u8 {
    match table {
        Table::Shop | Table::Watermark => 2,
        Table::Signal => 4,
    }
}

/// A row of `shop.t`.
pub fn row(id: i32, v: i32) -> Vec<u8> {
    let mut image = vec![0];
    image.extend_from_slice(&id.to_le_bytes());
    image.extend_from_slice(&v.to_le_bytes());
    image
}

/// A watermark.
pub fn watermark(reader: &str, mark: &str) -> Vec<u8> {
    let mut image = vec![0];
    for text in [reader, mark] {
        image.push(u8::try_from(text.len()).unwrap());
        image.extend_from_slice(text.as_bytes());
    }
    image
}

/// A request.
pub fn signal(reader: &str, request: &str) -> Vec<u8> {
    let mut image = vec![0];
    image.extend_from_slice(&1_u64.to_le_bytes());
    image.push(u8::try_from(reader.len()).unwrap());
    image.extend_from_slice(reader.as_bytes());
    image.extend_from_slice(&u32::try_from(request.len()).unwrap().to_le_bytes()[..3]);
    image.extend_from_slice(request.as_bytes());
    // Some DATETIME(6).
    image.extend_from_slice(&[0x99, 0xb0, 0x02, 0, 0, 0, 0, 0]);
    image
}

fn table_map(table: Table) -> Vec<u8> {
    let mut body = (table as u64).to_le_bytes()[..6].to_vec();
    body.extend_from_slice(&1_u16.to_le_bytes());
    let names = match table {
        Table::Shop => ["shop", "t"],
        Table::Watermark => ["__db_mysync", "t_watermark"],
        Table::Signal => ["__db_mysync", "t_signal"],
    };
    for name in names {
        body.push(u8::try_from(name.len()).unwrap());
        body.extend_from_slice(name.as_bytes());
        body.push(0);
    }
    match table {
        Table::Shop => {
            // Two INTs that are not NULL, signed, named, the first the key.
            body.extend_from_slice(&[2, 3, 3, 0, 0]);
            body.extend_from_slice(&[1, 1, 0]);
            body.extend_from_slice(&[4, 5, 2, b'i', b'd', 1, b'v']);
            body.extend_from_slice(&[8, 1, 0]);
        }
        // VARCHAR(255) and VARCHAR(64) of ASCII, nothing else said, as on 5.6.
        Table::Watermark => body.extend_from_slice(&[2, 15, 15, 4, 255, 0, 64, 0, 0]),
        // BIGINT, VARCHAR(255), MEDIUMTEXT, DATETIME(6).
        Table::Signal => body.extend_from_slice(&[4, 8, 15, 252, 18, 4, 255, 0, 3, 6, 0]),
    }
    body
}

fn format_description() -> Vec<u8> {
    let mut body = Vec::new();
    body.extend_from_slice(&4_u16.to_le_bytes());
    let mut version = [0_u8; 50];
    version[..6].copy_from_slice(b"8.0.33");
    body.extend_from_slice(&version);
    body.extend_from_slice(&BORN_S.to_le_bytes());
    body.push(19);
    let mut lengths = [0_u8; 41];
    lengths[19 - 1] = 8;
    for rows in [30, 31, 32] {
        lengths[rows - 1] = POST_HEADER_ROWS;
    }
    body.extend_from_slice(&lengths);
    body.push(0);
    body.extend_from_slice(&[0; 4]);
    body
}
