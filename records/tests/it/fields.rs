//! What a message leaves out or gets wrong is named, and never read as something else.

use bytes::Bytes;
use colearn_contracts::*;
use colearn_proto::v1::{self, transaction::Action as Wire};
use colearn_records::convert::{self, BadField};

fn name() -> ExperimentName {
    "x".parse().unwrap()
}

fn short() -> Bytes {
    Bytes::from_static(&[1; 31])
}

fn key(byte: u8) -> Bytes {
    vec![byte; 32].into()
}

/// The message of a vote, or of what `change` makes of it, as it is refused.
fn vote(change: impl FnOnce(&mut v1::Vote)) -> &'static str {
    let mut message = v1::Vote {
        experiment: "x".to_owned(),
        round: 1,
        weights: key(1),
        scores: Some(v1::Scores::default()),
        ..v1::Vote::default()
    };
    assert!(convert::action(Wire::Vote(message.clone())).is_ok());
    change(&mut message);
    let reveal = v1::Reveal { vote: Some(message.clone()), salt: key(2) };
    let BadField(field) = convert::action(Wire::Vote(message)).unwrap_err();
    assert_eq!(convert::action(Wire::Reveal(reveal)), Err(BadField(field)), "in a ballot too");
    field
}

/// Why a message is refused that is written for an act, and then changed.
fn refused(what: Act, change: impl FnOnce(&mut Wire)) -> &'static str {
    let action = Action::new(name(), what);
    let mut message = convert::action_message(&action);
    assert_eq!(convert::action(message.clone()), Ok(action));
    change(&mut message);
    convert::action(message).unwrap_err().0
}

/// Changes the message of one kind of act.
macro_rules! of {
    ($kind:ident, $change:expr) => {
        |wire: &mut Wire| match wire {
            Wire::$kind(message) => $change(message),
            other => panic!("not {other:?}"),
        }
    };
}

#[test]
fn a_vote_says_one_thing() {
    assert_eq!(vote(|it| (it.approve, it.abstain) = (true, true)), "abstain");
    for unknown in [8, 77, -1] {
        assert_eq!(vote(|it| it.reason = unknown), "reason");
    }
    assert_eq!(vote(|it| it.link = short()), "link");
    assert_eq!(vote(|it| it.link = vec![1; 33].into()), "link");
    assert_eq!(vote(|it| it.weights = short()), "weights");
    assert_eq!(vote(|it| it.scores = None), "scores");
    assert!(vote(|it| it.experiment = "X".to_owned()).starts_with("experiment"));
    let pass = Act::Pass { round: 1, exhausted: false, reason: Some(Reason::Policy) };
    assert_eq!(refused(pass, of!(Pass, |it: &mut v1::Pass| it.reason = 8)), "reason");
    let commit =
        Commit { round: 1, weights: Digest([1; 32]), commitment: Digest([2; 32]), link: None };
    let linked = of!(Commit, |it: &mut v1::Commit| it.link = short());
    assert_eq!(refused(Act::Commit(commit.clone()), linked), "link");
    let committed = of!(Commit, |it: &mut v1::Commit| it.commitment = Bytes::new());
    assert_eq!(refused(Act::Commit(commit), committed), "commitment");
    let vote = convert::action_message(&Action::new(
        name(),
        Act::Reveal(Reveal {
            vote: Vote {
                round: 1,
                weights: Digest([1; 32]),
                choice: Choice::Abstain,
                reason: Some(Reason::Unavailable),
                scores: Scores::default(),
                link: None,
            },
            salt: [3; 32],
        }),
    ));
    let Wire::Reveal(mut reveal) = vote else { panic!("a reveal") };
    reveal.salt = short();
    assert_eq!(convert::action(Wire::Reveal(reveal)), Err(BadField("salt")));
}

#[test]
fn a_join_names_whole_terms_and_a_name_that_can_be_shown() {
    let join = || Act::Join(Join::new(0, Some(Digest([1; 32]))));
    let terms = of!(JoinExperiment, |it: &mut v1::JoinExperiment| it.terms = short());
    assert_eq!(refused(join(), terms), "terms");
    for bad in [" a", "a ", "a\nb", "a\u{202e}b", "\u{200b}", &"x".repeat(65)] {
        let called = of!(JoinExperiment, |it: &mut v1::JoinExperiment| it.name = bad.to_owned());
        assert!(refused(join(), called).starts_with("name (R64"), "{bad:?}");
    }
}

fn create(admission: Admission) -> Act {
    Act::Create(CreateExperiment {
        version: VERSION.number(),
        parameters: Parameters::default(),
        admission,
        model: Model { digest: Digest([0; 32]), size: 1, media_type: "m".to_owned() },
        plan: None,
    })
}

