//! A learner of one weight.

use colearn_sdk::learner::{Learner, Proposed, Result, Score, Weights};

/// Holds a private number, and moves half of the way there from where the model is: together such learners look
/// for what suits them all. It knows nothing of merges.
#[derive(Clone, Debug)]
pub struct Near {
    /// What its data says.
    pub private: f32,
    /// The model that it has.
    pub current: f32,
    /// Sends nonsense instead of what it has learned.
    pub hostile: bool,
}

impl Near {
    /// One that has accepted no model yet.
    pub fn new(private: f32) -> Self {
        Self { private, current: 0.0, hostile: false }
    }

    /// A model that is this number.
    pub fn weights(value: f32) -> Weights {
        let header = br#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        let length = (header.len() as u64).to_le_bytes();
        Weights::new([&length[..], header, &value.to_le_bytes()].concat())
    }

    /// The number that a model is.
    ///
    /// # Errors
    /// If it is none.
    pub fn value(weights: &Weights) -> Result<f32> {
        let bytes = weights.bytes().last_chunk().ok_or("too short")?;
        Ok(f32::from_le_bytes(*bytes))
    }
}

impl Learner for Near {
    fn propose(&mut self) -> Result<Proposed> {
        let learned = self.current + (self.private - self.current) / 2.0;
        Ok(Proposed::Weights(Self::weights(if self.hostile { f32::NAN } else { learned })))
    }

    fn test(&mut self, weights: &Weights) -> Result<Score> {
        let far = |value: f32| f64::from((value - self.private).abs());
        let (new, old) = (far(Self::value(weights)?), far(self.current));
        Ok(Score { test: Some(-new), ..Score::new(-new, new <= old) })
    }

    fn accept(&mut self, weights: &Weights) -> Result<()> {
        self.current = Self::value(weights)?;
        Ok(())
    }

    fn current(&self) -> Weights {
        Self::weights(self.current)
    }
}
