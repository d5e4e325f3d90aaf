//! Chance that is the same on every machine: splitmix64, and the distributions of the model.
//!
//! The logarithm and the exponential are made here of additions, multiplications and divisions alone. Those of the platform's mathematics library differ in the
//! last bit from one system to another, and one bit is another log.

/// What a number is drawn for. Streams of different purposes never meet, so that a change in one place does not move everything else.
#[derive(Clone, Copy)]
#[repr(u64)]
pub(crate) enum Purpose {
    Plan = 1,
    Issue,
    IssueText,
    Comment,
    Event,
    Review,
    History,
    Change,
    Message,
    Files,
    PatchSet,
    Meta,
    Id,
    Torture,
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// A stream of numbers (splitmix64).
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// The stream of one thing: the `b`-th part of the `a`-th entity, say. Nothing else influences it, so that things can be made in any order.
    pub(crate) fn of(seed: u64, purpose: Purpose, a: u64, b: u64) -> Random {
        let mut state = mix(seed.wrapping_add(GOLDEN));
        for part in [purpose as u64, a, b] {
            state = mix(state ^ part.wrapping_mul(GOLDEN));
        }
        Random(state)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// From 0 to `bound` - 1; 0 if `bound` is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// From 0 to `bound` - 1, for places in lists.
    pub(crate) fn index(&mut self, bound: usize) -> usize {
        self.below(bound as u64) as usize
    }

    /// One of these; there must be some.
    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.index(of.len())]
    }

    /// True in so many of a hundred cases.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// From 0 to 1, without 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// How often a thing happens that goes on with equal chance each time; `mean` times on average.
    pub(crate) fn geometric(&mut self, mean: f64) -> u64 {
        (ln(1.0 - self.unit()) / ln(mean / (mean + 1.0))) as u64
    }

    /// Around 0 with deviation 1: the sum of eight small numbers, which is as near to a normal distribution as texts need.
    fn normal(&mut self) -> f64 {
        let mut sum = 0;
        for _ in 0..2 {
            let bits = self.next();
            sum += (0..4).map(|part| bits >> (16 * part) & 0xffff).sum::<u64>();
        }
        // Eight numbers from 0 to 1 have the mean 4 and the variance 8/12.
        (sum as f64 / 65_535.0 - 4.0) / 0.816_496_580_927_726
    }

    /// A length or a pause: half of them shorter than `median`.
    pub(crate) fn log_normal(&mut self, median: f64, sigma: f64) -> u64 {
        (median * exp(sigma * self.normal())) as u64
    }

    /// From 0 to `bound` - 1, the k-th about in proportion to 1/k; 0 if `bound` is 0.
    pub(crate) fn zipf(&mut self, bound: usize) -> usize {
        let rank = exp(self.unit() * ln(bound as f64 + 1.0)) as usize;
        rank.saturating_sub(1).min(bound.saturating_sub(1))
    }

    /// A moment between 0 and 1 that comes the more often the later it is: the births of a project that grows.
    pub(crate) fn growth(&mut self) -> f64 {
        exp(0.6 * ln(1.0 - self.unit()))
    }
}

/// 40 hex digits that stand for a git object.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Id(pub(crate) [u8; 40]);

impl Id {
    /// The next of a stream.
    pub(crate) fn draw(random: &mut Random) -> Id {
        let mut hex = [0; 40];
        for eight in hex.chunks_mut(16) {
            let bits = random.next();
            for (place, digit) in eight.iter_mut().enumerate() {
                *digit = b"0123456789abcdef"[(bits >> (4 * place) & 15) as usize];
            }
        }
        Id(hex)
    }

    pub(crate) fn text(&self) -> &str {
        // Hex digits are text.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// 1/n, because divisions are slow; that of 0 is not used.
const INVERSES: [f64; 32] = {
    let mut out = [0.0; 32];
    let mut n = 1;
    while n < out.len() {
        out[n] = 1.0 / n as f64;
        n += 1;
    }
    out
};

fn exp(x: f64) -> f64 {
    let doublings = (x / std::f64::consts::LN_2) as i64 - i64::from(x < 0.0);
    let rest = x - doublings as f64 * std::f64::consts::LN_2;
    let mut term = 1.0;
    let mut sum = 1.0;
    for inverse in &INVERSES[1..16] {
        term *= rest * inverse;
        sum += term;
    }
    sum * f64::from_bits(((1023 + doublings.clamp(-1022, 1023)) as u64) << 52)
}

/// Of a number above 0.
fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let halvings = (bits >> 52) as i64 - 1023;
    let mantissa = f64::from_bits(bits & ((1 << 52) - 1) | 1023 << 52);
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let mut power = s;
    let mut sum = 0.0;
    for inverse in INVERSES.iter().skip(1).step_by(2) {
        sum += power * inverse;
        power *= s * s;
    }
    2.0 * sum + halvings as f64 * std::f64::consts::LN_2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithm_and_exponential_are_near_the_platforms() {
        for x in [1e-9, 0.1, 0.5, 0.99, 1.0, 1.5, 2.0, 3.0, 40_000.0, 1e12] {
            assert!((ln(x) - f64::ln(x)).abs() < 1e-9, "ln {x}: {}", ln(x));
        }
        for x in [-20.0, -1.0, -0.3, 0.0, 0.3, 1.0, 5.0, 11.0] {
            assert!((exp(x) / f64::exp(x) - 1.0).abs() < 1e-12, "exp {x}: {}", exp(x));
        }
    }

    #[test]
    fn distributions_have_the_means_that_the_model_counts_on() {
        let mut random = Random::of(1, Purpose::Plan, 0, 0);
        let mut mean = |draw: &mut dyn FnMut(&mut Random) -> f64| (0..100_000).map(|_| draw(&mut random)).sum::<f64>() / 100_000.0;
        for (what, found, wanted) in [
            ("unit", mean(&mut |random| random.unit()), 0.5),
            ("geometric", mean(&mut |random| random.geometric(12.0) as f64), 12.0),
            ("normal", 1.0 + mean(&mut |random| random.normal()), 1.0),
            (
                "variance",
                mean(&mut |random| {
                    let one = random.normal();
                    one * one
                }),
                1.0,
            ),
            ("log normal", mean(&mut |random| random.log_normal(1000.0, 0.5) as f64), 1133.0),
            ("first of zipf", mean(&mut |random| f64::from(random.zipf(100) == 0)), 0.15),
            ("growth", mean(&mut |random| random.growth()), 1.0 / 1.6),
        ] {
            assert!((found / wanted - 1.0).abs() < 0.02, "{what}: {found} and not {wanted}");
        }
    }

    #[test]
    fn bounds_hold() {
        let mut random = Random::of(7, Purpose::Plan, 0, 0);
        for bound in [1, 2, 180, 40_000] {
            assert!((0..10_000).all(|_| random.zipf(bound) < bound && random.index(bound) < bound));
        }
        assert_eq!((random.zipf(0), random.below(0)), (0, 0));
    }
}
