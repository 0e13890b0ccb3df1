//! A section of TLS keys, in the terms of the system's OpenSSL: the same for MySQL and Redis.

use crate::config::{Tls, TlsMode};
use crate::error::{Error, Result};
use native_tls::{Certificate, Identity, TlsConnector};
use openssl::pkcs12::Pkcs12;
use openssl::pkey::PKey;
use openssl::stack::Stack;
use openssl::x509::X509;
use std::path::Path;

/// Verifies what the section asks for; `section` is its name, as `source.tls`.
pub(crate) fn connector(tls: &Tls, section: &str) -> Result<TlsConnector> {
    let unusable = |error| Error::configuration(format!("section [{section}] cannot be used")).detail(error);
    let mut builder = TlsConnector::builder();
    builder
        .danger_accept_invalid_hostnames(tls.mode != TlsMode::VerifyIdentity)
        .danger_accept_invalid_certs(tls.mode == TlsMode::Required);
    if let Some(ca) = &tls.ca {
        for authority in certificates(ca, section, "ca")? {
            let der = authority.to_der().map_err(|error| refuse(section, "ca", ca, error))?;
            builder.add_root_certificate(Certificate::from_der(&der).map_err(unusable)?);
        }
        builder.disable_built_in_roots(true);
    }
    if let Some((certificate, key)) = tls.identity() {
        let archive = archive(certificate, key, section)?;
        builder.identity(Identity::from_pkcs12(&archive, "").map_err(unusable)?);
    }
    builder.build().map_err(unusable)
}

/// Client libraries want an archive in place of two PEM files.
pub(crate) fn archive(certificate: &Path, key: &Path, section: &str) -> Result<Vec<u8>> {
    let mut chain = certificates(certificate, section, "certificate")?.into_iter();
    let refused = |error| refuse(section, "key", key, error);
    let key_text = read(key, section, "key")?;
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

/// The certificates of a file, at least one.
pub(crate) fn certificates(file: &Path, section: &str, key: &str) -> Result<Vec<X509>> {
    let found = X509::stack_from_pem(&read(file, section, key)?).map_err(|error| refuse(section, key, file, error))?;
    match found.is_empty() {
        false => Ok(found),
        true => Err(refuse(section, key, file, "it holds no certificate")),
    }
}

fn read(file: &Path, section: &str, key: &str) -> Result<Vec<u8>> {
    std::fs::read(file).map_err(|error| refuse(section, key, file, error))
}

fn refuse(section: &str, key: &str, file: &Path, reason: impl std::fmt::Display) -> Error {
    Error::configuration(format!(
        "key {section}.{key}: not a usable PEM file: {}",
        file.display()
    ))
    .detail(reason)
    .hint("certificates begin with BEGIN CERTIFICATE, a key that is not encrypted with BEGIN PRIVATE KEY")
}

#[cfg(test)]
mod tests {
    use super::*;
    use native_tls::TlsAcceptor;
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    use tokio_native_tls::{TlsAcceptor as Acceptor, TlsConnector as Connector};

    /// An authority's certificate, and certificate and key of the server `here` that it signed, as PEM.
    fn family() -> [String; 3] {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(vec!["here".to_owned()]).unwrap();
        let certificate = server.signed_by(&key, &issuer).unwrap().pem();
        [authority, certificate, key.serialize_pem()]
    }

    async fn is_let_in(server: &TlsAcceptor, tls: &Tls, host: &str) -> bool {
        let (near, far) = tokio::io::duplex(1 << 16);
        let connector = Connector::from(connector(tls, "source.tls").unwrap());
        let acceptor = Acceptor::from(server.clone());
        let (connected, _) = tokio::join!(connector.connect(host, near), acceptor.accept(far));
        connected.is_ok()
    }

    #[tokio::test]
    async fn a_connection_verifies_what_the_mode_says() {
        let folder = std::env::temp_dir().join(format!("mysync-tls-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let [authority, certificate, key] = family();
        let [other, ..] = family();
        let [trusted, stranger] = [("trusted.pem", authority), ("stranger.pem", other)].map(|(name, pem)| {
            let file = folder.join(name);
            std::fs::write(&file, pem).unwrap();
            file
        });
        let identity = Identity::from_pkcs8(certificate.as_bytes(), key.as_bytes()).unwrap();
        let server = TlsAcceptor::new(identity).unwrap();
        for (mode, ca, host, expected) in [
            (TlsMode::VerifyIdentity, Some(&trusted), "here", true),
            (TlsMode::VerifyIdentity, Some(&trusted), "there", false),
            (TlsMode::VerifyIdentity, Some(&stranger), "here", false),
            (TlsMode::VerifyIdentity, None, "here", false),
            (TlsMode::VerifyCa, Some(&trusted), "there", true),
            (TlsMode::VerifyCa, Some(&stranger), "here", false),
            (TlsMode::VerifyCa, None, "here", false),
            (TlsMode::Required, Some(&stranger), "there", true),
            (TlsMode::Required, None, "there", true),
        ] {
            let tls = Tls {
                mode,
                ca: ca.cloned(),
                ..Tls::default()
            };
            let let_in = is_let_in(&server, &tls, host).await;
            assert_eq!(let_in, expected, "{mode:?} {ca:?} {host}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
