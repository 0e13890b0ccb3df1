//! `[source.tls]`: for the client library's connections in its terms, and for the stream's connection the connector that the
//! library makes of them. The TLS is that of the system's OpenSSL, as for Kafka.

use crate::config::{Tls, TlsMode};
use crate::error::{Error, Result};
use mysql_async::{ClientIdentity, SslOpts};
use native_tls::{Certificate, Identity, TlsConnector};
use openssl::pkcs12::Pkcs12;
use openssl::pkey::PKey;
use openssl::stack::Stack;
use openssl::x509::X509;
use std::path::Path;

const CERTIFICATE: &str = "source.tls.certificate";
const KEY: &str = "source.tls.key";

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
        let archive = archive((certificate, CERTIFICATE), (key, KEY))?;
        options = options.with_client_identity(Some(ClientIdentity::new(archive.into())));
    }
    Ok(options)
}

pub(super) fn connector(tls: &Tls) -> Result<TlsConnector> {
    let unusable = |error| Error::configuration("section [source.tls] cannot be used").detail(error);
    let mut builder = TlsConnector::builder();
    builder
        .danger_accept_invalid_hostnames(tls.mode != TlsMode::VerifyIdentity)
        .danger_accept_invalid_certs(tls.mode == TlsMode::Required);
    if let Some(ca) = &tls.ca {
        for authority in certificates(ca, "source.tls.ca")? {
            let der = authority.to_der().map_err(|error| refuse("source.tls.ca", ca, error))?;
            builder.add_root_certificate(Certificate::from_der(&der).map_err(unusable)?);
        }
        builder.disable_built_in_roots(true);
    }
    if let Some((certificate, key)) = tls.identity() {
        let archive = archive((certificate, CERTIFICATE), (key, KEY))?;
        builder.identity(Identity::from_pkcs12(&archive, "").map_err(unusable)?);
    }
    builder.build().map_err(unusable)
}

/// The client libraries want an archive in place of two PEM files. With each file goes the key of the configuration that names
/// it.
pub(crate) fn archive(certificate: (&Path, &'static str), key: (&Path, &'static str)) -> Result<Vec<u8>> {
    let mut chain = certificates(certificate.0, certificate.1)?.into_iter();
    let refused = |error| refuse(key.1, key.0, error);
    let key_text = read(key.0, key.1)?;
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
        let connector = Connector::from(connector(tls).unwrap());
        let acceptor = Acceptor::from(server.clone());
        let (connected, _) = tokio::join!(connector.connect(host, near), acceptor.accept(far));
        connected.is_ok()
    }

    #[tokio::test]
    async fn the_stream_verifies_what_the_mode_says() {
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
