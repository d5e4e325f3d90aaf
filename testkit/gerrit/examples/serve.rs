//! Serves a random world to foreign programs: `cargo run -p testkit-gerrit --example serve -- SEED STEPS`.
//!
//! Each line on standard input (a number) lets so many more things happen; the end of it ends the server. After each, the changes are counted on
//! standard output. Go's own programs reach it with `git config --global url.http://ADDRESS/.insteadOf https://go.googlesource.com/`.

use testkit_gerrit::Gerrit;
use tokio::io::AsyncBufReadExt as _;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("SEED and STEPS are numbers"));
    let (seed, steps) = (arguments.next().unwrap_or(1), arguments.next().unwrap_or(200));
    let gerrit = Gerrit::start().await;
    let mut round = seed;
    let walk = |round: u64, steps: u64| {
        let mut world = gerrit.world();
        world.random(round, usize::try_from(steps).expect("not so many"));
        println!("{} {} changes, {} projects", gerrit.base(), world.changes().len(), world.projects().count());
    };
    walk(round, steps);
    let mut lines = tokio::io::BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        round += 1;
        walk(round, line.trim().parse().unwrap_or(1));
    }
}
