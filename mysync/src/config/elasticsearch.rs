//! Section `[writer.elasticsearch]`: Elasticsearch or OpenSearch as a target.

use super::load::{Refusal, check_address, require};
use super::load_connections::check_tls;
use super::{Secret, Tls, TlsMode};
use serde::Deserialize;

/// Section `[writer.elasticsearch]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ElasticsearchWriter {
    /// `http://host:port` or `https://host:port` of some nodes of one cluster.
    pub urls: Vec<String>,
    /// The account; none without security, or with an API key.
    #[serde(default)]
    pub user: String,
    /// The account's password.
    #[serde(default)]
    pub password: Secret,
    /// Name of the environment variable that holds the password.
    pub password_env: Option<String>,
    /// File that holds the password.
    pub password_file: Option<String>,
    /// An API key in its encoded form, in place of an account.
    #[serde(default)]
    pub api_key: Secret,
    /// Name of the environment variable that holds the API key.
    pub api_key_env: Option<String>,
    /// File that holds the API key.
    pub api_key_file: Option<String>,
    /// How `https` connections are verified.
    pub tls: Option<Tls>,
    /// Template of the alias that users query, of `{db}`, `{table}` and literal text.
    #[serde(default = "default_index")]
    pub index: String,
    /// Primary shards of an index that the writer creates.
    #[serde(default = "default_shards")]
    pub shards: u32,
    /// Copies of each shard of an index that the writer creates.
    #[serde(default = "default_replicas")]
    pub replicas: u32,
    /// Changes that are read ahead and applied together, at most.
    #[serde(default = "default_batch_changes_max")]
    pub batch_changes_max: usize,
    /// Bytes of one bulk request, at most, unless a single document is larger.
    #[serde(default = "default_bulk_bytes_max")]
    pub bulk_bytes_max: usize,
    /// Bulk requests that are on their way at the same time.
    #[serde(default = "default_bulks_parallel")]
    pub bulks_parallel: usize,
    /// How long a deleted row's tombstone document stays, hours; 0 is for ever.
    #[serde(default = "default_tombstones_keep_hours")]
    pub tombstones_keep_hours: u64,
    /// `host:port` where metrics are served; nowhere by default.
    pub listen: Option<String>,
}

const KEY_URLS: &str = "writer.elasticsearch.urls";
const KEY_INDEX: &str = "writer.elasticsearch.index";

pub(super) fn check(section: &ElasticsearchWriter) -> Result<(), Refusal> {
    require(
        !section.urls.is_empty(),
        KEY_URLS,
        &"an empty list",
        "at least one \"http://host:port\"",
    )?;
    for url in &section.urls {
        check_url(url)?;
    }
    let is_encrypted = section.urls.iter().any(|url| url.starts_with("https://"));
    require(
        !is_encrypted || section.tls.as_ref().is_none_or(|tls| tls.mode != TlsMode::Disabled),
        "writer.elasticsearch.tls.mode",
        &"disabled",
        "another mode, or urls that begin with http://",
    )?;
    if let Some(tls) = &section.tls {
        require(
            is_encrypted || tls.mode == TlsMode::Disabled,
            KEY_URLS,
            &section.urls.join(", "),
            "\"https://host:port\", since there is a section [writer.elasticsearch.tls]",
        )?;
        check_tls(
            tls,
            [
                "writer.elasticsearch.tls.ca",
                "writer.elasticsearch.tls.certificate",
                "writer.elasticsearch.tls.key",
            ],
        )?;
    }
    check_login(section)?;
    check_index(&section.index)?;
    require(
        (1..=1_024).contains(&section.shards),
        "writer.elasticsearch.shards",
        &section.shards,
        "1 to 1024",
    )?;
    require(
        section.replicas <= 100,
        "writer.elasticsearch.replicas",
        &section.replicas,
        "0 to 100",
    )?;
    require(
        (1..=1_000_000).contains(&section.batch_changes_max),
        "writer.elasticsearch.batch_changes_max",
        &section.batch_changes_max,
        "1 to 1000000",
    )?;
    require(
        (65_536..=50_000_000).contains(&section.bulk_bytes_max),
        "writer.elasticsearch.bulk_bytes_max",
        &section.bulk_bytes_max,
        "65536 to 50000000",
    )?;
    require(
        (1..=64).contains(&section.bulks_parallel),
        "writer.elasticsearch.bulks_parallel",
        &section.bulks_parallel,
        "1 to 64",
    )?;
    let keep_hours = section.tombstones_keep_hours;
    require(
        keep_hours == 0 || (24..=87_600).contains(&keep_hours),
        "writer.elasticsearch.tombstones_keep_hours",
        &keep_hours,
        "24 to 87600, longer than the oldest backup that may be restored is old; or 0 for ever",
    )?;
    match &section.listen {
        Some(address) => check_address("writer.elasticsearch.listen", address),
        None => Ok(()),
    }
}

