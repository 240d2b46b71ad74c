//! The same bits on one thread and on many, from memory and from files, over several chunks.

use std::fs::File;
use std::io::Write as _;

use colearn_merge::{InMemory, Merge, Source};

use crate::files::{Tensor, file};
use crate::reference::Random;

/// More than a chunk of singles, with a short tensor at each side; the later updates have them in another order.
fn models() -> Vec<Vec<u8>> {
    let random = &mut Random::new(3);
    let mut values =
        |count: usize| (0..count).map(|_| random.around_zero() as f32).collect::<Vec<f32>>();
    let base = [values(7), values(300_000), values(1000)];
    (0..9)
        .map(|model| {
            let mut tensors: Vec<Tensor> = base
                .iter()
                .enumerate()
                .map(|(at, base)| {
                    let step = values(base.len());
                    let moved: Vec<f32> = base
                        .iter()
                        .zip(step)
                        .map(|(base, step)| base + 0.01 + 0.02 * step)
                        .collect();
                    Tensor::f32(&format!("t{at}"), if model == 0 { base } else { &moved })
                })
                .collect();
            if model > 5 {
                tensors.reverse();
            }
            file(&tensors, &[])
        })
        .collect()
}

fn merge(models: &[&dyn Source]) -> InMemory {
    let merge = Merge {
        base: models[0],
        previous: Some(models[1]),
        updates: &models[2..],
        clip_permille: 2000,
        momentum_permille: 500,
    };
    merge.in_memory().unwrap()
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let models = models();
    let sources: Vec<&dyn Source> = models.iter().map(|model| model as &dyn Source).collect();
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| merge(&sources))
    };
    let one = on(1);
    assert!(one.open.is_some() && one.guarded.is_some());
    assert!(one == on(2));
    assert!(one == on(7));
}

#[test]
fn files_are_merged_as_bytes_are() {
    let models = models();
    let sources: Vec<&dyn Source> = models.iter().map(|model| model as &dyn Source).collect();
    let files: Vec<File> = models
        .iter()
        .map(|model| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(model).unwrap();
            file
        })
        .collect();
    let files: Vec<&dyn Source> = files.iter().map(|file| file as &dyn Source).collect();
    assert!(merge(&files) == merge(&sources));
}

/// Where the tensors lie in an update does not matter, and the merge has them as the base has.
#[test]
fn the_order_of_the_tensors_is_the_bases() {
    let models = models();
    let merged = merge(&models.iter().map(|model| model as &dyn Source).collect::<Vec<_>>());
    let header = 8 + u64::from_le_bytes(models[0][..8].try_into().unwrap()) as usize;
    for merge in [merged.open.unwrap(), merged.guarded.unwrap()] {
        assert_eq!(merge.len(), models[0].len());
        assert_eq!(merge[..header], models[0][..header]);
    }
}
