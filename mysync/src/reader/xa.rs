//! XA transactions as they stand in the binlog.
//!
//! Since MySQL 5.7 a prepared transaction is logged when it is prepared, and its decision is a transaction of its own, later
//! or never:
//!
//! ```text
//! GTID, XA START, rows …, XA END, XA_PREPARE          it ends here undecided, or committed in one phase
//! … other transactions, other files …
//! GTID, XA COMMIT | XA ROLLBACK                       the decision
//! ```
//!
//! MySQL 5.6 logs an XA transaction only when it commits, as an ordinary one. The server writes the statements itself, always
//! in the same form: `XA START X'676c6f62616c',X'6272616e6368',1`.

use crate::decode::XaPrepare;
use std::fmt::{self, Write};

/// The name of an XA transaction: `global,branch,format`, the first two in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Xid(String);

/// A statement about an XA transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum XaStatement {
    /// Its rows follow.
    Start(Xid),
    /// They have all come.
    End(Xid),
    /// It was prepared before, and commits.
    Commit(Xid),
    /// It was prepared before, and is rolled back.
    Rollback(Xid),
}

impl Xid {
    /// A name that was printed before.
    pub(super) fn named(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// Whether the event that ends the first phase is about this one. It has only 32 bits of the format number.
    pub(super) fn is_of(&self, event: &XaPrepare<'_>) -> bool {
        let mut parts = String::new();
        for part in [event.global, event.branch] {
            for byte in part {
                write!(parts, "{byte:02x}").ok();
            }
            parts.push(',');
        }
        let format = self
            .0
            .strip_prefix(&parts)
            .and_then(|format| format.parse::<u64>().ok());
        format.is_some_and(|format| format & u64::from(u32::MAX) == u64::from(event.format_id))
    }

    /// `X'676c6f62616c',X'6272616e6368',1`
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(',');
        let mut hexadecimal = || {
            let digits = parts.next()?.strip_prefix("X'")?.strip_suffix('\'')?;
            let valid = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            valid.then(|| digits.to_ascii_lowercase())
        };
        let (global, branch) = (hexadecimal()?, hexadecimal()?);
        let format: u64 = parts.next()?.parse().ok()?;
        parts
            .next()
            .is_none()
            .then(|| Self(format!("{global},{branch},{format}")))
    }
}

impl fmt::Display for Xid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Reads a statement; `None` if it has another form than the server gives it.
pub(super) fn parse(text: &str) -> Option<XaStatement> {
    let rest = text.strip_prefix("XA ")?;
    let (verb, xid) = rest.split_once(' ')?;
    let xid = Xid::parse(xid.trim_end())?;
    match verb {
        "START" => Some(XaStatement::Start(xid)),
        "END" => Some(XaStatement::End(xid)),
        "COMMIT" => Some(XaStatement::Commit(xid)),
        "ROLLBACK" => Some(XaStatement::Rollback(xid)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As servers print them: `XA START X'00ff',X'',7`.
    fn printed(verb: &str, global: &[u8], branch: &[u8], format_id: u64) -> String {
        let hexadecimal = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        format!(
            "XA {verb} X'{}',X'{}',{format_id}",
            hexadecimal(global),
            hexadecimal(branch)
        )
    }

    proptest! {
        #[test]
        fn statement_and_event_agree_on_the_name(
            global in prop::collection::vec(any::<u8>(), 1..64),
            branch in prop::collection::vec(any::<u8>(), 0..64),
            format_id: u32,
            high_bits: bool,
        ) {
            let event = XaPrepare { one_phase: false, format_id, global: &global, branch: &branch };
            let format = u64::from(format_id) | u64::from(high_bits) << 32;
            let Some(XaStatement::Start(xid)) = parse(&printed("START", &global, &branch, format)) else {
                return Err(TestCaseError::fail("not understood"));
            };
            prop_assert!(xid.is_of(&event));
            let swapped = XaPrepare { branch: &global, global: &branch, ..event };
            let renumbered = XaPrepare { format_id: format_id ^ 1, ..event };
            prop_assert!(!xid.is_of(&renumbered) && (!xid.is_of(&swapped) || global == branch));
        }
    }

    #[test]
    fn what_the_server_would_not_write_is_not_understood() {
        let xid = Xid("61,,1".into());
        assert_eq!(parse("XA COMMIT X'61',X'',1"), Some(XaStatement::Commit(xid.clone())));
        assert_eq!(
            parse("XA ROLLBACK X'61',X'',1"),
            Some(XaStatement::Rollback(xid.clone()))
        );
        assert_eq!(parse("XA END X'61',X'',1"), Some(XaStatement::End(xid)));
        for text in [
            "XA RECOVER",
            "XA START 'a'",
            "XA COMMIT X'61',X'',1 ONE PHASE",
            "XA START X'6g',X'',1",
            "XA START X'61',X''",
            "XA START X'61',X'',1,2",
            "XA START X'61',X'',18446744073709551616",
            "XA PREPARE X'61',X'',1",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
