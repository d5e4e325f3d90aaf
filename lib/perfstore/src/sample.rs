//! A believable history of benchmark results, the same for the same seed: for first looks and for tests of what watches results.
//!
//! 200 commits, twelve benchmarks, ten runs of each. `Parse/size=large` becomes 3 % slower at one commit and stays so: a regression that must be found.
//! `Network/hosts=100` is noisy (its runs spread over a fifth of their value, and some commits have a bad day): nothing happened to it, and nobody should be told so.
//! `Render/page=index` becomes 12 % faster at one commit. The others have the noise of a quiet machine.
//!
//! ```
//! use burrow_perfstore::sample;
//! let upload = sample::uploads(7).nth(150).unwrap();
//! assert_eq!(upload.text.lines().filter(|line| line.starts_with("Benchmark")).count(), 120);
//! assert_eq!(upload.text, sample::uploads(7).nth(150).unwrap().text);
//! ```

use std::fmt::Write as _;

use crate::model::{Begin, Error};
use crate::store::PerfStore;
use burrow_task::BoxFuture;

/// How many commits there are.
pub const COMMITS: usize = 200;
/// The commit (from 0) at which `Parse/size=large` becomes slower.
pub const REGRESSION: usize = 132;
/// The commit at which `Render/page=index` becomes faster.
pub const IMPROVEMENT: usize = 71;
/// The benchmark with the real regression.
pub const REGRESSED: &str = "Parse/size=large";
/// The benchmark that is only noisy.
pub const NOISY: &str = "Network/hosts=100";
/// Runs of each benchmark at each commit.
const RUNS: usize = 10;
/// Moment of the first commit of [`uploads`], Unix seconds: 2026-01-05T09:00:00Z.
const FIRST: i64 = 1_767_603_600;

/// A file to upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleUpload {
    /// The commit.
    pub commit: String,
    /// When it was made, Unix milliseconds.
    pub at_ms: i64,
    /// The file.
    pub text: String,
}

/// Name, nanoseconds, spread of runs within a commit, spread between commits, bytes and allocations.
const BENCHMARKS: [(&str, f64, f64, f64, u32, u32); 12] = [
    ("Parse/size=small", 1_842.0, 0.006, 0.002, 512, 9),
    (REGRESSED, 248_300.0, 0.006, 0.002, 81_920, 1_204),
    ("Render/page=index", 96_410.0, 0.008, 0.003, 24_576, 310),
    ("Render/page=article", 141_700.0, 0.008, 0.003, 36_864, 471),
    ("Encode/format=json", 5_230.0, 0.005, 0.002, 1_408, 14),
    ("Encode/format=binary", 812.4, 0.005, 0.002, 256, 2),
    ("Sort/n=1000", 31_900.0, 0.004, 0.001, 0, 0),
    ("Sort/n=1000000", 71_200_000.0, 0.007, 0.002, 0, 0),
    ("Cache/hit", 24.31, 0.006, 0.002, 0, 0),
    ("Cache/miss", 1_310.0, 0.009, 0.004, 384, 5),
    (NOISY, 2_410_000.0, 0.2, 0.05, 40_960, 612),
    ("Start", 18_700_000.0, 0.02, 0.006, 2_621_440, 9_870),
];

/// Puts the history into an empty store, as one that ended yesterday; how many uploads that were, 0 if the store is not empty.
///
/// # Errors
/// The store fails.
pub fn load<'a>(store: &'a PerfStore, seed: u64, now_ms: i64) -> BoxFuture<'a, Result<u64, Error>> {
    Box::pin(async move {
        if store.totals().await?.uploads > 0 {
            return Ok(0);
        }
        let today = now_ms.div_euclid(86_400_000) * 86_400;
        let first = today - (day_of(COMMITS - 1) + 1) * 86_400 + FIRST.rem_euclid(86_400);
        let mut count = 0;
        for upload in (0..COMMITS).map(|commit| upload(seed, commit, first)) {
            let mut writer = store.begin_at(Begin { by: Some("sample".into()), key: None }, upload.at_ms).await?;
            writer.file(0, Some("sample.txt")).await?;
            writer.write(upload.text.into()).await?;
            writer.commit().await?;
            count += 1;
        }
        Ok(count)
    })
}

