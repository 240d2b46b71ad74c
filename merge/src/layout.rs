//! What a file of tensors says that it holds (safetensors: eight bytes of length, a header in JSON, the data), believed of
//! nobody.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use crate::number::Dtype;
use crate::source::Source;
use crate::{Error, Input, Void};

/// The longest header that is read, in bytes. Models of 50,000 tensors have shorter ones; parsing takes a few times as
/// much memory.
pub const HEADER_LIMIT: u64 = 4 << 20;

/// The metadata in which a model lists what is estimated rather than trained: names of tensors, with commas between.
pub const STATISTICS: &str = "colearn.statistics";

const PREFIX: u64 = 8;
const METADATA: &str = "__metadata__";

/// How the values of a tensor are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Trained: by steps, with momentum.
    Weight,
    /// Estimated, as a running variance is: the middle of the updates' values.
    Statistic,
    /// Whole numbers: one of the updates' values.
    Counted,
}

#[derive(Debug)]
pub(crate) struct Tensor {
    pub name: String,
    pub dtype: Dtype,
    pub role: Role,
    shape: Vec<u64>,
    /// Where its data starts, counted from the end of the header.
    start: u64,
    bytes: u64,
}

/// The base's layout, in the order of the data. It is the merges' too.
#[derive(Debug)]
pub(crate) struct Layout {
    /// Length and header, as they stand in the base.
    pub header: Vec<u8>,
    pub tensors: Vec<Tensor>,
}

/// Where the data of a file lies that has the base's tensors.
#[derive(Debug)]
pub(crate) struct Placement {
    data: u64,
    /// Where each of the base's tensors starts; `None` if all are where they are in the base.
    starts: Option<Vec<u64>>,
}

/// A part of the data that is read and worked on at once.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    /// Where it starts in the base's data.
    start: u64,
    pub bytes: usize,
    pub pieces: Vec<Piece>,
}

/// Consecutive elements of one tensor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub tensor: usize,
    /// The first element, counted within the tensor.
    pub first: u64,
    /// Where it starts in the chunk.
    pub at: usize,
    pub bytes: usize,
}

impl Layout {
    /// Reads the base's.
    pub(crate) fn of_base(source: &dyn Source) -> Result<Result<Self, Void>, Error> {
        let (header, parsed) = match read_header(source, Input::Base)? {
            Ok(read) => read,
            Err(void) => return Ok(Err(void)),
        };
        let Header { statistics, tensors } = parsed;
        let mut tensors: Vec<Tensor> = tensors
            .into_iter()
            .map(|(name, entry)| {
                let role = match entry.dtype.is_float() {
                    false => Role::Counted,
                    true if statistics.split(',').any(|listed| listed == name) => Role::Statistic,
                    true => Role::Weight,
                };
                let (start, end) = entry.data_offsets;
                Tensor {
                    name,
                    dtype: entry.dtype,
                    role,
                    shape: entry.shape,
                    start,
                    bytes: end - start,
                }
            })
            .collect();
        tensors.sort_by_key(|tensor| (tensor.start, tensor.bytes));
        Ok(Ok(Self { header, tensors }))
    }

    /// Reads where another file has the tensors of this one.
    pub(crate) fn place(
        &self,
        source: &dyn Source,
        input: Input,
    ) -> Result<Result<Placement, Void>, Error> {
        let (header, Header { mut tensors, .. }) = match read_header(source, input)? {
            Ok(read) => read,
            Err(void) => return Ok(Err(void)),
        };
        let mut starts = Vec::with_capacity(self.tensors.len());
        for tensor in &self.tensors {
            let Some(entry) = tensors.remove(&tensor.name) else {
                return Ok(Err(Void::Missing { tensor: tensor.name.clone() }));
            };
            if entry.dtype != tensor.dtype || entry.shape != tensor.shape {
                return Ok(Err(Void::Different { tensor: tensor.name.clone() }));
            }
            starts.push(entry.data_offsets.0);
        }
        if !tensors.is_empty() {
            return Ok(Err(Void::Additional { tensors: tensors.len() }));
        }
        let moved = starts.iter().zip(&self.tensors).any(|(start, tensor)| *start != tensor.start);
        Ok(Ok(Placement { data: header.len() as u64, starts: moved.then_some(starts) }))
    }

    /// The placement of the base itself.
    pub(crate) fn own(&self) -> Placement {
        Placement { data: self.header.len() as u64, starts: None }
    }

