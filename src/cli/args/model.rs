//! Which model to train.

use anyhow::bail;
use clap::{Args, ValueEnum};
use colearn_learning::data::{Schema, Target};
use colearn_learning::model::{Activation, ModelSpec};

use super::word;

/// Which model.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Model {
    /// Linear regression: predicts a number.
    Linear,
    /// Softmax regression: predicts a class.
    Softmax,
    /// A multilayer perceptron; predicts either.
    Mlp,
}

/// The model's shape.
#[derive(Args, Clone)]
pub(crate) struct ModelShape {
    /// The model
    #[arg(long, value_enum, default_value = "mlp")]
    model: Model,
    /// The widths of the MLP's hidden layers, such as 64,32 [default: 32, or 128 from 500 inputs on]
    #[arg(long, value_delimiter = ',', value_name = "N,...")]
    hidden: Vec<usize>,
    /// What is between the MLP's layers
    #[arg(long, value_parser = word::<Activation>(), default_value = "relu")]
    activation: Activation,
}

impl ModelShape {
    /// The model for some data.
    pub(crate) fn spec(&self, schema: &Schema) -> anyhow::Result<ModelSpec> {
        let classifier = matches!(schema.target, Target::Class { .. });
        match self.model {
            Model::Linear if classifier => {
                bail!(
                    "linear regression predicts a number, but {:?} is a class; use --model softmax or mlp, or --regression",
                    schema.target.name()
                )
            }
            Model::Softmax if !classifier => {
                bail!(
                    "softmax regression predicts a class, but {:?} is a number; use --model linear or mlp",
                    schema.target.name()
                )
            }
            Model::Linear | Model::Softmax if !self.hidden.is_empty() => {
                bail!("only --model mlp has hidden layers")
            }
            Model::Linear | Model::Softmax | Model::Mlp => {}
        }
        let hidden = match self.model {
            Model::Linear | Model::Softmax => Vec::new(),
            Model::Mlp if self.hidden.is_empty() => ModelSpec::usual_hidden(schema),
            Model::Mlp => self.hidden.clone(),
        };
        Ok(ModelSpec::new(hidden, self.activation, schema.clone()))
    }
}
