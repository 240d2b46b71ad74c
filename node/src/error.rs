//! Why a node cannot start or go on: for its operator.

use std::path::PathBuf;
use std::time::Duration;

use colearn_contracts::{InvalidLimits, NotAnUpgrade, UnknownVersion};
use colearn_records::follower::Fault;
use colearn_records::founded::OtherFounding;
use colearn_records::keys::KeyError;
use colearn_records::log_keys::BadKeyChange;
use colearn_records::network_file::BadFile;
use colearn_records::record::NotARecord;
use colearn_records::replay::Departure;
use colearn_records::transaction::LedgerId;

use crate::resync::Diverged;

/// What is wrong with CometBFT beside the node.
#[cfg(unix)]
#[derive(Debug, thiserror::Error)]
pub enum CometError {
    /// There is none that can be used.
    #[error(transparent)]
    Program(#[from] colearn_comet::program::ProgramError),
    /// Its keys.
    #[error(transparent)]
    Key(#[from] colearn_comet::keys::KeyError),
    /// Its settings.
    #[error(transparent)]
    Files(#[from] colearn_comet::files::FilesError),
    /// It cannot be started.
    #[error(transparent)]
    Process(#[from] colearn_comet::process::ProcessError),
}

/// What is wrong with a public chain, or with what its servers say.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// No server can be asked, or one answers what is none.
    #[error(transparent)]
    Rpc(#[from] colearn_relay::RpcError),
    /// What chain.toml says is a server is none.
    #[error(transparent)]
    Server(#[from] colearn_relay::BadServer),
    /// The account that pays.
    #[error(transparent)]
    Account(#[from] colearn_relay::BadAccount),
    /// A server's answer.
    #[error(transparent)]
    Answer(#[from] colearn_light::BadAnswer),
    /// A header.
    #[error(transparent)]
    NotBelieved(#[from] colearn_light::NotBelieved),
    /// A proof.
    #[error(transparent)]
    Proof(#[from] colearn_light::BadProof),
    /// What the contract keeps, or is.
    #[error(transparent)]
    NotEstablished(#[from] colearn_light::NotEstablished),
    /// The contract's address.
    #[error(transparent)]
    Address(#[from] colearn_light::NotAnAddress),
    /// Nothing says which header and code to trust.
    #[error(
        "chain.toml has no `trust = ...`: take the line that `colearn chain deploy` has printed, or that of \
         `colearn chain trust`, and compare it with somebody else's"
    )]
    NoTrust,
    /// Nothing says which contract.
    #[error("chain.toml has no `contract = ...`: `colearn chain deploy` prints its address")]
    NoContract,
    /// It is another chain.
    #[error("chain.toml says the chain {expected}, and this is {found}")]
    OtherChain {
        /// That of chain.toml.
        expected: String,
        /// That of the server, or of the line that is trusted.
        found: String,
    },
    /// A server answers with another block than was asked for.
    #[error("a server of the chain was asked for block {asked} and sends {found}")]
    OtherBlock {
        /// The height that was asked for.
        asked: u64,
        /// That of what came.
        found: u64,
    },
    /// No block comes.
    #[error(
        "the chain makes no block after the one that is trusted: it stands still, or its servers are behind"
    )]
    Still,
    /// A server shows fewer entries than are here: it is behind, or lies.
    #[error(
        "a server of the chain proves {shown} entries by an old header, and {had} are here: it is behind"
    )]
    Behind {
        /// How many it proves.
        shown: u64,
        /// How many are here.
        had: u64,
    },
    /// The ledger is another.
    #[error("what the contract {0} keeps is no ledger that it would keep")]
    OtherLedger(String),
    /// The folder's ledger is kept elsewhere.
    #[error(
        "the ledger in this folder is not that of the contract in chain.toml: take another folder, or another chain.toml"
    )]
    OtherFolder,
    /// The contract does not have what it must.
    #[error("the contract keeps no ledger that this program can read")]
    NoTree,
    /// Somebody may give the contract other code.
    #[error(
        "{0} may give the contract other code at any time: it is to be made without an administrator"
    )]
    Admin(String),
    /// Entries are not those that the chain proves.
    #[error(
        "the entries that a server of the chain has sent, from {index} on, are not those that the chain proves"
    )]
    Unproven {
        /// From this one on.
        index: u64,
    },
    /// Entries that a server sends come to no end.
    #[error(
        "a server of the chain has sent more entries of {time_ms} ms, up to {index}, than a block can have: they are not those \
         that the chain proves"
    )]
    Endless {
        /// The next one.
        index: u64,
        /// The time of the last, in ms since 1970.
        time_ms: u64,
    },
    /// A server sends entries too slowly.
    #[error(
        "a server of the chain has sent too few entries from {index} on in {} s: another one is asked",
        within.as_secs()
    )]
    Slow {
        /// From this one on.
        index: u64,
        /// How long it may have taken.
        within: Duration,
    },
    /// Validators have signed two headers of one height.
    #[error(
        "TWO HEADERS of block {height}: servers of the chain show two that both follow from the trusted one, so whoever \
         believes one may be lied to. Both are in {}; nothing more is believed, also after a restart, as long as that file is \
         there: find out with others which is the chain's before you move it away",
        file.display()
    )]
    TwoHeaders {
        /// The height; 0 if the file cannot be read.
        height: u64,
        /// Where both are kept.
        file: PathBuf,
    },
    /// The chain proves what no ledger that was here can be gone on with.
    #[error(
        "THE LEDGER IS NOT TO BE GONE ON WITH: {why}. Nothing more is believed, also after a restart, as long as {} is there: \
         keep this folder as evidence, and find out with those you take part with why",
        file.display()
    )]
    Departed {
        /// How the chain's and what was here are not of one ledger.
        why: String,
        /// Where what shows it is kept.
        file: PathBuf,
    },
    /// What is trusted now and what was believed before are not of one chain.
    #[error(
        "chain.toml trusts another header than it did, and that and block {height}, which this node has believed because of the \
         one before ({}), are not of one chain: compare `trust` with what the others have; if it is right, what is in this \
         folder may be no part of the chain's ledger: begin with an empty one, and keep this as evidence",
        file.display()
    )]
    Contradicted {
        /// The height of the block that was believed.
        height: u64,
        /// Where it is kept.
        file: PathBuf,
    },
    /// What is kept of the headers cannot be read, or its folder not be made.
    #[error("cannot use {}: {source}", path.display())]
    Kept {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl ChainError {
    /// Whether it shows that the contract is not to be trusted now: it may have the trusted code again.
    pub(crate) fn is_of_other_code(&self) -> bool {
        use colearn_light::NotEstablished;
        matches!(self, Self::Admin(_) | Self::NotEstablished(NotEstablished::OtherCode { .. }))
    }

    /// Whether it shows that nothing more of the chain is to be believed, whoever is asked.
    pub(crate) fn ends_trust(&self) -> bool {
        matches!(self, Self::TwoHeaders { .. } | Self::Departed { .. })
    }
}

/// Why a node cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] colearn_ledger::Error),
    /// The node's key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Others could listen.
    #[error(
        "{0} can be reached from other machines, and nothing would be encrypted; give --tls-cert and --tls-key, or \
         --tls-self-signed; where a proxy in front of it has TLS, or the network is trusted: --insecure"
    )]
    NoTls(std::net::SocketAddr),
    /// A certificate or its key.
    #[error("cannot use {}: {reason}; it is to be a file in PEM", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Where weights are to be kept.
    #[error("weights cannot be kept where --artifacts says: {0}")]
    ArtifactStore(String),
    /// A file of keys.
    #[error("cannot use the keys in {}: {reason}; a line has 64 hex digits, and perhaps a name", path.display())]
    Keys {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The ledger's name.
    #[error("the origin {0:?} cannot be used: {1}")]
    Origin(String, colearn_ledger::NoteError),
    /// The first entry is not a genesis of this program.
    #[error("entry 0 of {} is not a genesis this version understands", .0.display())]
    Genesis(PathBuf),
    /// The ledger follows rules that this program does not know.
    #[error("{0}")]
    Version(UnknownVersion),
    /// A new ledger, or an upgraded one, was to have limits that it cannot have.
    #[error(transparent)]
    Limits(#[from] InvalidLimits),
    /// The ledger follows the latest rules already.
    #[error("{0}; there is nothing to upgrade to")]
    NotAnUpgrade(NotAnUpgrade),
    /// An entry cannot be read.
    #[error("entry {index} is not a record: {source}; run `colearn audit` on the data folder")]
    Record {
        /// The entry.
        index: u64,
        /// What is wrong with it.
        source: NotARecord,
    },
    /// An entry changes the keys but may not.
    #[error(
        "entry {index} does not change the ledger's keys: {source}; run `colearn audit` on the data \
         folder"
    )]
    Rotation {
        /// The entry.
        index: u64,
        /// Why not.
        source: BadKeyChange,
    },
    /// The ledger is to be one of several nodes, and is not.
    #[error(
        "one node keeps this ledger: it becomes one of several with `colearn network genesis --continue`"
    )]
    NoNetwork,
    /// There are keys of a network, and nothing says which ledger.
    #[error(
        "{} has the keys of a node of several, and no ledger: give the network's file with `--network FILE`; \
         for a ledger of its own take another folder",
        .0.display()
    )]
    KeysOnly(PathBuf),
    /// One node has kept the ledger before, and what it has recorded is not here.
    #[error(
        "the ledger {0} was begun by one node, and is not in this folder yet: fetch it with `colearn network \
         import FILE --from URL --data DIR`"
    )]
    NotImported(LedgerId),
    /// A command was interrupted that makes a ledger of one a ledger of several.
    #[error(
        "the founding of a network was interrupted here: run `colearn network genesis --continue` again. \
         (Or, if nobody was given the network's file, delete `network.json` here and go on alone.)"
    )]
    Unfinished,
    /// The ledger is not the one of the network's file.
    #[error(
        "this folder's ledger is not the network's: {0}; fetch that with `colearn network import` into \
             another folder"
    )]
    OtherFounding(OtherFounding),
    /// A command was interrupted that sets a ledger aside.
    #[error("`colearn network resync` was interrupted here: run it again")]
    ResyncInterrupted,
    /// A ledger of several was set aside, and one node keeps what is here.
    #[error(
        "this node was started over as one of several (`resync.json`), and the ledger here is one node's: it would \
         go on alone with another history. Move `ledger` away, put `network.json` back, which every other node has \
         in its data folder, and run `colearn network import`"
    )]
    StartedOverAlone,
    /// What that has kept cannot be read.
    #[error("{} cannot be read: restore it, or run `colearn network resync` anew without it", .0.display())]
    ResyncFile(PathBuf),
    /// The others have another history than this node has vouched for.
    #[error(transparent)]
    Diverged(#[from] Diverged),
    /// The network's file that is kept in the folder cannot be read.
    #[error("{} cannot be used: {source}", path.display())]
    NetworkFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: BadFile,
    },
    /// What one node does to a ledger that it keeps alone.
    #[error(
        "several nodes keep this ledger: keys are changed with `colearn network update`, rules with `colearn \
         network upgrade`"
    )]
    Together,
    /// The folder holds another ledger than the network's.
    #[error("this folder holds the ledger {found}, and the network keeps {expected}")]
    OtherNetwork {
        /// The network's.
        expected: LedgerId,
        /// The folder's.
        found: LedgerId,
    },
    /// A ledger of several nodes ends where none of them ever signed.
    #[error(
        "the ledger ends within a block, at {0} entries; run `colearn network resync` and start the node: it \
         fetches the blocks again"
    )]
    WithinBlock(u64),
    /// CometBFT, or what it needs.
    #[cfg(unix)]
    #[error(transparent)]
    Comet(#[from] CometError),
    /// A public chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A contract keeps the ledger, and nothing says how to reach it.
    #[error(
        "a contract on a public chain keeps the ledger in this folder: give `--chain chain.toml`"
    )]
    OnChain,
    /// What one node does to a ledger that it keeps alone.
    #[error(
        "a contract on a public chain keeps this ledger: no node signs for it, and its rules are the contract's"
    )]
    ByContract,
    /// What keeps a ledger together with others does not run here.
    #[error("several nodes keep this ledger, and that takes a Unix system")]
    NotHere,
    /// There is a ledger but no key file.
    #[error(
        "{} is missing, but there is a ledger that was signed with it; restore it from a copy",
        .0.display()
    )]
    KeyMissing(PathBuf),
    /// The key file holds another key than the ledger's.
    #[error("{} is not the ledger's key, which is {expected}; restore it from a copy", path.display())]
    OtherKey {
        /// The key file.
        path: PathBuf,
        /// The ledger's key.
        expected: String,
    },
    /// An entry breaks the rules.
    #[error(
        "entry {index} departs from the contract: {source}; run `colearn audit` on the data folder"
    )]
    Departure {
        /// The entry.
        index: u64,
        /// How.
        source: Departure,
    },
    /// An entry is otherwise not what the ledger must go on with.
    #[error("entry {index} cannot be followed: {source}; run `colearn audit` on the data folder")]
    Fault {
        /// The entry.
        index: u64,
        /// Why.
        source: Fault,
    },
    /// A folder or the socket.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was attempted.
        doing: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The writer stopped.
    #[error("the node has stopped taking transactions: {0}")]
    Stopped(String),
}

impl NodeError {
    /// What is stored cannot be listed.
    pub(crate) fn artifacts(error: crate::artifacts::ArtifactError) -> Self {
        Self::ArtifactStore(error.to_string())
    }
}
