//! `mysync reader`.

use super::{Run, say_figures, stop_on_signal};
use mysync::error::Result;
use mysync::queue::kafka::KafkaQueue;
use mysync::reader::{self, Options, Summary};
use mysync::source::mysql::MySqlSource;
use mysync::source::{Source, preflight};
use mysync::tables::TableFilter;
use mysync::{config, metrics};
use std::process::ExitCode;

pub(super) async fn run(arguments: Run) -> Result<ExitCode> {
    let config = config::load(&arguments.config)?;
    let mut stop = stop_on_signal();
    let options = Options::new(&config, arguments.until_caught_up);
    let mut source = MySqlSource::new(&config);
    if !arguments.until_caught_up {
        source = source.with_heartbeat(&config, &options.metrics);
    }
    let mut queue = KafkaQueue::new(&config).with_condition(&options.metrics.condition);
    options.metrics.set_server(source.address());
    // Before anything that may have to wait, so that /health says what is waited for.
    if let Some(address) = arguments.metrics.as_ref().or(config.metrics.listen.as_ref()) {
        metrics::serve(address, options.metrics.clone()).await?;
    }
    let asked = reader::until_answered(&options.metrics, &mut stop, async || {
        let mut checks = source.preflight().await?;
        checks.extend(queue.preflight().await?);
        Ok(checks)
    });
    let Some(checks) = asked.await? else {
        say_figures(&Summary::default(), arguments.json);
        return Ok(ExitCode::SUCCESS);
    };
    preflight::require(&checks, config.reader.allow_unsafe)?;
    options.metrics.condition.allow_unsafe(preflight::failed(&checks));
    let mut member = None;
    if config.reader.ha {
        let joined = reader::until_answered(&options.metrics, &mut stop, async || queue.join().await);
        let Some(joined) = joined.await? else {
            say_figures(&Summary::default(), arguments.json);
            return Ok(ExitCode::SUCCESS);
        };
        options.metrics.set_leadership(joined.leadership());
        queue = queue.with_leadership(joined.leadership());
        member = Some(joined);
    }
    let filter = TableFilter::new(&config);
    let ended = reader::run(&mut source, &queue, &filter, &config.source.keys, &options, stop).await;
    if let Some(member) = member {
        member.leave().await;
    }
    say_figures(&ended?, arguments.json);
    Ok(ExitCode::SUCCESS)
}
