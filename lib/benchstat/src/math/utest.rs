//! The Mann–Whitney U test, two-sided: exact for small samples, with and without ties, else by the normal approximation with both corrections (spec §5.2).

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use super::elementary::normal_cdf;
use super::ties::Ties;

/// Largest sample for the exact distribution when nothing ties.
const EXACT: usize = 50;
/// The same when something ties.
const EXACT_TIES: usize = 25;
/// The smallest p that two samples of this size (from 1 on) can have.
const LEAST_P: [f64; 9] = [1.0, 1.0 / 3.0, 0.1, 1.0 / 35.0, 1.0 / 126.0, 1.0 / 462.0, 1.0 / 1716.0, 1.0 / 6435.0, 1.0 / 24310.0];

/// Why a test has no answer. The texts are the reference's, which shows them as warnings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Untestable {
    /// A sample is empty.
    #[error("sample is too small")]
    Empty,
    /// There is one distinct value only.
    #[error("all samples are equal")]
    Equal,
    /// A value is not a number, so there is no order. (The reference does not return.)
    #[error("a sample contains NaN")]
    NotANumber,
}

/// p of the hypothesis that both samples (sorted) are of one population. Not clamped: with unequal sizes and skewed ties it can exceed 1 (`{1,2,2,2}` and `{2,2}`: 4/3).
///
/// # Errors
/// The test says nothing about these samples.
pub fn p_value(first: &[f64], second: &[f64]) -> Result<f64, Untestable> {
    let (n1, n2) = (first.len(), second.len());
    if n1 == 0 || n2 == 0 {
        return Err(Untestable::Empty);
    }
    if first.iter().chain(second).any(|value| value.is_nan()) {
        return Err(Untestable::NotANumber);
    }
    let ranks = Ranks::of(first, second);
    let product = n1 as f64 * n2 as f64;
    let u1 = ranks.sum_of_first - (n1 * (n1 + 1)) as f64 / 2.0;
    let u2 = product - u1;
    let exact = n1.max(n2) <= if ranks.any_ties { EXACT_TIES } else { EXACT };
    if exact {
        if ranks.ties.len() == 1 {
            return Err(Untestable::Equal);
        }
        if u1 == u2 {
            return Ok(1.0);
        }
        let least = u1.min(u2);
        let below = if ranks.any_ties {
            thread_local!(static TIES: RefCell<Ties> = RefCell::default());
            TIES.with_borrow_mut(|ties| ties.cumulative((2.0 * least) as i64, n1, n2, &ranks.ties))
        } else {
            untied(n1, n2).get(least as usize).copied().unwrap_or(1.0)
        };
        return Ok(2.0 * below);
    }
    let pooled = (n1 + n2) as f64;
    let correction: f64 = ranks.ties.iter().map(|&t| (t as f64).powi(3) - t as f64).sum();
    let deviation = (product * ((pooled + 1.0) - correction / (pooled * (pooled - 1.0))) / 12.0).sqrt();
    if deviation == 0.0 {
        return Err(Untestable::Equal);
    }
    let distance = u1 - product / 2.0;
    let sign = if distance == 0.0 { 0.0 } else { distance.signum() };
    let below = normal_cdf((distance - sign * 0.5) / deviation, 0.0, 1.0);
    Ok(2.0 * below.min(1.0 - below))
}

/// The same, but sound where the reference's number is not: with ties it counts the wrong tail if the first sample lies higher and the ties are skewed, so that its p can be 0
/// for two values, or above 1. Here it is twice the tail on the side that was observed, at most 1. For gates and alarms; tables show the reference's.
///
/// # Errors
/// The test says nothing about these samples.
pub fn sound_p_value(first: &[f64], second: &[f64]) -> Result<f64, Untestable> {
    let forward = p_value(first, second)?;
    let ranks = Ranks::of(first, second);
    if !ranks.any_ties || first.len().max(second.len()) > EXACT_TIES {
        return Ok(forward.min(1.0));
    }
    // P(U₁ ≥ u₁) = P(U₂ ≤ u₂): the sample that lies lower is counted.
    let u1 = ranks.sum_of_first - (first.len() * (first.len() + 1)) as f64 / 2.0;
    let lower_first = u1 * 2.0 <= first.len() as f64 * second.len() as f64;
    let p = if lower_first { forward } else { p_value(second, first)? };
    Ok(p.min(1.0))
}

