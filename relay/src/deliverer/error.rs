//! Why something is not delivered, in words.

use std::path::PathBuf;

use crate::{Amount, BadAccount, GasPrice, RpcError};

/// Why something is not delivered, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum NotDelivered {
    /// The chain's servers do not answer, or refuse.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// The account cannot be used.
    #[error(transparent)]
    Account(#[from] BadAccount),
    /// It is another chain.
    #[error("{server} is a server of the chain {found}, and chain_id is {expected}")]
    OtherChain {
        /// Its id.
        found: String,
        /// The one that is meant.
        expected: String,
        /// Who says so.
        server: String,
    },
    /// No new block comes.
    #[error(
        "the chain has halted, or its servers lag: the newest block, {height}, is {seconds} s old; nothing is delivered \
         until it goes on"
    )]
    Halted {
        /// The height of the newest block.
        height: u64,
        /// Its age.
        seconds: u64,
    },
    /// There is no contract yet.
    #[error("the settings name no contract; colearn chain deploy makes one")]
    NoContract,
    /// The chain does not know the account.
    #[error(
        "the chain has no account {account}: nobody has sent it anything; send it some {denom}"
    )]
    NoAccount {
        /// Its address.
        account: String,
        /// The denomination of fees.
        denom: String,
    },
    /// The account has not enough.
    #[error(
        "account {account} has {has}{denom}, and about {fee}{denom} are needed for this; send it more"
    )]
    NoMoney {
        /// Who was to pay.
        account: String,
        /// How much it has.
        has: Amount,
        /// About how much is needed.
        fee: Amount,
        /// Of which denomination.
        denom: String,
    },
    /// Nobody pays in the account's place who was to, or not so much.
    #[error(
        "{granter}, the granter, does not pay for {account}: {text}; have it grant more (the chain's `tx feegrant grant`), or \
         leave `granter` out"
    )]
    NoGrant {
        /// Who was to pay.
        granter: String,
        /// For whom.
        account: String,
        /// What the chain says.
        text: String,
    },
    /// The chain takes more for a unit of gas.
    #[error("gas_price is {price}{denom}, and the chain takes more for a unit of gas: {text}")]
    PriceTooLow {
        /// The settings' price.
        price: GasPrice,
        /// Of which denomination.
        denom: String,
        /// What the chain says.
        text: String,
    },
    /// One transaction would cost more than it may.
    #[error(
        "{gas} gas at {price}{denom} each cost more than max_fee, {most}{denom}: nothing was sent"
    )]
    TooDear {
        /// The gas.
        gas: u64,
        /// What a unit costs.
        price: GasPrice,
        /// The most that it may cost.
        most: Amount,
        /// Of which denomination.
        denom: String,
    },
    /// The day would cost more than it may.
    #[error(
        "today's fees are {spent}{denom}; {fee}{denom} more are above max_fee_a_day, {most}{denom}: nothing was sent"
    )]
    DaySpent {
        /// What it has cost.
        spent: Amount,
        /// What this would.
        fee: Amount,
        /// The most that it may cost.
        most: Amount,
        /// Of which denomination.
        denom: String,
    },
    /// What was spent is not known, or cannot be kept.
    #[error("cannot keep count of fees in {}: {source}; nothing is sent without", path.display())]
    Spending {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// It is too long to be delivered.
    #[error("{bytes} bytes are more than can be delivered at once, {most}")]
    TooLong {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        most: usize,
    },
    /// It takes more gas than was paid for, or than the chain gives.
    #[error("it takes more gas than it may, {gas}: the chain has undone it")]
    OutOfGas {
        /// What was paid for; 0 if it was only tried out.
        gas: u64,
    },
    /// The chain's servers have too much to do.
    #[error("too many transactions wait at the chain's servers; try again")]
    Busy,
    /// The chain did not take it into a block.
    #[error(
        "the chain did not take it within {blocks} blocks, {tries} times; is gas_price high enough?"
    )]
    NotIncluded {
        /// Each time.
        blocks: u64,
        /// How often.
        tries: usize,
    },
    /// Others use the account at the same time.
    #[error("others sign for account {account} at the same time; give each node one of its own")]
    Shared {
        /// Its address.
        account: String,
    },
    /// The chain has carried it out, and it failed.
    #[error("the chain has undone it ({codespace} {code}): {log}")]
    Failed {
        /// The number of what went wrong.
        code: u32,
        /// Whose number it is.
        codespace: String,
        /// Why, in the chain's words.
        log: String,
    },
    /// The chain has tried it out, and would undo it: nothing was sent.
    #[error("tried out before anything is sent, it fails: {0}")]
    WouldFail(RpcError),
    /// It was carried out, and what came of it cannot be read.
    #[error("block {height} has it, and the server's answer does not say what came of it")]
    NoAnswer {
        /// The block.
        height: u64,
    },
    /// The code cannot be packed.
    #[error("cannot pack the contract's code: {0}")]
    Pack(std::io::Error),
}

impl NotDelivered {
    /// Whether it is only so because a server says so: another may say otherwise.
    pub(super) fn is_a_servers_word(&self) -> bool {
        !matches!(
            self,
            Self::Account(_)
                | Self::NoContract
                | Self::DaySpent { .. }
                | Self::Spending { .. }
                | Self::TooLong { .. }
                | Self::Shared { .. }
                | Self::Pack(_)
        )
    }

    /// Whether it was found before anything was handed over: asking another server costs nothing then. What else may have
    /// been, such as that nobody grants fees, is not among them: a server that refuses may have handed it on all the same.
    pub(super) fn is_of_nothing_sent(&self) -> bool {
        matches!(
            self,
            Self::WouldFail(_)
                | Self::TooDear { .. }
                | Self::NoAccount { .. }
                | Self::OutOfGas { gas: 0 }
        )
    }

    /// Whether something else may be delivered all the same.
    pub(super) fn is_of_content(&self) -> bool {
        matches!(
            self,
            Self::TooLong { .. }
                | Self::TooDear { .. }
                | Self::OutOfGas { .. }
                | Self::WouldFail(_)
                | Self::Failed { .. }
        )
    }
}
