//! What a table's columns are, for servers whose binlog does not say it: 5.6, and later ones without
//! `binlog_row_metadata=FULL`. Their Table_maps have types and no names, on 5.6 not even signedness or character sets.
//!
//! # The hard part
//! The server's information_schema shows a table as it is NOW; a Table_map shows its shape THEN. A reader that is behind, or
//! that was down, reads rows of shapes that are gone, and two shapes can look alike: ADD COLUMN x, then RENAME COLUMN x
//! TO y of the same type. So information_schema is never taken for more than it is.
//!
//! # The rule
//! A table's columns are known at a place in the binlog in one of two ways, and in no other:
//!
//! 1. **They were known before, and the statement here was applied to them exactly** ([`classify`], [`TableSchema`]): CREATE,
//!    ADD, DROP, MODIFY, CHANGE, RENAME COLUMN with their positions, keys, character sets, RENAME and DROP TABLE. A statement
//!    of which one word is not understood is not applied at all.
//! 2. **information_schema was asked at a later place, and no statement in between is about the table** ([`Survey`]). The
//!    reader reads ahead from here to the end of the binlog, looking at statements only, and then goes back. The table is
//!    locked against DDL while it is read, since a statement stands in the binlog shortly before its effect shows.
//!
//! Where neither holds the table is unknown, and the reader stops at its next rows: at a wide gap (CREATE TABLE … SELECT of
//! old servers, a backlog in which a table was altered in two ways that are not understood) that is the price of no guess.
//! Each Table_map is compared with what is known (number, types, lengths, NULL, character sets where it has them); a
//! difference stops the reader with the table, the position and the remedy.
//!
//! # What is kept
//! The topic `<prefix>.__schema`, compacted: key `["database","table"]`, value the columns from a place on ([`History`]).
//! Records go into the Kafka transaction whose checkpoint passes the statement, so a restart finds exactly the columns that
//! held at its checkpoint, and applies the statements behind it again. Kept are the followed tables, and those that the stream
//! creates beside them: gh-ost and pt-osc fill such a table and swap it in by RENAME TABLE.
//!
//! With FULL metadata none of this is needed, and none of it happens.

mod alter;
mod column;
mod create;
mod history;
mod sql_type;
mod statement;
mod survey;
mod table;
mod tokens;

pub use alter::Clause;
pub use column::{Column, Definition, Place};
pub use create::{Columns, Create};
pub use history::{History, Origin};
pub use sql_type::SqlType;
pub use statement::{Change, Statement, TableChange, classify};
pub use survey::{Survey, SurveyDraft};
pub use table::TableSchema;
pub use tokens::Quoting;

pub(crate) use column::{charset, charset_of_collation};

/// Database and table.
pub type TableName = (String, String);

/// A place in the binlog: the number of the file and the byte after an event.
pub type EventEnd = (u64, u64);
