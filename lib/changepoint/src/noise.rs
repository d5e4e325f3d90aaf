//! How noisy a series is, without knowing its changes: robust scale, outliers, autocorrelation.

/// Half of the running window that says what is usual around a value.
const NEAR: usize = 5;
/// Half of the window for the local scale.
const WIDE: usize = 60;
/// So many scales from its neighbourhood a value is pulled in.
const CLIP: f64 = 4.0;
/// A correlation is believed from this many standard errors on.
const CHANCE: f64 = 1.7;
/// Scale of a normal distribution from the median of absolute differences of neighbours: 1 / (0.6745 √2).
const FROM_DIFFERENCES: f64 = 1.048_358;

/// A series made tame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tamed {
    /// Values, with outliers pulled in.
    pub values: Vec<f64>,
    /// Local scale per value, never 0.
    pub scales: Vec<f64>,
    /// How many values were pulled in.
    pub pulled: usize,
    /// Correlation of neighbours, 0 to 0.95.
    pub autocorrelation: f64,
}

/// Median; reorders the buffer. 0 if it is empty.
pub(crate) fn median(buffer: &mut [f64]) -> f64 {
    quantile(buffer, 0.5)
}

/// The value at this part of the order; reorders the buffer. 0 if it is empty.
pub(crate) fn quantile(buffer: &mut [f64], part: f64) -> f64 {
    let Some(last) = buffer.len().checked_sub(1) else { return 0.0 };
    let at = last as f64 * part;
    let low = at as usize;
    let (_, value, above) = buffer.select_nth_unstable_by(low, f64::total_cmp);
    let (value, rest) = (*value, at - low as f64);
    if rest == 0.0 {
        return value;
    }
    let next = above.iter().copied().fold(f64::INFINITY, f64::min);
    if next.is_finite() { value + rest * (next - value) } else { value }
}

fn around(index: usize, half: usize, len: usize) -> std::ops::Range<usize> {
    index.saturating_sub(half)..(index + half + 1).min(len)
}

/// Tames a series of finite values. `least` is the smallest scale to believe in.
pub fn tame(values: &[f64], least: f64) -> Tamed {
    let len = values.len();
    let mut buffer = Vec::with_capacity(2 * WIDE + 1);
    let slice = |range: std::ops::Range<usize>| values.get(range).unwrap_or_default();
    let differences: Vec<f64> = values.windows(2).map(|pair| (pair[1] - pair[0]).abs()).collect();
    let usual: Vec<f64> = (0..len)
        .map(|i| {
            buffer.clear();
            buffer.extend_from_slice(slice(around(i, NEAR, len)));
            median(&mut buffer)
        })
        .collect();
    let apart: Vec<f64> = values.iter().zip(&usual).map(|(value, usual)| (value - usual).abs()).collect();
    let mut tamed = Tamed { values: Vec::with_capacity(len), scales: Vec::with_capacity(len), ..Tamed::default() };
    for (index, (&value, &usual)) in values.iter().zip(&usual).enumerate() {
        buffer.clear();
        buffer.extend_from_slice(differences.get(around(index, WIDE, differences.len())).unwrap_or_default());
        let scale = (median(&mut buffer) * FROM_DIFFERENCES).max(least);
        // What a tenth of all values do is no outlier but the other mode of this benchmark.
        buffer.clear();
        buffer.extend_from_slice(apart.get(around(index, WIDE, len)).unwrap_or_default());
        let bound = (CLIP * scale).max(quantile(&mut buffer, 0.9));
        let inside = value.clamp(usual - bound, usual + bound);
        tamed.pulled += usize::from(inside != value);
        tamed.values.push(inside);
        tamed.scales.push(scale);
    }
    tamed.autocorrelation = autocorrelation(&tamed.values, least);
    tamed
}

