//! What runs next, and why it ends: decisions alone.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use crate::plan::Plan;
use crate::samples::Spread;

/// A side that fails so often in a row is given up.
const FAILURES: u32 = 3;

/// A run to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The round, from 1.
    pub round: u32,
    /// The side, by place in the plan.
    pub side: usize,
    /// Base names of the benchmarks that are still too noisy; `None`: all of them run.
    pub only: Option<Vec<String>>,
}

/// Why it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every interval is tight enough.
    Tight,
    /// The largest number of rounds.
    Rounds,
    /// Another round would probably not have fitted into the budget.
    Budget,
    /// Somebody asked for it.
    Stopped,
    /// This side failed in its first run, or too often in a row.
    Failing {
        /// The side, by place in the plan.
        side: usize,
    },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Run this.
    Run(Turn),
    /// Look at the spreads and tell [`Session::spreads`], then ask again.
    Look,
    /// Nothing more.
    End(Ending),
}

/// The state between runs.
#[derive(Debug)]
pub struct Session {
    sides: usize,
    min_rounds: u32,
    max_rounds: u32,
    budget: Duration,
    until: f64,
    /// Whether commands can be told to run some benchmarks only.
    narrows: bool,
    random: StdRng,
    round: u32,
    queue: VecDeque<usize>,
    only: Option<Vec<String>>,
    round_began: Duration,
    slowest_round: Duration,
    failures: Vec<u32>,
    succeeded: Vec<bool>,
    looked: bool,
    tight: bool,
    ending: Option<Ending>,
}

impl Session {
    /// A session before its first run. `narrows`: every command can be told which benchmarks to run.
    #[must_use]
    pub fn new(plan: &Plan, narrows: bool) -> Session {
        Session {
            sides: plan.sides.len(),
            min_rounds: plan.min_rounds,
            max_rounds: plan.max_rounds,
            budget: plan.budget,
            until: plan.until,
            narrows,
            random: StdRng::seed_from_u64(plan.seed),
            round: 0,
            queue: VecDeque::new(),
            only: None,
            round_began: Duration::ZERO,
            slowest_round: Duration::ZERO,
            failures: vec![0; plan.sides.len()],
            succeeded: vec![false; plan.sides.len()],
            looked: false,
            tight: false,
            ending: None,
        }
    }

    /// Rounds that were begun.
    #[must_use]
    pub fn round(&self) -> u32 {
        self.round
    }

    /// What is to be done, so long after the beginning.
    pub fn next(&mut self, elapsed: Duration) -> Step {
        if let Some(ending) = &self.ending {
            return Step::End(ending.clone());
        }
        if let Some(side) = self.queue.pop_front() {
            return Step::Run(Turn { round: self.round, side, only: self.only.clone() });
        }
        if self.round > 0 {
            if !self.looked {
                self.slowest_round = self.slowest_round.max(elapsed.saturating_sub(self.round_began));
                if self.round >= self.min_rounds {
                    self.looked = true;
                    return Step::Look;
                }
            }
            let ending = if self.tight {
                Some(Ending::Tight)
            } else if self.round >= self.max_rounds {
                Some(Ending::Rounds)
            } else if elapsed.saturating_add(self.slowest_round) > self.budget {
                Some(Ending::Budget)
            } else {
                None
            };
            if let Some(ending) = ending {
                return self.end(ending);
            }
        }
        self.round += 1;
        self.looked = false;
        self.round_began = elapsed;
        let mut order: Vec<usize> = (0..self.sides).collect();
        order.shuffle(&mut self.random);
        self.queue = order.into();
        self.next(elapsed)
    }

    /// How noisy everything is, after [`Step::Look`].
    pub fn spreads(&mut self, spreads: &[Spread]) {
        let noisy: BTreeSet<&str> = spreads.iter().filter(|spread| spread.half_width > self.until).map(|spread| spread.base_name.as_str()).collect();
        self.tight = noisy.is_empty();
        let names = noisy.into_iter().map(str::to_owned).collect();
        self.only = self.narrows.then_some(names);
    }

    /// A run has given results.
    pub fn succeeded(&mut self, side: usize) {
        if let (Some(failures), Some(succeeded)) = (self.failures.get_mut(side), self.succeeded.get_mut(side)) {
            (*failures, *succeeded) = (0, true);
        }
    }

    /// A run has given none.
    pub fn failed(&mut self, side: usize) {
        if let (Some(failures), Some(succeeded)) = (self.failures.get_mut(side), self.succeeded.get(side)) {
            *failures += 1;
            if !succeeded || *failures >= FAILURES {
                self.end(Ending::Failing { side });
            }
        }
    }

    /// Nothing more is to be run.
    pub fn stop(&mut self) {
        self.end(Ending::Stopped);
    }

