//! Section `[writer.redis]`: a server, a master found among servers or by sentinels, or a cluster; and how rows stand in it.

use super::load::{Refusal, check_address, require, secret};
use super::load_connections::check_tls;
use super::{Secret, Tls};
use crate::error::Result;
use serde::Deserialize;

/// The longest time to live, in seconds: a hundred years.
const TTL_SECONDS_MAX: u64 = 100 * 366 * 86_400;

/// Section `[writer.redis]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisWriter {
    /// `host:port` of a server alone.
    pub address: Option<String>,
    /// `host:port` of a master and its replicas, in place of `address`: the one that is the master is written to.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// `host:port` of sentinels, in place of `address`: they say where the master is.
    #[serde(default)]
    pub sentinels: Vec<String>,
    /// By which the sentinels know the master.
    pub master_name: Option<String>,
    /// `host:port` of some nodes of a Redis Cluster, in place of `address`.
    #[serde(default)]
    pub cluster: Vec<String>,
    /// The ACL user; without it the server's default user.
    pub user: Option<String>,
    /// Password, empty for none.
    #[serde(default)]
    pub password: Secret,
    /// Name of the environment variable that holds the password.
    pub password_env: Option<String>,
    /// File that holds the password.
    pub password_file: Option<String>,
    /// The ACL user of the sentinels, which have accounts of their own.
    pub sentinel_user: Option<String>,
    /// The sentinels' password, empty for none.
    #[serde(default)]
    pub sentinel_password: Secret,
    /// Name of the environment variable that holds the sentinels' password.
    pub sentinel_password_env: Option<String>,
    /// File that holds the sentinels' password.
    pub sentinel_password_file: Option<String>,
    /// How the connections are encrypted, those to sentinels too.
    pub tls: Option<Tls>,
    /// Database number; a cluster has only 0.
    #[serde(default)]
    pub database: u32,
    /// How a row is stored.
    #[serde(default)]
    pub layout: Layout,
    /// Template of a row's key, of `{db}`, `{table}`, `{pk}` and literal text.
    #[serde(default = "default_key_template")]
    pub key: String,
    /// A row expires so many seconds after its last change; without it, never.
    pub ttl_seconds: Option<u64>,
    /// Changes that are applied in one step, at most.
    #[serde(default = "default_batch_changes_max")]
    pub batch_changes_max: usize,
    /// `host:port` where this writer serves metrics and is told what to do; nowhere by default.
    pub listen: Option<String>,
}

/// How a row is stored in Redis.
#[derive(Debug, Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// A hash with a field a column; NULL is an absent field.
    #[default]
    Hash,
    /// A string that holds the row as a JSON object.
    Json,
}

fn default_key_template() -> String {
    "{db}:{table}:{pk}".into()
}

fn default_batch_changes_max() -> usize {
    2_000
}

impl RedisWriter {
    /// The key that names the servers, and its value.
    #[must_use]
    pub fn servers(&self) -> (&'static str, Vec<&str>) {
        let lists = [
            ("writer.redis.addresses", &self.addresses),
            ("writer.redis.sentinels", &self.sentinels),
            ("writer.redis.cluster", &self.cluster),
        ];
        match lists.into_iter().find(|(_, list)| !list.is_empty()) {
            Some((key, list)) => (key, list.iter().map(String::as_str).collect()),
            None => ("writer.redis.address", self.address.as_deref().into_iter().collect()),
        }
    }

    /// Reads the passwords from where they are.
    pub(super) fn reveal(&mut self, file: &str) -> Result<()> {
        self.password = secret(
            file,
            "writer.redis.password",
            &self.password,
            self.password_env.as_deref(),
            self.password_file.as_deref(),
        )?;
        self.sentinel_password = secret(
            file,
            "writer.redis.sentinel_password",
            &self.sentinel_password,
            self.sentinel_password_env.as_deref(),
            self.sentinel_password_file.as_deref(),
        )?;
        Ok(())
    }

    pub(super) fn check(&self) -> Result<(), Refusal> {
        self.check_servers()?;
        check_login("writer.redis.password", self.user.as_deref(), &self.password)?;
        check_login(
            "writer.redis.sentinel_password",
            self.sentinel_user.as_deref(),
            &self.sentinel_password,
        )?;
        if let Some(tls) = &self.tls {
            let keys = [
                "writer.redis.tls.ca",
                "writer.redis.tls.certificate",
                "writer.redis.tls.key",
            ];
            check_tls(tls, keys)?;
        }
        check_key_template(&self.key)?;
        if let Some(seconds) = self.ttl_seconds {
            let expected = "1 to 3162240000, or no such key for rows that do not expire";
            require(
                (1..=TTL_SECONDS_MAX).contains(&seconds),
                "writer.redis.ttl_seconds",
                &seconds,
                expected,
            )?;
        }
        require(
            (1..=1_000_000).contains(&self.batch_changes_max),
            "writer.redis.batch_changes_max",
            &self.batch_changes_max,
            "1 to 1000000",
        )
    }

