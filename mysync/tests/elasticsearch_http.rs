//! The target Elasticsearch against a server that answers what a test wants: what is sent again, cut in halves, refused or given
//! up, several nodes, accounts and TLS. The lab's servers have neither accounts nor TLS.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "elasticsearch/fake.rs"]
mod fake;
#[path = "elasticsearch/world.rs"]
mod world;

use fake::{Asked, Fake, results};
use mysync::config;
use mysync::error::{Error, Kind, Result};
use mysync::target::columns::ColumnKind;
use mysync::target::elasticsearch::ElasticsearchTarget;
use mysync::target::{Outcome, Target};
use native_tls::{Identity, TlsAcceptor};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use world::{Types, change, partition, step, table};

const TOPIC: &str = "p.shop.a";

fn target(urls: &[String], more: &str) -> Result<ElasticsearchTarget<Types>> {
    let source = "[source]\nservers = [\"127.0.0.1:1\"]\nuser = \"u\"\nserver_id = 1\ntables = [\"*.*\"]\n";
    let kafka = "[kafka]\nbrokers = [\"127.0.0.1:1\"]\nprefix = \"p\"\n";
    let text = format!("{source}{kafka}[writer.elasticsearch]\nurls = {urls:?}\n{more}");
    let config = config::parse(&text, "test.toml")?;
    let types = Types::default();
    types.set("shop.a", &[("id", ColumnKind::Integer)]);
    ElasticsearchTarget::new(&config.writer.elasticsearch.unwrap(), "p", types)
}

fn url(fake: &Fake) -> String {
    format!("http://127.0.0.1:{}", fake.port)
}

/// Applies a step of so many rows, and perhaps one that is larger than the store takes.
async fn apply(target: &mut ElasticsearchTarget<Types>, rows: usize, row_bytes: usize) -> Result<Outcome> {
    target.connect().await?;
    target.cursors(&[partition(TOPIC)]).await?;
    let row = |id: usize| {
        let text = format!("{{\"id\":{id},\"note\":\"{}\"}}", "x".repeat(row_bytes));
        change(&table("shop.a"), &id.to_string(), Some(&text), 10)
    };
    let outcomes = target
        .apply(&[step(TOPIC, None, 10, (0..rows).map(row).collect())])
        .await?;
    Ok(outcomes.into_iter().next().unwrap())
}

fn documents(asked: &Asked) -> Vec<usize> {
    let ids = asked.body.lines().step_by(2).map(|line| {
        let action: serde_json::Value = serde_json::from_str(line).unwrap();
        action["index"]["_id"].as_str().unwrap().parse().unwrap()
    });
    ids.collect()
}

fn is_rows(asked: &Asked) -> bool {
    asked.path.starts_with("/_bulk") && !asked.body.contains("mysync~cursors")
}

#[tokio::test]
async fn only_what_was_too_much_is_sent_again() {
    let busy = r#"{"status":429,"error":{"type":"es_rejected_execution_exception","reason":"queue full"}}"#;
    let fake = Fake::start(None, move |asked, bulks| {
        let status_503 = (
            503,
            "{\"error\":{\"type\":\"unavailable_shards_exception\"}}".to_owned(),
        );
        match bulks {
            0 if is_rows(asked) => Some(status_503),
            1 if is_rows(asked) => Some((
                200,
                results(asked, |place| match place {
                    1 | 3 => busy.to_owned(),
                    _ => "{\"status\":201}".to_owned(),
                }),
            )),
            _ => None,
        }
    })
    .await;
    let outcome = apply(&mut target(&[url(&fake)], "").unwrap(), 5, 1).await.unwrap();
    assert!(matches!(outcome, Outcome::Applied), "{outcome:?}");
    let sent: Vec<Vec<usize>> = fake.bulks().iter().map(documents).collect();
    assert_eq!(sent, [vec![0, 1, 2, 3, 4], vec![0, 1, 2, 3, 4], vec![1, 3]]);
    let first = &fake.bulks()[0];
    assert!(first.path.contains("require_alias=true"), "{}", first.path);
    assert!(first.body.starts_with(
        "{\"index\":{\"_index\":\"shop.a\",\"_id\":\"0\",\"version\":10,\"version_type\":\"external_gte\"}}\n{\"id\":0,"
    ));
    // The cursor moves last.
    let last = fake.asked().pop().unwrap();
    assert!(
        last.body
            .contains("{\"create\":{\"_index\":\"mysync~cursors\",\"_id\":\"p.elasticsearch:p.shop.a:0\"}}")
    );
    assert!(
        last.body.contains("\"cursor\":\"10 10\"") && last.body.contains("\"shop.a~rows\":\"u\""),
        "{last:?}"
    );
}

