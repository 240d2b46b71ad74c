//! Witnesses: serving as one for other ledgers, and asking them to cosign this node's.

mod asking;
mod served;
// The module is the thing of the same name, beside those who ask for it.
#[allow(clippy::module_inception)]
mod witness;

pub use self::asking::{BadWitness, WitnessAddress};
pub(crate) use self::asking::{Cosignatures, ask};
pub use self::served::ServedWitness;
pub use self::witness::{Witness, WitnessError};
