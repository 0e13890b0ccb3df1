//! `mysync writer`: a target's writer.

use super::{Run, say_figures, stop_on_signal};
use mysync::error::Result;
use mysync::metrics::{self, WriterMetrics};
use mysync::{config, writer};
use std::process::ExitCode;
use std::sync::Arc;

pub(super) async fn redis(arguments: Run) -> Result<ExitCode> {
    let config = config::load(&arguments.config)?;
    let mut stop = stop_on_signal();
    let metrics = Arc::new(WriterMetrics::default());
    let listen = config.writer.redis.as_ref().and_then(|redis| redis.listen.as_ref());
    if let Some(address) = arguments.metrics.as_ref().or(listen) {
        metrics.set_served();
        metrics::serve(address, metrics.clone()).await?;
    }
    let summary = writer::run_redis(&config, arguments.until_caught_up, metrics, stop.stopped()).await?;
    say_figures(&summary, arguments.json);
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn elasticsearch(arguments: Run) -> Result<ExitCode> {
    let config = config::load(&arguments.config)?;
    let mut stop = stop_on_signal();
    let metrics = Arc::new(WriterMetrics::default());
    let section = config.writer.elasticsearch.as_ref();
    let listen = section.and_then(|section| section.listen.as_ref());
    if let Some(address) = arguments.metrics.as_ref().or(listen) {
        metrics.set_served();
        metrics::serve(address, metrics.clone()).await?;
    }
    let summary = writer::run_elasticsearch(&config, arguments.until_caught_up, metrics, stop.stopped()).await?;
    say_figures(&summary, arguments.json);
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn hbase(arguments: Run) -> Result<ExitCode> {
    let config = config::load(&arguments.config)?;
    let mut stop = stop_on_signal();
    let metrics = Arc::new(WriterMetrics::default());
    let listen = config.writer.hbase.as_ref().and_then(|hbase| hbase.listen.as_ref());
    if let Some(address) = arguments.metrics.as_ref().or(listen) {
        metrics.set_served();
        metrics::serve(address, metrics.clone()).await?;
    }
    let summary = writer::run_hbase(&config, arguments.until_caught_up, metrics, stop.stopped()).await?;
    say_figures(&summary, arguments.json);
    Ok(ExitCode::SUCCESS)
}
