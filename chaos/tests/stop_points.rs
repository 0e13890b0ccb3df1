//! The build for tests has the marker for which mysync/tests/stop_points.rs looks in the other one, in vain.

#![allow(clippy::unwrap_used)]

#[test]
fn the_build_with_stop_points_is_known_by_its_marker() {
    let marker = b"MYSYNC_STOP_POINT";
    let binary = std::fs::read(chaos::pipeline::stop_points_binary().unwrap()).unwrap();
    assert!(binary.windows(marker.len()).any(|window| window == marker));
}
