//! The index of each table: made when the table's first change comes, looked at when it is there already, and added to when a
//! row has a column that it does not know.
//!
//! What an index must be, or it is refused with the remedy: this table's (its mapping says so), with a translog that is safe
//! when a bulk request is acknowledged (the cursor is written after that), and with `_source` kept as it comes.

use super::client::Client;
use super::errors::Told;
use super::identity;
use super::mapping::{self, Abilities};
use super::members;
use super::names::IndexTemplate;
use crate::error::{Error, Result};
use crate::target::TableName;
use crate::target::columns::Columns;
use serde_json::{Map, Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a column that MySQL does not know is not asked for again.
const UNKNOWN_TIME: Duration = Duration::from_secs(60);

/// Columns and their subfields; MySQL has at most 4096 columns in a table.
const FIELDS_MAX: u32 = 10_000;

/// Two writers may make one index at the same time.
const ATTEMPTS_MAX: usize = 3;

/// One table's index.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) alias: String,
    pub(super) index: String,
    /// Which index of that name it is.
    pub(super) identity: String,
    name: Arc<TableName>,
    mapped: HashSet<String>,
    /// Columns that MySQL did not know when it was asked last.
    unknown: HashSet<String>,
    ask_due: Option<Instant>,
    /// The columns of the row that was looked at last, as they stand in its text.
    shape: Vec<Box<str>>,
    pub(super) sweep_due: Instant,
}

/// The indices that this writer has written to since it connected.
#[derive(Debug)]
pub(super) struct Tables<C> {
    template: IndexTemplate,
    shards: u32,
    replicas: u32,
    columns: C,
    abilities: Abilities,
    places: HashMap<Arc<TableName>, usize>,
    all: Vec<Table>,
}

impl<C: Columns> Tables<C> {
    pub(super) fn new(template: IndexTemplate, shards: u32, replicas: u32, columns: C) -> Self {
        Self {
            template,
            shards,
            replicas,
            columns,
            abilities: Abilities { unsigned_long: true },
            places: HashMap::new(),
            all: Vec::new(),
        }
    }

    /// Forgets them: they are looked at anew.
    pub(super) fn clear(&mut self) {
        self.places.clear();
        self.all.clear();
        self.abilities = Abilities { unsigned_long: true };
    }

    pub(super) fn all(&self) -> &[Table] {
        &self.all
    }

    pub(super) fn get_mut(&mut self, place: usize) -> &mut Table {
        &mut self.all[place]
    }

    /// The place of a table's index, which is there when this returns.
    pub(super) async fn open(&mut self, client: &Client, name: &Arc<TableName>) -> Result<usize> {
        if let Some(place) = self.places.get(name) {
            return Ok(*place);
        }
        let (alias, index) = self.template.names(name)?;
        for _ in 0..ATTEMPTS_MAX {
            let answer = client.get(&format!("/{index}?flat_settings=true")).await?;
            if answer.status == 404 {
                self.create(client, name, &alias, &index).await?;
                continue;
            }
            if !answer.is_success() {
                return Err(Told::of(&answer).error(format!("cannot look at index {index}")));
            }
            let found = answer.json()?;
            let table = self.adopt(client, name, alias, index, &found).await?;
            let place = self.all.len();
            self.all.push(table);
            self.places.insert(Arc::clone(name), place);
            return Ok(place);
        }
        Err(Error::transient(format!("an index comes and goes: {index}")).hint("who else makes or deletes it?"))
    }

    async fn create(&mut self, client: &Client, name: &Arc<TableName>, alias: &str, index: &str) -> Result<()> {
        let columns = self.columns.of(name).await?;
        if columns.is_none() {
            tracing::warn!(
                database = name.database,
                table = name.table,
                "MySQL does not know this table: its columns cannot be searched until it does"
            );
        }
        let columns = columns.unwrap_or_default();
        refuse_our_names(name, columns.iter().map(|(column, _)| column.as_str()))?;
        let mut properties = mapping::properties(&columns, self.abilities);
        properties.append(&mut mapping::own_properties());
        let body = json!({
            "settings": {
                "index.number_of_shards": self.shards,
                "index.number_of_replicas": self.replicas,
                "index.translog.durability": "request",
                "index.mapping.total_fields.limit": FIELDS_MAX,
            },
            "aliases": {alias: {"filter": mapping::alias_filter(), "is_write_index": true}},
            "mappings": {"dynamic": false, "_meta": meta(name), "properties": properties},
        });
        let answer = client.put(&format!("/{index}"), &body).await?;
        if answer.is_success() {
            tracing::info!(index, alias, columns = columns.len(), "index made");
            return Ok(());
        }
        let told = Told::of(&answer);
        let what = format!("cannot make index {index} of table {}.{}", name.database, name.table);
        match told.kind.as_str() {
            "resource_already_exists_exception" => Ok(()),
            "invalid_alias_name_exception" => Err(Error::definite(what).detail(told.text()).hint(format!(
                "{alias} is where this table is queried, and something else has that name: delete or reindex it, or set \
                 another template in writer.elasticsearch.index"
            ))),
            _ if self.lacks_unsigned_long(&told) => Ok(()),
            _ => Err(told.error(what)),
        }
    }

