//! `mysync writer redis`.

use super::{Run, say, stop_on_signal};
use mysync::error::Result;
use mysync::{config, writer};
use std::process::ExitCode;

pub(super) async fn redis(arguments: Run) -> Result<ExitCode> {
    let config = config::load(&arguments.config)?;
    let mut stop = stop_on_signal();
    let summary = writer::run_redis(&config, arguments.until_caught_up, stop.stopped()).await?;
    say(summary);
    Ok(ExitCode::SUCCESS)
}
