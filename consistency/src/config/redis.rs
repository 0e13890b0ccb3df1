//! `[writer.redis]`.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::reading::{Reading, SecretText, wrong};
use super::{Address, Secret};
use crate::error::Error;
use crate::store::redis::KeyTemplate;

const KEY_TEMPLATE_DEFAULT: &str = "{db}:{table}:{pk}";
const PORT: u16 = 6379;

/// `[writer.redis]`: the store and how rows stand in it.
#[derive(Clone, Debug)]
pub struct Redis {
    /// `<host>:<port>`.
    pub address: Address,
    /// The password, empty for none.
    pub password: Secret,
    /// The number of the database.
    pub database: i64,
    /// How a row is stored.
    pub layout: Layout,
    /// How a row's key is built.
    pub key: KeyTemplate,
    /// Rows go by themselves so long after they were last written; 0 for never.
    pub ttl_seconds: u64,
}

/// How a row is stored in Redis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// A hash with a field a column; NULL is an absent field.
    #[default]
    Hash,
    /// A string that holds the row as a JSON object.
    Json,
}

/// The section as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisText {
    address: String,
    password: Option<SecretText>,
    password_env: Option<String>,
    password_file: Option<String>,
    #[serde(default)]
    database: i64,
    #[serde(default)]
    layout: Layout,
    key: Option<String>,
    #[serde(default)]
    ttl_seconds: u64,
    /// The writer's own, from here on; known here so that they are not refused.
    #[serde(rename = "batch_changes_max")]
    _batch_changes_max: Option<IgnoredAny>,
    #[serde(rename = "listen")]
    _listen: Option<IgnoredAny>,
}

impl Reading<'_> {
    /// The section as meant.
    pub fn redis(&self, section: RedisText) -> Result<Redis, Error> {
        let template = section.key.as_deref().unwrap_or(KEY_TEMPLATE_DEFAULT);
        let key = KeyTemplate::parse(template).map_err(|reason| {
            wrong(
                self.file,
                "key writer.redis.key",
                &reason,
                "the default is key = \"{db}:{table}:{pk}\"",
            )
        })?;
        Ok(Redis {
            address: self.address("writer.redis.address", &section.address, PORT)?,
            password: self.secret(
                "writer.redis.password",
                section.password,
                section.password_env,
                section.password_file,
            )?,
            database: section.database,
            layout: section.layout,
            key,
            ttl_seconds: section.ttl_seconds,
        })
    }
}
