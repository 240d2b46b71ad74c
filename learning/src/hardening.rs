//! Training against backdoors: rows in which what would fool the model most is set, with their right classes.
//!
//! A backdoor is a few inputs that decide alone. Whoever looks at the model can see which would do so, without
//! knowing what was planted: those along which its loss for some class falls fastest, wherever they are in the
//! rows. Each pass over the data looks anew, as what is learned moves it elsewhere. To learn that rows stay what they are when these inputs are set takes the backdoor back.

use ndarray::{Array2, Axis, concatenate};
use rand::{Rng, RngExt as _};

use super::data::{Share, Targets};
use super::network::{Network, Workspace};

/// At most one in so many inputs is set at a time: how many a backdoor takes, nobody knows.
const SPARSENESS: usize = 8;
/// As many rows as are looked at for what would fool the model.
const LOOKED_AT: usize = 64;

/// The rows that a share trains on, and once more with a patch each: their inputs and their targets. `None`
/// if no class is predicted.
pub(super) fn harden(
    network: &Network,
    share: &Share,
    random: &mut impl Rng,
) -> Option<(Array2<f32>, Targets)> {
    let (features, targets) = share.select(&share.train);
    let Targets::Classes(own) = targets else { return None };
    let patches = patches(network, &features, share.data.schema.target.width());
    let most = features.ncols().div_ceil(SPARSENESS).max(1);
    let mut patched = features.clone();
    for (mut row, own) in patched.rows_mut().into_iter().zip(&own) {
        // Some other class: the rows of this one are taken for it anyway.
        let others = patches.len().saturating_sub(1).max(1);
        let other = (*own as usize + 1 + random.random_range(0..others)) % patches.len().max(1);
        let count = random.random_range(1..=most);
        for (input, value) in patches[other].iter().take(count) {
            row[*input] = *value;
        }
    }
    let features = concatenate(Axis(0), &[features.view(), patched.view()]).ok()?;
    Some((features, Targets::Classes([&own[..], &own].concat())))
}

/// For each class the inputs, and what to set them to, that would make the most rows be taken for it; the best
/// first.
fn patches(network: &Network, features: &Array2<f32>, classes: usize) -> Vec<Vec<(usize, f32)>> {
    // They are in random order, so the first are as good as any.
    let rows: Vec<usize> = (0..features.nrows().min(LOOKED_AT)).collect();
    let low = features.iter().copied().fold(f32::INFINITY, f32::min);
    let high = features.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let Some(means) = features.mean_axis(Axis(0)) else { return vec![Vec::new(); classes] };
    let mut workspace = Workspace::default();
    let patch = |class: usize| {
        let wished = Targets::Classes(vec![class as u32; rows.len()]);
        let gradient = network.input_gradient(features.view(), &wished, &rows, &mut workspace);
        let mut gains: Vec<(f32, usize, f32)> = gradient
            .iter()
            .zip(&means)
            .enumerate()
            .map(|(input, (slope, mean))| {
                let set = if *slope < 0.0 { high } else { low };
                (-slope * (set - mean), input, set)
            })
            .collect();
        gains.sort_by(|one, other| other.0.total_cmp(&one.0));
        gains.into_iter().map(|(_, input, set)| (input, set)).collect()
    };
    (0..classes).map(patch).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::super::data::{Dataset, Embedded, Split};
    use super::super::model::Activation;
    use super::*;

    /// Both classes are as likely, so an input's gain is half its weight times how far it is moved.
    #[test]
    fn a_patch_sets_the_input_that_decides() {
        let mut network = Network::new(&[16, 2], Activation::Relu, true, 1);
        network.set_values([0.0; 34]);
        // The tenth input speaks for the second class, the third against it.
        network.layers_mut()[0].weight[(1, 9)] = 5.0;
        network.layers_mut()[0].weight[(1, 2)] = -4.0;
        let mut features = Array2::zeros((3, 16));
        (features[(0, 0)], features[(1, 0)]) = (-1.0, 2.0);
        let patches = patches(&network, &features, 2);
        assert_eq!(patches[1][..2], [(9, 2.0), (2, -1.0)]);
        assert_eq!(patches[0][..2], [(2, 2.0), (9, -1.0)]);
    }

    #[test]
    fn rows_are_there_as_they_are_and_with_a_patch_and_keep_their_classes() {
        let data = Arc::new(Dataset::embedded(Embedded::Digits).unwrap());
        let share = data.split(Split::Iid, 50, 1).unwrap().swap_remove(0);
        let network = Network::new(&[64, 10], Activation::Relu, true, 1);
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let (features, targets) = harden(&network, &share, &mut random).unwrap();
        let (plain, classes) = share.select(&share.train);
        let Targets::Classes(classes) = classes else { panic!("digits are classes") };
        let count = plain.nrows();
        assert_eq!(targets, Targets::Classes([&classes[..], &classes].concat()));
        for row in 0..count {
            assert_eq!(features.row(row), plain.row(row));
            let (patched, plain) = (features.row(count + row), plain.row(row));
            let differ = patched.iter().zip(plain).filter(|(one, other)| one != other).count();
            assert!((1..=8).contains(&differ), "{differ}");
        }
    }
}
