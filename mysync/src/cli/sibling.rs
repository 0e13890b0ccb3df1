//! Commands that are binaries of their own, beside this one: as git and cargo do it.

use clap::Args;
use mysync::error::{Error, Result};
use std::ffi::OsString;
use std::process::{Command, ExitCode};

/// Passed on as they are.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Arguments of the other program; --help shows them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

pub(super) fn run(program: &str, arguments: &Arguments) -> Result<ExitCode> {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|path| path.parent().map(|folder| folder.join(program)));
    let path = beside.filter(|path| path.exists()).unwrap_or_else(|| program.into());
    let status = Command::new(&path)
        .args(&arguments.arguments)
        .status()
        .map_err(|error| {
            Error::definite(format!("cannot run {program}"))
                .detail(error)
                .hint("install it beside mysync, or build all with: cargo build --workspace")
        })?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::from(4), ExitCode::from))
}
