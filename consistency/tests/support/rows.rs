//! Rows put into HBase by hand.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::{BufReader, BufWriter};
use std::net::TcpStream;
use std::time::Duration;

use fixtures::Lab;
use hbase_thrift2::thrift::protocol::{TBinaryInputProtocol, TBinaryOutputProtocol};
use hbase_thrift2::{
    TColumn, TColumnFamilyDescriptor, TColumnValue, TDelete, THBaseServiceSyncClient, TPut, TTHBaseServiceSyncClient,
    TTableDescriptor, TTableName,
};

const ANSWER_MAX: Duration = Duration::from_secs(60);

type Session =
    THBaseServiceSyncClient<TBinaryInputProtocol<BufReader<TcpStream>>, TBinaryOutputProtocol<BufWriter<TcpStream>>>;

/// A session with a lab's HBase. It blocks: a test waits for it on its own thread.
pub struct Rows {
    session: Session,
    address: String,
    /// Timestamp of the last write.
    version: i64,
}

impl Rows {
    pub fn of(lab: &Lab) -> Self {
        let address = lab.hbase().expect("an HBase").address();
        let stream = TcpStream::connect(&address).expect("a connection");
        stream.set_read_timeout(Some(ANSWER_MAX)).expect("a socket");
        let writing = BufWriter::new(stream.try_clone().expect("a socket"));
        let input = TBinaryInputProtocol::new(BufReader::new(stream), true);
        let output = TBinaryOutputProtocol::new(writing, true);
        Self {
            session: Session::new(input, output),
            address,
            version: 0,
        }
    }

    /// The checker's section.
    pub fn section(&self) -> String {
        format!("[writer.hbase]\nthrift = \"{}\"\n", self.address)
    }

    /// A table with these families.
    pub fn create(&mut self, table: &str, families: &[&str]) {
        let families = families.iter().map(|family| TColumnFamilyDescriptor {
            name: family.as_bytes().to_vec(),
            attributes: None,
            configuration: None,
            block_size: None,
            bloomn_filter_type: None,
            compression_type: None,
            dfs_replication: None,
            data_block_encoding: None,
            keep_deleted_cells: None,
            max_versions: Some(1),
            min_versions: None,
            scope: None,
            time_to_live: None,
            block_cache_enabled: None,
            cache_blooms_on_write: None,
            cache_data_on_write: None,
            cache_indexes_on_write: None,
            compress_tags: None,
            evict_blocks_on_close: None,
            in_memory: None,
        });
        let descriptor = TTableDescriptor {
            table_name: TTableName {
                ns: None,
                qualifier: table.as_bytes().to_vec(),
            },
            columns: Some(families.collect()),
            attributes: None,
            durability: None,
        };
        self.session.create_table(descriptor, Vec::new()).expect("a table");
    }

    /// Puts the cells of a row, each `x:<qualifier>` for family `x` or a qualifier of family `r`.
    pub fn put(&mut self, table: &str, row: &str, cells: &[(&str, &str)]) {
        let cells = cells.iter().map(|(name, value)| {
            let (family, qualifier) = name.strip_prefix("x:").map_or(("r", *name), |rest| ("x", rest));
            let [family, qualifier, value] = [family, qualifier, value].map(|text| text.as_bytes().to_vec());
            TColumnValue {
                family,
                qualifier,
                value,
                timestamp: None,
                tags: None,
                type_: None,
            }
        });
        self.version += 1;
        let put = TPut {
            row: row.as_bytes().to_vec(),
            column_values: cells.collect(),
            timestamp: Some(self.version),
            attributes: None,
            durability: None,
        };
        self.session.put(table.as_bytes().to_vec(), put).expect("a put");
    }

    /// Deletes a row, or one cell of family `r`.
    pub fn delete(&mut self, table: &str, row: &str, qualifier: Option<&str>) {
        self.version += 1;
        let column = |qualifier: &str| TColumn {
            family: b"r".to_vec(),
            qualifier: Some(qualifier.as_bytes().to_vec()),
            timestamp: None,
        };
        let delete = TDelete {
            row: row.as_bytes().to_vec(),
            columns: qualifier.map(|qualifier| vec![column(qualifier)]),
            timestamp: Some(self.version),
            delete_type: None,
            attributes: None,
            durability: None,
        };
        let deleted = self.session.delete_single(table.as_bytes().to_vec(), delete);
        deleted.expect("a delete");
    }
}
