//! Delivering to the contract: transactions of the chain are made, tried out, paid, handed over and waited for.

mod error;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::ops::Range;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub use self::error::NotDelivered;
use crate::clock::now_ms;
use crate::rpc::{AccountState, Done, Refusal, Rpc, RpcError, Status};
use crate::settings::Settings;
use crate::spending::Spending;
use crate::transaction::Draft;
use crate::wire::{self, Any};
use crate::{Account, Amount, GasPrice};

/// The most transactions in one call of the contract.
const MAX_TRANSACTIONS: usize = 64;
/// The most bytes that they have together here. The contract takes 512 KiB; servers take questions of 1,000,000 bytes, and
/// one that tries a call out has the bytes in base64, and that in hex.
const MAX_BATCH_BYTES: usize = 256 << 10;
/// The most names in one call.
const MAX_TICKS: usize = 64;
/// After how many blocks a transaction can no longer be carried out.
const TIMEOUT_BLOCKS: u64 = 20;
/// How often it is built anew.
const TRIES: usize = 5;
/// The gas that is paid for, in tenths of what it took when it was tried out: state and time go on until its block comes.
pub const HEADROOM: u64 = 13;
/// The same for what ran out of gas alone.
const MORE_HEADROOM: u64 = 26;
/// How old the newest block of a chain that goes on may be.
const HALTED: Duration = Duration::from_secs(60);
/// How soon it is looked again for what is waited for: from here, less and less often, up to there.
const POLL: Duration = Duration::from_millis(100);
const SLOW_POLL: Duration = Duration::from_secs(2);
/// How long servers may be away while something is waited for.
const AWAY: Duration = Duration::from_secs(60);
/// What gzip begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// The most bytes of a contract that are packed; chains take 800 KB.
const MAX_CODE_BYTES: usize = 8 << 20;

/// In the place of a transaction's code where there is none. The contract has no such code.
pub const NOT_DELIVERED: u32 = u32::MAX;

/// Delivers to the contract of a ledger, and pays for it from one account, one transaction after the other.
///
/// What it says of what came of that is what servers of the chain say. What is recorded is what the ledger's proven
/// entries show.
pub struct Deliverer {
    rpc: Rpc,
    account: Account,
    chain_id: String,
    contract: Option<String>,
    prefix: String,
    denom: String,
    gas_price: GasPrice,
    granter: Option<String>,
    max_fee: Amount,
    max_fee_a_day: Amount,
    spending: Spending,
    /// What the account's next transaction says; `None` when the chain is to be asked.
    state: Option<AccountState>,
    /// Whether it was said that the servers have no index of transactions.
    said_no_index: bool,
}

/// What came of a delivery, as a server says.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Delivered {
    /// The block, of several the last; 0 if there was nothing to deliver.
    pub height: u64,
    /// For each transaction 0 if it is recorded, otherwise the number of the rule that it breaks, or 200 or 201
    /// (chain/README.md); [`NOT_DELIVERED`] if the contract was not asked.
    pub codes: Vec<u32>,
    /// Why some were not delivered, by their places.
    pub not_delivered: BTreeMap<usize, String>,
    /// The gas that it took.
    pub gas_used: u64,
    /// What was paid, in units of the denomination.
    pub fee: u128,
}

/// A transaction of the chain that was carried out.
struct Carried {
    done: Done,
    fee: u128,
}

/// What came of a list's parts.
#[derive(Default)]
struct Parts {
    done: Vec<(Range<usize>, Carried)>,
    /// What is not carried out, and why.
    failed: BTreeMap<usize, String>,
    first: Option<NotDelivered>,
}

impl Parts {
    fn fail(&mut self, part: Range<usize>, error: NotDelivered) {
        let why = error.to_string();
        self.failed.extend(part.map(|at| (at, why.clone())));
        self.first.get_or_insert(error);
    }

    /// All of it together, without codes.
    fn sum(&self) -> Delivered {
        let mut all = Delivered::default();
        for (_, Carried { done, fee }) in &self.done {
            all.height = all.height.max(done.height);
            all.gas_used = all.gas_used.saturating_add(done.gas_used);
            all.fee = all.fee.saturating_add(*fee);
        }
        all
    }
}

