//! How convincing a boundary is.

/// Probability that |t| is at least this large, with so many degrees of freedom (two-sided). After D. L. Wallace, good to a few percent far into the tail.
pub fn student(t: f64, freedom: f64) -> f64 {
    if t.is_nan() || freedom <= 0.0 {
        return 1.0;
    }
    if t.is_infinite() {
        return 0.0;
    }
    let z = (8.0 * freedom + 1.0) / (8.0 * freedom + 3.0) * libm::sqrt(freedom * libm::log1p(t * t / freedom));
    libm::erfc(z / std::f64::consts::SQRT_2)
}

/// The |t| that [`student`] gives this probability.
pub fn student_bound(p: f64, freedom: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1e3);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if student(middle, freedom) > p { low = middle } else { high = middle }
    }
    high
}

/// Probability of at least `least` successes in `count` tries.
pub fn binomial_tail(least: usize, count: usize, success: f64) -> f64 {
    let (q, mut term, mut sum) = (success.clamp(0.0, 1.0), 1.0, 0.0);
    if q >= 1.0 || least == 0 {
        return 1.0;
    }
    // From all successes downwards, so that the smallest terms come first.
    for k in (0..=count).rev() {
        if k == count {
            term = libm::pow(q, count as f64);
        } else {
            term *= (k + 1) as f64 / (count - k) as f64 * (1.0 - q) / q;
        }
        if k < least {
            break;
        }
        sum += term;
    }
    if sum.is_nan() { 1.0 } else { sum.min(1.0) }
}

/// How often noise that looks like `usual` (distances from their own levels) puts as many of the few values `few` (distances from the old level) as far out
/// as they are. Nothing is assumed about the noise but that its values come in any order. `step` is the distance of the levels.
pub fn by_order(usual: &[f64], few: &[f64], step: f64) -> f64 {
    let sign = step.signum();
    let step = step.abs();
    let mut best = 1.0_f64;
    // Where to look: near the old level many pass, near the new one few of the new do.
    for part in [0.35, 0.5, 0.65, 0.8] {
        let bound = step * part;
        let out = few.iter().filter(|value| **value * sign > bound).count();
        let beyond = usual.iter().filter(|value| **value * sign > bound).count();
        let rate = (beyond as f64 + 0.5) / (usual.len() as f64 + 1.0);
        best = best.min(binomial_tail(out, few.len(), rate));
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_those_of_the_tables() {
        for (t, freedom, p) in [(1.96, 1e6, 0.05), (2.228, 10.0, 0.05), (4.587, 10.0, 0.001), (3.850, 20.0, 0.001), (4.417, 1e6, 1e-5)] {
            let found = student(t, freedom);
            assert!((found / p - 1.0).abs() < 0.06, "{t} {freedom}: {found}");
            assert!((student_bound(p, freedom) / t - 1.0).abs() < 0.02);
        }
        assert!((binomial_tail(3, 5, 0.5) - 0.5).abs() < 1e-12);
        assert!((binomial_tail(5, 5, 0.1) - 1e-5).abs() < 1e-12);
        assert_eq!(binomial_tail(0, 0, 0.3), 1.0);
    }

    #[test]
    fn few_values_prove_little() {
        let usual: Vec<f64> = (0..100).map(|i| f64::from(i % 11 - 5) / 5.0).collect();
        assert!(by_order(&usual, &[9.0, 9.0], 9.0) > 1e-5);
        assert!(by_order(&usual, &[9.0; 4], 9.0) < 1e-7);
        // One in ten is as far out: four of them in a row happen.
        let other_mode: Vec<f64> = (0..100).map(|i| if i % 10 == 0 { 9.0 } else { 0.0 }).collect();
        assert!(by_order(&other_mode, &[9.0; 4], 9.0) > 1e-5);
    }
}
