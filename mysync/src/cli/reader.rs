//! `mysync reader`.

use super::{Run, say_figures, stop_on_signal};
use mysync::config;
use mysync::error::Result;
use mysync::queue::kafka::KafkaQueue;
use mysync::reader::{self, Options};
use mysync::source::mysql::MySqlSource;
use mysync::source::{Source, preflight};
use mysync::tables::TableFilter;
use std::process::ExitCode;

pub(super) async fn run(arguments: Run) -> Result<ExitCode> {
    let config = config::load(&arguments.config)?;
    let stop = stop_on_signal();
    let mut source = MySqlSource::new(&config);
    let queue = KafkaQueue::new(&config);
    let mut checks = source.preflight().await?;
    checks.extend(queue.preflight().await?);
    preflight::require(&checks, config.reader.allow_unsafe)?;
    let filter = TableFilter::new(&config);
    let options = Options::new(&config, arguments.until_caught_up);
    let summary = reader::run(&mut source, &queue, &filter, &config.source.keys, &options, stop).await?;
    say_figures(&summary, arguments.json);
    Ok(ExitCode::SUCCESS)
}
