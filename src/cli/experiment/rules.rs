//! The flags that say an experiment's rules, and who may join.

use std::path::PathBuf;

use clap::Args;
use colearn_contracts::{
    Admission, BallotKind, Close, Invitation, LearnerId, Parameters, PrivacyCap, Selection,
    Threshold,
};
use colearn_records::keys;
use colearn_records::plan::{Plan, privacy_cap};

use crate::cli::args::{MergingArgs, duration_ms, word};

/// The rules, each overriding the plan's.
#[derive(Args, Default)]
pub(crate) struct Rules {
    /// The share of the electorate that must approve: at least 2/3, or more than >1/2 [default: 1/2]
    #[arg(long, value_name = "[>]N/D")]
    threshold: Option<Threshold>,
    /// Who proposes next [default: round_robin]
    #[arg(long, value_parser = word::<Selection>())]
    selection: Option<Selection>,
    /// How long a proposer has [default: 10m]
    #[arg(long, value_parser = duration_ms, value_name = "TIME")]
    proposal_deadline: Option<u64>,
    /// How long the voters have; with sealed ballots, to commit [default: 10m]
    #[arg(long, value_parser = duration_ms, value_name = "TIME")]
    vote_deadline: Option<u64>,
    /// How long the voters have to reveal sealed ballots [default: 10m]
    #[arg(long, value_parser = duration_ms, value_name = "TIME")]
    reveal_deadline: Option<u64>,
    /// When voting ends before its deadline [default: all]
    #[arg(long, value_parser = word::<Close>())]
    close: Option<Close>,
    /// How votes are cast [default: open]
    #[arg(long, value_parser = word::<BallotKind>())]
    ballot: Option<BallotKind>,
    /// Rounds open only while there are at least this many members [default: 2]
    #[arg(long, value_name = "N")]
    min_learners: Option<u32>,
    /// Finish after this many rounds [default: never]
    #[arg(long, value_name = "N")]
    max_rounds: Option<u64>,
    /// Finish after this many rejected proposals in a row [default: never]
    #[arg(long, value_name = "N")]
    patience: Option<u64>,
    /// Suspend who misses this many turns in a row; 0 for never [default: 3]
    #[arg(long, value_name = "N")]
    missed_turns: Option<u32>,
    /// Pause after this many rotations without a proposal; 0 for never [default: 1]
    #[arg(long, value_name = "N")]
    idle_rotations: Option<u32>,
    /// The most each learner may reveal in all: epsilon, then delta [default: no cap]
    #[arg(long, num_args = 2, value_names = ["EPSILON", "DELTA"])]
    privacy_cap: Vec<f64>,
    /// The largest proposal, in bytes [default: twice the initial model, at least 1 MiB]
    #[arg(long, value_name = "BYTES")]
    max_weights_bytes: Option<u64>,
    /// The share of all that are admitted that must approve a motion; at least 1/2 [default: >1/2]
    #[arg(long, value_name = "[>]N/D")]
    governance_threshold: Option<Threshold>,
    /// How long members have to vote on a motion [default: 7days]
    #[arg(long, value_parser = duration_ms, value_name = "TIME")]
    motion_deadline: Option<u64>,
    /// Let the creator alone stop the experiment
    #[arg(long)]
    creator_may_stop: bool,
    #[command(flatten)]
    merging: MergingArgs,
}

