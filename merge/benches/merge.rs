//! What a merge costs against reading and hashing the same bytes. `cargo bench -p colearn-merge`; with
//! `COLEARN_MERGE_WEIGHTS=25000000` ten updates of 25 million singles.

#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::{self, BufWriter, Read as _, Write as _};
use std::path::Path;
use std::time::Instant;

use colearn_merge::{Merge, Source};
use colearn_testkit::Figures;
use sha2::{Digest as _, Sha256};

const UPDATES: usize = 10;

/// A model of singles near the base, written a value at a time: models are not held here.
fn write(path: &Path, weights: usize, model: u64) {
    let tensor = format!(
        r#"{{"w":{{"dtype":"F32","shape":[{weights}],"data_offsets":[0,{}]}}}}"#,
        4 * weights
    );
    let mut file = BufWriter::new(File::create(path).unwrap());
    file.write_all(&(tensor.len() as u64).to_le_bytes()).unwrap();
    file.write_all(tensor.as_bytes()).unwrap();
    let noise = |mut bits: u64| {
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 40) as f32 / 8_388_608.0 - 1.0
    };
    for at in 0..weights as u64 {
        let (base, step) = (noise(at), noise(at ^ 1 << 40));
        let own = noise(at ^ (model + 2) << 40);
        let value = if model == 0 { base } else { base + 0.01 * (step + own) };
        file.write_all(&value.to_le_bytes()).unwrap();
    }
    file.flush().unwrap();
}

/// Reads and hashes all files, as many at once as there are cores.
fn read_and_hash(paths: &[std::path::PathBuf]) {
    use rayon::prelude::*;
    paths.par_iter().for_each(|path| {
        let mut file = File::open(path).unwrap();
        let mut buffer = vec![0; 1 << 20];
        let mut digest = Sha256::new();
        loop {
            match file.read(&mut buffer).unwrap() {
                0 => break,
                read => digest.update(&buffer[..read]),
            }
        }
        std::hint::black_box(digest.finalize());
    });
}

/// The most memory that this process had, in MiB, where the system tells.
fn peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? / 1024)
}

fn main() {
    let weights =
        std::env::var("COLEARN_MERGE_WEIGHTS").map_or(2_500_000, |text| text.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (0..UPDATES + 2).map(|model| dir.path().join(model.to_string())).collect();
    for (model, path) in paths.iter().enumerate() {
        write(path, weights, model as u64);
    }
    let files: Vec<File> = paths.iter().map(|path| File::open(path).unwrap()).collect();
    let sources: Vec<&dyn Source> = files.iter().map(|file| file as &dyn Source).collect();
    let merge = Merge {
        base: sources[0],
        previous: Some(sources[1]),
        updates: &sources[2..],
        clip_permille: 2000,
        momentum_permille: 500,
    };
    let (mut merging, mut hashing) = (f64::INFINITY, f64::INFINITY);
    // The best of several tries: the others were disturbed.
    for _ in 0..3 {
        let started = Instant::now();
        read_and_hash(&paths);
        hashing = hashing.min(started.elapsed().as_secs_f64());
        let started = Instant::now();
        let report = merge.write(&mut io::sink(), &mut io::sink()).unwrap();
        merging = merging.min(started.elapsed().as_secs_f64());
        assert!(report.open.is_ok() && report.guarded.is_ok());
    }
    let mut figures = Figures::of("merge", env!("CARGO_TARGET_TMPDIR"));
    let told = format!(
        "{merging:.2} s on {} threads, these {hashing:.2} s: {:.1}; peak memory {} MiB",
        rayon::current_num_threads(),
        merging / hashing,
        peak().map_or("unknown".to_owned(), |peak| peak.to_string()),
    );
    let figure = format!("{UPDATES} updates of {weights} singles, to reading and hashing them");
    figures.told(&figure, &told);
    figures.end();
}