fn check_url(url: &str) -> Result<(), Refusal> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let authority = rest.unwrap_or_default().split('/').next().unwrap_or_default();
    // What stands before an @ is a secret, and an error must not quote it.
    require(
        !url.contains('@'),
        KEY_URLS,
        &"a url with an account in it",
        "the account in user and password, password_env or password_file",
    )?;
    require(
        rest.is_some() && !url.contains(['?', '#']),
        KEY_URLS,
        &url,
        "\"http://host:port\" or \"https://host:port\"",
    )?;
    check_address(KEY_URLS, authority)
}

fn check_login(section: &ElasticsearchWriter) -> Result<(), Refusal> {
    require(
        section.user.is_empty() || section.api_key.is_empty(),
        "writer.elasticsearch.api_key",
        &"given beside user",
        "an account or an API key, not both",
    )?;
    require(
        section.user.is_empty() || !section.password.is_empty(),
        "writer.elasticsearch.password",
        &"none",
        "one of password, password_env, password_file",
    )?;
    require(
        !section.user.is_empty() || section.password.is_empty(),
        "writer.elasticsearch.user",
        &"an empty text",
        "the name of the account that the password is for",
    )
}

fn check_index(template: &str) -> Result<(), Refusal> {
    let literal = template.replace("{db}", "").replace("{table}", "");
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-');
    require(
        template.contains("{table}") && literal.bytes().all(fits) && !template.starts_with(['.', '_', '-']),
        KEY_INDEX,
        &template,
        "a template of {db}, {table} and lower-case letters, digits, '.', '_' and '-', with {table} in it",
    )
}

fn default_index() -> String {
    "{db}.{table}".into()
}
fn default_shards() -> u32 {
    1
}
fn default_replicas() -> u32 {
    1
}
fn default_batch_changes_max() -> usize {
    10_000
}
fn default_bulk_bytes_max() -> usize {
    4 * 1024 * 1024
}
fn default_bulks_parallel() -> usize {
    2
}
fn default_tombstones_keep_hours() -> u64 {
    168
}

#[cfg(test)]
mod tests {
    use crate::config::{TEMPLATE, parse};

    /// With the section that the template has as a comment, but for the keys that have no default.
    fn template() -> String {
        let text = TEMPLATE.replace("password_env = \"MYSYNC_MYSQL_PASSWORD\"", "password = \"p\"");
        let (before, rest) = text.split_once("# [writer.elasticsearch]").unwrap();
        let (section, after) = rest.split_once("\n\n").unwrap();
        let has_default = |line: &&str| {
            !["# user", "# password", "# listen"]
                .iter()
                .any(|key| line.starts_with(key))
        };
        let lines: Vec<&str> = section.lines().filter(has_default).collect();
        format!(
            "{before}[writer.elasticsearch]{}\n\n{after}",
            lines.join("\n").replace("\n# ", "\n")
        )
    }

    #[test]
    fn the_template_has_every_key_with_its_default() {
        let section = parse(&template(), "mysync.toml").unwrap().writer.elasticsearch.unwrap();
        let bare = toml::from_str::<super::ElasticsearchWriter>("urls = [\"http://127.0.0.1:9200\"]").unwrap();
        assert_eq!(format!("{section:?}"), format!("{bare:?}"));
    }

    #[test]
    fn every_refusal_names_file_key_wrong_and_expected() {
        let urls = "urls = [\"http://127.0.0.1:9200\"]";
        let refused = |from: &str, to: &str| {
            let text = template();
            assert!(text.contains(from), "the template has no {from}");
            parse(&text.replace(from, to), "mysync.toml").unwrap_err().to_string()
        };
        let errors = [
            refused(urls, "urls = []"),
            refused(urls, "urls = [\"127.0.0.1:9200\"]"),
            refused(urls, "urls = [\"http://127.0.0.1\"]"),
            refused(urls, "urls = [\"http://u:geheim@127.0.0.1:9200\"]"),
            refused(urls, &format!("{urls}\nuser = \"u\"")),
            refused(urls, &format!("{urls}\npassword = \"geheim\"")),
            refused(
                urls,
                &format!("{urls}\nuser = \"u\"\npassword = \"geheim\"\napi_key = \"geheim\""),
            ),
            refused(urls, &format!("{urls}\ntls = {{}}")),
            refused(
                urls,
                "urls = [\"https://127.0.0.1:9200\"]\ntls = { mode = \"disabled\" }",
            ),
            refused("index = \"{db}.{table}\"", "index = \"{db}\""),
            refused("index = \"{db}.{table}\"", "index = \"Rows-{table}\""),
            refused("shards = 1", "shards = 0"),
            refused("bulk_bytes_max = 4194304", "bulk_bytes_max = 1"),
            refused("bulks_parallel = 2", "bulks_parallel = 0"),
            refused("tombstones_keep_hours = 168", "tombstones_keep_hours = 1"),
        ];
        insta::assert_snapshot!(errors.join("\n\n"));
    }
}
