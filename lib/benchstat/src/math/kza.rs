//! Kolmogorov–Zurbenko adaptive filter: smooths noise and keeps steps (spec §12). A display filter for series.

/// Mean over a window that shrinks at the ends.
fn moving_average(values: &[f64], reach: usize) -> Vec<f64> {
    (0..values.len()).map(|i| mean(values, i.saturating_sub(reach), i + reach)).collect()
}

/// Mean of the values from `first` to `last`, as far as there are such.
fn mean(values: &[f64], first: usize, last: usize) -> f64 {
    let window = values.get(first..(last + 1).min(values.len())).unwrap_or_default();
    window.iter().sum::<f64>() / window.len() as f64
}

/// Filters with windows of `window` (odd) values in `rounds` rounds. A constant series, and one of steps only, stays as it is.
#[must_use]
pub fn kza(values: &[f64], window: usize, rounds: usize) -> Vec<f64> {
    let reach = window.saturating_sub(1) / 2;
    let count = values.len();
    let smooth = (0..rounds).fold(values.to_vec(), |smooth, _| moving_average(&smooth, reach));
    // How much the smooth series changes across each point; nothing is known at the ends.
    let change = |i: usize| match (smooth.get(i + reach), i.checked_sub(reach).and_then(|i| smooth.get(i))) {
        (Some(after), Some(before)) => (after - before).abs(),
        _ => 0.0,
    };
    let changes: Vec<f64> = (0..=count).map(|i| if i < count { change(i) } else { 0.0 }).collect();
    let most = changes.iter().copied().fold(0.0, f64::max);
    if most == 0.0 {
        return values.to_vec();
    }
    let filtered = changes.windows(2).enumerate().map(|(t, pair)| {
        let (here, next) = (pair.first().copied().unwrap_or(0.0), pair.last().copied().unwrap_or(0.0));
        let slope = next - here;
        let part = reach as f64 * (1.0 - here / most);
        let back = if slope > 0.0 { reach } else { part.ceil() as usize };
        let ahead = if slope < 0.0 { reach } else { part.floor() as usize };
        mean(values, t.saturating_sub(back), t + ahead)
    });
    filtered.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_is_kept_and_the_noise_is_cut() {
        let x = [1.0, 1.2, 0.9, 1.1, 1.0, 1.0, 0.8, 1.1, 1.0, 1.05, 2.0, 2.1, 1.9, 2.0, 2.2, 1.8, 2.0, 2.05, 1.95, 2.0];
        let expected = [1.03333, 1.05, 1.04, 1.05, 1.0, 0.975, 0.975, 0.966_667, 0.966_667, 1.716_667, 1.7625, 2.0, 2.05, 2.0, 1.98, 2.01, 2.0, 1.96, 2.0, 2.0];
        let filtered = kza(&x, 5, 3);
        assert_eq!(filtered.len(), expected.len());
        for (i, (a, b)) in filtered.iter().zip(expected).enumerate() {
            assert!((a - b).abs() < 1e-5, "{i}: {a} {b}\n{filtered:?}");
        }
    }

    #[test]
    fn nothing_to_smooth() {
        assert_eq!(kza(&[], 5, 3), Vec::<f64>::new());
        assert_eq!(kza(&[3.0; 7], 5, 3), [3.0; 7]);
        assert_eq!(kza(&[1.0, 2.0], 0, 3), [1.0, 2.0]);
    }
}
