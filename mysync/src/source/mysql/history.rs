//! Whether a position is in a server's history, so that going on there loses and repeats nothing.

use super::{MySqlSource, Server};
use crate::checkpoint::Position;
use crate::error::{Error, Result};
use crate::source::gtid_set::GtidSet;
use mysql_async::{Conn, Row};

const LOAD_ANEW: &str = "load the tables anew under a new kafka.prefix and reader.name";

/// Refuses a position of another server, one that the server has purged, and one that it never had.
pub(super) async fn require_known(
    source: &MySqlSource,
    connection: &mut Conn,
    server: &Server,
    position: &Position,
) -> Result<()> {
    let address = source.address();
    if position.server_uuid != server.uuid {
        let what = format!("the server is not the one that the checkpoint was taken on: {address}");
        return Err(Error::definite(what)
            .detail(format!(
                "server_uuid {} instead of {}",
                server.uuid, position.server_uuid
            ))
            .hint("set source.servers back to the server that was followed"));
    }
    let rows = source.rows(connection, "SHOW BINARY LOGS").await?;
    let held: Vec<String> = rows.iter().filter_map(|row| row.get::<String, usize>(0)).collect();
    if let (true, Some(set)) = (server.gtid, &position.gtid_set) {
        return require_gtids(source, connection, position, &held, set).await;
    }
    if held.contains(&position.file) {
        return Ok(());
    }
    match gone_files(&position.file, &held) {
        Some(files) => Err(purged(address, &files)),
        None => Err(unknown(
            address,
            &format!("it has {}, not {}", held.join(", "), position.file),
        )),
    }
}

async fn require_gtids(
    source: &MySqlSource,
    connection: &mut Conn,
    position: &Position,
    held: &[String],
    set: &str,
) -> Result<()> {
    let statement = "SELECT @@GLOBAL.gtid_executed, @@GLOBAL.gtid_purged";
    let rows = source.rows(connection, statement).await?;
    let text = |index| rows.first().and_then(|row: &Row| row.get::<String, usize>(index));
    let parse = |text: Option<String>| text.unwrap_or_default().parse::<GtidSet>();
    let (executed, lacking, reached): (GtidSet, GtidSet, GtidSet) = (parse(text(0))?, parse(text(1))?, set.parse()?);
    if !reached.is_subset(&executed) {
        let detail =
            format!("it never executed all of {reached}, only {executed}: was it reset, or restored from a backup?");
        return Err(unknown(source.address(), &detail));
    }
    if !lacking.is_subset(&reached) {
        let files = gone_files(&position.file, held).map_or_else(String::new, |files| files + "; ");
        let detail = format!("{files}the server has purged {lacking}, the checkpoint has only {reached}");
        return Err(purged(source.address(), &detail));
    }
    Ok(())
}

fn purged(address: &str, detail: &str) -> Error {
    Error::definite(format!("the binlog was purged past the checkpoint: {address}"))
        .detail(detail)
        .hint(format!(
            "{LOAD_ANEW}; and let the server keep its binlogs longer: SET PERSIST binlog_expire_logs_seconds = 604800"
        ))
}

fn unknown(address: &str, detail: &str) -> Error {
    Error::definite(format!(
        "the checkpoint's position is not in the server's history: {address}"
    ))
    .detail(detail)
    .hint(LOAD_ANEW)
}

/// The files from the checkpoint's up to the oldest that is held, as words; `None` if the checkpoint's is not older than that.
fn gone_files(from: &str, held: &[String]) -> Option<String> {
    let oldest = held.first()?;
    let (base, number) = from.rsplit_once('.')?;
    let (oldest_base, oldest_number) = oldest.rsplit_once('.')?;
    let (first, end): (u64, u64) = (number.parse().ok()?, oldest_number.parse().ok()?);
    if base != oldest_base || first >= end {
        return None;
    }
    let last = end - 1;
    let gone = match first == last {
        true => format!("{from} is gone"),
        // Numbers have six digits, and more only once they are used up.
        false => format!("{from} to {base}.{last:06} are gone"),
    };
    Some(format!("{gone}, the oldest that the server has is {oldest}"))
}

#[cfg(test)]
mod tests {
    use super::gone_files;

    #[test]
    fn the_files_that_are_gone_are_named() {
        let held = ["binlog.000012".to_owned(), "binlog.000013".to_owned()];
        let gone = |from| gone_files(from, &held);
        let text = "binlog.000009 to binlog.000011 are gone, the oldest that the server has is binlog.000012";
        assert_eq!(gone("binlog.000009").as_deref(), Some(text));
        let text = "binlog.000011 is gone, the oldest that the server has is binlog.000012";
        assert_eq!(gone("binlog.000011").as_deref(), Some(text));
        assert_eq!(gone("binlog.000014"), None);
        assert_eq!(gone("other.000001"), None);
        assert_eq!(gone_files("binlog.000001", &[]), None);
    }
}