/// Why the creation of an experiment is refused whose parameters are changed.
fn ruled(change: impl FnOnce(&mut v1::Parameters)) -> &'static str {
    let of = of!(CreateExperiment, |it: &mut v1::CreateExperiment| {
        change(it.parameters.as_mut().unwrap());
    });
    refused(create(Admission::Open), of)
}

/// Why the creation of an experiment is refused whose two invitations are changed.
fn invited(change: fn(&mut v1::InvitedAdmission)) -> &'static str {
    let invitation = |byte: u8| Invitation {
        name: Some(format!("Hospital {byte}").parse().unwrap()),
        judge: byte == 2,
        ..Invitation::new(LearnerId([byte; 32]), u32::from(byte))
    };
    let invitations = || vec![invitation(1), invitation(2)];
    let change = |it: &mut v1::CreateExperiment| {
        use v1::parameters::Admission::{ByVote, Invited, Open};
        match it.parameters.as_mut().unwrap().admission.as_mut().unwrap() {
            Invited(invited) | ByVote(invited) => change(invited),
            Open(_) => panic!("some are invited"),
        }
    };
    let one = refused(create(Admission::Invited(invitations())), of!(CreateExperiment, change));
    let other = refused(create(Admission::ByVote(invitations())), of!(CreateExperiment, change));
    assert_eq!(one, other);
    one
}

#[test]
fn the_rules_of_an_experiment_are_known_ones() {
    assert_eq!(ruled(|it| it.selection = 7), "selection");
    assert_eq!(ruled(|it| it.close = 7), "close");
    assert_eq!(ruled(|it| it.ballot = -1), "ballot");
    assert_eq!(ruled(|it| it.threshold = None), "threshold");
    assert_eq!(ruled(|it| it.admission = None), "admission");
    let plan = of!(CreateExperiment, |it: &mut v1::CreateExperiment| it.plan = short());
    assert_eq!(refused(create(Admission::Open), plan), "plan");
    let model = of!(CreateExperiment, |it: &mut v1::CreateExperiment| it.model = None);
    assert_eq!(refused(create(Admission::Open), model), "model");
}

#[test]
fn an_invitation_has_one_form() {
    assert_eq!(invited(|it| it.weights.push(1)), "weights");
    assert_eq!(invited(|it| it.weights.truncate(1)), "weights");
    assert_eq!(invited(|it| it.names.push(String::new())), "names");
    assert_eq!(invited(|it| it.names.truncate(1)), "names");
    assert!(invited(|it| it.names[0] = "\u{7f}".to_owned()).starts_with("name (R64"));
    assert_eq!(invited(|it| it.learners[1] = short()), "learners");
    // The places of the judges ascend, and are places.
    assert_eq!(invited(|it| it.judges = vec![1, 0]), "judges");
    assert_eq!(invited(|it| it.judges = vec![1, 1]), "judges");
    assert_eq!(invited(|it| it.judges = vec![2]), "judges");
    assert_eq!(invited(|it| it.judges = vec![u32::MAX]), "judges");
}

#[test]
fn a_statement_of_privacy_has_one_form() {
    let segment = PrivacySegment { noise_micros: 1, clip_micros: 2, sampling_nanos: 3, steps: 4 };
    let propose = |training| {
        Act::Propose(Proposal {
            round: 1,
            base: Digest([0; 32]),
            weights: Model { digest: Digest([1; 32]), size: 1, media_type: "m".to_owned() },
            scores: Scores::default(),
            privacy: Some(PrivacySpent { epsilon_micros: 5, delta_picos: 6, training }),
        })
    };
    let all = || propose(PrivateTraining::All(vec![segment]));
    for field in [
        |it: &mut v1::PrivacySpent| it.noise_micros = 1,
        |it: &mut v1::PrivacySpent| it.clip_micros = 1,
        |it: &mut v1::PrivacySpent| it.sampling_nanos = 1,
        |it: &mut v1::PrivacySpent| it.steps = 1,
    ] {
        let change = |it: &mut v1::Propose| field(it.privacy.as_mut().unwrap());
        assert_eq!(refused(all(), of!(Propose, change)), "segments", "as both versions have it");
    }
    let both = |it: &mut v1::Propose| {
        it.privacy.as_mut().unwrap().segments.push(v1::PrivacySegment::default());
    };
    let last = propose(PrivateTraining::Last(segment));
    assert_eq!(refused(last, of!(Propose, both)), "segments", "as both versions have it");
}

