//! The fence: a marker row that goes through the whole pipeline.
//!
//! The checker writes a fresh token into a row of `__db_mysync.t_fence` and waits until each store holds it. A writer
//! applies that row only after everything that was published before it, in all of its partitions. So a token seen in
//! a store means: every change committed before the token was written is there. One token serves all stores.
//!
//! Each check has its own row, so that two checks do not overwrite each other's token, and removes it at the end.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::time::Instant;

use crate::canonical::Kind;
use crate::error::Error;
use crate::mysql::schema::OWN_DATABASE;
use crate::store::Store;
use crate::table::{Column, Table};

const TABLE: &str = "t_fence";
/// How often a store is asked for the token.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A check's own marker row.
pub struct Fence {
    session: Conn,
    table: Table,
    id: String,
    written: u32,
    wait_max: Duration,
}

/// What became of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// The store held the token after so long.
    Passed(Duration),
    /// The store did not hold it within the time given.
    Missed,
}

/// The fence's table as the store sees it; `number` is its place among the tables of the check.
pub fn table(number: usize) -> Table {
    let column = |name: &str| Column::plain(name, Kind::Characters);
    Table {
        number,
        database: OWN_DATABASE.to_owned(),
        name: TABLE.to_owned(),
        columns: vec![column("id"), column("token")],
        key: vec![0],
        key_is_primary: true,
        rows_estimate: 0,
    }
}

impl Fence {
    /// Creates the table where it is absent.
    pub async fn prepare(mut session: Conn, table: Table, wait_max: Duration) -> Result<Self, Error> {
        let found: Option<u8> = session
            .query_first(format!(
                "SELECT 1 FROM information_schema.tables WHERE table_schema = '{OWN_DATABASE}' AND table_name = '{TABLE}'"
            ))
            .await
            .map_err(|error| refused(&error))?;
        if found.is_none() {
            for statement in [
                format!("CREATE DATABASE IF NOT EXISTS {OWN_DATABASE}"),
                format!(
                    "CREATE TABLE IF NOT EXISTS {OWN_DATABASE}.{TABLE} \
                     (id VARCHAR(64) NOT NULL PRIMARY KEY, token VARCHAR(64) NOT NULL) DEFAULT CHARSET = utf8mb4"
                ),
            ] {
                session.query_drop(statement).await.map_err(|error| refused(&error))?;
            }
        }
        // A hasher's fresh keys are all the randomness that a name for one check needs.
        let id = format!("check-{:016x}", RandomState::new().build_hasher().finish());
        Ok(Self {
            session,
            table,
            id,
            written: 0,
            wait_max,
        })
    }

    /// Writes a fresh token and waits until the stores hold it, each for itself. The answers stand in their order.
    pub async fn pass(&mut self, stores: &[Arc<dyn Store>]) -> Result<Vec<Passage>, Error> {
        self.written += 1;
        let token = format!("{}-{}", self.id, self.written);
        let statement = format!(
            "REPLACE INTO {OWN_DATABASE}.{TABLE} (id, token) VALUES ('{}', '{token}')",
            self.id
        );
        self.session
            .query_drop(statement)
            .await
            .map_err(|error| refused(&error))?;
        let written_at = Instant::now();
        try_join_all(
            stores
                .iter()
                .map(|store| self.arrival(store.as_ref(), &token, written_at)),
        )
        .await
    }

    async fn arrival(&self, store: &dyn Store, token: &str, written_at: Instant) -> Result<Passage, Error> {
        let keys = [store.key(&self.table, &[self.id.as_bytes()])];
        loop {
            let rows = store.rows(&self.table, &keys).await?;
            if let Some(Some(row)) = rows.first()
                && row.values.get(1) == Some(&Some(token.as_bytes().to_vec()))
            {
                return Ok(Passage::Passed(written_at.elapsed()));
            }
            if written_at.elapsed() >= self.wait_max {
                return Ok(Passage::Missed);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Takes the row away again.
    pub async fn remove(mut self) -> Result<(), Error> {
        let statement = format!("DELETE FROM {OWN_DATABASE}.{TABLE} WHERE id = '{}'", self.id);
        self.session
            .query_drop(statement)
            .await
            .map_err(|error| refused(&error))
    }
}

fn refused(error: &mysql_async::Error) -> Error {
    Error::failed(
        "cannot write the fence",
        format!("{OWN_DATABASE}.{TABLE}: {error}"),
        format!("GRANT CREATE, SELECT, INSERT, DELETE ON {OWN_DATABASE}.* to the account, or check with --no-fence"),
    )
}
