//! MySync keeps Redis, Elasticsearch and HBase equal to MySQL: reader, writers, dump.

pub mod decode;
