//! `[writer.elasticsearch]`.

use elasticsearch::http::Url;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Secret;
use super::reading::{Reading, SecretText, wrong};
use super::tls::Tls;
use crate::error::Error;
use crate::store::name_template::{Alphabet, NameTemplate};

const INDEX_DEFAULT: &str = "{db}.{table}";

/// `[writer.elasticsearch]`: the store and how rows stand in it.
#[derive(Clone, Debug)]
pub struct Elasticsearch {
    /// The nodes, `http://<host>:<port>` or `https://<host>:<port>`.
    pub urls: Vec<String>,
    /// Who asks.
    pub login: Login,
    /// How nodes are verified, and with which certificate one comes to them; without the section by the system's
    /// authorities, and with none.
    pub tls: Option<Tls>,
    /// How a table's index is called.
    pub index: NameTemplate,
}

/// Who asks Elasticsearch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// Nobody in particular.
    None,
    /// An account.
    User {
        /// Its name.
        user: String,
        /// Its password.
        password: Secret,
    },
    /// An API key, base64 of its id and its secret.
    ApiKey(Secret),
}

/// The section as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ElasticsearchText {
    urls: Vec<String>,
    user: Option<String>,
    password: Option<SecretText>,
    password_env: Option<String>,
    password_file: Option<String>,
    api_key: Option<SecretText>,
    api_key_env: Option<String>,
    api_key_file: Option<String>,
    tls: Option<Tls>,
    index: Option<String>,
    /// The writer's own, from here on; known here so that they are not refused.
    #[serde(rename = "shards")]
    _shards: Option<IgnoredAny>,
    #[serde(rename = "replicas")]
    _replicas: Option<IgnoredAny>,
    #[serde(rename = "batch_changes_max")]
    _batch_changes_max: Option<IgnoredAny>,
    #[serde(rename = "bulk_bytes_max")]
    _bulk_bytes_max: Option<IgnoredAny>,
    #[serde(rename = "bulks_parallel")]
    _bulks_parallel: Option<IgnoredAny>,
    #[serde(rename = "tombstones_keep_hours")]
    _tombstones_keep_hours: Option<IgnoredAny>,
    #[serde(rename = "listen")]
    _listen: Option<IgnoredAny>,
}

impl Reading<'_> {
    /// The section as meant.
    pub fn elasticsearch(&self, section: ElasticsearchText) -> Result<Elasticsearch, Error> {
        let key = |key: &str| format!("key writer.elasticsearch.{key}");
        let template = section.index.as_deref().unwrap_or(INDEX_DEFAULT);
        let index = NameTemplate::parse(Alphabet::Elasticsearch, template).map_err(|reason| {
            wrong(
                self.file,
                &key("index"),
                &reason,
                "the default is index = \"{db}.{table}\"",
            )
        })?;
        for url in &section.urls {
            check_url(url).map_err(|reason| {
                wrong(
                    self.file,
                    &key("urls"),
                    &reason,
                    "write for instance [\"http://127.0.0.1:9200\"]",
                )
            })?;
        }
        if section.urls.is_empty() {
            let hint = "list at least one: urls = [\"http://127.0.0.1:9200\"]";
            return Err(wrong(self.file, &key("urls"), "no address", hint));
        }
        let password = self.secret(
            "writer.elasticsearch.password",
            section.password,
            section.password_env,
            section.password_file,
        )?;
        let api_key = self.secret(
            "writer.elasticsearch.api_key",
            section.api_key,
            section.api_key_env,
            section.api_key_file,
        )?;
        let login = match (section.user.filter(|user| !user.is_empty()), api_key.reveal()) {
            (None, "") => Login::None,
            (Some(user), "") => Login::User { user, password },
            (None, _) => Login::ApiKey(api_key),
            (Some(_), _) => {
                let reason = "given beside user: one of them can be sent";
                return Err(wrong(
                    self.file,
                    &key("api_key"),
                    reason,
                    "keep user and password, or api_key",
                ));
            }
        };
        Ok(Elasticsearch {
            urls: section.urls,
            login,
            tls: section.tls,
            index,
        })
    }
}

/// The text itself may hold a password, and is shown only where it cannot.
fn check_url(text: &str) -> Result<(), String> {
    match Url::parse(text) {
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            Err("expected no account in an address: it has keys of its own, user and password".to_owned())
        }
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(()),
        Ok(_) => Err(format!("expected http://<host>:<port> or https://, found `{text}`")),
        Err(error) => Err(format!("expected http://<host>:<port> or https://: {error}")),
    }
}
