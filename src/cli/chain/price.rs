//! What a round of an experiment costs: gas as it was measured, at the price that the settings say, as it is paid.

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use colearn_contracts::{Merging, Phase};
use colearn_records::convert::ExperimentState;
use colearn_relay::{GasPrice, HEADROOM, Rpc, Settings};
use serde_json::{Value, json};

/// How many votes are delivered together.
const BATCH: u64 = 20;

/// Of how many experiments it is told: each is a question to a server.
const MAX_TOLD: usize = 20;

/// Gas on wasmd 0.61 with 5 to 1,000 members, by the tables of chain/README.md, to which a test holds it: what does not grow
/// with them.
const PROPOSAL: u64 = 164_000;
const VOTE: u64 = 159_000;
const VOTE_IN_A_BATCH: u64 = 39_600;
const CLOSING_VOTE: u64 = 185_000;
const JOIN: u64 = 167_000;
/// What closing a round, or the join that opens one, takes more for each member.
const A_MEMBER: u64 = 500;
/// What a call takes in which time closes a round, and what it takes more for each member that kept silent.
const TICK: u64 = 190_000;
const A_SILENT_MEMBER: u64 = 13_000;

/// The same of merged rounds, with 5 to 50 members who all train: an update, and what it takes more for each member; what the
/// last takes more for each, with which training ends; a vote on the merges, and the one that closes the round.
const UPDATE: u64 = 156_000;
const UPDATE_A_MEMBER: u64 = 450;
const LAST_UPDATE_A_MEMBER: u64 = 2_700;
const MERGE_VOTE: u64 = 173_000;
const MERGE_VOTE_IN_A_BATCH: u64 = 43_100;
const CLOSING_MERGE_VOTE: u64 = 201_000;
const CLOSING_MERGE_VOTE_A_MEMBER: u64 = 6_700;

/// What an experiment costs, in units of the denomination.
pub(super) struct Price {
    experiment: String,
    members: u32,
    gas: Gas,
    price: GasPrice,
}

/// Gas.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Gas {
    /// A round in which everybody votes, each transaction delivered alone.
    round: u64,
    /// The same, with the votes in batches of twenty.
    batched: u64,
    /// What it takes more where time closes it, and nobody has voted: the most that it can.
    tick: u64,
    /// The last join.
    join: u64,
}

impl Gas {
    fn of(members: u32, merging: Option<&Merging>) -> Self {
        match merging {
            Some(merging) => Self::merged(members.into(), merging.proposers.into()),
            None => Self::alternating(members.into()),
        }
    }

    /// Of rounds in which several train, at most so many.
    fn merged(members: u64, most: u64) -> Self {
        let training = members.min(most);
        let updates = (UPDATE + UPDATE_A_MEMBER * members) * training;
        let last = (LAST_UPDATE_A_MEMBER - UPDATE_A_MEMBER) * members;
        let closing = CLOSING_MERGE_VOTE + CLOSING_MERGE_VOTE_A_MEMBER * members;
        let votes = members.saturating_sub(1);
        Self {
            round: updates + last + MERGE_VOTE * votes + closing,
            batched: updates
                + last
                + in_batches(votes, MERGE_VOTE, MERGE_VOTE_IN_A_BATCH)
                + closing,
            // That nobody votes closes it likewise, and suspends likewise.
            tick: closing.max(TICK) + A_SILENT_MEMBER * members,
            join: JOIN + A_MEMBER * members,
        }
    }

    /// Of rounds in which one trains.
    fn alternating(members: u64) -> Self {
        let grown = A_MEMBER * members;
        let closing = PROPOSAL + CLOSING_VOTE + grown;
        // Who proposes does not vote, and one vote closes the round.
        let votes = members.saturating_sub(2);
        Self {
            round: closing + VOTE * votes,
            batched: closing + in_batches(votes, VOTE, VOTE_IN_A_BATCH),
            tick: TICK + A_SILENT_MEMBER * members,
            join: JOIN + grown,
        }
    }
}

/// What so many votes take in batches of twenty, of which one takes this alone, and that in a full batch: each call takes
/// something, however many it has.
fn in_batches(votes: u64, alone: u64, in_a_batch: u64) -> u64 {
    let call = (alone - in_a_batch) * BATCH / (BATCH - 1);
    call * votes.div_ceil(BATCH) + (alone - call) * votes
}

impl Price {
    /// What is paid for so much gas: for the room above it, too, with which it is sent.
    fn fee(&self, gas: u64) -> Option<u128> {
        self.price.fee(gas.saturating_mul(HEADROOM).div_ceil(10))
    }

    fn told(&self, gas: u64) -> String {
        self.fee(gas).map_or_else(|| "-".to_owned(), |fee| fee.to_string())
    }

    pub(super) fn to_json(&self) -> Value {
        let Gas { round, batched, tick, join } = self.gas;
        let fee = |gas| self.fee(gas).map(|fee| fee.to_string());
        json!({
            "experiment": self.experiment,
            "join": fee(join),
            "members": self.members,
            "round": fee(round),
            "round_batched": fee(batched),
            "tick": fee(tick),
        })
    }

