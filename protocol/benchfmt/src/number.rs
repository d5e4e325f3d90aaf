//! Numbers as Go reads and writes them.

use std::fmt::Write as _;

/// Why a text is no number. Its words are the reference's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// It does not look like a number.
    #[error("invalid syntax")]
    Syntax,
    /// It is a number, but too large.
    #[error("value out of range")]
    Range,
}

/// Powers of ten that are exact as `f64`.
const TENS: [f64; 23] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22];

/// A decimal integer of 64 bits, with a sign if it likes.
///
/// # Errors
/// It is none, or too large: whichever is met first, from left to right.
pub fn parse_int(text: &[u8]) -> Result<i64, NumberError> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    // The reference looks at underscores first where its fast path (texts below 19 bytes) ends; they are wrong all the same, but not "out of range".
    if digits.is_empty() || !underscores_are_right(digits) {
        return Err(NumberError::Syntax);
    }
    let mut number = 0u64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(NumberError::Syntax);
        }
        number = number.checked_mul(10).and_then(|number| number.checked_add(u64::from(digit))).ok_or(NumberError::Range)?;
    }
    if negative { 0i64.checked_sub_unsigned(number) } else { i64::try_from(number).ok() }.ok_or(NumberError::Range)
}

/// A floating-point number: decimal, with exponent, hexadecimal (`0x1p3`), with `_` between digits, `Inf`, `Infinity` and `NaN` in any case. The result is the
/// nearest `f64`.
///
/// # Errors
/// It is none, or too large for a finite `f64`.
pub fn parse_float(text: &[u8]) -> Result<f64, NumberError> {
    match plain(text) {
        Some(number) => Ok(number),
        None => any(text),
    }
}

/// Digits with at most one point, few enough that one division is exact: nearly everything that is measured.
#[inline]
fn plain(text: &[u8]) -> Option<f64> {
    let mut mantissa = 0u64;
    let mut digits = text.iter();
    let mut count = 0usize;
    let fraction = loop {
        let Some(byte) = digits.next() else { break 0 };
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
            count += 1;
        } else if *byte == b'.' {
            let fraction = digits.as_slice();
            for byte in fraction {
                let digit = byte.wrapping_sub(b'0');
                if digit > 9 {
                    return None;
                }
                mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
                count += 1;
            }
            break fraction.len();
        } else {
            return None;
        }
    };
    // 19 digits cannot have overflowed; 2^53 and below is exact, and one division by an exact power rounds once.
    if count == 0 || count > 19 || (fraction > 0 && mantissa > 1 << 53) {
        return None;
    }
    if fraction == 0 { Some(mantissa as f64) } else { Some(mantissa as f64 / TENS.get(fraction)?) }
}

/// A number as [`plain`] knows it at the beginning of a text, and what stands behind it and a blank or tab. `None`: look at it with more care.
#[inline]
pub(crate) fn leading_plain(text: &[u8]) -> Option<(f64, &[u8])> {
    let (mut mantissa, count, mut rest) = leading_digits(0, text);
    let mut digits = count;
    let mut divisor = 1.0;
    if let [b'.', fraction @ ..] = rest {
        let more;
        (mantissa, more, rest) = leading_digits(mantissa, fraction);
        digits += more;
        if mantissa > 1 << 53 {
            return None;
        }
        divisor = *TENS.get(more)?;
    }
    match rest {
        [b' ' | b'\t', behind @ ..] if digits > 0 && digits <= 19 => Some((mantissa as f64 / divisor, behind)),
        _ => None,
    }
}

/// A natural number of at most 18 digits at the beginning of a text, and what stands behind it and a blank or tab.
#[inline]
pub(crate) fn leading_natural(text: &[u8]) -> Option<(i64, &[u8])> {
    match leading_digits(0, text) {
        (number, 1..=18, [b' ' | b'\t', behind @ ..]) => Some((number as i64, behind)),
        _ => None,
    }
}

/// Digits put behind those of a number: the number, how many there were, what stands behind them. Numbers of more than 19 digits are wrong.
#[inline]
fn leading_digits(mut number: u64, text: &[u8]) -> (u64, usize, &[u8]) {
    let mut count = 0;
    let mut rest = text;
    while let [byte @ b'0'..=b'9', behind @ ..] = rest {
        number = number.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
        count += 1;
        rest = behind;
    }
    (number, count, rest)
}

