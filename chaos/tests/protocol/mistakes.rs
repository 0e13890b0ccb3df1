//! Each mistake, and the harm that the checker must find.

use super::check::require_caught;
use super::judge::Wrong;
use super::mistake::Mistake;
use super::model::Protocol;
use super::right::{by_anchor, by_gtid, sequenced};

/// Only restarts.
fn without_switch(mut protocol: Protocol) -> Protocol {
    protocol.bounds.switches = 0;
    protocol
}

/// Two of them.
fn with_switches(mut protocol: Protocol) -> Protocol {
    protocol.bounds.switches = 2;
    protocol.bounds.openings = 3;
    protocol.bounds.writes = 3;
    protocol
}

fn with_two_readers(mut protocol: Protocol) -> Protocol {
    protocol.bounds.two_readers = true;
    protocol
}

fn with_a_restored_server(mut protocol: Protocol) -> Protocol {
    protocol.bounds.may_be_restored = true;
    protocol
}

#[test]
fn the_anchor_written_instead_of_the_anchor_read() {
    require_caught(Mistake::AnchorWritten, without_switch(by_anchor()), Wrong::Incomplete);
}

#[test]
fn an_anchor_known_by_its_sequence_only() {
    let mut protocol = by_anchor();
    protocol.bounds.anchors = 2;
    require_caught(Mistake::AnchorBySequence, protocol, Wrong::Incomplete);
}

#[test]
fn an_anchor_known_by_sequence_and_server_only() {
    let mut protocol = with_a_restored_server(by_anchor());
    protocol.bounds.anchors = 2;
    require_caught(Mistake::AnchorByServer, protocol, Wrong::Incomplete);
}

#[test]
fn the_last_anchor_only() {
    require_caught(Mistake::LastAnchorOnly, by_anchor(), Wrong::StoppedWithoutNeed);
}

#[test]
fn events_counted_instead_of_rows() {
    let mut protocol = by_anchor();
    protocol.bounds.lost_max = 0;
    require_caught(Mistake::EventsCounted, protocol, Wrong::Incomplete);
}

#[test]
fn rows_counted_without_the_hash() {
    let mut protocol = by_anchor();
    protocol.bounds.writes = 3;
    require_caught(Mistake::NoHash, protocol, Wrong::NotAsCommitted);
}

#[test]
fn a_lost_tail_unnoticed() {
    require_caught(Mistake::LostTailUnnoticed, by_anchor(), Wrong::NotAsCommitted);
}

#[test]
fn the_same_server_trusted() {
    let protocol = with_a_restored_server(by_anchor());
    require_caught(Mistake::SameServerTrusted, protocol, Wrong::NotAsCommitted);
}

#[test]
fn lost_changes_compared() {
    require_caught(Mistake::LostChangesCompared, with_switches(by_anchor()), Wrong::Twice);
}

#[test]
fn replicas_that_commit_in_another_order() {
    require_caught(Mistake::CommitOrderIgnored, by_anchor(), Wrong::Twice);
}

#[test]
fn containment_unasked() {
    require_caught(Mistake::ContainmentUnasked, by_gtid(), Wrong::NotAsCommitted);
}

#[test]
fn purged_transactions_unasked() {
    let mut protocol = by_gtid();
    protocol.bounds.may_be_purged = true;
    require_caught(Mistake::PurgedUnasked, protocol, Wrong::Incomplete);
}

#[test]
fn the_checkpoint_before_the_acknowledgement() {
    require_caught(Mistake::CheckpointFirst, without_switch(by_gtid()), Wrong::Incomplete);
    require_caught(Mistake::CheckpointFirst, without_switch(sequenced()), Wrong::Incomplete);
}

#[test]
fn the_checkpoint_in_a_transaction_of_its_own() {
    require_caught(Mistake::CheckpointApart, without_switch(by_gtid()), Wrong::Twice);
}

#[test]
fn the_checkpoint_within_a_transaction() {
    require_caught(Mistake::CheckpointWithin, without_switch(by_gtid()), Wrong::Torn);
}

#[test]
fn no_fencing() {
    let protocol = with_two_readers(by_gtid());
    require_caught(Mistake::NoFencing, without_switch(protocol.clone()), Wrong::Twice);
    require_caught(Mistake::NoFencing, protocol, Wrong::NotAsCommitted);
}

#[test]
fn fencing_after_the_checkpoint_was_read() {
    let protocol = with_two_readers(by_gtid());
    require_caught(Mistake::FencedTooLate, without_switch(protocol), Wrong::Twice);
}

#[test]
fn the_epoch_kept_at_a_switch() {
    require_caught(Mistake::EpochKept, sequenced(), Wrong::NotAsCommitted);
}

#[test]
fn a_lossy_switch_without_refresh() {
    require_caught(Mistake::NoRefresh, by_anchor(), Wrong::Stale);
    require_caught(Mistake::NoRefresh, by_gtid(), Wrong::Stale);
}

#[test]
fn a_row_that_was_read_back_from_what_is_lost() {
    let mut protocol = with_switches(by_gtid());
    protocol.bounds.lost_max = 1;
    require_caught(Mistake::ReadBackTrusted, protocol, Wrong::Stale);
}

#[test]
fn a_refresh_forgotten_at_a_restart() {
    require_caught(Mistake::RefreshForgotten, by_gtid(), Wrong::Stale);
}

#[test]
fn a_refresh_without_watermarks() {
    require_caught(Mistake::NoWatermarks, by_gtid(), Wrong::Stale);
}

#[test]
fn a_refresh_that_the_stream_has_overtaken() {
    require_caught(Mistake::OvertakenKept, by_gtid(), Wrong::Stale);
}

#[test]
fn changes_behind_the_checkpoint_trusted() {
    require_caught(Mistake::SuspectsTrusted, sequenced(), Wrong::NotAsCommitted);
}

#[test]
fn no_barrier_against_a_replaced_reader() {
    require_caught(Mistake::NoBarrier, with_two_readers(sequenced()), Wrong::NotAsCommitted);
}

#[test]
fn a_new_epoch_without_a_first_checkpoint() {
    require_caught(
        Mistake::NoFirstCheckpoint,
        with_switches(sequenced()),
        Wrong::NotAsCommitted,
    );
}

#[test]
fn a_refresh_that_numbers_changes_otherwise() {
    let mut protocol = sequenced();
    protocol.bounds.openings = 3;
    require_caught(Mistake::RefreshRenumbers, protocol, Wrong::VersionsFall);
}
