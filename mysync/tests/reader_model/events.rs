//! A binlog of a table `shop.t (id INT PRIMARY KEY)`, made by hand: checksums off, no GTID.

/// When the file was begun.
pub const BORN_S: u32 = 1_790_000_000;

const FILE_START: usize = 4;
const TABLE_ID: u64 = 77;
const WRITE_ROWS_V2_POST_HEADER: u8 = 10;

/// What a transaction of the log is.
#[derive(Debug, Clone)]
pub enum Transaction {
    /// Inserts ids and commits.
    Plain(Vec<i32>),
    /// Inserts ids and commits, compressed.
    Packed(Vec<i32>),
    /// XA: inserts ids and is prepared under a number.
    Prepare(u8, Vec<i32>),
    /// XA COMMIT of the number.
    Commit(u8),
    /// XA ROLLBACK of the number.
    Rollback(u8),
    /// XA: inserts ids and commits in one phase.
    OnePhase(Vec<i32>),
}

/// The events of one file.
#[derive(Debug, Clone)]
pub struct Log {
    pub events: Vec<Vec<u8>>,
    /// Number of events at the end of each transaction.
    ends: Vec<usize>,
}

impl Log {
    /// Each transaction inserts its ids, in one rows event; one without ids changes nothing.
    pub fn of(transactions: &[Vec<i32>]) -> Self {
        let plain: Vec<_> = transactions.iter().cloned().map(Transaction::Plain).collect();
        Self::of_kinds(&plain)
    }

    /// A log of transactions of any kind.
    pub fn of_kinds(transactions: &[Transaction]) -> Self {
        let mut log = Log {
            events: Vec::new(),
            ends: Vec::new(),
        };
        log.push(15, BORN_S, &format_description());
        for transaction in transactions {
            match transaction {
                Transaction::Plain(ids) => {
                    log.query("BEGIN");
                    log.rows(ids);
                    log.push(16, BORN_S + 1, &7_u64.to_le_bytes());
                }
                Transaction::Packed(ids) => {
                    let payload = log.packed(ids);
                    log.push(40, BORN_S + 1, &payload);
                }
                Transaction::Prepare(number, ids) => log.xa(*number, ids, false),
                Transaction::OnePhase(ids) => log.xa(0xff, ids, true),
                Transaction::Commit(number) => log.query(&format!("XA COMMIT X'{number:02x}',X'',1")),
                Transaction::Rollback(number) => log.query(&format!("XA ROLLBACK X'{number:02x}',X'',1")),
            }
            log.ends.push(log.events.len());
        }
        log
    }

    /// The log of a server with GTID: each transaction is the source that it was committed on, its number there, and the ids
    /// that it inserts, of which no more than `rows_max` are in one event.
    pub fn with_gtid(transactions: &[(u8, u64, Vec<i32>)], rows_max: usize) -> Self {
        let mut log = Log::of(&[]);
        for (source, number, ids) in transactions {
            let mut gtid = vec![0];
            gtid.extend_from_slice(&[*source; 16]);
            gtid.extend_from_slice(&number.to_le_bytes());
            log.push(33, BORN_S + 1, &gtid);
            log.query("BEGIN");
            ids.chunks(rows_max).for_each(|ids| log.rows(ids));
            log.push(16, BORN_S + 1, &7_u64.to_le_bytes());
            log.ends.push(log.events.len());
        }
        log
    }

    /// The index of the transaction that begins at an offset; behind the last one, their number.
    pub fn transaction_at(&self, offset: u64) -> Option<usize> {
        let begins = std::iter::once(1).chain(self.ends.iter().copied());
        begins.map(|event| self.offset(event)).position(|begin| begin == offset)
    }

    /// The events that a server with GTID sends to whoever has all but the last transactions: the file's name, its format, and
    /// from the first event of the transaction with this index on.
    pub fn sent_from(&self, transaction: usize, file: &str) -> Vec<Vec<u8>> {
        let mut artificial = Log {
            events: Vec::new(),
            ends: Vec::new(),
        };
        let mut rotate = (FILE_START as u64).to_le_bytes().to_vec();
        rotate.extend_from_slice(file.as_bytes());
        artificial.push(4, 0, &rotate);
        artificial.events.push(self.events[0].clone());
        for event in &mut artificial.events {
            event[13..17].copy_from_slice(&[0; 4]);
        }
        let begin = if transaction == 0 {
            1
        } else {
            self.ends[transaction - 1]
        };
        artificial.events.extend_from_slice(&self.events[begin..]);
        artificial.events
    }

    fn rows(&mut self, ids: &[i32]) {
        if !ids.is_empty() {
            self.push(19, BORN_S + 1, &table_map());
            self.push(30, BORN_S + 1, &write_rows(ids));
        }
    }

