//! The protocol without a mistake: nothing is wrong in any state, and what the model is for is reached.

use super::check::require_right;
use super::model::{Bounds, Delivery, Identity, Protocol};
use super::mysql::Script;

const BOUNDS: Bounds = Bounds {
    writes: 2,
    anchors: 1,
    openings: 2,
    switches: 1,
    lost_max: 2,
    two_readers: false,
    may_switch_back: false,
    may_be_restored: false,
    may_be_purged: false,
};

/// Without GTID.
pub fn by_anchor() -> Protocol {
    Protocol {
        delivery: Delivery::Transactional,
        identity: Identity::Anchor,
        script: Script::Different,
        mistake: None,
        bounds: BOUNDS,
    }
}

pub fn by_gtid() -> Protocol {
    Protocol {
        identity: Identity::Gtid,
        bounds: Bounds { anchors: 0, ..BOUNDS },
        ..by_anchor()
    }
}

/// In sequenced delivery.
pub fn sequenced() -> Protocol {
    Protocol {
        delivery: Delivery::Sequenced,
        ..by_gtid()
    }
}

/// Reached in every variant.
const ALWAYS: [&str; 5] = [
    "all is published",
    "a restart",
    "a switch",
    "a lossy switch that is mended",
    "a row that was changed while it was read back",
];

fn require(name: &str, protocol: Protocol, reached: &[&str]) {
    require_right(name, protocol, &[&ALWAYS, reached].concat());
}

#[test]
fn by_anchor_with_two_readers() {
    let mut protocol = by_anchor();
    protocol.bounds.writes = 3;
    protocol.bounds.two_readers = true;
    require(
        "by anchor, two readers",
        protocol,
        &["a replaced reader that tries to publish"],
    );
}

#[test]
fn by_anchor_with_two_switches_and_one_back() {
    let mut protocol = by_anchor();
    protocol.bounds.openings = 3;
    protocol.bounds.switches = 2;
    protocol.bounds.may_switch_back = true;
    require("by anchor, two switches", protocol, &["a switch back"]);
}

#[test]
fn by_anchor_with_a_server_that_lost_its_last_transactions() {
    let mut protocol = by_anchor();
    protocol.bounds.switches = 2;
    protocol.bounds.may_be_restored = true;
    require("by anchor, restored server", protocol, &[]);
}

#[test]
fn by_anchor_with_purged_binlogs() {
    let mut protocol = by_anchor();
    protocol.bounds.anchors = 2;
    protocol.bounds.may_be_purged = true;
    require(
        "by anchor, purged binlogs",
        protocol,
        &["a position that is not there any more"],
    );
}

#[test]
fn by_anchor_with_a_client_that_comes_again() {
    let mut protocol = by_anchor();
    protocol.script = Script::Repeated;
    protocol.bounds.writes = 3;
    require("by anchor, a client comes again", protocol, &[]);
}

#[test]
fn by_gtid_with_two_switches_and_purged_binlogs() {
    let mut protocol = by_gtid();
    protocol.bounds.writes = 3;
    protocol.bounds.switches = 2;
    protocol.bounds.may_switch_back = true;
    protocol.bounds.may_be_purged = true;
    let reached = ["a switch back", "a position that is not there any more"];
    require("by GTID, two switches", protocol, &reached);
}

#[test]
fn by_gtid_with_two_readers() {
    let mut protocol = by_gtid();
    protocol.bounds.writes = 3;
    protocol.bounds.two_readers = true;
    require(
        "by GTID, two readers",
        protocol,
        &["a replaced reader that tries to publish"],
    );
}

#[test]
fn sequenced_with_two_readers() {
    let mut protocol = sequenced();
    protocol.bounds.two_readers = true;
    require(
        "sequenced, two readers",
        protocol,
        &["a replaced reader that tries to publish"],
    );
}

#[test]
fn sequenced_with_two_switches() {
    let mut protocol = sequenced();
    protocol.bounds.switches = 2;
    require("sequenced, two switches", protocol, &[]);
}

#[test]
fn sequenced_by_anchor() {
    let mut protocol = sequenced();
    protocol.identity = Identity::Anchor;
    protocol.bounds.anchors = 1;
    require("sequenced, by anchor", protocol, &[]);
}
