//! What a learner looks at before it joins.

use colearn_contracts::{Digest, LearnerId, Version, terms};
use colearn_records::convert::ExperimentState;
use colearn_records::pins::Pins;
use colearn_records::plan::{Plan, agreements_line};

use super::ClientError;
use crate::learner::Privacy;
use crate::participant::Membership;

/// Who would join.
#[derive(Clone, Copy)]
pub(super) struct Joiner {
    pub(super) me: LearnerId,
    /// What its training takes.
    pub(super) privacy: Option<Privacy>,
}

/// Whether what the node shows of an experiment fits together, and is what is to be joined: by this
/// one, if that is known already.
///
/// # Errors
/// [`ClientError::Terms`], [`ClientError::OtherPlan`], [`ClientError::NotPrivate`] or
/// [`ClientError::DeltaOverCap`].
pub(super) fn check(
    plan: Option<&Plan>,
    experiment: &ExperimentState,
    membership: Membership,
    joiner: Option<Joiner>,
) -> Result<(), ClientError> {
    let ExperimentState { version, creator, parameters, admission, .. } = experiment;
    let terms = terms(*version, *creator, parameters, admission);
    // What is joined under is a digest: it says nothing unless it is that of what was looked at.
    if *version > Version::V1 && experiment.terms != terms {
        return Err(ClientError::Terms);
    }
    // Whoever takes part has agreed; what the members decide from then on is theirs.
    if membership != Membership::Outside {
        return Ok(());
    }
    if let Some(joiner) = joiner {
        joiner.check_privacy(experiment)?;
    }
    let Some(plan) = plan else { return Ok(()) };
    let shown = Plan {
        name: Some(experiment.name.clone()),
        parameters: parameters.clone(),
        limits_weights: true,
        admission: Some(admission.clone()),
        agreements: Vec::new(),
        terms: Some(terms),
        pins: Pins::default(),
    };
    let mut difference = match plan.terms == Some(terms) {
        true => Vec::new(),
        false => plan.difference(&shown),
    };
    if !stands_on(plan, &shown, experiment.plan) {
        let agreements = agreements_line(&plan.agreements);
        difference.push(format!("- agreement = {agreements}"));
        difference.push(match experiment.plan {
            Some(digest) => format!("+ (created from another plan, of digest {digest})"),
            None => "+ (created from no plan)".to_owned(),
        });
    }
    if difference.is_empty() { Ok(()) } else { Err(ClientError::OtherPlan(difference)) }
}

/// Whether an experiment was created from a plan with these agreements: its rules were then those that it has now, or
/// those of this plan.
fn stands_on(plan: &Plan, shown: &Plan, recorded: Option<Digest>) -> bool {
    if plan.agreements.is_empty() {
        return true;
    }
    let agreed = |rules: &Plan| Plan { agreements: plan.agreements.clone(), ..rules.clone() };
    let mut own = plan.clone();
    own.name = shown.name.clone();
    own.admission = plan.admission.clone().or_else(|| shown.admission.clone());
    if !plan.limits_weights {
        own.parameters.max_weights_bytes = shown.parameters.max_weights_bytes;
    }
    recorded.is_some() && [agreed(shown), own].iter().any(|it| recorded == Some(it.digest()))
}

impl Joiner {
    /// Who only judges proposes nothing (R65).
    pub(super) fn only_judges(&self, experiment: &ExperimentState) -> bool {
        let invitations = experiment.admission.invitations();
        invitations.iter().any(|it| it.learner == self.me && it.judge)
    }

