//! A model's weights as numbers in a row, which is what attacks and rules work with.

use std::ops::Range;

use safetensors::tensor::{Dtype, Metadata, SafeTensorError, SafeTensors};

use super::subject::Subject;
use colearn_learning::model::{ModelSpec, WeightsError};
use colearn_sdk::learner::Weights;

/// Why weights are no numbers in a row.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum NumbersError {
    /// Not of the built-in model.
    #[error(transparent)]
    Builtin(#[from] WeightsError),
    /// Not safetensors.
    #[error("the weights are not in the safetensors format: {0}")]
    Format(String),
    /// Numbers that nothing here computes with.
    #[error(
        "tensor {tensor:?} is {kind}; attacks on weights and rules take floats of 32 and 64 bits \
         (whole numbers stay as they are)"
    )]
    Kind {
        /// The tensor.
        tensor: String,
        /// Its type.
        kind: String,
    },
    /// No floats at all.
    #[error(
        "the weights have no floats of 32 or 64 bits, and attacks on weights and rules compute with those"
    )]
    None,
    /// Of another model than that which the run began with.
    #[error("the weights are of another model than that which the run began with: {0}")]
    Other(String),
    /// Infinite or no number.
    #[error("tensor {0:?} has values that are not finite numbers")]
    NotFinite(String),
    /// More or fewer than the model has.
    #[error("they are {found} numbers, and the model has {expected}")]
    Count {
        /// That were given.
        found: usize,
        /// That it has.
        expected: usize,
    },
}

impl From<SafeTensorError> for NumbersError {
    fn from(error: SafeTensorError) -> Self {
        Self::Format(error.to_string())
    }
}

/// How a model's weights are numbers in a row.
#[derive(Debug)]
pub(super) enum Numbers {
    /// A built-in one's: layer by layer, weights before biases.
    Builtin(ModelSpec),
    /// Any other's in safetensors: tensor by tensor, in the order of their names.
    Tensors(Vec<Tensor>),
}

/// A tensor of a model.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Tensor {
    name: String,
    kind: Dtype,
    shape: Vec<usize>,
}

impl Numbers {
    /// Those of a learner's model.
    ///
    /// # Errors
    /// If it is not safetensors, or has floats of another width.
    pub(super) fn of(learner: &Subject) -> Result<Self, NumbersError> {
        match learner.builtin() {
            Some(learner) => Ok(Self::Builtin(learner.spec().clone())),
            None => Self::of_weights(&learner.current()),
        }
    }

    fn of_weights(weights: &Weights) -> Result<Self, NumbersError> {
        let (_, metadata) = SafeTensors::read_metadata(weights.bytes())?;
        let tensors = tensors(&metadata);
        if let Some(other) = tensors.iter().find(|it| !it.is_computed_with() && !it.stays()) {
            let (tensor, kind) = (other.name.clone(), format!("{:?}", other.kind));
            return Err(NumbersError::Kind { tensor, kind });
        }
        match tensors.iter().any(Tensor::is_computed_with) {
            true => Ok(Self::Tensors(tensors)),
            false => Err(NumbersError::None),
        }
    }

    /// The names and shapes of the tensors, in the order of the numbers.
    pub(super) fn layout(&self) -> Vec<(String, Vec<usize>)> {
        match self {
            Self::Builtin(spec) => {
                let widths = spec.widths();
                let layers = widths.windows(2).enumerate().flat_map(|(at, pair)| {
                    let weight = (format!("layers.{at}.weight"), vec![pair[1], pair[0]]);
                    [weight, (format!("layers.{at}.bias"), vec![pair[1]])]
                });
                layers.collect()
            }
            Self::Tensors(tensors) => {
                let computed = tensors.iter().filter(|tensor| tensor.is_computed_with());
                computed.map(|tensor| (tensor.name.clone(), tensor.shape.clone())).collect()
            }
        }
    }

    /// The numbers of some weights.
    ///
    /// # Errors
    /// If they are of another model, or not finite.
    pub(super) fn read(&self, weights: &Weights) -> Result<Vec<f32>, NumbersError> {
        let tensors = match self {
            Self::Builtin(spec) => return Ok(spec.read(weights)?.values().collect()),
            Self::Tensors(tensors) => tensors,
        };
        let bytes = weights.bytes();
        let (header, metadata) = SafeTensors::read_metadata(bytes)?;
        let body = &bytes[BEFORE_HEADER + header..];
        let mut values = Vec::new();
        for (tensor, place) in placed(tensors, &metadata)? {
            let begin = values.len();
            match tensor.kind {
                Dtype::F64 => {
                    let (words, _) = body[place].as_chunks::<8>();
                    values.extend(words.iter().map(|word| f64::from_le_bytes(*word) as f32));
                }
                _ => {
                    let (words, _) = body[place].as_chunks::<4>();
                    values.extend(words.iter().map(|word| f32::from_le_bytes(*word)));
                }
            }
            if !values[begin..].iter().all(|value| value.is_finite()) {
                return Err(NumbersError::NotFinite(tensor.name.clone()));
            }
        }
        Ok(values)
    }

