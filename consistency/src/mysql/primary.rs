//! Which of several servers is compared with the store: the primary, which takes writes and follows no other. Its rows are
//! the ones that the stores shall have.

use std::time::Duration;

use futures::future::join_all;
use mysql_async::prelude::Queryable;

use super::connect;
use crate::config::{Address, Source};
use crate::error::Error;

/// A server that is dead may swallow all that is sent to it.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// The source with its primary as the server. One server alone is taken as it is.
///
/// # Errors
/// When none or several of the servers take writes.
pub async fn follow(source: &Source) -> Result<Source, Error> {
    if source.servers.len() < 2 {
        return Ok(source.clone());
    }
    let answers = join_all(source.servers.iter().map(|server| is_primary(source, server))).await;
    let shown = |answer: &Result<bool, String>| match answer {
        Ok(true) => "takes writes".to_owned(),
        Ok(false) => "is a replica or read-only".to_owned(),
        Err(reason) => reason.clone(),
    };
    let mut primaries = source
        .servers
        .iter()
        .zip(&answers)
        .filter(|(_, answer)| **answer == Ok(true));
    match (primaries.next(), primaries.next()) {
        (Some((server, _)), None) => Ok(Source {
            server: server.clone(),
            ..source.clone()
        }),
        (first, _) => {
            let each = source.servers.iter().zip(&answers);
            let states: Vec<String> = each
                .map(|(server, answer)| format!("{server} {}", shown(answer)))
                .collect();
            let what = match first {
                None => "no server of [source] is a primary",
                Some(_) => "several servers of [source] take writes",
            };
            let hint = "check again when one primary is there, or list in servers only the one to compare with";
            Err(Error::failed(what, states.join("; "), hint))
        }
    }
}

async fn is_primary(source: &Source, server: &Address) -> Result<bool, String> {
    let source = Source {
        server: server.clone(),
        ..source.clone()
    };
    let asked = async {
        let mut session = connect(&source).await.map_err(|error| error.detail)?;
        let failed = |error: mysql_async::Error| error.to_string();
        let read_only: Option<u8> = session.query_first("SELECT @@GLOBAL.read_only").await.map_err(failed)?;
        // The first is what 8.0.22 and later say, the second what all before say.
        let mut followed: Result<Option<mysql_async::Row>, _> = session.query_first("SHOW REPLICA STATUS").await;
        if matches!(followed, Err(mysql_async::Error::Server(_))) {
            followed = session.query_first("SHOW SLAVE STATUS").await;
        }
        let follows = followed.map_err(failed)?.is_some();
        session.disconnect().await.ok();
        Ok(read_only == Some(0) && !follows)
    };
    match tokio::time::timeout(ANSWER_MAX, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("did not answer in {} s", ANSWER_MAX.as_secs())),
    }
}
