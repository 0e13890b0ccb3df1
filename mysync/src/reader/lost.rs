//! What MySQL lost in a switch of server, though it was published: which transactions, and which rows they changed.
//!
//! 1. The history ([`super::history`]) tells which versions the lost transactions had.
//! 2. The records in the topics of tables, which have versions in their headers, tell the rows. Compaction may have removed
//!    a lost transaction's record of a row for a later record of the same row, so the rows of all records from the first lost
//!    version on are taken: to read a row too many does no harm. A lost statement that changed rows without row events counts, too,
//!    though it has no version of its own: what was read because of it was published with the versions that follow.
//! 3. Each lost transaction is a record of the topic `<prefix>.__lost`, and its rows are refreshed from the server that is the
//!    primary now ([`super::refresh`]): both in the Kafka transaction of the first checkpoint on that server, so a reader that
//!    dies before it finds everything again.
//!
//! In sequenced delivery records can stand behind the checkpoint, of transactions that no history has yet. After a switch
//! nobody can say whether the new server has these, so their rows are refreshed too.

use super::Options;
use super::anchor::require_replaceable;
use super::history::{self, Committed, Identity, Line};
use super::refresh::{Request, store};
use super::resume::{Lost, Resumed};
use crate::checkpoint::Checkpoint;
use crate::config::OnLost;
use crate::encode::TABLE_IN_KEY;
use crate::error::{Error, Result};
use crate::queue::kafka::topic_name;
use crate::queue::{Batch, Message, Publisher, Queue, Topic};
use crate::schema::TableName;
use crate::source::gtid_set::GtidSet;
use crate::source::{Server, Source};
use crate::tables::INTERNAL_DATABASE;
use crate::version::Version;
use crate::writer::Parser;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The log of what was lost, without prefix and underscores.
const TOPIC: &str = "lost";

/// Rows that are refreshed after one switch; more of them is no tail that was lost but another server.
const KEYS_MAX: usize = 1_000_000;

/// A table with more rows is refreshed as a whole, as after a dump that was going on.
const TABLE_KEYS_MAX: usize = 50_000;

/// Transactions that are logged or told in an error one by one.
const TOLD_MAX: usize = 20;

/// Rows of a transaction that are listed in its record.
const KEYS_LISTED_MAX: usize = 10_000;

/// What was lost, and what is to be done about it.
#[derive(Default)]
pub(super) struct Found {
    transactions: Vec<Transaction>,
    requests: Vec<Request>,
    /// Those of which all is to be read.
    tables: Vec<TableName>,
}

/// A lost transaction: the value of a record of the topic `__lost`.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Transaction {
    /// On a server with GTID.
    gtid: Option<String>,
    /// On a server without: the running hash at its end, in hexadecimal.
    hash: Option<String>,
    /// Its records have the versions from here on, as many as it has changes.
    first_version: i64,
    changes: u64,
    /// The server that lacks it.
    server_uuid: String,
    /// Keys of its rows by `database.table`.
    tables: BTreeMap<String, BTreeSet<String>>,
    /// Rows that are not listed, since there are too many.
    keys_left_out: u64,
}

