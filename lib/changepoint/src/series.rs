//! The detector: proposals, proof, description; for a whole series and for one that grows.

use crate::evidence::{by_order, student, student_bound};
use crate::noise::{Tamed, autocorrelation_within, inflation, tame};
use crate::segment::{Sums, divide, place};
use crate::simulate::Random;
use crate::{Analysis, Calibration, ChangePoint, Interval, Noise, Options};

/// What is older than one to two blocks is settled: new values do not change the verdict on it.
const BLOCK: usize = 256;
/// So many values before the open part are looked at for noise.
const BEFORE: usize = 256;
/// Price of a proposed boundary, in squared spreads. Low: proposals have to prove themselves anyway.
const PRICE: f64 = 12.0;
/// No piece is shorter.
const SHORTEST: usize = 3;
/// Levels are compared over at most so many values on each side: what is farther away may have been something else.
const REACH: usize = 100;
/// Up to so many values have to show themselves by order too ([`by_order`]).
const FEW: usize = 8;
/// What order says is a bound that counts too little for normal noise: it is taken with this factor.
const ORDER: f64 = 0.3;
/// Probability of one comparison that makes one false alarm per point: there are many places where a change could be.
/// Found by [`crate::simulate`]; `tests/calibration.rs` holds it.
const COMPARISONS: f64 = 0.03;
/// Spread that is believed even if none is seen: a millionth of the level.
const LEAST: f64 = 1e-6;
/// Weight of the neighbourhood's spread when a short piece's own spread is judged.
const PRIOR: f64 = 12.0;

/// Looks at a whole series. Values that are no finite number are left out.
pub fn detect(values: &[f64], options: &Options) -> Analysis {
    let mut series = Series::new(*options);
    series.extend(values.iter().copied());
    series.analysis()
}

/// A series that grows.
#[derive(Clone, Debug)]
pub struct Series {
    options: Options,
    /// The finite ones.
    values: Vec<f64>,
    /// Where each was in what was given.
    places: Vec<usize>,
    given: usize,
    /// Boundaries that are settled, in indices of `values`.
    settled: Vec<usize>,
    /// Boundaries are settled up to here.
    open: usize,
}

impl Series {
    /// An empty one.
    pub fn new(options: Options) -> Series {
        Series { options, values: Vec::new(), places: Vec::new(), given: 0, settled: Vec::new(), open: 0 }
    }

    /// Appends a value. Costs nothing but memory, and every 256th time the settling of an old block.
    pub fn push(&mut self, value: f64) {
        let place = self.given;
        self.given += 1;
        if !value.is_finite() {
            return;
        }
        self.values.push(value);
        self.places.push(place);
        if self.values.len() >= self.open + 2 * BLOCK {
            let settle = self.open + BLOCK;
            let found = self.window().boundaries(&self.options);
            self.settled.extend(found.into_iter().filter(|at| *at < settle));
            self.open = settle;
        }
    }

    /// Appends values.
    pub fn extend(&mut self, values: impl IntoIterator<Item = f64>) {
        for value in values {
            self.push(value);
        }
    }

    /// How many values were given.
    pub fn len(&self) -> usize {
        self.given
    }

    /// Whether nothing was given.
    pub fn is_empty(&self) -> bool {
        self.given == 0
    }

    fn window(&self) -> Window {
        // The last settled boundary begins the piece that is open; values before it only tell of noise.
        let begin = self.settled.last().copied().unwrap_or(0).max(self.open.saturating_sub(BLOCK));
        let start = begin.saturating_sub(BEFORE);
        Window::new(self.values.get(start..).unwrap_or_default(), start, begin)
    }

