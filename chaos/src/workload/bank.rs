//! Money moved between accounts, by several clients at once.
//!
//! Tables of the database `bank`: `account` (hot rows, updated), `transfer` (inserted, amended, deleted, and given another
//! primary key now and then, several rows a transaction) and `pulse` (one row, updated to see whether the pipeline is
//! awake). Every row carries the number of the transaction that wrote it last: `client << 40 | count`, never used twice.
//! What a client does is drawn from the seed ([`plan`]); only the answers of the server are not.
//!
//! Every transaction also puts its number into a journal, in a database of its own that the pipeline does not follow:
//! whichever server is the primary in the end, its journal says which transactions it has.

mod client;
mod clients;
mod plan;

pub use clients::Clients;
pub use plan::{OPENING_BALANCE, Planned, Statement, Teller};

use crate::drill::{Rate, WorkloadPlan};
use crate::error::{Doing, Error, Result};
use crate::history::{Journal, Outcome, Record, Recorder, Row, Write};
use client::Client;
use fixtures::Mysql;
use mysql_async::prelude::Queryable;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The tables, as the reader's configuration names them.
pub const TABLES: &str = "bank.*";
/// Client number of the pulses and of the opening of the accounts; the others begin at 1.
const HOUSE: u64 = 0;
/// Accounts that are opened in one transaction.
const ACCOUNTS_PER_TRANSACTION: u64 = 500;

/// Who writes. Without SUPER, so that a server that is read-only refuses it, old ones too.
const USER: &str = "bank";
const PASSWORD: &str = "lab-bank";

const SCHEMA: [&str; 9] = [
    "CREATE DATABASE IF NOT EXISTS bank CHARACTER SET utf8mb4",
    "CREATE TABLE bank.account (
       id BIGINT UNSIGNED NOT NULL PRIMARY KEY, owner VARCHAR(64) NOT NULL, balance BIGINT NOT NULL,
       overdraft DECIMAL(12,2) NULL, opened DATETIME(3) NOT NULL, note TEXT NULL, written_by BIGINT UNSIGNED NOT NULL)",
    "CREATE TABLE bank.transfer (
       id BIGINT UNSIGNED NOT NULL PRIMARY KEY, from_account BIGINT UNSIGNED NOT NULL, to_account BIGINT UNSIGNED NOT NULL,
       amount BIGINT NOT NULL, at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), memo VARCHAR(200) NULL,
       state ENUM('booked','amended','moved') NOT NULL DEFAULT 'booked', written_by BIGINT UNSIGNED NOT NULL)",
    "CREATE TABLE bank.pulse (id BIGINT UNSIGNED NOT NULL PRIMARY KEY, written_by BIGINT UNSIGNED NOT NULL)",
    "CREATE DATABASE bank_audit",
    "CREATE TABLE bank_audit.journal (number BIGINT UNSIGNED NOT NULL PRIMARY KEY)",
    "CREATE USER 'bank'@'%' IDENTIFIED BY 'lab-bank'",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON bank.* TO 'bank'@'%'",
    "GRANT SELECT, INSERT ON bank_audit.* TO 'bank'@'%'",
];

/// The bank of one run.
pub struct Bank {
    clients: Clients,
    plan: WorkloadPlan,
    seed: u64,
    recorder: Recorder,
    house: Client,
    house_count: u64,
}

/// Clients at work.
pub struct Working {
    stop: watch::Sender<bool>,
    clients: JoinSet<Result<()>>,
}

impl Bank {
    /// Creates the tables, which must not exist.
    pub async fn create(primary: &Mysql, plan: &WorkloadPlan, seed: u64, recorder: &Recorder) -> Result<Self> {
        let mut connection = primary
            .connect()
            .await
            .doing(|| "no connection to the lab's MySQL".into())?;
        for statement in SCHEMA {
            connection
                .query_drop(statement)
                .await
                .doing(|| "the bank's tables cannot be created".into())?;
        }
        let clients = Clients::of(primary);
        let house = Client::new(&clients, recorder.clone());
        let mut bank = Self {
            clients,
            plan: plan.clone(),
            seed,
            recorder: recorder.clone(),
            house,
            house_count: 0,
        };
        let pulse = Planned {
            number: 0,
            statements: vec![Statement::of_one_row("INSERT INTO bank.pulse VALUES (1, 0)")],
            rows: vec![row("pulse", Write::Insert { key: 1 })],
            commit: true,
        };
        bank.house.run(&pulse, Outcome::Early).await?;
        Ok(bank)
    }