    /// Learns that the store has no type `unsigned_long`, if that is what it says.
    fn lacks_unsigned_long(&mut self, told: &Told) -> bool {
        let lacks = self.abilities.unsigned_long && told.reason.contains("unsigned_long");
        if lacks {
            tracing::warn!(
                "the store has no type unsigned_long: BIGINT UNSIGNED is mapped as double, with a subfield exact"
            );
            self.abilities.unsigned_long = false;
        }
        lacks
    }

    /// Takes an index that is there.
    async fn adopt(
        &self,
        client: &Client,
        name: &Arc<TableName>,
        alias: String,
        index: String,
        found: &Value,
    ) -> Result<Table> {
        let refuse = |detail: String, hint: &str| {
            Error::definite(format!("index {index} cannot be written to"))
                .detail(detail)
                .hint(hint)
        };
        let description = &found[&index];
        if !description.is_object() {
            let detail = format!("{index} is not an index: it leads to {}", keys(found).join(", "));
            return Err(refuse(
                detail,
                "delete that alias: the index has to have this name itself",
            ));
        }
        let mappings = &description["mappings"];
        if mappings["_meta"] != meta(name) {
            let detail = format!("its mapping's _meta is {}, and not {}", mappings["_meta"], meta(name));
            return Err(refuse(
                detail,
                "it was made by somebody else, or for another table: delete or rename it, or set another template in \
                 writer.elasticsearch.index",
            ));
        }
        let settings = &description["settings"];
        let pipeline = settings["index.final_pipeline"].as_str();
        let is_exact = mappings["_source"].is_null()
            && pipeline.is_none_or(|pipeline| pipeline == "_none")
            && settings["index.mapping.source.mode"]
                .as_str()
                .is_none_or(|mode| mode == "stored");
        if !is_exact {
            return Err(refuse(
                "_source is not kept as it comes: see its mapping's _source, index.mapping.source.mode and index.final_pipeline".into(),
                "a template of indices changes _source: exclude *~rows from it, and delete the index",
            ));
        }
        if settings["index.translog.durability"]
            .as_str()
            .is_some_and(|text| text != "request")
        {
            return Err(refuse(
                "index.translog.durability is not request: what is acknowledged could be lost in a crash".into(),
                "set it to request",
            ));
        }
        let its_alias = &description["aliases"][&alias];
        if its_alias["filter"] != mapping::alias_filter() || its_alias["is_write_index"] != json!(true) {
            add_alias(client, &index, &alias).await?;
        }
        Ok(Table {
            identity: identity::of_settings(settings),
            name: Arc::clone(name),
            mapped: mapped(&mappings["properties"]),
            unknown: HashSet::new(),
            ask_due: None,
            shape: Vec::new(),
            sweep_due: Instant::now(),
            alias,
            index,
        })
    }

    /// Sees to it that the columns of a row are mapped, as far as MySQL knows them.
    pub(super) async fn fit(&mut self, client: &Client, place: usize, row: &str, now: Instant) -> Result<()> {
        let table = &mut self.all[place];
        let is_due = table.ask_due.is_some_and(|due| now >= due);
        if !is_due && table.has_shape(row) {
            return Ok(());
        }
        let names = members::names(row).map(unescaped).collect::<Result<Vec<_>>>()?;
        refuse_our_names(&table.name, names.iter().map(String::as_str))?;
        let asked_again = match is_due {
            true => std::mem::take(&mut table.unknown),
            false => HashSet::new(),
        };
        table.ask_due = table.ask_due.filter(|_| !is_due);
        let is_new = |name: &String| !table.mapped.contains(name) && !table.unknown.contains(name);
        let new: Vec<String> = names.into_iter().filter(is_new).collect();
        if new.is_empty() {
            table.shape = members::names(row).map(Into::into).collect();
            return Ok(());
        }
        let is_again = new.iter().all(|name| asked_again.contains(name));
        match self.extend(client, place, new, now).await {
            // Only what has never been asked for has to wait for MySQL.
            Err(error) if error.is_transient() && is_again => {
                let table = &mut self.all[place];
                table.unknown = asked_again;
                table.ask_due = Some(now + UNKNOWN_TIME);
            }
            extended => extended?,
        }
        // Not before: a mapping that is refused is asked for with every row that has the column.
        self.all[place].shape = members::names(row).map(Into::into).collect();
        Ok(())
    }

