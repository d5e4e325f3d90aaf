//! The grammars of filters and projections.

use regex::bytes::Regex;

use super::lexer::{Cursor, Kind, Lexer, SyntaxError, Token, quote};

/// Parentheses and signs deeper than this are refused.
const DEEPEST: usize = 200;

/// A filter, as it is written.
#[derive(Debug)]
pub(super) enum Query {
    And(Vec<Query>),
    Or(Vec<Query>),
    Not(Box<Query>),
    Match { key: Vec<u8>, offset: usize, value: Wanted },
}

/// What a value is compared with.
#[derive(Debug)]
pub(super) enum Wanted {
    Literal(Vec<u8>),
    Regex(Regex),
}

impl Wanted {
    pub(super) fn matches(&self, value: &[u8]) -> bool {
        match self {
            Wanted::Literal(literal) => literal == value,
            Wanted::Regex(regex) => regex.is_match(value),
        }
    }
}

/// A term, or `None` after an error, and where to go on.
type Parsed = (Option<Query>, Cursor);

pub(super) fn filter(query: &str) -> Result<Query, SyntaxError> {
    let lexer = Lexer::new(query);
    let parser = Parser { lexer: &lexer };
    let (parsed, end) = parser.either(Cursor(0), 0);
    lexer.expect_end(end);
    // Without an error there is a term.
    lexer.finish(parsed.unwrap_or(Query::And(Vec::new())))
}

struct Parser<'l, 'q> {
    lexer: &'l Lexer<'q>,
}

impl Parser<'_, '_> {
    fn fail(&self, at: Cursor, message: impl Into<String>) -> Parsed {
        (None, self.lexer.fail(at, message))
    }

    fn either(&self, mut at: Cursor, depth: usize) -> Parsed {
        let mut terms = Vec::new();
        loop {
            let (term, next) = self.all(at, depth);
            terms.extend(term);
            at = next;
            let (token, behind) = self.lexer.next(&mut at, false);
            if !matches!(token.kind, Kind::Or) {
                return (one_or(terms, Query::Or), at);
            }
            at = behind;
        }
    }

    fn all(&self, at: Cursor, depth: usize) -> Parsed {
        let mut terms = Vec::new();
        let (term, mut at) = self.term(at, depth);
        terms.extend(term);
        loop {
            let (token, behind) = self.lexer.next(&mut at, false);
            match token.kind {
                // Between terms it says nothing new.
                Kind::And => at = behind,
                Kind::Op(b'(' | b'-' | b'*') | Kind::Word | Kind::Quoted => {
                    let (term, next) = self.term(at, depth);
                    terms.extend(term);
                    at = next;
                }
                Kind::Op(b')') | Kind::Or | Kind::End => return (one_or(terms, Query::And), at),
                _ => return self.fail(at, format!("unexpected {}", quote(&token.text))),
            }
        }
    }

    fn term(&self, mut at: Cursor, depth: usize) -> Parsed {
        let (token, mut behind) = self.lexer.next(&mut at, false);
        if depth >= DEEPEST {
            return self.fail(at, "nested too deeply");
        }
        match token.kind {
            Kind::Op(b'(') => {
                let (inner, mut rest) = self.either(behind, depth + 1);
                let (close, behind) = self.lexer.next(&mut rest, false);
                if close.is_op(b')') { (inner, behind) } else { self.fail(rest, "missing \")\"") }
            }
            Kind::Op(b'-') => {
                let (inner, rest) = self.term(behind, depth + 1);
                (inner.map(|inner| Query::Not(Box::new(inner))), rest)
            }
            Kind::Op(b'*') => (Some(Query::And(Vec::new())), behind),
            Kind::Word | Kind::Quoted => {
                let (colon, mut rest) = self.lexer.next(&mut behind, false);
                if !colon.is_op(b':') {
                    return self.fail(at, "expected key:value");
                }
                let (value, behind) = self.lexer.next(&mut rest, true);
                if value.is_op(b'(') {
                    return self.list(&token, behind);
                }
                match wanted(&token, value) {
                    Some(found) => (Some(found), behind),
                    None => self.fail(at, "expected key:value"),
                }
            }
            _ => self.fail(at, "expected key:value or subexpression"),
        }
    }

