//! Whatever is given: no panic, answers that make sense.

use burrow_changepoint::{Options, Series, calibrate, detect};
use proptest::prelude::*;

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => -1e3..1e3_f64,
        4 => 99.0..101.0_f64,
        4 => Just(100.0),
        1 => any::<f64>(),
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(0.0), Just(f64::MAX), Just(f64::MIN), Just(f64::MIN_POSITIVE), Just(5e-324)],
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn answers_are_in_order_and_in_range(values in proptest::collection::vec(value(), 0..560), rate in prop_oneof![Just(0.0), Just(1e-4), Just(1.0), Just(f64::NAN), any::<f64>()]) {
        let options = Options { false_alarms: rate, ..Options::default() };
        let found = detect(&values, &options);
        prop_assert_eq!(found.levels.len(), values.len());
        prop_assert_eq!(found.ignored, values.iter().filter(|v| !v.is_finite()).count());
        let mut last = 0;
        for point in &found.change_points {
            prop_assert!(point.index > last && point.index < values.len());
            prop_assert!(point.earliest <= point.index && point.index <= point.latest);
            prop_assert!(values[point.index].is_finite());
            if let Some(back) = point.recovered {
                prop_assert!(back > point.index);
            }
            last = point.index;
        }
        let mut growing = Series::new(options);
        growing.extend(values.iter().copied());
        prop_assert_eq!(format!("{:?}", growing.analysis()), format!("{found:?}"));
        calibrate(&values, &options, 1, 1);
    }

    /// Another unit is not another answer.
    #[test]
    fn the_unit_does_not_matter(seed in 0..500_u64, factor in 1e-9..1e9_f64) {
        use burrow_changepoint::simulate::{Kind, stepped};
        let values = stepped(Kind::HeavyTailed, seed, 200, 100.0, 0.01, &[(120, 0.06)]);
        let scaled: Vec<f64> = values.iter().map(|v| v * factor).collect();
        let places = |values: &[f64]| detect(values, &Options::default()).change_points.iter().map(|point| point.index).collect::<Vec<_>>();
        prop_assert_eq!(places(&values), places(&scaled));
    }
}

/// One or two outliers beside each other are no change, however far out. (Two and a third value that is high by chance may be, as rarely as noise may be.)
#[test]
fn outliers_are_no_change() {
    use burrow_changepoint::simulate::{Kind, Random, stepped};
    let mut random = Random::new(1);
    for outliers in [1, 2] {
        let mut alarms = 0;
        for seed in 0..150 {
            let mut values = stepped(Kind::Gaussian, seed, 200, 100.0, 0.01, &[]);
            let at = random.below(200 - outliers);
            let size = [0.5, 2.0, 1e6, 0.01][random.below(4)];
            for value in &mut values[at..at + outliers] {
                *value *= size;
            }
            alarms += usize::from(!detect(&values, &Options::default()).change_points.is_empty());
        }
        assert!(alarms <= 1, "{outliers}: {alarms} in 150 series");
    }
}

#[test]
fn short_and_constant_series_say_nothing() {
    for len in 0..8 {
        assert!(detect(&vec![5.0; len], &Options::default()).change_points.is_empty());
        assert!(detect(&(0..len).map(|i| i as f64).collect::<Vec<_>>(), &Options::default()).change_points.is_empty());
    }
    let constant = detect(&[7.0; 500], &Options::default());
    assert!(constant.change_points.is_empty());
    assert_eq!(constant.noise.spread, 0.0);
    assert!(detect(&[f64::NAN; 50], &Options::default()).levels.iter().all(|level| level.is_nan()));
}

#[test]
fn a_counter_that_changes_is_seen_after_four_values() {
    let mut values = vec![100.0; 60];
    values.extend([101.0; 3]);
    assert!(detect(&values, &Options::default()).change_points.is_empty());
    values.push(101.0);
    let found = detect(&values, &Options::default()).change_points;
    assert_eq!((found.len(), found[0].index, found[0].before.round(), found[0].after.round()), (1, 60, 100.0, 101.0));
}

#[test]
fn values_that_are_no_numbers_are_left_out_and_places_stay() {
    let mut values: Vec<f64> = (0..80).map(|i| 100.0 + f64::from(i * 37 % 11) / 10.0).collect();
    for value in &mut values[50..] {
        *value *= 1.1;
    }
    values.insert(20, f64::NAN);
    values.insert(40, f64::INFINITY);
    let found = detect(&values, &Options::default());
    assert_eq!((found.change_points.len(), found.change_points[0].index, found.ignored), (1, 52, 2));
    assert_eq!(found.levels[51], found.levels[10]);
    assert!(found.levels[52] > found.levels[51]);
}
