//! Why what a node shows of a public chain's ledger is not believed, or nothing is signed because of it.

#[cfg(feature = "chain")]
use colearn_ledger::Hash;
#[cfg(feature = "chain")]
use colearn_light::{BadAnswer, NotAnAddress, NotBelieved, NotEstablished};
#[cfg(feature = "chain")]
use colearn_records::on_chain::OutOfTime;
#[cfg(feature = "chain")]
use colearn_records::transaction::LedgerId;

/// What is wrong with a ledger that a contract on a public chain keeps, or with what is known of the chain.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ChainError {
    /// This program cannot follow it.
    #[cfg(not(feature = "chain"))]
    #[error(
        "a contract on a public chain keeps this ledger, and this program was built without what verifies chains (the feature \
         \"chain\")"
    )]
    Unsupported,
    /// Nobody has said which header of the chain and which code of the contract to trust.
    #[cfg(feature = "chain")]
    #[error(
        "a contract on {chain} keeps this ledger, and nothing says which header of that chain to trust: it can be read, but \
         nothing is signed for it. Give --trust LINE; who has deployed the contract has the line, `colearn chain trust` \
         prints one, and the other learners can say whether it is right"
    )]
    NoTrust {
        /// The chain's id.
        chain: String,
    },
    /// What is trusted is of another chain.
    #[cfg(feature = "chain")]
    #[error(
        "the header that is to be trusted is of the chain {trusted}, and a contract on {found} keeps this ledger; check \
         --trust and --node"
    )]
    OtherChain {
        /// The trust line's chain, or that of the header that was believed before.
        trusted: String,
        /// The ledger's.
        found: String,
    },
    /// What is trusted is another contract of that chain: it keeps another ledger.
    #[cfg(feature = "chain")]
    #[error(
        "the contract that is to be trusted is {trusted}, and {found} keeps this ledger; check --trust and --node"
    )]
    OtherContract {
        /// The trust line's contract.
        trusted: String,
        /// The ledger's.
        found: String,
    },
    /// What is trusted is a chain, and none keeps the ledger.
    #[cfg(feature = "chain")]
    #[error(
        "a header of the chain {trusted} is to be trusted, and no contract there keeps the ledger {ledger}: nodes do; check \
         --trust and --node"
    )]
    NotOnChain {
        /// The trust line's chain.
        trusted: String,
        /// The ledger.
        ledger: LedgerId,
    },
    /// The ledger's first entry names no contract.
    #[cfg(feature = "chain")]
    #[error("the ledger's first entry does not say which contract keeps it: {0}")]
    Contract(#[from] NotAnAddress),
    /// What was believed before does not follow from what is to be trusted.
    #[cfg(feature = "chain")]
    #[error(
        "the header that is to be trusted and the one of block {height} that this key has believed before are not of one \
         chain: one of the two was a lie; ask the other learners which, and sign nothing before"
    )]
    Contradicted {
        /// Where they differ.
        height: u64,
    },
    /// An answer of a server of the chain is none.
    #[cfg(feature = "chain")]
    #[error("what the node hands on is no answer of the chain, and was not believed: {0}")]
    Answer(#[from] BadAnswer),
    /// A header is not believed.
    #[cfg(feature = "chain")]
    #[error("a header of the chain that the node shows is not believed: {0}")]
    Header(#[from] NotBelieved),
    /// It is older than every header that is still kept.
    #[cfg(feature = "chain")]
    #[error(
        "the node proves with the header of block {height}, which is older than all that are kept here"
    )]
    OldHeader {
        /// Its height.
        height: u64,
    },
    /// It takes too many headers to get there.
    #[cfg(feature = "chain")]
    #[error("there is no end of headers on the way to block {height}")]
    TooFar {
        /// The block that was to be reached.
        height: u64,
    },
    /// Two headers of one height follow from what is trusted.
    #[cfg(feature = "chain")]
    #[error(
        "TWO HEADERS of block {height}: validators of the chain have signed both, so whoever believes one may be lied to; \
         stop, and show both to the other learners. Nothing more is believed, by other commands and after a restart either, \
         until it is known which is the chain's and the file two-headers in this key's folder is removed"
    )]
    TwoHeaders {
        /// The height.
        height: u64,
    },
    /// The chain's state is not proven to be that.
    #[cfg(feature = "chain")]
    #[error("the chain does not prove what the node shows: {0}")]
    Proof(#[from] NotEstablished),
    /// The contract's value is no end of a ledger.
    #[cfg(feature = "chain")]
    #[error(
        "what the contract keeps under its key is not the end of a ledger: it is no contract of colearn"
    )]
    NoTree,
    /// A header is of a time that has not come yet, by this machine's clock.
    #[cfg(feature = "chain")]
    #[error(
        "the header of block {height} is of a time that has not come yet: the clock of this machine is slow, or the node or \
         the chain runs ahead"
    )]
    Future {
        /// Its height.
        height: u64,
    },
    /// Somebody may give the contract other code.
    #[cfg(feature = "chain")]
    #[error(
        "{admin} administers the contract and may give it other code at any time: it is not to be trusted; have one deployed \
         that nobody administers (colearn chain deploy)"
    )]
    Admin {
        /// The account.
        admin: String,
    },
    /// The chain proves ends that are not of one ledger which grows.
    #[cfg(feature = "chain")]
    #[error(
        "the chain proves an end of {one} entries and one of {other} that are not of one ledger which only grows: the \
         contract or the chain was put back; stop trusting it, and compare with the other learners"
    )]
    Shrunk {
        /// The size of the one that was proven before.
        one: u64,
        /// The size of the other.
        other: u64,
    },
    /// The chain proves something else than the node's checkpoint.
    #[cfg(feature = "chain")]
    #[error(
        "the node's checkpoint of {} entries with root {} is not what the chain proves: {} with root {}",
        .stated.0, .stated.1, .proven.0, .proven.1
    )]
    OtherEnd {
        /// What the checkpoint says: size and root.
        stated: (u64, Hash),
        /// What the chain proves.
        proven: (u64, Hash),
    },
    /// An entry's time is not between those of the headers between which it was recorded.
    #[cfg(feature = "chain")]
    #[error(transparent)]
    Time(#[from] OutOfTime),
    /// The newest header that proves an end is too old to sign anything because of it.
    #[cfg(feature = "chain")]
    #[error(
        "the newest header by which the node has proven where the ledger ends is {age_s} s old, and nothing is signed over one \
         that is older than {max_s}: the chain or the node stands still, or the clock of this machine is wrong"
    )]
    Stale {
        /// How old it is, in seconds.
        age_s: u64,
        /// How old it may be.
        max_s: u64,
    },
}

