//! Section `[writer]`: what all targets' writers have in common.

use super::{ElasticsearchWriter, HbaseWriter, RedisWriter};
use serde::Deserialize;
use std::time::Duration;

/// See [`Writer::session`].
const SESSION_SECONDS: u64 = 20;

/// Section `[writer]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Writer {
    /// Whose records are read.
    #[serde(default)]
    pub format: WriterFormat,
    /// This writer's name in the groups of its targets, unique in each and the same after a restart; by default one made of
    /// the host's name.
    pub member: Option<String>,
    /// How long a writer may not be heard of before others take its partitions, seconds; 20 by default.
    pub session_seconds: Option<u64>,
    /// Section `[writer.redis]`.
    pub redis: Option<RedisWriter>,
    /// Section `[writer.elasticsearch]`.
    pub elasticsearch: Option<ElasticsearchWriter>,
    /// Section `[writer.hbase]`.
    pub hbase: Option<HbaseWriter>,
}

impl Writer {
    /// How long a writer may not be heard of before others take its partitions. By default longer than a group is without
    /// a coordinator when the broker dies that was it: Kafka's own brokers give each other up after 9 s.
    #[must_use]
    pub fn session(&self) -> Duration {
        Duration::from_secs(self.session_seconds.unwrap_or(SESSION_SECONDS))
    }

    /// Where the writers serve their metrics, by the name of their target.
    #[must_use]
    pub fn listens(&self) -> Vec<(&'static str, &str)> {
        let listens = [
            (
                "redis",
                self.redis.as_ref().and_then(|section| section.listen.as_deref()),
            ),
            (
                "elasticsearch",
                self.elasticsearch
                    .as_ref()
                    .and_then(|section| section.listen.as_deref()),
            ),
            (
                "hbase",
                self.hbase.as_ref().and_then(|section| section.listen.as_deref()),
            ),
        ];
        listens
            .into_iter()
            .filter_map(|(target, listen)| Some((target, listen?)))
            .collect()
    }
}

/// Whose records a writer reads.
#[derive(Debug, Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum WriterFormat {
    /// Those of mysync's reader, in any of its forms but the strict one; each is looked at by itself.
    #[default]
    Mysync,
    /// Those that Debezium's MySQL connector published, with their schemas.
    Debezium,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_says_where_its_writer_is_asked() {
        let text = concat!(
            "redis = { address = \"r:6379\", listen = \"r:1\" }\n",
            "elasticsearch = { urls = [\"http://e:9200\"], listen = \"e:2\" }\n",
            "hbase = { thrift = \"h:9090\", listen = \"h:3\" }\n",
        );
        let writer: Writer = toml::from_str(text).unwrap();
        assert_eq!(
            writer.listens(),
            [("redis", "r:1"), ("elasticsearch", "e:2"), ("hbase", "h:3")]
        );
    }
}