impl Rules {
    /// These rules on top of others.
    pub(crate) fn apply(&self, parameters: &mut Parameters) -> anyhow::Result<()> {
        fn set<T: Copy>(to: &mut T, given: Option<T>) {
            if let Some(given) = given {
                *to = given;
            }
        }
        let or_never = |to: &mut Option<u32>, given: Option<u32>| {
            if let Some(most) = given {
                *to = Some(most).filter(|most| *most > 0);
            }
        };
        set(&mut parameters.threshold, self.threshold);
        set(&mut parameters.selection, self.selection);
        set(&mut parameters.proposal_deadline_ms, self.proposal_deadline);
        set(&mut parameters.vote_deadline_ms, self.vote_deadline);
        set(&mut parameters.reveal_deadline_ms, self.reveal_deadline);
        set(&mut parameters.close, self.close);
        set(&mut parameters.ballot, self.ballot);
        set(&mut parameters.min_learners, self.min_learners);
        set(&mut parameters.max_rounds, self.max_rounds.map(Some));
        set(&mut parameters.patience, self.patience.map(Some));
        or_never(&mut parameters.missed_turns, self.missed_turns);
        or_never(&mut parameters.idle_rotations, self.idle_rotations);
        set(&mut parameters.privacy, self.cap()?.map(Some));
        set(&mut parameters.max_weights_bytes, self.max_weights_bytes);
        set(&mut parameters.governance_threshold, self.governance_threshold.map(Some));
        set(&mut parameters.motion_deadline_ms, self.motion_deadline);
        parameters.creator_may_stop |= self.creator_may_stop;
        self.merging.apply(&mut parameters.merging);
        Ok(())
    }

    pub(crate) fn limits_weights(&self) -> bool {
        self.max_weights_bytes.is_some()
    }

    fn cap(&self) -> anyhow::Result<Option<PrivacyCap>> {
        match self.privacy_cap.as_slice() {
            &[epsilon, delta] => Ok(Some(privacy_cap(epsilon, delta).map_err(anyhow::Error::msg)?)),
            _ => Ok(None),
        }
    }
}

/// Who may join.
#[derive(Args)]
pub(crate) struct Admitted {
    /// A plan file (TOML) with the rules and who may join; flags override it
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Let anyone join
    #[arg(long, conflicts_with_all = ["invite", "founder"])]
    open: bool,
    /// Let this learner join: a public key, what its vote weighs if not 1, whether it only judges, and
    /// what it is called, for example 3b6a27bc...=2:judge:City Hospital; may be repeated
    #[arg(long, value_name = "PUBLIC_KEY[=WEIGHT][:judge][:NAME]", value_parser = parse_share,
          conflicts_with = "founder")]
    invite: Vec<Invitation>,
    /// Let this learner join, and others whom the members admit by a vote; may be repeated
    #[arg(long, value_name = "PUBLIC_KEY[=WEIGHT][:judge][:NAME]", value_parser = parse_share)]
    founder: Vec<Invitation>,
}

/// Reads an invitation: a public key, a weight, whether it is a judge's, and a name.
pub(crate) fn parse_share(text: &str) -> Result<Invitation, String> {
    let (share, rest) = text.split_once(':').unwrap_or((text, ""));
    let (key, weight) = share.split_once('=').unwrap_or((share, "1"));
    let learner: LearnerId = keys::parse_learner_id(key)?;
    let weight = weight.parse().map_err(|_| format!("{weight} is not a weight"))?;
    let (judge, name) = match rest.split_once(':') {
        Some(("judge", name)) => (true, name),
        None if rest == "judge" => (true, ""),
        // A name may have colons of its own.
        Some(_) | None => (false, rest),
    };
    let name = match name {
        "" => None,
        name => Some(name.parse().map_err(|error| format!("{name:?}: {error}"))?),
    };
    Ok(Invitation { learner, weight, judge, name })
}

impl Admitted {
    /// The plan file's plan, or an empty one, with who may join as the flags say.
    pub(crate) fn plan(&self) -> anyhow::Result<Plan> {
        let mut plan = match &self.plan {
            Some(path) => Plan::read(path)?,
            None => Plan::default(),
        };
        let sorted = |shares: &[Invitation]| {
            let mut shares = shares.to_vec();
            shares.sort_by_key(|share| share.learner);
            shares.dedup();
            shares
        };
        if self.open {
            plan.admission = Some(Admission::Open);
        } else if !self.invite.is_empty() {
            plan.admission = Some(Admission::Invited(sorted(&self.invite)));
        } else if !self.founder.is_empty() {
            plan.admission = Some(Admission::ByVote(sorted(&self.founder)));
        }
        Ok(plan)
    }

    /// Whether there is a plan file.
    pub(crate) fn has_plan(&self) -> bool {
        self.plan.is_some()
    }
}
