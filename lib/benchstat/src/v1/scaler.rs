//! How this engine shows numbers: by the first column's mean, `%.2f` to `%.0f`.

/// A format for all cells of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaler {
    decimals: usize,
    /// A value is divided by the first and multiplied by the second.
    divisor: f64,
    factor: f64,
    suffix: String,
}

impl Scaler {
    /// For a mean in a unit.
    #[must_use]
    pub fn new(mean: f64, unit: &str) -> Scaler {
        let base = |name: &str| has_base(unit, name);
        if base("ns/op") || base("ns/GC") {
            return Scaler::time(mean);
        }
        let speed = base("MB/s");
        let bytes = base("B/op") || base("bytes/op") || base("bytes");
        let unscaled = if speed { 1e6 } else { 1.0 };
        let x = mean * unscaled;
        let steps = [(1e9, 1e12, "T"), (1e6, 1e9, "G"), (1e3, 1e6, "M"), (1.0, 1e3, "k")];
        let scaled = steps.iter().find_map(|&(below, scale, prefix)| {
            let decimals = match x {
                x if x >= 99_500.0 * below => 0,
                x if x >= 9_950.0 * below => 1,
                x if x >= 995.0 * below => 2,
                _ => return None,
            };
            Some((decimals, scale, prefix))
        });
        let (decimals, scale, prefix) = scaled.unwrap_or(match x {
            x if x >= 99.5 => (0, 1.0, ""),
            x if x >= 9.95 => (1, 1.0, ""),
            _ => (2, 1.0, ""),
        });
        let suffix = format!("{prefix}{}{}", if bytes { "B" } else { "" }, if speed { "B/s" } else { "" });
        Scaler { decimals, divisor: scale / unscaled, factor: 1.0, suffix }
    }

    fn time(ns: f64) -> Scaler {
        let steps = [
            (99.5, 0, 1.0, "s"),
            (9.95, 1, 1.0, "s"),
            (0.995, 2, 1.0, "s"),
            (0.0995, 0, 1e3, "ms"),
            (0.00995, 1, 1e3, "ms"),
            (0.000_995, 2, 1e3, "ms"),
            (0.000_099_5, 0, 1e6, "µs"),
            (0.000_009_95, 1, 1e6, "µs"),
            (0.000_000_995, 2, 1e6, "µs"),
            (0.000_000_099_5, 0, 1e9, "ns"),
            (0.000_000_009_95, 1, 1e9, "ns"),
        ];
        let seconds = ns / 1e9;
        let (_, decimals, factor, suffix) = steps.into_iter().find(|step| seconds >= step.0).unwrap_or((0.0, 2, 1e9, "ns"));
        Scaler { decimals, divisor: 1e9, factor, suffix: suffix.to_owned() }
    }

    /// The number with its suffix.
    #[must_use]
    pub fn format(&self, value: f64) -> String {
        let value = value / self.divisor * self.factor;
        format!("{}{}", crate::math::number::fixed(value, self.decimals), self.suffix)
    }
}

/// Whether a unit is this one, or ends in it behind a dash.
pub(super) fn has_base(unit: &str, base: &str) -> bool {
    unit.strip_suffix(base).is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let show = |value: f64, unit: &str| Scaler::new(value, unit).format(value);
        let cases = [
            (100.0, "ns/op", "100ns"),
            (9.94, "ns/op", "9.94ns"),
            (0.5, "ns/op", "0.50ns"),
            (1.5e3, "ns/op", "1.50µs"),
            (2.5e9, "x-ns/op", "2.50s"),
            (5.5, "MB/s", "5.50MB/s"),
            (1234.0, "MB/s", "1.23GB/s"),
            (48.0, "B/op", "48.0B"),
            (1500.0, "bytes", "1.50kB"),
            (3.0, "allocs/op", "3.00"),
            (0.0, "x", "0.00"),
            (1e15, "x", "1000T"),
            (996.0, "x", "1.00k"),
            (994.9, "x", "995"),
        ];
        for (value, unit, text) in cases {
            assert_eq!(show(value, unit), text, "{value} {unit}");
        }
    }
}
