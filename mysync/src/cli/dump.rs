//! `mysync dump`: asks the reader to read tables anew, and shows how far it is.

mod show;

use super::{say, stop_on_signal};
use clap::Args;
use mysync::config::{self, Config};
use mysync::error::{Error, Result};
use mysync::reader::signal::{OF_POLICY, Signal, Wanted};
use mysync::schema::TableName;
use mysync::source::mysql::MySqlSource;
use mysync::source::mysql::dump::Told;
use mysync::source::mysql::plan::Planned;
use mysync::source::{Source, State};
use mysync::stop::Stop;
use mysync::tables::{INTERNAL_DATABASE, matches};
use show::{Show, Shown};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How often the reader's progress is asked for.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// When nobody has taken the request up for so long, a person is told.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The configuration file
    #[arg(long, default_value = "mysync.toml", value_name = "FILE")]
    config: PathBuf,
    /// A table to dump; * and ? match; may be given more than once
    #[arg(long, value_name = "DB.TABLE")]
    table: Vec<String>,
    /// Dump all followed tables
    #[arg(long, conflicts_with = "table")]
    all: bool,
    /// Only rows that meet this SQL condition; no other row is touched or deleted
    #[arg(long = "where", value_name = "CONDITION", requires = "table")]
    condition: Option<String>,
    /// Show what would be done, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Show how far the dumps of this reader are
    #[arg(long, conflicts_with_all = ["all", "condition", "dry_run", "cancel"])]
    status: bool,
    /// Call off the dumps of this reader, or those of the tables given
    #[arg(long, conflicts_with_all = ["all", "condition", "dry_run"])]
    cancel: bool,
    /// Print the plan, the status or the summary as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  mysync dump --all                                    an existing database, after reader.start = \"newest\"
  mysync dump --table shop.customer                    one table, and delete in the stores what it does not have
  mysync dump --table 'shop.*' --where 'id > 1000'     rows that meet a condition; nothing is deleted
  mysync dump --all --dry-run                          what would be done

The work is done by the running reader, between its changes. Ctrl-C ends the command, not the dump.

Exit codes: 0 done, 1 a table failed or was called off, 2 Ctrl-C: the dump goes on, 3 wrong arguments or configuration, 4 an error";

pub(super) async fn run(arguments: Arguments) -> Result<ExitCode> {
    let config = config::load(&arguments.config)?;
    let mut source = MySqlSource::new(&config);
    let mut stop = stop_on_signal();
    let chosen = tokio::select! {
        chosen = source.choose(None) => chosen,
        () = stop.stopped() => return Ok(ExitCode::from(2)),
    };
    chosen?;
    if arguments.status {
        return status(&source, &arguments).await;
    }
    if arguments.cancel {
        return cancel(&source, &config, &arguments, stop).await;
    }
    let plan = plan(&source, &config, &arguments).await?;
    if arguments.dry_run {
        say(show::plan(&plan, arguments.json));
        return Ok(ExitCode::SUCCESS);
    }
    refuse(&plan)?;
    let tables = plan.iter().map(|planned| Wanted {
        database: planned.database.clone(),
        table: planned.table.clone(),
        condition: arguments.condition.clone(),
    });
    let signal = Signal {
        request: new_request("dump"),
        cancel: false,
        tables: tables.collect(),
    };
    ask(&source, &signal).await?;
    watch(&mut source, &config, &signal, &plan, &arguments, stop).await
}

/// A name that no other request has.
fn new_request(kind: &str) -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    format!(
        "{kind}-{}-{}",
        since.unwrap_or_default().as_millis(),
        std::process::id()
    )
}

async fn ask(source: &MySqlSource, signal: &Signal) -> Result<()> {
    let text = serde_json::to_string(signal).unwrap_or_default();
    source.signal(&text).await
}