    /// The body of a compressed transaction.
    fn packed(&self, ids: &[i32]) -> Vec<u8> {
        let mut inner = Log {
            events: Vec::new(),
            ends: Vec::new(),
        };
        inner.query("BEGIN");
        inner.rows(ids);
        inner.push(16, BORN_S + 1, &7_u64.to_le_bytes());
        let unpacked = inner.events.concat();
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

    fn xa(&mut self, number: u8, ids: &[i32], one_phase: bool) {
        self.query(&format!("XA START X'{number:02x}',X'',1"));
        self.rows(ids);
        self.query(&format!("XA END X'{number:02x}',X'',1"));
        let mut prepare = vec![u8::from(one_phase)];
        for number in [1_u32, 1, 0] {
            prepare.extend_from_slice(&number.to_le_bytes());
        }
        prepare.push(number);
        self.push(38, BORN_S + 1, &prepare);
    }

    /// The same events, each with its checksum.
    pub fn with_checksums(&self) -> Log {
        let mut log = Log {
            events: Vec::new(),
            ends: self.ends.clone(),
        };
        for (index, event) in self.events.iter().enumerate() {
            let mut event = event.clone();
            if index == 0 {
                // The format description has room for it, behind the algorithm.
                let room = event.len() - 4;
                event.truncate(room);
                event[room - 1] = 1;
            }
            let size = u32::try_from(event.len() + 4).unwrap();
            let next = u32::try_from(log.offset(index)).unwrap() + size;
            event[9..13].copy_from_slice(&size.to_le_bytes());
            event[13..17].copy_from_slice(&next.to_le_bytes());
            let checksum = crc32fast::hash(&event);
            event.extend_from_slice(&checksum.to_le_bytes());
            log.events.push(event);
        }
        log
    }

    /// Adds a statement outside of a transaction.
    pub fn statement(&mut self, text: &str) {
        self.query(text);
    }

    /// The same file when it had only so many transactions.
    pub fn truncated(&self, transactions: usize) -> Log {
        Log {
            events: self.events[..self.ends[transactions - 1]].to_vec(),
            ends: self.ends[..transactions].to_vec(),
        }
    }

    /// The same file, begun at another time.
    pub fn born_at(&mut self, born_s: u32) {
        self.events[0][..4].copy_from_slice(&born_s.to_le_bytes());
    }

    /// The offset at which an event begins; of the one behind the last, the end of the file.
    pub fn offset(&self, event: usize) -> u64 {
        (FILE_START + self.events[..event].iter().map(Vec::len).sum::<usize>()) as u64
    }

    fn query(&mut self, text: &str) {
        let mut body = Vec::new();
        body.extend_from_slice(&9_u32.to_le_bytes());
        body.extend_from_slice(&0_u32.to_le_bytes());
        body.push(0);
        body.extend_from_slice(&0_u16.to_le_bytes());
        body.extend_from_slice(&0_u16.to_le_bytes());
        body.push(0);
        body.extend_from_slice(text.as_bytes());
        self.push(2, BORN_S + 1, &body);
    }

    fn push(&mut self, event_type: u8, timestamp_s: u32, body: &[u8]) {
        let size = u32::try_from(19 + body.len()).unwrap();
        let next = u32::try_from(self.offset(self.events.len())).unwrap() + size;
        let mut event = Vec::new();
        event.extend_from_slice(&timestamp_s.to_le_bytes());
        event.push(event_type);
        event.extend_from_slice(&1_u32.to_le_bytes());
        event.extend_from_slice(&size.to_le_bytes());
        event.extend_from_slice(&next.to_le_bytes());
        event.extend_from_slice(&0_u16.to_le_bytes());
        event.extend_from_slice(body);
        self.events.push(event);
    }
}

fn format_description() -> Vec<u8> {
    let mut body = Vec::new();
    body.extend_from_slice(&4_u16.to_le_bytes());
    let mut version = [0_u8; 50];
    version[..6].copy_from_slice(b"8.0.33");
    body.extend_from_slice(&version);
    body.extend_from_slice(&BORN_S.to_le_bytes());
    body.push(19);
    // Post-header lengths: only those of table maps and rows events, 8 and 10, matter to the decoder.
    let mut lengths = [0_u8; 41];
    lengths[19 - 1] = 8;
    lengths[30 - 1] = WRITE_ROWS_V2_POST_HEADER;
    body.extend_from_slice(&lengths);
    // Checksum algorithm off, and the room for the checksum of this very event.
    body.push(0);
    body.extend_from_slice(&[0; 4]);
    body
}

fn table_map() -> Vec<u8> {
    let mut body = Vec::new();
    body.extend_from_slice(&TABLE_ID.to_le_bytes()[..6]);
    body.extend_from_slice(&1_u16.to_le_bytes());
    for name in ["shop", "t"] {
        body.push(u8::try_from(name.len()).unwrap());
        body.extend_from_slice(name.as_bytes());
        body.push(0);
    }
    // One column of type INT without metadata, not nullable.
    body.extend_from_slice(&[1, 3, 0, 0]);
    // Signedness, name, primary key.
    body.extend_from_slice(&[1, 1, 0]);
    body.extend_from_slice(&[4, 3, 2, b'i', b'd']);
    body.extend_from_slice(&[8, 1, 0]);
    body
}

fn write_rows(ids: &[i32]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend_from_slice(&TABLE_ID.to_le_bytes()[..6]);
    body.extend_from_slice(&1_u16.to_le_bytes());
    body.extend_from_slice(&2_u16.to_le_bytes());
    body.extend_from_slice(&[1, 1]);
    for id in ids {
        body.push(0);
        body.extend_from_slice(&id.to_le_bytes());
    }
    body
}
