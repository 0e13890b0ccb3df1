//! Where the reader goes on: the checkpoint in terms of the server that is followed now, proven to be in that server's
//! history, so that nothing is lost and nothing comes twice.
//!
//! | server | GTID | proof |
//! | --- | --- | --- |
//! | the same | yes | it has executed all of the checkpoint, purged nothing beyond it, and begun the file when the checkpoint says |
//! | the same | no | it still has the file, begun when the checkpoint says ([`super::tracker`]), and what was published last ([`super::anchor`]) |
//! | another | on both | as on the same; gaps in the sets are kept. What of the checkpoint it has not executed, it will never have: the switch was lossy |
//! | another | on none | an anchor, and from there to the checkpoint the same changes ([`super::anchor`]). Changes that it lacks are lost |
//! | another | on one of them | none: refused |
//!
//! A server that only lags is waited for: with GTID [`crate::source::topology`] does not choose it, without it is told by what
//! it lacks here, and by being a replica. On another server a new epoch
//! begins, so that versions keep rising whatever becomes of the old server's last changes.

use super::Options;
use super::anchor::{Located, locate, prove};
use super::errant;
use super::tracker::Tracker;
use crate::checkpoint::{Checkpoint, Position};
use crate::config::Start;
use crate::decode::{Event, Format};
use crate::encode::refuse;
use crate::error::{Error, Result};
use crate::queue::Queue;
use crate::source::gtid_set::GtidSet;
use crate::source::{Server, Source, preflight};
use crate::tables::TableFilter;
use crate::version::Version;

/// What mends a place that is not there.
pub(super) const LOAD_ANEW: &str = "load the tables anew: set reader.on_gap = \"refresh\", start again, and all followed tables are read from the server";

/// The offset of a file's first event.
const FILE_START: u64 = 4;

/// A proven place to go on.
#[derive(Debug)]
pub(super) struct Resumed {
    /// Epoch and position are those on the server that is followed now.
    pub(super) checkpoint: Checkpoint,
    /// Whether the checkpoint was taken on another server.
    pub(super) is_switched: bool,
    /// What was published and is not on this server.
    pub(super) lost: Option<Lost>,
    /// What this server did by itself before it had the last of what was published: it will come as if it were newer.
    pub(super) errant: GtidSet,
}

/// What MySQL lost in a switch, though it was published.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// These transactions.
    Gtids(GtidSet),
    /// All that was published from this version on.
    From(Version),
}

/// Finds the checkpoint in the history of the server that is followed now; without one, begins where `reader.start` says.
pub(super) async fn resume<S: Source, Q: Queue>(
    source: &mut S,
    queue: &Q,
    filter: &TableFilter,
    server: &Server,
    checkpoint: Option<Checkpoint>,
    options: &Options,
) -> Result<Resumed> {
    match checkpoint {
        None => begin(source, options).await,
        Some(checkpoint) if server.uuid == checkpoint.position.server_uuid => {
            let checkpoint = stay(source, filter, server, checkpoint).await?;
            Ok(Resumed {
                checkpoint,
                is_switched: false,
                lost: None,
                errant: GtidSet::default(),
            })
        }
        Some(checkpoint) => {
            // What holds for one server need not hold for another.
            let checks = source.preflight().await?;
            preflight::require(&checks, options.allow_unsafe)?;
            options.metrics.condition.allow_unsafe(preflight::failed(&checks));
            if !server.gtid && checkpoint.position.gtid_set.is_none() {
                let located = locate(source, queue, filter, &options.heartbeat_name, &checkpoint).await?;
                return go_on_located(server, checkpoint, located);
            }
            switch(source, server, checkpoint).await
        }
    }
}

async fn begin<S: Source>(source: &mut S, options: &Options) -> Result<Resumed> {
    let position = match options.start {
        Start::Oldest => source.oldest().await?,
        Start::Newest => source.newest().await?,
    };
    tracing::warn!(
        file = position.file,
        "no checkpoint yet: rows that were written before this file are not in the stream"
    );
    Ok(Resumed {
        checkpoint: Checkpoint {
            unseen: position.gtid_set.clone(),
            position,
            next_version: Version::FIRST,
            prepared: Vec::new(),
            refreshes: 0,
            is_sequenced: options.is_sequenced,
            numbering: options.numbering,
            trail: None,
        },
        is_switched: false,
        lost: None,
        errant: GtidSet::default(),
    })
}

/// Goes on at the end of what the server has, since the checkpoint's place is not there: `why`. All that lies between has to be read
/// from the tables.
pub(super) async fn leap<S: Source>(
    source: &mut S,
    server: &Server,
    checkpoint: Checkpoint,
    options: &Options,
    why: &Error,
) -> Result<Resumed> {
    let checks = source.preflight().await?;
    preflight::require(&checks, options.allow_unsafe)?;
    options.metrics.condition.allow_unsafe(preflight::failed(&checks));
    let position = source.newest().await?;
    tracing::error!(
        server = server.address,
        file = position.file,
        offset = position.offset,
        xa_transactions_given_up = checkpoint.prepared.len(),
        "the stream goes on at the end of the binlog, and all followed tables are read anew: {}",
        why.one_line()
    );
    Ok(Resumed {
        checkpoint: Checkpoint {
            unseen: position.gtid_set.clone(),
            position,
            next_version: checkpoint.next_version.next_epoch()?,
            prepared: Vec::new(),
            trail: None,
            ..checkpoint
        },
        is_switched: true,
        lost: None,
        errant: GtidSet::default(),
    })
}

