//! Nothing goes through between reader and primary, and nobody is told; clients come to it as before, and the reader reaches the
//! replica. The cure opens the way.

use super::{Fault, Surroundings};
use crate::drill::FaultKind;
use crate::error::{Error, Result};
use crate::history::FaultStep;
use futures::FutureExt;
use futures::future::LocalBoxFuture;

/// Knows which way it blocked, by the server's place in the lab.
#[derive(Default)]
pub struct IsolatePrimary {
    blocked: Option<usize>,
}

impl Fault for IsolatePrimary {
    fn strike<'a>(&'a mut self, surroundings: Surroundings<'a>) -> LocalBoxFuture<'a, Result<()>> {
        self.block(surroundings).boxed_local()
    }

    fn cure<'a>(&'a mut self, surroundings: Surroundings<'a>) -> LocalBoxFuture<'a, Result<()>> {
        self.open(surroundings).boxed_local()
    }
}

impl IsolatePrimary {
    async fn block(&mut self, surroundings: Surroundings<'_>) -> Result<()> {
        let primary = surroundings.primary()?;
        let way = surroundings.proxies.get(primary.index()).ok_or_else(|| {
            Error::definite(format!("the reader comes to {} directly", primary.name())).hint("lab.proxies = true")
        })?;
        surroundings.record(FaultKind::IsolatePrimary, FaultStep::Aimed, primary.name());
        self.blocked = Some(primary.index());
        way.block(true);
        surroundings.record(FaultKind::IsolatePrimary, FaultStep::Struck, primary.name());
        Ok(())
    }

    async fn open(&mut self, surroundings: Surroundings<'_>) -> Result<()> {
        if let Some(way) = self.blocked.take().and_then(|index| surroundings.proxies.get(index)) {
            surroundings.record(FaultKind::IsolatePrimary, FaultStep::CureBegun, way.address());
            way.block(false);
            surroundings.record(FaultKind::IsolatePrimary, FaultStep::Recoverable, "the way is open");
            surroundings.record(FaultKind::IsolatePrimary, FaultStep::Cured, way.address());
        }
        Ok(())
    }
}