/// The tables that are meant, as they are now.
async fn plan(source: &MySqlSource, config: &Config, arguments: &Arguments) -> Result<Vec<Planned>> {
    if arguments.table.is_empty() && !arguments.all {
        return Err(Error::configuration("no table is named").hint("name some by --table, or all by --all"));
    }
    let keys = &config.source.keys;
    let all = source.plan(None, keys, arguments.condition.as_deref()).await?;
    if arguments.all {
        return Ok(all);
    }
    let mut planned: Vec<Planned> = Vec::new();
    for pattern in &arguments.table {
        let found: Vec<&Planned> = all
            .iter()
            .filter(|one| matches(pattern, &one.database, &one.table))
            .collect();
        if !found.is_empty() {
            planned.extend(found.into_iter().cloned());
            continue;
        }
        let name = named(pattern)?;
        planned.extend(source.plan(Some(&[name]), keys, arguments.condition.as_deref()).await?);
    }
    planned.sort_by(|one, other| (&one.database, &one.table).cmp(&(&other.database, &other.table)));
    planned.dedup();
    Ok(planned)
}

/// A table that MySQL does not have can be named, but not meant by a pattern.
fn named(pattern: &str) -> Result<TableName> {
    let name = pattern.split_once('.').filter(|_| !pattern.contains(['*', '?']));
    match name {
        Some((database, table)) if database != INTERNAL_DATABASE => Ok((database.to_owned(), table.to_owned())),
        _ => Err(
            Error::configuration(format!("no followed table is meant by --table {pattern}"))
                .detail("expected <database>.<table>, of those that source.tables has; * and ? match")
                .hint("mysync dump --all --dry-run lists them"),
        ),
    }
}

/// All tables or none.
fn refuse(plan: &[Planned]) -> Result<()> {
    let refused: Vec<String> = plan
        .iter()
        .filter_map(|one| Some(format!("{}.{}: {}", one.database, one.table, one.refusal.as_ref()?)))
        .collect();
    match refused.is_empty() {
        true => Ok(()),
        false => Err(
            Error::definite(format!("tables that cannot be dumped: {}", refused.len()))
                .detail(refused.join("\n          "))
                .hint("mend that, or dump the others"),
        ),
    }
}

async fn status(source: &MySqlSource, arguments: &Arguments) -> Result<ExitCode> {
    let mut told = source.told().await?;
    if !arguments.table.is_empty() {
        told.retain(|line| {
            let (database, table) = &line.progress.table;
            arguments.table.iter().any(|pattern| matches(pattern, database, table))
        });
    }
    say(show::status(&told, arguments.json));
    Ok(ExitCode::SUCCESS)
}

/// Calls off what is going on, and waits until the reader has done so.
async fn cancel(source: &MySqlSource, config: &Config, arguments: &Arguments, mut stop: Stop) -> Result<ExitCode> {
    let told = source.told().await?;
    let (patterns, is_named) = (&arguments.table, !arguments.table.is_empty());
    let is_meant = |line: &&Told| {
        let (database, table) = &line.progress.table;
        // What a policy wants is called off only where the table is named.
        !line.progress.state.is_end()
            && match is_named {
                true => patterns.iter().any(|pattern| matches(pattern, database, table)),
                false => !line.progress.request.starts_with(OF_POLICY),
            }
    };
    let meant: Vec<Told> = told.iter().filter(is_meant).cloned().collect();
    if meant.is_empty() {
        say("no dump is going on");
        return Ok(ExitCode::SUCCESS);
    }
    let wanted = |line: &Told| Wanted {
        database: line.progress.table.0.clone(),
        table: line.progress.table.1.clone(),
        condition: None,
    };
    let signal = Signal {
        request: new_request("cancel"),
        cancel: true,
        tables: if is_named {
            meant.iter().map(wanted).collect()
        } else {
            Vec::new()
        },
    };
    ask(source, &signal).await?;
    let asked_at = Instant::now();
    loop {
        let now = source.told().await?;
        let is_open = |line: &&Told| {
            let same = |other: &&Told| {
                (&other.progress.request, &other.progress.table) == (&line.progress.request, &line.progress.table)
            };
            now.iter()
                .find(same)
                .is_some_and(|found| !found.progress.state.is_end())
        };
        if !meant.iter().any(|line| is_open(&line)) {
            say(format!("called off: {} tables", meant.len()));
            return Ok(ExitCode::SUCCESS);
        }
        if asked_at.elapsed() > PATIENCE {
            say(not_taken(config));
            return Ok(ExitCode::from(2));
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
            () = stop.stopped() => return Ok(ExitCode::from(2)),
        }
    }
}

