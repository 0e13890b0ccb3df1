//! Who leads of several readers of one name, as the reader and its publisher see it.
//!
//! Whoever holds the election ([`Candidate`]; the real one is in [`super::kafka`]) tells two things: whether this reader is
//! elected, and when the electors last confirmed that it still is one of them. It takes both. A process that stood still
//! (SIGSTOP, a machine out of memory or CPU) goes on believing that it is elected, so a confirmation counts for
//! [`CONFIRMATION_AGE_MAX`] only, from before it was asked for. That is less than the electors wait before they elect another
//! one: as long as the clocks of two machines run at about the same speed, no two readers are confirmed at the same time.
//!
//! - A reader opens a publisher only while it is confirmed: one that has woken up does not fence its successor.
//! - It steps down when it knows that it is not elected any more. While it only lacks confirmation, transactional delivery
//!   goes on, for there the brokers refuse a reader that was replaced; sequenced delivery sends nothing until then.

use crate::error::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a confirmation counts, from before it was asked for.
pub const CONFIRMATION_AGE_MAX: Duration = Duration::from_secs(5);

/// What an election has told.
#[derive(Debug, Clone, Default)]
struct State {
    /// Counts the times that this reader was elected.
    term: u64,
    is_elected: bool,
    confirmed_at: Option<Instant>,
    refused: Option<Error>,
    /// The reader asks for another one to be elected.
    resigned: Arc<AtomicBool>,
}

impl State {
    fn is_confirmed(&self) -> bool {
        self.is_elected && self.confirmed_at.is_some_and(|at| at.elapsed() < CONFIRMATION_AGE_MAX)
    }

    fn is_term(&self, term: u64) -> bool {
        self.is_elected && self.term == term
    }
}

/// What becomes known of an election.
#[derive(Debug, Clone)]
pub struct Leadership(Option<watch::Receiver<State>>);

impl Leadership {
    /// Nobody else stands: this reader leads always.
    #[must_use]
    pub fn alone() -> Self {
        Self(None)
    }

    /// An election, and what becomes known of it.
    #[must_use]
    pub fn contested() -> (Candidate, Self) {
        let (told, known) = watch::channel(State::default());
        (Candidate(told), Self(Some(known)))
    }

    /// Whether others may lead.
    #[must_use]
    pub fn is_contested(&self) -> bool {
        self.0.is_some()
    }

    /// This reader's tenure, if it leads and that is confirmed.
    #[must_use]
    pub fn tenure(&self) -> Option<Tenure> {
        let Some(known) = &self.0 else {
            return Some(Tenure(None));
        };
        let state = known.borrow();
        state.is_confirmed().then(|| Tenure(Some((known.clone(), state.term))))
    }

    /// Waits for a tenure. An error says that this reader cannot stand for leader.
    pub async fn gained(&mut self) -> Result<Tenure> {
        loop {
            if let Some(tenure) = self.tenure() {
                return Ok(tenure);
            }
            // Without an election there is always a tenure.
            let Some(known) = &mut self.0 else { continue };
            if let Some(error) = &known.borrow_and_update().refused {
                return Err(error.clone());
            }
            if known.changed().await.is_err() {
                return Err(Error::definite("the election of a leader has ended by itself")
                    .hint("start the reader again; this is a defect: please report it"));
            }
        }
    }

    /// Asks for another one to be elected, since this one is of no use as it is. If nobody else stands it may be elected again.
    pub fn resign(&self) {
        if let Some(known) = &self.0 {
            known.borrow().resigned.store(true, Ordering::Relaxed);
        }
    }

    /// How long ago this reader's place among the electors was confirmed; `None` where it never was, or nobody else stands.
    #[must_use]
    pub fn confirmed_ago(&self) -> Option<Duration> {
        let known = self.0.as_ref()?;
        let confirmed_at = known.borrow().confirmed_at;
        confirmed_at.map(|at| at.elapsed())
    }
}

/// One time of leading: from an election to its loss, which may be noticed late.
#[derive(Debug, Clone)]
pub struct Tenure(Option<(watch::Receiver<State>, u64)>);

impl Tenure {
    /// That of a reader that has no rivals.
    #[must_use]
    pub fn unlimited() -> Self {
        Self(None)
    }

    /// Whether it is known to be over.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|(known, term)| !known.borrow().is_term(*term))
    }

    /// Whether nobody else can lead at this moment.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        self.0.as_ref().is_none_or(|(known, term)| {
            let state = known.borrow();
            state.is_term(*term) && state.is_confirmed()
        })
    }

    /// Waits until it is known to be over.
    pub async fn ended(&mut self) {
        match &mut self.0 {
            None => std::future::pending().await,
            Some((known, term)) => {
                known.wait_for(|state| !state.is_term(*term)).await.ok();
            }
        }
    }

    /// Waits until it is not confirmed.
    pub async fn doubted(&mut self) {
        while self.is_confirmed() {
            let Some((known, _)) = &mut self.0 else {
                std::future::pending::<()>().await;
                continue;
            };
            let confirmed_at = known.borrow_and_update().confirmed_at;
            let until = confirmed_at.unwrap_or_else(Instant::now) + CONFIRMATION_AGE_MAX;
            // Whichever it is, a look follows.
            tokio::time::timeout_at(until, known.changed()).await.ok();
        }
    }

    /// Waits until it is confirmed, or known to be over.
    pub async fn settled(&mut self) {
        if let Some((known, term)) = &mut self.0 {
            let is_settled = |state: &State| !state.is_term(*term) || state.is_confirmed();
            known.wait_for(is_settled).await.ok();
        }
    }

    /// What ends a reader's session when its tenure is over.
    #[must_use]
    pub fn over() -> Error {
        Error::transient(
            "this reader does not lead any more: another one of its name does, or the brokers lost sight of it",
        )
    }
}

