//! The binary `mysync-bench`.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    chaos::bench::cli::main(std::env::args_os()).await
}
