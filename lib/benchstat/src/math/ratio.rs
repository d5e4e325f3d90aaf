//! Interval of the ratio of two medians, by bootstrap (spec §10): resample both, take the ratio of medians, a thousand times. The reference draws from an unseeded
//! source, so its charts change when they are computed again; here the source is seeded by the samples themselves.

use xxhash_rust::xxh3::Xxh3;

use super::rank::Interval;

/// What an interval depends on besides the samples. Stored beside the results, so that they can be computed again.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Bootstrap {
    /// Resamplings.
    pub rounds: usize,
    /// Confidence of the interval.
    pub confidence: f64,
    /// Mixed into the seed: two comparisons of the same numbers need not draw alike.
    pub key: u64,
}

impl Default for Bootstrap {
    fn default() -> Bootstrap {
        Bootstrap { rounds: 1000, confidence: 0.95, key: 0 }
    }
}

/// Names the generator and what is done with it: changes whenever results would.
pub const METHOD: &str = "bootstrap-median-ratio/xoshiro256++/1";

/// Interval of median(`other`) / median(`base`). `None` if a sample is empty or a value is not finite.
///
/// The center is the median of the resampled ratios, as in the reference: for small samples it is not exactly the ratio of the medians. A median of zero in the base
/// gives the reference's stand-in, `other` ± 1.
#[must_use]
pub fn ratio_of_medians(base: &[f64], other: &[f64], options: &Bootstrap) -> Option<Interval> {
    if base.is_empty() || other.is_empty() || options.rounds == 0 || base.iter().chain(other).any(|value| !value.is_finite()) {
        return None;
    }
    let sorted = |values: &[f64]| {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        values
    };
    let (base, other) = (sorted(base), sorted(other));
    let mut source = Xoshiro::seeded(seed(&base, &other, options.key));
    let mut drawn = Vec::new();
    let mut ratios: Vec<f64> = (0..options.rounds)
        .map(|_| {
            let over = source.median_of_resample(&other, &mut drawn);
            let under = source.median_of_resample(&base, &mut drawn);
            if under == 0.0 { over + if over < 0.0 { -1.0 } else { 1.0 } } else { over / under }
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let tail = (1.0 - options.confidence.clamp(0.0, 1.0)) / 2.0;
    Some(Interval { low: percentile(&ratios, tail), center: median(&ratios), high: percentile(&ratios, 1.0 - tail) })
}

/// Middle value, or the mean of the two middle ones; NaN if there is nothing.
#[must_use]
pub fn median(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    let at = |i: usize| sorted.get(i).copied().unwrap_or(f64::NAN);
    if sorted.len() % 2 == 1 { at(half) } else { half.checked_sub(1).map_or(f64::NAN, |below| (at(below) + at(half)) / 2.0) }
}

/// By the reference's rule for resampled ratios: between a⌊np⌋ and its successor.
fn percentile(sorted: &[f64], p: f64) -> f64 {
    let position = sorted.len() as f64 * p;
    let below = position.floor();
    let part = position - below;
    let last = sorted.len().saturating_sub(1);
    let at = |i: usize| sorted.get(i.min(last)).copied().unwrap_or(f64::NAN);
    let i = below as usize;
    if part == 0.0 { at(i) } else { at(i) * (1.0 - part) + at(i + 1) * part }
}

/// The same for the same numbers, whatever their order.
fn seed(base: &[f64], other: &[f64], key: u64) -> u64 {
    let mut hash = Xxh3::with_seed(key);
    for sample in [base, other] {
        hash.update(&(sample.len() as u64).to_le_bytes());
        for value in sample {
            hash.update(&value.to_bits().to_le_bytes());
        }
    }
    hash.digest()
}

/// xoshiro256++ (Blackman and Vigna), seeded through SplitMix64. Written out, because stored results name it and must never change under them.
struct Xoshiro([u64; 4]);

impl Xoshiro {
    fn seeded(seed: u64) -> Xoshiro {
        let mut state = seed;
        Xoshiro([(); 4].map(|()| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }))
    }

    fn next(&mut self) -> u64 {
        let [a, b, c, d] = self.0;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c2, d2) = (c ^ a, d ^ b);
        self.0 = [a ^ d2, b ^ c2, c2 ^ (b << 17), d2.rotate_left(45)];
        result
    }

    /// Below `n`, by multiplication: the bias is below n / 2⁶⁴.
    fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    fn median_of_resample(&mut self, values: &[f64], drawn: &mut Vec<f64>) -> f64 {
        drawn.clear();
        for _ in 0..values.len() {
            let at = self.below(values.len());
            drawn.extend(values.get(at));
        }
        drawn.sort_unstable_by(f64::total_cmp);
        median(drawn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_covers_the_ratio_and_is_the_same_every_time() {
        let base: Vec<f64> = (0..20).map(|i| 100.0 + f64::from(i % 7)).collect();
        let other: Vec<f64> = base.iter().map(|x| x * 1.1).collect();
        let interval = ratio_of_medians(&base, &other, &Bootstrap::default()).unwrap();
        assert!(interval.low <= 1.1 && 1.1 <= interval.high && (interval.center - 1.1).abs() < 0.01, "{interval:?}");
        assert!(interval.high - interval.low < 0.06, "{interval:?}");
        let mut shuffled = other.clone();
        shuffled.reverse();
        assert_eq!(ratio_of_medians(&base, &shuffled, &Bootstrap::default()), Some(interval), "the order of a sample says nothing");
        let another = ratio_of_medians(&base, &other, &Bootstrap { key: 1, ..Bootstrap::default() }).unwrap();
        assert!(another != interval || another.low == interval.low);
    }

    #[test]
    fn the_generator_is_the_published_one() {
        // First outputs of xoshiro256++ from the state 1, 2, 3, 4.
        let mut source = Xoshiro([1, 2, 3, 4]);
        assert_eq!([source.next(), source.next(), source.next()], [41_943_041, 58_720_359, 3_588_806_011_781_223]);
    }

    #[test]
    fn degenerate_samples() {
        let of = |base: &[f64], other: &[f64]| ratio_of_medians(base, other, &Bootstrap::default());
        assert_eq!(of(&[], &[1.0]), None);
        assert_eq!(of(&[1.0], &[f64::NAN]), None);
        assert_eq!(of(&[2.0], &[3.0]), Some(Interval { low: 1.5, center: 1.5, high: 1.5 }));
        assert_eq!(of(&[0.0], &[3.0]), Some(Interval { low: 4.0, center: 4.0, high: 4.0 }), "the reference's stand-in");
    }

    #[test]
    fn coverage_of_identical_code() {
        // 200 pairs from one population: the interval should contain 1 in about 95 of 100; a broken one would contain it far less often.
        let mut source = Xoshiro::seeded(7);
        let mut sample = || (0..15).map(|_| 100.0 + (source.next() % 1000) as f64 / 100.0).collect::<Vec<_>>();
        let covered = (0..200).filter(|_| {
            ratio_of_medians(&sample(), &sample(), &Bootstrap { rounds: 300, ..Bootstrap::default() }).is_some_and(|i| i.low <= 1.0 && 1.0 <= i.high)
        });
        assert!(covered.count() >= 175);
    }
}
