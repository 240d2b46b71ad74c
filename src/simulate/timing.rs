//! How long things take in a scenario, and who is there.

use std::ops::RangeInclusive;

use colearn_contracts::Merging;
use colearn_records::plan::Millis;
use colearn_sdk::local::Conduct;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Geometric, LogNormal};
use serde::Deserialize;

/// How long learners take for what they compute.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timing {
    training: Millis,
    voting: Millis,
    /// How much learners differ in that: the standard deviation of the logarithm of how much slower than
    /// said each is, from first to last. 0.5: one in six takes more than 1.6 times as long.
    spread: f64,
}

/// The lines between the learners and the node, in megabits a second; what is left out takes no time.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    up_mbit: Option<f64>,
    down_mbit: Option<f64>,
    /// What the node sends, to all together.
    node_up_mbit: Option<f64>,
    /// What the node receives, of all together.
    node_down_mbit: Option<f64>,
    /// What each transfer of weights takes besides.
    latency: Millis,
}

/// Learners that go and return.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Churn {
    /// The share of those who are there that goes away before a round.
    leaves: f64,
    /// For how many rounds, on average.
    away: f64,
}

impl Default for Churn {
    fn default() -> Self {
        Self { leaves: 0.0, away: 3.0 }
    }
}

impl Timing {
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let possible = self.spread.is_finite() && (0.0..=3.0).contains(&self.spread);
        possible.then_some(()).ok_or("timing.spread must be 0 to 3")
    }

    /// Of a learner, which is as slow in every run with its seed.
    pub(super) fn conduct(&self, seed: u64) -> Conduct {
        // The spread was checked, and gives a distribution.
        let slower = LogNormal::new(0.0, self.spread)
            .map_or(1.0, |slower| slower.sample(&mut random(seed, Drawn::Pace)));
        let of = |took: Millis| (took.0 as f64 * slower) as u64;
        Conduct { training_ms: of(self.training), voting_ms: of(self.voting), ..Conduct::default() }
    }
}

/// How long transfers take in a round, in ms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Transfers {
    /// What was trained, to the node.
    pub(super) send_ms: u64,
    /// What is to be judged, from it.
    pub(super) fetch_ms: u64,
}

impl Network {
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let lines = [self.up_mbit, self.down_mbit, self.node_up_mbit, self.node_down_mbit];
        let possible = lines.iter().flatten().all(|mbit| mbit.is_finite() && *mbit > 0.0);
        possible.then_some(()).ok_or("the lines of the network must be faster than nothing")
    }

    /// In a round with one proposer, whose model all others fetch at once.
    pub(super) fn single(&self, bytes: u64, learners: u64) -> Transfers {
        let others = learners.saturating_sub(1);
        self.transfers((bytes, bytes), (bytes, bytes.saturating_mul(others)))
    }

    /// In a merged round: all at once send updates, and fetch those of the others, or where there are
    /// checkers these, and everybody besides the two merges of one of them.
    pub(super) fn merged(&self, bytes: u64, learners: u64, merging: Merging) -> Transfers {
        let updates = learners.min(merging.proposers.into());
        let (checkers, merges) = match merging.checkers {
            0 => (learners, 0),
            some => (learners.min(some.into()), 2),
        };
        let times = |count: u64| bytes.saturating_mul(count);
        let all = (checkers * updates).saturating_add(merges * learners);
        self.transfers((bytes, times(updates)), (times(updates + merges), times(all)))
    }

    /// With a server that averages: all send, and fetch what came of it.
    pub(super) fn served(&self, bytes: u64, learners: u64) -> Transfers {
        let all = bytes.saturating_mul(learners);
        self.transfers((bytes, all), (bytes, all))
    }

    /// Of what a learner and the node send, and fetch.
    fn transfers(&self, sent: (u64, u64), fetched: (u64, u64)) -> Transfers {
        let time = |(of_one, of_all): (u64, u64), line: Option<f64>, node: Option<f64>| {
            let slowest = seconds(of_one, line).max(seconds(of_all, node));
            self.latency.0.saturating_add((slowest * 1000.0).ceil() as u64)
        };
        Transfers {
            send_ms: time(sent, self.up_mbit, self.node_down_mbit),
            fetch_ms: time(fetched, self.down_mbit, self.node_up_mbit),
        }
    }
}

fn seconds(bytes: u64, mbit: Option<f64>) -> f64 {
    mbit.map_or(0.0, |mbit| bytes as f64 * 8.0 / (mbit * 1e6))
}

