//! What a built-in model is: its shape, and the data it is for, as written in its header.

use std::collections::HashMap;

use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::data::{Schema, Target};
use super::network::{Layer, Network};
use colearn_sdk::learner::Weights;
use colearn_sdk::records::words::Word as _;

/// The key of the header among the safetensors metadata. The only key: the order of several would
/// differ from run to run, and with it the digest.
pub(super) const HEADER: &str = "colearn.model";
/// What the header calls its own format.
const FORMAT: &str = "colearn/model/v1";
/// More hidden layers than this are refused.
const MAX_LAYERS: usize = 64;

/// Why weights do not fit a model.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WeightsError {
    /// Not safetensors.
    #[error("the weights are not in the safetensors format: {0}")]
    Format(String),
    /// No header, or one that says what cannot be.
    #[error(
        "the weights do not say what model they are of ({0}); only built-in models can be used here"
    )]
    Header(String),
    /// The header describes another model.
    #[error("the weights are of another model than this learner's: {0}")]
    OtherModel(String),
    /// A tensor is missing.
    #[error("the weights have no tensor {0:?}; they are of another model")]
    Missing(String),
    /// There is a tensor too many.
    #[error("the weights have {found} tensors, their model has {expected}")]
    Count {
        /// In the weights.
        found: usize,
        /// In the model.
        expected: usize,
    },
    /// A tensor has another shape or type.
    #[error("tensor {name:?} is {found}, its model has {expected}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its type and shape.
        found: String,
        /// The expected type and shape.
        expected: String,
    },
    /// A weight is infinite or not a number.
    #[error("tensor {0:?} has values that are not finite numbers")]
    NotFinite(String),
}

/// What a hidden unit makes of its inputs' sum.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Activation {
    /// max(0, x).
    #[default]
    Relu,
    /// The hyperbolic tangent.
    Tanh,
}

/// A multilayer perceptron for a schema's data. With no hidden layer it is softmax regression or, if
/// a number is predicted, linear regression.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// The format of this description.
    format: String,
    /// The widths of the hidden layers, inputs first.
    pub hidden: Vec<usize>,
    /// Between the layers.
    pub activation: Activation,
    /// The data it is for: how many inputs and outputs, and what they mean.
    pub schema: Schema,
}

impl ModelSpec {
    /// A model for this data.
    pub fn new(hidden: Vec<usize>, activation: Activation, schema: Schema) -> Self {
        Self { format: FORMAT.to_owned(), hidden, activation, schema }
    }

    /// The hidden layers that are used where none are asked for.
    pub fn usual_hidden(schema: &Schema) -> Vec<usize> {
        vec![if schema.width() < 500 { 32 } else { 128 }]
    }

    /// The layer widths, inputs first, outputs last.
    pub fn widths(&self) -> Vec<usize> {
        let mut widths = vec![self.schema.width()];
        widths.extend(&self.hidden);
        widths.push(self.schema.target.width());
        widths
    }

    /// The layer widths in a word, such as `64-32-10`.
    pub fn shape(&self) -> String {
        let widths: Vec<String> = self.widths().iter().map(usize::to_string).collect();
        widths.join("-")
    }

    /// An untrained network, its weights drawn by seed.
    pub fn untrained(&self, seed: u64) -> Network {
        Network::new(&self.widths(), self.activation, self.is_classifier(), seed)
    }

    /// Whether a class is predicted.
    pub fn is_classifier(&self) -> bool {
        matches!(self.schema.target, Target::Class { .. })
    }

    /// Reads the header of some weights.
    ///
    /// # Errors
    /// If they have none, or one that cannot be.
    pub fn of(weights: &Weights) -> Result<Self, WeightsError> {
        let (_, metadata) = SafeTensors::read_metadata(weights.bytes()).map_err(format_error)?;
        Self::of_metadata(&metadata)
    }

    /// The same, of what stands before the weights' numbers.
    pub(super) fn of_metadata(metadata: &Metadata) -> Result<Self, WeightsError> {
        let header = metadata.metadata().as_ref().and_then(|entries| entries.get(HEADER));
        let header =
            header.ok_or_else(|| WeightsError::Header(format!("no {HEADER} in the metadata")))?;
        let spec: Self = serde_json::from_str(header)
            .map_err(|error| WeightsError::Header(error.to_string()))?;
        spec.check().map_err(WeightsError::Header)?;
        Ok(spec)
    }