    /// What is known now. Looks at the open part only: the cost does not grow with the length of the series (but for writing down the levels).
    pub fn analysis(&self) -> Analysis {
        let window = self.window();
        let mut boundaries = self.settled.clone();
        let open = window.boundaries(&self.options);
        boundaries.extend(open.iter().copied().filter(|at| *at >= self.open));
        let mut change_points = Vec::with_capacity(boundaries.len());
        for (number, &at) in boundaries.iter().enumerate() {
            let from = number.checked_sub(1).and_then(|before| boundaries.get(before)).copied().unwrap_or(0);
            let to = boundaries.get(number + 1).copied().unwrap_or(self.values.len());
            let start = from.min(at.saturating_sub(REACH + BEFORE / 2));
            let end = to.max(at + BEFORE / 2).min(self.values.len());
            let around = Window::new(self.values.get(start..end).unwrap_or_default(), start, start);
            let inner: Vec<usize> = boundaries.iter().copied().filter(|b| (start + 1..end).contains(b)).collect();
            let Some(test) = around.test(&inner, from, at, to) else { continue };
            let point = around.describe(&test, from, at, to);
            if point.size.center.abs() >= self.options.smallest {
                change_points.push(point);
            }
        }
        recoveries(&mut change_points);
        let mut levels = vec![f64::NAN; self.given];
        let mut bounds = vec![0];
        bounds.extend(&boundaries);
        bounds.push(self.values.len());
        for piece in bounds.windows(2) {
            let &[from, to] = piece else { continue };
            let mut own: Vec<f64> = self.values.get(from..to).unwrap_or_default().to_vec();
            let level = crate::noise::median(&mut own);
            let first = self.places.get(from).copied().unwrap_or(0);
            let end = self.places.get(to).copied().unwrap_or(self.given);
            if from < to {
                levels.get_mut(first..end).unwrap_or_default().fill(level);
            }
        }
        for point in &mut change_points {
            let place = |at: usize| self.places.get(at).copied().unwrap_or(self.given);
            point.index = place(point.index);
            point.earliest = place(point.earliest);
            point.latest = place(point.latest);
            point.recovered = point.recovered.map(place);
        }
        Analysis { change_points, noise: window.noise(&open, &self.options), levels, ignored: self.given - self.values.len() }
    }
}

/// A change is over when a later piece is back where it was: nearer than a quarter of the change, or beyond.
fn recoveries(points: &mut [ChangePoint]) {
    let ends: Vec<(usize, f64)> = points.iter().map(|point| (point.index, point.after)).collect();
    for (number, point) in points.iter_mut().enumerate() {
        let change = point.after - point.before;
        let back = |level: f64| (level - point.before) * change.signum() <= 0.25 * change.abs();
        point.recovered = ends.iter().skip(number + 1).find(|(_, level)| back(*level)).map(|(index, _)| *index);
    }
}

/// The part of a series that is looked at.
struct Window {
    /// Logarithms, or parts of `unit`.
    raw: Vec<f64>,
    tamed: Tamed,
    sums: Sums,
    /// Whether values were turned into logarithms.
    relative: bool,
    /// By what other values were divided.
    unit: f64,
    /// Index of the first value in the whole series.
    start: usize,
    /// Index at which the first piece begins.
    begin: usize,
}

/// What a comparison of two neighbouring pieces gave.
struct Test {
    /// Probability under noise alone.
    p: f64,
    step: f64,
    error: f64,
    freedom: f64,
    left: f64,
    right: f64,
}

/// The step from one piece to the next and its standard error (for noise of spread 1), if every value keeps this part of its predecessor's distance:
/// least squares on what each value adds to that. A step that comes at once weighs more than the wandering that such noise makes by itself.
fn whitened(left: &[f64], right: &[f64], correlation: f64) -> (f64, f64) {
    let (rest, fresh) = (1.0 - correlation, 1.0 - correlation * correlation);
    let (mut aa, mut ab, mut bb, mut ay, mut by) = (0.0, 0.0, 0.0, 0.0, 0.0);
    let mut last = None;
    for (index, value) in left.iter().chain(right).enumerate() {
        // Each value as level × a + step × b + something fresh.
        let (a, b, y) = match last {
            None => (libm::sqrt(fresh), 0.0, libm::sqrt(fresh) * value),
            Some(last) => {
                let b = match index.checked_sub(left.len()) {
                    None => 0.0,
                    Some(0) => 1.0,
                    Some(_) => rest,
                };
                (rest, b, value - correlation * last)
            }
        };
        aa += a * a;
        ab += a * b;
        bb += b * b;
        ay += a * y;
        by += b * y;
        last = Some(value);
    }
    let determinant = aa * bb - ab * ab;
    ((aa * by - ab * ay) / determinant, libm::sqrt(fresh * aa / determinant))
}

