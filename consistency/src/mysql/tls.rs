//! `[source.tls]`: what of the connection to MySQL is encrypted and verified.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use mysql_async::{ClientIdentity, SslOpts};
use openssl::pkcs12::Pkcs12;
use openssl::pkey::PKey;
use openssl::x509::X509;
use serde::Deserialize;

use crate::error::Error;

/// The section. Without it nothing is encrypted.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// How much is verified.
    pub mode: Mode,
    /// Trusted authorities, a PEM file; without it those of the system.
    pub ca: Option<PathBuf>,
    /// The client's certificate, a PEM file.
    pub certificate: Option<PathBuf>,
    /// The private key of the client's certificate, a PEM file.
    pub key: Option<PathBuf>,
}

/// How much is verified, in the words of MySQL's own clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Nothing is encrypted.
    Disabled,
    /// Encrypted, nothing verified.
    Required,
    /// The certificate is from a trusted authority.
    VerifyCa,
    /// It is for the host, too.
    #[default]
    VerifyIdentity,
}

impl Tls {
    /// The section in the client library's terms; `None` for a connection that is not encrypted.
    pub fn options(&self) -> Result<Option<SslOpts>, Error> {
        if self.mode == Mode::Disabled {
            return Ok(None);
        }
        let mut options = SslOpts::default()
            .with_danger_accept_invalid_certs(self.mode == Mode::Required)
            .with_danger_skip_domain_validation(self.mode != Mode::VerifyIdentity);
        if let Some(file) = &self.ca {
            certificates("ca", file)?;
            options = options
                .with_root_certs(vec![file.clone().into()])
                .with_disable_built_in_roots(true);
        }
        options = match (&self.certificate, &self.key) {
            (None, None) => options,
            (Some(certificate), Some(key)) => {
                let archive = archive(certificate, key)?;
                options.with_client_identity(Some(ClientIdentity::new(archive.into())))
            }
            (Some(_), None) => return Err(wrong("key", "none, but there is a certificate")),
            (None, Some(_)) => return Err(wrong("certificate", "none, but there is a key")),
        };
        Ok(Some(options))
    }
}

/// The client library takes certificate and key as one archive in memory.
fn archive(certificate: &Path, key: &Path) -> Result<Vec<u8>, Error> {
    let chain = certificates("certificate", certificate)?;
    let refused = |error| wrong("key", format!("{}: {error}", key.display()));
    let private = PKey::private_key_from_pem(&read("key", key)?).map_err(refused)?;
    let mut archive = Pkcs12::builder();
    archive.pkey(&private).cert(&chain[0]);
    let mut others = openssl::stack::Stack::new().map_err(refused)?;
    for certificate in chain.into_iter().skip(1) {
        others.push(certificate).map_err(refused)?;
    }
    archive.ca(others);
    archive.build2("").and_then(|archive| archive.to_der()).map_err(refused)
}

/// The certificates of a file, at least one.
fn certificates(key: &str, file: &Path) -> Result<Vec<X509>, Error> {
    match X509::stack_from_pem(&read(key, file)?) {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(wrong(key, format!("{}: no certificate in it", file.display()))),
        Err(error) => Err(wrong(key, format!("{}: {error}", file.display()))),
    }
}

fn read(key: &str, file: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(file).map_err(|error| wrong(key, format!("{}: {error}", file.display())))
}

fn wrong(key: &str, reason: impl Display) -> Error {
    Error::configuration(
        format!("key source.tls.{key} is wrong"),
        reason.to_string(),
        "name PEM files; certificate and key go together, and the key is not encrypted",
    )
}