    /// Whether these are its tensors, whatever their numbers are.
    pub(super) fn check_tensors(&self, metadata: &Metadata) -> Result<(), WeightsError> {
        let widths = self.widths();
        let (found, expected) = (metadata.offset_keys().len(), 2 * (widths.len() - 1));
        if found != expected {
            return Err(WeightsError::Count { found, expected });
        }
        for (at, pair) in widths.windows(2).enumerate() {
            let (inputs, outputs) = (pair[0], pair[1]);
            let tensors =
                [(weight_name(at), vec![outputs, inputs]), (bias_name(at), vec![outputs])];
            for (name, shape) in tensors {
                let Some(info) = metadata.info(&name) else {
                    return Err(WeightsError::Missing(name));
                };
                check_shape(&name, info.dtype, &info.shape, &shape)?;
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!("its format is {:?}, not {FORMAT:?}", self.format));
        }
        self.schema.check()?;
        let widths = self.widths();
        if self.hidden.len() > MAX_LAYERS || self.hidden.contains(&0) {
            return Err(format!("hidden layers {:?} cannot be", self.hidden));
        }
        let sizes = widths.windows(2).map(|pair| pair[0].saturating_mul(pair[1]));
        // What could be allocated must fit the weights that claim it; this only avoids overflow.
        if sizes.fold(0, usize::saturating_add) > 1 << 31 {
            return Err(format!("{} is too large", self.shape()));
        }
        Ok(())
    }

    /// How another model differs from this one, for people; `None` if it does not.
    pub fn difference(&self, other: &Self) -> Option<String> {
        if self == other {
            return None;
        }
        if self.shape() != other.shape() {
            return Some(format!("its layers are {}, not {}", other.shape(), self.shape()));
        }
        if self.activation != other.activation {
            return Some(format!(
                "its activation is {}, not {}",
                other.activation.word(),
                self.activation.word()
            ));
        }
        let (ours, theirs) = (&self.schema, &other.schema);
        let columns = ours.features.iter().zip(&theirs.features);
        if let Some((ours, theirs)) = columns.clone().find(|(ours, theirs)| ours != theirs) {
            return Some(format!("its column {theirs} is not {ours}"));
        }
        Some(format!("its target {:?} is not {:?}", theirs.target, ours.target))
    }

    /// The weights of a network of this model as safetensors: `layers.<i>.weight` of
    /// `[outputs, inputs]` and `layers.<i>.bias` of `[outputs]`, both F32, and this description in
    /// the metadata. The same network gives the same bytes.
    ///
    /// # Errors
    /// If they cannot be encoded.
    pub fn write(&self, network: &Network) -> Result<Weights, WeightsError> {
        let bytes_of = |values: &mut dyn Iterator<Item = &f32>| {
            values.flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>()
        };
        let mut tensors = Vec::new();
        for (at, layer) in network.layers().iter().enumerate() {
            let shape = layer.weight.shape().to_vec();
            tensors.push((weight_name(at), shape, bytes_of(&mut layer.weight.iter())));
            tensors.push((bias_name(at), vec![layer.bias.len()], bytes_of(&mut layer.bias.iter())));
        }
        let views = tensors
            .iter()
            .map(|(name, shape, bytes)| {
                Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes)?))
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(format_error)?;
        let header =
            serde_json::to_string(self).map_err(|error| WeightsError::Header(error.to_string()))?;
        let metadata = HashMap::from([(HEADER.to_owned(), header)]);
        Ok(Weights::new(safetensors::serialize(views, Some(metadata)).map_err(format_error)?))
    }

    /// The network that some weights of this model are.
    ///
    /// # Errors
    /// If they are not safetensors, or of another model, or not finite.
    pub fn read(&self, weights: &Weights) -> Result<Network, WeightsError> {
        let other = Self::of(weights)?;
        if let Some(difference) = self.difference(&other) {
            return Err(WeightsError::OtherModel(difference));
        }
        let tensors = SafeTensors::deserialize(weights.bytes()).map_err(format_error)?;
        let widths = self.widths();
        let expected = 2 * (widths.len() - 1);
        if tensors.len() != expected {
            return Err(WeightsError::Count { found: tensors.len(), expected });
        }
        let layers = widths.windows(2).enumerate().map(|(at, pair)| {
            let (inputs, outputs) = (pair[0], pair[1]);
            let weight = read_tensor(&tensors, &weight_name(at), &[outputs, inputs])?;
            let bias = read_tensor(&tensors, &bias_name(at), &[outputs])?;
            Layer::from_values(outputs, inputs, weight, bias)
                .ok_or_else(|| WeightsError::Missing(weight_name(at)))
        });
        let layers = layers.collect::<Result<_, _>>()?;
        Ok(Network::from_layers(layers, self.activation, self.is_classifier()))
    }
}

