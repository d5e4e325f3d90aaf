//! Numbers with a prefix: `1.234k`, `4.768Mi` (`spec/perf.md` §3).

use crate::number::{not_finite, write_fixed, write_plain_float};
use crate::unit::Class;

/// How numbers that belong together are shown: one prefix, one number of decimals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scaler {
    /// Digits behind the point; `None`: as many as it takes.
    pub decimals: Option<usize>,
    /// What one of the prefix is: 1000 for `k`.
    pub factor: f64,
    /// The prefix.
    pub prefix: &'static str,
}

/// A prefix: its factor, its name, and from where on numbers have three, two and one digits before the point. The bounds lie where printing begins to round up.
struct Step {
    factor: f64,
    prefix: &'static str,
    hundred: f64,
    ten: f64,
    one: f64,
}

const fn step([factor, hundred, ten, one]: [f64; 4], prefix: &'static str) -> Step {
    Step { factor, prefix, hundred, ten, one }
}

/// Powers of two scale exactly, so that these bounds are literals as well.
const fn binary(factor: f64, prefix: &'static str) -> Step {
    step([factor, 99.995 * factor, 9.9995 * factor, 0.99995 * factor], prefix)
}

const DECIMAL: [Step; 8] = [
    step([1e12, 99.995e12, 9.9995e12, 0.99995e12], "T"),
    step([1e9, 99.995e9, 9.9995e9, 0.99995e9], "G"),
    step([1e6, 99.995e6, 9.9995e6, 0.99995e6], "M"),
    step([1e3, 99.995e3, 9.9995e3, 0.99995e3], "k"),
    step([1e0, 99.995e0, 9.9995e0, 0.99995e0], ""),
    step([1e-3, 99.995e-3, 9.9995e-3, 0.99995e-3], "m"),
    step([1e-6, 99.995e-6, 9.9995e-6, 0.99995e-6], "µ"),
    step([1e-9, 99.995e-9, 9.9995e-9, 0.99995e-9], "n"),
];

const BINARY: [Step; 5] = [
    binary((1u64 << 40) as f64, "Ti"),
    binary((1u64 << 30) as f64, "Gi"),
    binary((1u64 << 20) as f64, "Mi"),
    binary((1u64 << 10) as f64, "Ki"),
    binary((1u64 << 0) as f64, ""),
];

/// From where on a number below the smallest prefix is shown with 3, 4, … 10 decimals.
const SMALL: [f64; 8] = [9.9995e-1, 9.9995e-2, 9.9995e-3, 9.9995e-4, 9.9995e-5, 9.9995e-6, 9.9995e-7, 9.9995e-8];

impl Scaler {
    /// Shows a number as it is, in as many digits as it takes; for what programs read.
    pub const EXACT: Scaler = Scaler { decimals: None, factor: 1.0, prefix: "" };

    /// The scale for numbers that are shown side by side: the smallest of them (but zero) has three digits.
    #[must_use]
    pub fn common(numbers: impl IntoIterator<Item = f64>, class: Class) -> Scaler {
        let mut least = 0.0;
        for number in numbers {
            let number = number.abs();
            if number != 0.0 && (least == 0.0 || number < least) {
                least = number;
            }
        }
        if least == 0.0 {
            return Scaler { decimals: Some(3), factor: 1.0, prefix: "" };
        }
        match class {
            Class::Decimal => Scaler::within(least, &DECIMAL),
            Class::Binary => Scaler::within(least, &BINARY),
        }
    }

    fn within(least: f64, steps: &[Step]) -> Scaler {
        let mut smallest = (1.0, "");
        for step in steps {
            smallest = (step.factor, step.prefix);
            let decimals = match least {
                n if n >= step.hundred => 1,
                n if n >= step.ten => 2,
                n if n >= step.one => 3,
                _ => continue,
            };
            return Scaler { decimals: Some(decimals), factor: step.factor, prefix: step.prefix };
        }
        let (factor, prefix) = smallest;
        let scaled = least / factor;
        let at = SMALL.iter().position(|bound| scaled >= *bound).unwrap_or(SMALL.len() - 1);
        Scaler { decimals: Some(3 + at), factor, prefix }
    }

