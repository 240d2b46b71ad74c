//! Softmax regression and multilayer perceptrons, trained by stochastic gradient descent.

use std::collections::HashMap;

use ndarray::{Array1, Array2, ArrayView2, Axis, Zip};
use rand::SeedableRng as _;
use rand::distr::{Distribution as _, Uniform};
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::learner::Weights;

/// Why weights do not fit a network.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WeightsError {
    /// Not safetensors.
    #[error("the weights are not in the safetensors format: {0}")]
    Format(String),
    /// A tensor is missing.
    #[error("the weights have no tensor {0:?}; they are of another model")]
    Missing(String),
    /// There is a tensor too many.
    #[error(
        "the weights have {found} tensors, this learner's model {expected}; start it with the experiment's --model"
    )]
    Count {
        /// In the weights.
        found: usize,
        /// In the model.
        expected: usize,
    },
    /// A tensor has another shape or type.
    #[error(
        "tensor {name:?} is {found}, this learner's model has {expected}; start it with the same --model and data columns as the experiment"
    )]
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

/// One fully connected layer: `outputs = inputs · weightᵀ + bias`.
#[derive(Clone, PartialEq, Debug)]
struct Layer {
    /// `[outputs, inputs]`.
    weight: Array2<f32>,
    /// `[outputs]`.
    bias: Array1<f32>,
}

/// A multilayer perceptron with ReLU between its layers and softmax behind them. With no hidden
/// layer it is softmax regression.
#[derive(Clone, PartialEq, Debug)]
pub struct Network {
    layers: Vec<Layer>,
}

/// What a data set makes of a network.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Evaluation {
    /// The mean cross entropy, in nats.
    pub loss: f64,
    /// The share of rows whose most likely class is right.
    pub accuracy: f64,
}

/// How a network is trained.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sgd {
    /// The step size.
    pub learning_rate: f32,
    /// The share of the last step that is added to the next; 0 for plain gradient descent.
    pub momentum: f32,
}

impl Network {
    /// A network with these layer widths, inputs first, its weights drawn by seed from ±√(6 /
    /// inputs) (He et al. 2015), its biases zero.
    pub fn new(widths: &[usize], seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let layers = widths.windows(2).map(|pair| {
            let (inputs, outputs) = (pair[0], pair[1]);
            let bound = (6.0 / inputs.max(1) as f32).sqrt();
            let weight = match Uniform::new_inclusive(-bound, bound) {
                Ok(uniform) => {
                    Array2::from_shape_simple_fn((outputs, inputs), || uniform.sample(&mut random))
                }
                // The bound is finite and positive.
                Err(_) => Array2::zeros((outputs, inputs)),
            };
            Layer { weight, bias: Array1::zeros(outputs) }
        });
        Self { layers: layers.collect() }
    }

    /// The layer widths, inputs first, such as `64-32-10`.
    pub fn description(&self) -> String {
        let mut text = self.layers.first().map_or(0, |layer| layer.weight.ncols()).to_string();
        for layer in &self.layers {
            text += &format!("-{}", layer.weight.nrows());
        }
        text
    }

    /// The probabilities of the classes: `[rows, classes]`.
    pub fn predict(&self, features: ArrayView2<'_, f32>) -> Array2<f32> {
        let mut outputs = self.forward(features);
        // The network has at least one layer.
        outputs.pop().unwrap_or_default()
    }

    /// The inputs of every layer, then the probabilities.
    fn forward(&self, features: ArrayView2<'_, f32>) -> Vec<Array2<f32>> {
        let mut inputs = vec![features.to_owned()];
        for (at, layer) in self.layers.iter().enumerate() {
            let mut outputs = inputs[at].dot(&layer.weight.t());
            outputs += &layer.bias;
            if at + 1 < self.layers.len() {
                outputs.mapv_inplace(|x| x.max(0.0));
            } else {
                softmax(&mut outputs);
            }
            inputs.push(outputs);
        }
        inputs
    }