pub(super) fn format_error(error: SafeTensorError) -> WeightsError {
    WeightsError::Format(error.to_string())
}

fn weight_name(layer: usize) -> String {
    format!("layers.{layer}.weight")
}

fn bias_name(layer: usize) -> String {
    format!("layers.{layer}.bias")
}

fn check_shape(
    name: &str,
    dtype: Dtype,
    found: &[usize],
    shape: &[usize],
) -> Result<(), WeightsError> {
    if dtype == Dtype::F32 && found == shape {
        return Ok(());
    }
    Err(WeightsError::Shape {
        name: name.to_owned(),
        found: format!("{dtype:?} {found:?}"),
        expected: format!("{:?} {shape:?}", Dtype::F32),
    })
}

fn read_tensor(
    tensors: &SafeTensors<'_>,
    name: &str,
    shape: &[usize],
) -> Result<Vec<f32>, WeightsError> {
    let tensor = tensors.tensor(name).map_err(|_| WeightsError::Missing(name.to_owned()))?;
    check_shape(name, tensor.dtype(), tensor.shape(), shape)?;
    let (words, _) = tensor.data().as_chunks::<4>();
    let values: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
    // Without leaving early, so that many values are looked at at once.
    let broken = values.iter().fold(false, |broken, value| broken | !value.is_finite());
    if broken { Err(WeightsError::NotFinite(name.to_owned())) } else { Ok(values) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::data::Column;
    use super::*;

    fn spec(inputs: usize, hidden: &[usize], classes: usize) -> ModelSpec {
        let schema = Schema {
            features: vec![Column::Block {
                name: "x".into(),
                width: inputs,
                mean: 0.0,
                scale: 1.0,
            }],
            target: Target::Class {
                name: "y".into(),
                classes: (0..classes).map(|class| class.to_string()).collect(),
            },
        };
        ModelSpec::new(hidden.to_vec(), Activation::Relu, schema)
    }

    #[test]
    fn weights_survive_their_bytes_and_are_checked() {
        let ours = spec(4, &[3], 2);
        let network = ours.untrained(1);
        let weights = ours.write(&network).unwrap();
        assert_eq!(ours.write(&network).unwrap(), weights);
        assert_eq!(ModelSpec::of(&weights).unwrap(), ours);
        assert_eq!(ours.read(&weights).unwrap(), network);
        let refuse = |other: ModelSpec| other.read(&weights).unwrap_err().to_string();
        assert!(refuse(spec(5, &[3], 2)).contains("its layers are 4-3-2, not 5-3-2"));
        let tanh = ModelSpec { activation: Activation::Tanh, ..ours.clone() };
        assert!(refuse(tanh).contains("its activation is relu, not tanh"));
        let mut scaled = ours.clone();
        scaled.schema.features[0] =
            Column::Block { name: "x".into(), width: 4, mean: 0.0, scale: 2.0 };
        assert!(refuse(scaled).contains(
            "its column x: 4 numbers, each (x - 0) / 1 is not x: 4 numbers, each (x - 0) / 2"
        ));
        let garbage = Weights::new(&b"garbage"[..]);
        assert!(matches!(ours.read(&garbage), Err(WeightsError::Format(_))));
        let bare = safetensors::serialize(Vec::<(&str, TensorView<'_>)>::new(), None).unwrap();
        assert!(matches!(ModelSpec::of(&Weights::new(bare)), Err(WeightsError::Header(_))));
        // A header that promises more than there is.
        let text = String::from_utf8_lossy(weights.bytes()).replace("[3]", "[9]");
        assert!(text.contains("hidden\\\":[9]"), "{text}");
        for value in [f32::NAN, f32::INFINITY] {
            let mut broken = network.clone();
            broken.layers_mut()[1].bias[0] = value;
            let broken = ours.write(&broken).unwrap();
            let expected = Err(WeightsError::NotFinite("layers.1.bias".to_owned()));
            assert_eq!(ours.read(&broken), expected);
        }
    }
}
