//! Fully connected networks: forward, and backward with or without clipping each example.

use ndarray::linalg::{general_mat_mul, general_mat_vec_mul};
use ndarray::{Array1, Array2, ArrayView2, Axis, Zip};
use rand::SeedableRng as _;
use rand::distr::{Distribution as _, Uniform};
use rand_chacha::ChaCha8Rng;

use super::data::Targets;
use super::model::Activation;

/// Rows that are evaluated at a time.
const CHUNK: usize = 256;
/// For so few rows in all, preparing a product of matrices takes longer than the product.
const FEW: usize = 4;

/// inputs · weightᵀ.
fn at_once(inputs: &Array2<f32>, weight: &Array2<f32>, outputs: &mut Array2<f32>) {
    general_mat_mul(1.0, inputs, &weight.t(), 0.0, outputs);
}

/// The same, but for rounding.
fn by_row(inputs: &Array2<f32>, weight: &Array2<f32>, outputs: &mut Array2<f32>) {
    for (inputs, mut outputs) in inputs.rows().into_iter().zip(outputs.rows_mut()) {
        general_mat_vec_mul(1.0, weight, &inputs, 0.0, &mut outputs);
    }
}

/// One fully connected layer: outputs = inputs · weightᵀ + bias.
#[derive(Clone, PartialEq, Debug)]
pub struct Layer {
    /// `[outputs, inputs]`.
    pub weight: Array2<f32>,
    /// `[outputs]`.
    pub bias: Array1<f32>,
}

impl Layer {
    fn zeros(outputs: usize, inputs: usize) -> Self {
        Self { weight: Array2::zeros((outputs, inputs)), bias: Array1::zeros(outputs) }
    }

    /// A layer of these values, in rows; `None` if they are too many or too few.
    pub(super) fn from_values(
        outputs: usize,
        inputs: usize,
        weight: Vec<f32>,
        bias: Vec<f32>,
    ) -> Option<Self> {
        let weight = Array2::from_shape_vec((outputs, inputs), weight).ok()?;
        (bias.len() == outputs).then(|| Self { weight, bias: bias.into() })
    }

    /// Zeros of the same shape.
    pub(super) fn like(&self) -> Self {
        Self::zeros(self.weight.nrows(), self.weight.ncols())
    }

    /// Weights and biases, each as one slice.
    pub fn slices(&self) -> [&[f32]; 2] {
        // Both are made in standard layout and never reshaped.
        [self.weight.as_slice().unwrap_or_default(), self.bias.as_slice().unwrap_or_default()]
    }

    /// The same, to write to.
    pub fn slices_mut(&mut self) -> [&mut [f32]; 2] {
        [
            self.weight.as_slice_mut().unwrap_or_default(),
            self.bias.as_slice_mut().unwrap_or_default(),
        ]
    }
}

/// A multilayer perceptron; behind its last layer is softmax, or nothing if it predicts a number.
#[derive(Clone, PartialEq, Debug)]
pub struct Network {
    layers: Vec<Layer>,
    activation: Activation,
    classifier: bool,
}

/// Room for one batch on its way through a network; kept from batch to batch.
#[derive(Debug, Default)]
pub struct Workspace {
    /// The batch, then every layer's outputs: `[rows, width]`.
    outputs: Vec<Array2<f32>>,
    /// The loss's gradient by every layer's sums: `[rows, width]`.
    deltas: Vec<Array2<f32>>,
    /// The loss's gradient by the weights, layer by layer.
    pub gradients: Vec<Layer>,
}

impl Workspace {
    fn fit(&mut self, network: &Network, rows: usize) {
        if self.outputs.first().is_some_and(|batch| batch.nrows() == rows) {
            return;
        }
        let widths = network.layers.iter().map(|layer| layer.weight.nrows());
        self.deltas = widths.map(|width| Array2::zeros((rows, width))).collect();
        self.outputs = vec![Array2::zeros((rows, network.inputs()))];
        self.outputs.extend(self.deltas.iter().cloned());
    }

