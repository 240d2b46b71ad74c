//! Evaluations: what a model is worth on somebody's own data, recorded for all to see. They decide
//! nothing.

use serde::{Deserialize, Serialize};

use crate::id::Digest;
use crate::name::MeasureName;

/// The most numbers one evaluation can have (R66).
pub const MAX_MEASURES: usize = 16;

/// What a member has measured of a model on its own data (R66).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Evaluation {
    /// One more than how many of the sender's are recorded, so that none counts twice.
    pub number: u64,
    /// The model: perhaps one of the experiment's, perhaps the sender's own, to be compared with.
    pub model: Digest,
    /// 1 to [`MAX_MEASURES`] numbers, in strictly ascending order of their names.
    pub measures: Vec<Measure>,
}

/// One measured number.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Measure {
    /// What was measured, for example `accuracy.alone`.
    pub name: MeasureName,
    /// The number, in millionths.
    pub value_micros: i64,
}

impl Evaluation {
    /// R66.
    pub(crate) fn is_valid(&self) -> bool {
        (1..=MAX_MEASURES).contains(&self.measures.len())
            && self.measures.windows(2).all(|pair| pair[0].name < pair[1].name)
    }
}
