//! Where the stream stands, and what each event means for it. No I/O, no rows: only places and transaction boundaries.

use super::resume::LOAD_ANEW;
use super::xa::{self, XaStatement, Xid};
use crate::checkpoint::Position;
use crate::decode::{Body, Event, Header, Query, XaPrepare};
use crate::error::{Error, Result};
use crate::schema::{EventEnd, Quoting, Statement, classify};
use crate::source::gtid_set::GtidSet;
use std::fmt::Write;

/// Offsets in event headers have 32 bits; a file can be larger by its last transaction.
const OFFSET_WRAP: u64 = 1 << 32;

const DEFECT_HINT: &str = "this is a defect: please report it with the events around";
const ROLLED_BACK: &str =
    "rows were logged and then rolled back: a transaction changed tables of an engine without transactions, too";
const ROLLED_BACK_HINT: &str = "use InnoDB for all tables that one transaction changes";
const TEXT_HINT: &str =
    "some session set binlog_format to STATEMENT or MIXED: SET PERSIST binlog_format = ROW, and load the table anew";

/// Characters of a statement that an error quotes.
const QUOTED_CHARACTERS_MAX: usize = 200;

/// What an event means, rows and table maps aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Nothing that the caller has to act on.
    Nothing,
    /// A MySQL transaction is complete: the position has moved to its end.
    TransactionEnd,
    /// Table ids are void: another file begins.
    NewFile,
    /// A statement that is about tables, not rows.
    Ddl(Box<Ddl>),
    /// An XA transaction begins: what comes up to its end is to be held back.
    XaBegin,
    /// It is prepared: a transaction is complete, and its rows wait for the decision.
    XaPrepared(Xid),
    /// A decision. The transaction is complete once the caller has carried it out and says so by [`Tracker::decided`].
    XaDecided(Decision),
}

/// A statement that is about tables, not rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ddl {
    /// What it means for tables.
    pub(super) statement: Statement,
    /// As the binlog has it.
    pub(super) text: String,
    /// It is a transaction of its own, and the position has moved to its end; CREATE TABLE … SELECT stands within one.
    pub(super) ends_transaction: bool,
}

/// What becomes of rows that were held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// Those that have just come are committed, in one phase.
    OnePhase(Xid),
    /// Those that were prepared under this name are committed.
    Commit(Xid),
    /// Those that were prepared under this name are dropped.
    Rollback(Xid),
}

impl Decision {
    /// The name of the transaction.
    pub(super) fn xid(&self) -> &Xid {
        match self {
            Decision::OnePhase(xid) | Decision::Commit(xid) | Decision::Rollback(xid) => xid,
        }
    }
}

/// A place that a reader is to reach.
#[derive(Debug)]
pub(super) struct Target {
    file_number: u64,
    offset: u64,
    gtid_set: Option<GtidSet>,
}

impl Target {
    pub(super) fn new(position: &Position) -> Result<Self> {
        let gtid_set = position.gtid_set.as_deref().map(str::parse).transpose()?;
        Ok(Self {
            file_number: file_number(&position.file),
            offset: position.offset,
            gtid_set,
        })
    }

    /// Whether it stands at a position of a server without GTID, or behind it.
    pub(super) fn is_behind(&self, position: &Position) -> bool {
        (self.file_number, self.offset) >= (file_number(&position.file), position.offset)
    }
}

/// The place in the stream.
#[derive(Debug)]
pub(super) struct Tracker {
    /// The end of the last complete transaction.
    position: Position,
    gtid_set: Option<GtidSet>,
    /// The file that is being read, and the end of the last event.
    file: String,
    file_number: u64,
    offset: u64,
    file_born_s: u32,
    /// The birth time that the file at the start must have.
    file_born_expected_s: Option<u32>,
    is_confirmed: bool,
    /// The open transaction's GTID, in the parts and as text; empty without.
    gtid: (String, String, u64),
    gtid_text: String,
    in_transaction: bool,
    rows_in_transaction: bool,
    /// The XA transaction whose rows are coming.
    xa: Option<Xid>,
}