impl Deliverer {
    /// Delivers as settings say. Nothing is asked yet.
    pub fn new(rpc: Rpc, settings: &Settings, account: Account) -> Self {
        Self {
            rpc,
            account,
            chain_id: settings.chain_id.clone(),
            contract: settings.contract.clone(),
            prefix: settings.prefix.clone(),
            denom: settings.denom.clone(),
            gas_price: settings.gas_price,
            granter: settings.granter.clone(),
            max_fee: settings.max_fee,
            max_fee_a_day: settings.max_fee_a_day,
            spending: Spending::of(&settings.account),
            state: None,
            said_no_index: false,
        }
    }

    /// What today (UTC) has cost, in units of the denomination.
    ///
    /// # Errors
    /// If the file that says so cannot be read.
    pub fn spent_today(&self) -> Result<u128, NotDelivered> {
        self.spending.today(now_ms()).map_err(|it| self.no_count(it))
    }

    /// Asks another server first from now on: what the one that was asked last has said has turned out not to be so.
    pub fn ask_another(&self) {
        self.rpc.go_on();
    }

    /// The account's address.
    ///
    /// # Errors
    /// If the settings' prefix is none.
    pub fn address(&self) -> Result<String, NotDelivered> {
        Ok(self.account.address(&self.prefix)?)
    }

    /// Has the contract decide these transactions of learners, payloads of entries, in this order, and waits until it
    /// has. What does not fit into one call, or its gas, goes into several; one that can be in none is left out.
    ///
    /// # Errors
    /// If none is delivered. Some may be all the same; the ledger shows which.
    pub async fn submit(&mut self, transactions: &[Vec<u8>]) -> Result<Delivered, NotDelivered> {
        #[derive(Deserialize)]
        struct Submitted {
            codes: Vec<u32>,
        }

        let (parts, too_long): (Vec<_>, Vec<_>) = batches(transactions)
            .into_iter()
            .partition(|part| bytes(&transactions[part.clone()]) <= MAX_BATCH_BYTES);
        let message = |part: Range<usize>| {
            let transactions: Vec<String> =
                transactions[part].iter().map(|it| STANDARD.encode(it)).collect();
            json!({ "submit": { "transactions": transactions } })
        };
        let mut came = self.in_parts(parts, message).await;
        for part in too_long {
            let bytes = bytes(&transactions[part.clone()]);
            came.fail(part, NotDelivered::TooLong { bytes, most: MAX_BATCH_BYTES });
        }
        let mut all = Delivered { codes: vec![NOT_DELIVERED; transactions.len()], ..came.sum() };
        for (part, Carried { done, .. }) in std::mem::take(&mut came.done) {
            let data = wire::MsgExecuteContractResponse::decode(&done.data[..]).ok();
            let submitted = data.and_then(|it| serde_json::from_slice::<Submitted>(&it.data).ok());
            match submitted.map(|it| it.codes).filter(|codes| codes.len() == part.len()) {
                Some(codes) => {
                    all.codes.splice(part, codes);
                }
                None => came.fail(part, NotDelivered::NoAnswer { height: done.height }),
            }
        }
        let is_any = came.failed.len() < transactions.len();
        all.not_delivered = came.failed;
        match came.first {
            Some(error) if !is_any => Err(error),
            _ => Ok(all),
        }
    }

    /// Has the contract record what time alone decides of these experiments, and waits until it has. There are no codes.
    ///
    /// # Errors
    /// If that is not done for all; it is for those for which it can be.
    pub async fn tick(&mut self, experiments: &[String]) -> Result<Delivered, NotDelivered> {
        let starts = (0..experiments.len()).step_by(MAX_TICKS);
        let parts = starts.map(|start| start..experiments.len().min(start + MAX_TICKS)).collect();
        let message = |part| json!({ "tick": { "experiments": &experiments[part] } });
        let came = self.in_parts(parts, message).await;
        let all = came.sum();
        came.first.map_or(Ok(all), Err)
    }

