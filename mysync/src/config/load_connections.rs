//! The checks of the sections that say how servers are reached.

use super::load::{Refusal, check_address, is_topic_text, require};
use super::{Config, Tls};

/// Bounds of `source.heartbeat_interval_ms`, unless it is 0.
const HEARTBEAT_INTERVAL_MS: std::ops::RangeInclusive<u64> = 100..=60_000;

pub(super) fn check(config: &Config) -> Result<(), Refusal> {
    let interval_ms = config.source.heartbeat_interval_ms;
    require(
        interval_ms == 0 || HEARTBEAT_INTERVAL_MS.contains(&interval_ms),
        "source.heartbeat_interval_ms",
        &interval_ms,
        "100 to 60000, or 0 for no heartbeat",
    )?;
    if let Some(tls) = &config.source.tls {
        check_tls(tls, ["source.tls.ca", "source.tls.certificate", "source.tls.key"])?;
    }
    if let Some(tls) = &config.kafka.tls {
        check_tls(tls, ["kafka.tls.ca", "kafka.tls.certificate", "kafka.tls.key"])?;
    }
    if let Some(sasl) = &config.kafka.sasl {
        require(
            !sasl.user.is_empty(),
            "kafka.sasl.user",
            &"an empty text",
            "the name of a Kafka account",
        )?;
        require(
            !sasl.password.is_empty(),
            "kafka.sasl.password",
            &"none",
            "one of password, password_env, password_file",
        )?;
    }
    if let Some(member) = &config.writer.member {
        let fits = (1..=200).contains(&member.len()) && is_topic_text(member);
        require(
            fits,
            "writer.member",
            member,
            "1 to 200 letters, digits, '.', '_' or '-'",
        )?;
    }
    let session_seconds = config.writer.session().as_secs();
    require(
        (6..=1_800).contains(&session_seconds),
        "writer.session_seconds",
        &session_seconds,
        "6 to 1800, within what the brokers allow (group.min.session.timeout.ms, group.max.session.timeout.ms)",
    )?;
    check_listens(config)
}

/// Each process has a place of its own to be asked at.
fn check_listens(config: &Config) -> Result<(), Refusal> {
    let mut taken = Vec::new();
    let reader = config
        .metrics
        .listen
        .as_deref()
        .map(|address| ("metrics.listen", address));
    let writers = config.writer.listens().into_iter().map(|(target, address)| {
        let key = match target {
            "redis" => "writer.redis.listen",
            "elasticsearch" => "writer.elasticsearch.listen",
            _ => "writer.hbase.listen",
        };
        (key, address)
    });
    for (key, address) in reader.into_iter().chain(writers) {
        check_address(key, address)?;
        let expected = "an address where no other process of this file listens";
        require(!taken.contains(&address), key, &address, expected)?;
        taken.push(address);
    }
    Ok(())
}

pub(super) fn check_tls(tls: &Tls, keys: [&'static str; 3]) -> Result<(), Refusal> {
    for (key, file) in keys.into_iter().zip([&tls.ca, &tls.certificate, &tls.key]) {
        if let Some(file) = file
            && let Err(error) = std::fs::File::open(file)
        {
            return Err((
                key,
                format!("{}: {error}", file.display()),
                "a PEM file that can be read",
            ));
        }
    }
    match (&tls.certificate, &tls.key) {
        (Some(_), None) => Err((keys[2], "none".into(), "the private key of the certificate")),
        (None, Some(_)) => Err((keys[1], "none".into(), "the certificate of the private key")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{TEMPLATE, Tls, TlsMode, parse};

    fn with(more: &str) -> String {
        let template = TEMPLATE.replace("password_env = \"MYSYNC_MYSQL_PASSWORD\"", "password = \"geheim\"");
        format!("{template}\n{more}")
    }

    #[test]
    fn a_section_without_keys_verifies_everything() {
        let config = parse(&with("[source.tls]\n[kafka.tls]\nmode = \"disabled\"\n"), "mysync.toml").unwrap();
        assert_eq!(
            Tls::used(config.source.tls.as_ref()).unwrap().mode,
            TlsMode::VerifyIdentity
        );
        assert!(Tls::used(config.kafka.tls.as_ref()).is_none());
    }

    #[test]
    fn every_refusal_names_file_key_wrong_and_expected() {
        let refused = |more: &str| parse(&with(more), "mysync.toml").unwrap_err().to_string();
        let errors = [
            refused("[source.tls]\nmode = \"VERIFY_CA\""),
            refused("[source.tls]\nca = \"no/such/file\""),
            refused("[kafka.tls]\ncertificate = \"/dev/null\""),
            refused("[kafka.tls]\nkey = \"/dev/null\""),
            refused("[kafka.sasl]\nmechanism = \"GSSAPI\"\nuser = \"u\""),
            refused("[kafka.sasl]\nmechanism = \"PLAIN\"\nuser = \"u\""),
            refused("[kafka.sasl]\nmechanism = \"PLAIN\"\nuser = \"u\"\npassword = \"geheim\"\npassword_file = \"x\""),
        ];
        insta::assert_snapshot!(errors.join("\n\n"));
        let changed = |changes: &[(&str, &str)]| {
            let mut text = with("");
            for (from, to) in changes {
                assert!(text.contains(from), "the template has no {from}");
                text = text.replace(from, to);
            }
            parse(&text, "mysync.toml").unwrap_err().to_string()
        };
        let reader = "# listen = \"127.0.0.1:9464\"";
        let writer = "# listen = \"127.0.0.1:9465\"";
        let errors = [
            changed(&[(reader, "listen = \"9464\"")]),
            changed(&[(writer, "listen = \"9465\"")]),
            changed(&[(reader, "listen = \"db:9464\""), (writer, "listen = \"db:9464\"")]),
            changed(&[("heartbeat_interval_ms = 1000", "heartbeat_interval_ms = 1")]),
            changed(&[("# member = \"writer-1\"", "member = \"writer 1\"")]),
            changed(&[("session_seconds = 20", "session_seconds = 5")]),
        ];
        insta::assert_snapshot!(errors.join("\n\n"));
    }
}