/// Whoever holds the election tells of it here.
#[derive(Debug)]
pub struct Candidate(watch::Sender<State>);

impl Candidate {
    /// This reader is elected.
    pub fn elect(&self) {
        self.0.send_modify(|state| {
            state.term += 1;
            state.is_elected = true;
        });
    }

    /// This reader is not elected, or not any more.
    pub fn dismiss(&self) {
        self.0.send_modify(|state| state.is_elected = false);
    }

    /// Whether this reader asks for another one to be elected.
    #[must_use]
    pub fn has_resigned(&self) -> bool {
        self.0.borrow().resigned.load(Ordering::Relaxed)
    }

    /// It stands anew, behind the others.
    pub fn stand_anew(&self) {
        self.0.borrow().resigned.store(false, Ordering::Relaxed);
    }

    /// Asked at this moment or later, the electors said that this reader is one of them, elected or not.
    pub fn confirm(&self, asked_at: Instant) {
        self.0.send_modify(|state| state.confirmed_at = Some(asked_at));
    }

    /// This reader cannot stand: a person has to change something.
    pub fn refuse(&self, error: Error) {
        self.0.send_modify(|state| {
            state.is_elected = false;
            state.refused = Some(error);
        });
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        self.dismiss();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    const LITTLE: Duration = Duration::from_millis(10);

    #[tokio::test(start_paused = true)]
    async fn leads_only_while_it_is_both_elected_and_confirmed() {
        let (candidate, mut leadership) = Leadership::contested();
        assert!(leadership.tenure().is_none() && leadership.gained().now_or_never().is_none());
        candidate.confirm(Instant::now());
        assert!(leadership.tenure().is_none(), "confirmed as one who stands by");
        candidate.elect();
        let tenure = leadership.gained().await.unwrap();
        assert!(tenure.is_confirmed() && !tenure.has_ended());

        // It stood still: still elected as far as it knows, but no longer confirmed.
        tokio::time::advance(CONFIRMATION_AGE_MAX).await;
        assert!(!tenure.is_confirmed() && !tenure.has_ended() && leadership.tenure().is_none());
        // An answer to a question from before says nothing about now.
        candidate.confirm(Instant::now() - CONFIRMATION_AGE_MAX);
        assert!(!tenure.is_confirmed());
        candidate.confirm(Instant::now() - CONFIRMATION_AGE_MAX + LITTLE);
        assert!(tenure.is_confirmed());
        candidate.dismiss();
        assert!(tenure.has_ended() && !tenure.is_confirmed() && leadership.tenure().is_none());
    }

    #[test]
    fn who_resigns_stands_anew_when_that_was_heard() {
        let (candidate, leadership) = Leadership::contested();
        assert!(!candidate.has_resigned());
        leadership.resign();
        assert!(candidate.has_resigned());
        candidate.stand_anew();
        assert!(!candidate.has_resigned());
        // Nobody else stands.
        Leadership::alone().resign();
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenure_that_is_over_does_not_come_back_with_the_next_one() {
        let (candidate, leadership) = Leadership::contested();
        candidate.elect();
        candidate.confirm(Instant::now());
        let mut first = leadership.tenure().unwrap();
        candidate.dismiss();
        candidate.elect();
        assert!(first.has_ended() && !first.is_confirmed());
        first.ended().await;
        assert!(!leadership.tenure().unwrap().has_ended());
    }

    #[tokio::test(start_paused = true)]
    async fn waits_end_when_confirmations_lapse_or_come_again() {
        let (candidate, leadership) = Leadership::contested();
        candidate.elect();
        candidate.confirm(Instant::now());
        let mut tenure = leadership.tenure().unwrap();
        let begun = Instant::now();
        let confirmed = async {
            tokio::time::sleep(CONFIRMATION_AGE_MAX - LITTLE).await;
            candidate.confirm(Instant::now());
        };
        tokio::join!(tenure.doubted(), confirmed);
        assert_eq!(begun.elapsed(), 2 * CONFIRMATION_AGE_MAX - LITTLE);

        assert!(tenure.settled().now_or_never().is_none());
        candidate.confirm(Instant::now());
        tenure.settled().await;
        assert!(tenure.ended().now_or_never().is_none());
        drop(candidate);
        tenure.ended().await;
    }

    #[tokio::test]
    async fn one_that_cannot_stand_says_why_and_one_without_rivals_leads() {
        let (candidate, mut leadership) = Leadership::contested();
        candidate.refuse(Error::definite("not allowed"));
        assert_eq!(leadership.gained().await.unwrap_err().what, "not allowed");
        drop(candidate);

        let mut alone = Leadership::alone();
        let mut tenure = alone.gained().await.unwrap();
        assert!(tenure.is_confirmed() && !tenure.has_ended() && alone.confirmed_ago().is_none());
        assert!(tenure.doubted().now_or_never().is_none() && tenure.ended().now_or_never().is_none());
        assert!(tenure.settled().now_or_never().is_some());
    }
}
