//! Creating an experiment: what its rules refuse is said before anything is uploaded.

use colearn_contracts::{
    Act, Action, CreateExperiment, Digest, ExperimentName, InvalidParameters, Model, terms,
};
use colearn_keys::Key;
use colearn_records::keys::learner_id;
use colearn_records::plan::Plan;

use super::{BoxFuture, ClientError, Followed, Submitted};
use crate::weights::{SAFETENSORS, Weights};

/// Why an experiment was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The plan does not say who may join.
    #[error("the plan does not say who may join: admission, or members")]
    NoAdmission,
    /// The plan is for an experiment of another name.
    #[error("the plan is for {planned}, not for {asked}")]
    OtherName {
        /// What the plan says.
        planned: ExperimentName,
        /// What was asked for.
        asked: ExperimentName,
    },
    /// The rules do not allow what the plan says.
    #[error(transparent)]
    Parameters(#[from] InvalidParameters),
    /// The node.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// An experiment that was created.
#[derive(Clone, Debug)]
pub struct Created {
    /// Its entry.
    pub submitted: Submitted,
    /// The digest of its terms, which those who join compare: it says it all.
    pub terms: Digest,
    /// The plan as it was recorded, what it left out included.
    pub plan: Plan,
}

impl Followed {
    /// Creates an experiment that begins with these weights, under a plan's rules. The plan's digest is
    /// recorded where it is one that others have, `agreed`.
    ///
    /// # Errors
    /// If the plan is none for it, or the node refuses.
    pub fn create<'a>(
        &'a mut self,
        key: impl Into<Key>,
        name: ExperimentName,
        mut plan: Plan,
        agreed: bool,
        (weights, media_type): (&'a Weights, &'a str),
    ) -> BoxFuture<'a, Result<Created, CreateError>> {
        let key = key.into();
        Box::pin(async move {
            if let Some(planned) = plan.name.clone().filter(|planned| *planned != name) {
                return Err(CreateError::OtherName { planned, asked: name });
            }
            let admission = plan.admission.clone().ok_or(CreateError::NoAdmission)?;
            let model = weights.model(media_type);
            if !plan.limits_weights {
                plan.parameters.max_weights_bytes = largest(&model);
            }
            // What was agreed on is what is recorded, defaults included.
            plan.name = Some(name.clone());
            let version = self.contract_version()?;
            plan.parameters.check(version, &model)?;
            admission.check(version, &plan.parameters)?;
            // Before it is signed: what takes long would make that old.
            self.upload_somewhere(weights).await?;
            let parameters = plan.parameters.clone();
            let terms = terms(version, learner_id(&key), &parameters, &admission);
            let create = CreateExperiment {
                version: version.number(),
                parameters,
                admission,
                model,
                plan: agreed.then(|| plan.digest()),
            };
            let create = Action::new(name, Act::Create(create));
            let submitted = self.act_with(key, create, Some(weights)).await?;
            self.keep()?;
            Ok(Created { submitted, terms, plan })
        })
    }
}

/// How large proposals may be where nobody says: networks keep their size, and what is not made of arrays
/// of fixed shapes, such as boosted trees, grows with every round.
fn largest(model: &Model) -> u64 {
    match model.media_type == SAFETENSORS {
        true => (2 * model.size).max(1 << 20),
        false => (64 * model.size).max(64 << 20),
    }
}