/// Goes on at the same server.
async fn stay<S: Source>(
    source: &mut S,
    filter: &TableFilter,
    server: &Server,
    mut checkpoint: Checkpoint,
) -> Result<Checkpoint> {
    let held = source.files().await?;
    match (&checkpoint.position.gtid_set, server.gtid) {
        (Some(set), true) => {
            let reached: GtidSet = set.parse()?;
            let gtids = source.gtids().await?;
            if !reached.is_subset(&gtids.executed) {
                let (lacking, executed) = (reached.minus(&gtids.executed), gtids.executed);
                let detail = format!(
                    "it never executed {lacking} of the checkpoint, only {executed}: was it reset, or restored from a backup, or did it \
                     lose the end of its binlog in a crash (sync_binlog is not 1)?"
                );
                return Err(unknown(server, &detail));
            }
            require_unpurged(server, &gtids.purged, &reached, &checkpoint.position, &held)?;
            require_same_file(source, server, &checkpoint.position, &held).await?;
        }
        (_, _) if !held.contains(&checkpoint.position.file) => {
            let file = &checkpoint.position.file;
            return Err(match gone_files(file, &held) {
                Some(files) => purged(server, &files),
                None => unknown(server, &format!("it has {}, not {file}", held.join(", "))),
            });
        }
        // GTIDs were switched off: what comes has none, so the set would not tell any more what was read.
        (Some(_), false) => checkpoint.position.gtid_set = None,
        (None, _) => checkpoint.position = prove(source, filter, &checkpoint).await?,
    }
    Ok(checkpoint)
}

/// The checkpoint's file, if the server still has it, was begun when the checkpoint says.
async fn require_same_file<S: Source>(
    source: &mut S,
    server: &Server,
    position: &Position,
    held: &[String],
) -> Result<()> {
    if !held.contains(&position.file) {
        return match is_beyond(&position.file, held) {
            true => Err(unknown(
                server,
                &format!("it has {}, not {}: was it reset?", held.join(", "), position.file),
            )),
            false => Ok(()),
        };
    }
    if position.file_born_s == 0 {
        return Ok(());
    }
    let begin = Position {
        offset: FILE_START,
        gtid_set: None,
        ..position.clone()
    };
    source.start(&begin).await?;
    let (mut tracker, mut format) = (Tracker::new(begin)?, Format::default());
    while !tracker.is_confirmed() {
        let event = Event::parse(source.next().await?, &mut format).map_err(|error| tracker.locate(refuse(error)))?;
        tracker.take(&event)?;
    }
    Ok(())
}

/// Whether a file would come after all that are held.
fn is_beyond(file: &str, held: &[String]) -> bool {
    let parts = |name: &str| {
        let (base, number) = name.rsplit_once('.')?;
        Some((base.to_owned(), number.parse::<u64>().ok()?))
    };
    match (parts(file), held.last().and_then(|newest| parts(newest))) {
        (Some((base, number)), Some((newest_base, newest))) => base == newest_base && number > newest,
        _ => false,
    }
}

/// Goes on at another server without GTID.
fn go_on_located(server: &Server, checkpoint: Checkpoint, located: Located) -> Result<Resumed> {
    let Located {
        position,
        trail,
        lost_from,
    } = located;
    if lost_from.is_some() && !server.is_primary {
        return Err(Error::transient(format!(
            "the server is a replica that lacks changes which are published already: {}",
            server.address
        ))
        .detail("it may only lag, and then has them later")
        .hint("wait for it; or promote it, if it will never have them"));
    }
    tracing::warn!(
        from = checkpoint.position.server_uuid,
        to = server.uuid,
        address = server.address,
        file = position.file,
        offset = position.offset,
        lost_from_version = lost_from.map(Version::as_i64),
        "another server is followed from now on"
    );
    Ok(Resumed {
        checkpoint: Checkpoint {
            position,
            trail: Some(trail),
            next_version: checkpoint.next_version.next_epoch()?,
            ..checkpoint
        },
        is_switched: true,
        lost: lost_from.map(Lost::From),
        errant: GtidSet::default(),
    })
}