impl ChainError {
    /// Whether the node has shown what it should not have, and another one may do better.
    pub(crate) fn is_a_lie(&self) -> bool {
        #[cfg(feature = "chain")]
        return match self {
            Self::Answer(_) | Self::OtherEnd { .. } | Self::OldHeader { .. } => true,
            Self::TooFar { .. } => true,
            Self::Header(error) => !matches!(error, NotBelieved::TooOld | NotBelieved::Clock),
            Self::Proof(error) => !matches!(error, NotEstablished::OtherCode { .. }),
            Self::NoTrust { .. }
            | Self::OtherChain { .. }
            | Self::OtherContract { .. }
            | Self::NotOnChain { .. }
            | Self::Contract(_)
            | Self::Contradicted { .. }
            | Self::TwoHeaders { .. }
            | Self::NoTree
            | Self::Admin { .. }
            | Self::Shrunk { .. }
            | Self::Time(_)
            | Self::Future { .. }
            | Self::Stale { .. } => false,
        };
        #[cfg(not(feature = "chain"))]
        false
    }

    /// Whether it shows that what is kept there is not to be trusted any more, whoever hands it on.
    pub fn ends_trust(&self) -> bool {
        #[cfg(feature = "chain")]
        return matches!(
            self,
            Self::Contradicted { .. }
                | Self::TwoHeaders { .. }
                | Self::Proof(NotEstablished::OtherCode { .. })
                | Self::NoTree
                | Self::Admin { .. }
                | Self::Shrunk { .. }
                | Self::Time(_)
        );
        #[cfg(not(feature = "chain"))]
        false
    }

    /// Whether trying again may help.
    pub(crate) fn is_transient(&self) -> bool {
        #[cfg(feature = "chain")]
        return match self {
            // It is another block than was pinned: so it stays, whoever is wrong.
            Self::Header(NotBelieved::OtherHeader { .. }) => false,
            Self::Stale { .. } | Self::Future { .. } => true,
            other => other.is_a_lie(),
        };
        #[cfg(not(feature = "chain"))]
        false
    }
}
