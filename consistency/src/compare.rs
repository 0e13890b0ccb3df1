//! One row of MySQL against one row of a store: equal, or which columns are not.

use xxhash_rust::xxh3::Xxh3;

use crate::report::{ColumnDifference, Finding, FindingKind};
use crate::store::StoredRow;
use crate::table::{Key, Row, Table};

/// Bytes of a value that a finding quotes at most.
const VALUE_BYTES_MAX: usize = 64 << 10;

/// Whether both sides hold the same row, or neither holds one.
pub fn agree(mysql: Option<&Row>, stored: Option<&StoredRow>) -> bool {
    match (mysql, stored) {
        (None, None) => true,
        (Some(row), Some(stored)) => stored.unreadable.is_none() && stored.surplus.is_empty() && stored.values == *row,
        _ => false,
    }
}

/// Where a row stands.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// The store's name.
    pub store: &'a str,
    /// The table.
    pub table: &'a Table,
    /// The row's key; none for a key of the store that no row of the table can have.
    pub key: Option<&'a Key>,
    /// As the store spells it.
    pub store_key: &'a [u8],
}

/// Says in which way the two sides differ; none when they do not.
pub fn finding(place: Place<'_>, mysql: Option<&Row>, stored: Option<&StoredRow>) -> Option<Finding> {
    let table = place.table;
    if agree(mysql, stored) {
        return None;
    }
    let (kind, columns) = match (mysql, stored) {
        (Some(row), Some(stored)) => (FindingKind::Different, differences(table, row, stored)),
        (Some(_), None) => (FindingKind::Missing, Vec::new()),
        (None, _) => (FindingKind::Extra, Vec::new()),
    };
    Some(Finding {
        store: place.store.to_owned(),
        kind,
        table: table.full_name(),
        key: table
            .key_columns()
            .zip(place.key.into_iter().flatten())
            .map(|(column, part)| (column.name.clone(), shown(part)))
            .collect(),
        store_key: shown(place.store_key),
        columns,
        unreadable: stored.and_then(|stored| stored.unreadable.clone()),
    })
}

/// A digest of a row of MySQL's; an absent row has one too.
pub fn digest_of_row(row: Option<&Row>) -> u128 {
    let mut hasher = Xxh3::new();
    match row {
        None => hasher.update(b"absent"),
        Some(row) => digest_values(&mut hasher, row),
    }
    hasher.digest128()
}

/// A digest of a store's row: that of MySQL's row when they agree.
pub fn digest_of_stored(stored: Option<&StoredRow>) -> u128 {
    let Some(stored) = stored else {
        return digest_of_row(None);
    };
    let mut hasher = Xxh3::new();
    digest_values(&mut hasher, &stored.values);
    for (name, value) in &stored.surplus {
        hasher.update(name.as_bytes());
        hasher.update(&[0]);
        digest_values(&mut hasher, std::slice::from_ref(&Some(value.clone())));
    }
    if let Some(reason) = &stored.unreadable {
        hasher.update(reason.as_bytes());
    }
    hasher.digest128()
}

fn digest_values(hasher: &mut Xxh3, values: &[Option<Vec<u8>>]) {
    for value in values {
        match value {
            None => hasher.update(&[0]),
            Some(text) => {
                hasher.update(&[1]);
                hasher.update(&(text.len() as u64).to_le_bytes());
                hasher.update(text);
            }
        }
    }
}

fn differences(table: &Table, row: &Row, stored: &StoredRow) -> Vec<ColumnDifference> {
    if stored.unreadable.is_some() {
        return Vec::new();
    }
    let columns = table.columns.iter().zip(row.iter().zip(&stored.values));
    let differing = columns
        .filter(|(_, (mysql, store))| mysql != store)
        .map(|(column, (mysql, store))| ColumnDifference {
            name: column.name.clone(),
            mysql: mysql.as_deref().map(shown),
            store: store.as_deref().map(shown),
        });
    let surplus = stored.surplus.iter().map(|(name, value)| ColumnDifference {
        name: name.clone(),
        mysql: None,
        store: Some(shown(value)),
    });
    differing.chain(surplus).collect()
}

