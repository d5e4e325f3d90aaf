//! A sample, what is said of it, and what is said of two (spec §5).

use protocol_benchfmt::format_float as shortest;
pub use protocol_benchfmt::{Assumption, Better};

use super::interval::{median_orders, quantile, samples_for_interval};
use super::number::{fixed, signed_percent};
use super::utest;

/// Significance level and confidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// A difference is shown if p is at most this.
    pub alpha: f64,
    /// Confidence of intervals.
    pub confidence: f64,
}

impl Default for Thresholds {
    fn default() -> Thresholds {
        Thresholds { alpha: 0.05, confidence: 0.95 }
    }
}

/// How a value relates to its base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Significantly better.
    Better,
    /// Significantly worse.
    Worse,
    /// Significantly different, of a unit that does not say which way is better.
    Different,
    /// No significant difference.
    Same,
}

impl Verdict {
    /// One word for pages and JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Better => "better",
            Verdict::Worse => "worse",
            Verdict::Different => "different",
            Verdict::Same => "same",
        }
    }
}

/// Sorted values.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sample(Vec<f64>);

impl Sample {
    /// Sorts; NaN comes first, as in the reference. (In small samples 0 and -0 keep their order, as there; in large ones nobody knows.)
    #[must_use]
    pub fn new(values: Vec<f64>) -> Sample {
        let mut sample = Sample(values);
        sample.sort();
        sample
    }

    /// Values that are sorted by and by, on several threads.
    pub(crate) fn unsorted(values: Vec<f64>) -> Sample {
        Sample(values)
    }

    /// Sorts, if that was put off.
    pub(crate) fn sort(&mut self) {
        const SMALL: usize = 20;
        // Counters that never vary are the greater part of what is compared. (Beside a NaN nothing is in order.)
        if self.0.is_sorted_by(|a, b| a <= b) {
            return;
        }
        if self.0.len() > SMALL && !self.0.iter().any(|value| value.is_nan()) {
            // As `f64::total_cmp`, which would make these numbers anew for every comparison.
            let key = |bits: i64| bits ^ (((bits >> 63) as u64) >> 1) as i64;
            let mut keys: Vec<i64> = std::mem::take(&mut self.0).into_iter().map(|value| key(value.to_bits() as i64)).collect();
            keys.sort_unstable();
            self.0 = keys.into_iter().map(|number| f64::from_bits(key(number) as u64)).collect();
        } else {
            self.0.sort_by(|a, b| a.partial_cmp(b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan())));
        }
    }

    /// The values, ascending.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.0
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Center and interval of a sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Median, or the one value of an exact unit. NaN of an empty sample.
    pub center: f64,
    /// Lower bound, −∞ if the sample is too small.
    pub low: f64,
    /// Upper bound, +∞ if the sample is too small.
    pub high: f64,
    /// The confidence that the interval has, at least what was asked for.
    pub confidence: f64,
    /// What to know about it.
    pub warnings: Vec<String>,
}

impl Summary {
    /// Of a sample.
    #[must_use]
    pub fn of(sample: &Sample, assumption: Assumption, confidence: f64) -> Summary {
        match assumption {
            Assumption::Nothing => Summary::median(sample, confidence),
            Assumption::Exact => Summary::exact(sample),
        }
    }

    fn median(sample: &Sample, confidence: f64) -> Summary {
        let values = sample.values();
        let orders = median_orders(values.len(), confidence);
        let order = |order: usize| order.checked_sub(1).and_then(|i| values.get(i)).copied();
        let low = order(orders.low).unwrap_or(f64::NEG_INFINITY);
        let high = order(orders.high).unwrap_or(f64::INFINITY);
        let mut warnings = Vec::new();
        if low.is_infinite() || high.is_infinite() {
            let needed = samples_for_interval(confidence).map_or_else(|| "> 50".to_owned(), |n| format!(">= {n}"));
            warnings.push(format!("need {needed} samples for confidence interval at level {}", shortest(confidence)));
        }
        Summary { center: quantile(values, 0.5), low, high, confidence: orders.confidence, warnings }
    }

    /// The mode: the first longest run.
    fn exact(sample: &Sample) -> Summary {
        let values = sample.values();
        let (Some(&first), Some(&last)) = (values.first(), values.last()) else {
            return Summary { center: f64::NAN, low: f64::NAN, high: f64::NAN, confidence: 1.0, warnings: Vec::new() };
        };
        let (mut mode, mut longest) = (first, 1);
        let (mut value, mut run) = (first, 1);
        for &next in values.iter().skip(1) {
            if next == value {
                run += 1;
                if run > longest {
                    (mode, longest) = (value, run);
                }
            } else {
                (value, run) = (next, 1);
            }
        }
        let mut warnings = Vec::new();
        if longest != values.len() {
            warnings.push(format!("exact distribution expected, but values range from {} to {}", shortest(first), shortest(last)));
        }
        Summary { center: mode, low: first, high: last, confidence: 1.0, warnings }
    }

