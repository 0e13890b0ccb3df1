//! `mysync writer redis`.

use super::{Run, say_figures, stop_on_signal};
use mysync::error::Result;
use mysync::{config, writer};
use std::process::ExitCode;

pub(super) async fn redis(arguments: Run) -> Result<ExitCode> {
    let config = config::load(&arguments.config)?;
    let mut stop = stop_on_signal();
    let summary = writer::run_redis(&config, arguments.until_caught_up, stop.stopped()).await?;
    say_figures(&summary, arguments.json);
    Ok(ExitCode::SUCCESS)
}