/// The size that both samples need for a p of `alpha` to be possible; `None` if more than 10.
#[must_use]
pub fn samples_for_alpha(alpha: f64) -> Option<usize> {
    LEAST_P.iter().position(|&p| p <= alpha).map(|i| i + 1)
}

/// Mid-ranks of two sorted samples put together.
struct Ranks {
    sum_of_first: f64,
    /// How many values share each rank, from the lowest.
    ties: Vec<usize>,
    any_ties: bool,
}

impl Ranks {
    fn of(first: &[f64], second: &[f64]) -> Ranks {
        let mut ranks = Ranks { sum_of_first: 0.0, ties: Vec::with_capacity(first.len() + second.len()), any_ties: false };
        let (mut a, mut b) = (first, second);
        let mut before = 0;
        loop {
            let value = match (a.first(), b.first()) {
                (Some(&x), Some(&y)) => x.min(y),
                (Some(&x), None) | (None, Some(&x)) => x,
                (None, None) => return ranks,
            };
            let of_first = take_run(&mut a, value);
            let all = of_first + take_run(&mut b, value);
            if of_first != 0 {
                ranks.sum_of_first += (2 * before + all + 1) as f64 / 2.0 * of_first as f64;
            }
            ranks.ties.push(all);
            ranks.any_ties |= all > 1;
            before += all;
        }
    }
}

/// Takes the values that equal this one, the least, from the beginning of a sorted list: how many they are. Long runs (counters that never vary) are not walked through.
fn take_run(list: &mut &[f64], value: f64) -> usize {
    const SHORT: usize = 4;
    let mut run = list.iter().take(SHORT).take_while(|&&x| x == value).count();
    if run == SHORT {
        run = list.partition_point(|&x| x <= value);
    }
    *list = list.get(run..).unwrap_or_default();
    run
}

/// Share of the labellings with at most this U, for every U up to half of the product, when nothing ties: Mann and Whitney's recurrence. Kept for every pair of
/// sizes that was asked for: a table compares thousands of pairs of the same sizes.
fn untied(n1: usize, n2: usize) -> Arc<[f64]> {
    type Known = HashMap<(usize, usize), Arc<[f64]>>;
    static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);
    let key = (n1.min(n2), n1.max(n2));
    if let Some(known) = KNOWN.lock().ok().and_then(|table| table.get(&key).cloned()) {
        return known;
    }
    let made: Arc<[f64]> = recurrence(key.0, key.1).into();
    if let Ok(mut table) = KNOWN.lock() {
        table.insert(key, Arc::clone(&made));
    }
    made
}

