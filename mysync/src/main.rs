//! The binary `mysync`.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
