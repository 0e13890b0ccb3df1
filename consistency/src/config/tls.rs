//! `[source.tls]` and its like: what of a connection is encrypted and verified.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use openssl::pkcs12::Pkcs12;
use openssl::pkey::PKey;
use openssl::x509::X509;
use serde::Deserialize;

use crate::error::Error;

/// The section. Without it nothing is encrypted, unless the address says so.
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

/// The section with its files read.
pub struct TlsFiles {
    /// How much is verified.
    pub mode: Mode,
    /// Trusted authorities; none for those of the system.
    pub ca: Option<Authority>,
    /// The client's certificate and key as a PKCS #12 archive without a password.
    pub identity: Option<Vec<u8>>,
}

/// Trusted authorities.
pub struct Authority {
    /// The file.
    pub path: PathBuf,
    /// What stands in it.
    pub pem: Vec<u8>,
}

impl Tls {
    /// Reads the files; none where nothing is encrypted. `section` is the section's name, for messages.
    pub fn files(&self, section: &str) -> Result<Option<TlsFiles>, Error> {
        if self.mode == Mode::Disabled {
            return Ok(None);
        }
        let section = Section(section);
        let ca = match &self.ca {
            None => None,
            Some(file) => {
                section.certificates("ca", file)?;
                Some(Authority {
                    path: file.clone(),
                    pem: section.read("ca", file)?,
                })
            }
        };
        let identity = match (&self.certificate, &self.key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some(section.archive(certificate, key)?),
            (Some(_), None) => return Err(section.wrong("key", "none, but there is a certificate")),
            (None, Some(_)) => return Err(section.wrong("certificate", "none, but there is a key")),
        };
        Ok(Some(TlsFiles {
            mode: self.mode,
            ca,
            identity,
        }))
    }
}

/// Its name, for messages.
struct Section<'a>(&'a str);

impl Section<'_> {
    /// Client libraries take certificate and key as one archive in memory.
    fn archive(&self, certificate: &Path, key: &Path) -> Result<Vec<u8>, Error> {
        let chain = self.certificates("certificate", certificate)?;
        let refused = |error| self.wrong("key", format!("{}: {error}", key.display()));
        let private = PKey::private_key_from_pem(&self.read("key", key)?).map_err(refused)?;
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
    fn certificates(&self, key: &str, file: &Path) -> Result<Vec<X509>, Error> {
        match X509::stack_from_pem(&self.read(key, file)?) {
            Ok(found) if !found.is_empty() => Ok(found),
            Ok(_) => Err(self.wrong(key, format!("{}: no certificate in it", file.display()))),
            Err(error) => Err(self.wrong(key, format!("{}: {error}", file.display()))),
        }
    }

    fn read(&self, key: &str, file: &Path) -> Result<Vec<u8>, Error> {
        std::fs::read(file).map_err(|error| self.wrong(key, format!("{}: {error}", file.display())))
    }

    fn wrong(&self, key: &str, reason: impl Display) -> Error {
        Error::configuration(
            format!("key {}.{key} is wrong", self.0),
            reason.to_string(),
            "name PEM files; certificate and key go together, and the key is not encrypted",
        )
    }
}
