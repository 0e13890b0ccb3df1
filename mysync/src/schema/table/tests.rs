//! Statements applied to tables, compared with what MySQL makes of them (the container test asks real servers).

use super::super::statement::{Change, Statement, classify};
use super::super::tokens::Quoting;
use super::*;

fn shown(table: &TableSchema) -> String {
    let column = |column: &Column| {
        let charset = column
            .charset
            .as_ref()
            .map(|charset| format!(" {charset}"))
            .unwrap_or_default();
        let nullable = match column.nullable {
            Some(true) => "",
            Some(false) => " not null",
            None => " either",
        };
        format!("{} {}{charset}{nullable}", column.name, column.sql_type)
    };
    let columns: Vec<String> = table.columns.iter().map(column).collect();
    format!("{} key({})", columns.join(", "), table.primary_key.join(", "))
}

fn change(text: &str) -> Change {
    match classify(text, "d", Quoting::default()) {
        Statement::Ddl(mut changes) => changes.remove(0).change,
        other => panic!("{text}: {other:?}"),
    }
}

fn create(text: &str) -> Result<TableSchema, Unclear> {
    match change(text) {
        Change::Create(create) => TableSchema::create(&create.columns, |_, _| None),
        other => panic!("{other:?}"),
    }
}

fn alter(table: &str, clauses: &str) -> Result<String, Unclear> {
    match change(&format!("ALTER TABLE t {clauses}")) {
        Change::Alter(clauses) => create(table).unwrap().alter(&clauses).map(|table| shown(&table)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn create_table_is_read_as_the_server_reads_it() {
    for (text, expected) in [
        (
            "CREATE TABLE `t` (`id` int(11) NOT NULL AUTO_INCREMENT, `name` varchar(20) DEFAULT 'x', PRIMARY KEY (`id`), \
             KEY `k` (`name`(5))) ENGINE=InnoDB AUTO_INCREMENT=4 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_0900_ai_ci COMMENT='x'",
            "id int not null, name varchar(20) utf8mb4 key(id)",
        ),
        (
            "CREATE TABLE t (a INT KEY, b TEXT CHARACTER SET latin1, c CHAR(3) COLLATE utf8_bin, d BLOB) CHARSET gbk",
            "a int not null, b text latin1, c char(3) utf8mb3, d blob key(a)",
        ),
        (
            "CREATE TABLE t (a INT, b INT, c VARCHAR(3), PRIMARY KEY (b, a)) /*!50100 PARTITION BY HASH (a) PARTITIONS 2 */",
            "a int not null, b int not null, c varchar(3) key(b, a)",
        ),
        (
            "CREATE TABLE t (a SERIAL, b TIMESTAMP, c TIMESTAMP NULL, d TIMESTAMP NOT NULL DEFAULT 0, PRIMARY KEY USING BTREE (a))",
            "a bigint unsigned not null, b timestamp either, c timestamp, d timestamp not null key(a)",
        ),
        (
            "CREATE TABLE t (a CHAR(3) BYTE, b VARCHAR(5) CHARACTER SET binary, c NCHAR(2), d ENUM('x','y ') ASCII) CHARSET=ucs2",
            "a binary(3), b varbinary(5), c char(2) utf8mb3, d enum('x','y') latin1 key()",
        ),
        (
            "CREATE TABLE t (a INT, b INT GENERATED ALWAYS AS (a + 1) STORED NOT NULL, c INT AS (a * (2)) VIRTUAL COMMENT 'x, y', \
             d INT INVISIBLE DEFAULT (1 + 2), CHECK (a > 0), CONSTRAINT x CHECK (b > 0) NOT ENFORCED)",
            "a int, b int not null, c int, d int key()",
        ),
    ] {
        assert_eq!(
            create(text).map(|table| shown(&table)),
            Ok(expected.to_owned()),
            "{text}"
        );
    }
    for unclear in [
        "CREATE TABLE t SELECT 1 AS a",
        "CREATE TABLE t (a INT) SELECT 1 AS b",
        "CREATE TABLE t (a INT) ENGINE=InnoDB AS SELECT 1 AS b",
        "CREATE TABLE t (a INT) PARTITION BY HASH (a) SELECT 1 AS b",
        "CREATE TABLE t (a MONEY)",
        "CREATE TABLE t (a INT WITH SOMETHING NEW)",
        "CREATE TABLE t (a ENUM('ü') CHARACTER SET latin1)",
        "CREATE TABLE t (a ENUM('ü'))",
        "CREATE TABLE t (a INT) CHARSET=klingon",
        "CREATE TABLE t (a INT, PRIMARY KEY (b))",
        "CREATE TABLE t LIKE u",
    ] {
        assert!(create(unclear).is_err(), "{unclear}");
    }
}

#[test]
fn alter_table_is_applied_as_the_server_applies_it() {
    let table =
        "CREATE TABLE t (id INT PRIMARY KEY, a INT, b VARCHAR(5), c ENUM('x') CHARACTER SET gbk) CHARSET latin1";
    let rest = "c enum('x') gbk key(id)";
    for (clauses, expected) in [
        (
            "ADD x INT",
            "id int not null, a int, b varchar(5) latin1, c enum('x') gbk, x int key(id)".to_owned(),
        ),
        (
            "ADD COLUMN x CHAR(2) FIRST",
            format!("x char(2) latin1, id int not null, a int, b varchar(5) latin1, {rest}"),
        ),
        (
            "ADD x INT AFTER A",
            format!("id int not null, a int, x int, b varchar(5) latin1, {rest}"),
        ),
        (
            "ADD x INT AFTER a, ADD y INT AFTER a, ADD z INT AFTER x",
            format!("id int not null, a int, y int, x int, z int, b varchar(5) latin1, {rest}"),
        ),
        (
            "ADD (x INT, y INT)",
            "id int not null, a int, b varchar(5) latin1, c enum('x') gbk, x int, y int key(id)".into(),
        ),
        ("DROP a", format!("id int not null, b varchar(5) latin1, {rest}")),
        (
            "DROP a, ADD a BIGINT UNSIGNED AFTER id",
            format!("id int not null, a bigint unsigned, b varchar(5) latin1, {rest}"),
        ),
        (
            "MODIFY a BIGINT",
            format!("id int not null, a bigint, b varchar(5) latin1, {rest}"),
        ),
        (
            "MODIFY id BIGINT",
            format!("id bigint not null, a int, b varchar(5) latin1, {rest}"),
        ),
        (
            "MODIFY a INT FIRST",
            format!("a int, id int not null, b varchar(5) latin1, {rest}"),
        ),
        (
            "MODIFY a INT AFTER b, ADD x INT FIRST",
            format!("x int, id int not null, b varchar(5) latin1, a int, {rest}"),
        ),
        (
            "MODIFY c ENUM('x','y')",
            "id int not null, a int, b varchar(5) latin1, c enum('x','y') latin1 key(id)".into(),
        ),
        (
            "CHANGE a A2 BIGINT, CHANGE COLUMN b a VARCHAR(9)",
            format!("id int not null, A2 bigint, a varchar(9) latin1, {rest}"),
        ),
        (
            "RENAME COLUMN a TO b, RENAME COLUMN b TO a",
            format!("id int not null, b int, a varchar(5) latin1, {rest}"),
        ),
        (
            "RENAME COLUMN id TO key_of",
            "key_of int not null, a int, b varchar(5) latin1, c enum('x') gbk key(key_of)".into(),
        ),
        (
            "CHANGE id i INT",
            "i int not null, a int, b varchar(5) latin1, c enum('x') gbk key(i)".into(),
        ),
        (
            "DROP INDEX `PRIMARY`, ADD PRIMARY KEY (a, b(3))",
            "id int either, a int not null, b varchar(5) latin1 not null, c enum('x') gbk key(a, b)".into(),
        ),
        (
            "DROP PRIMARY KEY, ADD PRIMARY KEY (a, b(3))",
            "id int either, a int not null, b varchar(5) latin1 not null, c enum('x') gbk key(a, b)".into(),
        ),
        (
            "CONVERT TO CHARACTER SET utf8mb4",
            "id int not null, a int, b varchar(5) utf8mb4, c enum('x') utf8mb4 key(id)".into(),
        ),
        (
            "DEFAULT CHARSET utf8, ADD x CHAR",
            "id int not null, a int, b varchar(5) latin1, c enum('x') gbk, x char(1) utf8mb3 key(id)".into(),
        ),
        (
            "ENGINE=InnoDB, ADD INDEX (a), ALGORITHM=COPY",
            format!("id int not null, a int, b varchar(5) latin1, {rest}"),
        ),
    ] {
        assert_eq!(alter(table, clauses), Ok(expected), "{clauses}");
    }
    for unclear in [
        "ADD x INT AFTER nothing",
        "ADD a INT",
        "DROP nothing",
        "DROP id",
        "RENAME COLUMN nothing TO x",
        "RENAME COLUMN a TO x, ADD y INT AFTER x",
        "RENAME COLUMN a TO x, MODIFY a BIGINT",
        "CHANGE a x INT, ADD y INT AFTER a",
        "ADD x MONEY",
        "MODIFY c ENUM('ü')",
        "CONVERT TO CHARACTER SET DEFAULT",
        "CONVERT TO CHARACTER SET utf8, ADD x CHAR(3) CHARACTER SET latin1",
        "SOMETHING NEW",
    ] {
        assert!(alter(table, unclear).is_err(), "{unclear}");
    }
}

#[test]
fn a_record_reads_back() {
    let table =
        create("CREATE TABLE t (id INT PRIMARY KEY, a ENUM('it''s','\\\\') CHARSET utf8, b TIMESTAMP(3), c TEXT(9))")
            .unwrap();
    let text = serde_json::to_string(&table).unwrap();
    assert_eq!(serde_json::from_str::<TableSchema>(&text).unwrap(), table, "{text}");
    insta::assert_snapshot!(text);
    assert!(serde_json::from_str::<TableSchema>(&text.replace("timestamp", "moment")).is_err());
    assert!(serde_json::from_str::<TableSchema>(&text.replace("primary_key", "key")).is_err());
}
