//! Reading a model's weights, once where many learners of a process read the same.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use colearn_contracts::Digest;
use colearn_sdk::learner::Weights;

use super::model::{ModelSpec, WeightsError};
use super::network::Network;

/// How many networks are kept: the global one, what is proposed, two merges.
const KEPT: usize = 4;

/// What was read, the oldest first.
type Kept = VecDeque<(Digest, Arc<Network>)>;

/// Reads weights of one model. One that is shared keeps what it has read last.
#[derive(Debug)]
pub(super) struct Reader {
    spec: ModelSpec,
    kept: Option<Mutex<Kept>>,
}

impl Reader {
    /// For one learner, which reads most things once.
    pub(super) fn new(spec: ModelSpec) -> Self {
        Self { spec, kept: None }
    }

    /// For many, which all look at the same things.
    pub(super) fn shared(spec: ModelSpec) -> Self {
        Self { spec, kept: Some(Mutex::default()) }
    }

    /// The model.
    pub(super) fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// # Errors
    /// If the weights are not of this model, or not finite.
    pub(super) fn read(&self, weights: &Weights) -> Result<Arc<Network>, WeightsError> {
        let Some(kept) = &self.kept else { return Ok(Arc::new(self.spec.read(weights)?)) };
        // Held while it is read: the others need the same, and would read it beside.
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = weights.digest();
        let found = kept.iter().position(|(it, _)| *it == digest).and_then(|at| kept.remove(at));
        let network = match found {
            Some((_, network)) => network,
            None => Arc::new(self.spec.read(weights)?),
        };
        // What is asked for again and again stays.
        kept.push_back((digest, network.clone()));
        if kept.len() > KEPT {
            kept.pop_front();
        }
        Ok(network)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::data::{Dataset, Embedded};
    use super::super::model::Activation;
    use super::*;

    #[test]
    fn who_shares_reads_the_same_once_and_keeps_little() {
        let schema = Dataset::embedded(Embedded::Iris).unwrap().schema;
        let spec = ModelSpec::new(vec![4], Activation::Relu, schema);
        let weights = |seed| spec.write(&spec.untrained(seed)).unwrap();
        let first = weights(0);
        let shared = Reader::shared(spec.clone());
        let read = shared.read(&first).unwrap();
        assert_eq!(*read, spec.untrained(0));
        assert!(Arc::ptr_eq(&read, &shared.read(&first).unwrap()));
        for seed in 1..=KEPT as u64 {
            assert_eq!(*shared.read(&weights(seed)).unwrap(), spec.untrained(seed));
        }
        let again = shared.read(&first).unwrap();
        assert!(!Arc::ptr_eq(&read, &again) && *read == *again);
        let alone = Reader::new(spec);
        assert!(!Arc::ptr_eq(&alone.read(&first).unwrap(), &alone.read(&first).unwrap()));
    }

    #[test]
    fn what_cannot_be_read_is_not_kept() {
        let schema = Dataset::embedded(Embedded::Iris).unwrap().schema;
        let spec = ModelSpec::new(vec![4], Activation::Relu, schema);
        let mut network = spec.untrained(0);
        network.set_values(std::iter::repeat(f32::NAN));
        let broken = spec.write(&network).unwrap();
        let shared = Reader::shared(spec);
        for _ in 0..2 {
            assert!(matches!(shared.read(&broken), Err(WeightsError::NotFinite(_))));
        }
    }
}
