//! What is in a file of weights, whoever has made it: its tensors, what its metadata says, and which built-in
//! model it is, if it is one.

use std::collections::BTreeMap;

use colearn_sdk::learner::Weights;
use safetensors::tensor::{SafeTensors, TensorInfo};

use crate::model::{HEADER, ModelSpec, WeightsError, format_error};

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

impl Contents {
    /// Looks into weights.
    ///
    /// # Errors
    /// If they are not safetensors.
    pub fn of(weights: &Weights) -> Result<Self, WeightsError> {
        let (_, header) = SafeTensors::read_metadata(weights.bytes()).map_err(format_error)?;
        let mut tensors: Vec<(String, &TensorInfo)> = header.tensors().into_iter().collect();
        // An empty one begins where the next does.
        tensors.sort_by(|(a, one), (b, other)| (one.data_offsets, a).cmp(&(other.data_offsets, b)));
        let tensor = |(name, info): (String, &TensorInfo)| Tensor {
            name,
            kind: format!("{:?}", info.dtype),
            shape: info.shape.clone(),
        };
        let mut metadata: BTreeMap<String, String> =
            header.metadata().iter().flatten().map(|(key, it)| (key.clone(), it.clone())).collect();
        let model = metadata.remove(HEADER).map(|_| {
            let spec = ModelSpec::of(weights)?;
            // A header that promises other tensors than there are is told, not believed.
            spec.read(weights).map(|_| spec)
        });
        Ok(Self { tensors: tensors.into_iter().map(tensor).collect(), metadata, model })
    }

    /// How many numbers there are in all.
    pub fn parameters(&self) -> u64 {
        self.tensors.iter().map(Tensor::len).fold(0, u64::saturating_add)
    }
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

    use safetensors::tensor::{Dtype, TensorView};

    use super::*;
    use crate::data::{Dataset, Embedded};
    use crate::model::Activation;

    #[test]
    fn a_built_in_model_says_everything() {
        let data = Dataset::embedded(Embedded::Iris).unwrap();
        let spec = ModelSpec::new(vec![8], Activation::Tanh, data.schema);
        let network = spec.untrained(1);
        let found = Contents::of(&spec.write(&network).unwrap()).unwrap();
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
        let found = Contents::of(&weights(&[("statistics", "[\"b\"]")])).unwrap();
        assert_eq!((found.parameters(), found.model), (6, None));
        assert_eq!(found.metadata["statistics"], "[\"b\"]");
        let b = Tensor { name: "b".into(), kind: "F64".into(), shape: vec![3] };
        assert_eq!(found.tensors[1], b);
        let lying = Contents::of(&weights(&[(HEADER, "{}")])).unwrap();
        assert!(matches!(lying.model, Some(Err(WeightsError::Header(_)))), "{lying:?}");
        let data = Dataset::embedded(Embedded::Iris).unwrap();
        let header = ModelSpec::new(vec![], Activation::Relu, data.schema);
        let header = serde_json::to_string(&header).unwrap();
        let lying = Contents::of(&weights(&[(HEADER, &header)])).unwrap();
        assert!(matches!(lying.model, Some(Err(WeightsError::Missing(_)))), "{lying:?}");
        assert!(Contents::of(&Weights::new("garbage")).is_err());
    }
}