#[tokio::test]
async fn what_is_too_large_together_is_cut_and_too_large_alone_is_refused() {
    // By the store's own limit of 2000 bytes, told beforehand.
    let fake = Fake::start(None, |_, _| None).await;
    let outcome = apply(&mut target(&[url(&fake)], "").unwrap(), 9, 300).await.unwrap();
    assert!(matches!(outcome, Outcome::Applied), "{outcome:?}");
    assert!(fake.bulks().iter().all(|asked| asked.body.len() <= 2_000));
    let mut sent: Vec<usize> = fake.bulks().iter().flat_map(documents).collect();
    sent.sort_unstable();
    assert_eq!(sent, (0..9).collect::<Vec<_>>());

    let refusal = |outcome: Outcome| match outcome {
        Outcome::Refused(error) => error.to_string(),
        Outcome::Applied => panic!("applied"),
    };
    let text = refusal(apply(&mut target(&[url(&fake)], "").unwrap(), 1, 3_000).await.unwrap());
    assert!(
        text.contains("larger than the store takes") && text.contains("id=0"),
        "{text}"
    );
    assert!(text.contains("http.max_content_length"), "{text}");
    // The cursor was moved by the first round, and not by the refused one.
    let moves = fake
        .asked()
        .iter()
        .filter(|asked| asked.body.contains("mysync~cursors"))
        .count();
    assert_eq!(moves, 1);

    // By something in between that is stricter.
    let fake = Fake::start(None, |asked, _| {
        (is_rows(asked) && asked.body.len() > 900).then(|| (413, "<html>too large</html>".to_owned()))
    })
    .await;
    let outcome = apply(&mut target(&[url(&fake)], "").unwrap(), 4, 300).await.unwrap();
    assert!(matches!(outcome, Outcome::Applied), "{outcome:?}");
    let text = refusal(apply(&mut target(&[url(&fake)], "").unwrap(), 2, 900).await.unwrap());
    assert!(text.contains("status 413"), "{text}");
}

#[tokio::test]
async fn another_version_counts_only_if_it_is_ours_or_later() {
    let conflict = r#"{"status":409,"error":{"type":"version_conflict_engine_exception","reason":"r"}}"#;
    let with_versions = |docs: &'static str| {
        move |asked: &Asked, bulks: usize| match asked.path.split('?').next() {
            Some("/_bulk") if is_rows(asked) && bulks == 0 => Some((200, results(asked, |_| conflict.to_owned()))),
            Some("/_mget") => Some((200, format!("{{\"docs\":{docs}}}"))),
            _ => None,
        }
    };
    let docs =
        r#"[{"found":true,"_version":10},{"found":true,"_version":11},{"found":true,"_version":9},{"found":false}]"#;
    let fake = Fake::start(None, with_versions(docs)).await;
    let outcome = apply(&mut target(&[url(&fake)], "").unwrap(), 4, 1).await.unwrap();
    assert!(matches!(outcome, Outcome::Applied), "{outcome:?}");
    let sent: Vec<Vec<usize>> = fake.bulks().iter().map(documents).collect();
    assert_eq!(sent, [vec![0, 1, 2, 3], vec![2, 3]]);

    let gone = r#"[{"_id":"0","error":{"type":"index_not_found_exception","reason":"no"}}]"#;
    let fake = Fake::start(None, with_versions(gone)).await;
    let error = apply(&mut target(&[url(&fake)], "").unwrap(), 1, 1).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
}