    /// The interval as a percentage of the center: `3%`, `∞` if unbounded, `?` if it crosses zero.
    #[must_use]
    pub fn percent_range(&self) -> String {
        if self.low.is_infinite() || self.high.is_infinite() {
            return "∞".to_owned();
        }
        if sign(self.center) != sign(self.low) || sign(self.center) != sign(self.high) {
            return "?".to_owned();
        }
        if self.center == 0.0 {
            return "0%".to_owned();
        }
        format!("{}%", fixed(100.0 * self.spread(), 0))
    }

    /// The wider side of the interval as a part of the center.
    #[must_use]
    pub fn spread(&self) -> f64 {
        let (above, below) = (self.high / self.center - 1.0, 1.0 - self.low / self.center);
        if above.is_nan() || below.is_nan() { f64::NAN } else { above.max(below) }
    }
}

/// `None` for NaN, which has no sign and is unlike itself.
fn sign(x: f64) -> f64 {
    if x == 0.0 {
        0.0
    } else if x.is_nan() {
        x
    } else {
        x.signum()
    }
}

/// Two samples compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Probability of such a difference in samples of one population; 0 for exact units. May exceed 1 (spec §5.2).
    pub p: f64,
    /// Size of the base.
    pub n1: usize,
    /// Size of the other.
    pub n2: usize,
    /// Significant from here down.
    pub alpha: f64,
    /// What to know about it.
    pub warnings: Vec<String>,
}

impl Comparison {
    /// Of a base and another sample.
    #[must_use]
    pub fn of(base: &Sample, other: &Sample, assumption: Assumption, alpha: f64) -> Comparison {
        let (n1, n2) = (base.len(), other.len());
        if assumption == Assumption::Exact {
            return Comparison { p: 0.0, n1, n2, alpha: 0.0, warnings: Vec::new() };
        }
        match utest::p_value(base.values(), other.values()) {
            Err(why) => Comparison { p: 1.0, n1, n2, alpha, warnings: vec![why.to_string()] },
            Ok(p) => {
                let mut warnings = Vec::new();
                let needed = utest::samples_for_alpha(alpha);
                if p > alpha && n1.max(n2) < needed.unwrap_or(10) {
                    let needed = needed.map_or_else(|| "> 10".to_owned(), |n| format!(">= {n}"));
                    warnings.push(format!("need {needed} samples to detect a difference at alpha level {}", shortest(alpha)));
                }
                Comparison { p, n1, n2, alpha, warnings }
            }
        }
    }

    /// Whether the samples differ significantly.
    #[must_use]
    pub fn significant(&self) -> bool {
        // A p that is not a number does not happen, but would be shown as a difference.
        self.p <= self.alpha || self.p.is_nan()
    }

    /// The difference of the centers in percent: `~` if there is none, `?` if the base is zero.
    #[must_use]
    pub fn delta(&self, base: f64, other: f64) -> String {
        if !self.significant() {
            "~".to_owned()
        } else if base == other {
            "0.00%".to_owned()
        } else if base == 0.0 {
            "?".to_owned()
        } else {
            signed_percent((other / base - 1.0) * 100.0)
        }
    }

    /// p and sizes: `p=0.003 n=10`. `unclamped` shows a p above 1 as it is.
    #[must_use]
    pub fn note(&self, unclamped: bool) -> String {
        let p = if unclamped { self.p } else { self.p.min(1.0) };
        let p = if self.p == 0.0 { String::new() } else { format!("p={} ", fixed(p, 3)) };
        if self.n1 == self.n2 { format!("{p}n={}", self.n1) } else { format!("{p}n={}+{}", self.n1, self.n2) }
    }

