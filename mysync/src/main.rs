//! The binary `mysync`.
fn main() {}
