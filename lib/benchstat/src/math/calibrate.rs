//! A/A calibration: what comparing identical code with itself reports. Users' gates fire on such runs (3 of 25 in one report); a benchmark's own null runs say how
//! often, and how large a difference must be to mean something.

use super::interval::quantile;
use super::sample::{Assumption, Comparison, Sample, Summary};

/// What null runs of one benchmark show.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Calibration {
    /// Pairs of null runs that were compared.
    pub pairs: usize,
    /// Pairs that were reported as different.
    pub false_alarms: usize,
    /// Their share, to be compared with alpha. NaN without pairs.
    pub false_alarm_rate: f64,
    /// The difference that 95 of 100 null pairs stay below, as a part of the base. NaN without pairs.
    pub noise_floor: f64,
    /// The largest difference of a null pair.
    pub largest: f64,
}

/// Compares every pair of runs of the same code. Runs without values, and pairs whose base is zero, do not count.
#[must_use]
pub fn calibrate(runs: &[Sample], assumption: Assumption, alpha: f64) -> Calibration {
    let centers: Vec<f64> = runs.iter().map(|run| Summary::of(run, assumption, 0.95).center).collect();
    let (mut false_alarms, mut differences) = (0, Vec::new());
    for (i, (base, &from)) in runs.iter().zip(&centers).enumerate() {
        for (other, &to) in runs.iter().zip(&centers).skip(i + 1) {
            let difference = (to / from - 1.0).abs();
            if !difference.is_finite() {
                continue;
            }
            let comparison = Comparison::of(base, other, assumption, alpha);
            false_alarms += usize::from(comparison.significant() && from != to);
            differences.push(difference);
        }
    }
    differences.sort_by(f64::total_cmp);
    let pairs = differences.len();
    Calibration {
        pairs,
        false_alarms,
        false_alarm_rate: false_alarms as f64 / pairs as f64,
        noise_floor: quantile(&differences, 0.95),
        largest: differences.last().copied().unwrap_or(f64::NAN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drifting_machine_is_noticed() {
        let run = |shift: f64| Sample::new((0..10).map(|i| 100.0 + shift + f64::from(i) / 10.0).collect());
        let steady: Vec<Sample> = (0..6).map(|_| run(0.0)).collect();
        let calm = calibrate(&steady, Assumption::Nothing, 0.05);
        assert_eq!((calm.pairs, calm.false_alarms, calm.largest), (15, 0, 0.0));
        let drifting: Vec<Sample> = (0..6).map(|i| run(f64::from(i) * 3.0)).collect();
        let noisy = calibrate(&drifting, Assumption::Nothing, 0.05);
        assert_eq!((noisy.pairs, noisy.false_alarm_rate), (15, 1.0));
        assert!(noisy.noise_floor > 0.1 && noisy.noise_floor <= noisy.largest, "{noisy:?}");
        assert_eq!(calibrate(&[], Assumption::Nothing, 0.05).pairs, 0);
    }
}