impl Tracker {
    /// Whether the file at the start is known to be the right one.
    pub(super) fn is_confirmed(&self) -> bool {
        self.is_confirmed
    }

    /// Begins at a position that the source was started at.
    pub(super) fn new(position: Position) -> Result<Self> {
        let gtid_set = position.gtid_set.as_deref().map(str::parse::<GtidSet>).transpose()?;
        let by_file = gtid_set.is_none() && position.file_born_s != 0;
        Ok(Self {
            file: position.file.clone(),
            file_number: file_number(&position.file),
            offset: position.offset,
            file_born_s: position.file_born_s,
            file_born_expected_s: by_file.then_some(position.file_born_s),
            is_confirmed: false,
            gtid_set,
            gtid: (String::new(), String::new(), 0),
            gtid_text: String::new(),
            in_transaction: false,
            rows_in_transaction: false,
            xa: None,
            position,
        })
    }

    /// The end of the last complete transaction.
    pub(super) fn position(&self) -> Position {
        let mut position = self.position.clone();
        position.gtid_set = self.gtid_set.as_ref().map(GtidSet::to_string);
        position
    }

    /// Whether no transaction is open.
    pub(super) fn at_boundary(&self) -> bool {
        !self.in_transaction && self.gtid_text.is_empty()
    }

    /// Whether all transactions up to the target have been taken, and the server has confirmed the file that the stream
    /// began in: the same name and offset may be another file's.
    pub(super) fn has_reached(&self, target: &Target) -> bool {
        if !self.is_confirmed || !self.at_boundary() {
            return false;
        }
        match (&self.gtid_set, &target.gtid_set) {
            (Some(here), Some(there)) => there.is_subset(here),
            // A file that was just begun ends behind events of no transaction.
            _ => (self.file_number, self.offset) >= (target.file_number, target.offset),
        }
    }

    /// The XA transaction whose rows are to be held back.
    pub(super) fn xa_open(&self) -> Option<&Xid> {
        self.xa.as_ref()
    }

    /// The decision over an XA transaction has been carried out.
    pub(super) fn decided(&mut self) {
        self.end();
    }

    /// The open transaction's GTID as text; empty without.
    pub(super) fn gtid_text(&self) -> &str {
        &self.gtid_text
    }

    /// The GTID of the last transaction that had one: server_uuid, tag, number.
    pub(super) fn gtid(&self) -> (&str, &str, u64) {
        (&self.gtid.0, &self.gtid.1, self.gtid.2)
    }

    /// The file that is being read, its number and the end of the last event.
    pub(super) fn place(&self) -> (&str, u64, u64) {
        (&self.file, self.file_number, self.offset)
    }

    /// The end of the event at hand.
    pub(super) fn event_end(&self) -> EventEnd {
        (self.file_number, self.offset)
    }

    /// Adds the place of the event at hand to an error.
    pub(super) fn locate(&self, error: Error) -> Error {
        error.detail(format!("at {}:{}", self.file, self.offset))
    }

    /// Takes an event. Rows and table maps only move the offset.
    pub(super) fn take(&mut self, event: &Event<'_>) -> Result<Meaning> {
        self.advance(&event.header);
        match &event.body {
            Body::Rotate { position, file } => {
                self.rotate(file, *position);
                return Ok(Meaning::NewFile);
            }
            Body::FormatDescription(_) => self.born(event.header.timestamp_seconds)?,
            Body::Gtid(gtid) => {
                self.require_no_transaction("a GTID")?;
                self.gtid_text.clear();
                if !gtid.anonymous {
                    let (source, tag, number) = &mut self.gtid;
                    source.clear();
                    write!(source, "{}", gtid.source).ok();
                    gtid.tag.clone_into(tag);
                    *number = gtid.number;
                    let separator = if tag.is_empty() { "" } else { ":" };
                    write!(self.gtid_text, "{source}{separator}{tag}:{number}").ok();
                }
            }
            Body::Query(query) => return self.query(query),
            Body::Xid(_) => return self.commit(),
            Body::XaPrepare(event) => return self.prepare(event),
            Body::Rows(_) => {
                if !self.in_transaction {
                    return Err(Error::definite("rows outside of a transaction").hint(DEFECT_HINT));
                }
                self.rows_in_transaction = true;
            }
            Body::TableMap(_)
            | Body::TransactionPayload(_)
            | Body::RowsQuery(_)
            | Body::Heartbeat { .. }
            | Body::PreviousGtids(_)
            | Body::GroupReplication
            | Body::Stop => {}
            other => return refuse(other, &event.header),
        }
        Ok(Meaning::Nothing)
    }

