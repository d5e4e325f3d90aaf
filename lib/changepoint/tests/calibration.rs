//! What is promised in numbers: how often noise is called a change, and what changes are found. Seeds are fixed, so these do not come out differently tomorrow.

use burrow_changepoint::simulate::{Kind, series, stepped};
use burrow_changepoint::{Options, Series, calibrate, detect};

/// 200 series without any change of every kind of noise: no more alarms than one in 10,000 points, over all kinds and (with room for chance) for each.
#[test]
fn noise_is_not_called_a_change() {
    let (mut alarms, mut points) = (0, 0);
    for kind in Kind::ALL {
        let own: usize = (0..200).map(|seed| detect(&stepped(kind, seed, 150, 100.0, 0.01, &[]), &Options::default()).change_points.len()).sum();
        // Three expected: more than eight would be luck of 1 in 300.
        assert!(own <= 8, "{}: {own} alarms in 30,000 points", kind.name());
        alarms += own;
        points += 200 * 150;
    }
    assert!(alarms as f64 / points as f64 <= 1e-4, "{alarms} in {points}");
}

/// A looser rate finds more and is kept as well.
#[test]
fn the_rate_can_be_chosen() {
    let alarms = |rate: f64| -> usize {
        let options = Options { false_alarms: rate, ..Options::default() };
        (0..100).map(|seed| detect(&series(Kind::Gaussian, seed, 200), &options).change_points.len()).sum()
    };
    let (strict, usual, loose) = (alarms(1e-6), alarms(1e-4), alarms(1e-2));
    assert!(strict <= usual && usual < loose && loose <= 200, "{strict} {usual} {loose}");
}

/// 3 % in noise of 1 %, five values of the new level. Even one who knows the noise and both levels places one step in nine beside the true commit.
#[test]
fn a_small_step_is_found_within_five_values_at_its_commit() {
    let (mut found, mut beside, mut exact) = (0, 0, 0);
    for seed in 0..200 {
        let values = stepped(Kind::Gaussian, 10_000 + seed, 125, 100.0, 0.01, &[(120, 0.03)]);
        let points = detect(&values, &Options::default()).change_points;
        let distance = points.iter().map(|point| point.index.abs_diff(120)).min();
        found += u32::from(distance.is_some());
        beside += u32::from(distance.is_some_and(|d| d <= 1));
        exact += u32::from(distance == Some(0));
        // What is given as possible holds the true commit nearly always.
        if let Some(point) = points.iter().find(|point| point.index.abs_diff(120) <= 3) {
            assert!(point.earliest <= point.index && point.index <= point.latest);
        }
    }
    assert!(found >= 150 && beside >= 140 && exact >= 130, "{found} {beside} {exact}");
}

/// With ten runs per commit, each with 1 % noise, the median is steadier, and the same step is found always.
#[test]
fn with_samples_the_step_is_found_always() {
    let mut inside = 0;
    for seed in 0..60 {
        let runs = stepped(Kind::Gaussian, seed, 1250, 100.0, 0.01, &[(1200, 0.03)]);
        let medians: Vec<f64> = runs
            .chunks(10)
            .map(|runs| {
                let mut runs = runs.to_vec();
                runs.sort_by(f64::total_cmp);
                (runs[4] + runs[5]) / 2.0
            })
            .collect();
        let points = detect(&medians, &Options::default()).change_points;
        assert_eq!(points.iter().map(|point| point.index).collect::<Vec<_>>(), [120], "seed {seed}");
        inside += u32::from(points[0].size.low < 0.03 && 0.03 < points[0].size.high);
    }
    // 95 of 100 intervals hold the truth: 57 of 60.
    assert!(inside >= 54, "{inside} of 60 intervals hold the true size");
}

/// Values that arrive are judged as the whole series would be, also over the edges of what is settled.
#[test]
fn growing_and_whole_series_agree() {
    for kind in [Kind::Gaussian, Kind::HeavyTailed, Kind::Autocorrelated(0.5)] {
        let values = stepped(kind, 5, 1400, 100.0, 0.01, &[(250, 0.05), (258, -0.05), (511, 0.08), (900, 0.02), (1390, 0.2)]);
        let mut growing = Series::new(Options::default());
        for (number, value) in values.iter().enumerate() {
            growing.push(*value);
            if number % 97 == 0 || number == values.len() - 1 {
                assert_eq!(growing.analysis(), detect(&values[..=number], &Options::default()), "{number}");
            }
        }
        assert!(growing.analysis().change_points.iter().any(|point| point.index.abs_diff(511) <= 1));
    }
}

#[test]
fn what_comes_back_is_recovered_and_what_stays_is_not() {
    let values = stepped(Kind::Gaussian, 8, 300, 100.0, 0.01, &[(100, 0.1), (150, -0.0909), (220, 0.1)]);
    let points = detect(&values, &Options::default()).change_points;
    assert_eq!(points.iter().map(|point| (point.index, point.recovered)).collect::<Vec<_>>(), [(100, Some(150)), (150, Some(220)), (220, None)]);
}

#[test]
fn the_noise_floor_says_what_would_be_found() {
    let noise = detect(&stepped(Kind::Gaussian, 2, 400, 100.0, 0.01, &[]), &Options::default()).noise;
    assert!((0.008..0.012).contains(&noise.spread), "{noise:?}");
    assert!(noise.floor_20 < noise.floor_5 && (0.015..0.035).contains(&noise.floor_5), "{noise:?}");
    // Twice the floor is found, a third of it is not.
    for (size, expected) in [(2.0 * noise.floor_20, 1), (noise.floor_20 / 3.0, 0)] {
        let found = detect(&stepped(Kind::Gaussian, 3, 220, 100.0, 0.01, &[(200, size)]), &Options::default()).change_points;
        assert_eq!(found.len(), expected, "{size}");
    }
}

#[test]
fn an_a_a_run_of_the_same_noise_is_quiet_and_repeats_itself() {
    let values = stepped(Kind::Bimodal(0.4), 4, 300, 100.0, 0.01, &[(150, 0.2)]);
    let first = calibrate(&values, &Options::default(), 20, 1);
    assert_eq!(first, calibrate(&values, &Options::default(), 20, 1));
    assert_eq!(first.points, 6000);
    assert!(first.false_alarms <= 2, "{first:?}");
}
