//! Whom to believe: which ledger, whose key, which witnesses.

use clap::Args;
use colearn_ledger::Verifier;
use colearn_records::pins::{BadPins, Pins};
use colearn_records::transaction::LedgerId;

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
}

impl PinArgs {
    /// What is insisted on; where it is not given here, as is planned.
    pub(crate) fn pins(&self, planned: &Pins) -> Result<Pins, BadPins> {
        let Cosigners { witness, witness_quorum } = &self.cosigners;
        planned.with(self.ledger, self.verifier_key.clone(), witness.clone(), *witness_quorum)
    }
}