impl Window {
    fn new(values: &[f64], start: usize, begin: usize) -> Window {
        let relative = values.iter().all(|value| *value >= f64::MIN_POSITIVE);
        let largest = values.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
        let unit = if relative || largest < f64::MIN_POSITIVE { 1.0 } else { largest };
        let looked: Vec<f64> = values.iter().map(|value| if relative { libm::log(*value) } else { value / unit }).collect();
        let mut tamed = tame(&looked, LEAST);
        let sums = Sums::new(&tamed.values, &tamed.scales);
        // Levels are needed to see how neighbours go together, and that to see levels: from the rough to the exact in two rounds. In the first, levels that
        // only wander must not pass for steps.
        for doubt in [1.5, 0.0] {
            let assumed = (tamed.autocorrelation + doubt / libm::sqrt(tamed.values.len().max(1) as f64)).min(0.9);
            let mut bounds = vec![0];
            bounds.extend(divide(&sums, PRICE * inflation(assumed, 20), SHORTEST));
            bounds.push(tamed.values.len());
            tamed.autocorrelation = autocorrelation_within(&tamed.values, &tamed.scales, &bounds);
        }
        Window { raw: looked, tamed, sums, relative, unit, start, begin }
    }

    fn end(&self) -> usize {
        self.start + self.tamed.values.len()
    }

    fn slice(&self, from: usize, to: usize) -> &[f64] {
        self.tamed.values.get(from.saturating_sub(self.start)..to.saturating_sub(self.start)).unwrap_or_default()
    }

    /// Boundaries that hold, as indices of the whole series, those at or before `begin` left out.
    fn boundaries(&self, options: &Options) -> Vec<usize> {
        let skip = self.begin - self.start;
        let sums = Sums::new(self.tamed.values.get(skip..).unwrap_or_default(), self.tamed.scales.get(skip..).unwrap_or_default());
        let price = PRICE * inflation(self.tamed.autocorrelation, 20);
        let mut held: Vec<usize> = divide(&sums, price, SHORTEST).into_iter().map(|at| at + self.begin).collect();
        let allowed = COMPARISONS * options.false_alarms;
        loop {
            let around = |held: &[usize], number: usize| {
                let from = number.checked_sub(1).and_then(|before| held.get(before)).copied().unwrap_or(self.begin);
                (from, held.get(number + 1).copied().unwrap_or(self.end()))
            };
            // Neighbours that went leave room for a better place.
            for number in 0..held.len() {
                let (from, to) = around(&held, number);
                let best = place(&self.sums, from - self.start, to - self.start, SHORTEST, 0.0);
                if let (Some(slot), Some((best, _, _))) = (held.get_mut(number), best) {
                    *slot = best + self.start;
                }
            }
            let weakest = held
                .iter()
                .enumerate()
                .map(|(number, &at)| {
                    let (from, to) = around(&held, number);
                    (number, self.test(&held, from, at, to).map_or(1.0, |test| test.p))
                })
                .max_by(|a, b| a.1.total_cmp(&b.1));
            match weakest {
                Some((number, p)) if p > allowed => {
                    held.remove(number);
                }
                _ => break,
            }
        }
        for number in 0..held.len() {
            let from = number.checked_sub(1).and_then(|before| held.get(before)).copied().unwrap_or(self.begin);
            let to = held.get(number + 1).copied().unwrap_or(self.end());
            if let Some(at) = held.get_mut(number) {
                *at = self.unclipped(from, *at, to);
            }
        }
        held
    }

