//! Reading ahead: from a place to the end of the binlog, looking at statements only. See [`crate::schema`].

use super::tracker::{Meaning, Target, Tracker};
use crate::checkpoint::Position;
use crate::decode::{Body, Event, Format, Payload};
use crate::encode::refuse;
use crate::error::Result;
use crate::schema::{Statement, Survey, SurveyDraft, TableName};
use crate::source::Source;
use crate::tables::TableFilter;
use std::collections::BTreeSet;

/// Surveys the binlog from `from` on. The stream must be started anew afterwards.
pub(super) async fn survey<S: Source>(
    source: &mut S,
    from: &Position,
    wanted: &[TableName],
    filter: &TableFilter,
    lower_case_names: bool,
) -> Result<Survey> {
    tracing::info!(
        file = from.file,
        offset = from.offset,
        tables = wanted.len(),
        "reading ahead for statements about tables, to know the columns of these"
    );
    let end = Target::new(&source.newest().await?)?;
    source.start(from).await?;
    let mut ahead = Ahead {
        tracker: Tracker::new(from.clone())?,
        format: Format::default(),
        draft: SurveyDraft::default(),
        lower_case_names,
    };
    ahead.read(source, &end).await?;
    // What statements were about is looked up at once, as their turn comes soon.
    let is_followed = |name: &TableName| filter.follows(&name.0, &name.1);
    let mut names: BTreeSet<TableName> = ahead.draft.tables().into_iter().filter(is_followed).collect();
    names.extend(wanted.iter().cloned());
    let names: Vec<TableName> = names.into_iter().collect();
    let tables = source.describe(&names).await?;
    // Statements that came meanwhile may or may not show in what was read.
    let end = Target::new(&source.newest().await?)?;
    ahead.read(source, &end).await?;
    let until = ahead.tracker.event_end();
    Ok(ahead.draft.complete(names.into_iter().zip(tables).collect(), until))
}

struct Ahead {
    tracker: Tracker,
    format: Format,
    draft: SurveyDraft,
    lower_case_names: bool,
}

impl Ahead {
    async fn read<S: Source>(&mut self, source: &mut S, end: &Target) -> Result<()> {
        while !self.tracker.has_reached(end) {
            let bytes = source.next().await?;
            let event = Event::parse(bytes, &mut self.format).map_err(|error| self.tracker.locate(refuse(error)))?;
            let taken = match &event.body {
                Body::TransactionPayload(payload) => self.take_payload(&event, payload),
                _ => self.take(&event),
            };
            taken.map_err(|error| self.tracker.locate(error))?;
        }
        Ok(())
    }

    fn take_payload(&mut self, event: &Event<'_>, payload: &Payload<'_>) -> Result<()> {
        self.tracker.take(event)?;
        let mut events = payload.events().map_err(refuse)?;
        while let Some(mut event) = events.next_event().map_err(refuse)? {
            // Whatever stands there, it is no place in the file.
            event.header.next_position = 0;
            self.take(&event)?;
        }
        Ok(())
    }

    fn take(&mut self, event: &Event<'_>) -> Result<()> {
        match self.tracker.take(event)? {
            Meaning::Ddl(ddl) => self.note(ddl.statement),
            // Its rows are for the reader that comes here later.
            Meaning::XaDecided(_) => self.tracker.decided(),
            _ => {}
        }
        Ok(())
    }

    fn note(&mut self, statement: Statement) {
        let at = self.tracker.event_end();
        match statement {
            Statement::Ddl(changes) if self.lower_case_names => {
                let changes: Vec<_> = changes.into_iter().map(|change| change.in_lower_case()).collect();
                self.draft.note(&changes, at);
            }
            Statement::Ddl(changes) => self.draft.note(&changes, at),
            Statement::Unknown => self.draft.note_unknown(at),
            _ => {}
        }
    }
}
