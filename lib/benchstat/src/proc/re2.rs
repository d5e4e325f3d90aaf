//! Regular expressions as Go's engine reads them, for an engine of the same family. What differs is rewritten: perl classes and word boundaries know ASCII only, `\Q…\E`
//! quotes, and within brackets `[`, `&&`, `--` and `~~` stand for themselves.

use regex::bytes::{Regex, RegexBuilder};

/// Compiled programs beyond this are refused: `((a{1000}){1000}){1000}` comes from a web form.
const PROGRAM_LIMIT: usize = 4 << 20;

/// What may stand in `[:…:]`; another engine may take an unknown name for a class of letters.
const CLASSES: [&str; 14] = ["alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word", "xdigit"];

/// Compiles, unanchored.
///
/// # Errors
/// What is wrong with the expression, on one line.
pub(super) fn compile(pattern: &str) -> Result<Regex, String> {
    let failed = |error: regex::Error| {
        let text = error.to_string();
        let reason = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("invalid").trim();
        format!("error parsing regexp: {}", reason.strip_prefix("error: ").unwrap_or(reason))
    };
    RegexBuilder::new(&translate(pattern)?).size_limit(PROGRAM_LIMIT).build().map_err(failed)
}

fn translate(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    let mut in_class = false;
    while let Some(c) = rest.chars().next() {
        let after = rest.get(c.len_utf8()..).unwrap_or_default();
        match c {
            '\\' => {
                let Some(escaped) = after.chars().next() else {
                    return Err("error parsing regexp: trailing backslash at end of expression: ``".to_owned());
                };
                let behind = after.get(escaped.len_utf8()..).unwrap_or_default();
                if escaped == 'Q' && !in_class {
                    let (quoted, next) = behind.split_once("\\E").unwrap_or((behind, ""));
                    out.push_str(&regex::escape(quoted));
                    rest = next;
                    continue;
                }
                match (escaped, in_class) {
                    ('d', false) => out.push_str("[0-9]"),
                    ('D', false) => out.push_str("[^0-9]"),
                    ('s', false) => out.push_str(r"[\t\n\f\r ]"),
                    ('S', false) => out.push_str(r"[^\t\n\f\r ]"),
                    ('w', false) => out.push_str("[0-9A-Za-z_]"),
                    ('W', false) => out.push_str("[^0-9A-Za-z_]"),
                    ('d', true) => out.push_str("0-9"),
                    ('s', true) => out.push_str(r"\t\n\f\r "),
                    ('w', true) => out.push_str("0-9A-Za-z_"),
                    ('D', true) => out.push_str("[^0-9]"),
                    ('S', true) => out.push_str(r"[^\t\n\f\r ]"),
                    ('W', true) => out.push_str("[^0-9A-Za-z_]"),
                    ('b', false) => out.push_str(r"(?-u:\b)"),
                    ('B', false) => out.push_str(r"(?-u:\B)"),
                    _ => out.extend(['\\', escaped]),
                }
                rest = behind;
                continue;
            }
            '[' if !in_class => {
                in_class = true;
                out.push('[');
                rest = after;
                // A bracket that comes first, also behind `^`, is one of the characters.
                if let Some(next) = rest.strip_prefix('^') {
                    out.push('^');
                    rest = next;
                }
                if let Some(next) = rest.strip_prefix(']') {
                    out.push_str(r"\]");
                    rest = next;
                }
                continue;
            }
            '[' if after.starts_with(':') => {
                let name = after.find(":]").and_then(|end| after.get(1..end)).unwrap_or_default();
                if !CLASSES.contains(&name.strip_prefix('^').unwrap_or(name)) {
                    return Err(format!("error parsing regexp: invalid character class range: `[:{name}:]`"));
                }
                out.push_str(&format!("[:{name}:]"));
                rest = after.get(name.len() + 3..).unwrap_or_default();
                continue;
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '[' | '&' | '~' if in_class => out.extend(['\\', c]),
            '-' if in_class && after.starts_with('-') => out.push_str(r"\-"),
            _ => out.push(c),
        }
        rest = after;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_expressions_mean_the_same() {
        let cases: [(&str, &str, bool); 14] = [
            (r"^\d+$", "12", true),
            (r"^\d+$", "१२", false),
            (r"[[:alpha:]]x", "ax", true),
            ("[[a]x", "[x", true),
            ("[a&&b]+$", "&", true),
            (r"\Qa.b\E+", "a.bb", true),
            (r"\Qa.b\E", "axb", false),
            ("[]a]", "]", true),
            ("[^]a]", "]", false),
            (r"[\d-]", "-", true),
            (r"\bé", "é", false),
            ("(?i)É", "é", true),
            ("a|b", "xb", true),
            (r"^.$", "é", true),
        ];
        for (pattern, text, matches) in cases {
            assert_eq!(compile(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}")).is_match(text.as_bytes()), matches, "{pattern} {text}");
        }
    }

    #[test]
    fn what_is_refused() {
        for pattern in ["[[:foo:]]", "(", "[z-a]", "((a{1000}){1000}){1000}", "\\"] {
            assert!(compile(pattern).is_err(), "{pattern}");
        }
    }
}
