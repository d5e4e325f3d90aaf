//! Series whose truth is known: noise of every kind that benchmarks have, and steps put into it. For calibration, tests and sample data.

/// A seeded stream of numbers (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in 0 to 1, never 0.
    pub fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// Normal with spread 1.
    pub fn normal(&mut self) -> f64 {
        libm::sqrt(-2.0 * libm::log(self.unit())) * libm::cos(std::f64::consts::TAU * self.unit())
    }

    /// An index below `count` (0 if there is none).
    pub fn below(&mut self, count: usize) -> usize {
        ((self.unit() * count as f64) as usize).min(count.saturating_sub(1))
    }
}

/// Kinds of noise. Their usual spread is 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Normal.
    Gaussian,
    /// Student's t with three degrees of freedom: now and then a value far out.
    HeavyTailed,
    /// Normal, and every tenth value much slower, never faster.
    Skewed,
    /// Two levels four spreads apart, the upper one in this part of the runs.
    Bimodal(f64),
    /// Each value keeps this part of the last one's distance.
    Autocorrelated(f64),
    /// Normal, its spread wanders slowly between 1/2 and 2.
    Drifting,
    /// Nearly always the same number: counters.
    Counter,
}

impl Kind {
    /// All kinds, with usual parameters.
    pub const ALL: [Kind; 9] = [
        Kind::Gaussian,
        Kind::HeavyTailed,
        Kind::Skewed,
        Kind::Bimodal(0.1),
        Kind::Bimodal(0.4),
        Kind::Autocorrelated(0.3),
        Kind::Autocorrelated(0.6),
        Kind::Drifting,
        Kind::Counter,
    ];

    /// A word for tables.
    pub fn name(self) -> String {
        match self {
            Kind::Gaussian => "gaussian".to_owned(),
            Kind::HeavyTailed => "heavy-tailed".to_owned(),
            Kind::Skewed => "skewed".to_owned(),
            Kind::Bimodal(part) => format!("bimodal {part}"),
            Kind::Autocorrelated(phi) => format!("autocorrelated {phi}"),
            Kind::Drifting => "drifting".to_owned(),
            Kind::Counter => "counter".to_owned(),
        }
    }
}

/// Noise without any step.
pub fn series(kind: Kind, seed: u64, len: usize) -> Vec<f64> {
    let mut random = Random::new(seed ^ 0x5eed_0000_0000);
    let (mut last, phase) = (random.normal(), random.unit());
    let student = |random: &mut Random| {
        let squares: f64 = (0..3).map(|_| random.normal()).map(|z| z * z).sum();
        random.normal() / libm::sqrt(squares / 3.0)
    };
    (0..len)
        .map(|i| match kind {
            Kind::Gaussian => random.normal(),
            Kind::HeavyTailed => student(&mut random),
            Kind::Skewed => random.normal() * 0.7 + if random.unit() < 0.1 { -5.0 * libm::log(random.unit()) } else { 0.0 },
            Kind::Bimodal(part) => random.normal() * 0.7 + if random.unit() < part { 4.0 } else { 0.0 },
            Kind::Autocorrelated(phi) => {
                last = phi * last + libm::sqrt(1.0 - phi * phi) * random.normal();
                last
            }
            Kind::Drifting => random.normal() * libm::exp2(libm::sin((i as f64 / 300.0 + phase) * std::f64::consts::TAU)),
            Kind::Counter => f64::from(u8::from(random.unit() < 0.03)),
        })
        .collect()
}

/// Noise of relative spread `spread` around levels that start at `level` and are multiplied by (1 + size) from each index on.
pub fn stepped(kind: Kind, seed: u64, len: usize, level: f64, spread: f64, steps: &[(usize, f64)]) -> Vec<f64> {
    let mut now = level;
    let mut steps = steps.iter().peekable();
    series(kind, seed, len)
        .into_iter()
        .enumerate()
        .map(|(index, noise)| {
            while let Some((_, size)) = steps.next_if(|(at, _)| *at <= index) {
                now *= 1.0 + size;
            }
            now * (1.0 + spread * noise).max(0.01)
        })
        .collect()
}