/// Finds what was lost since the checkpoint `before`, where it was taken on another server.
pub(super) async fn find<S: Source, Q: Queue>(
    source: &mut S,
    queue: &Q,
    options: &Options,
    server: &Server,
    resumed: &Resumed,
    before: Option<&Checkpoint>,
) -> Result<Found> {
    let Some(before) = before.filter(|_| resumed.is_switched) else {
        return Ok(Found::default());
    };
    let mut committed = match &resumed.lost {
        Some(lost) => published_of(queue, &options.heartbeat_name, lost).await?,
        None => Vec::new(),
    };
    // Where the hash parts this has been looked at already, transaction by transaction.
    if let Some(Lost::Gtids(_)) = &resumed.lost {
        let names_columns = source.facts().await?.names_columns;
        require_replaceable(&committed.iter().collect::<Vec<_>>(), names_columns)?;
    }
    committed.retain(|line| line.changes > 0 || line.rewrites);
    let suspects = before.is_sequenced.then_some(before.next_version);
    let mut transactions: Vec<Transaction> = committed.iter().map(|line| Transaction::new(line, server)).collect();
    let first = committed.iter().map(|line| line.first);
    let Some(from) = first.chain(suspects).min() else {
        return Ok(Found::default());
    };
    let mut rows: BTreeMap<TableName, BTreeSet<String>> = BTreeMap::new();
    let (mut count, mut tables) = (0, BTreeSet::new());
    let mut parser = Parser::new(options.form.prefix());
    let mut published = queue.published(from).await?;
    while let Some(message) = published.next().await? {
        let Some(version) = message.version.and_then(Version::from_i64) else {
            continue;
        };
        let Some((table, key)) = row_of(&mut parser, options.form.prefix(), &message)? else {
            continue;
        };
        if let Some(index) = find_version(&transactions, version) {
            transactions[index].add(&table, &key);
        }
        if tables.contains(&table) {
            continue;
        }
        let keys = rows.entry(table.clone()).or_default();
        count += usize::from(keys.insert(key));
        if keys.len() > TABLE_KEYS_MAX {
            count -= rows.remove(&table).map_or(0, |keys| keys.len());
            tables.insert(table);
        }
        if count > KEYS_MAX {
            return Err(too_many(server));
        }
    }
    let requests = rows
        .iter()
        .flat_map(|(table, keys)| Request::of_keys(table, keys.iter().cloned()));
    let found = Found {
        requests: requests.collect(),
        transactions,
        tables: tables.into_iter().collect(),
    };
    found.tell(server, count);
    match options.on_lost {
        OnLost::Stop if !found.transactions.is_empty() => Err(found.refuse(server)),
        OnLost::Stop | OnLost::Refresh => Ok(found),
    }
}

/// Why all tables are to be read anew: MySQL lost transactions that the stream passed over where it began, and that rows which were
/// read from their tables since may show, or lack.
pub(super) fn unseen(
    options: &Options,
    server: &Server,
    resumed: &Resumed,
    before: Option<&Checkpoint>,
) -> Result<Option<Error>> {
    let passed_over = before.and_then(|before| before.unseen.as_ref());
    let (Some(Lost::Gtids(lost)), Some(passed_over)) = (&resumed.lost, passed_over) else {
        return Ok(None);
    };
    let both = passed_over.parse::<GtidSet>()?.intersection(lost);
    if both.is_empty() {
        return Ok(None);
    }
    let why = Error::definite("MySQL lost transactions from before the stream began, which rows that were read from tables may show")
        .detail(format!("not on {}: {both}", server.address))
        .hint(
            "make the server the primary that has them; or set reader.on_lost = \"refresh\" and start again: then all tables are read \
             anew from the server that is the primary now",
        );
    match options.on_lost {
        OnLost::Stop => Err(why),
        OnLost::Refresh => {
            tracing::error!("all followed tables are read anew: {}", why.one_line());
            Ok(Some(why))
        }
    }
}

/// The transactions of the history that were lost, oldest first.
async fn published_of<Q: Queue>(queue: &Q, reader: &str, lost: &Lost) -> Result<Vec<Committed>> {
    let mut window = history::WINDOW_FIRST;
    loop {
        let past = history::past(queue, reader, window).await?;
        let lines = past.lines.into_iter().filter_map(|line| match line {
            Line::Transaction(committed) => Some(committed),
            Line::Anchor(_) => None,
        });
        let lines: Vec<Committed> = lines.collect();
        if past.is_whole || reaches_before(&lines, lost) {
            return Ok(lines.into_iter().filter(|line| is_lost(line, lost)).collect());
        }
        window = history::wider(window);
    }
}

fn is_lost(line: &Committed, lost: &Lost) -> bool {
    match (lost, &line.identity) {
        (Lost::Gtids(set), Identity::Gtid { source, number }) => {
            let (uuid, tag) = source.split_once(':').unwrap_or((source, ""));
            set.contains(uuid, tag, *number)
        }
        (Lost::Gtids(_), Identity::Hash(_)) => false,
        (Lost::From(version), _) => line.first >= *version,
    }
}

/// Whether the lines begin before everything that was lost. A server numbers its transactions in the order of its binlog, so
/// behind a lower number than all lost ones of its source there is no other of them.
fn reaches_before(lines: &[Committed], lost: &Lost) -> bool {
    match lost {
        Lost::From(version) => lines.first().is_some_and(|line| line.first < *version),
        Lost::Gtids(set) => set.parts().all(|part| {
            let Some((source, lowest)) = lowest(&part) else {
                return false;
            };
            lines.iter().any(|line| match &line.identity {
                Identity::Gtid { source: found, number } => **found == *source && *number < lowest,
                Identity::Hash(_) => false,
            })
        }),
    }
}