    /// The scale for one number.
    #[must_use]
    pub fn one(number: f64, class: Class) -> Scaler {
        Scaler::common([number], class)
    }

    /// The number with its prefix. Its unit must be the tidied one, or it comes out as "megananoseconds".
    #[must_use]
    pub fn format(&self, number: f64) -> String {
        let number = number / self.factor;
        let mut text = String::new();
        match self.decimals {
            _ if !number.is_finite() => text.push_str(not_finite(number)),
            Some(decimals) => write_fixed(number, decimals, &mut text),
            None => write_plain_float(number, &mut text),
        }
        text.push_str(self.prefix);
        text
    }
}

/// A number on its own scale.
#[must_use]
pub fn scale(number: f64, class: Class) -> String {
    Scaler::one(number, class).format(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number, and the one just below it.
    fn pair(number: f64, class: Class) -> (String, String) {
        let below = if number > 0.0 { number.next_down() } else { number.next_up() };
        (scale(number, class), scale(below, class))
    }

    #[test]
    fn bounds_lie_where_printing_rounds() {
        let decimal: [(f64, &str, &str); 11] = [
            (9_999_500_000_000_000.0, "9999.5T", "9999.5T"),
            (999_950_000_000_000.0, "1000.0T", "999.9T"),
            (99_995_000_000_000.0, "100.0T", "99.99T"),
            (9_999_500_000_000.0, "10.00T", "9.999T"),
            (999_950_000_000.0, "1.000T", "999.9G"),
            (99_995.0, "100.0k", "99.99k"),
            (0.99995, "1.000", "999.9m"),
            (0.000_099_995, "100.0µ", "99.99µ"),
            (0.000_000_000_999_95, "1.000n", "0.9999n"),
            (0.000_000_000_009_999_5, "0.01000n", "0.009999n"),
            (-99_995_000_000_000.0, "-100.0T", "-99.99T"),
        ];
        for (number, at, below) in decimal {
            assert_eq!(pair(number, Class::Decimal), (at.to_owned(), below.to_owned()), "{number}");
        }
        let binary: [(f64, &str, &str); 6] = [
            (0.99995 * 2f64.powi(50), "1023.9Ti", "1023.9Ti"),
            (99.995 * 2f64.powi(20), "100.0Mi", "99.99Mi"),
            (0.99995 * 2f64.powi(20), "1.000Mi", "1023.9Ki"),
            (0.99995, "1.000", "0.9999"),
            (0.000_000_099_95, "0.0000001000", "0.0000000999"),
            (0.000_000_000_009, "0.0000000000", "0.0000000000"),
        ];
        for (number, at, below) in binary {
            assert_eq!(pair(number, Class::Binary), (at.to_owned(), below.to_owned()), "{number}");
        }
    }

    #[test]
    fn numbers_side_by_side_have_one_scale() {
        let scaler = Scaler::common([0.0, -1500.0, 2e9], Class::Decimal);
        assert_eq!(scaler.format(-1500.0), "-1.500k");
        assert_eq!(scaler.format(2e9), "2000000.000k");
        assert_eq!(scaler.format(0.0), "0.000k");
        assert_eq!(Scaler::common([0.0], Class::Binary).format(0.0), "0.000");
        assert_eq!(scale(f64::NAN, Class::Decimal), "NaNn");
        assert_eq!(scale(f64::INFINITY, Class::Decimal), "+InfT");
        assert_eq!((Scaler::EXACT.format(123.456_789), Scaler::EXACT.format(123_456_789.0)), ("123.456789".into(), "123456789".into()));
    }
}