    /// Whoever only predicts needs none, and they are as large as the network.
    fn fit_gradients(&mut self, network: &Network) {
        if self.gradients.is_empty() {
            self.gradients = network.layers.iter().map(Layer::like).collect();
        }
    }
}

impl Network {
    /// A network with these layer widths, inputs first, its weights drawn by seed from ±√(6 /
    /// inputs) (He et al. 2015), its biases zero.
    pub fn new(widths: &[usize], activation: Activation, classifier: bool, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let layers = widths.windows(2).map(|pair| {
            let (inputs, outputs) = (pair[0], pair[1]);
            let bound = (6.0 / inputs.max(1) as f32).sqrt();
            let mut layer = Layer::zeros(outputs, inputs);
            // The bound is finite and positive.
            if let Ok(uniform) = Uniform::new_inclusive(-bound, bound) {
                layer.weight.mapv_inplace(|_| uniform.sample(&mut random));
            }
            layer
        });
        Self { layers: layers.collect(), activation, classifier }
    }

    pub(super) fn from_layers(
        layers: Vec<Layer>,
        activation: Activation,
        classifier: bool,
    ) -> Self {
        Self { layers, activation, classifier }
    }

    /// The layers, inputs first.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The layers, to change.
    pub fn layers_mut(&mut self) -> &mut [Layer] {
        &mut self.layers
    }

    /// How many weights and biases there are.
    pub fn parameters(&self) -> usize {
        self.layers.iter().map(|layer| layer.weight.len() + layer.bias.len()).sum()
    }

