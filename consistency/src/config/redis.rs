//! `[writer.redis]`.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::reading::{Reading, SecretText, wrong};
use super::tls::Tls;
use super::{Address, Secret};
use crate::error::Error;
use crate::store::redis::KeyTemplate;

const KEY_TEMPLATE_DEFAULT: &str = "{db}:{table}:{pk}";
const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26_379;

/// `[writer.redis]`: the store and how rows stand in it.
#[derive(Clone, Debug)]
pub struct Redis {
    /// The servers.
    pub servers: Servers,
    /// The account at the servers.
    pub account: Account,
    /// The account at the sentinels.
    pub sentinel_account: Account,
    /// What of the connections is encrypted and verified.
    pub tls: Option<Tls>,
    /// The number of the database.
    pub database: i64,
    /// How a row is stored.
    pub layout: Layout,
    /// How a row's key is built.
    pub key: KeyTemplate,
    /// Rows go by themselves so long after they were last written; 0 for never.
    pub ttl_seconds: u64,
}

/// What Redis is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Servers {
    /// This server, whatever it is.
    One(Address),
    /// The only one among these that is a master.
    Several(Vec<Address>),
    /// The master that most of these sentinels name.
    Sentinels(Vec<Address>, String),
    /// The masters of the cluster that these are nodes of.
    Cluster(Vec<Address>),
}

/// Who logs in.
#[derive(Clone, Debug)]
pub struct Account {
    /// The ACL user; none for the default one.
    pub user: Option<String>,
    /// The password, empty for none.
    pub password: Secret,
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
    address: Option<String>,
    #[serde(default)]
    addresses: Vec<String>,
    #[serde(default)]
    sentinels: Vec<String>,
    master_name: Option<String>,
    #[serde(default)]
    cluster: Vec<String>,
    user: Option<String>,
    password: Option<SecretText>,
    password_env: Option<String>,
    password_file: Option<String>,
    sentinel_user: Option<String>,
    sentinel_password: Option<SecretText>,
    sentinel_password_env: Option<String>,
    sentinel_password_file: Option<String>,
    tls: Option<Tls>,
    #[serde(default)]
    database: i64,
    #[serde(default)]
    layout: Layout,
    key: Option<String>,
    #[serde(default)]
    ttl_seconds: u64,
    /// The writer's own; known here so that they are not refused.
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
            servers: self.redis_servers(&section)?,
            account: Account {
                user: section.user,
                password: self.secret(
                    "writer.redis.password",
                    section.password,
                    section.password_env,
                    section.password_file,
                )?,
            },
            sentinel_account: Account {
                user: section.sentinel_user,
                password: self.secret(
                    "writer.redis.sentinel_password",
                    section.sentinel_password,
                    section.sentinel_password_env,
                    section.sentinel_password_file,
                )?,
            },
            tls: section.tls,
            database: section.database,
            layout: section.layout,
            key,
            ttl_seconds: section.ttl_seconds,
        })
    }

    fn redis_servers(&self, section: &RedisText) -> Result<Servers, Error> {
        let list = |key: &str, texts: &[String], port: u16| -> Result<Vec<Address>, Error> {
            let key = format!("writer.redis.{key}");
            texts.iter().map(|text| self.address(&key, text, port)).collect()
        };
        let refuse = |key: &str, reason: &str, hint: &str| {
            let key = format!("key writer.redis.{key}");
            Err(wrong(self.file, &key, reason, hint))
        };
        let address = section.address.as_deref();
        let lists = (&section.addresses[..], &section.sentinels[..], &section.cluster[..]);
        let servers = match (address, lists) {
            (Some(address), ([], [], [])) => Servers::One(self.address("writer.redis.address", address, PORT)?),
            (None, (addresses @ [_, ..], [], [])) => Servers::Several(list("addresses", addresses, PORT)?),
            (None, ([], [], cluster @ [_, ..])) => Servers::Cluster(list("cluster", cluster, PORT)?),
            (None, ([], sentinels @ [_, ..], [])) => {
                let Some(name) = &section.master_name else {
                    return refuse(
                        "master_name",
                        "expected, not found",
                        "by it the sentinels know the master",
                    );
                };
                return Ok(Servers::Sentinels(
                    list("sentinels", sentinels, SENTINEL_PORT)?,
                    name.clone(),
                ));
            }
            _ => {
                let reason = "expected one of address, addresses, sentinels, cluster";
                return refuse("address", reason, "a server alone: address = \"127.0.0.1:6379\"");
            }
        };
        match section.master_name {
            None => Ok(servers),
            Some(_) => refuse(
                "master_name",
                "expected with sentinels only",
                "remove it, or name the sentinels",
            ),
        }
    }
}