#[tokio::test]
async fn errors_of_the_cluster_are_what_they_are() {
    for (status, body, kind, expected) in [
        (401, "Unauthorized", Kind::Configuration, "api_key"),
        (
            403,
            r#"{"error":{"type":"security_exception","reason":"no"}}"#,
            Kind::Configuration,
            "create_index",
        ),
        (
            503,
            r#"{"error":{"type":"cluster_block_exception","reason":"no master"}}"#,
            Kind::Transient,
            "no master",
        ),
        (200, "<html>hello</html>", Kind::Definite, "writer.elasticsearch.urls"),
        (200, "{}", Kind::Definite, "tells no version"),
    ] {
        let fake = Fake::start(None, move |asked, _| {
            (asked.path == "/").then(|| (status, body.to_owned()))
        })
        .await;
        let error = apply(&mut target(&[url(&fake)], "").unwrap(), 1, 1).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let item = |kind: &str| format!("{{\"status\":403,\"error\":{{\"type\":\"{kind}\",\"reason\":\"r\"}}}}");
    for (kind, expected) in [
        ("cluster_block_exception", Kind::Transient),
        ("security_exception", Kind::Configuration),
    ] {
        let result = item(kind);
        let fake = Fake::start(None, move |asked, _| {
            is_rows(asked).then(|| (200, results(asked, |_| result.clone())))
        })
        .await;
        let error = apply(&mut target(&[url(&fake)], "").unwrap(), 2, 1).await.unwrap_err();
        assert_eq!(error.kind, expected, "{error}");
    }
}

#[tokio::test]
async fn a_node_that_is_gone_is_passed_over() {
    let fake = Fake::start(None, |_, _| None).await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let urls = [format!("http://{gone}"), url(&fake)];
    let outcome = apply(&mut target(&urls, "").unwrap(), 3, 1).await.unwrap();
    assert!(matches!(outcome, Outcome::Applied), "{outcome:?}");
    let error = apply(&mut target(&urls[..1], "").unwrap(), 1, 1).await.unwrap_err();
    assert!(
        error.is_transient() && error.to_string().contains("is Elasticsearch up?"),
        "{error}"
    );
}

#[tokio::test]
async fn accounts_and_keys_are_sent_and_never_told() {
    let allowed = |asked: &Asked, _| {
        let known = ["Basic bXlzeW5jOmdlaGVpbQ==", "ApiKey Z2VoZWltOmdlaGVpbQ=="];
        let login = asked.authorization.as_deref();
        login
            .is_none_or(|login| !known.contains(&login))
            .then(|| (401, "who?".to_owned()))
    };
    let fake = Fake::start(None, allowed).await;
    for more in [
        "user = \"mysync\"\npassword = \"geheim\"\n",
        "api_key = \"Z2VoZWltOmdlaGVpbQ==\"\n",
    ] {
        let mut target = target(&[url(&fake)], more).unwrap();
        apply(&mut target, 1, 1).await.unwrap();
        assert!(!format!("{target:?}").contains("geheim"));
    }
    let wrong = "user = \"mysync\"\npassword = \"geheimnis\"\n";
    let error = apply(&mut target(&[url(&fake)], wrong).unwrap(), 1, 1)
        .await
        .unwrap_err();
    assert_eq!(error.kind, Kind::Configuration);
    assert!(!error.to_string().contains("geheim"), "{error}");
    let error = target(&[url(&fake)], "api_key = \"geheim\\u0007\"\n").unwrap_err();
    assert!(
        !error.to_string().contains("geheim") && error.to_string().contains("api_key"),
        "{error}"
    );
}

struct Family {
    folder: std::path::PathBuf,
    acceptor: Identity,
}

/// An authority, and certificates by it: a server's for `host`, and a client's.
fn family(name: &str, host: &str) -> Family {
    let folder = std::env::temp_dir().join(format!("mysync-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    // The same name as that of what it signs would make that look like a certificate that signs itself.
    params
        .distinguished_name
        .push(DnType::CommonName, format!("authority {name}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    std::fs::write(folder.join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    let signed = |hosts: Vec<String>| {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(hosts).unwrap().signed_by(&key, &issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    };
    let (certificate, key) = signed(Vec::new());
    std::fs::write(folder.join("client.pem"), certificate).unwrap();
    std::fs::write(folder.join("client-key.pem"), key).unwrap();
    let (certificate, key) = signed(vec![host.to_owned()]);
    Family {
        folder,
        acceptor: Identity::from_pkcs8(certificate.as_bytes(), key.as_bytes()).unwrap(),
    }
}

#[tokio::test]
async fn certificates_are_verified_as_the_mode_says() {
    let (here, there) = (family("here", "127.0.0.1"), family("there", "elsewhere.example"));
    let other = family("other", "127.0.0.1");
    let serve = async |family: &Family| {
        let acceptor = TlsAcceptor::new(family.acceptor.clone()).unwrap();
        let fake = Fake::start(Some(acceptor), |_, _| None).await;
        format!("https://127.0.0.1:{}", fake.port)
    };
    let (at_here, at_there) = (serve(&here).await, serve(&there).await);
    let connect = async |url: &String, section: String| -> Result<(), Error> {
        let mut target = target(std::slice::from_ref(url), &section)?;
        target.connect().await
    };
    let section = |family: &Family, mode: &str| {
        let file = |name: &str| family.folder.join(name).display().to_string();
        format!(
            "[writer.elasticsearch.tls]\nmode = \"{mode}\"\nca = {:?}\ncertificate = {:?}\nkey = {:?}\n",
            file("ca.pem"),
            file("client.pem"),
            file("client-key.pem")
        )
    };
    for (url, section, good) in [
        (&at_here, section(&here, "verify-identity"), true),
        (&at_here, section(&other, "verify-identity"), false),
        (&at_here, String::new(), false),
        (&at_there, section(&there, "verify-identity"), false),
        (&at_there, section(&there, "verify-ca"), true),
        (&at_there, section(&other, "verify-ca"), false),
        (&at_there, section(&other, "required"), true),
    ] {
        match connect(url, section.clone()).await {
            Ok(()) => assert!(good, "{section}"),
            Err(error) => {
                assert!(!good, "{section}{error}");
                assert_eq!(error.kind, Kind::Configuration, "{error}");
                assert!(error.to_string().contains("[writer.elasticsearch.tls]"), "{error}");
            }
        }
    }
    for family in [here, there, other] {
        std::fs::remove_dir_all(family.folder).unwrap();
    }
}
