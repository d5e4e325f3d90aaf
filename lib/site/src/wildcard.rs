//! The one wildcard of all configurations and addresses: `*`.

use std::fmt;

use wildmatch::WildMatchPattern;

/// Text in which `*` stands for any run of characters, `/` and nothing at all included. Nothing else is special, and upper and lower case differ. The time to
/// match is the product of the lengths at worst.
///
/// ```
/// use burrow_site::Wildcard;
/// assert!(Wildcard::new("refs/heads/*").matches("refs/heads/a/b"));
/// assert!(Wildcard::new("release-*.x").matches("release-1.2.x"));
/// assert!(!Wildcard::new("main").matches("main2") && !Wildcard::new("m?in").matches("main"));
/// ```
#[derive(Clone)]
pub struct Wildcard {
    text: String,
    // The crate wants a sign for a single character. No name that is matched holds a NUL.
    compiled: WildMatchPattern<'*', '\0'>,
}

impl Wildcard {
    /// From its text.
    pub fn new(text: impl Into<String>) -> Wildcard {
        let text = text.into();
        Wildcard { compiled: WildMatchPattern::new(&text), text }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What everything that fits begins with.
    pub fn prefix(&self) -> &str {
        self.text.split('*').next().unwrap_or_default()
    }

    /// Whether all of `name` fits.
    pub fn matches(&self, name: &str) -> bool {
        self.compiled.matches(name)
    }
}

impl PartialEq for Wildcard {
    fn eq(&self, other: &Wildcard) -> bool {
        self.text == other.text
    }
}

impl Eq for Wildcard {}

impl fmt::Debug for Wildcard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl fmt::Display for Wildcard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_match_runs_and_nothing_else_is_special() {
        for (pattern, text, fits) in [
            ("", "", true),
            ("", "x", false),
            ("*", "", true),
            ("**", "x", true),
            ("a**", "ab", true),
            ("*x", "xx", true),
            ("a*", "b", false),
            ("a*c", "abbc", true),
            ("a*c", "abbcd", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("ab*ba", "aba", false),
            ("*/internal/*", "go_test:a/internal/b", true),
            ("src/**", "src/a/b", true),
            ("a?c", "abc", false),
            ("[ab]", "a", false),
            ("{a,b}", "a", false),
            ("\\*", "*", false),
            ("\\*", "\\x", true),
            ("dev.*", "dev", false),
            ("GIT:*", "git:x", false),
            ("ä*ß", "ä–ß", true),
            ("é*", "e\u{301}", false),
            (&"*a".repeat(100), &"a".repeat(99), false),
            (&format!("{}b", "*a".repeat(500)), &"a".repeat(5_000), false),
        ] {
            assert_eq!(Wildcard::new(pattern).matches(text), fits, "{pattern} on {text}");
        }
    }

    #[test]
    fn the_text_stays_as_it_was_written() {
        let pattern = Wildcard::new("a/**b*");
        assert_eq!((pattern.as_str(), pattern.prefix(), pattern.to_string().as_str()), ("a/**b*", "a/", "a/**b*"));
        assert_ne!(pattern, Wildcard::new("a/*b*"));
    }
}
