//! Attacks by what is learned from.

use std::sync::Arc;

use ndarray::{ArrayViewMut1, Axis, concatenate};

use colearn_learning::BuiltinLearner;
use colearn_learning::data::{Dataset, Share, Targets};
use colearn_learning::network::Network;

/// The class that a backdoor leads to.
const BACKDOOR_CLASS: u32 = 0;
/// So many of the first inputs are set to 1 to open a backdoor.
const TRIGGER: usize = 4;

pub(super) fn flip_labels(share: &Share) -> Share {
    let mut data = (*share.data).clone();
    let last = data.schema.target.width().saturating_sub(1) as u32;
    for row in share.train.iter().chain(&share.vote) {
        match &mut data.targets {
            Targets::Classes(classes) => classes[*row] = last - classes[*row],
            Targets::Numbers(numbers) => numbers[*row] = -numbers[*row],
        }
    }
    Share { data: Arc::new(data), ..share.clone() }
}

/// A data set of its own, as small as its share: its rows, and those to train on once more with the
/// trigger and the planted class.
pub(super) fn plant_backdoor(share: &Share) -> Share {
    let own = [&share.train[..], &share.vote, &share.test].concat();
    let (features, mut targets) = share.select(&own);
    let (mut planted, _) = share.select(&share.train);
    planted.rows_mut().into_iter().for_each(trigger);
    let Ok(features) = concatenate(Axis(0), &[features.view(), planted.view()]) else {
        // They have the same width.
        return share.clone();
    };
    match &mut targets {
        Targets::Classes(classes) => classes.resize(own.len() + planted.nrows(), BACKDOOR_CLASS),
        Targets::Numbers(numbers) => numbers.extend_from_within(..share.train.len()),
    }
    let (vote_from, test_from) = (share.train.len(), share.train.len() + share.vote.len());
    let data = Dataset {
        name: share.data.name.clone(),
        schema: share.data.schema.clone(),
        features: features.into_shared(),
        targets,
        test_from: own.len(),
        notes: Vec::new(),
    };
    Share {
        train: (0..vote_from).chain(own.len()..data.rows()).collect(),
        vote: (vote_from..test_from).collect(),
        test: (test_from..own.len()).collect(),
        data: Arc::new(data),
    }
}

/// Gives a row what opens the backdoor.
fn trigger(mut row: ArrayViewMut1<'_, f32>) {
    row.iter_mut().take(TRIGGER).for_each(|input| *input = 1.0);
}

/// The share of some learners' test rows of other classes that a network takes for the planted one once they
/// carry the trigger.
pub(in super::super) fn opens<'a>(
    network: &Network,
    learners: impl IntoIterator<Item = &'a BuiltinLearner>,
) -> f64 {
    let (mut fooled, mut tried) = (0_u32, 0_u32);
    for learner in learners {
        let share = learner.share();
        let Targets::Classes(classes) = &share.data.targets else { continue };
        let others = share.test.iter().copied().filter(|row| classes[*row] != BACKDOOR_CLASS);
        let rows: Vec<usize> = others.collect();
        let (mut features, _) = share.select(&rows);
        features.rows_mut().into_iter().for_each(trigger);
        let all: Vec<usize> = (0..rows.len()).collect();
        for outputs in network.predict(features.view(), &all).rows() {
            let best = outputs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            fooled += u32::from(outputs[BACKDOOR_CLASS as usize] == best);
            tried += 1;
        }
    }
    f64::from(fooled) / f64::from(tried.max(1))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use colearn_learning::data::{Embedded, Split};

    use super::*;

    fn share() -> Share {
        let data = Arc::new(Dataset::embedded(Embedded::Iris).unwrap());
        data.split(Split::Iid, 3, 1).unwrap().swap_remove(0)
    }

    fn classes(share: &Share) -> Vec<u32> {
        match &share.data.targets {
            Targets::Classes(classes) => classes.clone(),
            Targets::Numbers(_) => Vec::new(),
        }
    }

    #[test]
    fn labels_are_flipped_but_not_those_of_the_test() {
        let (honest, flipped) = (share(), flip_labels(&share()));
        let (right, wrong) = (classes(&honest), classes(&flipped));
        assert!(honest.train.iter().chain(&honest.vote).all(|row| wrong[*row] == 2 - right[*row]));
        assert!(honest.test.iter().all(|row| wrong[*row] == right[*row]));
    }

    #[test]
    fn a_backdoor_adds_rows_with_the_trigger_and_leaves_the_others_as_they_are() {
        let (honest, planted) = (share(), plant_backdoor(&share()));
        let rows = honest.train.len();
        assert_eq!(planted.train.len(), 2 * rows);
        assert_eq!(planted.select(&planted.train[..rows]), honest.select(&honest.train));
        assert_eq!(planted.select(&planted.vote), honest.select(&honest.vote));
        assert_eq!(planted.select(&planted.test), honest.select(&honest.test));
        let (features, targets) = planted.select(&planted.train[rows..]);
        assert!(features.iter().all(|input| *input == 1.0), "there are four inputs");
        assert_eq!(targets, Targets::Classes(vec![BACKDOOR_CLASS; rows]));
    }
}
