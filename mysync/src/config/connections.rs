//! Sections that say how servers are reached, and where metrics are served: `[source.tls]`, `[kafka.tls]`, `[kafka.sasl]`,
//! `[metrics]`.

use super::Secret;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Sections `[source.tls]` and `[kafka.tls]`. Without the section a connection is not encrypted.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// What is encrypted and what is verified.
    pub mode: TlsMode,
    /// PEM file of the certificate authorities that are trusted; without it, those of the operating system.
    pub ca: Option<PathBuf>,
    /// PEM file of the client's certificate, for servers that ask for one.
    pub certificate: Option<PathBuf>,
    /// PEM file of the certificate's private key, not encrypted.
    pub key: Option<PathBuf>,
}

/// What is encrypted and what is verified, by the names that MySQL's own clients use.
#[derive(Debug, Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Nothing is encrypted.
    Disabled,
    /// Encrypted to whoever answers: safe from listeners, not from somebody in between.
    Required,
    /// The server's certificate must come from a trusted authority, whatever name it is for.
    VerifyCa,
    /// And it must be for the host that was connected to.
    #[default]
    VerifyIdentity,
}

impl Tls {
    /// The section, unless it is absent or says `mode = "disabled"`.
    #[must_use]
    pub fn used(section: Option<&Self>) -> Option<&Self> {
        section.filter(|tls| tls.mode != TlsMode::Disabled)
    }

    /// The client's certificate and key; both are given or none.
    #[must_use]
    pub fn identity(&self) -> Option<(&Path, &Path)> {
        Some((self.certificate.as_deref()?, self.key.as_deref()?))
    }
}

/// Section `[kafka.sasl]`: how to log in to the brokers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sasl {
    /// The mechanism.
    pub mechanism: SaslMechanism,
    /// The account.
    pub user: String,
    /// The account's password.
    #[serde(default)]
    pub password: Secret,
    /// Name of the environment variable that holds the password.
    pub password_env: Option<String>,
    /// File that holds the password.
    pub password_file: Option<String>,
}

/// How a password is proven to the brokers.
#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
pub enum SaslMechanism {
    /// The password itself: only over TLS.
    #[serde(rename = "PLAIN")]
    Plain,
    /// A challenge, SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// A challenge, SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl SaslMechanism {
    /// The name that Kafka knows it by.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            SaslMechanism::Plain => "PLAIN",
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Section `[metrics]`: where the reader serves `/metrics`, `/health` and `/status`; nowhere by default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// `host:port` of the reader. Each writer's is `listen` in the section of its target.
    pub listen: Option<String>,
}
