//! The binary `mysync-stop-points`: `mysync` with the places at which a test makes it pause or die.

mod cli;

/// For the Kafka client's C, too: its records are as many allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