/// Correlation of neighbours from differences over one and two places, which steps hardly disturb: for a process with correlation φ^h over h places
/// the squares of the differences have the ratio 1 + φ. The largest fifth, where steps are, is left out on both sides.
pub fn autocorrelation(values: &[f64], least: f64) -> f64 {
    let trimmed = |apart: usize| -> f64 {
        let mut squares: Vec<f64> = values.iter().zip(values.get(apart..).unwrap_or_default()).map(|(a, b)| (b - a) * (b - a)).collect();
        squares.sort_unstable_by(f64::total_cmp);
        let keep = squares.len() * 4 / 5;
        squares.iter().take(keep).sum::<f64>() / keep.max(1) as f64
    };
    if values.len() < 15 {
        return 0.0;
    }
    let (first, second) = (trimmed(1), trimmed(2));
    if first <= least * least { 0.0 } else { (second / first - 1.0).clamp(0.0, 0.95) }
}

/// Correlation of neighbours in their distances from the levels of their pieces: more exact than [`autocorrelation`], but only if the pieces are right.
/// `bounds` begin each piece and end the last. What independent values show by chance is not believed.
pub fn autocorrelation_within(values: &[f64], scales: &[f64], bounds: &[usize]) -> f64 {
    let (mut products, mut squares, mut count, mut pieces) = (0.0, 0.0, 0.0, 0.0);
    for piece in bounds.windows(2) {
        let &[from, to] = piece else { continue };
        let (values, scales) = (values.get(from..to).unwrap_or_default(), scales.get(from..to).unwrap_or_default());
        let level = values.iter().sum::<f64>() / values.len().max(1) as f64;
        let mut last = None;
        for distance in values.iter().zip(scales).map(|(value, scale)| (value - level) / scale) {
            squares += distance * distance;
            count += 1.0;
            products += last.map_or(0.0, |last: f64| last * distance);
            last = Some(distance);
        }
        pieces += 1.0;
    }
    if count < 15.0 || squares < 0.1 * count {
        return 0.0;
    }
    let found = products / squares * count / (count - pieces).max(1.0);
    // A level that was taken from the same values hides some of it.
    let found = found + pieces * (1.0 + 3.0 * found.max(0.0)) / count;
    if found <= CHANCE / libm::sqrt(count) { 0.0 } else { found.min(0.95) }
}

/// By how much the variance of a mean of `count` values is larger because neighbours have this correlation.
pub fn inflation(autocorrelation: f64, count: usize) -> f64 {
    if autocorrelation <= 0.0 || count == 0 {
        return 1.0;
    }
    let (phi, n) = (autocorrelation, count as f64);
    let sum = phi / (1.0 - phi) - phi * (1.0 - libm::pow(phi, n)) / (n * (1.0 - phi) * (1.0 - phi));
    1.0 + 2.0 * sum.max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::{Kind, series};

    #[test]
    fn outliers_are_pulled_in_and_steps_are_not() {
        let mut values: Vec<f64> = series(Kind::Gaussian, 1, 100);
        let level = values[70];
        values[50] += 40.0;
        for value in &mut values[70..] {
            *value += 10.0;
        }
        let tamed = tame(&values, 1e-9);
        assert!(tamed.values[50] < 8.0, "{}", tamed.values[50]);
        assert!((tamed.values[70] - level - 10.0).abs() < 1.0);
    }

    #[test]
    fn autocorrelation_is_seen_through_steps() {
        for (phi, low, high) in [(0.0, 0.0, 0.15), (0.5, 0.35, 0.65), (0.8, 0.65, 0.9)] {
            let mut values = series(Kind::Autocorrelated(phi), 3, 1000);
            for value in &mut values[400..] {
                *value += 20.0;
            }
            let found = autocorrelation(&values, 1e-9);
            assert!((low..=high).contains(&found), "{phi}: {found}");
        }
    }

    #[test]
    fn inflation_of_long_means_is_that_of_the_textbook() {
        assert_eq!(inflation(0.0, 10), 1.0);
        assert!((inflation(0.5, 1) - 1.0).abs() < 1e-12);
        assert!((inflation(0.5, 2) - 1.5).abs() < 1e-12);
        assert!((inflation(0.5, 100_000) - 3.0).abs() < 1e-3);
    }
}