fn any(text: &[u8]) -> Result<f64, NumberError> {
    if !underscores_are_right(text) {
        return Err(NumberError::Syntax);
    }
    let (sign, unsigned) = match text {
        [b'-', rest @ ..] => (-1.0, rest),
        [b'+', rest @ ..] => (1.0, rest),
        rest => (1.0, rest),
    };
    if unsigned.eq_ignore_ascii_case(b"inf") || unsigned.eq_ignore_ascii_case(b"infinity") {
        return Ok(sign * f64::INFINITY);
    }
    if text.eq_ignore_ascii_case(b"nan") {
        return Ok(f64::NAN);
    }
    if let [b'0', b'x' | b'X', digits @ ..] = unsigned
        && !digits.is_empty()
    {
        return hexadecimal(digits).map(|number| sign * number);
    }
    if !text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-' | b'_')) {
        return Err(NumberError::Syntax);
    }
    let digits: Vec<u8> = text.iter().copied().filter(|byte| *byte != b'_').collect();
    let number: f64 = std::str::from_utf8(&digits).ok().and_then(|text| text.parse().ok()).ok_or(NumberError::Syntax)?;
    if number.is_infinite() { Err(NumberError::Range) } else { Ok(number) }
}

/// What stands behind `0x`.
fn hexadecimal(text: &[u8]) -> Result<f64, NumberError> {
    let mut mantissa = 0u64;
    let mut lost = false;
    let mut exponent = 0i64;
    let (mut point, mut any) = (false, false);
    let mut bytes = text.iter();
    let power = loop {
        let digit = match bytes.next() {
            Some(b'_') => continue,
            Some(b'.') if !point => {
                point = true;
                continue;
            }
            Some(b'p' | b'P') => break bytes.as_slice(),
            Some(byte) => char::from(*byte).to_digit(16).ok_or(NumberError::Syntax)?,
            // The exponent is not optional.
            None => return Err(NumberError::Syntax),
        };
        any = true;
        if mantissa >> 60 == 0 {
            mantissa = mantissa << 4 | u64::from(digit);
            exponent -= if point { 4 } else { 0 };
        } else {
            lost |= digit != 0;
            exponent += if point { 0 } else { 4 };
        }
    };
    let (sign, digits) = match power {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] => (1, digits),
        digits => (1, digits),
    };
    if !any || !digits.first().is_some_and(u8::is_ascii_digit) || !digits.iter().all(|byte| byte.is_ascii_digit() || *byte == b'_') {
        return Err(NumberError::Syntax);
    }
    let power =
        digits.iter().filter(|byte| **byte != b'_').fold(0i64, |power, digit| if power < 10_000 { power * 10 + i64::from(digit - b'0') } else { power });
    round(mantissa, exponent + sign * power, lost)
}

/// mantissa · 2^exponent, rounded to the nearest, ties to even; `lost`: a little more than that.
fn round(mantissa: u64, exponent: i64, lost: bool) -> Result<f64, NumberError> {
    if mantissa == 0 {
        return Ok(0.0);
    }
    let shift = mantissa.leading_zeros();
    let mantissa = mantissa << shift;
    // The value lies in [2^top, 2^(top+1)).
    let top = exponent - i64::from(shift) + 63;
    // Bits that are kept: 53, fewer below the smallest normal number.
    let kept = if top >= -1022 { 53 } else { 53 - (-1022 - top) };
    if kept < 0 {
        return Ok(0.0);
    }
    let dropped = 64 - kept;
    let (whole, rest, half) = match u32::try_from(dropped) {
        Ok(dropped @ 1..=63) => (mantissa >> dropped, mantissa & ((1 << dropped) - 1), 1u64 << (dropped - 1)),
        _ => (0, mantissa, 1 << 63),
    };
    let up = rest > half || (rest == half && (lost || whole & 1 == 1));
    let whole = whole + u64::from(up);
    if top > 1023 || (top == 1023 && whole >> 53 == 1) {
        return Err(NumberError::Range);
    }
    // `whole` may have become 2^53 (or the smallest normal number): adding it to the exponent field carries as it should.
    let bits = if kept == 53 { ((top + 1022) as u64) << 52 } else { 0 };
    Ok(f64::from_bits(bits + whole))
}

/// Whether every `_` stands between digits, where `0x`, `0b` and `0o` count as one.
fn underscores_are_right(text: &[u8]) -> bool {
    if memchr::memchr(b'_', text).is_none() {
        return true;
    }
    let text = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    let (hex, mut digit, rest) = match text {
        [b'0', b'x' | b'X', rest @ ..] => (true, true, rest),
        [b'0', b'b' | b'B' | b'o' | b'O', rest @ ..] => (false, true, rest),
        rest => (false, false, rest),
    };
    let mut open = false;
    for byte in rest {
        let is_digit = byte.is_ascii_digit() || (hex && byte.is_ascii_hexdigit());
        if *byte == b'_' {
            if !digit {
                return false;
            }
            (open, digit) = (true, false);
        } else if is_digit {
            (open, digit) = (false, true);
        } else if open {
            return false;
        } else {
            digit = false;
        }
    }
    !open
}

