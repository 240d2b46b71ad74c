//! What is in a file of weights, whoever has made it: its tensors, what its metadata says, and which built-in
//! model it is, if it is one.

use std::collections::BTreeMap;
use std::io::{self, Read};

use safetensors::tensor::{Metadata, TensorInfo};

use crate::model::{HEADER, ModelSpec, WeightsError};

/// What is in weights in the safetensors format.
#[derive(Clone, PartialEq, Debug)]
pub struct Contents {
    /// The tensors, in the order of their bytes.
    pub tensors: Vec<Tensor>,
    /// What the metadata says besides a built-in model's header.
    pub metadata: BTreeMap<String, String>,
    /// The built-in model that the header describes, or why these are not weights of it; `None` without a
    /// header.
    pub model: Option<Result<ModelSpec, WeightsError>>,
}

/// A tensor, without its numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// The type of its numbers, such as `F32`.
    pub kind: String,
    /// Its shape; empty of a single number.
    pub shape: Vec<usize>,
}

/// The longest header that the format allows.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// How much is read at once.
const PIECE_BYTES: u64 = 1 << 16;

impl Contents {
    /// Looks into a file of so many bytes, from its beginning. However large it is, no more of it is in memory than
    /// its header.
    ///
    /// # Errors
    /// The outer one if it cannot be read, the inner one if it is not safetensors.
    pub fn read(file: &mut dyn Read, size: u64) -> io::Result<Result<Self, WeightsError>> {
        let header = match read_header(file, size)? {
            Ok(header) => header,
            Err(error) => return Ok(Err(error)),
        };
        let mut tensors: Vec<(String, &TensorInfo)> = header.tensors().into_iter().collect();
        // An empty one begins where the next does.
        tensors.sort_by(|(a, one), (b, other)| (one.data_offsets, a).cmp(&(other.data_offsets, b)));
        let mut metadata = metadata_of(&header);
        let model = match metadata.remove(HEADER) {
            Some(_) => Some(model(&header, &tensors, file)?),
            None => None,
        };
        let tensor = |(name, info): (String, &TensorInfo)| Tensor {
            name,
            kind: format!("{:?}", info.dtype),
            shape: info.shape.clone(),
        };
        let tensors = tensors.into_iter().map(tensor).collect();
        Ok(Ok(Self { tensors, metadata, model }))
    }

    /// How many numbers there are in all.
    pub fn parameters(&self) -> u64 {
        self.tensors.iter().map(Tensor::len).fold(0, u64::saturating_add)
    }
}

/// What a header says of the whole, by name.
pub(crate) fn metadata_of(header: &Metadata) -> BTreeMap<String, String> {
    header.metadata().iter().flatten().map(|(key, it)| (key.clone(), it.clone())).collect()
}

/// Reads a header from the beginning of a file of so many bytes, whose tensors it describes whole.
///
/// # Errors
/// The outer one if it cannot be read, the inner one if it is not safetensors.
pub(crate) fn read_header(
    file: &mut dyn Read,
    size: u64,
) -> io::Result<Result<Metadata, WeightsError>> {
    let format = |told: &str| Ok(Err(WeightsError::Format(told.to_owned())));
    let mut prefix = [0; 8];
    if size < prefix.len() as u64 {
        return format("it is too short for a header");
    }
    file.read_exact(&mut prefix)?;
    let length = u64::from_le_bytes(prefix);
    let rest = size - prefix.len() as u64;
    // Before anything is allocated for it.
    if length > MAX_HEADER_BYTES.min(rest) {
        return format("its header is longer than can be");
    }
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header)?;
    let header: Metadata = match serde_json::from_slice(&header) {
        Ok(header) => header,
        Err(error) => return format(&error.to_string()),
    };
    if header.data_len() as u64 != rest - length {
        return format("it has more or fewer bytes than its header says");
    }
    Ok(Ok(header))
}

/// The built-in model that a header describes. One that promises other tensors than there are is told, not believed.
fn model(
    header: &Metadata,
    tensors: &[(String, &TensorInfo)],
    numbers: &mut dyn Read,
) -> io::Result<Result<ModelSpec, WeightsError>> {
    let spec = ModelSpec::of_metadata(header);
    let spec = spec.and_then(|spec| spec.check_tensors(header).map(|()| spec));
    if spec.is_ok() {
        for (name, info) in tensors {
            let (begin, end) = info.data_offsets;
            if !are_finite(numbers, (end - begin) as u64)? {
                return Ok(Err(WeightsError::NotFinite(name.clone())));
            }
        }
    }
    Ok(spec)
}