    /// What the difference means for a unit.
    #[must_use]
    pub fn verdict(&self, base: f64, other: f64, better: Better) -> Verdict {
        if !self.significant() || base == other {
            return Verdict::Same;
        }
        match (better, other > base) {
            (Better::Unknown, _) => Verdict::Different,
            (Better::Higher, true) | (Better::Lower, false) => Verdict::Better,
            (Better::Higher, false) | (Better::Lower, true) => Verdict::Worse,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(values: &[f64]) -> Sample {
        Sample::new(values.to_vec())
    }

    #[test]
    fn medians_and_their_warnings() {
        let six = sample(&[6.0, -10.0, 2.0, 3.0, 5.0, 4.0]);
        let summary = Summary::of(&six, Assumption::Nothing, 0.95);
        assert_eq!((summary.low, summary.high, summary.confidence, summary.warnings.len()), (-10.0, 6.0, 1.0 - 0.03125, 0));
        assert!((summary.center - 3.5).abs() < 1e-12);
        let summary = Summary::of(&six, Assumption::Nothing, 0.99);
        assert_eq!((summary.low, summary.high, summary.confidence), (f64::NEG_INFINITY, f64::INFINITY, 1.0));
        assert_eq!(summary.warnings, ["need >= 8 samples for confidence interval at level 0.99"]);
        assert_eq!(summary.percent_range(), "∞");
        assert_eq!(Summary::of(&six, Assumption::Nothing, 1.0).warnings, ["need > 50 samples for confidence interval at level 1"]);
        let two = Summary::of(&sample(&[1.0, 2.0]), Assumption::Nothing, 0.0);
        assert_eq!((two.center, two.low, two.high, two.confidence), (1.5, 1.0, 2.0, 0.5));
    }

    #[test]
    fn exact_units() {
        let summary = Summary::of(&sample(&[1.0, 2.0, 2.0, 3.0]), Assumption::Exact, 0.95);
        assert_eq!((summary.center, summary.low, summary.high), (2.0, 1.0, 3.0));
        assert_eq!(summary.warnings, ["exact distribution expected, but values range from 1 to 3"]);
        assert!(Summary::of(&sample(&[1.0]), Assumption::Exact, 0.95).warnings.is_empty());
        let comparison = Comparison::of(&sample(&[1.0]), &sample(&[2.0]), Assumption::Exact, 0.05);
        assert_eq!((comparison.note(true), comparison.delta(1.0, 2.0)), ("n=1".to_owned(), "+100.00%".to_owned()));
    }

    #[test]
    fn ranges() {
        let range = |center, low, high| Summary { center, low, high, confidence: 0.95, warnings: Vec::new() }.percent_range();
        assert_eq!([range(100.0, 97.0, 102.0), range(1.0, -1.0, 2.0), range(0.0, 0.0, 0.0), range(f64::NAN, 1.0, 2.0)], ["3%", "?", "0%", "?"]);
        assert_eq!(range(-10.0, -12.0, -9.0), "-10%", "the reference's quirk of negative numbers");
    }

    #[test]
    fn comparisons_and_their_warnings() {
        let compare = |a: &[f64], b: &[f64]| Comparison::of(&sample(a), &sample(b), Assumption::Nothing, 0.05);
        let small = compare(&[-1.0; 3], &[1.0; 3]);
        assert_eq!((small.p, small.warnings.as_slice()), (0.1, ["need >= 4 samples to detect a difference at alpha level 0.05".to_owned()].as_slice()));
        assert_eq!(small.delta(-1.0, 1.0), "~");
        let enough = compare(&[-1.0; 4], &[1.0; 4]);
        assert!((enough.p - 1.0 / 35.0).abs() < 1e-15 && enough.warnings.is_empty());
        assert_eq!(compare(&[1.0; 4], &[1.0; 4]).warnings, ["all samples are equal"]);
        assert_eq!(compare(&[f64::NAN; 4], &[1.0; 4]).warnings, ["a sample contains NaN"]);
    }

    #[test]
    fn p_above_one_is_shown_only_if_wanted() {
        let comparison = Comparison::of(&sample(&[1.0, 2.0, 2.0, 2.0]), &sample(&[2.0, 2.0]), Assumption::Nothing, 0.05);
        assert_eq!((comparison.note(true).as_str(), comparison.note(false).as_str()), ("p=1.333 n=4+2", "p=1.000 n=4+2"));
    }

    #[test]
    fn verdicts() {
        let comparison = Comparison { p: 0.01, n1: 5, n2: 5, alpha: 0.05, warnings: Vec::new() };
        assert_eq!(comparison.verdict(100.0, 90.0, Better::Lower), Verdict::Better);
        assert_eq!(comparison.verdict(100.0, 90.0, Better::Higher), Verdict::Worse);
        assert_eq!(comparison.verdict(100.0, 90.0, Better::Unknown), Verdict::Different);
        assert_eq!(Comparison { p: 0.2, ..comparison }.verdict(100.0, 90.0, Better::Lower), Verdict::Same);
    }

    #[test]
    fn nan_sorts_first() {
        assert!(sample(&[1.0, f64::NAN, -1.0]).values()[0].is_nan());
    }
}
