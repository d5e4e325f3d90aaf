//! Elementary functions whose last digit is seen in the output. The reference's digits are those of its amd64 build: `exp` is evaluated there by a short Taylor
//! series with fused multiply-adds (Shibata, "Efficient evaluation methods of elementary functions suitable for SIMD computation", ISC 2010), which differs from
//! every C library in one result of six. The rest is FreeBSD's, which the `libm` crate has too.

/// log2(e).
const LOG2_E: f64 = std::f64::consts::LOG2_E;
/// ln 2 in two parts; the upper has so few bits that its product with an exponent is exact.
const LN2_HIGH: f64 = 0.693_147_180_559_662_956_511_601_805_686_950_683_593_75;
const LN2_LOW: f64 = 0.282_352_905_630_315_771_225_884_481_750_134_360_255_254_120_68e-12;
/// Above this the result is infinite.
const OVERFLOW: f64 = 7.097_827_128_933_84e+02;
/// 1/8!, 1/7!, … 1/2!, 1.
const TAYLOR: [f64; 8] = [1.0 / 40320.0, 1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0];

/// e to the power of `x`.
#[must_use]
pub fn exp(x: f64) -> f64 {
    if x.is_nan() || x == f64::INFINITY {
        return x;
    }
    if x > OVERFLOW {
        return f64::INFINITY;
    }
    let exponent = (x * LOG2_E).round_ties_even();
    if exponent < -1100.0 {
        return 0.0;
    }
    let reduced = (-exponent).mul_add(LN2_LOW, (-exponent).mul_add(LN2_HIGH, x)) * 0.0625;
    let mut series = 0.0_f64;
    for term in TAYLOR {
        series = if series == 0.0 { term } else { series.mul_add(reduced, term) };
    }
    // e^r − 1, squared four times: (1 + y)² − 1 = y(y + 2).
    let mut y = reduced * series;
    for _ in 0..3 {
        y *= y + 2.0;
    }
    let y = y.mul_add(y + 2.0, 1.0);
    let biased = exponent as i64 + 1023;
    match biased {
        // Below the normal numbers: scaled in two steps, so that rounding happens once.
        i64::MIN..=-53 => 0.0,
        -52..=0 => y * power_of_two(biased + 1022) * f64::MIN_POSITIVE,
        1..=2046 => y * power_of_two(biased),
        _ => f64::INFINITY,
    }
}

/// The number whose biased exponent this is.
fn power_of_two(biased: i64) -> f64 {
    f64::from_bits((biased as u64) << 52)
}

/// Natural logarithm.
#[must_use]
pub fn ln(x: f64) -> f64 {
    libm::log(x)
}

/// Share of the normal distribution (`mean`, `deviation`) below `x`.
#[must_use]
pub fn normal_cdf(x: f64, mean: f64, deviation: f64) -> f64 {
    libm::erfc(-(x - mean) / (deviation * std::f64::consts::SQRT_2)) / 2.0
}

/// The value below which this share of the standard normal distribution lies: Acklam's rational approximation and one step of Halley's method.
/// NaN outside 0…1.
#[must_use]
pub fn normal_quantile(p: f64) -> f64 {
    const A: [f64; 6] =
        [-3.969683028665376e+01, 2.209460984245205e+02, -2.759285104469687e+02, 1.38357751867269e+02, -3.066479806614716e+01, 2.506628277459239e+00];
    const B: [f64; 6] = [-5.447609879822406e+01, 1.615858368580409e+02, -1.556989798598866e+02, 6.680131188771972e+01, -1.328068155288572e+01, 1.0];
    const C: [f64; 6] =
        [-7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e+00, -2.549732539343734e+00, 4.374664141464968e+00, 2.938163982698783e+00];
    const D: [f64; 5] = [7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00, 3.754408661907416e+00, 1.0];
    const LOW: f64 = 0.02425;
    let polynomial = |coefficients: &[f64], at: f64| coefficients.iter().fold(0.0, |sum, c| sum * at + c);
    if !(0.0..=1.0).contains(&p) {
        return f64::NAN;
    } else if p == 0.0 {
        return f64::NEG_INFINITY;
    } else if p == 1.0 {
        return f64::INFINITY;
    }
    let x = if p < LOW {
        let q = (-2.0 * ln(p)).sqrt();
        polynomial(&C, q) / polynomial(&D, q)
    } else if p > 1.0 - LOW {
        let q = (-2.0 * ln(1.0 - p)).sqrt();
        -polynomial(&C, q) / polynomial(&D, q)
    } else {
        let q = p - 0.5;
        let r = q * q;
        polynomial(&A, r) * q / polynomial(&B, r)
    };
    let error = 0.5 * libm::erfc(-x / std::f64::consts::SQRT_2) - p;
    let step = error * (2.0 * std::f64::consts::PI).sqrt() * exp(x * x / 2.0);
    x - step / (1.0 + x * step / 2.0)
}