fn not_taken(config: &Config) -> String {
    format!(
        "no reader has taken the request up yet: is the reader {} of prefix {} running, and not behind? the request waits in MySQL's binlog",
        config.reader.name, config.kafka.prefix
    )
}

/// Shows how far the reader is until all tables are over, or a person has seen enough.
async fn watch(
    source: &mut MySqlSource,
    config: &Config,
    signal: &Signal,
    plan: &[Planned],
    arguments: &Arguments,
    mut stop: Stop,
) -> Result<ExitCode> {
    let begun = Instant::now();
    let mut show = Show::new(plan, &signal.request, arguments.json);
    let (mut has_complained, mut complaint) = (false, String::new());
    let mut shown = Vec::new();
    loop {
        match look(source, signal, shown.is_empty(), !complaint.is_empty()).await {
            Ok(now) => {
                complaint.clear();
                shown = now;
            }
            // The reader goes on, whatever becomes of this connection.
            Err(error) if error.is_transient() => {
                if complaint.is_empty() {
                    show.note(&error.one_line());
                }
                complaint = error.what;
            }
            Err(error) => return Err(error),
        }
        show.update(&shown);
        let is_over = shown.len() == signal.tables.len() && shown.iter().all(|one| one.state.is_end());
        if is_over {
            show.finish();
            say(show::summary(&shown, begun.elapsed(), arguments.json));
            let is_done = shown.iter().all(|one| one.state == State::Done);
            return Ok(ExitCode::from(u8::from(!is_done)));
        }
        if shown.is_empty() && !has_complained && begun.elapsed() > PATIENCE {
            has_complained = true;
            show.note(&not_taken(config));
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
            () = stop.stopped() => {
                show.finish();
                show.note("the dump goes on in the reader; mysync dump --status shows it, mysync dump --cancel calls it off");
                return Ok(ExitCode::from(2));
            }
        }
    }
}

/// Asks how far the reader is; after an error, the server that is the primary now. One that knows nothing of the request may
/// have lost it.
async fn look(source: &mut MySqlSource, signal: &Signal, is_unknown: bool, has_failed: bool) -> Result<Vec<Shown>> {
    if has_failed {
        source.choose(None).await?;
    }
    let shown = progress_of(signal, &source.told().await?);
    if has_failed && is_unknown && shown.is_empty() {
        ask(source, signal).await?;
    }
    Ok(shown)
}

/// What was told of the tables of a request. One that another request has taken over since is as good as called off.
fn progress_of(signal: &Signal, told: &[Told]) -> Vec<Shown> {
    let of_table = |wanted: &Wanted| {
        let is_it =
            |line: &&Told| (&line.progress.table.0, &line.progress.table.1) == (&wanted.database, &wanted.table);
        let latest = told.iter().find(is_it);
        let own = told
            .iter()
            .find(|line| is_it(line) && line.progress.request == signal.request)?;
        let mut shown = Shown::new(&own.progress);
        if let Some(latest) = latest
            && latest.progress.request != signal.request
            && !own.progress.state.is_end()
            && signal.tables.iter().all(|wanted| wanted.condition.is_none())
        {
            shown.state = State::Cancelled;
            shown.detail = format!("replaced by request {}", latest.progress.request);
        }
        Some(shown)
    };
    signal.tables.iter().filter_map(of_table).collect()
}