    async fn extend(&mut self, client: &Client, place: usize, new: Vec<String>, now: Instant) -> Result<()> {
        let name = Arc::clone(&self.all[place].name);
        let columns = self.columns.of(&name).await?.unwrap_or_default();
        let index = self.all[place].index.clone();
        loop {
            let known = mapping::properties(&columns, self.abilities);
            let mapped = &self.all[place].mapped;
            let added: Map<String, Value> = known
                .into_iter()
                .filter(|(column, _)| new.contains(column) && !mapped.contains(column))
                .collect();
            if !added.is_empty() {
                let body = json!({"properties": added});
                let answer = client.put(&format!("/{index}/_mapping"), &body).await?;
                if !answer.is_success() {
                    let told = Told::of(&answer);
                    if self.lacks_unsigned_long(&told) {
                        continue;
                    }
                    let names = keys(&body["properties"]).join(", ");
                    return Err(told.error(format!("cannot map new columns in index {index}: {names}")));
                }
                tracing::info!(
                    index,
                    columns = keys(&body["properties"]).join(", "),
                    "mapping extended"
                );
            }
            let table = &mut self.all[place];
            table.mapped.extend(added.keys().cloned());
            let left = new.iter().filter(|column| !table.mapped.contains(*column));
            let left: Vec<String> = left.cloned().collect();
            if !left.is_empty() {
                tracing::debug!(
                    index,
                    columns = left.join(", "),
                    "MySQL does not know these columns, or they cannot be mapped"
                );
                table.unknown.extend(left);
                table.ask_due = Some(now + UNKNOWN_TIME);
            }
            return Ok(());
        }
    }
}

impl Table {
    fn has_shape(&self, row: &str) -> bool {
        let mut shape = self.shape.iter();
        members::names(row).all(|name| shape.next().is_some_and(|known| **known == *name)) && shape.next().is_none()
    }
}

async fn add_alias(client: &Client, index: &str, alias: &str) -> Result<()> {
    let filter = mapping::alias_filter();
    let add = json!({"index": index, "alias": alias, "filter": filter, "is_write_index": true});
    let answer = client.post("/_aliases", &json!({"actions": [{"add": add}]})).await?;
    match answer.is_success() {
        true => Ok(()),
        false => {
            let told = Told::of(&answer);
            let what = format!("cannot give index {index} the alias {alias}");
            Err(told.error(what).hint(format!(
                "{alias} is where this table is queried: what else has that name, delete it or set another template in \
                 writer.elasticsearch.index"
            )))
        }
    }
}

fn meta(name: &TableName) -> Value {
    json!({"mysync": {"database": name.database, "table": name.table}})
}

/// The columns that a mapping has. A dot in a name has made an object of what is before it.
fn mapped(properties: &Value) -> HashSet<String> {
    let mut names = HashSet::new();
    for (name, property) in properties.as_object().into_iter().flatten() {
        match property["properties"].is_object() {
            true => names.extend(
                mapped(&property["properties"])
                    .iter()
                    .map(|below| format!("{name}.{below}")),
            ),
            false => drop(names.insert(name.clone())),
        }
    }
    names
}

fn keys(object: &Value) -> Vec<String> {
    let members = object.as_object().into_iter().flat_map(Map::keys);
    members.cloned().collect()
}

fn unescaped(name: &str) -> Result<String> {
    if !name.contains('\\') {
        return Ok(name.to_owned());
    }
    serde_json::from_str(&format!("\"{name}\""))
        .map_err(|error| Error::definite("a row has a column whose name is not understood").detail(error))
}

fn refuse_our_names<'n>(table: &TableName, mut columns: impl Iterator<Item = &'n str>) -> Result<()> {
    match columns.find(|column| column.starts_with(mapping::OURS)) {
        None => Ok(()),
        Some(column) => {
            let what = format!(
                "a table has a column whose name is the writer's own: {}.{}.{column}",
                table.database, table.table
            );
            Err(Error::definite(what).hint(
                "rename the column, or leave it out: source.columns_exclude; what was published with it before stays in Kafka",
            ))
        }
    }
}

/// Whether an error is about one table, and not about the cluster or the configuration.
pub(super) fn is_refusal(error: &Error) -> bool {
    error.kind == crate::error::Kind::Definite
}
