//! What all sections are read with: addresses, secrets, patterns, and errors that name file and key.

use serde::Deserialize;

use super::{Address, Secret};
use crate::error::Error;

/// The file that is read.
pub struct Reading<'a> {
    /// Its name, for messages.
    pub file: &'a str,
}

impl Reading<'_> {
    /// Patterns, as many as there are texts.
    pub fn patterns<'p, P>(
        &self,
        key: &str,
        texts: impl IntoIterator<Item = &'p String>,
        parse: fn(&str) -> Result<P, String>,
        hint: &str,
    ) -> Result<Vec<P>, Error> {
        let patterns: Result<Vec<P>, String> = texts.into_iter().map(|text| parse(text)).collect();
        patterns.map_err(|reason| wrong(self.file, &format!("key {key}"), &reason, hint))
    }

    /// An address; without a port it has the default one.
    pub fn address(&self, key: &str, text: &str, port_default: u16) -> Result<Address, Error> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok()),
            None => (text, Some(port_default)),
        };
        match port {
            Some(port) if !host.is_empty() => Ok(Address {
                host: host.trim_matches(['[', ']']).to_owned(),
                port,
            }),
            _ => {
                let reason = format!("expected <host>:<port>, found `{text}`");
                let hint = format!("write for instance \"127.0.0.1:{port_default}\"");
                Err(wrong(self.file, &format!("key {key}"), &reason, &hint))
            }
        }
    }

    /// A secret, written there, or in a variable of the environment, or in a file; empty if in none of them.
    pub fn secret(
        &self,
        key: &str,
        text: Option<SecretText>,
        variable: Option<String>,
        file: Option<String>,
    ) -> Result<Secret, Error> {
        let place = |ending: &str| format!("key {key}{ending}");
        match (text, variable, file) {
            (None, None, None) => Ok(Secret::default()),
            (Some(SecretText(Some(text))), None, None) => Ok(Secret(text)),
            (Some(SecretText(None)), None, None) => Err(wrong(
                self.file,
                &place(""),
                "expected a string, found another type",
                "put it between quotes",
            )),
            (None, Some(variable), None) => std::env::var(&variable).map(Secret).map_err(|_| {
                let reason = format!("the environment has no readable variable `{variable}`");
                wrong(self.file, &place("_env"), &reason, "set the variable, or name another")
            }),
            (None, None, Some(path)) => match std::fs::read_to_string(&path) {
                Ok(text) => Ok(Secret(text.trim_end_matches(['\r', '\n']).to_owned())),
                Err(error) => {
                    let reason = format!("cannot read {path}: {error}");
                    Err(wrong(
                        self.file,
                        &place("_file"),
                        &reason,
                        "name a file that this account may read",
                    ))
                }
            },
            _ => Err(wrong(
                self.file,
                &place(""),
                "given more than once: by itself, with _env, with _file",
                "keep one of the three",
            )),
        }
    }
}

/// Takes any value and complains without quoting it.
pub struct SecretText(pub Option<String>);

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => Self(Some(text)),
            _ => Self(None),
        })
    }
}

/// `place` is where in the file: a line, a key, or both.
pub fn wrong(file: &str, place: &str, reason: &str, hint: &str) -> Error {
    let place = if place.is_empty() {
        String::new()
    } else {
        format!(" {place}:")
    };
    Error::configuration("the configuration is wrong", format!("{file}:{place} {reason}"), hint)
}

/// The line and, where the line assigns one, the full key. The value is left out: it may be a secret.
pub fn place(text: &str, offset: usize) -> String {
    let before = text.get(..offset).unwrap_or(text);
    let number = before.matches('\n').count() + 1;
    let line = text.lines().nth(number - 1).unwrap_or_default();
    let section = text
        .lines()
        .take(number)
        .filter_map(|line| line.trim().strip_prefix('[')?.split(']').next())
        .last()
        .unwrap_or_default();
    match line.split_once('=') {
        Some((key, _)) if section.is_empty() => format!("line {number}, key {}", key.trim()),
        Some((key, _)) => format!("line {number}, key {section}.{}", key.trim()),
        None => format!("line {number}"),
    }
}