    /// Has the contract carry out a call for each of these parts of a list, in order. One that takes too much gas, or
    /// costs too much, or that the chain would undo is halved; what is one alone, and is not carried out, is left out.
    async fn in_parts(
        &mut self,
        mut parts: Vec<Range<usize>>,
        message: impl Fn(Range<usize>) -> Value,
    ) -> Parts {
        let mut came = Parts::default();
        parts.reverse();
        while let Some(part) = parts.pop() {
            let call = message(part.clone());
            let carried = match self.execute(&call, HEADROOM).await {
                // Something fell due since it was tried out.
                Err(NotDelivered::OutOfGas { .. }) if part.len() == 1 => {
                    self.execute(&call, MORE_HEADROOM).await
                }
                other => other,
            };
            match carried {
                Ok(carried) => came.done.push((part, carried)),
                Err(
                    NotDelivered::OutOfGas { .. }
                    | NotDelivered::TooDear { .. }
                    | NotDelivered::WouldFail(_),
                ) if part.len() > 1 => {
                    let middle = part.start.midpoint(part.end);
                    parts.extend([middle..part.end, part.start..middle]);
                }
                Err(error) => {
                    if !error.is_of_content() {
                        // The others would fare no better.
                        let why = error.to_string();
                        let others = parts.drain(..).flatten().map(|at| (at, why.clone()));
                        came.failed.extend(others);
                    }
                    came.fail(part, error);
                }
            }
        }
        came
    }

    /// Puts a contract's code on the chain, and gives its number there.
    ///
    /// # Errors
    /// If that fails.
    pub async fn store(&mut self, wasm: &[u8]) -> Result<u64, NotDelivered> {
        if wasm.len() > MAX_CODE_BYTES {
            return Err(NotDelivered::TooLong { bytes: wasm.len(), most: MAX_CODE_BYTES });
        }
        let message = Any::of(
            "/cosmwasm.wasm.v1.MsgStoreCode",
            &wire::MsgStoreCode { sender: self.address()?, wasm_byte_code: packed(wasm)? },
        );
        let Carried { done, .. } = self.deliver(&message, HEADROOM).await?;
        let response = wire::MsgStoreCodeResponse::decode(&done.data[..]).ok();
        let code = response.map(|it| it.code_id).filter(|code| *code > 0);
        code.ok_or(NotDelivered::NoAnswer { height: done.height })
    }

    /// Begins a ledger with this code, which nobody administers, and gives the contract's address.
    ///
    /// # Errors
    /// If that fails.
    pub async fn instantiate(
        &mut self,
        code: u64,
        message: &Value,
        label: &str,
    ) -> Result<String, NotDelivered> {
        let message = Any::of(
            "/cosmwasm.wasm.v1.MsgInstantiateContract",
            &wire::MsgInstantiateContract {
                sender: self.address()?,
                code_id: code,
                label: label.to_owned(),
                msg: message.to_string().into_bytes(),
            },
        );
        let Carried { done, .. } = self.deliver(&message, HEADROOM).await?;
        let response = wire::MsgInstantiateContractResponse::decode(&done.data[..]).ok();
        let address = response.map(|it| it.address);
        let address = address.filter(|address| colearn_light::address(address).is_ok());
        address.ok_or(NotDelivered::NoAnswer { height: done.height })
    }

    async fn execute(&mut self, message: &Value, headroom: u64) -> Result<Carried, NotDelivered> {
        let contract = self.contract.clone().ok_or(NotDelivered::NoContract)?;
        let message = Any::of(
            "/cosmwasm.wasm.v1.MsgExecuteContract",
            &wire::MsgExecuteContract {
                sender: self.address()?,
                contract,
                msg: message.to_string().into_bytes(),
            },
        );
        self.deliver(&message, headroom).await
    }

    /// Has the chain carry out a message, as often built anew as it takes. What one server says against it, each of the
    /// others is asked too: one that lies keeps nothing back.
    async fn deliver(&mut self, message: &Any, headroom: u64) -> Result<Carried, NotDelivered> {
        let mut tries = 0;
        let mut said_no = 0;
        let mut wrong_since = None;
        loop {
            let height = self.chain().await?.height;
            match self.try_once(message, headroom, height).await {
                Ok(Some(carried)) => return Ok(carried),
                Ok(None) => {
                    tries += 1;
                    // This one may have dropped it.
                    self.rpc.go_on();
                }
                Err(NotDelivered::Rpc(error))
                    if error.refusal() == Some(Refusal::WrongSequence) =>
                {
                    self.state = None;
                    // What this account has signed before may wait for its block, such as after a crash: until it has
                    // one, the chain's state and those who take transactions differ.
                    let since = *wrong_since.get_or_insert(height);
                    if height.saturating_sub(since) > TIMEOUT_BLOCKS {
                        return Err(NotDelivered::Shared { account: self.address()? });
                    }
                    self.next_block(height).await?;
                }
                Err(error) => {
                    self.state = None;
                    if error.is_a_servers_word() {
                        self.rpc.go_on();
                        said_no += 1;
                        if said_no < self.rpc.servers() && error.is_of_nothing_sent() {
                            continue;
                        }
                    }
                    return Err(error);
                }
            }
            if tries >= TRIES {
                return Err(NotDelivered::NotIncluded { blocks: TIMEOUT_BLOCKS, tries });
            }
        }
    }