    pub(super) fn text(&self, denom: &str) -> String {
        let Gas { round, batched, tick, join } = self.gas;
        format!(
            "{}, {} members: a round {}{denom}, its votes in batches of 20 {}{denom}; where time closes it up to {}{denom} more; a join \
             {}{denom}",
            self.experiment,
            self.members,
            self.told(round),
            self.told(batched),
            self.told(tick),
            self.told(join),
        )
    }
}

/// Of the experiments that go on, as a server says which there are; the first twenty.
pub(super) async fn prices(
    rpc: &Rpc,
    settings: &Settings,
    contract: &str,
) -> anyhow::Result<Vec<Price>> {
    let listed = rpc.smart(contract, &json!({ "experiments": {} })).await?;
    let names = listed.get("names").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut prices = Vec::new();
    for name in names.iter().filter_map(Value::as_str).take(MAX_TOLD) {
        let told = rpc.smart(contract, &json!({ "experiment": { "name": name } })).await?;
        let bytes = told.get("experiment").and_then(Value::as_str);
        let bytes = bytes.and_then(|it| STANDARD.decode(it).ok()).unwrap_or_default();
        let state = ExperimentState::from_bytes(&bytes)
            .with_context(|| format!("what the server says of the experiment {name:?} is none"))?;
        if !matches!(state.phase, Phase::Finished(_)) {
            let (experiment, members) = (state.name.to_string(), state.member_count);
            let gas = Gas::of(members, state.parameters.merging.as_ref());
            prices.push(Price { experiment, members, gas, price: settings.gas_price });
        }
    }
    Ok(prices)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The numbers in the rows of a table, behind the line that begins so; `None` where a cell has none. A number with an M is
    /// of millions.
    fn table(page: &str, begins: &str) -> Vec<Vec<Option<u64>>> {
        let lines = page.lines().skip_while(|line| !line.starts_with(begins)).skip(2);
        let number = |cell: &str| {
            let text = cell.split_whitespace().next()?.replace(',', "");
            let times = if cell.contains(" M") { 1e6 } else { 1.0 };
            text.parse::<f64>().ok().map(|number| (number * times) as u64)
        };
        let row = |line: &str| line.trim_matches('|').split('|').map(number).collect();
        lines.take_while(|line| line.starts_with('|')).map(row).collect()
    }

    fn near(gas: u64, cell: Option<u64>) -> bool {
        cell.is_none_or(|measured| gas.abs_diff(measured) * 100 <= measured * 8)
    }

    #[test]
    fn it_is_what_the_pages_say_was_measured() {
        let measured = table(include_str!("../../../chain/README.md"), "| members | create |");
        assert_eq!(measured.len(), 4);
        for row in measured {
            let [Some(members), _, _, join, propose, vote, batched, closing] = row[..] else {
                panic!("{row:?}");
            };
            assert!(near(PROPOSAL, propose) && near(VOTE, vote) && near(VOTE_IN_A_BATCH, batched));
            assert!(near(CLOSING_VOTE + A_MEMBER * members, closing), "{row:?}");
            assert!(near(JOIN + A_MEMBER * members, join), "{row:?}");
        }
        let merged = table(include_str!("../../../chain/README.md"), "| members who all train |");
        assert_eq!(merged.len(), 2);
        for row in merged {
            let [Some(members), first, middle, last, vote, batched, closing] = row[..] else {
                panic!("{row:?}");
            };
            let update = UPDATE + UPDATE_A_MEMBER * members;
            assert!(near(update, first) && near(update, middle), "{row:?}");
            assert!(near(UPDATE + LAST_UPDATE_A_MEMBER * members, last), "{row:?}");
            assert!(near(MERGE_VOTE, vote) && near(MERGE_VOTE_IN_A_BATCH, batched));
            let by_members = CLOSING_MERGE_VOTE_A_MEMBER * members;
            assert!(near(CLOSING_MERGE_VOTE + by_members, closing), "{row:?}");
        }
        let told = table(include_str!("../../../docs/chain.md"), "| a round with |");
        assert_eq!(told.len(), 6);
        let merging = Merging::default();
        for (at, row) in told.iter().enumerate() {
            let [Some(members), round, batched] = row[..] else { panic!("{row:?}") };
            // The last ones are of merged rounds.
            let merging = (at > 2).then_some(&merging);
            let gas = Gas::of(members as u32, merging);
            assert!(near(gas.round, round) && near(gas.batched, batched), "{gas:?} {row:?}");
        }
        // What closing a round of silent members was seen to take.
        let tick = |members| Gas::of(members, None).tick;
        assert!(near(tick(500), Some(6_400_000)) && near(tick(1_000), Some(12_600_000)));
        let most = Gas::of(u32::MAX, Some(&merging));
        assert!(most.round > most.batched && Gas::of(u32::MAX, None).round > most.join);
    }

    #[test]
    fn it_is_told_as_it_is_paid() {
        let price = "0.025".parse().unwrap();
        let price = Price { experiment: "x".to_owned(), members: 5, gas: Gas::of(5, None), price };
        // 828,500 gas and three tenths of it, at 0.025.
        assert_eq!(price.to_json()["round"], "26927");
        assert!(price.text("stake").starts_with("x, 5 members: a round 26927stake, "));
    }
}
