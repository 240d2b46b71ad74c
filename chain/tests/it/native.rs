//! The contract with storage in memory.

use std::marker::PhantomData;

use colearn_chain::Error;
use colearn_chain::contract::{execute, instantiate, query};
pub(crate) use colearn_chain::messages::Instantiate;
use colearn_chain::messages::{Entries, Execute, Experiments, LedgerState, Query, Submitted};
use colearn_ledger::Hash;
use colearn_records::on_chain::Tree;
use colearn_records::transaction::{LedgerId, Seen};
use cosmwasm_std::testing::{MockApi, MockQuerier, message_info, mock_env};
use cosmwasm_std::{
    Addr, Binary, Empty, Env, MessageInfo, OwnedDeps, Storage as _, Timestamp, from_json,
};
use serde::de::DeserializeOwned;

use crate::counted::Counted;

pub(crate) const CHAIN: &str = "chain-test-1";
pub(crate) const ADDRESS: &str = "fetch1qqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0ujv7k8";

/// One contract.
pub(crate) struct Native {
    pub(crate) deps: OwnedDeps<Counted, MockApi, MockQuerier, Empty>,
    pub(crate) id: LedgerId,
}

pub(crate) fn usual() -> Instantiate {
    Instantiate {
        creators: None,
        max_members: 100,
        block_gas: 50_000_000,
        experiments_per_creator: 3,
        expiry_ms: 3_600_000,
    }
}

/// A block of this time; in between two milliseconds, which is no later.
pub(crate) fn env(now_ms: u64) -> Env {
    let mut env = mock_env();
    env.block.chain_id = CHAIN.to_owned();
    env.block.time = Timestamp::from_nanos(now_ms * 1_000_000 + 999_999);
    env.contract.address = Addr::unchecked(ADDRESS);
    env
}

pub(crate) fn anybody() -> MessageInfo {
    message_info(&Addr::unchecked("who-pays"), &[])
}

impl Native {
    pub(crate) fn begin(now_ms: u64, message: Instantiate) -> Result<Self, Error> {
        let mut deps = OwnedDeps {
            storage: Counted::default(),
            api: MockApi::default(),
            querier: MockQuerier::default(),
            custom_query_type: PhantomData,
        };
        let response = instantiate(deps.as_mut(), env(now_ms), anybody(), message)?;
        let id = LedgerId(response.data.unwrap().as_slice().try_into().unwrap());
        Ok(Self { deps, id })
    }

    pub(crate) fn execute(&mut self, now_ms: u64, message: Execute) -> Result<Binary, Error> {
        let response = execute(self.deps.as_mut(), env(now_ms), anybody(), message)?;
        Ok(response.data.unwrap_or_default())
    }

    pub(crate) fn submit(&mut self, now_ms: u64, payloads: &[Vec<u8>]) -> Vec<u32> {
        let transactions = payloads.iter().map(|it| Binary::new(it.clone())).collect();
        let data = self.execute(now_ms, Execute::Submit { transactions }).unwrap();
        from_json::<Submitted>(data).unwrap().codes
    }

    pub(crate) fn tick(&mut self, now_ms: u64, names: &[&str]) {
        let experiments = names.iter().map(|&name| name.to_owned()).collect();
        self.execute(now_ms, Execute::Tick { experiments }).unwrap();
    }

    pub(crate) fn ask<T: DeserializeOwned>(&self, question: Query) -> Result<T, Error> {
        Ok(from_json(query(self.deps.as_ref(), env(0), question)?).unwrap())
    }

    pub(crate) fn state(&self) -> LedgerState {
        self.ask(Query::Ledger {}).unwrap()
    }

    pub(crate) fn seen(&self) -> Seen {
        let state = self.state();
        Seen { size: state.size, root: Hash::try_from(state.root.as_slice()).unwrap() }
    }

    pub(crate) fn tree(&self) -> Tree {
        Tree::from_bytes(&self.deps.storage.get(b"t").unwrap()).unwrap()
    }

    /// All entries, however many questions that takes.
    pub(crate) fn entries(&self) -> Vec<Vec<u8>> {
        let mut entries: Vec<Vec<u8>> = Vec::new();
        loop {
            let more: Entries = self.ask(Query::Entries { from: entries.len() as u64 }).unwrap();
            if more.entries.is_empty() {
                return entries;
            }
            entries.extend(more.entries.into_iter().map(|it| it.to_vec()));
        }
    }

    pub(crate) fn names(&self, after: Option<&str>) -> Vec<String> {
        let after = after.map(str::to_owned);
        self.ask::<Experiments>(Query::Experiments { after }).unwrap().names
    }
}
