//! A suite: several drills one after the other, each on its versions of MySQL and with several seeds, and what came out.

use crate::drill::Drill;
use crate::error::{Error, Result};
use crate::report;
use crate::run;
use crate::verdict::{Judgement, Verdict};
use serde::Serialize;
use std::path::PathBuf;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// Name of the suite.
    pub name: String,
    /// Only these of its drills; all if there are none.
    pub only: Vec<String>,
    /// Runs of each drill on each version.
    pub seeds: u64,
    /// The first one's seed; each further one has the next.
    pub first_seed: u64,
    /// Where the runs are kept, one folder each; must not hold any yet.
    pub folder: PathBuf,
}

/// What came out of a suite.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Name of the suite.
    pub suite: String,
    /// The worst of all runs; a run without a verdict is `unknown`.
    pub verdict: Verdict,
    /// A line for each drill and version.
    pub lines: Vec<Line>,
}

/// What came out of all runs of one drill on one version.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// Name of the drill.
    pub drill: String,
    /// Version of MySQL.
    pub mysql: String,
    /// The worst of the runs.
    pub verdict: Verdict,
    /// Its runs.
    pub runs: Vec<Ran>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ran {
    /// Its seed.
    pub seed: u64,
    /// Its verdict.
    pub verdict: Verdict,
    /// Acknowledged changes that the surviving primary does not have.
    pub lost_by_mysql: Option<u64>,
    /// Acknowledged changes that it has, without a record.
    pub lost_by_pipeline: Option<u64>,
    /// Records of a change that had one already.
    pub duplicates: Option<u64>,
    /// Records out of order, and gaps.
    pub out_of_order: Option<u64>,
    /// From where recovery was possible until a later change was visible in Kafka, or in the store that was hit, ms.
    pub recovery_ms: Option<u64>,
    /// Changes in flight when the faults struck.
    pub in_flight: Option<u64>,
    /// What is wrong, or why there is no verdict, one line each.
    pub trouble: Vec<String>,
    /// Where it is kept.
    pub run_folder: String,
}

/// Runs all drills of a suite. A run that could not be made is in the outcome as `unknown`.
pub async fn run(request: &Request) -> Result<Outcome> {
    // Ctrl-C ends the run that it strikes, and the suite with it.
    let stopped = tokio::spawn(tokio::signal::ctrl_c());
    let mut lines = Vec::new();
    for (drill, mysql) in plans(request)? {
        let mut runs = Vec::new();
        for seed in (request.first_seed..).take(usize::try_from(request.seeds).unwrap_or(usize::MAX)) {
            let run_folder = request.folder.join(format!("{}-{mysql}-{seed}", drill.name));
            let shown = run_folder.display().to_string();
            report::progress(&format!("\n{} on MySQL {mysql}, seed {seed}", drill.name));
            let asked = run::Request {
                drill: drill.clone(),
                seed,
                run_folder,
            };
            let ran = Ran::of(seed, shown, run::run(&asked).await);
            report::progress(&format!("{}: {}", drill.name, ran.verdict.word()));
            runs.push(ran);
            if stopped.is_finished() {
                return Err(Error::definite("the suite was stopped by Ctrl-C").hint("run it again"));
            }
        }
        let verdict = worst(runs.iter().map(|ran| ran.verdict));
        let drill = drill.name;
        lines.push(Line {
            drill,
            mysql,
            verdict,
            runs,
        });
    }
    Ok(Outcome {
        suite: request.name.clone(),
        verdict: worst(lines.iter().map(|line| line.verdict)),
        lines,
    })
}

/// The suite's drills, each on each of its versions.
fn plans(request: &Request) -> Result<Vec<(Drill, String)>> {
    let mut drills = Drill::all()?;
    drills.retain(|drill| drill.suite.as_ref() == Some(&request.name));
    let unknown = request
        .only
        .iter()
        .find(|name| drills.iter().all(|drill| drill.name != **name));
    if drills.is_empty() || unknown.is_some() {
        let what = match unknown {
            Some(name) if !drills.is_empty() => format!("the suite {} has no drill {name}", request.name),
            _ => format!("no suite has the name {}", request.name),
        };
        return Err(Error::configuration(what).hint("mysync-drill list shows the drills and their suites"));
    }
    drills.retain(|drill| request.only.is_empty() || request.only.contains(&drill.name));
    let on_versions = |drill: Drill| {
        let versions: Vec<String> = std::iter::once(&drill.lab.mysql)
            .chain(&drill.lab.also_mysql)
            .cloned()
            .collect();
        versions
            .into_iter()
            .map(move |version| (drill.clone().on_mysql(&version), version))
    };
    Ok(drills.into_iter().flat_map(on_versions).collect())
}