/// The history, oldest first.
pub fn uploads(seed: u64) -> impl Iterator<Item = SampleUpload> {
    (0..COMMITS).map(move |commit| upload(seed, commit, FIRST))
}

/// Some commits a day, and none on the seventh.
fn day_of(commit: usize) -> i64 {
    let day = commit as i64 / 4;
    day + day / 6
}

fn upload(seed: u64, commit: usize, first: i64) -> SampleUpload {
    let mut random = Random::new(seed ^ (commit as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let hash: String = (0..5).map(|_| format!("{:08x}", random.next() as u32)).collect();
    let at = first + day_of(commit) * 86_400 + (commit as i64 % 4) * 7_500 + (random.next() % 3_000) as i64;
    let time = jiff::Timestamp::from_second(at).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let mut text = String::new();
    let _ = write!(
        text,
        "experiment-commit: {hash}\nexperiment-commit-time: {time}\nrepository: sample\nbranch: main\nbuilder: linux-amd64-perf\npost-submit: true\ntoolchain: experiment\n\
         goos: linux\ngoarch: amd64\ncpu: Example CPU @ 3.00GHz\n"
    );
    let mut values: Vec<(usize, f64)> = Vec::new();
    for (number, (name, nanoseconds, _, between, ..)) in BENCHMARKS.iter().enumerate() {
        let mut level = nanoseconds * (1.0 + between * random.normal());
        if *name == REGRESSED && commit >= REGRESSION {
            level *= 1.03;
        }
        if *name == "Render/page=index" && commit >= IMPROVEMENT {
            level *= 0.88;
        }
        // The network of a shared machine has bad days.
        if *name == NOISY && random.next().is_multiple_of(17) {
            level *= 1.25;
        }
        values.push((number, level));
    }
    for _ in 0..RUNS {
        for (number, level) in &values {
            let Some((name, nanoseconds, within, _, bytes, allocations)) = BENCHMARKS.get(*number) else { continue };
            // Runs are slower by chance more often than faster.
            let off = random.normal();
            let value = level * (1.0 + within * if off > 0.0 { off * 1.3 } else { off * 0.7 });
            let iterations = (1e9 / nanoseconds).max(1.0) as u64;
            let _ = writeln!(text, "Benchmark{name}-8\t{iterations}\t{} ns/op\t{bytes} B/op\t{allocations} allocs/op", shown(value));
        }
    }
    SampleUpload { commit: hash, at_ms: at * 1000, text }
}

/// As `go test` shows nanoseconds.
fn shown(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.2}"),
        v => format!("{v:.3}"),
    }
}

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// About normal, by twelve uniform ones: no logarithm, which differs between machines.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| (self.next() >> 11) as f64 / (1_u64 << 53) as f64).sum::<f64>() - 6.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Means of a benchmark's first unit, commit by commit.
    fn means(name: &str) -> Vec<f64> {
        let start = format!("Benchmark{name}-8\t");
        let mean = |upload: SampleUpload| {
            let values: Vec<f64> = upload
                .text
                .lines()
                .filter(|line| line.starts_with(&start))
                .map(|line| line.split('\t').nth(2).unwrap().split(' ').next().unwrap().parse().unwrap())
                .collect();
            assert_eq!(values.len(), RUNS);
            values.iter().sum::<f64>() / values.len() as f64
        };
        uploads(7).map(mean).collect()
    }

    fn mean(values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / values.len() as f64
    }

    #[test]
    fn the_regression_is_there_and_the_noise_is_only_noise() {
        let slower = means(REGRESSED);
        let step = mean(&slower[REGRESSION..]) / mean(&slower[..REGRESSION]);
        assert!((1.027..1.033).contains(&step), "{step}");
        let noisy = means(NOISY);
        let drift = mean(&noisy[100..]) / mean(&noisy[..100]);
        assert!((0.96..1.04).contains(&drift), "{drift}");
        let spread = noisy.iter().fold(0.0_f64, |most, value| most.max((value / mean(&noisy) - 1.0).abs()));
        assert!(spread > 0.1, "it is noisy: {spread}");
    }

    #[test]
    fn commits_differ_and_times_rise() {
        let all: Vec<SampleUpload> = uploads(7).collect();
        assert!(all.windows(2).all(|two| two[0].at_ms < two[1].at_ms && two[0].commit != two[1].commit));
        assert_ne!(all[0].text, uploads(8).next().unwrap().text);
    }
}
