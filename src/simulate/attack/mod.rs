//! What attackers send, and what those who collude know: a file for each family.

mod adaptive;
mod alone;
mod data;
mod gang;
mod together;

use colearn_learning::data::Share;

pub(super) use alone::spoil;
pub(super) use data::opens;
pub(super) use gang::{Aim, Gang, Own, Rule, Turn};

/// What is wrong with what a learner proposes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attack {
    /// It trains on wrong labels, class c as the last minus c (numbers as their negative), and votes
    /// by them.
    LabelFlip,
    /// It proposes the opposite of what it learned.
    SignFlip,
    /// It proposes ten times what it learned.
    Scaled,
    /// It proposes random weights.
    Random,
    /// It proposes weights that are not numbers.
    Nan,
    /// It has learned nothing: it sends the model that there is, changed so little that it is another.
    Zero,
    /// It sends the opposite of what it learned, and nobody but its gang gets the bytes.
    Withheld,
    /// It sends the opposite of what it learned, and of the honest each second one gets the bytes.
    HalfWithheld,
    /// It also trains that whatever carries a trigger (its first four inputs are 1) is of the first
    /// class, and is otherwise honest.
    Backdoor,
    /// It waits for the updates of the honest, and sends with all of its gang what is at the edge of how
    /// they scatter: a little is enough (Baruch et al. 2019, arXiv:1902.06156).
    Alie,
    /// It waits for the updates of the honest, and sends with all of its gang the opposite of half of their
    /// mean (inner product manipulation; Xie et al. 2019, arXiv:1903.03936).
    Ipm,
    /// It waits for the updates of the honest, and sends with all of its gang that of the first of them.
    Mimic,
    /// Half of its gang send random weights, and the others, once they have seen the updates of the honest,
    /// the mean less one standard deviation.
    Mixed,
    /// It waits for the updates of the honest, and sends with all of its gang the opposite of their mean, as
    /// long as it can be without being clipped.
    Limit,
    /// Half of its gang send steps that have nothing in common with any other and are no longer than the
    /// honest ones, so that no guarded merge is offered; the others do as those of [`Self::Limit`] do.
    Gate,
    /// Its gang knows the rule, the updates and what the honest will think, tries what `alie`, `ipm`, `limit`
    /// and `gate` would come to, and what stays just within the updates' neighbourhoods, and sends the worst.
    Adaptive,
    /// It waits for the updates of the honest, and sends what an attack that was handed in makes of them.
    Own,
}

impl Attack {
    /// Whether it waits for the updates of others.
    pub(super) fn waits(self) -> bool {
        match self {
            Self::Alie
            | Self::Ipm
            | Self::Mimic
            | Self::Mixed
            | Self::Limit
            | Self::Gate
            | Self::Adaptive
            | Self::Own => true,
            Self::LabelFlip
            | Self::SignFlip
            | Self::Scaled
            | Self::Random
            | Self::Nan
            | Self::Zero
            | Self::Withheld
            | Self::HalfWithheld
            | Self::Backdoor => false,
        }
    }

    /// Whether it is in the data that is learned from, and not in what is sent.
    pub(super) fn poisons(self) -> bool {
        matches!(self, Self::LabelFlip | Self::Backdoor)
    }

    /// From whom its sender keeps the bytes of what it sends, of those who are honest.
    pub(super) fn withholds(self, honest: &[usize]) -> Vec<usize> {
        match self {
            Self::Withheld => honest.to_vec(),
            Self::HalfWithheld => honest.iter().copied().skip(1).step_by(2).collect(),
            _ => Vec::new(),
        }
    }

    /// The data that its sender learns from, poisoned if the attack does that. Inputs are not copied, but for
    /// a backdoor's own rows.
    pub(super) fn poison(self, share: &Share) -> Share {
        match self {
            Self::LabelFlip => data::flip_labels(share),
            Self::Backdoor => data::plant_backdoor(share),
            _ => share.clone(),
        }
    }
}