    /// `(value OR value)`, behind the parenthesis.
    fn list(&self, key: &Token, mut at: Cursor) -> Parsed {
        let mut terms = Vec::new();
        loop {
            let (value, mut behind) = self.lexer.next(&mut at, true);
            match wanted(key, value) {
                Some(term) => terms.push(term),
                None => return self.fail(at, "expected value"),
            }
            let (separator, next) = self.lexer.next(&mut behind, true);
            match separator.kind {
                Kind::Op(b')') => return (Some(Query::Or(terms)), next),
                Kind::Or => at = next,
                _ => return self.fail(behind, "value list must be separated by OR"),
            }
        }
    }
}

fn wanted(key: &Token, value: Token) -> Option<Query> {
    let value = match value.kind {
        Kind::Word | Kind::Quoted => Wanted::Literal(value.text),
        Kind::Regex(regex) => Wanted::Regex(regex),
        _ => return None,
    };
    Some(Query::Match { key: key.text.clone(), offset: key.offset, value })
}

fn one_or(mut terms: Vec<Query>, several: fn(Vec<Query>) -> Query) -> Option<Query> {
    if terms.len() > 1 { Some(several(terms)) } else { terms.pop() }
}

/// One part of a projection, as it is written.
#[derive(Debug, PartialEq)]
pub(super) struct Part {
    pub(super) key: Vec<u8>,
    pub(super) key_offset: usize,
    pub(super) order: Order,
    pub(super) order_offset: usize,
}

#[derive(Debug, PartialEq)]
pub(super) enum Order {
    Named(Vec<u8>),
    Fixed(Vec<Vec<u8>>),
    /// By first appearance.
    Default,
}

pub(super) fn projection(query: &str) -> Result<Vec<Part>, SyntaxError> {
    let lexer = Lexer::new(query);
    let mut parts: Vec<Part> = Vec::new();
    let mut at = Cursor(0);
    loop {
        let (token, behind) = lexer.next(&mut at, false);
        if matches!(token.kind, Kind::End) {
            return lexer.finish(parts);
        }
        if token.is_op(b',') && !parts.is_empty() {
            at = behind;
        }
        let (part, next) = part(&lexer, at);
        parts.extend(part);
        at = next;
    }
}

