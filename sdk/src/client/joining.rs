//! What a learner looks at before it joins.

use colearn_contracts::{Version, terms};
use colearn_records::convert::ExperimentState;
use colearn_records::pins::Pins;
use colearn_records::plan::Plan;

use super::ClientError;
use crate::participant::Membership;

/// Whether what the node shows of an experiment fits together, and is what is to be joined.
///
/// # Errors
/// [`ClientError::Terms`] or [`ClientError::OtherPlan`].
pub(super) fn check(
    plan: Option<&Plan>,
    experiment: &ExperimentState,
    membership: Membership,
) -> Result<(), ClientError> {
    let ExperimentState { version, creator, parameters, admission, .. } = experiment;
    let terms = terms(*version, *creator, parameters, admission);
    // What is joined under is a digest: it says nothing unless it is that of what was looked at.
    if *version > Version::V1 && experiment.terms != terms {
        return Err(ClientError::Terms);
    }
    let Some(plan) = plan else { return Ok(()) };
    // Whoever takes part has agreed; what the members decide from then on is theirs.
    if membership != Membership::Outside || plan.terms == Some(terms) {
        return Ok(());
    }
    let difference = plan.difference(&Plan {
        name: Some(experiment.name.clone()),
        parameters: parameters.clone(),
        limits_weights: true,
        admission: Some(admission.clone()),
        terms: Some(terms),
        pins: Pins::default(),
    });
    if difference.is_empty() { Ok(()) } else { Err(ClientError::OtherPlan(difference)) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use colearn_contracts::{
        Admission, Context, CreateExperiment, Digest, Experiment, LearnerId, Model, Moment,
        Parameters,
    };

    use super::*;

    fn described(version: Version) -> ExperimentState {
        let model = Model { digest: Digest([1; 32]), size: 1, media_type: "text/plain".to_owned() };
        let create = CreateExperiment {
            version: version.number(),
            parameters: Parameters::default(),
            admission: Admission::Open,
            model,
            plan: None,
        };
        let (ledger, at) = (Digest([2; 32]), Moment::without_ledger(0));
        let context = Context { ledger, version, at };
        let creator = LearnerId([3; 32]);
        let experiment = Experiment::create(context, "x".parse().unwrap(), creator, &create);
        ExperimentState::of(&experiment.unwrap(), 0)
    }

    #[test]
    fn the_terms_are_those_of_what_is_shown() {
        let shown = described(Version::V2);
        assert!(check(None, &shown, Membership::Outside).is_ok());
        for wrong in [
            ExperimentState { terms: Digest([0; 32]), ..shown.clone() },
            ExperimentState { creator: LearnerId([4; 32]), ..shown.clone() },
            ExperimentState { admission: Admission::invite([LearnerId([4; 32])]), ..shown },
        ] {
            let told = check(None, &wrong, Membership::Member);
            assert!(matches!(told, Err(ClientError::Terms)), "{told:?}");
        }
        // Where nobody names them, an older node need not have said them.
        let first = ExperimentState { terms: Digest([0; 32]), ..described(Version::V1) };
        assert!(check(None, &first, Membership::Outside).is_ok());
    }

    #[test]
    fn what_does_not_follow_the_plan_is_not_joined() {
        let shown = described(Version::V2);
        let plan = |text: &str| Plan::parse(text).unwrap();
        let told = |text: &str, membership| check(Some(&plan(text)), &shown, membership);
        assert!(told("admission = \"open\"", Membership::Outside).is_ok());
        let other = told("vote_deadline = \"1h\"", Membership::Outside).unwrap_err();
        let message = other.to_string();
        assert!(message.contains("- vote_deadline = \"1h\"\n+ vote_deadline"), "{message}");
        assert!(told("vote_deadline = \"1h\"", Membership::Member).is_ok(), "it is a member");
        // The terms say it all.
        let terms = format!("vote_deadline = \"1h\"\nterms = \"{}\"", shown.terms);
        assert!(told(&terms, Membership::Outside).is_ok());
        let others = format!("terms = \"{}\"", Digest([7; 32]));
        let told = told(&others, Membership::Outside).unwrap_err().to_string();
        assert!(told.contains("- terms") && told.contains("+ terms"), "{told}");
    }
}
