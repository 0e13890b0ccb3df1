//! The names of a row's columns, out of its JSON text, without parsing the values: every row is looked at, to see whether it has
//! a column that its index does not know.

/// The names at the top level of a JSON object, as they stand between their quotes, escapes and all. The text must be valid
/// JSON, as any row is that was parsed; of other text it gives some names, and never panics.
pub(super) fn names(object: &str) -> Names<'_> {
    let begin = object.find('{').map_or(object.len(), |open| open + 1);
    Names { object, at: begin }
}

#[derive(Debug)]
pub(super) struct Names<'a> {
    object: &'a str,
    at: usize,
}

impl<'a> Iterator for Names<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let bytes = self.object.as_bytes();
        // What stands before a name is a comma and blanks.
        let open = self.at
            + bytes
                .get(self.at..)?
                .iter()
                .position(|byte| matches!(byte, b'"' | b'}'))?;
        if bytes[open] == b'}' {
            return None;
        }
        let close = string_end(bytes, open + 1)?;
        self.at = value_end(bytes, close + 1)?;
        self.object.get(open + 1..close)
    }
}

/// The place of the quote that ends a string.
fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += bytes.get(at..)?.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        if bytes[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

/// The place of the comma or brace behind a value; `at` is behind its name.
fn value_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    loop {
        match bytes.get(at)? {
            b'"' => at = string_end(bytes, at + 1)?,
            b'{' | b'[' => depth += 1,
            b',' | b'}' if depth == 0 => return Some(at),
            b'}' | b']' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    #[test]
    fn only_the_names_at_the_top_are_given() {
        let row = r#" { "id" : 1, "a\"}":"x\\\",\"no\":1", "g":{"srid":4326,"wkb":"A}="} ,"v":[1,{"no":2},"]"],"gone":null} "#;
        assert_eq!(names(row).collect::<Vec<_>>(), ["id", "a\\\"}", "g", "v", "gone"]);
        assert_eq!(names("{}").count(), 0);
        assert_eq!(names("{ \n }").count(), 0);
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(|number| json!(number)),
            "[a\"\\\\{}\\[\\],:]{0,8}".prop_map(|text| json!(text)),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a\"\\\\}]{0,3}", inner, 0..4).prop_map(|members| json!(members)),
            ]
        })
    }

    proptest! {
        #[test]
        fn names_are_those_that_a_parser_finds(members in proptest::collection::btree_map("[a-c\"\\\\{},:\n\u{e9}]{0,4}", value(), 0..6)) {
            let object: Map<String, Value> = members.into_iter().collect();
            let expected: Vec<String> = object.keys().cloned().collect();
            let text = Value::Object(object).to_string();
            let found: Vec<String> = names(&text).map(|name| serde_json::from_str(&format!("\"{name}\"")).unwrap()).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn any_text_ends(text in ".{0,40}") {
            names(&text).for_each(drop);
        }
    }
}
