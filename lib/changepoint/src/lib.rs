//! Where a series of measurements changed its level, and what is only noise.
//!
//! A series has one value per commit (the median of its samples), in commit order. [`detect`] says where the level changed, from what to what, by how much,
//! and how often noise alone would look like that. [`Series`] does the same while values arrive: both give the same answer for the same values.
//!
//! How (`spec/perf.md` "Better" 5):
//!
//! 1. Positive series are looked at as logarithms, so that noise is relative. Values far from their neighbours are pulled in ([`noise`]): a single outlier, or
//!    two beside each other, make no change.
//! 2. A penalised least-squares segmentation proposes boundaries ([`segment`]), all at once instead of one split after the other, so that two changes close
//!    together do not hide each other.
//! 3. Every boundary has to prove itself ([`evidence`]): by the distance of the levels in units of the local noise, with the series' own autocorrelation
//!    counted, and by a test that needs no assumption about the noise at all. The weakest goes until all hold.
//!
//! The threshold is a rate: [`Options::false_alarms`] per point, calibrated on series without any change ([`simulate`]).
//!
//! ```
//! let mut values: Vec<f64> = (0..60).map(|i| 100.0 + f64::from(i * 37 % 11) / 10.0).collect();
//! values.extend((0..6).map(|i| 104.0 + f64::from(i * 37 % 11) / 10.0));
//! let found = burrow_changepoint::detect(&values, &burrow_changepoint::Options::default());
//! assert_eq!(found.change_points.len(), 1);
//! assert_eq!(found.change_points[0].index, 60);
//! ```

pub mod evidence;
pub mod noise;
pub mod segment;
mod series;
pub mod simulate;

pub use series::{Series, calibrate, detect};

/// What counts as a change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// False alarms per point that are acceptable. Default: one in 10,000 points.
    pub false_alarms: f64,
    /// Changes smaller than this part of the level are not reported (0.02 is 2 %). Default: 0, whatever the noise lets one see.
    pub smallest: f64,
}

impl Default for Options {
    fn default() -> Options {
        Options { false_alarms: 1e-4, smallest: 0.0 }
    }
}

/// A value with the interval that holds it with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Best estimate.
    pub center: f64,
    /// Upper end.
    pub high: f64,
}

/// A change of level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChangePoint {
    /// Index of the first value of the new level, in the series as it was given.
    pub index: usize,
    /// First index that is possible too, given the noise: the change is in `earliest..=latest`.
    pub earliest: usize,
    /// Last index that is possible too.
    pub latest: usize,
    /// Level before, in the values' unit.
    pub before: f64,
    /// Level after.
    pub after: f64,
    /// Size as part of the level before (0.03 is +3 %); where a level is not positive, in the values' unit.
    pub size: Interval,
    /// Whether [`ChangePoint::size`] is a part of the level.
    pub relative: bool,
    /// How many changes at least as convincing noise alone makes per point. At most [`Options::false_alarms`].
    pub false_alarms: f64,
    /// Index of a later change point at which the level came back, if it did.
    pub recovered: Option<usize>,
}

/// What noise the series has.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Noise {
    /// Spread (standard deviation) around the level at the end of the series: part of the level, or in the values' unit if levels are not positive.
    pub spread: f64,
    /// Correlation of neighbouring values, 0 to 0.95.
    pub autocorrelation: f64,
    /// The smallest step that would be found, as part of the level, with 5 values after it.
    pub floor_5: f64,
    /// The same with 20 values after it.
    pub floor_20: f64,
    /// Part of the values that were pulled in as outliers.
    pub outliers: f64,
}

/// What was found in a series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Analysis {
    /// Changes, by index.
    pub change_points: Vec<ChangePoint>,
    /// The noise.
    pub noise: Noise,
    /// Level at every index of the series. NaN where nothing was measured yet.
    pub levels: Vec<f64>,
    /// How many values were left out because they are no finite number.
    pub ignored: usize,
}

/// What comes of looking for changes where there are none ([`calibrate`]).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Calibration {
    /// Points looked at.
    pub points: usize,
    /// Changes reported among them: all false.
    pub false_alarms: usize,
}
