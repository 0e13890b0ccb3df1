//! A Redis that wants TLS, certificates and logins: the right ones are let in, and with wrong ones each error says what to do and
//! tells no secret. Needs Docker and the lab's images.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "redis/feed.rs"]
mod feed;

use feed::{Feed, PREFIX, Writer, change, parse, step, wait_for_rows};
use fixtures::{Lab, Redis};
use mysync::config::RedisWriter;
use mysync::error::{Error, Kind};
use mysync::target::Target;
use mysync::target::redis::RedisTarget;

const PASSWORD: &str = "geheim-of-redis-4711";

struct World {
    lab: Lab,
    tls: String,
    plain: String,
}

impl World {
    fn redis(&self) -> &Redis {
        self.lab.redis().unwrap()
    }

    /// A section with these lines, whose TLS has these.
    fn section(&self, address: &str, lines: &str, tls: Option<&str>) -> RedisWriter {
        let tls = tls.map_or(String::new(), |tls| format!("[writer.redis.tls]\n{tls}\n"));
        parse(
            &format!("[writer.redis]\n{tls}"),
            &format!("address = {address:?}\n{lines}"),
        )
    }

    fn file(&self, name: &str) -> String {
        self.lab.certificates().unwrap().file(name).display().to_string()
    }

    fn tls(&self, ca: &str, client: Option<&str>) -> String {
        let client = client.map_or(String::new(), |name| {
            let (certificate, key) = (self.file(&format!("{name}.pem")), self.file(&format!("{name}-key.pem")));
            format!("certificate = {certificate:?}\nkey = {key:?}")
        });
        format!("ca = {:?}\n{client}", self.file(ca))
    }

    async fn connect(&self, section: &RedisWriter) -> Result<(), Error> {
        RedisTarget::new(section, PREFIX)?.connect().await
    }

    /// A kind of none is any.
    async fn refused(&self, section: RedisWriter, kind: impl Into<Option<Kind>>, hint: &str) {
        let error = self.connect(&section).await.unwrap_err();
        let text = error.to_string();
        if let Some(kind) = kind.into() {
            assert_eq!(error.kind, kind, "{text}");
        }
        assert!(
            error.hint.is_some_and(|found| found.contains(hint)),
            "{hint} is not in: {text}"
        );
        for secret in [PASSWORD, "wrong-password"] {
            assert!(
                !text.contains(secret) && !format!("{section:?}").contains(secret),
                "{text}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_ones_are_let_in_and_with_wrong_ones_each_error_says_what_to_do() {
    let builder = Lab::builder().name("redis-connections").redis_tls();
    let lab = builder.start().await.unwrap();
    let redis = lab.redis().unwrap();
    let (tls, plain) = (redis.tls_address().unwrap(), redis.address());
    let world = World { lab, tls, plain };
    certificates(&world).await;
    users(&world).await;
    world.lab.down().await.unwrap();
}

async fn certificates(world: &World) {
    let good = world.tls("ca.pem", Some("client"));
    world
        .connect(&world.section(&world.tls, "", Some(&good)))
        .await
        .unwrap();
    let elsewhere = world.tls.replace("127.0.0.1", "localhost");
    let lax = format!("mode = \"verify-ca\"\n{good}");
    world.connect(&world.section(&elsewhere, "", Some(&lax))).await.unwrap();

    let stranger = world.tls("other-ca.pem", Some("client"));
    for (address, tls, kind, hint) in [
        (
            &world.tls,
            Some(&stranger),
            Some(Kind::Configuration),
            "check writer.redis.tls.ca, the host in the address, or mode",
        ),
        (
            &elsewhere,
            Some(&good),
            Some(Kind::Configuration),
            "check writer.redis.tls.ca, the host in the address, or mode",
        ),
        (
            &world.tls,
            Some(&world.tls("ca.pem", None)),
            Some(Kind::Configuration),
            "writer.redis.tls.certificate and key",
        ),
        (
            &world.tls,
            Some(&world.tls("ca.pem", Some("other-client"))),
            Some(Kind::Configuration),
            "writer.redis.tls.certificate and key",
        ),
        (&world.plain, Some(&good), None, "tls-port"),
        (
            &world.tls,
            None,
            Some(Kind::Transient),
            "[writer.redis.tls] is missing?",
        ),
    ] {
        world
            .refused(world.section(address, "", tls.map(String::as_str)), kind, hint)
            .await;
    }
}

async fn users(world: &World) {
    let redis = world.redis();
    // Exactly what the error's hint says.
    let commands =
        "+get +mget +set +setrange +del +hset +hlen +hkeys +hdel +expire +persist +evalsha +script|load +select";
    let rule = format!("ACL SETUSER mysync on >{PASSWORD} resetkeys ~shop:* ~__mysync:* {commands}");
    redis.command::<()>(&rule).await.unwrap();
    redis.command::<()>("ACL SETUSER idle on >geheim +ping").await.unwrap();
    let good = world.tls("ca.pem", Some("client"));
    let section = |user: &str, password: &str| {
        let lines = format!("user = {user:?}\npassword = {password:?}\nttl_seconds = 1000\ndatabase = 0");
        world.section(&world.tls, &lines, Some(&good))
    };
    let feed = Feed::new();
    feed.make(500);
    let writer = Writer::start(&section("mysync", PASSWORD), &feed);
    wait_for_rows(&world.lab, &feed).await;
    writer.stop().await;

    let login = "check writer.redis.user and password";
    world
        .refused(section("mysync", "wrong-password"), Kind::Configuration, login)
        .await;
    world
        .refused(section("nobody", PASSWORD), Kind::Configuration, login)
        .await;
    world
        .refused(section("idle", "geheim"), Kind::Configuration, "+evalsha +script|load")
        .await;

    // A command or a key too few stops the writer, and says which.
    redis.command::<()>("ACL SETUSER mysync -hset").await.unwrap();
    refused_change(&section("mysync", PASSWORD), "hset").await;
    redis
        .command::<()>("ACL SETUSER mysync +hset resetkeys ~other:* ~__mysync:*")
        .await
        .unwrap();
    refused_change(&section("mysync", PASSWORD), "key").await;

    // The default user, with a password and without its right.
    redis
        .command::<()>(&format!("CONFIG SET requirepass {PASSWORD}"))
        .await
        .unwrap();
    world
        .refused(world.section(&world.plain, "", None), Kind::Configuration, login)
        .await;
    let right = format!("password = {PASSWORD:?}");
    world.connect(&world.section(&world.plain, &right, None)).await.unwrap();
}

async fn refused_change(section: &RedisWriter, names: &str) {
    let mut target = RedisTarget::new(section, "acl").unwrap();
    target.connect().await.unwrap();
    let row = change(1, 1, Some(r#"{"id":1}"#));
    let error = target.apply(&[step(None, 1, vec![row])]).await.unwrap_err();
    let text = error.to_string();
    assert_eq!(error.kind, Kind::Configuration, "{text}");
    assert!(text.contains("+hset") && text.to_lowercase().contains(names), "{text}");
    assert!(!text.contains(PASSWORD), "{text}");
}
