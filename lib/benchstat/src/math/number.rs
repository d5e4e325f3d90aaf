//! Numbers as text, in the reference's way: fixed decimals, signed percentages, infinities with a sign, footnotes. (The shortest form that reads back is
//! `protocol_benchfmt::format_float`.)

use std::fmt::Write as _;

use protocol_benchfmt::write_fixed;

/// With this many decimals.
#[must_use]
pub fn fixed(x: f64, decimals: usize) -> String {
    let mut text = String::new();
    match word(x) {
        Some(word) => text.push_str(word),
        None => write_fixed(x, decimals, &mut text),
    }
    text
}

/// As a percentage with two decimals and always a sign: `-7.50%`, `+0.00%`.
#[must_use]
pub fn signed_percent(percent: f64) -> String {
    if percent.is_nan() {
        return "+NaN%".to_owned();
    }
    let mut text = word(percent).map_or_else(|| format!("{percent:+.2}"), str::to_owned);
    text.push('%');
    text
}

fn word(x: f64) -> Option<&'static str> {
    if x.is_nan() {
        Some("NaN")
    } else if x == f64::INFINITY {
        Some("+Inf")
    } else if x == f64::NEG_INFINITY {
        Some("-Inf")
    } else {
        None
    }
}

/// Footnote number in superscript digits.
#[must_use]
pub fn superscript(n: usize) -> String {
    const DIGITS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let mut text = String::new();
    let _ = write!(text, "{n}");
    text.bytes().filter_map(|digit| DIGITS.get(usize::from(digit.wrapping_sub(b'0')))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages() {
        assert_eq!((signed_percent(-7.5).as_str(), signed_percent(0.0).as_str(), signed_percent(-0.0).as_str()), ("-7.50%", "+0.00%", "-0.00%"));
        assert_eq!((signed_percent(f64::NAN).as_str(), signed_percent(f64::INFINITY).as_str()), ("+NaN%", "+Inf%"));
        assert_eq!(fixed(2.5, 0), "2", "ties go to the even digit");
    }

    #[test]
    fn footnotes() {
        assert_eq!((superscript(1).as_str(), superscript(20).as_str()), ("¹", "²⁰"));
    }
}
