//! `merges.json`: what follows from the updates of a merged round.

use colearn_merge::{Fate, Merge, Source};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// A file of tensors, as everybody writes and names it.
struct Tensors {
    header: Value,
    data: Vec<u8>,
}

impl Tensors {
    fn new() -> Self {
        Self { header: json!({}), data: Vec::new() }
    }

    /// With one more tensor.
    fn tensor(mut self, name: &str, dtype: &str, shape: &[usize], data: &[u8]) -> Self {
        let begin = self.data.len();
        self.data.extend_from_slice(data);
        self.header[name] =
            json!({ "dtype": dtype, "shape": shape, "data_offsets": [begin, self.data.len()] });
        self
    }

    fn floats(self, name: &str, values: &[f32]) -> Self {
        let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(name, "F32", &[values.len()], &data)
    }

    /// These tensors are estimated, not trained.
    fn statistics(mut self, names: &str) -> Self {
        self.header["__metadata__"] = json!({ "colearn.statistics": names });
        self
    }

    fn file(self) -> Vec<u8> {
        let header = self.header.to_string();
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &self.data].concat()
    }
}

fn floats(values: &[f32]) -> Vec<u8> {
    Tensors::new().floats("w", values).file()
}

#[derive(Serialize)]
struct File {
    bytes: String,
    digest: String,
}

impl File {
    fn of(bytes: &[u8]) -> Self {
        Self { bytes: hex::encode(bytes), digest: hex::encode(Sha256::digest(bytes)) }
    }
}

#[derive(Serialize)]
pub(super) struct Case {
    name: &'static str,
    /// Left out where it is 2000, as nobody is clipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    clip_permille: Option<u32>,
    /// Left out where nothing has moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    momentum_permille: Option<u32>,
    base: File,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<File>,
    updates: Vec<File>,
    /// Which of the updates are left out.
    void: Vec<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    open: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    guarded: Option<String>,
}

/// What is merged, and how much of the last movement is added.
struct Made {
    name: &'static str,
    base: Vec<u8>,
    moved: Option<(Vec<u8>, u32)>,
    clip_permille: Option<u32>,
    updates: Vec<Vec<u8>>,
}

impl Made {
    fn new(name: &'static str, base: Vec<u8>, updates: Vec<Vec<u8>>) -> Self {
        Self { name, base, moved: None, clip_permille: None, updates }
    }

    fn from_nothing(name: &'static str, updates: &[[f32; 2]]) -> Self {
        Self::new(name, floats(&[0.0; 2]), updates.iter().map(|update| floats(update)).collect())
    }

    fn case(self) -> Case {
        let updates: Vec<&dyn Source> = self.updates.iter().map(|it| it as &dyn Source).collect();
        let merge = Merge {
            base: &self.base,
            previous: self.moved.as_ref().map(|(previous, _)| previous as &dyn Source),
            updates: &updates,
            clip_permille: self.clip_permille.unwrap_or(2000),
            momentum_permille: self.moved.as_ref().map_or(0, |(_, permille)| *permille),
        };
        let report = merge.write(&mut std::io::sink(), &mut std::io::sink()).unwrap();
        let digest = |merged: colearn_merge::Merged| hex::encode(merged.digest);
        Case {
            name: self.name,
            clip_permille: self.clip_permille,
            momentum_permille: self.moved.as_ref().map(|(_, permille)| *permille),
            base: File::of(&self.base),
            previous: self.moved.as_ref().map(|(previous, _)| File::of(previous)),
            updates: self.updates.iter().map(|update| File::of(update)).collect(),
            void: report.updates.iter().map(|fate| matches!(fate, Fate::Void(_))).collect(),
            open: report.open.ok().map(digest),
            guarded: report.guarded.ok().map(digest),
        }
    }
}

/// All types of numbers that are merged.
fn every_type(seed: i16) -> Vec<u8> {
    let half = [0x3c00_u16, 0x4000, 0xbc01].map(|bits| bits + seed as u16);
    let brain = [0x3f80_u16, 0x4000, 0xbf81].map(|bits| bits + seed as u16);
    let double = f64::from(seed) / 3.0;
    let bytes = |values: [u16; 3]| values.map(u16::to_le_bytes).concat();
    Tensors::new()
        .tensor("a", "F64", &[], &double.to_le_bytes())
        .tensor("b", "F16", &[3], &bytes(half))
        .tensor("c", "BF16", &[3, 1], &bytes(brain))
        .tensor("d", "I16", &[2], &[seed.to_le_bytes(), (-seed).to_le_bytes()].concat())
        .tensor("e", "BOOL", &[2], &[u8::from(seed % 2 == 0), u8::from(seed > 1)])
        .tensor("f", "U8", &[0], &[])
        .file()
}

/// A layer with what it has seen of its data.
fn with_statistics(weight: f32, variance: f32, seen: i64) -> Vec<u8> {
    Tensors::new()
        .floats("layer.weight", &[weight, -weight])
        .floats("norm.running_var", &[variance])
        .tensor("norm.seen", "I64", &[], &seen.to_le_bytes())
        .statistics("norm.running_var,absent")
        .file()
}

pub(super) fn file() -> Value {
    let mut cases = vec![
        Made::from_nothing("one_update", &[[1.0, -2.0]]),
        Made::from_nothing("as_near_to_the_earlier_seat", &[[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]),
        Made::from_nothing(
            "nothing_in_common",
            &[[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]],
        ),
        Made::from_nothing("no_update_counts", &[[f32::NAN, 0.0], [f32::INFINITY, 0.0]]),
    ];
    cases.push(Made {
        clip_permille: Some(2000),
        ..Made::from_nothing("one_is_clipped", &[[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [100.0, -8.0]])
    });
    let mut void = Made::from_nothing(
        "only_one_counts",
        &[[f32::NAN, 0.0], [f32::INFINITY, 0.0], [1_048_576.0, 0.0], [1.0, 1.0]],
    );
    void.updates.push(floats(&[1.0]));
    void.updates.push(Tensors::new().floats("v", &[1.0, 1.0]).file());
    void.updates.push(floats(&[1.0, 1.0])[..30].to_vec());
    cases.push(void);
    cases.push(Made {
        moved: Some((floats(&[0.5, 1.25]), 500)),
        ..Made::new(
            "momentum",
            floats(&[1.0, 1.0]),
            vec![floats(&[1.1, 1.0]), floats(&[1.2, 1.0]), floats(&[1.3, 1.0])],
        )
    });
    cases.push(Made::new("every_type_of_number", every_type(0), (1..=4).map(every_type).collect()));
    cases.push(Made {
        moved: Some((with_statistics(0.5, 0.25, 10), 500)),
        ..Made::new(
            "statistics",
            with_statistics(1.0, 0.5, 20),
            vec![
                with_statistics(1.5, 0.75, 30),
                with_statistics(1.25, 0.125, 31),
                with_statistics(1.375, 4.0, 40),
                with_statistics(1.5, 0.5, 35),
            ],
        )
    });
    json!({ "cases": cases.into_iter().map(Made::case).collect::<Vec<_>>() })
}
