//! From a header that somebody trusts to those that follow from it.

use std::time::Duration;

use tendermint::chain::Id;
use tendermint::{Hash, Time};
use tendermint_light_client_verifier::operations::{
    ProdCommitValidator, ProvidedVotingPowerCalculator,
};
use tendermint_light_client_verifier::options::Options;
use tendermint_light_client_verifier::predicates::ProdPredicates;
use tendermint_light_client_verifier::types::{
    TrustThreshold, TrustedBlockState, UntrustedBlockState,
};
use tendermint_light_client_verifier::{PredicateVerifier, Verdict, Verifier as _};

use crate::answer::{Block, Proven};
use crate::proof::{self, BadProof};
use crate::votes::Votes;

/// How far a header's time may lie ahead of one's own clock.
const CLOCK_DRIFT: Duration = Duration::from_secs(10);

/// The header that somebody trusts to begin with, and for how long such trust lasts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrustLine {
    /// The chain's id.
    pub chain: String,
    /// The header's height.
    pub height: u64,
    /// The header's hash.
    pub hash: [u8; 32],
    /// How old a header may be that others are verified from: less than it takes validators to get their stake
    /// back, two thirds of that.
    pub period: Duration,
}

/// Why a header is not believed. What was believed before stays so.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotBelieved {
    /// It is another one than is trusted.
    #[error(
        "the server's block {height} is another than the one that is trusted: do not go on before it is known which of the two is the chain's"
    )]
    OtherHeader {
        /// The height of the trusted one.
        height: u64,
    },
    /// Its validators are not those that it names.
    #[error("the validators that the server names are not those of the header")]
    OtherValidators,
    /// Too many of the validators are others: a header between is to be verified first.
    #[error(
        "of those who are trusted too few have signed block {height}: verify one between first"
    )]
    TooFar {
        /// The height.
        height: u64,
    },
    /// What is trusted is too old for anything to follow from it.
    #[error(
        "the header that is trusted is older than the trusting period: pin a newer one, from somebody else than this server"
    )]
    TooOld,
    /// It is no newer one.
    #[error("block {height} is no newer than the one that is trusted")]
    NotNewer {
        /// The height.
        height: u64,
    },
    /// It is the block of another height than was asked for.
    #[error("the server's block is {found}, and {asked} was asked for")]
    NotAsked {
        /// The height that was asked for.
        asked: u64,
        /// The one that it has.
        found: u64,
    },
    /// So many blocks between do not lead there.
    #[error("block {height} does not follow within {steps} blocks between: ask another server")]
    TooManySteps {
        /// The height.
        height: u64,
        /// How many were looked at.
        steps: u32,
    },
    /// It does not verify.
    #[error("the header does not verify: {0}")]
    Wrong(String),
    /// The time is none.
    #[error("the clock of this machine shows no time that a header could have")]
    Clock,
}

/// What follows from a trusted header: the newest one that is believed.
#[derive(Clone, Debug)]
pub struct Light {
    chain: Id,
    options: Options,
    trusted: Block,
}

impl Light {
    /// Begins with the block whose header is trusted.
    ///
    /// # Errors
    /// If it is another one, or the line's chain has no name.
    pub fn begin(line: &TrustLine, block: Block) -> Result<Self, NotBelieved> {
        let header = &block.signed.header;
        let is_it = header.hash() == Hash::Sha256(line.hash)
            && block.height() == line.height
            && header.chain_id.as_str() == line.chain;
        if !is_it {
            return Err(NotBelieved::OtherHeader { height: line.height });
        }
        // The header names both by their hashes.
        if header.validators_hash != block.validators.hash()
            || header.next_validators_hash != block.next_validators.hash()
        {
            return Err(NotBelieved::OtherValidators);
        }
        let options = Options {
            trust_threshold: TrustThreshold::TWO_THIRDS,
            trusting_period: line.period,
            clock_drift: CLOCK_DRIFT,
        };
        Ok(Self { chain: header.chain_id.clone(), options, trusted: block })
    }

