//! Ranking series by their worst lasting step (spec §11).

/// Center and interval of one point of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower bound.
    pub low: f64,
    /// The value.
    pub center: f64,
    /// Upper bound.
    pub high: f64,
}

/// How far apart two intervals are, in units of the wider one: below 1 they overlap, negative if `b` lies lower. Identical: 0. Two points: NaN if equal, else infinite.
#[must_use]
pub fn change_score(a: Interval, b: Interval) -> f64 {
    let (sign, a, b) = if a.center > b.center { (-1.0, b, a) } else { (1.0, a, b) };
    let widest = go_max(a.high - a.low, b.high - b.low);
    let score = if a.high > b.low { 1.0 - (a.high.min(b.high) - a.low.max(b.low)) / widest } else { 1.0 + (b.low - a.high) / widest };
    sign * score
}

fn go_max(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// The worst lasting step of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Where it is: the first point after it.
    pub index: usize,
    /// Its size; positive is worse.
    pub delta: f64,
    /// How isolated it is.
    pub score: f64,
}

/// Why no step is named. The texts are those of the dashboard's JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unranked {
    /// Fewer than four points.
    #[error("too few values")]
    TooFew,
    /// Neighbours differ all the time.
    #[error("median change score > 1")]
    Noisy,
    /// Points without intervals.
    #[error("median is NaN")]
    NoIntervals,
    /// No step stands out and lasts.
    #[error("didn't detect outlier regression")]
    None,
}

/// What is said of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Worst {
    /// The last value; positive is worse. NaN of an empty series.
    pub change: f64,
    /// The step, or why there is none.
    pub step: Result<Step, Unranked>,
}

/// The most isolated step for the worse after which values never returned, of a series in the order of time.
#[must_use]
pub fn worst(series: &[Interval], higher_is_better: bool) -> Worst {
    let sign = if higher_is_better { -1.0 } else { 1.0 };
    let change = series.last().map_or(f64::NAN, |last| sign * last.center);
    Worst { change, step: step(series, sign) }
}

fn step(series: &[Interval], sign: f64) -> Result<Step, Unranked> {
    if series.len() < 4 {
        return Err(Unranked::TooFew);
    }
    let pairs = || series.windows(2).filter_map(|pair| Some((*pair.first()?, *pair.last()?)));
    let mut scores: Vec<f64> = pairs().map(|(a, b)| change_score(a, b).abs()).collect();
    scores.sort_by(|a, b| a.partial_cmp(b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan())));
    let middle = |i: usize| scores.get(i).copied().unwrap_or(f64::NAN);
    let half = scores.len() / 2;
    let median = if scores.len() % 2 == 1 { middle(half) } else { (middle(half - 1) + middle(half)) / 2.0 };
    if median > 1.0 {
        return Err(Unranked::Noisy);
    }
    if median.is_nan() {
        return Err(Unranked::NoIntervals);
    }
    let mut best = Step { index: 0, delta: 0.0, score: (2.0 * median).max(1.2) };
    let mut found = Err(Unranked::None);
    let mut least = f64::INFINITY;
    if let Some(last) = series.last() {
        least = sign * last.center;
    }
    for (i, (before, after)) in pairs().enumerate().collect::<Vec<_>>().into_iter().rev() {
        let score = sign * change_score(before, after);
        if score > best.score && sign * before.center < least {
            best = Step { index: i + 1, delta: sign * (after.center - before.center), score };
            found = Ok(best);
        }
        least = least.min(sign * after.center);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(low: f64, center: f64, high: f64) -> Interval {
        Interval { low, center, high }
    }

    #[test]
    fn scores() {
        let base = interval(0.98, 1.0, 1.02);
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
        near(change_score(base, interval(1.03, 1.05, 1.07)), 1.25);
        near(change_score(interval(1.03, 1.05, 1.07), base), -1.25);
        near(change_score(base, interval(1.0, 1.01, 1.03)), 0.5);
        assert_eq!(change_score(base, base), 0.0);
        let point = |x| interval(x, x, x);
        assert!(change_score(point(1.0), point(1.0)).is_nan());
        assert_eq!(change_score(point(1.0), point(2.0)), f64::INFINITY);
    }

    fn series(centers: &[f64]) -> Vec<Interval> {
        centers.iter().map(|&c| interval(c - 0.01, c, c + 0.01)).collect()
    }

    #[test]
    fn a_lasting_step_is_found_and_a_spike_is_not() {
        let worst_of = |centers: &[f64], higher| worst(&series(centers), higher);
        let stepped = worst_of(&[0.0, 0.001, -0.001, 0.0, 0.1, 0.101, 0.1], false);
        let step = stepped.step.unwrap();
        assert_eq!((step.index, (step.delta - 0.1).abs() < 1e-9, stepped.change), (4, true, 0.1));
        assert_eq!(worst_of(&[0.0, 0.001, 0.1, 0.0, 0.001, 0.0], false).step, Err(Unranked::None));
        assert_eq!(worst_of(&[0.0, 0.001, -0.001, 0.0, 0.1, 0.101, 0.1], true).step, Err(Unranked::None), "higher is better: no regression");
        assert_eq!(worst_of(&[0.1, 0.101, 0.1, 0.0, 0.001, 0.0], true).step.unwrap().index, 3);
    }

    #[test]
    fn series_that_are_not_ranked() {
        assert_eq!(worst(&series(&[1.0, 2.0]), false).step, Err(Unranked::TooFew));
        assert_eq!(worst(&series(&[0.0, 1.0, 0.0, 1.0, 0.0]), false).step, Err(Unranked::Noisy));
        assert_eq!(worst(&[interval(1.0, 1.0, 1.0); 5], false).step, Err(Unranked::NoIntervals));
        assert!(worst(&[], false).change.is_nan());
        assert_eq!(Unranked::Noisy.to_string(), "median change score > 1");
    }
}