/// As text; bytes that are not UTF-8 show as replacement characters, and what is very long is cut.
fn shown(value: &[u8]) -> String {
    match value.get(..VALUE_BYTES_MAX) {
        Some(beginning) if value.len() > VALUE_BYTES_MAX => {
            format!("{}... ({} bytes)", String::from_utf8_lossy(beginning), value.len())
        }
        _ => String::from_utf8_lossy(value).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::Kind;
    use crate::table::Column;

    fn table() -> Table {
        let column = |name: &str, kind| Column::plain(name, kind);
        Table {
            number: 0,
            database: "bank".into(),
            name: "accounts".into(),
            columns: vec![column("id", Kind::Integer), column("owner", Kind::Characters)],
            key: vec![0],
            key_is_primary: true,
            rows_estimate: 0,
        }
    }

    fn row(owner: Option<&str>) -> Row {
        vec![Some(b"7".to_vec()), owner.map(|owner| owner.as_bytes().to_vec())]
    }

    fn stored(owner: Option<&str>) -> StoredRow {
        StoredRow {
            values: row(owner),
            ..StoredRow::default()
        }
    }

    fn found(mysql: Option<&Row>, stored: Option<&StoredRow>) -> Option<Finding> {
        let place = Place {
            store: "redis",
            table: &table(),
            key: Some(&vec![b"7".to_vec()]),
            store_key: b"bank:accounts:7",
        };
        finding(place, mysql, stored)
    }

    #[test]
    fn null_is_not_the_empty_string() {
        let finding = found(Some(&row(None)), Some(&stored(Some("")))).expect("a difference");
        assert_eq!(finding.kind, FindingKind::Different);
        assert_eq!(finding.columns.len(), 1);
        assert_eq!(
            (finding.columns[0].mysql.as_deref(), finding.columns[0].store.as_deref()),
            (None, Some(""))
        );
        assert_eq!(found(Some(&row(None)), Some(&stored(None))), None);
    }

    #[test]
    fn either_side_alone_is_a_finding() {
        assert_eq!(
            found(Some(&row(None)), None).expect("a difference").kind,
            FindingKind::Missing
        );
        assert_eq!(
            found(None, Some(&stored(None))).expect("a difference").kind,
            FindingKind::Extra
        );
        assert_eq!(found(None, None), None);
    }

    #[test]
    fn what_is_no_column_differs() {
        let surplus = StoredRow {
            surplus: vec![("ghost".into(), b"x".to_vec())],
            ..stored(None)
        };
        let finding = found(Some(&row(None)), Some(&surplus)).expect("a difference");
        assert_eq!(finding.columns[0].name, "ghost");
        let unreadable = StoredRow {
            unreadable: Some("WRONGTYPE".into()),
            ..StoredRow::default()
        };
        assert!(
            found(Some(&row(None)), Some(&unreadable))
                .expect("a difference")
                .unreadable
                .is_some()
        );
    }

    #[test]
    fn digests_agree_exactly_when_rows_do() {
        assert_eq!(
            digest_of_row(Some(&row(Some("a")))),
            digest_of_stored(Some(&stored(Some("a"))))
        );
        assert_ne!(
            digest_of_row(Some(&row(None))),
            digest_of_stored(Some(&stored(Some(""))))
        );
        assert_eq!(digest_of_row(None), digest_of_stored(None));
        assert_ne!(digest_of_row(None), digest_of_row(Some(&Vec::new())));
        let surplus = StoredRow {
            surplus: vec![("ghost".into(), b"x".to_vec())],
            ..stored(None)
        };
        assert_ne!(digest_of_stored(Some(&surplus)), digest_of_stored(Some(&stored(None))));
    }
}
