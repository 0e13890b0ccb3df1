//! `[source.tls]` in the client library's terms. The TLS is that of the system's OpenSSL, as for Kafka.

use crate::config::{Tls, TlsMode};
use crate::error::{Error, Result};
use mysql_async::{ClientIdentity, SslOpts};
use openssl::pkcs12::Pkcs12;
use openssl::pkey::PKey;
use openssl::stack::Stack;
use openssl::x509::X509;
use std::path::Path;

pub(super) fn options(tls: &Tls) -> Result<SslOpts> {
    let mut options = SslOpts::default()
        .with_danger_skip_domain_validation(tls.mode != TlsMode::VerifyIdentity)
        .with_danger_accept_invalid_certs(tls.mode == TlsMode::Required);
    if let Some(ca) = &tls.ca {
        // Certificates that a file holds none of would be an empty list of authorities, and every server refused.
        certificates(ca, "source.tls.ca")?;
        options = options
            .with_root_certs(vec![ca.clone().into()])
            .with_disable_built_in_roots(true);
    }
    if let Some((certificate, key)) = tls.identity() {
        let archive = archive(certificate, key)?;
        options = options.with_client_identity(Some(ClientIdentity::new(archive.into())));
    }
    Ok(options)
}

/// The client library wants an archive in place of two PEM files.
fn archive(certificate: &Path, key: &Path) -> Result<Vec<u8>> {
    let mut chain = certificates(certificate, "source.tls.certificate")?.into_iter();
    let refused = |error| refuse("source.tls.key", key, error);
    let key_text = read(key, "source.tls.key")?;
    let private = PKey::private_key_from_pem(&key_text).map_err(refused)?;
    let mut builder = Pkcs12::builder();
    builder.pkey(&private);
    if let Some(own) = chain.next() {
        builder.cert(&own);
    }
    let mut above = Stack::new().map_err(refused)?;
    for certificate in chain {
        above.push(certificate).map_err(refused)?;
    }
    builder.ca(above);
    // It never leaves this process, so there is nothing to encrypt it for.
    let archive = builder.build2("").map_err(refused)?;
    archive.to_der().map_err(refused)
}

fn certificates(file: &Path, key: &'static str) -> Result<Vec<X509>> {
    let found = X509::stack_from_pem(&read(file, key)?).map_err(|error| refuse(key, file, error))?;
    match found.is_empty() {
        false => Ok(found),
        true => Err(refuse(key, file, "it holds no certificate")),
    }
}

fn read(file: &Path, key: &'static str) -> Result<Vec<u8>> {
    std::fs::read(file).map_err(|error| refuse(key, file, error))
}

fn refuse(key: &'static str, file: &Path, reason: impl std::fmt::Display) -> Error {
    Error::configuration(format!("key {key}: not a usable PEM file: {}", file.display()))
        .detail(reason)
        .hint("certificates begin with BEGIN CERTIFICATE, a key that is not encrypted with BEGIN PRIVATE KEY")
}
