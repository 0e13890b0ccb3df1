//! Character sets: every code of every character set through the server, against the decoder. This is where the tables and the
//! exceptions of the decoder come from, and what proves them for each server version.

use mysync::decode::Charset;

use super::capture::Bench;

/// Byte sequences to convert: all single bytes, all pairs from 0x80, triples behind 0x8f.
const CODES: &str = "INSERT INTO code SELECT x, UNHEX(LPAD(HEX(x), 4, '0')) FROM \
    (SELECT a.i * 4096 + b.i * 256 + c.i * 16 + d.i x FROM digit a, digit b, digit c, digit d) numbers";
/// All that look like a character of four bytes of gb18030.
const FOUR_BYTES: &str = "SELECT CONCAT(high.b, low.b) b FROM \
    (SELECT b FROM code WHERE n DIV 256 BETWEEN 0x81 AND 0xfe AND n MOD 256 BETWEEN 0x30 AND 0x39) high, \
    (SELECT b FROM code WHERE n DIV 256 BETWEEN 0x81 AND 0xfe AND n MOD 256 BETWEEN 0x30 AND 0x39) low";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2)
        .map(|index| u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).unwrap())
        .collect()
}

/// The text that the server made of a code, unless it stands for none: then it is NULL, empty, has a question mark that was
/// not put in, or (a lone surrogate) is no UTF-8.
fn text_of_server(code: &[u8], question_marks_possible: bool, converted: Option<&str>) -> Option<String> {
    let text = String::from_utf8(bytes(converted?)).ok()?;
    let put_in = if question_marks_possible {
        code.iter().filter(|byte| **byte == b'?').count()
    } else {
        usize::MAX
    };
    let found = text.matches('?').count();
    (!text.is_empty() && (found == put_in || (!question_marks_possible && (found == 0 || code.contains(&b'?')))))
        .then_some(text)
}

async fn sweep(bench: &mut Bench, name: &str, charset: Charset, codes: &str) -> usize {
    let query = format!("SELECT HEX(b), HEX(CONVERT(CONVERT(b USING {name}) USING utf8mb4)) FROM ({codes}) codes");
    let rows = bench.rows(&query).await;
    let has_ascii = !matches!(name, "ucs2" | "utf16" | "utf16le" | "utf32");
    let mut wrong = Vec::new();
    for row in &rows {
        let code = bytes(row[0].as_ref().unwrap());
        let server = text_of_server(&code, has_ascii, row[1].as_deref());
        let ours = charset.decode_to_string(&code).ok();
        if ours != server {
            wrong.push(format!("{code:02x?}: decoded {ours:?}, server {server:?}"));
        }
    }
    let shown = &wrong[..wrong.len().min(20)];
    assert!(
        wrong.is_empty(),
        "{} codes of {name} differ:\n{}",
        wrong.len(),
        shown.join("\n")
    );
    rows.len()
}

async fn every_charset(version: &str) {
    let mut bench = Bench::start(version).await;
    bench.run("CREATE TABLE digit (i INT)").await;
    bench
        .run("INSERT INTO digit VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9),(10),(11),(12),(13),(14),(15)")
        .await;
    bench.run("CREATE TABLE code (n INT PRIMARY KEY, b VARBINARY(2))").await;
    bench.run(CODES).await;
    let collations = bench
        .rows("SELECT ID, CHARACTER_SET_NAME, IS_DEFAULT FROM information_schema.COLLATIONS ORDER BY ID")
        .await;
    let (mut charsets, mut codes) = (0, 0);
    for row in &collations {
        let id: u16 = row[0].as_ref().unwrap().parse().unwrap();
        let name = row[1].as_deref().unwrap();
        let charset = Charset::of_collation(id);
        assert_eq!(
            charset.name(),
            if name == "utf8" { "utf8mb3" } else { name },
            "collation {id}"
        );
        if row[2].as_deref() != Some("Yes") || name == "binary" {
            continue;
        }
        charsets += 1;
        let wide = matches!(name, "ucs2" | "utf16" | "utf16le");
        if !wide && name != "utf32" {
            codes += sweep(
                &mut bench,
                name,
                charset,
                "SELECT RIGHT(b, 1) b FROM code WHERE n < 256",
            )
            .await;
        }
        match name {
            "ucs2" | "utf16" | "utf16le" => codes += sweep(&mut bench, name, charset, "SELECT b FROM code").await,
            "utf32" => {
                for plane in ["0000", "0001", "0002", "0010"] {
                    let planes = format!("SELECT CONCAT(UNHEX('{plane}'), b) b FROM code");
                    codes += sweep(&mut bench, name, charset, &planes).await;
                }
            }
            // Their bytes from 0xa1 to 0xdf are characters of their own, and MySQL cuts off half a character behind one.
            "cp932" | "sjis" => {
                let pairs = "SELECT b FROM code WHERE n >= 32768 AND n DIV 256 NOT BETWEEN 0xa1 AND 0xdf";
                codes += sweep(&mut bench, name, charset, pairs).await;
            }
            "big5" | "eucjpms" | "euckr" | "gb18030" | "gb2312" | "gbk" | "ujis" => {
                codes += sweep(&mut bench, name, charset, "SELECT b FROM code WHERE n >= 32768").await;
            }
            _ => {}
        }
        if matches!(name, "ujis" | "eucjpms") {
            codes += sweep(
                &mut bench,
                name,
                charset,
                "SELECT CONCAT(UNHEX('8f'), b) b FROM code WHERE n >= 32768",
            )
            .await;
        }
        if name == "gb18030" {
            codes += sweep(&mut bench, name, charset, FOUR_BYTES).await;
        }
    }
    println!(
        "{codes} codes of {charsets} character sets, {} collations agree",
        collations.len()
    );
    bench.lab.down().await.unwrap();
}

#[tokio::test]
async fn every_code_of_every_charset_of_8_0() {
    every_charset("8.0").await;
}

#[tokio::test]
async fn every_code_of_every_charset_of_9_7() {
    every_charset("9.7").await;
}

#[tokio::test]
async fn every_code_of_every_charset_of_5_6() {
    every_charset("5.6").await;
}
