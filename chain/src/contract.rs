//! What the chain calls.

use std::collections::BTreeSet;

use colearn_contracts::pieces::{Kept, Ledger};
use colearn_contracts::{Charter, Creators, Digest, ExperimentName, LearnerId, Limits, VERSION};
use colearn_records::convert;
use colearn_records::on_chain::PublicChain;
use colearn_records::transaction::LedgerId;
use cosmwasm_std::{
    Binary, Deps, DepsMut, Env, MessageInfo, Order, Response, Storage, Timestamp, to_json_binary,
};
use prost::Message as _;

use crate::call::Call;
use crate::error::Error;
use crate::messages::{
    Entries, Execute, ExperimentState, Experiments, Instantiate, LedgerState, MAX_LIST,
    MAX_LIST_BYTES, MAX_TICKS, MAX_TRANSACTION_BYTES, MAX_TRANSACTIONS, Query, Submitted,
};
use crate::state;
use crate::storage::Cached;

/// The most members that any contract may be told to allow.
pub const MAX_MEMBERS: u32 = 1_000;
/// The gas that closing a round takes, however few there are.
pub const CLOSING_GAS: u64 = 400_000;
/// What it takes for each member that is suspended by it, as all are who kept silent.
pub const CLOSING_GAS_A_MEMBER: u64 = 16_000;

/// The most members that a contract may be told to allow where a block can use so much gas. Closing a round
/// of silent ones is one call, which nobody can split: it is to take half a block.
pub fn most_members(block_gas: u64) -> u32 {
    let room = (block_gas / 2).saturating_sub(CLOSING_GAS);
    // At most a thousand.
    (room / CLOSING_GAS_A_MEMBER).min(MAX_MEMBERS.into()) as u32
}

/// Begins the ledger. What it is, the chain says; only limits and creators are told.
///
/// # Errors
/// If one of these is out of bounds, or money is sent.
pub fn instantiate(
    deps: DepsMut<'_>,
    env: Env,
    info: MessageInfo,
    message: Instantiate,
) -> Result<Response, Error> {
    let Instantiate { creators, max_members, block_gas, experiments_per_creator, expiry_ms } =
        message;
    check_funds(&info)?;
    let most = most_members(block_gas);
    if max_members > most {
        return Err(Error::Members { most, block_gas, asked: max_members });
    }
    let creators = match creators {
        Some(keys) => {
            let read = |key: &Binary| {
                key.as_slice().try_into().map(LearnerId).map_err(|_| Error::Key(key.len()))
            };
            Creators::Listed(keys.iter().map(read).collect::<Result<_, _>>()?)
        }
        None => Creators::Anybody,
    };
    let charter = Charter { creators, max_members };
    // How many there may be in all is no limit here (R91).
    let limits = Limits { per_creator: experiments_per_creator, expiry_ms, ..Limits::default() };
    limits.check()?;
    let contract = env.contract.address.into_string();
    let chain = PublicChain::new(env.block.chain_id, contract, charter.clone(), block_gas)?;
    let time_ms = millis(env.block.time);
    let genesis = chain.genesis(VERSION, &limits, time_ms);
    let id = LedgerId::of(&genesis);
    let ledger = Ledger { id: Digest(id.0), version: VERSION, limits, charter };
    let mut storage = Cached::of(deps.storage);
    Call::begin_ledger(&mut storage, &ledger, genesis, time_ms)?;
    storage.changes().write(deps.storage);
    Ok(Response::new().set_data(id.0))
}

/// Does what is asked, in order, and keeps the ledger's new end.
///
/// # Errors
/// If too much is asked at once, money is sent, or what is kept is damaged.
pub fn execute(
    deps: DepsMut<'_>,
    env: Env,
    info: MessageInfo,
    message: Execute,
) -> Result<Response, Error> {
    check_funds(&info)?;
    let mut storage = Cached::of(deps.storage);
    let mut call = Call::begin(&mut storage, millis(env.block.time))?;
    let response = match message {
        Execute::Submit { transactions } => {
            let bytes: usize = transactions.iter().map(|it| it.len()).sum();
            let fits = bytes <= MAX_TRANSACTION_BYTES;
            if !fits || !(1..=MAX_TRANSACTIONS).contains(&transactions.len()) {
                return Err(Error::Transactions);
            }
            let codes = transactions.iter().map(|payload| call.submit(payload));
            let codes = codes.collect::<Result<_, _>>()?;
            Response::new().set_data(to_json_binary(&Submitted { codes })?)
        }
        Execute::Tick { experiments } => {
            if !(1..=MAX_TICKS).contains(&experiments.len()) {
                return Err(Error::Names);
            }
            let mut done = BTreeSet::new();
            for name in &experiments {
                // What is no name is one of no experiment.
                let Ok(name) = name.parse::<ExperimentName>() else { continue };
                if done.insert(name.clone()) {
                    call.tick(&name)?;
                }
            }
            Response::new()
        }
    };
    call.end();
    storage.changes().write(deps.storage);
    Ok(response)
}

/// Answers what is asked.
///
/// # Errors
/// If there is nothing of the kind, or what is kept is damaged.
pub fn query(deps: Deps<'_>, _: Env, message: Query) -> Result<Binary, Error> {
    let mut storage = Cached::of(deps.storage);
    let answer = match message {
        Query::Ledger {} => {
            let tree = state::tree(&storage)?;
            let ledger = state::rules(&storage, false)?;
            to_json_binary(&LedgerState {
                id: Binary::from(ledger.id.0),
                size: tree.head().size,
                root: Binary::from(tree.root().0),
                time_ms: tree.head().time_ms,
            })
        }
        Query::Entries { from } => {
            let entries = list(deps.storage, &state::entry_key(from), b"e0");
            let entries = entries.into_iter().map(|(_, entry)| Binary::from(entry)).collect();
            to_json_binary(&Entries { entries })
        }
        Query::Experiment { name } => {
            let ledger = state::rules(&storage, false)?;
            let unknown = || Error::Unknown(name.clone());
            let parsed: ExperimentName = name.parse().map_err(|_| unknown())?;
            let mut kept = Kept::new(&ledger, &mut storage, 0);
            let experiment = kept.standing(&parsed)?.ok_or_else(unknown)?;
            let state = convert::ExperimentState::of(&experiment, MAX_LIST);
            let experiment = Binary::from(state.message().encode_to_vec());
            to_json_binary(&ExperimentState { experiment })
        }
        Query::Experiments { after } => {
            // Behind it, and before anything that is longer.
            let from =
                after.map_or_else(|| b"n".to_vec(), |name| [b"n", name.as_bytes(), &[0]].concat());
            let names = list(deps.storage, &from, b"o").into_iter();
            let name =
                |(key, _): (Vec<u8>, Vec<u8>)| String::from_utf8(key.get(1..)?.to_vec()).ok();
            to_json_binary(&Experiments { names: names.filter_map(name).collect() })
        }
    };
    Ok(answer?)
}

/// What lies from one key on and before another, until it is enough for one answer.
fn list(storage: &dyn Storage, from: &[u8], until: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut bytes = 0;
    let mut items = Vec::new();
    for (key, value) in storage.range(Some(from), Some(until), Order::Ascending).take(MAX_LIST) {
        bytes += key.len() + value.len();
        if bytes > MAX_LIST_BYTES && !items.is_empty() {
            break;
        }
        items.push((key, value));
    }
    items
}

fn check_funds(info: &MessageInfo) -> Result<(), Error> {
    if info.funds.is_empty() { Ok(()) } else { Err(Error::Funds) }
}

fn millis(time: Timestamp) -> u64 {
    time.nanos() / 1_000_000
}