impl Churn {
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let possible =
            (0.0..=1.0).contains(&self.leaves) && self.away.is_finite() && self.away >= 1.0;
        possible.then_some(()).ok_or("churn.leaves must be 0 to 1, and churn.away at least 1")
    }

    /// The rounds of so many in which a learner is not there, the same in every run with its seed.
    pub(super) fn away(&self, seed: u64, rounds: u64) -> Vec<RangeInclusive<u64>> {
        // It was checked, and gives a distribution: so many rounds more than one.
        let Ok(more) = Geometric::new(1.0 / self.away) else { return Vec::new() };
        let mut random = random(seed, Drawn::Churn);
        let mut away = Vec::new();
        let mut round = 1;
        while round <= rounds {
            if random.random_bool(self.leaves) {
                let last = round.saturating_add(more.sample(&mut random));
                away.push(round..=last);
                // It is there for a round at least.
                round = last.saturating_add(1);
            }
            round = round.saturating_add(1);
        }
        away
    }
}

/// What is drawn of a learner, each from numbers of its own: one does not change another.
#[derive(Clone, Copy)]
enum Drawn {
    Pace = 1,
    Churn = 2,
}

fn random(seed: u64, what: Drawn) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(what as u64);
    random
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    fn network(text: &str) -> Network {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn the_slowest_line_is_what_a_transfer_takes() {
        let slow = network("up_mbit = 8\ndown_mbit = 80\nlatency = '30ms'");
        let transfers = |send_ms, fetch_ms| Transfers { send_ms, fetch_ms };
        assert_eq!(slow.single(MB, 11), transfers(1030, 130));
        // The node sends it to ten.
        let narrow = network("up_mbit = 8\ndown_mbit = 80\nnode_up_mbit = 40");
        assert_eq!(narrow.single(MB, 11), transfers(1000, 2000));
        // Nobody has said that anything is slow.
        assert_eq!(Network::default().single(MB, 1000), transfers(0, 0));
    }

    #[test]
    fn with_checkers_few_fetch_all_updates() {
        let network = network("up_mbit = 8\nnode_up_mbit = 80\nnode_down_mbit = 80");
        let merging = |checkers| Merging { checkers, ..Merging::default() };
        // 100 learners, 64 of which train: 64 updates for all, or for seven and two merges for all.
        let all = network.merged(MB, 100, merging(0));
        let few = network.merged(MB, 100, merging(7));
        assert_eq!((all.send_ms, few.send_ms), (6400, 6400));
        assert_eq!((all.fetch_ms, few.fetch_ms), (640_000, 64_800));
        assert_eq!(network.served(MB, 100).fetch_ms, 10_000);
    }

    #[test]
    fn so_many_are_away_as_was_said_and_always_the_same() {
        let churn: Churn = toml::from_str("leaves = 0.1\naway = 4").unwrap();
        let rounds = 100_000;
        let away = churn.away(7, rounds);
        assert_eq!(away, churn.away(7, rounds));
        assert_ne!(away, churn.away(8, rounds));
        let count: u64 = away.iter().map(|it| it.end() - it.start() + 1).sum();
        let mean = count as f64 / away.len() as f64;
        assert!((mean - 4.0).abs() < 0.2, "{mean} rounds");
        // There for a round, and for as many more as it takes until one in ten goes: 10 of 14.
        let share = count as f64 / rounds as f64;
        assert!((share - 4.0 / 14.0).abs() < 0.02, "{share} of the time");
        assert_eq!(Churn::default().away(7, 100), []);
    }

    #[test]
    fn learners_differ_by_as_much_as_was_said() {
        let timing = |text: &str| toml::from_str::<Timing>(text).unwrap();
        let same = timing("training = '1m'");
        assert_eq!(same.conduct(3).training_ms, 60_000);
        let spread = timing("training = '1m'\nvoting = '10s'\nspread = 0.5");
        let all: Vec<Conduct> = (0..2000).map(|seed| spread.conduct(seed)).collect();
        let slow = all.iter().filter(|it| it.training_ms > 60_000 * 165 / 100).count();
        // One standard deviation: 15.9 % of all.
        assert!((250..400).contains(&slow), "{slow} of 2000");
        // Who is slow is so in everything.
        assert!(all.iter().all(|it| it.training_ms.abs_diff(6 * it.voting_ms) <= 6));
    }
}