    /// Goes on to a newer block, at this time of one's own clock, in ms since 1970.
    ///
    /// # Errors
    /// Why it is not believed. With [`NotBelieved::TooFar`] one between may be.
    pub fn advance(&mut self, block: Block, now_ms: u64) -> Result<(), NotBelieved> {
        let height = block.height();
        if height <= self.height() {
            return Err(NotBelieved::NotNewer { height });
        }
        let now = time(now_ms)?;
        let trusted = &self.trusted.signed.header;
        let age = now.duration_since(trusted.time).unwrap_or_default();
        if age >= self.options.trusting_period {
            return Err(NotBelieved::TooOld);
        }
        let votes = ProvidedVotingPowerCalculator::new(Votes::of(&block.signed, &block.validators));
        let verifier = PredicateVerifier::new(ProdPredicates, votes, ProdCommitValidator);
        let verdict = verifier.verify_update_header(
            UntrustedBlockState {
                signed_header: &block.signed,
                validators: &block.validators,
                next_validators: Some(&block.next_validators),
            },
            TrustedBlockState {
                chain_id: &self.chain,
                header_time: trusted.time,
                height: trusted.height,
                next_validators: &self.trusted.next_validators,
                next_validators_hash: trusted.next_validators_hash,
            },
            &self.options,
            now,
        );
        match verdict {
            Verdict::Success => {
                self.trusted = block;
                Ok(())
            }
            Verdict::NotEnoughTrust(_) => Err(NotBelieved::TooFar { height }),
            Verdict::Invalid(why) => Err(NotBelieved::Wrong(format!("{why:?}"))),
        }
    }

    /// The height of the newest header that is believed.
    pub fn height(&self) -> u64 {
        self.trusted.height()
    }

    /// Its hash.
    pub fn hash(&self) -> [u8; 32] {
        self.trusted.hash()
    }

    /// Its time, in ms since 1970.
    pub fn time_ms(&self) -> u64 {
        let nanos = self.trusted.signed.header.time.unix_timestamp_nanos();
        u64::try_from(nanos / 1_000_000).unwrap_or(0)
    }

    /// The value that the chain's state has under this key: the state after the block before the newest header that
    /// is believed, which is what that header says.
    ///
    /// # Errors
    /// If the answer is of something else, or does not prove it.
    pub fn value<'a>(&self, key: &[u8], answer: &'a Proven) -> Result<&'a [u8], BadProof> {
        let app_hash = self.app_hash(key, answer)?;
        proof::verify(app_hash, key, &answer.value, &answer.proofs)?;
        Ok(&answer.value)
    }

    /// Whether the chain's state has nothing under this key: the same state.
    ///
    /// # Errors
    /// If the answer is of something else, or does not prove it.
    pub fn absent(&self, key: &[u8], answer: &Proven) -> Result<(), BadProof> {
        proof::verify_absent(self.app_hash(key, answer)?, key, &answer.proofs)
    }

    /// The hash of the state that an answer about this key is to be of.
    fn app_hash(&self, key: &[u8], answer: &Proven) -> Result<&[u8], BadProof> {
        let expected = self.height().saturating_sub(1);
        if answer.height != expected {
            return Err(BadProof::OtherHeight { found: answer.height, expected });
        }
        if answer.key != key {
            return Err(BadProof::OtherKey);
        }
        Ok(self.trusted.signed.header.app_hash.as_bytes())
    }
}

fn time(now_ms: u64) -> Result<Time, NotBelieved> {
    let (seconds, millis) = (now_ms / 1_000, now_ms % 1_000);
    let seconds = i64::try_from(seconds).map_err(|_| NotBelieved::Clock)?;
    Time::from_unix_timestamp(seconds, millis as u32 * 1_000_000).map_err(|_| NotBelieved::Clock)
}