fn worst(verdicts: impl Iterator<Item = Verdict>) -> Verdict {
    verdicts.max().unwrap_or(Verdict::Unknown)
}

impl Ran {
    fn of(seed: u64, run_folder: String, judged: Result<Judgement>) -> Self {
        let none = Self {
            seed,
            verdict: Verdict::Unknown,
            lost_by_mysql: None,
            lost_by_pipeline: None,
            duplicates: None,
            out_of_order: None,
            recovery_ms: None,
            in_flight: None,
            trouble: Vec::new(),
            run_folder,
        };
        let judgement = match judged {
            Ok(judgement) => judgement,
            Err(error) => {
                let trouble = vec![error.to_string()];
                return Self { trouble, ..none };
            }
        };
        let bad = judgement
            .findings
            .iter()
            .filter(|finding| finding.verdict != Verdict::Consistent);
        let trouble = bad.map(|finding| {
            let example = finding
                .examples
                .first()
                .map_or(String::new(), |example| format!("; {example}"));
            format!(
                "{} {}: {}{example}",
                finding.verdict.word(),
                finding.check,
                finding.summary
            )
        });
        let figures = &judgement.figures;
        Self {
            verdict: judgement.verdict,
            lost_by_mysql: figures.lost_by_mysql,
            lost_by_pipeline: figures.lost,
            duplicates: figures.duplicates,
            out_of_order: figures.out_of_order,
            recovery_ms: recovery_ms(&judgement),
            in_flight: figures.in_flight,
            trouble: trouble.collect(),
            ..none
        }
    }
}

/// Of the hop that the faults hit: the one behind Kafka where they hit a store or its writer.
fn recovery_ms(judgement: &Judgement) -> Option<u64> {
    let (drill, figures) = (&judgement.drill, &judgement.figures);
    let hit = drill.faults.iter().filter_map(|fault| fault.target);
    let slowest_ms = hit
        .map(|target| figures.recovery_stores_ms.get(&target).copied().flatten())
        .max();
    match slowest_ms {
        // A reader that must stop does not recover.
        None if drill.expects.stop.is_empty() => figures.recovery_kafka_ms,
        None => None,
        Some(slowest_ms) => slowest_ms,
    }
}

impl Line {
    /// A sum over the runs, of those in which it was seen.
    pub(crate) fn sum(&self, of: fn(&Ran) -> Option<u64>) -> Option<u64> {
        self.runs.iter().filter_map(of).reduce(|sum, value| sum + value)
    }

    /// Median and maximum of the recoveries, ms.
    pub(crate) fn recovery_ms(&self) -> Option<(u64, u64)> {
        let mut all: Vec<u64> = self.runs.iter().filter_map(|ran| ran.recovery_ms).collect();
        all.sort_unstable();
        Some((all.get(all.len().saturating_sub(1) / 2).copied()?, all.last().copied()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(name: &str, only: &[&str]) -> Request {
        Request {
            name: name.into(),
            only: only.iter().map(|name| (*name).into()).collect(),
            seeds: 1,
            first_seed: 1,
            folder: PathBuf::from("unused"),
        }
    }

    #[test]
    fn a_suite_is_its_drills_on_all_their_versions() {
        let plans = plans(&request("switch", &["switch-gtid", "switch-anchor"])).unwrap();
        let names: Vec<(&str, &str)> = plans
            .iter()
            .map(|(drill, version)| (drill.name.as_str(), version.as_str()))
            .collect();
        assert_eq!(
            names,
            [
                ("switch-gtid", "8.0"),
                ("switch-anchor", "8.0"),
                ("switch-anchor", "5.6")
            ]
        );
        assert!(plans.iter().all(|(drill, version)| drill.lab.mysql == *version));
    }

    #[test]
    fn what_is_not_there_is_named() {
        let said = |request: &Request| plans(request).unwrap_err().to_string();
        assert!(said(&request("dance", &[])).contains("no suite has the name dance"));
        assert!(said(&request("switch", &["kill-partition-leader"])).contains("has no drill kill-partition-leader"));
    }
}