    /// Evaluates the network on rows of features with their classes.
    pub fn evaluate(&self, features: ArrayView2<'_, f32>, labels: &[usize]) -> Evaluation {
        let probabilities = self.predict(features);
        let (mut loss, mut right) = (0.0, 0_u32);
        for (row, label) in probabilities.rows().into_iter().zip(labels) {
            loss -= f64::from(row[*label].max(f32::MIN_POSITIVE)).ln();
            let better = |x: &&f32| **x > row[*label];
            // A tie with a wrong class is not right; NaN never is.
            let ties = row.iter().filter(|x| **x == row[*label]).count();
            if ties == 1 && !row.iter().any(|x| better(&x)) {
                right += 1;
            }
        }
        let rows = labels.len().max(1) as f64;
        Evaluation { loss: loss / rows, accuracy: f64::from(right) / rows }
    }

    /// Takes one step of gradient descent on a batch. `velocity` is the last step, for momentum.
    pub fn step(
        &mut self,
        features: ArrayView2<'_, f32>,
        labels: &[usize],
        sgd: Sgd,
        velocity: &mut Velocity,
    ) {
        let mut inputs = self.forward(features);
        // The gradient of the mean cross entropy by the softmax's inputs.
        let Some(mut delta) = inputs.pop() else { return };
        for (mut row, label) in delta.rows_mut().into_iter().zip(labels) {
            row[*label] -= 1.0;
        }
        delta /= labels.len().max(1) as f32;
        for (at, layer) in self.layers.iter_mut().enumerate().rev() {
            let weight_gradient = delta.t().dot(&inputs[at]);
            let bias_gradient = delta.sum_axis(Axis(0));
            let passed_on = (at > 0).then(|| {
                let mut below = delta.dot(&layer.weight);
                Zip::from(&mut below).and(&inputs[at]).for_each(|gradient, output| {
                    if *output <= 0.0 {
                        *gradient = 0.0;
                    }
                });
                below
            });
            let last = &mut velocity.0[at];
            Zip::from(&mut layer.weight).and(&mut last.weight).and(&weight_gradient).for_each(
                |weight, last, gradient| {
                    *last = sgd.momentum * *last - sgd.learning_rate * gradient;
                    *weight += *last;
                },
            );
            Zip::from(&mut layer.bias).and(&mut last.bias).and(&bias_gradient).for_each(
                |bias, last, gradient| {
                    *last = sgd.momentum * *last - sgd.learning_rate * gradient;
                    *bias += *last;
                },
            );
            if let Some(below) = passed_on {
                delta = below;
            }
        }
    }

    /// No velocity yet, for a network of this shape.
    pub fn at_rest(&self) -> Velocity {
        let still = |layer: &Layer| Layer {
            weight: Array2::zeros(layer.weight.raw_dim()),
            bias: Array1::zeros(layer.bias.raw_dim()),
        };
        Velocity(self.layers.iter().map(still).collect())
    }

    /// The weights as safetensors: `layers.<i>.weight` of `[outputs, inputs]` and
    /// `layers.<i>.bias`, both F32. The same network gives the same bytes.
    ///
    /// # Errors
    /// If they cannot be encoded.
    pub fn to_weights(&self) -> Result<Weights, WeightsError> {
        let bytes_of = |values: &mut dyn Iterator<Item = &f32>| {
            values.flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>()
        };
        let mut tensors = Vec::new();
        for (at, layer) in self.layers.iter().enumerate() {
            let shape = layer.weight.shape().to_vec();
            tensors.push((weight_name(at), shape, bytes_of(&mut layer.weight.iter())));
            tensors.push((bias_name(at), vec![layer.bias.len()], bytes_of(&mut layer.bias.iter())));
        }
        let format = |error: safetensors::SafeTensorError| WeightsError::Format(error.to_string());
        let views = tensors
            .iter()
            .map(|(name, shape, bytes)| {
                Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes)?))
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(format)?;
        // One key only: the order of several would differ from run to run.
        let metadata = HashMap::from([("colearn.model".to_owned(), self.description())]);
        let bytes = safetensors::serialize(views, Some(metadata)).map_err(format)?;
        Ok(Weights::new(bytes))
    }

    /// A network of this one's shape with other weights.
    ///
    /// # Errors
    /// If they are not safetensors, or not of this network's shape, or not finite.
    pub fn with_weights(&self, weights: &Weights) -> Result<Self, WeightsError> {
        let tensors = SafeTensors::deserialize(weights.bytes())
            .map_err(|error| WeightsError::Format(error.to_string()))?;
        if tensors.len() != 2 * self.layers.len() {
            let (found, expected) = (tensors.len(), 2 * self.layers.len());
            return Err(WeightsError::Count { found, expected });
        }
        let mut network = self.clone();
        for (at, layer) in network.layers.iter_mut().enumerate() {
            let shape = layer.weight.shape().to_vec();
            let values = read_tensor(&tensors, &weight_name(at), &shape)?;
            layer.weight.iter_mut().zip(values).for_each(|(to, from)| *to = from);
            let values = read_tensor(&tensors, &bias_name(at), &[layer.bias.len()])?;
            layer.bias.iter_mut().zip(values).for_each(|(to, from)| *to = from);
        }
        Ok(network)
    }
}