fn recurrence(small: usize, large: usize) -> Vec<f64> {
    let most = small * large / 2;
    let mut rows: Vec<Vec<f64>> = vec![vec![0.0; most + 1]; small + 1];
    for m in 0..=large {
        if let Some(one) = rows.first_mut().and_then(|row| row.first_mut()) {
            *one = 1.0;
        }
        for n in 1..=small.min(m) {
            // p(n, m−1), by symmetry p(m−1, n) on the diagonal.
            let with_fewer_seconds = if n < m { n } else { m - 1 };
            for u in (0..=most.min(n * m)).rev() {
                let at = |row: usize, u: Option<usize>| u.and_then(|u| rows.get(row)?.get(u)).copied().unwrap_or(0.0);
                let value = (n as f64 * at(n - 1, u.checked_sub(m)) + m as f64 * at(with_fewer_seconds, Some(u))) / (n + m) as f64;
                if let Some(cell) = rows.get_mut(n).and_then(|row| row.get_mut(u)) {
                    *cell = value;
                }
            }
        }
    }
    let mut sum = 0.0;
    let mut last = rows.pop().unwrap_or_default();
    for value in &mut last {
        sum += *value;
        *value = sum;
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(first: &[f64], second: &[f64]) -> f64 {
        let sorted = |values: &[f64]| {
            let mut values = values.to_vec();
            values.sort_by(f64::total_cmp);
            values
        };
        p_value(&sorted(first), &sorted(second)).unwrap()
    }

    #[test]
    fn confirmed_values() {
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-10, "{a} {b}");
        near(p(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]), 0.1);
        near(p(&[1.0, 1.0, 1.0, 2.0], &[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0]), 0.763_636_363_6);
        near(p(&[1.0, 2.0, 2.0], &[2.0, 2.0, 2.0, 3.0, 2.0]), 0.535_714_285_7);
        near(p(&[1.0, 2.0, 2.0, 2.0], &[2.0, 2.0]), 4.0 / 3.0);
        let many = |f: &dyn Fn(u32) -> u32, n: u32| (0..n).map(|i| f64::from(f(i))).collect::<Vec<_>>();
        near(p(&many(&|i| i % 10, 30), &many(&|i| (i + 2) % 12, 30)), 0.377_093_795_4);
        near(p(&many(&|i| 2 * i, 51), &many(&|i| 2 * i + 11, 51)), 0.076_134_726_5);
        near(
            p(&[100.0, 102.0, 98.0, 101.0, 99.0, 103.0, 97.0, 100.0, 104.0, 96.0], &[90.0, 93.0, 91.0, 95.0, 92.0, 94.0, 89.0, 96.0, 90.0, 97.0]),
            5.412_544_112e-05,
        );
    }

    #[test]
    fn recorded_from_the_reference() {
        // One line: p as bits, sizes, values.
        let mut seen = 0;
        for line in include_str!("../../testdata/utest.txt").lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let n1: usize = fields[1].parse().unwrap();
            let values: Vec<f64> = fields[2..].iter().map(|text| text.parse().unwrap()).collect();
            let ours = p(&values[..n1], &values[n1..]);
            let theirs = f64::from_bits(u64::from_str_radix(fields[0], 16).unwrap());
            let exact = n1.max(values.len() - n1) <= EXACT_TIES;
            if exact {
                assert_eq!(ours.to_bits(), theirs.to_bits(), "{line}: {ours} {theirs}");
            } else {
                assert!((ours - theirs).abs() <= 1e-14 * theirs.abs().max(1e-3), "{line}: {ours} {theirs}");
            }
            seen += 1;
        }
        assert!(seen > 200);
    }

    #[test]
    fn the_sound_value_is_the_tail_that_was_observed() {
        // One value above fourteen that tie: the reference says 1.867, and 0 with one more rank. Of 15 labellings one is as extreme on this side.
        let mut zeros = vec![0.0; 14];
        assert!((p(&[9.0], &zeros) - 28.0 / 15.0).abs() < 1e-12);
        assert!((sound_p_value(&[9.0], &zeros).unwrap() - 2.0 / 15.0).abs() < 1e-12);
        zeros.push(1.0);
        assert_eq!(p(&[9.0], &zeros), 0.0);
        assert!((sound_p_value(&[9.0], &zeros).unwrap() - 2.0 / 16.0).abs() < 1e-12);
        assert_eq!(sound_p_value(&[1.0, 2.0, 2.0, 2.0], &[2.0, 2.0]), Ok(1.0));
        assert!((sound_p_value(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]).unwrap() - 0.1).abs() < 1e-12);
    }

    #[test]
    fn what_cannot_be_tested() {
        assert_eq!(p_value(&[], &[1.0]), Err(Untestable::Empty));
        assert_eq!(p_value(&[1.0, 1.0], &[1.0]), Err(Untestable::Equal));
        assert_eq!(p_value(&[7.0; 60], &[7.0; 60]), Err(Untestable::Equal));
        assert_eq!(p_value(&[f64::NAN], &[1.0]), Err(Untestable::NotANumber));
    }

    #[test]
    fn sizes_that_suffice() {
        assert_eq!([1.0, 0.05, 0.01, 1e-50, 0.0].map(samples_for_alpha), [Some(1), Some(4), Some(5), None, None]);
    }
}