    /// Heartbeats and artificial events carry no place of their own.
    fn advance(&mut self, header: &Header) {
        if header.next_position == 0 || header.is_artificial() || matches!(header.event_type.0, 27 | 41) {
            return;
        }
        let next = (self.offset & !(OFFSET_WRAP - 1)) | u64::from(header.next_position);
        self.offset = if next < self.offset { next + OFFSET_WRAP } else { next };
    }

    fn rotate(&mut self, file: &str, offset: u64) {
        if self.file != file {
            self.file.clear();
            self.file.push_str(file);
            self.file_number = file_number(file);
            self.file_born_s = 0;
            self.file_born_expected_s = None;
        }
        self.offset = offset;
        if self.at_boundary() {
            self.remember();
        }
    }

    fn born(&mut self, born_s: u32) -> Result<()> {
        if let Some(expected_s) = self.file_born_expected_s.take()
            && expected_s != born_s
        {
            return Err(Error::definite(format!(
                "the binlog file is not the one that the checkpoint was taken in: {}",
                self.file
            ))
            .detail(format!(
                "begun at {born_s} instead of {expected_s}, seconds since 1970: the server was reset or rebuilt"
            ))
            .hint(LOAD_ANEW)
            .gap());
        }
        self.is_confirmed = true;
        self.file_born_s = born_s;
        if self.at_boundary() {
            self.remember();
        }
        Ok(())
    }

    fn query(&mut self, query: &Query<'_>) -> Result<Meaning> {
        if query.text == b"BEGIN" {
            // The common case by far, spared the look at the statement.
            return self.begin();
        }
        let decoded = query.decoded_text();
        let is_text = decoded.is_some();
        let text = decoded.unwrap_or_else(|| query.text_lossy());
        let refuse = |what: &str, hint: &str| Error::definite(what).detail(shorten(&text)).hint(hint);
        let quoting = Quoting::of(query.sql_mode.unwrap_or_default());
        match classify(&text, query.schema, quoting) {
            Statement::Begin => self.begin(),
            Statement::Commit => self.commit(),
            Statement::Savepoint => Ok(Meaning::Nothing),
            Statement::Rollback if !self.rows_in_transaction => Ok(self.end()),
            Statement::RollbackTo if !self.rows_in_transaction => Ok(Meaning::Nothing),
            Statement::Rollback | Statement::RollbackTo => Err(refuse(ROLLED_BACK, ROLLED_BACK_HINT)),
            Statement::Xa => self.xa(&text),
            Statement::Text => Err(refuse(
                "rows were changed by a statement that is logged as text",
                TEXT_HINT,
            )),
            statement @ (Statement::Harmless | Statement::Unknown | Statement::Ddl(_)) => {
                // Names that were lost on their way through a character set are no names.
                let is_lost = !is_text && matches!(statement, Statement::Ddl(_));
                let statement = if is_lost { Statement::Unknown } else { statement };
                let ends_transaction = !self.in_transaction;
                if ends_transaction {
                    self.end();
                }
                Ok(Meaning::Ddl(Box::new(Ddl {
                    statement,
                    text: text.into_owned(),
                    ends_transaction,
                })))
            }
        }
    }

    fn begin(&mut self) -> Result<Meaning> {
        self.require_no_transaction("BEGIN")?;
        self.in_transaction = true;
        Ok(Meaning::Nothing)
    }