fn part(lexer: &Lexer<'_>, mut at: Cursor) -> (Option<Part>, Cursor) {
    let (key, mut behind) = lexer.next(&mut at, false);
    if !key.is_word() {
        return (None, lexer.fail(at, "expected key"));
    }
    let (sign, mut rest) = lexer.next(&mut behind, false);
    let order_offset = key.offset + key.text.len();
    let part = |order, order_offset| Some(Part { key: key.text.clone(), key_offset: key.offset, order, order_offset });
    if !sign.is_op(b'@') {
        return (part(Order::Default, order_offset), behind);
    }
    let (order, mut inside) = lexer.next(&mut rest, false);
    if order.is_word() {
        return (part(Order::Named(order.text), order.offset), inside);
    }
    if !order.is_op(b'(') {
        return (None, lexer.fail(rest, "expected named sort order or parenthesized list"));
    }
    let mut values = Vec::new();
    loop {
        let (value, next) = lexer.next(&mut inside, false);
        if value.is_word() {
            values.push(value.text);
            inside = next;
        } else if !value.is_op(b')') {
            return (None, lexer.fail(inside, "missing )"));
        } else if values.is_empty() {
            return (None, lexer.fail(inside, "nothing to match"));
        } else {
            return (part(Order::Fixed(values), order.offset), next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(query: &Query) -> String {
        let list = |terms: &[Query], word: &str| match terms {
            [] => "*".to_owned(),
            terms => format!("({})", terms.iter().map(show).collect::<Vec<_>>().join(word)),
        };
        match query {
            Query::And(terms) => list(terms, " AND "),
            Query::Or(terms) => list(terms, " OR "),
            Query::Not(term) => format!("-{}", show(term)),
            Query::Match { key, value: Wanted::Literal(value), .. } => format!("{}:{}", String::from_utf8_lossy(key), String::from_utf8_lossy(value)),
            Query::Match { key, value: Wanted::Regex(regex), .. } => format!("{}:/{regex}/", String::from_utf8_lossy(key)),
        }
    }

    #[test]
    fn filters() {
        let cases = [
            ("*", "*"),
            ("a:b", "a:b"),
            ("a : b", "a:b"),
            (r#""a":"b c""#, "a:b c"),
            (r#""a\u2603":b"#, "a☃:b"),
            ("a-b:c", "a-b:c"),
            ("a*b:c", "a*b:c"),
            ("(a:b)", "a:b"),
            ("a:b c:d e:f", "(a:b AND c:d AND e:f)"),
            ("-a:b AND c:d", "(-a:b AND c:d)"),
            ("-(a:b AND c:d)", "-(a:b AND c:d)"),
            ("a:b AND * AND c:d", "(a:b AND * AND c:d)"),
            ("-*", "-*"),
            ("a:b AND c:d OR e:f AND g:h", "((a:b AND c:d) OR (e:f AND g:h))"),
            ("a:b AND (c:d OR e:f) AND g:h", "(a:b AND (c:d OR e:f) AND g:h)"),
            (r"a:/b[/](/)\/c/", r"a:/b[/](/)\/c/"),
            ("a:(b OR c OR d)", "(a:b OR a:c OR a:d)"),
            (r#"a:(b OR "c " OR /d/)"#, "(a:b OR a:c  OR a:/d/)"),
            ("a:b AND", "a:b"),
        ];
        for (query, shown) in cases {
            assert_eq!(show(&filter(query).unwrap_or_else(|e| panic!("{e}"))), shown, "{query}");
        }
    }

    #[test]
    fn wrong_filters() {
        let cases = [
            ("a", "expected key:value", 0),
            ("a :", "expected key:value", 0),
            ("a:", "expected key:value", 0),
            ("", "expected key:value or subexpression", 0),
            ("()", "expected key:value or subexpression", 1),
            ("AND", "expected key:value or subexpression", 0),
            (r#""a\z":b"#, "bad escape sequence", 0),
            (r#"a "b"#, "missing end quote", 2),
            ("(a:b", "missing \")\"", 4),
            ("(a:b))", "unexpected \")\"", 5),
            ("a:/b", "missing close \"/\"", 2),
            ("a:/b/c", "regexp must be followed by space or an operator (unescaped \"/\"?)", 5),
            ("a:(b c)", "value list must be separated by OR", 5),
            ("a:(b AND c)", "value list must be separated by OR", 5),
            ("a:(b OR AND)", "expected value", 8),
            ("a:()", "expected value", 3),
            ("a:b : c", "unexpected \":\"", 4),
        ];
        for (query, message, offset) in cases {
            let error = filter(query).unwrap_err();
            assert_eq!((error.message.as_str(), error.offset), (message, offset), "{query}");
        }
        assert_eq!(filter("a:/[[:foo:]]/").unwrap_err().message, "error parsing regexp: invalid character class range: `[:foo:]`");
        assert_eq!(filter(&"(".repeat(100_000)).unwrap_err().message, "nested too deeply");
        assert_eq!(filter(&"-".repeat(100_000)).unwrap_err().message, "nested too deeply");
    }

    fn keys(query: &str) -> Vec<String> {
        let shown = |part: Part| match part.order {
            Order::Default => String::from_utf8(part.key).unwrap(),
            Order::Named(name) => format!("{}@{}", String::from_utf8_lossy(&part.key), String::from_utf8_lossy(&name)),
            Order::Fixed(list) => {
                format!("{}@({})", String::from_utf8_lossy(&part.key), list.iter().map(|v| String::from_utf8_lossy(v)).collect::<Vec<_>>().join(" "))
            }
        };
        projection(query).unwrap_or_else(|e| panic!("{e}")).into_iter().map(shown).collect()
    }

    #[test]
    fn projections() {
        assert_eq!(keys(""), Vec::<String>::new());
        for query in ["a,b", "a, b", "a b"] {
            assert_eq!(keys(query), ["a", "b"]);
        }
        assert_eq!(keys("a,.name,/b"), ["a", ".name", "/b"]);
        assert_eq!(keys("a@alpha, b@num c@(1 \"2 3\")"), ["a@alpha", "b@num", "c@(1 2 3)"]);
    }

    #[test]
    fn wrong_projections() {
        let cases = [
            ("a,,b", "expected key", 2),
            ("a@", "expected named sort order or parenthesized list", 2),
            ("a@,b", "expected named sort order or parenthesized list", 2),
            ("a@(", "missing )", 3),
            ("a@(,", "missing )", 3),
            ("a@()", "nothing to match", 3),
            (",a", "expected key", 0),
            ("(", "expected key", 0),
        ];
        for (query, message, offset) in cases {
            let error = projection(query).unwrap_err();
            assert_eq!((error.message.as_str(), error.offset), (message, offset), "{query}");
        }
    }
}
