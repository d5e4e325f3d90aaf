//! The rule for relative paths (spec buildlet.md §3.3), shared by every parameter, tar name and relative command.

/// Why a path was refused. The texts are those Go peers know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The parameter is missing or empty.
    #[error("path not provided")]
    Missing,
    /// Absolute, or (on Windows) with a volume name or a leading separator.
    #[error("invalid path: it must be relative to the work directory")]
    Absolute,
    /// Its cleaned form leaves the work directory.
    #[error("invalid path: it leaves the work directory")]
    Escapes,
    /// A NUL byte, which no system allows in a name.
    #[error("invalid path: it contains a NUL byte")]
    Nul,
}

/// Checks a path from outside against the rule for Unix workers. The *uncleaned* path is what is then used: `a/../b` passes.
///
/// # Errors
/// [`PathError`] says which part of the rule it breaks; the classic endpoints answer 400 with its text.
pub fn check_path(path: &str) -> Result<(), PathError> {
    check(path, false)
}

/// The same rule on a Windows worker, where `\` separates and a volume name (`C:`) is refused too.
///
/// # Errors
/// As [`check_path`].
pub fn check_path_windows(path: &str) -> Result<(), PathError> {
    let bytes = path.as_bytes();
    if let [first, ..] = bytes
        && matches!(first, b'/' | b'\\')
    {
        return Err(PathError::Absolute);
    }
    // A colon anywhere opens a volume or an alternate data stream; neither belongs into a build's path.
    if bytes.contains(&b':') {
        return Err(PathError::Absolute);
    }
    check(path, true)
}

fn check(path: &str, windows: bool) -> Result<(), PathError> {
    if path.is_empty() {
        return Err(PathError::Missing);
    }
    if path.contains('\0') {
        return Err(PathError::Nul);
    }
    if path.starts_with('/') {
        return Err(PathError::Absolute);
    }
    let mut depth: usize = 0;
    for part in path.split(|c| c == '/' || (windows && c == '\\')) {
        match part {
            "" | "." => {}
            ".." => depth = depth.checked_sub(1).ok_or(PathError::Escapes)?,
            _ => depth = depth.saturating_add(1),
        }
    }
    Ok(())
}

/// The shortest equivalent of a relative path: no `.`, no empty parts, `..` resolved as text. `.` when nothing is left.
/// Parts that would leave the start stay in front, as in Go's `path.Clean`.
#[must_use]
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&last) if last != ".." => {
                    parts.pop();
                }
                _ if rooted => {}
                _ => parts.push(".."),
            },
            _ => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}
