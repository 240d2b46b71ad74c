//! The vectors of the specification.

use colearn_merge::{Absent, Fate, InMemory, Void};
use sha2::{Digest as _, Sha256};

use crate::files::{f32s, merge, values};

fn plain(updates: &[&[f32]]) -> InMemory {
    let updates: Vec<_> = updates.iter().map(|update| f32s(update)).collect();
    merge(&f32s(&[0.0, 0.0]), None, &updates, 2000, 0)
}

#[track_caller]
fn check(merged: &InMemory, open: &[f64], guarded: Option<&[f64]>) {
    let exact = |file: &Vec<u8>| values(file).into_iter().map(f64::from).collect::<Vec<_>>();
    assert_eq!(merged.open.as_ref().map(exact).as_deref(), Some(open));
    assert_eq!(merged.guarded.as_ref().map(exact).as_deref(), guarded);
}

#[test]
fn one_update_is_both_merges() {
    check(&plain(&[&[1.0, -2.0]]), &[1.0, -2.0], Some(&[1.0, -2.0]));
}

#[test]
fn a_tie_in_distance_goes_to_the_earlier_seat() {
    let merged = plain(&[&[1.0, 0.0], &[2.0, 0.0], &[3.0, 0.0]]);
    check(&merged, &[2.0, 0.0], Some(&[1.5, 0.0]));
}

#[test]
fn a_loud_update_is_clipped_and_left_out_of_the_guarded_merge() {
    let merged = plain(&[&[1.0, 0.0], &[2.0, 0.0], &[3.0, 0.0], &[100.0, -8.0]]);
    check(&merged, &[2.496_815_204_620_361_3, -0.079_745_218_157_768_25], Some(&[2.0, 0.0]));
    let clipped = |fate: &Fate| matches!(fate, Fate::Counts(part) if part.clipped);
    assert_eq!(
        merged.report.updates.iter().map(clipped).collect::<Vec<_>>(),
        [false, false, false, true]
    );
}

#[test]
fn void_updates_do_not_count() {
    let merged =
        plain(&[&[f32::NAN, 0.0], &[f32::INFINITY, 0.0], &[1_048_576.0, 0.0], &[1.0, 1.0], &[1.0]]);
    check(&merged, &[1.0, 1.0], Some(&[1.0, 1.0]));
    let value = Fate::Void(Void::Value { tensor: "w".to_owned(), element: 0 });
    let different = Fate::Void(Void::Different { tensor: "w".to_owned() });
    let fates = &merged.report.updates;
    assert_eq!((&fates[..3], &fates[4]), (&[value.clone(), value.clone(), value][..], &different));
    assert!(matches!(fates[3], Fate::Counts(_)));
}

#[test]
fn half_of_the_last_movement_is_added() {
    let base = f32s(&[1.0, 1.0]);
    let previous = f32s(&[0.5, 1.25]);
    let updates = [f32s(&[1.1, 1.0]), f32s(&[1.2, 1.0]), f32s(&[1.3, 1.0])];
    let merged = merge(&base, Some(&previous), &updates, 2000, 500);
    check(&merged, &[1.450_000_047_683_715_8, 0.875], Some(&[1.5, 0.875]));
}

#[test]
fn updates_without_anything_in_common_have_no_guarded_merge() {
    let merged = plain(&[&[1.0, 0.0], &[-1.0, 0.0], &[0.0, 1.0], &[0.0, -1.0]]);
    check(&merged, &[0.0, 0.0], None);
    assert_eq!(merged.report.guarded, Err(Absent::Incoherent));
}

#[test]
fn of_void_updates_alone_nothing_is_merged() {
    let merged = plain(&[&[f32::NAN, 0.0], &[1.0]]);
    assert_eq!((merged.open, merged.guarded), (None, None));
    assert_eq!(merged.report.open, Err(Absent::NoUpdates));
    assert_eq!(merged.report.guarded, Err(Absent::NoUpdates));
    assert_eq!(merged.report.updates.len(), 2);
}

#[test]
fn a_thousand_random_values_are_merged_to_the_bit() {
    let (models, _) = include_bytes!("vectors.bin").as_chunks::<4000>();
    let models: Vec<Vec<u8>> = models
        .iter()
        .map(|model| {
            let (elements, _) = model.as_chunks();
            f32s(&elements.iter().map(|element| f32::from_le_bytes(*element)).collect::<Vec<_>>())
        })
        .collect();
    let digest = |file: &Vec<u8>| hex::encode(Sha256::digest(&file[file.len() - 4000..]));

    let merged = merge(&models[0], Some(&models[1]), &models[2..9], 2000, 500);
    assert_eq!(
        merged.open.as_ref().map(digest).as_deref(),
        Some("3a7bb26d5b4c66171fe00b6089a56c921a901c6b362f8dfc79216cd11e40016f")
    );
    assert_eq!(
        merged.guarded.as_ref().map(digest).as_deref(),
        Some("2c23da4c9bbad6b1631ea88e00c1c95e4e5fb24f6034cc8f3d7c168ebe944db8")
    );

    let merged = merge(&models[0], Some(&models[1]), &models[9..], 2000, 500);
    assert_eq!(
        merged.open.as_ref().map(digest).as_deref(),
        Some("0cf4a149c7e44cd0edb85cc3df805ffb7c69a0a7bb0a98522412ece296baf4ab")
    );
    assert_eq!(merged.report.guarded, Err(Absent::Incoherent));
}
