//! What the client library's errors mean, and what to do about each.

use super::endpoint::Endpoint;
use crate::config::Tls;
use crate::error::Error;
use mysql_async::{DriverError, IoError, ServerError};

const UNREACHABLE_HINT: &str = "is the server up, and is key source.servers right?";

impl Endpoint {
    /// Sorts what the client library says into what to do about it.
    pub(super) fn sort(&self, error: mysql_async::Error, what: &str) -> Error {
        let what = format!("{what}: {}", self.address);
        match &error {
            mysql_async::Error::Server(server) => self.sort_server(server, what),
            mysql_async::Error::Io(IoError::Tls(tls)) => sort_tls(tls, what),
            mysql_async::Error::Io(IoError::Io(_)) => Error::transient(what).detail(error).hint(UNREACHABLE_HINT),
            mysql_async::Error::Driver(DriverError::ConnectionClosed) => Error::transient(what).detail(error),
            mysql_async::Error::Driver(DriverError::NoClientSslFlagFromServer) => Error::definite(what)
                .detail("the server offers no TLS")
                .hint("give the server a certificate (ssl_cert, ssl_key), or leave section [source.tls] out"),
            _ => Error::definite(what).detail(error).hint(
                "the client does not understand what the server sent: check its version and authentication plugin",
            ),
        }
    }

    fn sort_server(&self, server: &ServerError, what: String) -> Error {
        let user = &self.config.user;
        match server.code {
            // Too many connections, also of one account, shutting down, lost packets, lock waits, a KILL QUERY: these pass.
            1040 | 1053 | 1077 | 1079 | 1129 | 1152..=1161 | 1184 | 1203 | 1205 | 1213 | 1226 | 1317 => {
                Error::transient(what).detail(server)
            }
            3024 => Error::transient(what)
                .detail(server)
                .hint("the server gives a statement less time than it takes: raise its max_execution_time, or set it to 0"),
            1045 | 1698 => Error::definite(what).detail(server).hint(format!(
                "check that '{user}'@'%' exists and its password{}",
                self.tls_hint()
            )),
            1044 | 1142 | 1227 => Error::definite(what).detail(server).hint(format!(
                "GRANT REPLICATION SLAVE, REPLICATION CLIENT, SELECT ON *.* TO '{user}'@'%'; GRANT ALL ON __db_mysync.* TO \
                 '{user}'@'%'"
            )),
            3159 => Error::definite(what)
                .detail(server)
                .hint("the server wants TLS: add section [source.tls]"),
            1236 if server.message.contains("max_allowed_packet") => Error::definite(what).detail(server).hint(
                "an event is larger than the server's max_allowed_packet: SET GLOBAL max_allowed_packet = 1073741824",
            ),
            1236 if server.message.contains("server_uuid/server_id") => Error::definite(format!(
                "another client reads the binlog with the same server id, {}: {}",
                self.config.server_id,
                self.address
            ))
            .detail(server)
            .hint(
                "the server serves the one that came last: if that is a reader of the same name, stop what starts the other; else give \
                 this one a source.server_id that nobody else has",
            ),
            1236 => Error::definite(what).detail(server).hint(
                "the binlog does not have this position any more (purged or reset): load the tables anew, by reader.on_gap = \"refresh\"",
            )
            .gap(),
            _ => Error::definite(what)
                .detail(server)
                .hint("mend what the server says and start again"),
        }
    }

    /// An account that REQUIREs TLS or a certificate is refused without, in the words of a wrong password.
    fn tls_hint(&self) -> &'static str {
        match Tls::used(self.config.tls.as_ref()) {
            None => "; if it REQUIREs SSL, add section [source.tls]",
            Some(tls) if tls.identity().is_none() => {
                "; if it REQUIREs X509, set certificate and key in section [source.tls]"
            }
            Some(_) => "; if it REQUIREs ISSUER or SUBJECT, the certificate's",
        }
    }
}

/// A handshake that broke off may be a server that goes down; one that was refused will be again.
fn sort_tls(tls: &dyn std::error::Error, what: String) -> Error {
    let mut text = tls.to_string();
    let mut cause = tls.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    let text_lower = text.to_lowercase();
    let hint = if text_lower.contains("alert") {
        "the server does not accept our certificate: check certificate and key in section [source.tls]"
    } else if text_lower.contains("certificate") || text_lower.contains("hostname") || text_lower.contains("ip address")
    {
        "the server's certificate is not from source.tls.ca, not for the host in source.servers, or not valid any more: correct \
         them, or lower source.tls.mode"
    } else {
        return Error::transient(what).detail(text).hint(UNREACHABLE_HINT);
    };
    Error::definite(what).detail(text).hint(hint)
}
