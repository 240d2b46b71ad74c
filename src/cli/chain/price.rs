//! What a round of an experiment costs: gas as it was measured, at the price that the settings say, as it is paid.

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use colearn_contracts::Phase;
use colearn_records::convert::ExperimentState;
use colearn_relay::{GasPrice, HEADROOM, Rpc, Settings};
use serde_json::{Value, json};

/// Of how many experiments it is told: each is a question to a server.
const MAX_TOLD: usize = 20;

/// Gas on wasmd 0.61 with 5 to 1,000 members, by the table of chain/README.md: what does not grow with them.
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
    fn of(members: u32) -> Self {
        let members = u64::from(members);
        let grown = A_MEMBER * members;
        let closing = PROPOSAL + CLOSING_VOTE + grown;
        // Who proposes does not vote, and one vote closes the round.
        let votes = members.saturating_sub(2);
        Self {
            round: closing + VOTE * votes,
            batched: closing + VOTE_IN_A_BATCH * votes,
            tick: TICK + A_SILENT_MEMBER * members,
            join: JOIN + grown,
        }
    }
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

/// Of the experiments that go on and whose rounds have one proposal, as a server says which there are; the first twenty.
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
        if is_priced(&state) {
            let (experiment, members) = (state.name.to_string(), state.member_count);
            let gas = Gas::of(members);
            prices.push(Price { experiment, members, gas, price: settings.gas_price });
        }
    }
    Ok(prices)
}

/// What merged rounds take was not measured.
fn is_priced(state: &ExperimentState) -> bool {
    !matches!(state.phase, Phase::Finished(_)) && state.parameters.merging.is_none()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_round_costs_what_was_measured() {
        // The table of docs/chain.md.
        let near = |gas: u64, measured: u64| gas.abs_diff(measured) * 100 <= measured * 8;
        assert!(near(Gas::of(5).round, 860_000) && near(Gas::of(20).round, 3_200_000));
        assert!(near(Gas::of(100).round, 16_000_000) && near(Gas::of(100).batched, 4_200_000));
        assert!(near(Gas::of(20).batched, 1_000_000));
        // That of chain/README.md.
        assert!(near(Gas::of(500).tick, 6_400_000) && near(Gas::of(1_000).tick, 12_600_000));
        assert!(near(Gas::of(500).join, 415_000) && near(Gas::of(1_000).join, 664_000));
        assert!(Gas::of(u32::MAX).round > Gas::of(u32::MAX).batched);
    }

    #[test]
    fn it_is_told_as_it_is_paid() {
        let price = "0.025".parse().unwrap();
        let price = Price { experiment: "x".to_owned(), members: 5, gas: Gas::of(5), price };
        // 828,500 gas and three tenths of it, at 0.025.
        assert_eq!(price.to_json()["round"], "26927");
        assert!(price.text("stake").starts_with("x, 5 members: a round 26927stake, "));
    }
}
