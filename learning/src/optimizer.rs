//! From gradients to steps.

use super::network::{Layer, Network};

/// Which [`Optimizer`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OptimizerKind {
    /// Stochastic gradient descent with momentum.
    Sgd,
    /// Adam.
    Adam,
}

/// How weights follow their gradient.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Optimizer {
    /// Stochastic gradient descent.
    Sgd {
        /// The step size.
        learning_rate: f32,
        /// The share of the last step that is added to the next; 0 for none.
        momentum: f32,
    },
    /// Adam (Kingma and Ba 2015, arXiv:1412.6980) with decay rates 0.9 and 0.999 and ε = 1e-8.
    Adam {
        /// The step size.
        learning_rate: f32,
    },
}

const BETA_1: f32 = 0.9;
const BETA_2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// What an optimiser remembers from step to step.
#[derive(Clone, Debug)]
pub struct OptimizerState {
    /// The last step (SGD) or the gradients' decaying mean (Adam).
    first: Vec<Layer>,
    /// The squared gradients' decaying mean (Adam).
    second: Vec<Layer>,
    steps: i32,
}

impl Optimizer {
    /// Gradient descent, by default with steps that suit the loss: squared errors have no bound, and
    /// steps that suit cross entropy diverge.
    pub fn sgd(learning_rate: Option<f32>, momentum: f32, classifier: bool) -> Self {
        let usual = if classifier { 0.05 } else { 0.01 };
        Self::Sgd { learning_rate: learning_rate.unwrap_or(usual), momentum }
    }

    /// Adam, by default with its authors' step size.
    pub fn adam(learning_rate: Option<f32>) -> Self {
        Self::Adam { learning_rate: learning_rate.unwrap_or(0.001) }
    }

    /// The state before the first step.
    pub fn start(self, network: &Network) -> OptimizerState {
        let zeros = || network.layers().iter().map(Layer::like).collect();
        let second = match self {
            Self::Sgd { .. } => Vec::new(),
            Self::Adam { .. } => zeros(),
        };
        OptimizerState { first: zeros(), second, steps: 0 }
    }

    /// Takes one step along the gradients.
    pub fn step(self, network: &mut Network, gradients: &[Layer], state: &mut OptimizerState) {
        state.steps = state.steps.saturating_add(1);
        let layers = network.layers_mut().iter_mut().zip(gradients).zip(&mut state.first);
        match self {
            Self::Sgd { learning_rate, momentum } => {
                for ((layer, gradient), last) in layers {
                    let slices = layer.slices_mut().into_iter().zip(gradient.slices());
                    for ((weights, gradient), last) in slices.zip(last.slices_mut()) {
                        for ((weight, gradient), last) in weights.iter_mut().zip(gradient).zip(last)
                        {
                            *last = momentum * *last - learning_rate * gradient;
                            *weight += *last;
                        }
                    }
                }
            }
            Self::Adam { learning_rate } => {
                let bias_1 = 1.0 - BETA_1.powi(state.steps);
                let bias_2 = 1.0 - BETA_2.powi(state.steps);
                for (((layer, gradient), first), second) in layers.zip(&mut state.second) {
                    let slices = layer.slices_mut().into_iter().zip(gradient.slices());
                    let moments = first.slices_mut().into_iter().zip(second.slices_mut());
                    for ((weights, gradient), (first, second)) in slices.zip(moments) {
                        let moments = first.iter_mut().zip(second);
                        for ((weight, g), (m, v)) in weights.iter_mut().zip(gradient).zip(moments) {
                            *m = BETA_1 * *m + (1.0 - BETA_1) * g;
                            *v = BETA_2 * *v + (1.0 - BETA_2) * g * g;
                            *weight -=
                                learning_rate * (*m / bias_1) / ((*v / bias_2).sqrt() + EPSILON);
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::Activation;
    use super::*;

    /// Both find the minimum of a parabola, the gradient being the weight itself.
    #[test]
    fn steps_lead_downhill() {
        for optimizer in [
            Optimizer::Sgd { learning_rate: 0.1, momentum: 0.0 },
            Optimizer::Sgd { learning_rate: 0.05, momentum: 0.9 },
            Optimizer::Adam { learning_rate: 0.05 },
        ] {
            let mut network = Network::new(&[4, 3], Activation::Relu, true, 1);
            let mut state = optimizer.start(&network);
            for _ in 0..300 {
                let gradients = network.layers().to_vec();
                optimizer.step(&mut network, &gradients, &mut state);
            }
            let left = network.layers()[0].weight.iter().map(|x| x.abs()).fold(0.0, f32::max);
            assert!(left < 0.02, "{optimizer:?}: {left}");
        }
    }

    /// Adam's first step is the learning rate, whatever the gradient's size.
    #[test]
    fn adam_takes_its_bias_into_account() {
        let optimizer = Optimizer::Adam { learning_rate: 0.1 };
        let mut network = Network::new(&[1, 1], Activation::Relu, false, 1);
        let before = network.layers()[0].weight[[0, 0]];
        let mut gradients = network.layers().to_vec();
        gradients[0].weight[[0, 0]] = 1e-3;
        let mut state = optimizer.start(&network);
        optimizer.step(&mut network, &gradients, &mut state);
        let moved = before - network.layers()[0].weight[[0, 0]];
        assert!((moved - 0.1).abs() < 1e-4, "{moved}");
    }
}