/// Of `uuid[:tag]:5-7:9` the source and 5.
fn lowest(part: &str) -> Option<(String, u64)> {
    let is_interval = |text: &&str| text.starts_with(|first: char| first.is_ascii_digit());
    let mut pieces = part.split(':');
    let mut source = pieces.next()?.to_owned();
    let mut next = pieces.next()?;
    if !is_interval(&next) {
        source = format!("{source}:{next}");
        next = pieces.next()?;
    }
    let first = next.split('-').next()?.parse().ok()?;
    Some((source, first))
}

fn find_version(transactions: &[Transaction], version: Version) -> Option<usize> {
    let behind = transactions.partition_point(|transaction| transaction.first_version <= version.as_i64());
    let index = behind.checked_sub(1)?;
    let transaction = &transactions[index];
    let changes = i64::try_from(transaction.changes).unwrap_or(i64::MAX);
    (version.as_i64() - transaction.first_version < changes).then_some(index)
}

/// The row that a record is about; none of another prefix's topic, and of the checker's marks.
fn row_of(parser: &mut Parser, prefix: &str, message: &Message) -> Result<Option<(TableName, String)>> {
    let change = parser.parse(message)?;
    let (database, table) = (&change.table.database, &change.table.table);
    let topic = &*message.partition.topic;
    let is_shared = change_names_its_table(&message.key);
    if database == INTERNAL_DATABASE || (!is_shared && topic != topic_name(prefix, database, table)) {
        return Ok(None);
    }
    let key = String::from_utf8_lossy(&message.key).into_owned();
    Ok(Some(((database.clone(), table.clone()), key)))
}

fn change_names_its_table(key: &[u8]) -> bool {
    let name = TABLE_IN_KEY.as_bytes();
    key.windows(name.len()).any(|window| window == name)
}

fn too_many(server: &Server) -> Error {
    Error::definite(format!(
        "more than {KEYS_MAX} rows were changed by transactions that the primary lacks: {}",
        server.address
    ))
    .hint(
        "is it the right server? make the one the primary that has them, or load the tables anew: reader.on_gap = \"refresh\"",
    )
    .gap()
}

impl Transaction {
    fn new(line: &Committed, server: &Server) -> Self {
        let (gtid, hash) = match &line.identity {
            Identity::Gtid { source, number } => (Some(format!("{source}:{number}")), None),
            Identity::Hash(hash) => (None, Some(format!("{hash:016x}"))),
        };
        Self {
            gtid,
            hash,
            first_version: line.first.as_i64(),
            changes: line.changes,
            server_uuid: server.uuid.clone(),
            tables: BTreeMap::new(),
            keys_left_out: 0,
        }
    }

    fn add(&mut self, table: &TableName, key: &str) {
        let listed: usize = self.tables.values().map(BTreeSet::len).sum();
        let keys = self.tables.entry(format!("{}.{}", table.0, table.1)).or_default();
        if listed < KEYS_LISTED_MAX {
            keys.insert(key.to_owned());
        } else if !keys.contains(key) {
            self.keys_left_out += 1;
        }
    }

    fn name(&self) -> String {
        match (&self.gtid, &self.hash) {
            (Some(gtid), _) => gtid.clone(),
            (None, hash) => format!("hash {}", hash.as_deref().unwrap_or_default()),
        }
    }

    fn line(&self) -> String {
        if self.changes == 0 {
            return format!(
                "{}: a statement about a table, at version {}",
                self.name(),
                self.first_version
            );
        }
        let last = self.first_version.saturating_add_unsigned(self.changes) - 1;
        let tables: Vec<&str> = self.tables.keys().map(String::as_str).collect();
        format!(
            "{}: {} changes of {}, versions {} to {last}",
            self.name(),
            self.changes,
            tables.join(", "),
            self.first_version
        )
    }
}

impl Found {
    /// Adds what was found to the Kafka transaction of the next checkpoint; gives the requests for rows, and the tables of which all is
    /// to be read.
    pub(super) async fn append<P: Publisher>(
        self,
        publisher: &mut P,
        batch: &mut Batch,
        version: Version,
    ) -> Result<(Vec<Request>, Vec<TableName>)> {
        if !self.transactions.is_empty() {
            let topic = publisher.declare(Topic::Log(TOPIC)).await?;
            let mut store = store(topic, batch, version);
            for transaction in &self.transactions {
                let value = serde_json::to_vec(transaction).unwrap_or_default();
                store.record(&transaction.name(), Some(&value));
            }
        }
        Ok((self.requests, self.tables))
    }

