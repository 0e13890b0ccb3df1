//! Named checks of the settings that the reader depends on, each with what is expected, what was found, and the fix.

use crate::error::{Error, Result};

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Name of the setting.
    pub name: &'static str,
    /// What it must be.
    pub expected: &'static str,
    /// What it is.
    pub actual: String,
    /// Whether that will do.
    pub holds: bool,
    /// What to do if it will not.
    pub fix: &'static str,
    /// Whether `allow_unsafe` may pass over it: the reader works, but can lose changes when something dies.
    pub waivable: bool,
}

/// Refuses to start if a check failed; with `allow_unsafe`, only if one failed that cannot be waived.
pub fn require(checks: &[Check], allow_unsafe: bool) -> Result<()> {
    let failed: Vec<&Check> = checks.iter().filter(|check| !check.holds).collect();
    let refused: Vec<&&Check> = failed
        .iter()
        .filter(|check| !(allow_unsafe && check.waivable))
        .collect();
    if refused.is_empty() {
        for check in failed {
            tracing::warn!(
                setting = check.name,
                expected = check.expected,
                actual = check.actual,
                "unsafe setting allowed by reader.allow_unsafe"
            );
        }
        return Ok(());
    }
    let lines: Vec<String> = refused
        .iter()
        .map(|check| {
            format!(
                "{}: expected {}, found {}; fix: {}",
                check.name, check.expected, check.actual, check.fix
            )
        })
        .collect();
    let hint = match refused.iter().all(|check| check.waivable) {
        true => "mend the settings, or for a trial that may lose changes set reader.allow_unsafe = true",
        false => "mend the settings and start again",
    };
    Err(
        Error::definite(format!("{} setting(s) are not what the reader needs", refused.len()))
            .detail(lines.join("\n          "))
            .hint(hint),
    )
}

/// The checks that do not hold, each in one line.
pub fn failed(checks: &[Check]) -> impl Iterator<Item = String> {
    let failed = checks.iter().filter(|check| !check.holds);
    failed.map(|check| format!("{}: expected {}, found {}", check.name, check.expected, check.actual))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &'static str, holds: bool, waivable: bool) -> Check {
        Check {
            name,
            expected: "ON",
            actual: "OFF".into(),
            holds,
            fix: "SET PERSIST x = ON",
            waivable,
        }
    }

    #[test]
    fn only_waivable_checks_can_be_waived() {
        assert!(require(&[check("a", true, false)], false).is_ok());
        assert!(require(&[check("a", false, true)], true).is_ok());
        let error = require(
            &[
                check("a", false, true),
                check("b", false, false),
                check("c", true, false),
            ],
            true,
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "1 setting(s) are not what the reader needs\n  detail: b: expected ON, found OFF; fix: SET PERSIST x = ON\n  \
             hint: mend the settings and start again"
        );
        assert!(
            require(&[check("a", false, true)], false)
                .unwrap_err()
                .hint
                .unwrap()
                .contains("allow_unsafe")
        );
    }
}