/// Writes a number in the shortest form that reads back as the same, as `%v` of Go: with an exponent below 1e-4 and from 1e6 on (`spec/perf.md` §2.5).
pub fn write_float(number: f64, out: &mut String) {
    if !number.is_finite() {
        return out.push_str(not_finite(number));
    }
    let mut buffer = zmij::Buffer::new();
    let shortest = Shortest::of(buffer.format_finite(number));
    if (-4..6).contains(&shortest.exponent) {
        return shortest.write_plain(out);
    }
    out.push_str(shortest.sign);
    let mut digits = shortest.digits();
    out.extend(digits.next());
    if shortest.count > 1 {
        out.push('.');
        out.extend(digits);
    }
    // Writing to a string cannot fail.
    let _ = write!(out, "e{}{:02}", if shortest.exponent < 0 { '-' } else { '+' }, shortest.exponent.abs());
}

/// Writes a finite number with this many decimals; ties go to the even digit.
pub fn write_fixed(number: f64, decimals: usize, out: &mut String) {
    // Whole numbers are what the formatter of the standard library is slowest at.
    let whole = number as i32;
    // Writing to a string cannot fail.
    if whole != 0 && f64::from(whole) == number {
        let _ = write!(out, "{whole}");
        if decimals > 0 {
            out.push('.');
            out.extend(std::iter::repeat_n('0', decimals));
        }
    } else {
        let _ = write!(out, "{number:.decimals$}");
    }
}

/// Writes a number in the shortest form that reads back as the same, without exponent.
pub(crate) fn write_plain_float(number: f64, out: &mut String) {
    if !number.is_finite() {
        return out.push_str(not_finite(number));
    }
    let mut buffer = zmij::Buffer::new();
    Shortest::of(buffer.format_finite(number)).write_plain(out);
}

/// The reference's words for what is no number.
pub(crate) fn not_finite(number: f64) -> &'static str {
    match number {
        n if n.is_nan() => "NaN",
        n if n > 0.0 => "+Inf",
        _ => "-Inf",
    }
}

/// The shortest digits of a number. Where two are as short and as near, the even one counts, as in Go; the formatter of the standard library takes the other.
struct Shortest<'b> {
    sign: &'static str,
    /// Digits, with a point somewhere and zeros around them.
    mantissa: &'b str,
    /// How many digits there are from the first to the last that is no zero; 1 for zero.
    count: usize,
    /// The power of ten of the first digit.
    exponent: i32,
}

