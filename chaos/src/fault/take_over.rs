//! A replica becomes the primary: what the faults that end a primary have in common.

use super::Surroundings;
use crate::drill::FaultKind;
use crate::error::{Doing, Error, Result};
use crate::history::FaultStep;
use fixtures::Mysql;

/// The primary, and the replica that takes over from it.
pub(super) fn pair<'a>(surroundings: &Surroundings<'a>) -> Result<(&'a Mysql, &'a Mysql)> {
    let servers = surroundings.lab.mysql_servers();
    let replica = servers.iter().find(|server| !server.is_primary());
    let replica = replica.ok_or_else(|| {
        Error::definite("no server of the drill's lab is a replica").hint("lab.replicas = 1, or fewer switches")
    })?;
    Ok((surroundings.primary()?, replica))
}

/// Records that the primary is the victim, kills it, and records that it is gone.
pub(super) async fn kill(surroundings: &Surroundings<'_>, kind: FaultKind, primary: &Mysql) -> Result<()> {
    surroundings.record(kind, FaultStep::Aimed, primary.name());
    primary
        .kill()
        .await
        .doing(|| format!("{} cannot be killed", primary.name()))?;
    surroundings.record(kind, FaultStep::Struck, primary.name());
    Ok(())
}

/// Makes a replica whose primary is gone the primary, with all that it has received, and leads the clients to it.
pub(super) async fn take_over(surroundings: &Surroundings<'_>, kind: FaultKind, replica: &Mysql) -> Result<()> {
    let what = || format!("{} cannot take over", replica.name());
    replica.apply_what_was_received().await.doing(what)?;
    replica.promote().await.doing(what)?;
    surroundings.record(kind, FaultStep::Recoverable, format!("{} is writable", replica.name()));
    surroundings.clients.follow(replica);
    Ok(())
}
