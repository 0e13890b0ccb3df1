//! The binary that users get has no stop points.

#![allow(clippy::unwrap_used)]

/// Stands in every build that has them; chaos/tests/stop_points.rs finds it there.
const MARKER: &[u8] = b"MYSYNC_STOP_POINT";

#[test]
fn the_binary_has_no_stop_points() {
    let binary = std::fs::read(env!("CARGO_BIN_EXE_mysync")).unwrap();
    assert!(!binary.windows(MARKER.len()).any(|window| window == MARKER));
    // The same search finds what is there.
    let usual = b"MYSYNC_LOG";
    assert!(binary.windows(usual.len()).any(|window| window == usual));
}