    /// All weights and biases, layer by layer.
    pub fn values(&self) -> impl Iterator<Item = f32> + '_ {
        self.layers.iter().flat_map(Layer::slices).flatten().copied()
    }

    /// Sets the weights and biases in the order in which [`Self::values`] gives them. What there is no value
    /// for stays.
    pub fn set_values(&mut self, values: impl IntoIterator<Item = f32>) {
        let all = self.layers.iter_mut().flat_map(Layer::slices_mut).flatten();
        all.zip(values).for_each(|(to, from)| *to = from);
    }

    /// Whether all weights are finite numbers.
    pub fn is_finite(&self) -> bool {
        self.values().all(f32::is_finite)
    }

    fn inputs(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.weight.ncols())
    }

    /// What the network makes of rows of `features`: probabilities of the classes `[rows, classes]`,
    /// or numbers `[rows, 1]`.
    pub fn predict(&self, features: ArrayView2<'_, f32>, rows: &[usize]) -> Array2<f32> {
        let width = self.layers.last().map_or(0, |layer| layer.bias.len());
        let mut all = Array2::zeros((rows.len(), width));
        let mut workspace = Workspace::default();
        let multiply = if rows.len() <= FEW { by_row } else { at_once };
        for (chunk, mut to) in rows.chunks(CHUNK).zip(all.axis_chunks_iter_mut(Axis(0), CHUNK)) {
            self.forward(features, chunk, &mut workspace, multiply);
            if let Some(outputs) = workspace.outputs.last() {
                to.assign(outputs);
            }
        }
        all
    }

    /// Fills the workspace's outputs.
    fn forward(
        &self,
        features: ArrayView2<'_, f32>,
        rows: &[usize],
        workspace: &mut Workspace,
        multiply: fn(&Array2<f32>, &Array2<f32>, &mut Array2<f32>),
    ) {
        workspace.fit(self, rows.len());
        for (row, mut to) in rows.iter().zip(workspace.outputs[0].rows_mut()) {
            to.assign(&features.row(*row));
        }
        for (at, layer) in self.layers.iter().enumerate() {
            let (before, after) = workspace.outputs.split_at_mut(at + 1);
            let (inputs, outputs) = (&before[at], &mut after[0]);
            multiply(inputs, &layer.weight, outputs);
            *outputs += &layer.bias;
            if at + 1 < self.layers.len() {
                match self.activation {
                    Activation::Relu => outputs.mapv_inplace(|x| x.max(0.0)),
                    Activation::Tanh => outputs.mapv_inplace(f32::tanh),
                }
            } else if self.classifier {
                softmax(outputs);
            }
        }
    }

    /// Fills the workspace's deltas with each example's own gradient, not averaged: of the cross
    /// entropy, or of the squared error. A row of a class counts as `class_weights` say, if they do.
    fn backward(
        &self,
        targets: &Targets,
        rows: &[usize],
        class_weights: Option<&[f32]>,
        workspace: &mut Workspace,
    ) {
        let last = self.layers.len() - 1;
        let outputs = &workspace.outputs[last + 1];
        let delta = &mut workspace.deltas[last];
        delta.assign(outputs);
        match targets {
            Targets::Classes(classes) => {
                for (row, mut delta) in rows.iter().zip(delta.rows_mut()) {
                    let class = classes[*row] as usize;
                    delta[class] -= 1.0;
                    if let Some(weights) = class_weights {
                        delta *= weights[class];
                    }
                }
            }
            Targets::Numbers(numbers) => {
                for (row, mut delta) in rows.iter().zip(delta.rows_mut()) {
                    delta.mapv_inplace(|output| 2.0 * (output - numbers[*row]));
                }
            }
        }
        for at in (0..last).rev() {
            let (below, above) = workspace.deltas.split_at_mut(at + 1);
            let delta = &mut below[at];
            general_mat_mul(1.0, &above[0], &self.layers[at + 1].weight, 0.0, delta);
            let outputs = &workspace.outputs[at + 1];
            match self.activation {
                Activation::Relu => Zip::from(delta).and(outputs).for_each(|delta, output| {
                    *delta = if *output > 0.0 { *delta } else { 0.0 };
                }),
                Activation::Tanh => Zip::from(delta).and(outputs).for_each(|delta, output| {
                    *delta *= 1.0 - output * output;
                }),
            }
        }
    }

    /// Sums the examples' gradients, each times its factor, times `scale`.
    fn sum_gradients(&self, workspace: &mut Workspace, scale: f32) {
        workspace.fit_gradients(self);
        for (at, gradient) in workspace.gradients.iter_mut().enumerate() {
            let (delta, inputs) = (&workspace.deltas[at], &workspace.outputs[at]);
            general_mat_mul(scale, &delta.t(), inputs, 0.0, &mut gradient.weight);
            gradient.bias.fill(0.0);
            for row in delta.rows() {
                gradient.bias.scaled_add(scale, &row);
            }
        }
    }

    /// Computes the gradient of the mean loss over some rows into the workspace.
    pub fn gradient(
        &self,
        features: ArrayView2<'_, f32>,
        targets: &Targets,
        rows: &[usize],
        workspace: &mut Workspace,
    ) {
        self.weighted_gradient(features, targets, rows, None, workspace);
    }

    /// The same, where a row's loss counts as its class does.
    pub fn weighted_gradient(
        &self,
        features: ArrayView2<'_, f32>,
        targets: &Targets,
        rows: &[usize],
        class_weights: Option<&[f32]>,
        workspace: &mut Workspace,
    ) {
        self.forward(features, rows, workspace, at_once);
        self.backward(targets, rows, class_weights, workspace);
        self.sum_gradients(workspace, 1.0 / rows.len().max(1) as f32);
    }

    /// The gradient of the mean loss over some rows by each input, the same change in all rows.
    pub(super) fn input_gradient(
        &self,
        features: ArrayView2<'_, f32>,
        targets: &Targets,
        rows: &[usize],
        workspace: &mut Workspace,
    ) -> Array1<f32> {
        self.forward(features, rows, workspace, at_once);
        self.backward(targets, rows, None, workspace);
        let mean = workspace.deltas[0].sum_axis(Axis(0)) / rows.len().max(1) as f32;
        mean.dot(&self.layers[0].weight)
    }

    /// Computes the sum over some rows of their gradients, each clipped to an L2 norm of `clip`
    /// over all weights together, into the workspace.
    ///
    /// No example's gradient is ever built: in a fully connected layer it is the product of the
    /// example's inputs and its delta, so that its norm is the product of theirs (Goodfellow 2015,
    /// arXiv:1510.01799), and clipping is scaling the delta.
    pub fn clipped_gradient(
        &self,
        features: ArrayView2<'_, f32>,
        targets: &Targets,
        rows: &[usize],
        clip: f32,
        workspace: &mut Workspace,
    ) {
        self.clip_each(features, targets, rows, clip, workspace);
        self.sum_gradients(workspace, 1.0);
    }

    /// What the rows' clipped gradients have in common, each with each (`[rows, rows]`), and each with a gradient (`[rows]`).
    /// None of them is built here either.
    pub(super) fn clipped_products(
        &self,
        features: ArrayView2<'_, f32>,
        targets: &Targets,
        rows: &[usize],
        clip: f32,
        gradient: &[Layer],
        workspace: &mut Workspace,
    ) -> (Array2<f32>, Array1<f32>) {
        self.clip_each(features, targets, rows, clip, workspace);
        let mut each = Array2::zeros((rows.len(), rows.len()));
        let mut with = Array1::zeros(rows.len());
        for ((delta, inputs), layer) in
            workspace.deltas.iter().zip(&workspace.outputs).zip(gradient)
        {
            // The 1 is the bias's input.
            each += &(delta.dot(&delta.t()) * (inputs.dot(&inputs.t()) + 1.0));
            with += &(delta.dot(&layer.weight) * inputs).sum_axis(Axis(1));
            with += &delta.dot(&layer.bias);
        }
        (each, with)
    }

    /// Fills the workspace's deltas with those of the rows' gradients, each clipped.
    fn clip_each(
        &self,
        features: ArrayView2<'_, f32>,
        targets: &Targets,
        rows: &[usize],
        clip: f32,
        workspace: &mut Workspace,
    ) {
        self.forward(features, rows, workspace, at_once);
        self.backward(targets, rows, None, workspace);
        for example in 0..rows.len() {
            let squares = |array: &Array2<f32>| {
                array.row(example).iter().map(|x| f64::from(*x).powi(2)).sum::<f64>()
            };
            let norm: f64 = workspace
                .deltas
                .iter()
                .zip(&workspace.outputs)
                // The 1 is the bias's input.
                .map(|(delta, inputs)| squares(delta) * (squares(inputs) + 1.0))
                .sum::<f64>()
                .sqrt();
            // A gradient that is not finite counts as none: it would make everything else none.
            let factor =
                if norm.is_finite() { (f64::from(clip) / norm).min(1.0) as f32 } else { 0.0 };
            if factor < 1.0 {
                for delta in &mut workspace.deltas {
                    let mut row = delta.row_mut(example);
                    row.mapv_inplace(|x| if factor > 0.0 { x * factor } else { 0.0 });
                }
            }
        }
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

    use super::super::metric::mean_loss;
    use super::*;

    fn setting(activation: Activation, classifier: bool) -> (Network, Array2<f32>, Targets) {
        let network =
            Network::new(&[3, 5, 4, if classifier { 2 } else { 1 }], activation, classifier, 7);
        let features = array![[0.5, -1.0, 2.0], [1.5, 0.3, -0.7], [0.1, 0.2, 0.3]];
        let targets = if classifier {
            Targets::Classes(vec![0, 1, 1])
        } else {
            Targets::Numbers(vec![0.3, -2.0, 1.0])
        };
        (network, features, targets)
    }

    #[test]
    fn few_rows_give_what_they_give_among_many() {
        for activation in [Activation::Relu, Activation::Tanh] {
            for classifier in [true, false] {
                let (network, features, _) = setting(activation, classifier);
                let many: Vec<usize> = (0..2 * CHUNK + 1).map(|row| row % 3).collect();
                let among = network.predict(features.view(), &many);
                for few in [&[2][..], &[1, 0], &[0, 1, 2, 0]] {
                    let alone = network.predict(features.view(), few);
                    for (row, alone) in few.iter().zip(alone.rows()) {
                        let differ = |(one, other): (&f32, &f32)| (one - other).abs() > 1e-6;
                        assert!(!alone.iter().zip(among.row(*row)).any(differ), "{row} of {few:?}");
                    }
                }
            }
        }
    }

    /// The gradient against finite differences of the loss, for every activation and loss.
    #[test]
    fn the_gradient_is_that_of_the_loss() {
        for activation in [Activation::Relu, Activation::Tanh] {
            for classifier in [true, false] {
                let (network, features, targets) = setting(activation, classifier);
                let rows = [0, 1, 2];
                let mut workspace = Workspace::default();
                network.gradient(features.view(), &targets, &rows, &mut workspace);
                for (layer, at) in [(0, [0, 0]), (0, [2, 1]), (1, [3, 2]), (2, [0, 3])] {
                    let gradient = f64::from(workspace.gradients[layer].weight[at]);
                    let loss = |by: f32| {
                        let mut moved = network.clone();
                        moved.layers[layer].weight[at] += by;
                        mean_loss(&moved.predict(features.view(), &rows), &targets, &rows)
                    };
                    let expected = (loss(3e-3) - loss(-3e-3)) / 6e-3;
                    assert!((gradient - expected).abs() < 2e-3, "{gradient} {expected}");
                }
            }
        }
    }

    #[test]
    fn a_row_that_weighs_twice_is_as_if_it_were_there_twice() {
        let (network, features, targets) = setting(Activation::Tanh, true);
        let mut weighted = Workspace::default();
        let weights = [2.0, 1.0];
        network.weighted_gradient(
            features.view(),
            &targets,
            &[0, 1, 2],
            Some(&weights),
            &mut weighted,
        );
        let mut twice = Workspace::default();
        network.gradient(features.view(), &targets, &[0, 0, 1, 2], &mut twice);
        for (one, other) in weighted.gradients.iter().zip(&twice.gradients) {
            let difference = &one.weight * 3.0 - &other.weight * 4.0;
            assert!(difference.iter().all(|it| it.abs() < 1e-5), "{difference}");
        }
    }

    /// Clipping without building any example's gradient, against building every one.
    #[test]
    fn clipping_is_that_of_each_examples_own_gradient() {
        for classifier in [true, false] {
            let (network, features, targets) = setting(Activation::Tanh, classifier);
            let rows = [0, 1, 2];
            let mut workspace = Workspace::default();
            for clip in [0.05, 0.7, 100.0] {
                network.clipped_gradient(features.view(), &targets, &rows, clip, &mut workspace);
                let mut expected: Vec<Layer> = network.layers.iter().map(Layer::like).collect();
                for row in rows {
                    let mut single = Workspace::default();
                    network.gradient(features.view(), &targets, &[row], &mut single);
                    let values = single.gradients.iter().flat_map(Layer::slices).flatten();
                    let norm = values.map(|x| x * x).sum::<f32>().sqrt();
                    for (sum, layer) in expected.iter_mut().zip(&single.gradients) {
                        sum.weight.scaled_add((clip / norm).min(1.0), &layer.weight);
                        sum.bias.scaled_add((clip / norm).min(1.0), &layer.bias);
                    }
                }
                for (got, expected) in workspace.gradients.iter().zip(&expected) {
                    let pairs = got.slices().concat().into_iter().zip(expected.slices().concat());
                    assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-5), "{clip}");
                }
            }
        }
    }
}
