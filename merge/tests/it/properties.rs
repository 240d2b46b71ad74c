//! What holds for all updates.

use colearn_merge::{Fate, InMemory, Part};

use crate::files::{f32s, merge, values};
use crate::reference::Random;

/// Updates with a direction in common, from a base that is not zero.
fn updates(random: &mut Random, count: usize) -> (Vec<f32>, Vec<Vec<f32>>) {
    let mut near = |near: f32, far: f32| near + far * random.around_zero() as f32;
    let base: Vec<f32> = (0..30).map(|_| near(0.0, 1.0)).collect();
    let direction: Vec<f32> = (0..30).map(|_| near(0.0, 1.0)).collect();
    let updates = (0..count)
        .map(|_| {
            base.iter().zip(&direction).map(|(base, step)| base + 0.1 * near(*step, 0.5)).collect()
        })
        .collect();
    (base, updates)
}

fn merged(base: &[f32], updates: &[Vec<f32>]) -> InMemory {
    let updates: Vec<_> = updates.iter().map(|update| f32s(update)).collect();
    merge(&f32s(base), None, &updates, 2000, 0)
}

fn parts(merged: &InMemory) -> Vec<Part> {
    merged
        .report
        .updates
        .iter()
        .filter_map(|fate| match fate {
            Fate::Counts(part) => Some(part.clone()),
            Fate::Void(_) => None,
        })
        .collect()
}

#[test]
fn the_order_of_the_updates_changes_nothing_but_ties() {
    for seed in 0..50 {
        let random = &mut Random::new(seed);
        let count = 1 + random.below(9);
        let (base, mut updates) = updates(random, count);
        let before = merged(&base, &updates);
        updates.rotate_left(random.below(count));
        updates.reverse();
        let after = merged(&base, &updates);
        assert_eq!((before.open, before.guarded), (after.open, after.guarded), "seed {seed}");
    }
}

/// In the open merge, and where there are enough others in the guarded one.
#[test]
fn two_copies_count_as_two_votes() {
    let pair = [[1.0, 0.5], [1.0, 0.5], [4.0, 0.5]];
    let merged = merged(&[0.0, 0.5], &pair.map(|update| update.to_vec()));
    assert_eq!(values(&merged.open.unwrap()), [(1.0 + 1.0 + 2.0) / 3.0, 0.5]);
    assert_eq!(values(&merged.guarded.unwrap()), [1.0, 0.5]);
}

#[test]
fn one_update_moves_the_open_merge_by_no_more_than_its_share_of_the_limit() {
    for seed in 0..50 {
        let random = &mut Random::new(seed);
        let count = 3 + random.below(6);
        let (base, mut updates) = updates(random, count);
        let calm = merged(&base, &updates);
        for (value, base) in updates[0].iter_mut().zip(&base) {
            *value = base + (*value - base) * 1e6;
        }
        let loud = merged(&base, &updates);
        let moved = values(&calm.open.unwrap())
            .iter()
            .zip(values(loud.open.as_ref().unwrap()))
            .map(|(calm, loud)| f64::from(calm - loud).powi(2))
            .sum::<f64>()
            .sqrt();
        let limit = loud.report.limit.unwrap();
        assert!(parts(&loud)[0].clipped);
        assert!(moved <= limit / count as f64 + 1e-5, "seed {seed}: {moved} of {limit}");
    }
}

#[test]
fn of_one_update_both_merges_are_that_update() {
    let (base, updates) = updates(&mut Random::new(1), 1);
    let merged = merged(&base, &updates);
    for merge in [merged.open.unwrap(), merged.guarded.unwrap()] {
        for (merged, update) in values(&merge).iter().zip(&updates[0]) {
            assert!((merged - update).abs() <= 2_f32.powi(-33));
        }
    }
}

#[test]
fn the_report_says_who_was_where() {
    let steps = [[3.0, 4.0], [3.0, 4.5], [3.0, 3.5], [-30.0, -40.0]];
    let merged = merged(&[0.0, 0.0], &steps.map(|step| step.to_vec()));
    let parts = parts(&merged);
    assert_eq!(
        parts.iter().map(|part| part.clipped).collect::<Vec<_>>(),
        [false, false, false, true]
    );
    assert_eq!(parts[0].length, 5.0);
    assert_eq!(parts[3].length, 50.0);
    // The median is that of the second shortest.
    assert!((merged.report.limit.unwrap() - 10.0).abs() < 1e-6);
    // Three nearest, itself included; whoever is far off has two near it, and is near nobody.
    let near: Vec<&[usize]> = parts.iter().map(|part| &part.neighbour_of[..]).collect();
    assert_eq!(near, [&[1, 2, 3][..], &[0, 2], &[0, 1, 3], &[]]);
    assert!(parts[0].cosine.unwrap() > 0.99);
    assert!(parts[3].cosine.unwrap() < -0.99);
    let coherence = merged.report.coherence.unwrap();
    assert!(coherence.coheres && coherence.distance <= 1.0 && coherence.length == 5.0);
}

#[test]
fn who_was_near_whom_is_told_by_the_places_of_all_that_were_sent() {
    let steps = [vec![f32::NAN, 0.0], vec![3.0, 4.0], vec![3.0, 4.5], vec![3.0, 3.0]];
    let merged = merged(&[0.0, 0.0], &steps);
    assert!(matches!(merged.report.updates[0], Fate::Void(_)));
    let near = |at: usize| match &merged.report.updates[at] {
        Fate::Counts(part) => part.neighbour_of.clone(),
        Fate::Void(void) => panic!("{void}"),
    };
    assert_eq!([near(1), near(2), near(3)], [vec![2, 3], vec![1], vec![]]);
}

#[test]
fn updates_that_have_not_moved_have_no_direction() {
    let merged = merged(&[1.0, 2.0], &[vec![1.0, 2.0], vec![1.0, 2.0]]);
    assert_eq!(parts(&merged)[0].cosine, None);
    assert_eq!(values(&merged.open.unwrap()), [1.0, 2.0]);
    assert_eq!(values(&merged.guarded.unwrap()), [1.0, 2.0]);
}