impl<'b> Shortest<'b> {
    /// From what the formatter writes: `-0.012`, `1.5e-7`.
    fn of(text: &'b str) -> Shortest<'b> {
        let (sign, text) = text.strip_prefix('-').map_or(("", text), |text| ("-", text));
        let (mantissa, power) = text.split_once('e').unwrap_or((text, "0"));
        let whole = mantissa.find('.').unwrap_or(mantissa.len());
        let significant = |c: &(usize, char)| matches!(c.1, '1'..='9');
        let digits = || mantissa.chars().filter(|c| *c != '.').enumerate();
        let first = digits().find(significant).map_or(0, |(at, _)| at);
        let last = digits().filter(significant).last().map_or(first, |(at, _)| at);
        let zero = digits().all(|digit| !significant(&digit));
        let exponent = if zero { 0 } else { power.parse().unwrap_or(0) + whole as i32 - 1 - first as i32 };
        Shortest { sign, mantissa, count: last - first + 1, exponent }
    }

    /// The digits, from the first to the last that is no zero.
    fn digits(&self) -> impl Iterator<Item = char> + use<'_, 'b> {
        let zero = self.mantissa.chars().all(|c| matches!(c, '0' | '.'));
        self.mantissa.chars().filter(|c| *c != '.').skip_while(move |c| *c == '0' && !zero).take(self.count)
    }

    fn write_plain(&self, out: &mut String) {
        out.push_str(self.sign);
        let mut digits = self.digits();
        if self.exponent < 0 {
            out.push_str("0.");
            out.extend((1..-self.exponent).map(|_| '0'));
            out.extend(digits);
            return;
        }
        out.extend((0..=self.exponent).map(|_| digits.next().unwrap_or('0')));
        if let Some(next) = digits.next() {
            out.extend(['.', next]);
            out.extend(digits);
        }
    }
}

/// A number as [`write_float`] writes it.
#[must_use]
pub fn format_float(number: f64) -> String {
    let mut text = String::new();
    write_float(number, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn integers() {
        for (text, number) in
            [("0", Ok(0)), ("+7", Ok(7)), ("-7", Ok(-7)), ("007", Ok(7)), ("9223372036854775807", Ok(i64::MAX)), ("-9223372036854775808", Ok(i64::MIN))]
        {
            assert_eq!(parse_int(text.as_bytes()), number, "{text}");
        }
        for text in ["", "-", "0x10", "1_0", "1.", "1e3", "--1", "१", "1_00000000000000000000_"] {
            assert_eq!(parse_int(text.as_bytes()), Err(NumberError::Syntax), "{text}");
        }
        for text in ["9223372036854775808", "-9223372036854775809", "99999999999999999999x", "18446744073709551616"] {
            assert_eq!(parse_int(text.as_bytes()), Err(NumberError::Range), "{text}");
        }
    }

    #[test]
    fn floats_that_rust_does_not_write() {
        let whole = [
            ("0x1p3", 8.0),
            ("-0X1.8P1", -3.0),
            ("0x_1p-2", 0.25),
            ("1_000.5", 1000.5),
            ("1e1_0", 1e10),
            ("+iNf", f64::INFINITY),
            ("-INFINITY", f64::NEG_INFINITY),
            ("0x1p-1074", f64::from_bits(1)),
            ("0x1p-1075", 0.0),
            ("0x1.0000000000001p-1075", f64::from_bits(1)),
            ("0x1.fffffffffffffp1023", f64::MAX),
            ("0x0p99999", 0.0),
            ("0x1.00000000000008p0", 1.0),
            ("0x1.000000000000080000000000001p0", 1.0 + f64::EPSILON),
            (".5", 0.5),
            ("5.", 5.0),
            ("9007199254740993", 9_007_199_254_740_992.0),
        ];
        for (text, number) in whole {
            assert_eq!(parse_float(text.as_bytes()), Ok(number), "{text}");
        }
        assert!(parse_float(b"NaN").is_ok_and(f64::is_nan));
        for text in ["", ".", "+nan", "0x1", "0xp1", "0x1p", "1__0", "_1", "1_", "1._5", "1e_5", "infi", "0b1", "1e", "e5", "1e+", "0x1p1.", "1 "] {
            assert_eq!(parse_float(text.as_bytes()), Err(NumberError::Syntax), "{text}");
        }
        for text in ["1e309", "-1e400", "0x1p1024", "0x1.fffffffffffff8p1023"] {
            assert_eq!(parse_float(text.as_bytes()), Err(NumberError::Range), "{text}");
        }
    }

    #[test]
    fn floats_are_written_as_go_does() {
        let numbers = [1e6, 123_456_789.0, 1e21, 123_456.7, 0.0001, 0.00001, -0.0, 5e-9, 1.000_000_000_000_000_1e-7, 1e100, f64::INFINITY, f64::NEG_INFINITY];
        let texts: Vec<String> = numbers.into_iter().map(format_float).collect();
        assert_eq!(
            texts,
            ["1e+06", "1.23456789e+08", "1e+21", "123456.7", "0.0001", "1e-05", "-0", "5e-09", "1.0000000000000001e-07", "1e+100", "+Inf", "-Inf"]
        );
    }

    #[test]
    fn the_even_one_of_two_shortest_counts() {
        // 1023950000000000.25
        let tie = f64::from_bits(0x430d_1a37_8024_6002);
        assert_eq!(format_float(tie), "1.0239500000000002e+15");
        let mut plain = String::new();
        write_plain_float(tie, &mut plain);
        write_plain_float(-1e22, &mut plain);
        write_plain_float(2.5e-7, &mut plain);
        assert_eq!(plain, "1023950000000000.2-100000000000000000000000.00000025");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(bits: u64) {
            let number = f64::from_bits(bits);
            let again = parse_float(format_float(number).as_bytes()).unwrap();
            prop_assert!(again == number || (again.is_nan() && number.is_nan()));
        }

        #[test]
        fn fixed_decimals_are_those_of_the_formatter(whole: i64, small in -100_000i32..100_000, part in 0u32..64, decimals in 0usize..6) {
            for number in [whole as f64, f64::from(small), f64::from(small) + f64::from(part) / 64.0, -0.0] {
                let mut text = String::new();
                write_fixed(number, decimals, &mut text);
                prop_assert_eq!(text, format!("{number:.decimals$}"));
            }
        }

        #[test]
        fn decimals_are_the_nearest(text in "[0-9]{1,25}(\\.[0-9]{0,25})?") {
            prop_assert_eq!(parse_float(text.as_bytes()), Ok(text.parse::<f64>().unwrap()));
        }

        #[test]
        fn hexadecimals_are_exact(mantissa in 0u64..1 << 53, exponent in -1100i32..900) {
            let exact = mantissa as f64 * 2f64.powi(exponent / 2) * 2f64.powi(exponent - exponent / 2);
            prop_assume!(exact == 0.0 || exact.abs() >= f64::MIN_POSITIVE);
            prop_assume!(mantissa == 0 || exact != 0.0);
            prop_assert_eq!(parse_float(format!("0x{mantissa:x}p{exponent}").as_bytes()), Ok(exact));
        }
    }
}