    /// Its clients, to lead them to another primary.
    #[must_use]
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// Records which transactions `primary` has.
    pub async fn ask_journal(&self, primary: &Mysql) -> Result<()> {
        let rows = primary
            .sql("SELECT number FROM bank_audit.journal ORDER BY number")
            .await
            .doing(|| "the bank's journal cannot be read".into())?;
        let numbers: Option<Vec<u64>> = rows.iter().flatten().map(|text| text.as_ref()?.parse().ok()).collect();
        let numbers = numbers.ok_or_else(|| Error::definite("the bank's journal holds what is no number"))?;
        self.recorder.append(&Record::Journal(Journal {
            at_us: self.recorder.now_us(),
            server: primary.name().into(),
            numbers,
        }));
        Ok(())
    }

    /// Changes the row of `bank.pulse` and returns the number that it holds now. `listening` says whether the pipeline is
    /// known to be there, so that the change must arrive.
    pub async fn pulse(&mut self, listening: bool) -> Result<u64> {
        let number = self.house_number();
        let pulse = Planned {
            number,
            statements: vec![Statement::of_one_row(format!(
                "UPDATE bank.pulse SET written_by = {number} WHERE id = 1"
            ))],
            rows: vec![row("pulse", Write::Update { key: 1 })],
            commit: true,
        };
        let outcome = if listening {
            Outcome::Acknowledged
        } else {
            Outcome::Early
        };
        self.house.run(&pulse, outcome).await?;
        Ok(number)
    }

    /// Opens the accounts.
    pub async fn open_accounts(&mut self) -> Result<()> {
        let accounts: Vec<u64> = (1..=u64::from(self.plan.accounts)).collect();
        for ids in accounts.chunks(ACCOUNTS_PER_TRANSACTION as usize) {
            let number = self.house_number();
            let opening = plan::opening(ids, number);
            self.house.run(&opening, Outcome::Acknowledged).await?;
        }
        Ok(())
    }

    /// Lets the clients work until they are told to stop.
    #[must_use]
    pub fn work(&self) -> Working {
        let (stop, stopped) = watch::channel(false);
        let mut clients = JoinSet::new();
        for client in 1..=u64::from(self.plan.clients) {
            let teller = Teller::new(self.seed, client, u64::from(self.plan.accounts));
            let connection = Client::new(&self.clients, self.recorder.clone());
            clients.spawn(connection.work(teller, self.pace(), stopped.clone()));
        }
        Working { stop, clients }
    }

    /// Keys of `bank.account` that are watched in the stores, at most `count`.
    #[must_use]
    pub fn watched(&self, count: u64) -> Vec<u64> {
        (1..=u64::from(self.plan.accounts).min(count)).collect()
    }

    /// Time between two transactions of one client.
    fn pace(&self) -> Option<Duration> {
        match self.plan.transfers_per_second {
            Rate::PerSecond(rate) => Some(Duration::from_secs(1) * self.plan.clients / rate),
            Rate::Max(_) => None,
        }
    }

    fn house_number(&mut self) -> u64 {
        self.house_count += 1;
        plan::number(HOUSE, self.house_count)
    }
}

impl Working {
    /// Lets every client finish its transaction, and says whether all went well.
    pub async fn stop(mut self) -> Result<()> {
        // The clients may all have ended with an error, which comes below.
        let _ = self.stop.send(true);
        while let Some(ended) = self.clients.join_next().await {
            ended.doing(|| "a client of the bank panicked".into())??;
        }
        Ok(())
    }
}

fn row(table: &str, write: Write) -> Row {
    Row {
        table: format!("bank.{table}"),
        write,
    }
}