    /// Until there is a block after the one of this height.
    async fn next_block(&self, height: u64) -> Result<(), NotDelivered> {
        let begun = Instant::now();
        let mut pause = POLL;
        while self.chain().await?.height <= height {
            // Whatever the server says of the newest one's time.
            if begun.elapsed() > HALTED {
                return Err(NotDelivered::Halted { height, seconds: begun.elapsed().as_secs() });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 5 / 4).min(SLOW_POLL);
        }
        Ok(())
    }

    /// `None` if it is in no block, and can come into none any more.
    async fn try_once(
        &mut self,
        message: &Any,
        headroom: u64,
        height: u64,
    ) -> Result<Option<Carried>, NotDelivered> {
        let state = self.account_state().await?;
        let granter = self.granter.clone();
        let denom = self.denom.clone();
        let timeout_height = height.saturating_add(TIMEOUT_BLOCKS);
        let mut draft = Draft {
            message,
            timeout_height,
            gas: 0,
            fee: 0,
            denom: &denom,
            granter: granter.as_deref(),
        };
        let used = self.rpc.simulate(&draft.unsigned(&self.account, state)).await;
        let used = used.map_err(|error| self.not_carried(error))?;
        draft.gas = used.saturating_mul(headroom).div_ceil(10);
        let price = self.gas_price;
        let fee = price.fee(draft.gas).filter(|fee| *fee <= self.max_fee.0);
        draft.fee = fee.ok_or_else(|| NotDelivered::TooDear {
            gas: draft.gas,
            price,
            most: self.max_fee,
            denom: denom.clone(),
        })?;
        self.take(draft.fee, state.sequence)?;
        let tx = draft.signed(&self.account, state, &self.chain_id);
        let hash = crate::transaction::hash(&tx);
        match self.rpc.broadcast(&tx).await {
            Ok(_) => {}
            Err(error) => match error.refusal() {
                Some(Refusal::InCache) => {}
                // Whether a server that does not answer has handed it on is not known: it is waited for.
                None if !matches!(error, RpcError::Refused { .. }) => {
                    tracing::debug!(%error, "nobody says that it took the transaction");
                }
                // A server that refuses it may have handed it on all the same: it stays paid.
                refusal => return Err(self.refused(error, refusal, draft.fee).await),
            },
        }
        let Some(done) = self.wait(&hash, height, timeout_height).await? else {
            self.state = None;
            return Ok(None);
        };
        self.state =
            state.sequence.checked_add(1).map(|sequence| AccountState { sequence, ..state });
        match (done.code, Refusal::of(done.code, &done.codespace)) {
            (0, _) => Ok(Some(Carried { done, fee: draft.fee })),
            (_, Refusal::OutOfGas) => Err(NotDelivered::OutOfGas { gas: draft.gas }),
            (code, _) => {
                let Done { codespace, log, .. } = done;
                Err(NotDelivered::Failed { code, codespace, log })
            }
        }
    }

    /// How the chain is, if it is the right one and goes on; a server that lags is left for the next.
    async fn chain(&self) -> Result<Status, NotDelivered> {
        let mut newest: Option<Status> = None;
        let mut other = None;
        for _ in 0..self.rpc.servers() {
            let status = self.rpc.status().await?;
            if status.chain_id != self.chain_id {
                let (expected, server) = (self.chain_id.clone(), self.rpc.server().to_owned());
                other = Some(NotDelivered::OtherChain { found: status.chain_id, expected, server });
                self.rpc.go_on();
                continue;
            }
            if !status.catching_up && !is_halted(&status) {
                return Ok(status);
            }
            self.rpc.go_on();
            if newest.as_ref().is_none_or(|newest| newest.height < status.height) {
                newest = Some(status);
            }
        }
        if let (None, Some(other)) = (&newest, other) {
            return Err(other);
        }
        let newest = newest.map(|it| (it.height, it.time_ms)).unwrap_or_default();
        Err(NotDelivered::Halted {
            height: newest.0,
            seconds: now_ms().saturating_sub(newest.1) / 1_000,
        })
    }

