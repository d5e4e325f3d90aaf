//! Environment lists and the `path` field (spec buildlet.md §4.3).

/// How an operating system joins PATH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathStyle {
    /// The variable's name.
    pub variable: &'static str,
    /// Between two elements.
    pub separator: char,
    /// Whether variable names are the same in any case.
    pub fold_case: bool,
}

impl PathStyle {
    /// Every Unix.
    pub const UNIX: Self = Self { variable: "PATH", separator: ':', fold_case: false };
    /// Windows.
    pub const WINDOWS: Self = Self { variable: "PATH", separator: ';', fold_case: true };
    /// Plan 9.
    pub const PLAN9: Self = Self { variable: "path", separator: '\0', fold_case: false };

    /// The style of a system, by Go's name of it.
    #[must_use]
    pub fn of(goos: &str) -> Self {
        match goos {
            "windows" => Self::WINDOWS,
            "plan9" => Self::PLAN9,
            _ => Self::UNIX,
        }
    }
}

/// The new PATH value, or none when it stays as it is (no elements given, or the same text).
///
/// In each element `$PATH` stands for the last PATH in `env`, `$WORKDIR` for the work directory and `$EMPTY` for nothing; an element that
/// becomes empty is dropped. `$EMPTY` alone is how a client says "an empty list" rather than "no list".
#[must_use]
pub fn expand_path(elements: &[String], env: &[String], work_dir: &str, style: PathStyle) -> Option<String> {
    if elements.is_empty() {
        return None;
    }
    let old = env_value(env, style.variable, style.fold_case).unwrap_or("");
    let mut out: Vec<String> = Vec::with_capacity(elements.len());
    for element in elements {
        let expanded = replace_variables(element, old, work_dir);
        if !expanded.is_empty() {
            out.push(expanded);
        }
    }
    let joined = out.join(&style.separator.to_string());
    (joined != old).then_some(joined)
}

/// One pass, so that a work directory named `$PATH` is not expanded again.
fn replace_variables(element: &str, path: &str, work_dir: &str) -> String {
    let mut out = String::with_capacity(element.len());
    let mut rest = element;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let replaced =
            [("$PATH", path), ("$WORKDIR", work_dir), ("$EMPTY", "")].iter().find_map(|(name, value)| from.strip_prefix(name).map(|after| (*value, after)));
        if let Some((value, after)) = replaced {
            out.push_str(value);
            rest = after;
        } else {
            out.push('$');
            rest = from.get(1..).unwrap_or("");
        }
    }
    out.push_str(rest);
    out
}

/// The last value of a variable in a `K=V` list.
#[must_use]
pub fn env_value<'a>(env: &'a [String], name: &str, fold_case: bool) -> Option<&'a str> {
    env.iter().rev().find_map(|entry| {
        let (key, value) = entry.split_once('=')?;
        same_key(key, name, fold_case).then_some(value)
    })
}

/// Removes earlier entries of a variable that comes again later; the later one keeps its place. Entries without `=` stay.
#[must_use]
pub fn dedup_env(env: Vec<String>, fold_case: bool) -> Vec<String> {
    let mut seen = std::collections::HashSet::with_capacity(env.len());
    let mut out: Vec<String> = Vec::with_capacity(env.len());
    for entry in env.into_iter().rev() {
        // Windows keeps per-drive directories in variables like `=C:`; their name begins with the equals sign.
        let from = usize::from(entry.starts_with('='));
        let key = entry.get(from..).and_then(|e| e.find('=')).and_then(|at| entry.get(..at + from));
        if let Some(key) = key {
            let key = if fold_case { key.to_lowercase() } else { key.to_owned() };
            if !seen.insert(key) {
                continue;
            }
        }
        out.push(entry);
    }
    out.reverse();
    out
}

fn same_key(a: &str, b: &str, fold_case: bool) -> bool {
    if fold_case { a.eq_ignore_ascii_case(b) } else { a == b }
}

/// Whether a variable of the worker's own environment must not reach a build: instance metadata given by environment, build keys, tokens
/// (spec §11: they leaked into every child).
#[must_use]
pub fn is_secret_variable(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    upper.starts_with("META_")
        || (upper.starts_with("GO_BUILD") && (upper.contains("KEY") || upper.contains("TOKEN")))
        || (upper.starts_with("BURROW_") && ["KEY", "TOKEN", "SECRET", "PASSWORD", "ENROLL"].iter().any(|w| upper.contains(w)))
        || upper == "GOMOTEID"
}
