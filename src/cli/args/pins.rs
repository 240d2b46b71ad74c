//! Whom to believe: which ledger, whose key, which witnesses.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, bail};
use clap::Args;
use colearn_ledger::Verifier;
use colearn_records::pins::{BadPins, Pins};
use colearn_records::transaction::LedgerId;
use colearn_sdk::client::{ChainTrust, NoTrust, Trust};

/// Which witnesses must have cosigned.
#[derive(Args, Clone, Default)]
pub(crate) struct Cosigners {
    /// Insist that this witness has cosigned the checkpoint; may be repeated
    #[arg(long, value_name = "KEY")]
    witness: Vec<Verifier>,
    /// How many of the witnesses must have [default: more than half]
    #[arg(long, value_name = "K")]
    witness_quorum: Option<usize>,
}

impl Cosigners {
    /// These alone are insisted on.
    pub(crate) fn pins(&self) -> Result<Pins, BadPins> {
        Pins::new(None, None, self.witness.clone(), self.witness_quorum)
    }
}

/// What is insisted on of a ledger.
#[derive(Args, Clone, Default)]
pub(crate) struct PinArgs {
    /// Insist on this ledger, by its id
    #[arg(long, value_name = "ID")]
    ledger: Option<LedgerId>,
    /// Insist on a ledger that this key keeps, or has kept (the one that `colearn node` prints)
    #[arg(long, value_name = "KEY")]
    verifier_key: Option<Verifier>,
    #[command(flatten)]
    cosigners: Cosigners,
    /// Where a contract on a public chain keeps the ledger: trust this header of the chain, this code and this contract,
    /// CHAIN/HEIGHT/HASH/SECONDSs/CODE/CONTRACT (a line that `colearn chain trust` prints). Or, with a key, a file with a
    /// signed checkpoint: believe who has signed what it counts, and check the rest; for newcomers to a long ledger
    #[arg(long, env = "COLEARN_TRUST", value_name = "LINE|FILE")]
    trust: Option<Trusted>,
}

/// What is believed before anything was verified: a line, or what is in a file.
#[derive(Clone)]
enum Trusted {
    Chain(ChainTrust),
    /// A line that leaves open which ledger is meant.
    Nameless(NoTrust),
    Checkpoint(PathBuf),
}

impl FromStr for Trusted {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.parse() {
            Ok(line) => Self::Chain(line),
            Err(NoTrust::Malformed(text)) => Self::Checkpoint(text.into()),
            Err(error @ NoTrust::NoContract(_)) => Self::Nameless(error),
        })
    }
}

impl PinArgs {
    /// What is insisted on; where it is not given here, as is planned.
    pub(crate) fn pins(&self, planned: &Pins) -> anyhow::Result<Pins> {
        if let Some(file) = self.checkpoint() {
            bail!(
                "{} says not what to trust: without a key that is CHAIN/HEIGHT/HASH/SECONDSs/CODE/CONTRACT, of a public chain",
                file.display()
            );
        }
        self.insisted(planned)
    }

    fn insisted(&self, planned: &Pins) -> anyhow::Result<Pins> {
        let Cosigners { witness, witness_quorum } = &self.cosigners;
        let (key, witnesses) = (self.verifier_key.clone(), witness.clone());
        let line = match &self.trust {
            Some(Trusted::Chain(line)) => Some(line.to_string()),
            Some(Trusted::Nameless(why)) => bail!("{why}"),
            Some(Trusted::Checkpoint(_)) | None => None,
        };
        Ok(planned.with(self.ledger, key, witnesses, *witness_quorum)?.trusting(line))
    }

    /// The file of a checkpoint that is trusted.
    fn checkpoint(&self) -> Option<&Path> {
        match &self.trust {
            Some(Trusted::Checkpoint(file)) => Some(file),
            Some(Trusted::Chain(_) | Trusted::Nameless(_)) | None => None,
        }
    }

    /// What is believed of a ledger that is followed; where it is not given here, as is planned.
    pub(crate) fn trust(&self, planned: &Pins) -> anyhow::Result<Trust> {
        let checkpoint = self.checkpoint().map(|path| {
            std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the checkpoint {}", path.display()))
        });
        Ok(Trust { checkpoint: checkpoint.transpose()?, ..trust(self.insisted(planned)?)? })
    }
}

/// What is believed of a ledger that is followed, where this is insisted on.
pub(crate) fn trust(pins: Pins) -> anyhow::Result<Trust> {
    let chain = pins.trust().map(str::parse).transpose()?;
    Ok(Trust { pins, checkpoint: None, chain })
}