/// The last step of every weight.
#[derive(Clone, Debug)]
pub struct Velocity(Vec<Layer>);

fn weight_name(layer: usize) -> String {
    format!("layers.{layer}.weight")
}

fn bias_name(layer: usize) -> String {
    format!("layers.{layer}.bias")
}

fn read_tensor(
    tensors: &SafeTensors<'_>,
    name: &str,
    shape: &[usize],
) -> Result<Vec<f32>, WeightsError> {
    let tensor = tensors.tensor(name).map_err(|_| WeightsError::Missing(name.to_owned()))?;
    if tensor.dtype() != Dtype::F32 || tensor.shape() != shape {
        return Err(WeightsError::Shape {
            name: name.to_owned(),
            found: format!("{:?} {:?}", tensor.dtype(), tensor.shape()),
            expected: format!("{:?} {shape:?}", Dtype::F32),
        });
    }
    let words = tensor.data().chunks_exact(4);
    let values: Vec<f32> =
        words.map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect();
    if values.iter().all(|value| value.is_finite()) {
        Ok(values)
    } else {
        Err(WeightsError::NotFinite(name.to_owned()))
    }
}

/// Turns each row into probabilities.
fn softmax(outputs: &mut Array2<f32>) {
    for mut row in outputs.rows_mut() {
        // Subtracting the largest keeps the exponentials finite.
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        row.mapv_inplace(|x| (x - largest).exp());
        let sum = row.sum();
        row /= sum;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ndarray::array;

    use super::*;

    /// The step of plain gradient descent against finite differences of the loss.
    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let network = Network::new(&[3, 4, 2], 7);
        let features = array![[0.5, -1.0, 2.0], [1.5, 0.3, -0.7]];
        let labels = [0, 1];
        let sgd = Sgd { learning_rate: 1.0, momentum: 0.0 };
        let mut stepped = network.clone();
        stepped.step(features.view(), &labels, sgd, &mut network.at_rest());
        for (layer, row, column) in [(0, 0, 0), (0, 2, 1), (0, 3, 2), (1, 0, 3), (1, 1, 1)] {
            let gradient = network.layers[layer].weight[[row, column]]
                - stepped.layers[layer].weight[[row, column]];
            let loss = |by: f32| {
                let mut moved = network.clone();
                moved.layers[layer].weight[[row, column]] += by;
                moved.evaluate(features.view(), &labels).loss
            };
            let expected = (loss(1e-2) - loss(-1e-2)) / 2e-2;
            assert!((f64::from(gradient) - expected).abs() < 2e-3, "{gradient} {expected}");
        }
    }

    #[test]
    fn weights_survive_their_bytes_and_are_checked() {
        let network = Network::new(&[4, 3, 2], 1);
        let weights = network.to_weights().unwrap();
        assert_eq!(network.to_weights().unwrap(), weights);
        assert_eq!(Network::new(&[4, 3, 2], 2).with_weights(&weights).unwrap(), network);
        let refuse = |widths: &[usize]| Network::new(widths, 1).with_weights(&weights).unwrap_err();
        let error = refuse(&[5, 3, 2]).to_string();
        assert!(error.contains("F32 [3, 4], this learner's model has F32 [3, 5]"), "{error}");
        assert!(matches!(refuse(&[4, 2]), WeightsError::Count { found: 4, expected: 2 }));
        let garbage = Weights::new(&b"garbage"[..]);
        assert!(matches!(network.with_weights(&garbage), Err(WeightsError::Format(_))));
        let mut broken = network.clone();
        broken.layers[1].bias[0] = f32::NAN;
        let broken = broken.to_weights().unwrap();
        assert_eq!(
            network.with_weights(&broken),
            Err(WeightsError::NotFinite("layers.1.bias".to_owned()))
        );
    }
}