    /// Whoever could only pass its turns is told so before it is a member.
    fn check_privacy(&self, experiment: &ExperimentState) -> Result<(), ClientError> {
        let Some(cap) = experiment.parameters.privacy else { return Ok(()) };
        if self.only_judges(experiment) {
            return Ok(());
        }
        match self.privacy {
            None => Err(ClientError::NotPrivate { cap }),
            Some(Privacy { delta_picos, .. }) if delta_picos > cap.delta_picos => {
                Err(ClientError::DeltaOverCap { delta_picos, cap })
            }
            Some(_) => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use colearn_contracts::{
        Admission, Context, CreateExperiment, Digest, Experiment, Invitation, LearnerId, Model,
        Moment, Parameters, PrivacyCap, PrivacySegment,
    };
    use colearn_records::plan::Agreement;

    use super::*;

    const CAP: PrivacyCap = PrivacyCap { epsilon_micros: 3_000_000, delta_picos: 10_000_000 };

    /// Somebody who is not named, and trains without privacy.
    fn stranger() -> Joiner {
        Joiner { me: LearnerId([9; 32]), privacy: None }
    }

    fn private(delta_picos: u64) -> Joiner {
        let segment = PrivacySegment {
            noise_micros: 1_000_000,
            clip_micros: 1_000_000,
            sampling_nanos: 10_000_000,
            steps: 10,
        };
        let privacy = Privacy { segment, delta_picos, max_epsilon_micros: None };
        Joiner { privacy: Some(privacy), ..stranger() }
    }

    fn described(version: Version) -> ExperimentState {
        described_with(version, Parameters::default(), Admission::Open)
    }

    fn described_with(
        version: Version,
        parameters: Parameters,
        admission: Admission,
    ) -> ExperimentState {
        let model = Model { digest: Digest([1; 32]), size: 1, media_type: "text/plain".to_owned() };
        let create = CreateExperiment {
            version: version.number(),
            parameters,
            admission,
            model,
            plan: None,
        };
        let (ledger, at) = (Digest([2; 32]), Moment::without_ledger(0));
        let context = Context { ledger, version, at, max_members: u32::MAX };
        let creator = LearnerId([3; 32]);
        let experiment = Experiment::create(context, "x".parse().unwrap(), creator, &create);
        ExperimentState::of(&experiment.unwrap(), 0)
    }

    #[test]
    fn the_terms_are_those_of_what_is_shown() {
        let shown = described(Version::V2);
        assert!(check(None, &shown, Membership::Outside, Some(stranger())).is_ok());
        for wrong in [
            ExperimentState { terms: Digest([0; 32]), ..shown.clone() },
            ExperimentState { creator: LearnerId([4; 32]), ..shown.clone() },
            ExperimentState { admission: Admission::invite([LearnerId([4; 32])]), ..shown },
        ] {
            let told = check(None, &wrong, Membership::Member, Some(stranger()));
            assert!(matches!(told, Err(ClientError::Terms)), "{told:?}");
        }
        // Where nobody names them, an older node need not have said them.
        let first = ExperimentState { terms: Digest([0; 32]), ..described(Version::V1) };
        assert!(check(None, &first, Membership::Outside, Some(stranger())).is_ok());
    }

    #[test]
    fn what_does_not_follow_the_plan_is_not_joined() {
        let shown = described(Version::V2);
        let plan = |text: &str| Plan::parse(text).unwrap();
        let told =
            |text: &str, membership| check(Some(&plan(text)), &shown, membership, Some(stranger()));
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

    #[test]
    fn who_could_propose_nothing_under_a_cap_is_told_before_it_joins() {
        let capped = Parameters { privacy: Some(CAP), ..Parameters::default() };
        for version in [Version::V1, Version::V2] {
            let shown = described_with(version, capped.clone(), Admission::Open);
            let join = |joiner| check(None, &shown, Membership::Outside, Some(joiner));
            let told = join(stranger()).unwrap_err().to_string();
            assert!(told.contains("epsilon 3 at delta 1e-5") && told.contains("--noise"), "{told}");
            assert!(join(private(10_000_000)).is_ok());
            let told = join(private(10_000_001)).unwrap_err();
            assert!(matches!(told, ClientError::DeltaOverCap { .. }), "{told}");
            // Who is a member already still votes.
            assert!(check(None, &shown, Membership::Member, Some(stranger())).is_ok());
        }
        // And so does who only judges.
        let me = stranger().me;
        let judge = Invitation { judge: true, ..Invitation::new(me, 1) };
        let trainer = Invitation::new(LearnerId([4; 32]), 1);
        let invited = Admission::Invited(vec![trainer, judge]);
        let shown = described_with(Version::V2, capped, invited);
        assert!(check(None, &shown, Membership::Outside, Some(stranger())).is_ok());
        let other = Joiner { me: LearnerId([4; 32]), ..stranger() };
        assert!(check(None, &shown, Membership::Outside, Some(other)).is_err());
    }

    #[test]
    fn agreements_of_a_plan_are_those_that_the_experiment_was_created_under() {
        let mut state = described(Version::V2);
        let called = |title: &str| vec![Agreement::new(title, Digest([4; 32])).unwrap()];
        let agreeing = |title: &str| Plan { agreements: called(title), ..Plan::default() };
        let recorded = |state: &ExperimentState, agreements| {
            let plan = Plan {
                name: Some(state.name.clone()),
                parameters: state.parameters.clone(),
                limits_weights: true,
                admission: Some(state.admission.clone()),
                agreements,
                ..Plan::default()
            };
            Some(plan.digest())
        };
        let is_it = |plan: &Plan, state: &ExperimentState| match check(
            Some(plan),
            state,
            Membership::Outside,
            None,
        ) {
            Ok(()) => true,
            Err(ClientError::OtherPlan(difference)) => {
                assert!(difference[0].starts_with("- agreement = [{"), "{difference:?}");
                false
            }
            Err(error) => panic!("{error}"),
        };
        // From no plan, and from one without any.
        assert!(!is_it(&agreeing("Data"), &state));
        state.plan = recorded(&state, Vec::new());
        assert!(!is_it(&agreeing("Data"), &state) && is_it(&Plan::default(), &state));
        state.plan = recorded(&state, called("Data"));
        assert!(is_it(&agreeing("Data"), &state) && !is_it(&agreeing("Date"), &state));
        // Terms say nothing of agreements.
        let pinned = |title| Plan { terms: Some(state.terms), ..agreeing(title) };
        assert!(is_it(&pinned("Data"), &state) && !is_it(&pinned("Date"), &state));
        // Who has the plan as it was can follow it when the members have changed the rules since.
        let parameters = Parameters { patience: Some(7), ..Parameters::default() };
        let mut changed = described_with(Version::V2, parameters, Admission::Open);
        changed.plan = recorded(&state, called("Data"));
        let first = Plan { terms: Some(changed.terms), ..agreeing("Data") };
        assert!(is_it(&first, &changed));
    }
}
