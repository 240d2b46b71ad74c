//! Files of tensors, written by hand: what is tested does not read what it has written.

use colearn_merge::{InMemory, Merge, Source};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tensor {
    pub name: String,
    pub dtype: &'static str,
    pub shape: Vec<u64>,
    pub data: Vec<u8>,
}

impl Tensor {
    pub(crate) fn f32(name: &str, values: &[f32]) -> Self {
        let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { name: name.to_owned(), dtype: "F32", shape: vec![values.len() as u64], data }
    }
}

/// Length, header and data, with the statistics listed in the metadata.
pub(crate) fn file(tensors: &[Tensor], statistics: &[&str]) -> Vec<u8> {
    let mut entries = Vec::new();
    if !statistics.is_empty() {
        entries
            .push(format!(r#""__metadata__":{{"colearn.statistics":"{}"}}"#, statistics.join(",")));
    }
    let mut end = 0;
    for Tensor { name, dtype, shape, data } in tensors {
        let start = end;
        end += data.len();
        entries.push(format!(
            r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{start},{end}]}}"#
        ));
    }
    let data: Vec<u8> = tensors.iter().flat_map(|tensor| tensor.data.clone()).collect();
    with_header(&format!("{{{}}}", entries.join(",")), &data)
}

pub(crate) fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// A file with a single tensor of singles.
pub(crate) fn f32s(values: &[f32]) -> Vec<u8> {
    file(&[Tensor::f32("w", values)], &[])
}

/// The singles of such a file.
pub(crate) fn values(file: &[u8]) -> Vec<f32> {
    let header = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let (elements, _) = file[8 + header..].as_chunks();
    elements.iter().map(|element| f32::from_le_bytes(*element)).collect()
}

pub(crate) fn merge(
    base: &[u8],
    previous: Option<&[u8]>,
    updates: &[Vec<u8>],
    clip_permille: u32,
    momentum_permille: u32,
) -> InMemory {
    let updates: Vec<&dyn Source> = updates.iter().map(|update| update as &dyn Source).collect();
    let previous = previous.as_ref().map(|previous| previous as &dyn Source);
    Merge { base: &base, previous, updates: &updates, clip_permille, momentum_permille }
        .in_memory()
        .unwrap()
}
