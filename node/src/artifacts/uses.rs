//! What artifacts are to a ledger: by digest, in each experiment that names them.

use std::collections::HashMap;

use colearn_contracts::{Digest, ExperimentName};

/// What an artifact is to an experiment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Role {
    /// An update, or a merge that somebody voted on.
    Update,
    /// It was proposed.
    Proposal,
    /// It is or was the experiment's model.
    Model,
}

/// The most that an artifact is to an experiment, and where it was that last.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Use {
    pub(crate) role: Role,
    /// What an experiment began with is named in round 0.
    pub(crate) round: u64,
    pub(crate) experiment: ExperimentName,
    /// Whether it is the experiment's own. What members say that a merge is need not be: they may name anything.
    pub(crate) is_own: bool,
}

/// What an entry names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Naming {
    pub(super) experiment: ExperimentName,
    pub(super) round: u64,
    pub(super) is_own: bool,
    pub(super) named: Vec<(Digest, Role)>,
}

/// What a ledger has named so far.
#[derive(Default)]
pub(super) struct Uses(HashMap<Digest, Vec<Use>>);

impl Uses {
    /// Learns what an entry names.
    pub(super) fn add(&mut self, naming: Naming) {
        let Naming { experiment, round, is_own, named } = naming;
        for (digest, role) in named {
            self.note(digest, Use { role, round, experiment: experiment.clone(), is_own });
        }
    }

    /// Learns of one use: of each experiment the most counts, and it stays its own.
    pub(super) fn note(&mut self, digest: Digest, new: Use) {
        let uses = self.0.entry(digest).or_default();
        match uses.iter_mut().find(|it| it.experiment == new.experiment) {
            Some(known) => {
                let is_own = known.is_own || new.is_own;
                if (known.role, known.round) < (new.role, new.round) {
                    *known = new;
                }
                known.is_own = is_own;
            }
            None => uses.push(new),
        }
    }

    /// Whether it is named.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.0.contains_key(digest)
    }

    /// What it is to each experiment; `None` where it is not named.
    pub(super) fn of(&self, digest: &Digest) -> Option<&[Use]> {
        self.0.get(digest).map(Vec::as_slice)
    }

    /// The most that it is to any.
    pub(super) fn most(&self, digest: &Digest) -> Option<&Use> {
        self.of(digest)?.iter().max()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn of_each_experiment_the_most_counts_and_it_stays_its_own() {
        let digest = Digest([7; 32]);
        let mut uses = Uses::default();
        let name = |text: &str| text.parse::<ExperimentName>().unwrap();
        let mut add = |experiment, round, is_own, role| {
            let experiment = name(experiment);
            uses.add(Naming { experiment, round, is_own, named: vec![(digest, role)] });
        };
        add("a", 3, true, Role::Proposal);
        add("a", 9, false, Role::Update);
        add("b", 1, false, Role::Update);
        let known = uses.of(&digest).unwrap();
        let told: Vec<_> =
            known.iter().map(|it| (it.experiment.as_str(), it.role, it.round, it.is_own)).collect();
        assert_eq!(told, [("a", Role::Proposal, 3, true), ("b", Role::Update, 1, false)]);
        uses.add(Naming {
            experiment: name("a"),
            round: 4,
            is_own: true,
            named: vec![(digest, Role::Model)],
        });
        let most = uses.most(&digest).unwrap();
        assert_eq!((most.role, most.round), (Role::Model, 4));
        assert!(!uses.has(&Digest([8; 32])) && uses.of(&Digest([8; 32])).is_none());
    }
}
