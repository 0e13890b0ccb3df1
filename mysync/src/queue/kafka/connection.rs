//! How our clients connect to the brokers, and what it means when they are not let in.
//!
//! The library tries again for ever, whatever a broker says, and a call that waited only knows that its time is over. Why is
//! in events and log lines beside it. So the question for the cluster's metadata, which every other use of the cluster
//! follows on, listens to these: a broker that refuses certificate or password makes a definite error with the broker's words.

use super::{ANSWER_TIMEOUT, KafkaQueue, sort};
use crate::config::{self, Tls, TlsMode};
use crate::error::{Error, Result};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::{ClientConfig, ClientContext};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a question that waits looks for a refusal.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Encryption and login.
pub(super) fn secure(config: &mut ClientConfig, kafka: &config::Kafka) {
    let tls = Tls::used(kafka.tls.as_ref());
    let protocol = match (tls.is_some(), kafka.sasl.is_some()) {
        (false, false) => "plaintext",
        (true, false) => "ssl",
        (false, true) => "sasl_plaintext",
        (true, true) => "sasl_ssl",
    };
    config.set("security.protocol", protocol);
    if let Some(tls) = tls {
        let verifies_name = tls.mode == TlsMode::VerifyIdentity;
        let verifies = tls.mode != TlsMode::Required;
        config
            .set("enable.ssl.certificate.verification", verifies.to_string())
            .set(
                "ssl.endpoint.identification.algorithm",
                if verifies_name { "https" } else { "none" },
            );
        if let Some(ca) = &tls.ca {
            config.set("ssl.ca.location", ca.display().to_string());
        }
        if let Some((certificate, key)) = tls.identity() {
            config
                .set("ssl.certificate.location", certificate.display().to_string())
                .set("ssl.key.location", key.display().to_string());
        }
    }
    if let Some(sasl) = &kafka.sasl {
        config
            .set("sasl.mechanism", sasl.mechanism.name())
            .set("sasl.username", &sasl.user)
            .set("sasl.password", sasl.password.reveal());
    }
}

/// The brokers, and the partitions of one topic or of all.
pub(super) async fn metadata(queue: &KafkaQueue, topic: Option<&str>) -> Result<Metadata> {
    let consumer: BaseConsumer<Listening> = queue
        .client_config()
        // Some reasons are only notices.
        .set("log_level", "6")
        .create_with_context(Listening::default())
        .map_err(|error| sort(&error, "cannot make a Kafka client"))?;
    let topic = topic.map(str::to_owned);
    let brokers = queue.config.kafka.brokers.join(", ");
    let asked = tokio::task::spawn_blocking(move || ask(&consumer, topic.as_deref(), &brokers)).await;
    asked.map_err(Error::transient_join)?
}

/// An error of any use of the cluster, with the reason if it is that the brokers do not let us in.
pub(super) async fn diagnose(queue: &KafkaQueue, error: Error) -> Error {
    if !error.is_transient() {
        return error;
    }
    match metadata(queue, None).await {
        Err(refusal) if !refusal.is_transient() => refusal,
        _ => error,
    }
}

fn ask(consumer: &BaseConsumer<Listening>, topic: Option<&str>, brokers: &str) -> Result<Metadata> {
    let what = || format!("the brokers do not answer: {brokers}");
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    loop {
        let error = match consumer.fetch_metadata(topic, LOOK_INTERVAL) {
            Ok(metadata) => return Ok(metadata),
            Err(error) => error,
        };
        // What is heard comes to the context when the client is polled.
        while consumer.poll(Duration::ZERO).is_some() {}
        let heard = consumer.context().heard().take();
        if let Some(reason) = &heard
            && let Some(hint) = refusal(reason)
        {
            return Err(Error::definite(format!("the brokers refuse the connection: {brokers}"))
                .detail(reason)
                .hint(hint));
        }
        if Instant::now() >= deadline {
            let error = sort(&error, what());
            let error = match heard {
                Some(reason) => error.detail(reason),
                None => error,
            };
            return Err(error.hint(
                "are they up, is key kafka.brokers right, and do they want TLS or a login (sections [kafka.tls], [kafka.sasl])?",
            ));
        }
    }
}

/// What to do about a broker that will say the same again; `None` for what may pass.
fn refusal(reason: &str) -> Option<&'static str> {
    if reason.contains("SASL authentication error") {
        return Some("check user, password and mechanism in section [kafka.sasl], and that the account exists");
    }
    if !reason.contains("SSL") {
        return None;
    }
    if reason.contains("alert") {
        return Some(
            "the broker does not accept our certificate, or wants one: check certificate and key in section [kafka.tls]",
        );
    }
    reason.contains("certificate").then_some(
        "the broker's certificate is not from kafka.tls.ca, not for the host in kafka.brokers, or not valid any more: correct \
         them, or lower kafka.tls.mode",
    )
}

/// Keeps the last refusal, or else the last reason of any other kind.
#[derive(Default)]
struct Listening {
    heard: Mutex<Option<String>>,
}

impl Listening {
    fn heard(&self) -> MutexGuard<'_, Option<String>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, reason: &str) {
        let mut heard = self.heard();
        let keeps = heard.as_deref().is_some_and(|heard| refusal(heard).is_some());
        if !keeps || refusal(reason).is_some() {
            *heard = Some(reason.to_owned());
        }
    }
}

impl ClientContext for Listening {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
        if facility == "FAIL" {
            self.hear(message);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
        // That all brokers are down is a consequence, said after each reason.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            self.hear(reason);
        }
    }
}

impl ConsumerContext for Listening {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_kept_and_told_from_what_may_pass() {
        let context = Listening::default();
        context.hear("ssl://127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused");
        assert!(refusal(context.heard().as_deref().unwrap()).is_none());
        context.hear("ssl://127.0.0.1:1/bootstrap: SSL handshake failed: certificate verify failed");
        context.hear("ssl://127.0.0.1:1/bootstrap: Disconnected while requesting ApiVersion");
        let hint = refusal(context.heard().as_deref().unwrap()).unwrap();
        assert!(hint.contains("kafka.tls.ca"), "{hint}");
    }
}