    fn require_no_transaction(&self, what: &str) -> Result<()> {
        if !self.in_transaction {
            return Ok(());
        }
        Err(Error::definite(format!("{what} within a transaction")).hint(DEFECT_HINT))
    }

    fn commit(&mut self) -> Result<Meaning> {
        match &self.xa {
            None => Ok(self.end()),
            Some(xid) => {
                Err(Error::definite(format!("an XA transaction ends as a plain one: {xid}")).hint(DEFECT_HINT))
            }
        }
    }

    fn xa(&mut self, text: &str) -> Result<Meaning> {
        let refuse = |what: &str, hint: &str| Error::definite(what).detail(shorten(text)).hint(hint);
        let statement =
            xa::parse(text).ok_or_else(|| refuse("an XA statement that mysync does not know", DEFECT_HINT))?;
        match statement {
            XaStatement::Start(xid) => {
                self.begin()?;
                self.xa = Some(xid);
                Ok(Meaning::XaBegin)
            }
            XaStatement::End(xid) if self.xa.as_ref() == Some(&xid) => Ok(Meaning::Nothing),
            XaStatement::Rollback(_) if self.rows_in_transaction => Err(refuse(ROLLED_BACK, ROLLED_BACK_HINT)),
            XaStatement::Commit(xid) if !self.in_transaction => Ok(self.decide(Decision::Commit(xid))),
            XaStatement::Rollback(xid) if !self.in_transaction => Ok(self.decide(Decision::Rollback(xid))),
            _ => Err(refuse("an XA statement where none can be", DEFECT_HINT)),
        }
    }

    fn prepare(&mut self, event: &XaPrepare<'_>) -> Result<Meaning> {
        match self.xa.take() {
            Some(xid) if xid.is_of(event) => {
                if event.one_phase {
                    return Ok(self.decide(Decision::OnePhase(xid)));
                }
                self.end();
                Ok(Meaning::XaPrepared(xid))
            }
            _ => Err(Error::definite("an XA transaction is prepared that did not begin").hint(DEFECT_HINT)),
        }
    }

    fn decide(&mut self, decision: Decision) -> Meaning {
        self.in_transaction = true;
        Meaning::XaDecided(decision)
    }

    fn end(&mut self) -> Meaning {
        if !self.gtid_text.is_empty() {
            if let Some(set) = &mut self.gtid_set {
                set.add(&self.gtid.0, &self.gtid.1, self.gtid.2);
            }
            self.gtid_text.clear();
        }
        self.in_transaction = false;
        self.rows_in_transaction = false;
        self.xa = None;
        self.remember();
        Meaning::TransactionEnd
    }

    fn remember(&mut self) {
        self.position.file.clone_from(&self.file);
        self.position.offset = self.offset;
        self.position.file_born_s = self.file_born_s;
    }
}

fn refuse(body: &Body<'_>, header: &Header) -> Result<Meaning> {
    let (what, hint) = match body {
        Body::Unknown { ignorable: true } => return Ok(Meaning::Nothing),
        Body::PartialUpdateRows { .. } => (
            "an update that logs only parts of a JSON value",
            "SET PERSIST binlog_row_value_options = ''",
        ),
        Body::StatementPart => ("rows were changed by a statement that is logged as text", TEXT_HINT),
        Body::Incident { .. } => ("the server notes that its binlog lacks changes", LOAD_ANEW),
        _ => (
            "an event that mysync does not know",
            "use a version of mysync that knows this server's version",
        ),
    };
    let name = header.event_type.name().unwrap_or("unknown");
    let error = Error::definite(what)
        .detail(format!("event type {} ({name})", header.event_type.0))
        .hint(hint);
    Err(match body {
        Body::Incident { .. } => error.gap(),
        _ => error,
    })
}

/// The number at the end of a binlog file's name.
fn file_number(name: &str) -> u64 {
    name.rsplit('.')
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

pub(super) fn shorten(text: &str) -> String {
    text.chars().take(QUOTED_CHARACTERS_MAX).collect()
}
