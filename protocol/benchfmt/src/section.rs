//! A comparison within the log of a build: how the runner marks it, so that the page of the build can show it without searching.

/// The line before a comparison.
pub const BEGIN: &str = "=== burrow bench: comparison";
/// The line behind it.
pub const END: &str = "=== burrow bench: end";

/// The lines of the last whole comparison of a log, without its marks.
#[must_use]
pub fn find<S: AsRef<str>>(lines: &[S]) -> Option<&[S]> {
    let at = |mark: &str, lines: &[S]| lines.iter().rposition(|line| line.as_ref().trim_end() == mark);
    let end = at(END, lines)?;
    let begin = at(BEGIN, lines.get(..end)?)?;
    lines.get(begin + 1..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_whole_one_counts() {
        let log = ["x", BEGIN, "old", END, "y", BEGIN, "new 1", "new 2\r", "=== burrow bench: end\r", BEGIN, "cut off"];
        assert_eq!(find(&log), Some(&["new 1", "new 2\r"][..]));
        assert_eq!(find(&["x", BEGIN, "cut off"]), None);
        assert_eq!(find(&["x", END]), None);
        assert_eq!(find::<&str>(&[]), None);
    }
}