#[test]
fn motions_and_evaluations_say_what_is_known_here() {
    let moves = |motion| Act::Move { number: 1, motion };
    for unknown in [0, 3, u32::MAX] {
        let other = |it: &mut v1::Move| it.motion = Some(v1::r#move::Motion::Adopt(unknown));
        let field = refused(moves(Motion::Adopt(Version::V2)), of!(Move, other));
        assert_eq!(field, "adopt (a later colearn knows the version)");
    }
    let admit = Motion::Admit(Invitation::new(LearnerId([1; 32]), 1));
    let named = |it: &mut v1::Move| match &mut it.motion {
        Some(v1::r#move::Motion::Admit(admit)) => admit.name = "\u{1b}[31m".to_owned(),
        other => panic!("not {other:?}"),
    };
    assert!(refused(moves(admit), of!(Move, named)).starts_with("name (R64"));
    let opened = |it: &mut v1::Move| match &mut it.motion {
        Some(v1::r#move::Motion::SetParameters(rules)) => {
            rules.admission = Some(v1::parameters::Admission::Open(v1::OpenAdmission {}));
        }
        other => panic!("not {other:?}"),
    };
    let set = moves(Motion::SetParameters(Box::default()));
    assert_eq!(refused(set, of!(Move, opened)), "admission");
    let expelled = |it: &mut v1::Move| it.motion = Some(v1::r#move::Motion::Expel(short()));
    assert_eq!(refused(moves(Motion::Stop), of!(Move, expelled)), "expel");
    assert_eq!(
        refused(moves(Motion::Stop), of!(Move, |it: &mut v1::Move| it.motion = None)),
        "motion"
    );

    let measure = Measure { name: "accuracy".parse().unwrap(), value_micros: -1 };
    let evaluate = || {
        let model = Digest([1; 32]);
        Act::Evaluate(Evaluation { number: 1, model, measures: vec![measure.clone()] })
    };
    let model = of!(Evaluate, |it: &mut v1::Evaluate| it.model = short());
    assert_eq!(refused(evaluate(), model), "model");
    for bad in ["", "1st", "Accuracy", "a b", &"x".repeat(33)] {
        let named = of!(Evaluate, |it: &mut v1::Evaluate| it.measures[0].name = bad.to_owned());
        assert!(refused(evaluate(), named).starts_with("measures (R66"), "{bad:?}");
    }
}

#[test]
fn an_outcome_of_an_unknown_kind_is_none() {
    let refused = |decision: Decision, change: fn(&mut v1::outcome::Decision)| {
        let mut message = convert::outcome_message(&Outcome::new(name(), decision));
        change(message.decision.as_mut().unwrap());
        convert::outcome(message).unwrap_err().0
    };
    use v1::outcome::Decision as Wire;
    let closed = Decision::RoundClosed {
        round: 1,
        verdict: Verdict::Accepted,
        approvals: 1,
        rejections: 0,
        abstentions: 0,
        unavailable: 0,
        electorate: 1,
        model: Digest([1; 32]),
    };
    for change in [
        |it: &mut Wire| {
            if let Wire::RoundClosed(it) = it {
                it.verdict = 77
            }
        },
        |it: &mut Wire| {
            if let Wire::RoundClosed(it) = it {
                it.verdict = 0
            }
        },
    ] {
        assert_eq!(refused(closed.clone(), change), "verdict");
    }
    let paused = Decision::Paused { reason: PauseReason::OnlyJudges };
    let change = |it: &mut Wire| {
        if let Wire::Paused(it) = it {
            it.reason = 77
        }
    };
    assert_eq!(refused(paused, change), "reason");
    let suspended =
        Decision::Suspended { learner: LearnerId([1; 32]), reason: SuspendReason::Decided };
    let change = |it: &mut Wire| {
        if let Wire::Suspended(it) = it {
            it.reason = 77
        }
    };
    assert_eq!(refused(suspended, change), "reason");
    let (reason, model) = (FinishReason::Abandoned, Digest([1; 32]));
    let finished = Decision::Finished { reason, rounds: 1, model };
    let change = |it: &mut Wire| {
        if let Wire::Finished(it) = it {
            it.reason = 77
        }
    };
    assert_eq!(refused(finished.clone(), change), "reason");
    let change = |it: &mut Wire| {
        if let Wire::Finished(it) = it {
            it.model = Bytes::new()
        }
    };
    assert_eq!(refused(finished, change), "model");
    let nothing = v1::Outcome { experiment: "x".to_owned(), decision: None };
    assert_eq!(convert::outcome(nothing), Err(BadField("decision")));
}