/// Goes on at another server.
async fn switch<S: Source>(source: &mut S, server: &Server, checkpoint: Checkpoint) -> Result<Resumed> {
    let (Some(set), true) = (&checkpoint.position.gtid_set, server.gtid) else {
        let gtid = |has: bool| if has { "with GTID" } else { "without GTID" };
        return Err(Error::definite(format!(
            "the position cannot be found on another server if only one of them has GTID: {}",
            server.address
        ))
        .detail(format!(
            "the checkpoint was taken {} on {}, this is {} {}",
            gtid(checkpoint.position.gtid_set.is_some()),
            checkpoint.position.server_uuid,
            server.uuid,
            gtid(server.gtid)
        ))
        .hint(format!(
            "set gtid_mode alike on all servers, or bring the server back that was followed; or {LOAD_ANEW}"
        ))
        .gap());
    };
    let reached: GtidSet = set.parse()?;
    let gtids = source.gtids().await?;
    let held = source.files().await?;
    require_unpurged(server, &gtids.purged, &reached, &checkpoint.position, &held)?;
    let lost = reached.minus(&gtids.executed);
    let position = Position {
        server_uuid: server.uuid.clone(),
        // GTIDs decide where the stream begins, and it says itself where that is; until then it is after the oldest place.
        file: held.first().cloned().unwrap_or_default(),
        offset: FILE_START,
        file_born_s: 0,
        gtid_set: Some(reached.minus(&lost).to_string()),
    };
    tracing::warn!(
        from = checkpoint.position.server_uuid,
        to = server.uuid,
        address = server.address,
        gtid_set = position.gtid_set,
        lost = %lost,
        "another server is followed from now on"
    );
    let errant = errant::find(source, &position, &gtids.executed.minus(&reached)).await?;
    let unseen = match &checkpoint.unseen {
        Some(unseen) => Some(unseen.parse::<GtidSet>()?.minus(&lost).to_string()),
        None => None,
    };
    Ok(Resumed {
        checkpoint: Checkpoint {
            position,
            unseen,
            next_version: checkpoint.next_version.next_epoch()?,
            ..checkpoint
        },
        is_switched: true,
        lost: (!lost.is_empty()).then_some(Lost::Gtids(lost)),
        errant,
    })
}

/// The checkpoint has all transactions that are not in the binlogs any more.
fn require_unpurged(
    server: &Server,
    lacking: &GtidSet,
    reached: &GtidSet,
    position: &Position,
    held: &[String],
) -> Result<()> {
    if lacking.is_subset(reached) {
        return Ok(());
    }
    let files = match server.uuid == position.server_uuid {
        true => gone_files(&position.file, held).map_or_else(String::new, |files| files + "; "),
        false => String::new(),
    };
    let unread = lacking.minus(reached);
    let detail = format!("{files}the server has purged {unread}, the checkpoint has only {reached}");
    Err(purged(server, &detail))
}

fn purged(server: &Server, detail: &str) -> Error {
    Error::definite(format!("the binlog was purged past the checkpoint: {}", server.address))
        .detail(detail)
        .hint(format!(
            "{LOAD_ANEW}; and let the server keep its binlogs longer: SET PERSIST binlog_expire_logs_seconds = 604800"
        ))
        .gap()
}

fn unknown(server: &Server, detail: &str) -> Error {
    Error::definite(format!(
        "the checkpoint's position is not in the server's history: {}",
        server.address
    ))
    .detail(detail)
    .hint(LOAD_ANEW)
    .gap()
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
    use super::*;
    use crate::checkpoint::Trail;

    #[test]
    fn a_replica_that_lacks_what_was_published_is_waited_for_and_a_primary_has_lost_it() {
        let position = Position {
            server_uuid: "new".into(),
            file: "binlog.000001".into(),
            offset: 4,
            file_born_s: 0,
            gtid_set: None,
        };
        let go_on = |is_primary: bool, lost_from: Option<Version>| {
            let server = Server {
                address: "db:3306".into(),
                uuid: "new".into(),
                gtid: false,
                is_primary,
            };
            let trail = Trail {
                scheme: 1,
                hash: 2,
                anchor: None,
            };
            let checkpoint = Checkpoint {
                position: position.clone(),
                next_version: Version::FIRST,
                prepared: Vec::new(),
                refreshes: 0,
                is_sequenced: false,
                numbering: 0,
                trail: None,
                unseen: None,
            };
            let located = Located {
                position: position.clone(),
                trail,
                lost_from,
            };
            go_on_located(&server, checkpoint, located).map(|resumed| resumed.lost)
        };
        let lost = Some(Version::FIRST);
        assert!(go_on(false, lost).unwrap_err().is_transient());
        assert_eq!(go_on(true, lost), Ok(lost.map(Lost::From)));
        assert_eq!(go_on(false, None), Ok(None));
    }

    #[test]
    fn a_file_is_beyond_those_of_its_own_base_only() {
        let held = ["binlog.000009", "binlog.000010"].map(str::to_owned);
        for (file, expected) in [
            ("binlog.000011", true),
            ("binlog.000010", false),
            ("binlog.000008", false),
            ("other.000011", false),
            ("binlog", false),
        ] {
            assert_eq!(is_beyond(file, &held), expected, "{file}");
        }
        assert!(!is_beyond("binlog.000001", &[]));
    }

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
