//! `mysync-drill`: breaks a pipeline on purpose and says whether it held.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    chaos::cli::main(std::env::args_os()).await
}