    /// How many transactions were lost.
    pub(super) fn transactions(&self) -> u64 {
        self.transactions.len() as u64
    }

    fn tell(&self, server: &Server, rows: usize) {
        for transaction in self.transactions.iter().take(TOLD_MAX) {
            tracing::error!(
                transaction = transaction.line(),
                "MySQL lost a transaction that was published"
            );
        }
        if !self.transactions.is_empty() || rows > 0 {
            tracing::warn!(
                server = server.address,
                transactions = self.transactions.len(),
                rows,
                "what was published and may not be on the server that is followed now"
            );
        }
    }

    fn refuse(&self, server: &Server) -> Error {
        let told = self.transactions.iter().take(TOLD_MAX).map(Transaction::line);
        let mut detail = told.collect::<Vec<_>>().join("; ");
        if self.transactions.len() > TOLD_MAX {
            detail = format!("{detail}; and {} more", self.transactions.len() - TOLD_MAX);
        }
        Error::definite(format!(
            "MySQL lost transactions that were published: {} are not on {}",
            self.transactions.len(),
            server.address
        ))
        .detail(detail)
        .hint(
            "make the server the primary that has them; or set reader.on_lost = \"refresh\" and start again: then their rows are read from \
             the server that is the primary now, and published",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn line(seq: u64, changes: u64, source: &str, number: u64) -> Committed {
        Committed {
            first: Version::new(1, seq).unwrap(),
            changes,
            identity: Identity::Gtid {
                source: source.into(),
                number,
            },
            ddl: false,
            rewrites: false,
            xa: false,
        }
    }

    fn lost(set: &str) -> Lost {
        Lost::Gtids(set.parse::<GtidSet>().unwrap())
    }

    #[test]
    fn lost_transactions_are_those_of_the_set() {
        let tagged = format!("{UUID}:tag");
        let lines = [
            line(1, 2, UUID, 5),
            line(3, 1, &tagged, 6),
            line(4, 3, UUID, 7),
            line(7, 1, UUID, 8),
        ];
        let set = lost(&format!("{UUID}:6-7,{UUID}:tag:6"));
        let found: Vec<bool> = lines.iter().map(|line| is_lost(line, &set)).collect();
        assert_eq!(found, [false, true, true, false]);
        let from = Lost::From(Version::new(1, 4).unwrap());
        let found: Vec<bool> = lines.iter().map(|line| is_lost(line, &from)).collect();
        assert_eq!(found, [false, false, true, true]);
    }

    #[test]
    fn the_history_is_read_until_before_the_first_lost_one() {
        let lines = [line(1, 1, UUID, 5), line(2, 1, UUID, 6)];
        assert!(reaches_before(&lines, &lost(&format!("{UUID}:6-9"))));
        assert!(!reaches_before(&lines, &lost(&format!("{UUID}:5-9"))));
        assert!(!reaches_before(&lines, &lost(&format!("{UUID}:tag:7"))));
        assert!(!reaches_before(&[], &lost(&format!("{UUID}:6"))));
        assert!(!reaches_before(&lines, &Lost::From(Version::new(1, 1).unwrap())));
        assert!(reaches_before(&lines, &Lost::From(Version::new(1, 2).unwrap())));
    }

    #[test]
    fn a_version_belongs_to_the_transaction_that_spans_it() {
        let server = Server {
            address: "db:3306".into(),
            uuid: UUID.into(),
            gtid: true,
            is_primary: true,
        };
        let lines = [line(1, 2, UUID, 5), line(5, 3, UUID, 7)];
        let transactions: Vec<Transaction> = lines.iter().map(|line| Transaction::new(line, &server)).collect();
        let found: Vec<Option<usize>> = (1..=8)
            .map(|seq| find_version(&transactions, Version::new(1, seq).unwrap()))
            .collect();
        assert_eq!(found, [Some(0), Some(0), None, None, Some(1), Some(1), Some(1), None]);
        let error = Found {
            transactions,
            requests: Vec::new(),
            tables: Vec::new(),
        }
        .refuse(&server);
        assert!(
            error.detail.unwrap().contains(&format!("{UUID}:7: 3 changes")),
            "the lost ones are told"
        );
    }
}
