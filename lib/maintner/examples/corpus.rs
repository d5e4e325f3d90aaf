//! Loads a log from a folder and says what is in it: `cargo run --release -p burrow-maintner --example corpus -- DIR [dump FILE]`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use burrow_maintner::{Corpus, MilestoneOf, Part, Reading, dump};

fn parts(dir: &Path) -> std::io::Result<Vec<Part>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "mutlog"));
    files.sort();
    files.iter().map(|path| Ok(Part::file(path, 0, std::fs::metadata(path)?.len()))).collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let dir = args.get(1).ok_or("which folder?")?;
    let start = Instant::now();
    let threads = std::env::var("THREADS").ok().and_then(|n| n.parse().ok()).unwrap_or(2);
    let corpus = Corpus::load(&parts(Path::new(dir))?, threads, &|_| {})?;
    println!("load {:.3} s", start.elapsed().as_secs_f64());
    let view = corpus.view();
    println!("{} records, {} bytes", view.records(), view.position());
    if let Some(file) = args.get(3) {
        let start = Instant::now();
        let mut out = std::io::BufWriter::new(std::fs::File::create(file)?);
        println!("{:?} in {:.3} s", dump::dump(&view, Reading::Reference, &mut out)?, start.elapsed().as_secs_f64());
    }
    for line in std::fs::read_to_string("/proc/self/status")?.lines().filter(|line| line.starts_with("Rss") || line.starts_with("VmHWM")) {
        println!("{line}");
    }
    for _ in 0..3 {
        let start = Instant::now();
        let (mut issues, mut comments, mut events, mut sum) = (0, 0, 0, 0);
        for repo in view.github().repos() {
            for issue in repo.issues() {
                issues += 1;
                sum += i64::from(matches!(issue.milestone(), MilestoneOf::None)) + issue.created().map_or(0, |time| time.seconds);
                for comment in issue.comments() {
                    comments += 1;
                    sum += comment.created().map_or(0, |time| time.seconds);
                }
                for event in issue.events() {
                    events += 1;
                    sum += event.created().map_or(0, |time| time.seconds) + i64::from(event.kind().is_empty());
                }
            }
        }
        println!("walk issues {issues} {comments} {events} ({sum}): {:.4} s", start.elapsed().as_secs_f64());
        let start = Instant::now();
        let (mut changes, mut sum) = (0, 0);
        for project in view.gerrit().projects() {
            for change in project.changes() {
                changes += 1;
                sum += i64::from(change.number()) + change.status() as i64 + change.created().map_or(0, |time| time.seconds);
            }
        }
        println!("walk changes {changes} ({sum}): {:.4} s", start.elapsed().as_secs_f64());
    }
    Ok(())
}