    /// Where the boundary is if values beside it that were pulled in are taken as they came: near the end of a series the new level's first values look like
    /// outliers of the old one.
    fn unclipped(&self, from: usize, at: usize, to: usize) -> usize {
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let (left, right) = (mean(self.slice(from.max(at.saturating_sub(REACH)), at)), mean(self.slice(at, to.min(at + REACH))));
        let belongs_right = |index: usize| {
            let place = index.checked_sub(self.start)?;
            let (raw, tame) = (self.raw.get(place)?, self.tamed.values.get(place)?);
            (raw != tame).then_some((raw - right).abs() < (raw - left).abs())
        };
        let mut moved = at;
        while moved > from + SHORTEST && belongs_right(moved - 1) == Some(true) {
            moved -= 1;
        }
        while moved == at.max(moved) && moved + SHORTEST < to && belongs_right(moved) == Some(false) {
            moved += 1;
        }
        moved
    }

    /// Compares the pieces before and after `at`, given the boundaries that hold.
    fn test(&self, held: &[usize], from: usize, at: usize, to: usize) -> Option<Test> {
        let left = self.slice(from.max(at.saturating_sub(REACH)), at);
        let right = self.slice(at, to.min(at + REACH));
        if left.len() < SHORTEST || right.len() < SHORTEST {
            return None;
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let (before, after) = (mean(left), mean(right));
        let squares = |values: &[f64], level: f64| values.iter().map(|value| (value - level) * (value - level)).sum::<f64>();
        // The neighbourhood: every value's distance from the level of its own piece.
        let (low, high) = (at.saturating_sub(REACH).max(self.start), (at + REACH).min(self.end()));
        let mut bounds = vec![low];
        bounds.extend(held.iter().copied().filter(|bound| (low + 1..high).contains(bound)));
        bounds.push(high);
        let (mut usual, mut own, mut freedom) = (Vec::with_capacity(high - low), 0.0, 0.0);
        for piece in bounds.windows(2) {
            let &[start, end] = piece else { continue };
            let values = self.slice(start, end);
            let level = mean(values);
            usual.extend(values.iter().map(|value| value - level));
            own += squares(values, level);
            freedom += values.len() as f64 - 1.0;
        }
        let local = if freedom < 1.0 { LEAST * LEAST } else { (own / freedom).max(LEAST * LEAST) };
        // A short piece says little of its own spread: the neighbourhood speaks first, and never makes a noisy piece quiet.
        let spread = |values: &[f64], level: f64| {
            let n = values.len() as f64;
            let own = (PRIOR * local + squares(values, level)) / (PRIOR + n - 1.0);
            own.max(local * 0.5)
        };
        let correlation = self.tamed.autocorrelation;
        let (step, error) = if correlation > 0.0 {
            let (step, error) = whitened(left, right, correlation);
            (step, error * libm::sqrt(spread(left, before).max(spread(right, after))))
        } else {
            let share = |values: &[f64], level: f64| spread(values, level) / values.len() as f64;
            (after - before, libm::sqrt(share(left, before) + share(right, after)))
        };
        let freedom = self.freedom(freedom);
        let mut p = student(step / error, freedom);
        let (few, level, step_out) = if left.len() <= right.len() { (left, after, -step) } else { (right, before, step) };
        if few.len() <= FEW {
            let from_old: Vec<f64> = few.iter().map(|value| value - level).collect();
            p = p.max(ORDER * by_order(&usual, &from_old, step_out));
        }
        Some(Test { p, step, error, freedom, left: before, right: after })
    }

    fn describe(&self, test: &Test, from: usize, at: usize, to: usize) -> ChangePoint {
        // Places whose likelihood is within a factor of e^2 of the best one's.
        let near = place(&self.sums, from.max(self.start) - self.start, to - self.start, SHORTEST, 4.0 * inflation(self.tamed.autocorrelation, 20));
        let (earliest, latest) = near.map_or((at, at), |(_, a, b)| (a + self.start, b + self.start));
        let level = |value: f64| if self.relative { libm::exp(value) } else { value * self.unit };
        let wide = student_bound(0.05, test.freedom) * test.error;
        let size = |step: f64| if self.relative { libm::expm1(step) } else { step * self.unit };
        ChangePoint {
            index: at,
            earliest: earliest.min(at),
            latest: latest.max(at),
            before: level(test.left),
            after: level(test.right),
            size: Interval { low: size(test.step - wide), center: size(test.step), high: size(test.step + wide) },
            relative: self.relative,
            false_alarms: test.p / COMPARISONS,
            recovered: None,
        }
    }

    fn noise(&self, held: &[usize], options: &Options) -> Noise {
        let last = held.last().copied().unwrap_or(self.begin);
        let low = self.end().saturating_sub(REACH).max(self.start);
        let mut bounds = vec![low];
        bounds.extend(held.iter().copied().chain([last]).filter(|bound| (low + 1..self.end()).contains(bound)));
        bounds.push(self.end());
        bounds.dedup();
        let (mut squares, mut freedom) = (0.0, 0.0);
        for piece in bounds.windows(2) {
            let &[from, to] = piece else { continue };
            let values = self.slice(from, to);
            let level = values.iter().sum::<f64>() / values.len().max(1) as f64;
            squares += values.iter().map(|value| (value - level) * (value - level)).sum::<f64>();
            freedom += (values.len() as f64 - 1.0).max(0.0);
        }
        if freedom < 1.0 {
            return Noise::default();
        }
        // What rounding makes of equal values is no noise.
        let spread = libm::sqrt(squares / freedom);
        let spread = if spread < LEAST * LEAST { 0.0 } else { spread };
        let correlation = self.tamed.autocorrelation;
        let bound = student_bound(COMPARISONS * options.false_alarms, self.freedom(freedom));
        let floor = |after: usize| {
            let before = REACH.min(self.tamed.values.len());
            let parts = inflation(correlation, after) / after as f64 + inflation(correlation, before) / before as f64;
            self.size_of(bound * spread * libm::sqrt(parts))
        };
        let outliers = self.tamed.pulled as f64 / self.tamed.values.len().max(1) as f64;
        Noise { spread: self.size_of(spread), autocorrelation: correlation, floor_5: floor(5), floor_20: floor(20), outliers }
    }

    /// Neighbours that go together say less of the spread; and how much they do is itself only known from so many values.
    fn freedom(&self, values: f64) -> f64 {
        let correlation = self.tamed.autocorrelation;
        if correlation <= 0.0 {
            return values.max(1.0);
        }
        let longer = (1.0 + correlation) / (1.0 - correlation);
        (1.0 / (longer / values.max(1.0) + longer / self.tamed.values.len().max(1) as f64)).max(1.0)
    }

    fn size_of(&self, step: f64) -> f64 {
        if self.relative { libm::expm1(step) } else { step * self.unit }
    }
}

/// How often this detector would report changes in noise like that of `values`: their distances from the levels found, in blocks of ten shuffled so often,
/// are looked at as series of their own (an A/A test without running anything). The same seed gives the same answer.
pub fn calibrate(values: &[f64], options: &Options, rounds: usize, seed: u64) -> Calibration {
    let found = detect(values, options);
    let (mut distances, mut level) = (Vec::with_capacity(values.len()), f64::NAN);
    let relative = values.iter().filter(|value| value.is_finite()).all(|value| *value > 0.0);
    for (value, usual) in values.iter().zip(&found.levels) {
        if value.is_finite() && usual.is_finite() {
            distances.push(if relative { value / usual } else { value - usual });
            level = *usual;
        }
    }
    let mut calibration = Calibration::default();
    let mut random = Random::new(seed);
    let mut blocks: Vec<&[f64]> = distances.chunks(10).collect();
    for _ in 0..rounds {
        for at in (1..blocks.len()).rev() {
            blocks.swap(at, random.below(at + 1));
        }
        let shuffled: Vec<f64> = blocks.iter().copied().flatten().map(|distance| if relative { level * distance } else { level + distance }).collect();
        calibration.points += shuffled.len();
        calibration.false_alarms += detect(&shuffled, options).change_points.len();
    }
    calibration
}
