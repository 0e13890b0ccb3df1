//! One run of a drill: through the phases, and whatever happens, cure, record, take down, judge.

use crate::check;
use crate::drill::{Drill, FaultPlan};
use crate::error::{Doing, Error, Result};
use crate::fault::{self, Fault};
use crate::history::{History, Phase, PhaseBegun, Record};
use crate::report;
use crate::rig::{Rig, Setup};
use crate::verdict::Judgement;
use crate::workload::bank::Working;
use futures::FutureExt;
use futures::future::try_join_all;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::watch;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The plan.
    pub drill: Drill,
    /// Seed of all that is random.
    pub seed: u64,
    /// Where everything of the run is kept; must not hold a run yet.
    pub run_folder: PathBuf,
}

/// A fault with its place in the schedule.
struct Scheduled {
    plan: FaultPlan,
    fault: Box<dyn Fault>,
    has_struck: watch::Sender<bool>,
    /// Whether the one above has struck, if this one waits for it.
    above: Option<watch::Receiver<bool>>,
}

/// Runs a drill, and judges what was recorded. An error means that there is no verdict: the harness failed before
/// anything could be observed.
pub async fn run(request: &Request) -> Result<Judgement> {
    report::progress(&format!("starting the servers of {}", request.drill.name));
    let setup = Setup {
        drill: &request.drill,
        seed: request.seed,
        folder: &request.run_folder,
        more_tables: &[],
    };
    let mut rig = tokio::select! {
        rig = Rig::set_up(setup) => rig?,
        stopped = interrupted() => return Err(stopped),
    };
    let mut faults: Vec<Scheduled> = request
        .drill
        .faults
        .iter()
        .map(|plan| Scheduled {
            plan: plan.clone(),
            fault: fault::of(plan),
            has_struck: watch::Sender::new(false),
            above: None,
        })
        .collect();
    for index in (1..faults.len()).filter(|index| request.drill.faults[*index].after_the_one_above) {
        faults[index].above = Some(faults[index - 1].has_struck.subscribe());
    }

    let mut working = Some(rig.bank.work());
    let went = tokio::select! {
        went = AssertUnwindSafe(phases(&mut rig, &request.drill, &mut faults, &mut working)).catch_unwind() => {
            went.unwrap_or_else(|_| Err(Error::definite("the drill panicked").hint("this is a bug in mysync-drill")))
        }
        stopped = interrupted() => Err(stopped),
    };
    for scheduled in &mut faults {
        if let Err(error) = scheduled.fault.cure(rig.surroundings()).await {
            report::progress(&format!("a cure failed: {error}"));
        }
    }
    // After a stop on the way, so that the outcome of every transaction is in the history.
    let stopped = stop(&mut working).await;
    report::progress("removing the servers");
    rig.tear_down(went.and(stopped).err().map(|error| error.to_string()))
        .await?;
    judge(request)
}

/// Judges the run in its folder, and stores the verdict there.
fn judge(request: &Request) -> Result<Judgement> {
    let judgement = check::judge(&History::read(&request.run_folder)?, &request.run_folder)?;
    let path = request.run_folder.join("verdict.json");
    let text = serde_json::to_string_pretty(&judgement).doing(|| "the verdict has no JSON form".into())?;
    std::fs::write(&path, text).doing(|| format!("the verdict cannot be written: {}", path.display()))?;
    Ok(judgement)
}

async fn phases(rig: &mut Rig, drill: &Drill, faults: &mut [Scheduled], working: &mut Option<Working>) -> Result<()> {
    let seconds = Duration::from_secs;
    enter(rig, Phase::Before, "transfers go on, all is well");
    rig.hold(seconds(drill.phases.before_seconds)).await?;
    enter(rig, Phase::During, "transfers go on, faults strike");
    tokio::try_join!(
        rig.hold(seconds(drill.phases.during_seconds)),
        try_join_all(faults.iter_mut().map(|scheduled| scheduled.take_place(rig)))
    )?;
    enter(rig, Phase::After, "transfers go on, all is well again");
    rig.hold(seconds(drill.phases.after_seconds)).await?;
    stop(working).await?;
    if !drill.expects.stop.is_empty() {
        return rig.ask_journal().await;
    }
    enter(
        rig,
        Phase::Settle,
        "transfers have stopped, waiting for the last change",
    );
    rig.settle().await?;
    rig.ask_journal().await?;
    report::progress("comparing every row");
    rig.converge().await
}

async fn stop(working: &mut Option<Working>) -> Result<()> {
    match working.take() {
        Some(working) => working.stop().await,
        None => Ok(()),
    }
}

impl Scheduled {
    async fn take_place(&mut self, rig: &Rig) -> Result<()> {
        let began = tokio::time::Instant::now();
        let mut from = began;
        if let Some(above) = &mut self.above {
            // The sender lives as long as the schedule.
            let _ = above.wait_for(|has_struck| *has_struck).await;
            from = tokio::time::Instant::now();
        }
        tokio::time::sleep_until(from + Duration::from_secs(self.plan.at_seconds)).await;
        self.fault.strike(rig.surroundings()).await?;
        self.has_struck.send_replace(true);
        report::progress("a fault has struck");
        tokio::time::sleep_until(began + Duration::from_secs(self.plan.cure_at_seconds)).await;
        self.fault.cure(rig.surroundings()).await?;
        report::progress("the fault is cured");
        Ok(())
    }
}

fn enter(rig: &Rig, phase: Phase, what: &str) {
    rig.recorder.append(&Record::Phase(PhaseBegun {
        at_us: rig.recorder.now_us(),
        phase,
    }));
    report::progress(what);
}

/// Ctrl-C, as the error that it is to the run.
async fn interrupted() -> Error {
    match tokio::signal::ctrl_c().await {
        Ok(()) => Error::definite("the drill was stopped by Ctrl-C").hint("run it again"),
        Err(error) => Error::definite("Ctrl-C cannot be listened for").detail(error),
    }
}
