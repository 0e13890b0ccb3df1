//! The binary `mysync`.

mod cli;

/// For the Kafka client's C, too: its records are as many allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