    fn check_servers(&self) -> Result<(), Refusal> {
        let given = [
            self.address.is_some(),
            !self.addresses.is_empty(),
            !self.sentinels.is_empty(),
            !self.cluster.is_empty(),
        ];
        let count = given.into_iter().filter(|given| *given).count();
        let expected = "one of address, addresses, sentinels, cluster";
        let found = if count == 0 { "none" } else { "several" };
        require(count == 1, "writer.redis.address", &found, expected)?;
        let (key, servers) = self.servers();
        for server in servers {
            check_address(key, server)?;
        }
        let has_name = self.master_name.as_ref().is_some_and(|name| !name.is_empty());
        let found = self.master_name.as_deref().unwrap_or("none");
        let expected = "with sentinels, the name by which they know the master; else no such key";
        require(
            has_name != self.sentinels.is_empty(),
            "writer.redis.master_name",
            &found,
            expected,
        )?;
        let expected = "0, the only database of a cluster";
        require(
            self.cluster.is_empty() || self.database == 0,
            "writer.redis.database",
            &self.database,
            expected,
        )
    }
}

fn check_login(key: &'static str, user: Option<&str>, password: &Secret) -> Result<(), Refusal> {
    let expected = "a password for the user: one of the key itself, or with _env or _file behind its name";
    require(user.is_none() || !password.is_empty(), key, &"none", expected)
}

fn check_key_template(template: &str) -> Result<(), Refusal> {
    let rest = template.replace("{db}", "").replace("{table}", "").replace("{pk}", "");
    let whole = template.contains("{pk}") && !rest.contains(['{', '}']);
    require(
        whole,
        "writer.redis.key",
        &template,
        "a template of {db}, {table}, {pk} and literal text, with {pk} in it",
    )
}

#[cfg(test)]
mod tests {
    use crate::config::{TEMPLATE, parse};

    const ADDRESS: &str = "address = \"127.0.0.1:6379\"";

    fn with(changes: &[(&str, &str)]) -> Result<crate::config::Config, String> {
        let mut text = TEMPLATE.replace("password_env = \"MYSYNC_MYSQL_PASSWORD\"", "password = \"geheim\"");
        for (from, to) in changes {
            assert!(text.contains(from), "the template has no {from}");
            text = text.replace(from, to);
        }
        parse(&text, "mysync.toml").map_err(|error| error.to_string())
    }

    #[test]
    fn every_way_to_reach_redis_is_taken() {
        for (text, key, servers) in [
            (ADDRESS, "writer.redis.address", vec!["127.0.0.1:6379"]),
            (
                "addresses = [\"a:1\", \"b:2\"]",
                "writer.redis.addresses",
                vec!["a:1", "b:2"],
            ),
            (
                "sentinels = [\"a:1\"]\nmaster_name = \"m\"",
                "writer.redis.sentinels",
                vec!["a:1"],
            ),
            ("cluster = [\"a:1\"]", "writer.redis.cluster", vec!["a:1"]),
        ] {
            let redis = with(&[(ADDRESS, text)]).unwrap().writer.redis.unwrap();
            assert_eq!(redis.servers(), (key, servers));
        }
    }

    #[test]
    fn every_refusal_names_file_key_wrong_and_expected() {
        let refused = |from: &str, to: &str| with(&[(from, to)]).unwrap_err();
        let cluster = (ADDRESS, "cluster = [\"a:1\"]");
        let errors = [
            refused(ADDRESS, ""),
            refused(ADDRESS, "address = \"a\""),
            refused(ADDRESS, "address = \"a:1\"\ncluster = [\"a:1\"]"),
            refused(ADDRESS, "cluster = [\"a\"]"),
            refused(ADDRESS, "sentinels = [\"a:1\"]"),
            refused(ADDRESS, "address = \"a:1\"\nmaster_name = \"m\""),
            with(&[cluster, ("database = 0", "database = 1")]).unwrap_err(),
            refused(ADDRESS, "cluster = [\"a:1\"]\nuser = \"u\""),
            refused(ADDRESS, "address = \"a:1\"\nsentinel_user = \"u\""),
            refused("layout = \"hash\"", "layout = \"hash\"\nttl_seconds = 0"),
            refused("layout = \"hash\"", "layout = \"list\""),
            refused("key = \"{db}:{table}:{pk}\"", "key = \"{db}:{id}\""),
            refused("batch_changes_max = 2000", "batch_changes_max = 0"),
            refused("[check]", "[writer.redis.tls]\nca = \"no/such/file\"\n[check]"),
        ];
        insta::assert_snapshot!(errors.join("\n\n"));
    }
}