    async fn account_state(&mut self) -> Result<AccountState, NotDelivered> {
        if let Some(state) = self.state {
            return Ok(state);
        }
        let account = self.address()?;
        match self.rpc.account(&account).await? {
            Some(state) => {
                self.state = Some(state);
                Ok(state)
            }
            None => Err(NotDelivered::NoAccount { account, denom: self.denom.clone() }),
        }
    }

    fn take(&self, fee: u128, sequence: u64) -> Result<(), NotDelivered> {
        let most = self.max_fee_a_day;
        let place = format!("{}/{}/{sequence}", self.chain_id, self.address()?);
        let taken = self.spending.take(fee, &place, most.0, now_ms());
        match taken.map_err(|it| self.no_count(it))? {
            Ok(()) => Ok(()),
            Err(spent) => {
                let denom = self.denom.clone();
                Err(NotDelivered::DaySpent { spent: Amount(spent), fee: Amount(fee), most, denom })
            }
        }
    }

    fn no_count(&self, source: std::io::Error) -> NotDelivered {
        NotDelivered::Spending { path: self.spending.path().to_owned(), source }
    }

    /// Until it is in a block behind the one of this height; `None` if that can no longer happen.
    async fn wait(
        &mut self,
        hash: &[u8; 32],
        mut height: u64,
        timeout_height: u64,
    ) -> Result<Option<Done>, NotDelivered> {
        let mut pause = POLL;
        let mut answered = Instant::now();
        loop {
            tokio::time::sleep(pause).await;
            pause = (pause * 5 / 4).min(SLOW_POLL);
            // Asked before: a block that comes between the two questions is not missed.
            let status = self.rpc.status().await;
            let looked = match (self.rpc.tx(hash).await, &status) {
                (Err(error), Ok(status)) if error.is_without_index() => {
                    if !std::mem::replace(&mut self.said_no_index, true) {
                        let server = self.rpc.server();
                        tracing::info!(
                            server,
                            "no server has an index of transactions: they are looked for in the blocks"
                        );
                    }
                    self.look(hash, &mut height, status.height.min(timeout_height)).await
                }
                (looked, _) => looked,
            };
            match (looked, status) {
                (Ok(Some(done)), _) => return Ok(Some(done)),
                (Ok(None), Ok(status)) => {
                    answered = Instant::now();
                    // A server lists a block's transactions a moment after it has the block.
                    if status.height > timeout_height.saturating_add(2) {
                        return Ok(None);
                    }
                    if is_halted(&status) {
                        let seconds = now_ms().saturating_sub(status.time_ms) / 1_000;
                        return Err(NotDelivered::Halted { height: status.height, seconds });
                    }
                }
                (Err(error), _) | (_, Err(error)) if answered.elapsed() > AWAY => {
                    return Err(error.into());
                }
                _ => {}
            }
        }
    }

    /// Looks into the blocks behind the one of a height, which goes on with each, up to another.
    async fn look(
        &self,
        hash: &[u8; 32],
        height: &mut u64,
        until: u64,
    ) -> Result<Option<Done>, RpcError> {
        while *height < until {
            let next = *height + 1;
            if let Some(place) = self.rpc.place_in(next, hash).await? {
                return match self.rpc.result_in(next, place).await {
                    Ok(done) => Ok(Some(done)),
                    // It is there, and what came of it nobody keeps (`discard_abci_responses`).
                    Err(error) if error.is_without_results() => Ok(Some(Done::untold(next))),
                    // Or not yet: a server has a block a moment before it has carried it out.
                    Err(error) => Err(error),
                };
            }
            *height = next;
        }
        Ok(None)
    }

