//! JSON taken apart without losing anything: the fields that nobody knows are kept byte for byte where that is possible, and in one canonical form otherwise.
//!
//! serde_json's own value would turn long numbers into other numbers. Here a number stays the text that it is.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// How deep objects may lie within each other. Nothing of GitHub's comes near; a crafted answer must not end the stack.
const MAX_DEPTH: usize = 100;

/// The fields of an object that have a value other than null.
pub(crate) type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// Takes an object apart; of a name that stands there twice, the last counts. `None`: not an object.
pub(crate) fn fields(text: &str) -> Option<Fields<'_>> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let mut all: Fields<'_> = serde_json::from_str(text).ok()?;
    all.retain(|_, value| value.get() != "null");
    Some(all)
}

/// The text of a string value.
pub(crate) fn string(value: &RawValue) -> Option<String> {
    if value.get().starts_with('"') { serde_json::from_str(value.get()).ok() } else { None }
}

/// A number: 0 when it is not whole or too long. `None`: not a number.
pub(crate) fn number(value: &RawValue) -> Option<i64> {
    let text = value.get();
    text.starts_with(|first: char| first == '-' || first.is_ascii_digit()).then(|| text.parse().unwrap_or(0))
}

/// Writes an object in the form that Go programs write it, since they wrote the log so far: names sorted, no blanks, `<`, `>` and `&` as escapes.
///
/// `None` when it is nested too deeply.
pub(crate) fn canonical(fields: &Fields<'_>) -> Option<String> {
    let mut out = String::new();
    write_object(fields, &mut out, 0)?;
    Some(out)
}

fn write_object(fields: &Fields<'_>, out: &mut String, depth: usize) -> Option<()> {
    out.push('{');
    for (nth, (name, value)) in fields.iter().enumerate() {
        if nth > 0 {
            out.push(',');
        }
        write_string(name, out);
        out.push(':');
        write_value(value, out, depth + 1)?;
    }
    out.push('}');
    Some(())
}

fn write_value(value: &RawValue, out: &mut String, depth: usize) -> Option<()> {
    if depth > MAX_DEPTH {
        return None;
    }
    let text = value.get();
    match text.as_bytes().first()? {
        b'{' => write_object(&serde_json::from_str::<Fields<'_>>(text).ok()?, out, depth),
        b'[' => {
            out.push('[');
            for (nth, item) in serde_json::from_str::<Vec<&RawValue>>(text).ok()?.into_iter().enumerate() {
                if nth > 0 {
                    out.push(',');
                }
                write_value(item, out, depth + 1)?;
            }
            out.push(']');
            Some(())
        }
        b'"' => {
            write_string(&string(value)?, out);
            Some(())
        }
        // Numbers and words are what they are.
        _ => {
            out.push_str(text);
            Some(())
        }
    }
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => out.push_str(&format!("\\u{:04x}", u32::from(character))),
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical_of(text: &str) -> Option<String> {
        canonical(&fields(text)?)
    }

    #[test]
    fn unknown_fields_keep_what_they_are() {
        let text = r#" {"b": [1, 2.50, 1e400, {"y":null,"x":true}], "a" : "<é&\u2028\u0001\"\\\/>", "gone": null, "n": 123456789012345678901234567890} "#;
        let want = r#"{"a":"\u003cé\u0026\u2028\u0001\"\\/\u003e","b":[1,2.50,1e400,{"x":true,"y":null}],"n":123456789012345678901234567890}"#;
        assert_eq!(canonical_of(text).as_deref(), Some(want));
        assert_eq!(canonical_of(want).as_deref(), Some(want), "the canonical form is its own");
        assert_eq!(canonical_of("[]"), None);
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(canonical_of(&nested(90)).is_some());
        assert!(canonical_of(&nested(101)).is_none());
        assert!(canonical_of(&nested(100_000)).is_none());
    }

    #[test]
    fn numbers_are_whole_or_nothing() {
        let all = fields(r#"{"a":5,"b":-5,"c":1.5,"d":"5","e":99999999999999999999}"#).unwrap();
        let read: Vec<_> = all.values().map(|value| number(value)).collect();
        assert_eq!(read, [Some(5), Some(-5), Some(0), None, Some(0)]);
    }
}
