//! `mysync-check`: compares MySQL rows with the stores and says what differs.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    consistency::cli::run().await
}