    /// All of the data, in parts of at most `limit` bytes that hold whole elements.
    pub(crate) fn chunks(&self, limit: usize) -> impl Iterator<Item = Chunk> + Send + '_ {
        let mut tensor = 0;
        let mut done = 0;
        std::iter::from_fn(move || {
            let mut chunk = Chunk::default();
            while let Some(current) = self.tensors.get(tensor) {
                let size = current.dtype.size();
                let room = (limit - chunk.bytes) / size * size;
                let left = current.bytes - done;
                let bytes = usize::try_from(left).unwrap_or(usize::MAX).min(room);
                if bytes > 0 {
                    if chunk.pieces.is_empty() {
                        chunk.start = current.start + done;
                    }
                    let first = done / size as u64;
                    chunk.pieces.push(Piece { tensor, first, at: chunk.bytes, bytes });
                    chunk.bytes += bytes;
                    done += bytes as u64;
                }
                if done < current.bytes {
                    break;
                }
                tensor += 1;
                done = 0;
            }
            (!chunk.pieces.is_empty()).then_some(chunk)
        })
    }
}

impl Placement {
    /// Reads what this file has for `chunk`.
    pub(crate) fn read(
        &self,
        layout: &Layout,
        source: &dyn Source,
        chunk: &Chunk,
        buffer: &mut [u8],
    ) -> std::io::Result<()> {
        let Some(starts) = &self.starts else {
            return source.read_at(self.data + chunk.start, buffer);
        };
        for piece in &chunk.pieces {
            let size = layout.tensors[piece.tensor].dtype.size() as u64;
            let offset = self.data + starts[piece.tensor] + piece.first * size;
            source.read_at(offset, &mut buffer[piece.at..piece.at + piece.bytes])?;
        }
        Ok(())
    }
}

/// A header whose tensors fill the file's data without gaps or overlaps.
struct Header {
    statistics: String,
    tensors: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: Dtype,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// Reads length and header, and what they say.
fn read_header(
    source: &dyn Source,
    input: Input,
) -> Result<Result<(Vec<u8>, Header), Void>, Error> {
    let failed = |source| Error::Read { input, source };
    let size = source.size().map_err(failed)?;
    if size < PREFIX {
        return Ok(Err(Void::Truncated { size }));
    }
    let mut prefix = [0; PREFIX as usize];
    source.read_at(0, &mut prefix).map_err(failed)?;
    let length = u64::from_le_bytes(prefix);
    // Before anything is allocated for it.
    if length > HEADER_LIMIT {
        return Ok(Err(Void::HeaderTooLong { length }));
    }
    if length > size - PREFIX {
        return Ok(Err(Void::Truncated { size }));
    }
    let mut header = vec![0; (PREFIX + length) as usize];
    source.read_at(0, &mut header).map_err(failed)?;
    let parsed = serde_json::from_slice::<Header>(&header[PREFIX as usize..]);
    Ok(match parsed {
        Err(error) => Err(Void::Header { what: brief(&error.to_string()) }),
        Ok(parsed) => parsed.check(size - PREFIX - length).map(|()| (header, parsed)),
    })
}

impl Header {
    /// Whether each tensor is as long as its shape says, and all together are the data.
    fn check(&self, data: u64) -> Result<(), Void> {
        let mut entries: Vec<(&String, &Entry)> = self.tensors.iter().collect();
        entries.sort_by_key(|(_, entry)| entry.data_offsets);
        let mut end = 0;
        for (name, entry) in entries {
            let bytes = entry
                .shape
                .iter()
                .try_fold(1_u64, |elements, dimension| elements.checked_mul(*dimension))
                .and_then(|elements| elements.checked_mul(entry.dtype.size() as u64));
            let (from, to) = entry.data_offsets;
            if from != end || bytes.is_none() || bytes != to.checked_sub(from) {
                return Err(Void::Offsets { tensor: brief(name) });
            }
            end = to;
        }
        if end == data { Ok(()) } else { Err(Void::Length { described: end, data }) }
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("tensors by their names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut metadata: Option<Metadata> = None;
        let mut tensors = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            // Which of two would count is up to the parser; here everybody must read the same.
            let twice = if name == METADATA {
                metadata.replace(map.next_value()?).is_some()
            } else {
                tensors.insert(name, map.next_value::<Entry>()?).is_some()
            };
            if twice {
                return Err(A::Error::custom("a name is there twice"));
            }
        }
        let statistics = metadata.and_then(|metadata| metadata.0).unwrap_or_default();
        Ok(Header { statistics, tensors })
    }
}

/// What is read of the metadata: the list of statistics.
struct Metadata(Option<String>);

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MetadataVisitor;

        impl<'de> Visitor<'de> for MetadataVisitor {
            type Value = Metadata;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("texts by their names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
                let mut statistics = None;
                while let Some((key, value)) = map.next_entry::<String, String>()? {
                    if key == STATISTICS && statistics.replace(value).is_some() {
                        return Err(A::Error::custom("the statistics are there twice"));
                    }
                }
                Ok(Metadata(statistics))
            }
        }

        deserializer.deserialize_map(MetadataVisitor)
    }
}

/// Somebody else's words, cut to what can be shown.
fn brief(text: &str) -> String {
    text.chars().take(100).collect()
}
