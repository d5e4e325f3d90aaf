//! The query language above the store's: `PREFIX | A vs B vs C` (`spec/perf.md` §8.2).

/// Queries to be compared, and what all of them begin with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Split {
    /// Words before the bar; empty if there is none.
    pub prefix: String,
    /// The queries, at least one, in order.
    pub queries: Vec<String>,
}

/// Takes a text apart. Quotes and backslashes stay as they are: the store's language reads them.
///
/// ```
/// let split = burrow_perf::split::split("goos:linux | commit:a vs commit:b");
/// assert_eq!((split.prefix.as_str(), split.queries), ("goos:linux", vec!["commit:a".to_owned(), "commit:b".to_owned()]));
/// ```
pub fn split(text: &str) -> Split {
    let mut split = Split::default();
    let mut words: Vec<&str> = Vec::new();
    for (word, blank_follows) in words_of(text) {
        match word {
            "|" if blank_follows && split.prefix.is_empty() => {
                split.prefix = words.join(" ");
                words.clear();
            }
            "vs" if blank_follows => {
                split.queries.push(words.join(" "));
                words.clear();
            }
            word => words.push(word),
        }
    }
    split.queries.push(words.join(" "));
    split
}

/// Words between blanks that stand outside of quotes, each with whether a blank follows it.
fn words_of(text: &str) -> impl Iterator<Item = (&str, bool)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches([' ', '\t']);
        if rest.is_empty() {
            return None;
        }
        let (mut quoted, mut escaped) = (false, false);
        let end = rest
            .char_indices()
            .find(|(_, c)| {
                if escaped {
                    escaped = false;
                    return false;
                }
                match c {
                    '\\' => escaped = true,
                    '"' => quoted = !quoted,
                    ' ' | '\t' => return !quoted,
                    _ => {}
                }
                false
            })
            .map_or(rest.len(), |(at, _)| at);
        let (word, after) = rest.split_at(end);
        rest = after;
        Some((word, !after.is_empty()))
    })
}

/// `label:value`, in quotes if it needs them.
pub fn term(label: &str, value: &str) -> String {
    let plain = format!("{label}:{value}");
    if !plain.contains([' ', '\t', '\\', '"']) {
        return plain;
    }
    let mut quoted = String::with_capacity(plain.len() + 4);
    quoted.push('"');
    for c in plain.chars() {
        if matches!(c, '\\' | '"') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

/// The query narrowed to a value of a label.
pub fn narrowed(query: &str, label: &str, value: &str) -> String {
    let add = term(label, value);
    if query.contains('|') { format!("{add} {query}") } else { format!("{add} | {query}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_reference_splits() {
        let cases: [(&str, &str, &[&str]); 13] = [
            ("one", "", &["one"]),
            ("one vs two", "", &["one", "two"]),
            ("one vs \"two vs three\"", "", &["one", "\"two vs three\""]),
            ("prefix one vs two", "", &["prefix one", "two"]),
            ("prefix | one vs two", "prefix", &["one", "two"]),
            ("a\tb |  c   d  vs e", "a b", &["c d", "e"]),
            ("one vs", "", &["one vs"]),
            ("one |", "", &["one |"]),
            ("a | b | c vs d", "a", &["b | c", "d"]),
            ("a:\"x | y\" vs b", "", &["a:\"x | y\"", "b"]),
            ("a\\ vs b", "", &["a\\ vs b"]),
            ("vs b", "", &["", "b"]),
            ("", "", &[""]),
        ];
        for (text, prefix, queries) in cases {
            let split = split(text);
            assert_eq!((split.prefix.as_str(), split.queries.iter().map(String::as_str).collect::<Vec<_>>().as_slice()), (prefix, queries), "{text:?}");
        }
    }

    #[test]
    fn narrowing_quotes_what_needs_it() {
        assert_eq!(narrowed("a vs b", "goos", "linux"), "goos:linux | a vs b");
        assert_eq!(narrowed("x | a vs b", "cpu", "Big \"CPU\""), "\"cpu:Big \\\"CPU\\\"\" x | a vs b");
    }
}
