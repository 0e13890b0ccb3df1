//! The binary `mysync-stop-points`: `mysync` with the places at which a test makes it pause or die.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