    /// What it means that the chain does not carry out what was only tried.
    fn not_carried(&self, error: RpcError) -> NotDelivered {
        if let Some(error) = self.not_granted(&error) {
            return error;
        }
        match error.refusal() {
            Some(Refusal::OutOfGas) => NotDelivered::OutOfGas { gas: 0 },
            Some(Refusal::Other) => NotDelivered::WouldFail(error),
            _ => error.into(),
        }
    }

    /// Whether it is for want of a grant of the account that was to pay.
    fn not_granted(&self, error: &RpcError) -> Option<NotDelivered> {
        let (Some(granter), RpcError::Refused { log, .. }) = (&self.granter, error) else {
            return None;
        };
        // cosmos-sdk's words, between addresses in bytes that are no text; behind them is what is wrong with the grant, and
        // the code is that of it.
        let (_, behind) = log.split_once("does not allow to pay fees for ")?;
        let text = behind.split_once(": ").map_or(behind, |(_, text)| text).to_owned();
        let (granter, account) = (granter.clone(), self.address().ok()?);
        Some(NotDelivered::NoGrant { granter, account, text })
    }

    /// What it means that the chain does not take a transaction.
    async fn refused(&self, error: RpcError, refusal: Option<Refusal>, fee: u128) -> NotDelivered {
        if let Some(error) = self.not_granted(&error) {
            return error;
        }
        let denom = self.denom.clone();
        match refusal {
            Some(Refusal::OutOfFunds) => {
                let account = match (&self.granter, self.address()) {
                    (Some(granter), _) => granter.clone(),
                    (None, Ok(address)) => address,
                    (None, Err(error)) => return error,
                };
                match self.rpc.balance(&account, &denom).await {
                    Ok(has) => {
                        NotDelivered::NoMoney { account, has: Amount(has), fee: Amount(fee), denom }
                    }
                    Err(error) => error.into(),
                }
            }
            Some(Refusal::FeeTooLow) => {
                NotDelivered::PriceTooLow { price: self.gas_price, denom, text: error.to_string() }
            }
            Some(Refusal::MempoolFull) => NotDelivered::Busy,
            _ => error.into(),
        }
    }
}

fn is_halted(status: &Status) -> bool {
    Duration::from_millis(now_ms().saturating_sub(status.time_ms)) > HALTED
}

/// In parts that each fit into one call, in order; what is too long for any is alone.
fn batches(transactions: &[Vec<u8>]) -> Vec<Range<usize>> {
    let mut batches = Vec::new();
    let mut start = 0;
    while start < transactions.len() {
        let mut bytes = 0;
        let fits = transactions[start..].iter().take(MAX_TRANSACTIONS).take_while(|it| {
            bytes += it.len();
            bytes <= MAX_BATCH_BYTES
        });
        let end = start + fits.count().max(1);
        batches.push(start..end);
        start = end;
    }
    batches
}

fn bytes(transactions: &[Vec<u8>]) -> usize {
    transactions.iter().map(Vec::len).sum()
}

/// The SHA-256 of a contract's code, be it in gzip or not: what a chain names it by.
///
/// # Errors
/// If it cannot be unpacked, or is too long.
pub fn code_checksum(wasm: &[u8]) -> Result<[u8; 32], NotDelivered> {
    if !wasm.starts_with(&GZIP) {
        return Ok(Sha256::digest(wasm).into());
    }
    let (mut code, most) = (Vec::new(), MAX_CODE_BYTES);
    let decoder = flate2::read::GzDecoder::new(wasm);
    let bytes = decoder.take(most as u64 + 1).read_to_end(&mut code).map_err(NotDelivered::Pack)?;
    if bytes > most {
        return Err(NotDelivered::TooLong { bytes, most });
    }
    Ok(Sha256::digest(&code).into())
}

/// A contract's code in gzip, which chains take too: as it is it would be longer than what servers take.
fn packed(wasm: &[u8]) -> Result<Vec<u8>, NotDelivered> {
    if wasm.starts_with(&GZIP) {
        return Ok(wasm.to_vec());
    }
    let mut packed = Vec::new();
    let mut encoder = flate2::read::GzEncoder::new(wasm, flate2::Compression::best());
    encoder.read_to_end(&mut packed).map_err(NotDelivered::Pack)?;
    Ok(packed)
}

#[cfg(test)]
mod tests;