/// Whether the next so many bytes are finite numbers.
fn are_finite(numbers: &mut dyn Read, bytes: u64) -> io::Result<bool> {
    let mut left = bytes;
    let mut piece = Vec::new();
    while left > 0 {
        piece.clear();
        numbers.take(left.min(PIECE_BYTES)).read_to_end(&mut piece)?;
        if piece.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        left -= piece.len() as u64;
        let (words, _) = piece.as_chunks::<4>();
        if words.iter().any(|word| !f32::from_le_bytes(*word).is_finite()) {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Tensor {
    /// How many numbers it has.
    pub fn len(&self) -> u64 {
        self.shape.iter().fold(1, |count: u64, side| count.saturating_mul(*side as u64))
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashMap;

    use colearn_sdk::learner::Weights;
    use safetensors::tensor::{Dtype, TensorView};

    use super::*;
    use crate::data::{Dataset, Embedded};
    use crate::model::Activation;

    fn contents(weights: &Weights) -> Result<Contents, WeightsError> {
        let size = weights.bytes().len() as u64;
        Contents::read(&mut &weights.bytes()[..], size).unwrap()
    }

    #[test]
    fn no_more_than_the_header_is_read_of_what_is_not_built_in() {
        let file = |length: u64, header: &[u8]| [&length.to_le_bytes(), header].concat();
        // What would come after it fails to be read.
        let header =
            b"{\"a\":{\"dtype\":\"F32\",\"shape\":[250,1000],\"data_offsets\":[0,1000000]}}";
        let short = file(header.len() as u64, header);
        let size = short.len() as u64 + 1_000_000;
        let found = Contents::read(&mut &short[..], size).unwrap().unwrap();
        assert_eq!(found.parameters(), 250_000);
        assert!(Contents::read(&mut &short[..], size + 1).unwrap().is_err());
        // Nor is room made for a header that the file has no room for.
        let lying = file(u64::MAX, b"{}");
        assert!(Contents::read(&mut &lying[..], lying.len() as u64).unwrap().is_err());
        let lying = file(1 << 40, b"{}");
        assert!(Contents::read(&mut &lying[..], 1 << 41).unwrap().is_err());
    }

    #[test]
    fn weights_that_are_no_numbers_are_told() {
        let data = Dataset::embedded(Embedded::Iris).unwrap();
        let spec = ModelSpec::new(vec![], Activation::Relu, data.schema);
        let mut bytes = spec.write(&spec.untrained(1)).unwrap().bytes().to_vec();
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
        let found = contents(&Weights::new(bytes)).unwrap();
        assert!(matches!(found.model, Some(Err(WeightsError::NotFinite(_)))), "{found:?}");
    }

    #[test]
    fn a_built_in_model_says_everything() {
        let data = Dataset::embedded(Embedded::Iris).unwrap();
        let spec = ModelSpec::new(vec![8], Activation::Tanh, data.schema);
        let network = spec.untrained(1);
        let found = contents(&spec.write(&network).unwrap()).unwrap();
        assert_eq!(found.parameters(), network.parameters() as u64);
        let shapes: Vec<&[usize]> = found.tensors.iter().map(|it| &it.shape[..]).collect();
        assert_eq!(shapes.len(), 4);
        assert!(shapes.contains(&&[8, 4][..]) && shapes.contains(&&[3][..]), "{shapes:?}");
        assert_eq!((found.model, found.metadata.len()), (Some(Ok(spec)), 0));
    }

    #[test]
    fn what_others_have_made_shows_its_tensors_and_a_false_header_is_told() {
        let bytes = [0; 24];
        let view = |shape: &[usize]| TensorView::new(Dtype::F64, shape.to_vec(), &bytes).unwrap();
        let weights = |metadata: &[(&str, &str)]| {
            let metadata: HashMap<String, String> =
                metadata.iter().map(|(key, it)| ((*key).to_owned(), (*it).to_owned())).collect();
            let tensors = [("a", view(&[3, 1])), ("b", view(&[3]))];
            Weights::new(safetensors::serialize(tensors, Some(metadata)).unwrap())
        };
        let found = contents(&weights(&[("statistics", "[\"b\"]")])).unwrap();
        assert_eq!((found.parameters(), found.model), (6, None));
        assert_eq!(found.metadata["statistics"], "[\"b\"]");
        let b = Tensor { name: "b".into(), kind: "F64".into(), shape: vec![3] };
        assert_eq!(found.tensors[1], b);
        let lying = contents(&weights(&[(HEADER, "{}")])).unwrap();
        assert!(matches!(lying.model, Some(Err(WeightsError::Header(_)))), "{lying:?}");
        let data = Dataset::embedded(Embedded::Iris).unwrap();
        let header = ModelSpec::new(vec![], Activation::Relu, data.schema);
        let header = serde_json::to_string(&header).unwrap();
        let lying = contents(&weights(&[(HEADER, &header)])).unwrap();
        assert!(matches!(lying.model, Some(Err(WeightsError::Missing(_)))), "{lying:?}");
        assert!(contents(&Weights::new("garbage")).is_err());
    }
}