    /// Weights with these numbers, and whatever else some others have.
    ///
    /// # Errors
    /// If those are of another model, or the numbers are too many or too few.
    pub(super) fn write(&self, like: &Weights, values: &[f32]) -> Result<Weights, NumbersError> {
        let count = |expected: usize| match values.len() == expected {
            true => Ok(()),
            false => Err(NumbersError::Count { found: values.len(), expected }),
        };
        let tensors = match self {
            Self::Builtin(spec) => {
                let mut network = spec.read(like)?;
                count(network.parameters())?;
                network.set_values(values.iter().copied());
                return Ok(spec.write(&network)?);
            }
            Self::Tensors(tensors) => tensors,
        };
        let mut bytes = like.bytes().to_vec();
        let (header, metadata) = SafeTensors::read_metadata(&bytes)?;
        let places = placed(tensors, &metadata)?;
        let numbers = |tensor: &Tensor| tensor.shape.iter().product::<usize>();
        count(places.iter().map(|(tensor, _)| numbers(tensor)).sum())?;
        let body = &mut bytes[BEFORE_HEADER + header..];
        let mut left = values;
        for (tensor, place) in places {
            let (these, others) = left.split_at(numbers(tensor));
            left = others;
            match tensor.kind {
                Dtype::F64 => {
                    let (words, _) = body[place].as_chunks_mut::<8>();
                    let written = words.iter_mut().zip(these);
                    written.for_each(|(to, value)| *to = f64::from(*value).to_le_bytes());
                }
                _ => {
                    let (words, _) = body[place].as_chunks_mut::<4>();
                    let written = words.iter_mut().zip(these);
                    written.for_each(|(to, value)| *to = value.to_le_bytes());
                }
            }
        }
        Ok(Weights::new(bytes))
    }
}

/// The header's length stands before it.
const BEFORE_HEADER: usize = 8;

impl Tensor {
    fn is_computed_with(&self) -> bool {
        matches!(self.kind, Dtype::F32 | Dtype::F64)
    }

    /// What is counted, and not learned.
    fn stays(&self) -> bool {
        use Dtype::{BOOL, I8, I16, I32, I64, U8, U16, U32, U64};
        matches!(self.kind, BOOL | I8 | I16 | I32 | I64 | U8 | U16 | U32 | U64)
    }
}

/// All tensors, by name.
fn tensors(metadata: &Metadata) -> Vec<Tensor> {
    let all = metadata.tensors().into_iter();
    let mut tensors: Vec<Tensor> = all
        .map(|(name, info)| Tensor { name, kind: info.dtype, shape: info.shape.clone() })
        .collect();
    tensors.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    tensors
}

/// A tensor that is computed with, and where it lies in some weights, behind the header.
type Placed<'a> = (&'a Tensor, Range<usize>);

/// All of them, in order.
fn placed<'a>(tensors: &'a [Tensor], metadata: &Metadata) -> Result<Vec<Placed<'a>>, NumbersError> {
    let found = metadata.tensors();
    if found.len() != tensors.len() {
        let (found, expected) = (found.len(), tensors.len());
        return Err(NumbersError::Other(format!("{found} tensors, and not {expected}")));
    }
    let mut places = Vec::new();
    for tensor in tensors {
        let Some(info) = found.get(&tensor.name) else {
            return Err(NumbersError::Other(format!("there is no tensor {:?}", tensor.name)));
        };
        if (info.dtype, &info.shape) != (tensor.kind, &tensor.shape) {
            return Err(NumbersError::Other(format!(
                "tensor {:?} is {:?} {:?}, and not {:?} {:?}",
                tensor.name, info.dtype, info.shape, tensor.kind, tensor.shape
            )));
        }
        if tensor.is_computed_with() {
            let (from, to) = info.data_offsets;
            places.push((tensor, from..to));
        }
    }
    Ok(places)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use safetensors::tensor::TensorView;

    use super::*;

    /// A float of each width, and a counter between them.
    fn weights(b: f32, a: f64, count: i64) -> Weights {
        let tensor = |name, kind, bytes: &[u8]| (name, kind, bytes.to_vec());
        let all = [
            tensor("b", Dtype::F32, &[b.to_le_bytes(), (2.0 * b).to_le_bytes()].concat()),
            tensor("a", Dtype::F64, &a.to_le_bytes()),
            tensor("counted", Dtype::I64, &count.to_le_bytes()),
        ];
        let views = all.iter().map(|(name, kind, bytes)| {
            let shape = vec![if *name == "b" { 2 } else { 1 }];
            (*name, TensorView::new(*kind, shape, bytes).unwrap())
        });
        Weights::new(safetensors::serialize(views, None).unwrap())
    }

    #[test]
    fn floats_are_numbers_by_name_and_counters_stay() {
        let first = weights(1.0, 0.5, 7);
        let numbers = Numbers::of_weights(&first).unwrap();
        let named = [("a".to_owned(), vec![1]), ("b".to_owned(), vec![2])];
        assert_eq!(numbers.layout(), named);
        assert_eq!(numbers.read(&first).unwrap(), [0.5, 1.0, 2.0]);
        let written = numbers.write(&first, &[0.25, 3.0, 6.0]).unwrap();
        assert_eq!(written, weights(3.0, 0.25, 7));
        let short = numbers.write(&first, &[0.25]);
        assert_eq!(short, Err(NumbersError::Count { found: 1, expected: 3 }));
    }

    #[test]
    fn what_is_no_model_of_the_kind_is_refused() {
        let numbers = Numbers::of_weights(&weights(1.0, 0.5, 7)).unwrap();
        let broken = numbers.read(&weights(f32::NAN, 0.5, 7));
        assert_eq!(broken, Err(NumbersError::NotFinite("b".to_owned())));
        let huge = numbers.read(&weights(1.0, 1e300, 7));
        assert_eq!(huge, Err(NumbersError::NotFinite("a".to_owned())), "it fits no float");
        assert!(matches!(numbers.read(&Weights::new("text")), Err(NumbersError::Format(_))));
        let half = TensorView::new(Dtype::F16, vec![1], &[0, 0]).unwrap();
        let half = Weights::new(safetensors::serialize([("a", half)], None).unwrap());
        assert!(matches!(numbers.read(&half), Err(NumbersError::Other(_))));
        let refused = Numbers::of_weights(&half).unwrap_err().to_string();
        assert!(refused.contains("F16"), "{refused}");
    }
}
