//! The `Link` header (RFC 8288), as far as paging uses it.

/// The target of the first link with relation `next`, as it stands there.
///
/// GitHub puts a page number, a cursor (`after=`) or both into it; whoever follows it need not know which.
pub(crate) fn next(header: &str) -> Option<&str> {
    let mut rest = header;
    loop {
        let (_, after) = rest.split_once('<')?;
        let (target, after) = after.split_once('>')?;
        let (parameters, after) = split_parameters(after);
        if is_next(parameters) {
            return Some(target);
        }
        rest = after;
    }
}

/// Splits at the comma that ends this link: one outside of quotes.
fn split_parameters(text: &str) -> (&str, &str) {
    let mut quoted = false;
    for (at, character) in text.char_indices() {
        match character {
            '"' => quoted = !quoted,
            ',' if !quoted => return text.split_at_checked(at).unwrap_or((text, "")),
            _ => {}
        }
    }
    (text, "")
}

fn is_next(parameters: &str) -> bool {
    parameters.split(';').filter_map(|parameter| parameter.trim().split_once('=')).any(|(name, value)| {
        let value = value.trim().trim_matches('"');
        name.trim().eq_ignore_ascii_case("rel") && value.split_ascii_whitespace().any(|relation| relation.eq_ignore_ascii_case("next"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_among_the_links() {
        let pages = r#"<https://api.github.com/repositories/1/issues?page=2>; rel="next", <https://api.github.com/repositories/1/issues?page=5>; rel="last""#;
        assert_eq!(next(pages), Some("https://api.github.com/repositories/1/issues?page=2"));
        let cursors = r#"<https://h/x?before=A%3D,b>; rel="prev", <https://h/x?after=Y3Vyc29yOnYyOpLPAAAB%3D%3D&page=2>; title="a, b; rel=next"; rel="next""#;
        assert_eq!(next(cursors), Some("https://h/x?after=Y3Vyc29yOnYyOpLPAAAB%3D%3D&page=2"));
        assert_eq!(next("<a>; REL=next"), Some("a"));
        assert_eq!(next(r#"<a>; rel="last first""#), None);
        for odd in ["", "<", "<a", "a>; rel=next", "<a>", "<a>; rel", ",,,", "<a>;\"", "<a>; rel=\"prev"] {
            assert_eq!(next(odd), None, "{odd}");
        }
    }
}
