//! Quantiles, and the interval of order statistics that covers the median (spec §5.1).

use std::cell::RefCell;

use super::elementary::{choose, normal_cdf, normal_quantile};

/// From this size on the binomial distribution is approximated.
const EXACT_UP_TO: usize = 30;
/// How far a sufficient sample size is looked for.
const MOST_SAMPLES: usize = 50;

/// Quantile of a sorted sample, by Hyndman and Fan's definition 8; NaN if there is nothing.
#[must_use]
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let (Some(&first), Some(&last)) = (sorted.first(), sorted.last()) else { return f64::NAN };
    if q <= 0.0 {
        return first;
    }
    let position = 1.0 / 3.0 + q * (sorted.len() as f64 + 1.0 / 3.0);
    let below = position.trunc();
    if q >= 1.0 || below >= sorted.len() as f64 {
        return last;
    }
    let k = below as usize;
    match (k.checked_sub(1).and_then(|i| sorted.get(i)), sorted.get(k)) {
        (Some(low), Some(high)) => low + (position - below) * (high - low),
        _ => first,
    }
}

/// The interval of the median of a sample of `n`, as numbers of order statistics that count from 1: 0 is −∞, `n` + 1 is +∞.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Orders {
    /// Lower bound.
    pub low: usize,
    /// Upper bound.
    pub high: usize,
    /// The confidence that this interval really has.
    pub confidence: f64,
}

/// The interval for this size and confidence.
#[must_use]
pub fn median_orders(n: usize, confidence: f64) -> Orders {
    /// Of one confidence, by size.
    struct Known {
        confidence: f64,
        orders: [Option<Orders>; EXACT_UP_TO + 1],
    }
    // A table has thousands of cells and few sizes.
    thread_local!(static KNOWN: RefCell<Known> = const { RefCell::new(Known { confidence: 0.0, orders: [None; EXACT_UP_TO + 1] }) });
    KNOWN.with_borrow_mut(|known| {
        if known.confidence.to_bits() != confidence.to_bits() {
            *known = Known { confidence, orders: [None; EXACT_UP_TO + 1] };
        }
        match known.orders.get_mut(n) {
            Some(kept) => *kept.get_or_insert_with(|| compute(n, confidence)),
            None => compute(n, confidence),
        }
    })
}

fn compute(n: usize, confidence: f64) -> Orders {
    if confidence >= 1.0 {
        return Orders { low: 0, high: n + 1, confidence: 1.0 };
    }
    let size = n as i64;
    let (low, high, confidence) = if n <= EXACT_UP_TO { exact(size, confidence) } else { approximate(size, confidence) };
    Orders { low: low.max(0) as usize, high: high.clamp(0, size + 1) as usize, confidence }
}

fn exact(n: i64, confidence: f64) -> (i64, i64, f64) {
    let halves = |k: i64| 0.5_f64.powi(i32::try_from(k).unwrap_or(i32::MAX));
    let probability = |k: i64| if (0..=n).contains(&k) { choose(n, k) * halves(k) * halves(n - k) } else { 0.0 };
    let start = ((n + 1) as f64 * 0.5).ceil() as i64 - 1;
    let (mut low, mut high) = (start, start + 1);
    let mut covered = probability(start);
    let (mut left, mut right) = (probability(low - 1), probability(high));
    while covered < confidence && (left > 0.0 || right > 0.0) {
        if left >= right {
            covered += left;
            low -= 1;
            left = probability(low - 1);
        } else {
            covered += right;
            high += 1;
            right = probability(high);
        }
    }
    (low, high, covered)
}

fn approximate(n: i64, confidence: f64) -> (i64, i64, f64) {
    let mean = n as f64 * 0.5;
    let deviation = (n as f64 * 0.5 * 0.5).sqrt();
    let from = normal_quantile((1.0 - confidence) / 2.0) * deviation + mean;
    let to = 2.0 * mean - from;
    let low = ((from - 0.5).floor() + 0.5).floor() as i64 + 1;
    let mut high = ((to - 0.5).ceil() + 0.5).floor() as i64 + 1;
    let covered = |l: i64, r: i64| normal_cdf(r as f64 - 0.5, mean, deviation) - normal_cdf(l as f64 - 0.5, mean, deviation);
    let mut actual = covered(low, high);
    // The interval is symmetric so far; without its last step it may still be wide enough.
    let narrower = covered(low, high - 1);
    if narrower >= confidence && narrower < actual {
        (high, actual) = (high - 1, narrower);
    }
    if low <= 0 && high > n { (low, high, 1.0) } else { (low, high, actual) }
}

/// How many samples are needed for a finite interval; `None` if more than 50.
#[must_use]
pub fn samples_for_interval(confidence: f64) -> Option<usize> {
    (2..=MOST_SAMPLES).find(|&n| {
        let orders = median_orders(n, confidence);
        orders.low > 0 && orders.high <= n
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_at_95_percent() {
        let table = [
            (1, 0, 2),
            (4, 0, 5),
            (5, 0, 5),
            (6, 1, 6),
            (7, 1, 7),
            (8, 1, 7),
            (9, 2, 8),
            (10, 2, 9),
            (11, 2, 9),
            (12, 3, 10),
            (13, 3, 11),
            (14, 3, 11),
            (15, 4, 12),
            (16, 4, 12),
            (17, 5, 13),
            (18, 5, 14),
            (19, 5, 14),
            (20, 6, 15),
            (21, 6, 16),
            (22, 6, 16),
            (23, 7, 17),
            (24, 8, 18),
            (25, 8, 18),
            (26, 8, 19),
            (27, 8, 19),
            (28, 9, 20),
            (29, 9, 20),
            (30, 10, 21),
            (31, 10, 22),
            (32, 10, 22),
            (50, 18, 32),
            (100, 40, 60),
        ];
        for (n, low, high) in table {
            let orders = median_orders(n, 0.95);
            assert_eq!((orders.low, orders.high), (low, high), "N = {n}");
        }
        assert_eq!(median_orders(6, 1.0), Orders { low: 0, high: 7, confidence: 1.0 });
        assert_eq!(median_orders(6, 0.95).confidence, 1.0 - 0.03125);
    }

    #[test]
    fn orders_recorded_from_the_reference() {
        let text = include_str!("../../testdata/orders.txt");
        let mut seen = 0;
        for line in text.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let (n, confidence): (usize, f64) = (fields[0].parse().unwrap(), fields[1].parse().unwrap());
            let orders = median_orders(n, confidence);
            assert_eq!(format!("{} {}", orders.low, orders.high), format!("{} {}", fields[2], fields[3]), "N = {n}, confidence {confidence}");
            seen += 1;
        }
        assert!(seen > 500);
    }

    #[test]
    fn sizes_that_suffice() {
        assert_eq!(
            (samples_for_interval(0.95), samples_for_interval(0.99), samples_for_interval(1.0), samples_for_interval(0.0)),
            (Some(6), Some(8), None, Some(2))
        );
    }

    #[test]
    fn quantiles() {
        assert_eq!(quantile(&[1.0, 2.0, 3.0], 0.5), 2.0);
        assert_eq!(quantile(&[7.0], 0.25), 7.0);
        assert!(quantile(&[], 0.5).is_nan());
        assert!((quantile(&[-10.0, 2.0, 3.0, 4.0, 5.0, 6.0], 0.5) - 3.5).abs() < 1e-12);
    }
}
