//! Which index of a name it is. Every index has a UUID, and another one when it was deleted and made anew, or restored; one that
//! was restored in place keeps it and gets a new history.

use super::client::Client;
use super::errors::Told;
use crate::error::Result;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Names up to this length go into a request's address; the store takes addresses of 4096 bytes.
const NAMES_BYTES_MAX: usize = 3_000;

/// All indices of rows.
const ALL: &str = "*~rows";

/// From an index's settings, flat.
pub(super) fn of_settings(settings: &Value) -> String {
    let text = |name: &str| settings[name].as_str().unwrap_or_default();
    match text("index.history.uuid") {
        "" => text("index.uuid").to_owned(),
        history => format!("{}/{history}", text("index.uuid")),
    }
}

/// The identities of those of the indices that are there.
pub(super) async fn of_indices(client: &Client, indices: &BTreeSet<&str>) -> Result<BTreeMap<String, String>> {
    if indices.is_empty() {
        return Ok(BTreeMap::new());
    }
    let names: Vec<&str> = indices.iter().copied().collect();
    let names = Some(names.join(",")).filter(|names| names.len() <= NAMES_BYTES_MAX);
    let path = format!(
        "/{}/_settings/index.uuid,index.history.uuid?flat_settings=true&ignore_unavailable=true&expand_wildcards=all",
        names.as_deref().unwrap_or(ALL)
    );
    let answer = client.get(&path).await?;
    if !answer.is_success() {
        return Err(Told::of(&answer).error("cannot look which indices are there"));
    }
    let found = answer.json()?;
    let members = found.as_object().into_iter().flatten();
    Ok(members
        .map(|(index, description)| (index.clone(), of_settings(&description["settings"])))
        .collect())
}
