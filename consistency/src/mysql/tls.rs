//! `[source.tls]` in the terms of MySQL's client library.

use mysql_async::{ClientIdentity, SslOpts};

use crate::config::tls::{Mode, Tls};
use crate::error::Error;

/// The options; none for a connection that is not encrypted.
pub fn options(tls: &Tls) -> Result<Option<SslOpts>, Error> {
    let Some(files) = tls.files("source.tls")? else {
        return Ok(None);
    };
    let mut options = SslOpts::default()
        .with_danger_accept_invalid_certs(files.mode == Mode::Required)
        .with_danger_skip_domain_validation(files.mode != Mode::VerifyIdentity);
    if let Some(ca) = files.ca {
        options = options
            .with_root_certs(vec![ca.path.into()])
            .with_disable_built_in_roots(true);
    }
    Ok(Some(match files.identity {
        None => options,
        Some(archive) => options.with_client_identity(Some(ClientIdentity::new(archive.into()))),
    }))
}
