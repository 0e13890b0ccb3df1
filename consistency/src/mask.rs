//! Columns that the configuration leaves out of the messages or masks, as the checker has to expect them in a store.
//!
//! Written from the description of the two settings alone, as everything here: a text stands for every value; or the
//! HMAC-SHA-256 of the value's canonical text, keyed with the salt, in hexadecimal. NULL stays NULL. A hash can be compared
//! only where the salt is at hand; without it only NULL and that there is some hash is, and the report says so.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::canonical::{Kind, Text};
use crate::config::Secret;
use crate::pattern::ColumnPattern;

/// What stands for every hash where the salt is not known.
const SOME_HASH: &[u8] = b"(a hash)";

const HASH_DIGITS: usize = 64;

/// `[source] columns_exclude` and `[mask]`.
#[derive(Clone, Debug, Default)]
pub struct ColumnRules {
    /// Not in the store.
    pub excluded: Vec<ColumnPattern>,
    /// A text instead of every value.
    pub texts: Vec<(ColumnPattern, String)>,
    /// The hash instead of the value.
    pub hashed: Vec<ColumnPattern>,
    /// The key of the hashes; none if it cannot be read here.
    pub salt: Option<Secret>,
}

/// What the store holds of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Its values.
    Plain,
    /// Nothing.
    LeftOut,
    /// Masks.
    Masked(MaskRule),
}

/// How the values of a column are masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MaskRule {
    /// This text.
    Text(Text),
    /// The hash; none without the salt.
    Hash(Option<Secret>),
}

/// A masked column's type in MySQL, and its mask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// How MySQL's values are written before they are masked.
    pub kind: Kind,
    /// The mask.
    pub rule: MaskRule,
}

impl ColumnRules {
    /// What is to be expected of a column.
    pub fn rule(&self, database: &str, table: &str, column: &str) -> Rule {
        let matches = |pattern: &ColumnPattern| pattern.matches(database, table, column);
        if self.excluded.iter().any(matches) {
            return Rule::LeftOut;
        }
        if let Some((_, text)) = self.texts.iter().find(|(pattern, _)| matches(pattern)) {
            return Rule::Masked(MaskRule::Text(text.clone().into_bytes()));
        }
        match self.hashed.iter().any(matches) {
            true => Rule::Masked(MaskRule::Hash(self.salt.clone())),
            false => Rule::Plain,
        }
    }
}

impl Mask {
    /// Whether the store's value cannot be foretold.
    pub fn is_unknown(&self) -> bool {
        self.rule == MaskRule::Hash(None)
    }

    /// What the store has to hold for a value's canonical text.
    pub fn of(&self, text: &[u8]) -> Text {
        match &self.rule {
            MaskRule::Text(mask) => mask.clone(),
            MaskRule::Hash(None) => SOME_HASH.to_vec(),
            MaskRule::Hash(Some(salt)) => match Hmac::<Sha256>::new_from_slice(salt.reveal().as_bytes()) {
                Ok(hmac) => hexadecimal(&hmac.chain_update(text).finalize().into_bytes()),
                // Keys of any length are possible.
                Err(_) => SOME_HASH.to_vec(),
            },
        }
    }

    /// What is compared of the store's value.
    pub fn seen(&self, stored: Text) -> Text {
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        match self.is_unknown() && stored.len() == HASH_DIGITS && stored.iter().all(is_digit) {
            true => SOME_HASH.to_vec(),
            false => stored,
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> Text {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    digits.collect::<String>().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(rule: MaskRule) -> Mask {
        Mask {
            kind: Kind::Characters,
            rule,
        }
    }

    #[test]
    fn a_hash_is_what_other_tools_compute() {
        // printf %s x | openssl dgst -sha256 -hmac s3cret
        let expected = b"18cf739b1231459a52b72b5a49b5690807adf6900f2ef1e74cba25325066d155";
        assert_eq!(mask(MaskRule::Hash(Some(Secret::new("s3cret")))).of(b"x"), expected);
        assert_eq!(mask(MaskRule::Text(b"***".to_vec())).of(b"x"), b"***");
    }

    #[test]
    fn without_the_salt_any_hash_will_do_and_nothing_else() {
        let mask = mask(MaskRule::Hash(None));
        assert!(mask.is_unknown());
        assert_eq!(mask.seen(vec![b'a'; 64]), mask.of(b"x"));
        for other in [vec![b'a'; 63], vec![b'A'; 64], b"x".to_vec()] {
            assert_eq!(mask.seen(other.clone()), other);
        }
    }

    #[test]
    fn the_first_that_matches_decides() {
        let pattern = |text: &str| ColumnPattern::parse(text).expect("a good pattern");
        let rules = ColumnRules {
            excluded: vec![pattern("shop.*.NOTE")],
            texts: vec![(pattern("shop.customer.*"), "***".to_owned())],
            hashed: vec![pattern("*.*.email")],
            salt: None,
        };
        assert_eq!(rules.rule("shop", "customer", "note"), Rule::LeftOut);
        assert_eq!(
            rules.rule("shop", "customer", "email"),
            Rule::Masked(MaskRule::Text(b"***".to_vec()))
        );
        assert_eq!(rules.rule("shop", "order", "Email"), Rule::Masked(MaskRule::Hash(None)));
        assert_eq!(rules.rule("Shop", "customer", "note"), Rule::Plain);
    }
}