/// How many ways there are to choose `k` of `n`: exact up to `n` = 20, beyond that through logarithms of the gamma function. The rounding of the latter decides
/// which of two equally likely neighbours an interval takes (spec §5.1: N = 22, 24, 27, 29), so it is the reference's.
#[must_use]
pub fn choose(n: i64, k: i64) -> f64 {
    if k == 0 || k == n {
        return 1.0;
    }
    if k < 0 || n < k {
        return 0.0;
    }
    if n <= 20 {
        return (1..=k).fold(1_i64, |product, i| product * (n - k + i) / i) as f64;
    }
    let log_factorial = |m: i64| libm::lgamma((m + 1) as f64);
    exp(log_factorial(n) - log_factorial(k) - log_factorial(n - k))
}

/// Geometric mean in the streaming form of spec §5.4; `None` if there is nothing, or something is not greater than zero.
#[must_use]
pub fn geomean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut mean = 0.0;
    let mut count = 0.0;
    for value in values {
        if value <= 0.0 {
            return None;
        }
        count += 1.0;
        mean += (ln(value) - mean) / count;
    }
    let result = exp(mean);
    (count > 0.0 && !result.is_nan()).then_some(result)
}

/// Arithmetic mean in the streaming form; NaN if there is nothing.
#[must_use]
pub fn mean(values: &[f64]) -> f64 {
    let mut mean = 0.0;
    for (i, value) in values.iter().enumerate() {
        mean += (value - mean) / (i + 1) as f64;
    }
    if values.is_empty() { f64::NAN } else { mean }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_has_the_digits_of_the_reference() {
        // Recorded from the reference's amd64 build; the second and third differ from C libraries in the last bit.
        for (x, y) in include!("../../testdata/exp.in") {
            assert_eq!(exp(f64::from_bits(x)).to_bits(), y, "e^{}", f64::from_bits(x));
        }
        assert_eq!((exp(0.0), exp(-800.0), exp(710.0)), (1.0, 0.0, f64::INFINITY));
        assert!((exp(-720.0) / 2.0_f64.powf(-720.0 * LOG2_E) - 1.0).abs() < 1e-5, "numbers below the normal ones are not lost");
    }

    #[test]
    fn choices() {
        assert_eq!((choose(5, 2), choose(20, 10), choose(3, 4), choose(7, 0)), (10.0, 184_756.0, 0.0, 1.0));
        assert!((choose(50, 25) / 126_410_606_437_752.0 - 1.0).abs() < 1e-12);
    }

    #[test]
    fn quantiles_of_the_normal_distribution() {
        assert!((normal_quantile(0.975) - 1.959_963_984_540_054).abs() < 1e-12);
        assert!((normal_quantile(0.01) + 2.326_347_874_040_841).abs() < 1e-12);
        assert!((normal_cdf(normal_quantile(0.3), 0.0, 1.0) - 0.3).abs() < 1e-14);
    }

    #[test]
    fn geometric_means() {
        assert_eq!(geomean([2.2530000000000003e-06]), Some(2.2530000000000016e-06), "spec §5.4: the streaming form costs digits");
        assert_eq!(geomean([1.0, 0.0]), None);
        assert_eq!(geomean([]), None);
        assert_eq!(geomean([1.0, f64::NAN]), None);
        assert_eq!(geomean([f64::INFINITY]), Some(f64::INFINITY));
    }
}
