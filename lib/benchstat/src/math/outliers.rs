//! The older engine's treatment of a sample: values beyond one and a half interquartile ranges are dropped, the rest is averaged (spec §7).

use super::elementary::mean;
use super::interval::quantile;
use super::sample::Sample;

/// A sample without its outliers.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// The values kept, in the order they came.
    pub values: Vec<f64>,
    /// The least kept; NaN if there is none.
    pub min: f64,
    /// Their mean; NaN if there is none.
    pub mean: f64,
    /// The greatest kept; NaN if there is none.
    pub max: f64,
}

impl Kept {
    /// Of these values, in the order they came.
    #[must_use]
    pub fn of(values: &[f64]) -> Kept {
        let sorted = Sample::new(values.to_vec());
        let (q1, q3) = (quantile(sorted.values(), 0.25), quantile(sorted.values(), 0.75));
        let reach = 1.5 * (q3 - q1);
        let kept: Vec<f64> = values.iter().copied().filter(|value| (q1 - reach..=q3 + reach).contains(value)).collect();
        let least = kept.iter().copied().reduce(f64::min).unwrap_or(f64::NAN);
        let greatest = kept.iter().copied().reduce(f64::max).unwrap_or(f64::NAN);
        Kept { min: least, mean: mean(&kept), max: greatest, values: kept }
    }

    /// The wider side as a part of the mean; `None` if mean or greatest is zero.
    #[must_use]
    pub fn spread(&self) -> Option<f64> {
        if self.mean == 0.0 || self.max == 0.0 {
            return None;
        }
        let (below, above) = (1.0 - self.min / self.mean, self.max / self.mean - 1.0);
        Some(if above > below { above } else { below })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outlier_is_dropped() {
        let kept = Kept::of(&[10.0, 11.0, 9.0, 10.0, 100.0, 10.0]);
        assert_eq!((kept.values.len(), kept.min, kept.max), (5, 9.0, 11.0));
        assert!((kept.mean - 10.0).abs() < 1e-12 && (kept.spread().unwrap() - 0.1).abs() < 1e-12);
        assert_eq!(Kept::of(&[0.0, 0.0]).spread(), None);
        assert!(Kept::of(&[]).mean.is_nan());
    }
}
