//! `[source.tls]` in the client library's terms.

use crate::config::{Tls, TlsMode};
use crate::error::Result;
use crate::tls::{archive, certificates};
use mysql_async::{ClientIdentity, SslOpts};

pub(super) const SECTION: &str = "source.tls";

pub(super) fn options(tls: &Tls) -> Result<SslOpts> {
    let mut options = SslOpts::default()
        .with_danger_skip_domain_validation(tls.mode != TlsMode::VerifyIdentity)
        .with_danger_accept_invalid_certs(tls.mode == TlsMode::Required);
    if let Some(ca) = &tls.ca {
        // Certificates that a file holds none of would be an empty list of authorities, and every server refused.
        certificates(ca, SECTION, "ca")?;
        options = options
            .with_root_certs(vec![ca.clone().into()])
            .with_disable_built_in_roots(true);
    }
    if let Some((certificate, key)) = tls.identity() {
        let archive = archive(certificate, key, SECTION)?;
        options = options.with_client_identity(Some(ClientIdentity::new(archive.into())));
    }
    Ok(options)
}