    fn end(&mut self, ending: Ending) -> Step {
        Step::End(self.ending.get_or_insert(ending).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Side;

    fn plan(min_rounds: u32, max_rounds: u32, budget: u64) -> Plan {
        let side = |label: &str| Side { label: label.into(), command: "true".into(), dir: None };
        Plan {
            sides: vec![side("a"), side("b"), side("c")],
            report: None,
            format: None,
            min_rounds,
            max_rounds,
            budget: Duration::from_secs(budget),
            run_limit: None,
            until: 0.01,
            units: Vec::new(),
            seed: 7,
        }
    }

    fn spread(name: &str, half_width: f64) -> Spread {
        Spread { name: format!("{name}/x-8"), base_name: name.into(), unit: "sec/op".into(), side: 1, ratio: 1.0, half_width, values: 6 }
    }

    /// Runs with a round of three runs of 10 s each; gives back the turns by round, and the end.
    fn carry_out(session: &mut Session, spreads: &dyn Fn(u32) -> Vec<Spread>) -> (Vec<Vec<Turn>>, Ending) {
        let (mut elapsed, mut rounds) = (Duration::ZERO, Vec::<Vec<Turn>>::new());
        loop {
            match session.next(elapsed) {
                Step::Run(turn) => {
                    elapsed += Duration::from_secs(10);
                    session.succeeded(turn.side);
                    if rounds.len() < turn.round as usize {
                        rounds.push(Vec::new());
                    }
                    rounds.last_mut().unwrap().push(turn);
                }
                Step::Look => {
                    let round = session.round();
                    session.spreads(&spreads(round));
                }
                Step::End(ending) => return (rounds, ending),
            }
        }
    }

    #[test]
    fn each_side_once_a_round_in_an_order_that_changes_and_is_the_same_again() {
        let (rounds, ending) = carry_out(&mut Session::new(&plan(2, 12, 10_000), false), &|_| vec![spread("A", 0.5)]);
        assert_eq!((rounds.len(), ending), (12, Ending::Rounds));
        let orders: Vec<Vec<usize>> = rounds.iter().map(|round| round.iter().map(|turn| turn.side).collect()).collect();
        for order in &orders {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2]);
        }
        assert!(orders.iter().collect::<BTreeSet<_>>().len() > 2, "{orders:?}");
        let (again, _) = carry_out(&mut Session::new(&plan(2, 12, 10_000), false), &|_| vec![spread("A", 0.5)]);
        assert_eq!(rounds, again);
    }

    #[test]
    fn it_ends_when_everything_is_tight_but_not_before_the_least_number_of_rounds() {
        let (rounds, ending) =
            carry_out(&mut Session::new(&plan(5, 100, 10_000), false), &|round| vec![spread("A", 0.001), spread("B", if round < 8 { 0.02 } else { 0.01 })]);
        assert_eq!((rounds.len(), ending), (8, Ending::Tight));
        let (rounds, ending) = carry_out(&mut Session::new(&plan(5, 100, 10_000), false), &|_| Vec::new());
        assert_eq!((rounds.len(), ending), (5, Ending::Tight));
    }

    #[test]
    fn no_round_is_begun_that_would_not_fit() {
        // Three runs of 10 s: four rounds are 120 s, a fifth would end at 150 s.
        let (rounds, ending) = carry_out(&mut Session::new(&plan(2, 100, 149), false), &|_| vec![spread("A", 0.5)]);
        assert_eq!((rounds.len(), ending), (4, Ending::Budget));
        // The first round is always made: without it there is nothing.
        let (rounds, ending) = carry_out(&mut Session::new(&plan(2, 100, 0), false), &|_| vec![spread("A", 0.5)]);
        assert_eq!((rounds.len(), ending), (1, Ending::Budget));
    }

    #[test]
    fn only_what_is_noisy_is_run_again_if_commands_can_be_told() {
        let (rounds, _) = carry_out(&mut Session::new(&plan(2, 4, 10_000), true), &|_| vec![spread("A", 0.001), spread("B", 0.5), spread("B", 0.6)]);
        let only: Vec<_> = rounds.iter().map(|round| round[0].only.clone()).collect();
        let noisy = Some(vec!["B".to_owned()]);
        assert_eq!(only, [None, None, noisy.clone(), noisy]);
    }

    #[test]
    fn a_side_that_fails_is_given_up() {
        let mut session = Session::new(&plan(2, 100, 10_000), false);
        let Step::Run(turn) = session.next(Duration::ZERO) else { panic!("nothing runs") };
        session.failed(turn.side);
        assert_eq!(session.next(Duration::ZERO), Step::End(Ending::Failing { side: turn.side }));
        // Later, once is forgiven.
        let mut session = Session::new(&plan(2, 100, 10_000), false);
        (0..3).for_each(|side| session.succeeded(side));
        session.failed(1);
        session.failed(1);
        session.succeeded(1);
        session.failed(1);
        session.failed(1);
        assert!(matches!(session.next(Duration::ZERO), Step::Run(_)));
        session.failed(1);
        session.stop();
        assert_eq!(session.next(Duration::ZERO), Step::End(Ending::Failing { side: 1 }), "the first reason stays");
    }
}
