//! How a learner trains and votes, as flags.

use anyhow::bail;
use clap::Args;
use clap::builder::RangedU64ValueParser;
use colearn_learning::metric::Metric;
use colearn_learning::optimizer::OptimizerKind;
use colearn_learning::private::Noise;
use colearn_learning::{ClassWeights, Training, VoteRule};
use colearn_records::words::Word;

use super::word;
use crate::exec::Private;

/// What differs from [`Training`]'s defaults, which the help repeats.
#[derive(Args, Clone, Default)]
pub(crate) struct TrainingArgs {
    /// Passes over the training rows for one proposal [default: 5]
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Rows in a mini-batch [default: 32]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    batch: Option<usize>,
    /// The optimiser [default: sgd]
    #[arg(long, value_parser = word::<OptimizerKind>())]
    optimizer: Option<OptimizerKind>,
    /// The step size [default: for sgd 0.05, or 0.01 where a number is predicted; for adam 0.001]
    #[arg(long, value_name = "NUMBER")]
    learning_rate: Option<f32>,
    /// The momentum of gradient descent; 0 for none [default: 0.9]
    #[arg(long, value_name = "NUMBER")]
    momentum: Option<f32>,
    /// What votes are decided on [default: accuracy, or loss for a number]
    #[arg(long, visible_alias = "metric", value_parser = word::<Metric>())]
    score: Option<Metric>,
    /// Approve what is not worse than the current model by more than this, in units of the score
    /// [default: 0]
    #[arg(long, value_name = "NUMBER")]
    margin: Option<f64>,
    /// What votes are for: what does not score lower, or what is not shown to be worse (or is shown to be better) than the
    /// current model, row by row, with some confidence; see docs/votes.md [default: score]
    #[arg(long, value_parser = word::<VoteRule>(), value_name = "RULE")]
    vote: Option<VoteRule>,
    /// How sure a vote of not_worse or better has to be, from 0.5 to below 1 [default: 0.9]
    #[arg(long, value_name = "NUMBER", requires = "vote")]
    confidence: Option<f64>,
    /// Judge on so many mini-batches of the voting rows [default: all of them]
    #[arg(long, value_name = "N")]
    vote_batches: Option<usize>,
    /// How much rows count in training, by their class [default: even]
    #[arg(long, value_parser = word::<ClassWeights>(), value_name = "HOW", conflicts_with = "noise")]
    class_weights: Option<ClassWeights>,
    /// Train as well on rows in which what would fool the model most is set, with their right classes: a
    /// defence against backdoors that takes several times as long; see docs/attacks.md
    #[arg(long, conflicts_with = "noise")]
    harden: bool,
    /// Record no scores, only votes: scores say something about private data
    #[arg(long)]
    hide_scores: bool,
    /// Add noise to recorded accuracies, so that each has this epsilon, which is counted with what training takes; see
    /// docs/privacy.md
    #[arg(long, value_name = "EPSILON", conflicts_with = "hide_scores")]
    score_epsilon: Option<f64>,
    /// Train with differential privacy (DP-SGD) and this noise multiplier
    #[arg(long, value_name = "SIGMA")]
    noise: Option<f64>,
    /// The norm to which each example's gradient is clipped [default: 1]
    #[arg(long, value_name = "NUMBER", requires = "noise")]
    clip: Option<f64>,
    /// The delta that epsilon is stated for [default: 1e-5]
    #[arg(long, value_name = "DELTA", requires = "noise")]
    delta: Option<f64>,
    /// Propose no more once all experiments of this key together would exceed this epsilon
    #[arg(long, value_name = "EPSILON", requires = "noise")]
    epsilon: Option<f64>,
}

impl TrainingArgs {
    /// The training that the flags ask for. `noise_source` says where the noise of private training
    /// comes from.
    pub(crate) fn training(&self, noise_source: Noise) -> anyhow::Result<Training> {
        let mut training = Training { noise_source, ..Training::default() };
        self.apply(&mut training);
        match training.check() {
            Ok(()) => Ok(training),
            Err(message) => bail!("{message}"),
        }
    }

    /// What private training takes, but for what follows from the data: the share of the rows in a batch, and steps.
    pub(crate) fn privacy(&self) -> Option<Private> {
        let usual = Training::default();
        self.noise.map(|noise_multiplier| Private {
            noise_multiplier,
            clip: self.clip.unwrap_or(usual.clip),
            sampling_rate: 1.0,
            steps: 1,
            delta: self.delta.unwrap_or(usual.delta),
            epsilon: self.epsilon,
        })
    }

    /// By how much what is approved may be worse, in units of the score.
    pub(crate) fn margin(&self) -> f64 {
        self.margin.unwrap_or(Training::default().margin)
    }

    /// What votes are decided on, if that was said.
    pub(crate) fn metric(&self) -> Option<&'static str> {
        self.score.as_ref().map(Word::word)
    }

    /// Whether no scores are recorded.
    pub(crate) fn hides_scores(&self) -> bool {
        self.hide_scores
    }

    /// These flags on top of what is there.
    fn apply(&self, training: &mut Training) {
        fn set<T: Copy>(to: &mut T, given: Option<T>) {
            if let Some(given) = given {
                *to = given;
            }
        }
        set(&mut training.epochs, self.epochs);
        set(&mut training.batch, self.batch);
        set(&mut training.optimizer, self.optimizer);
        set(&mut training.learning_rate, self.learning_rate.map(Some));
        set(&mut training.momentum, self.momentum);
        set(&mut training.score, self.score.map(Some));
        set(&mut training.margin, self.margin);
        set(&mut training.vote, self.vote);
        set(&mut training.confidence, self.confidence);
        set(&mut training.vote_batches, self.vote_batches.map(Some));
        set(&mut training.class_weights, self.class_weights);
        training.harden |= self.harden;
        training.hide_scores |= self.hide_scores;
        set(&mut training.score_epsilon, self.score_epsilon.map(Some));
        set(&mut training.noise, self.noise.map(Some));
        set(&mut training.clip, self.clip);
        set(&mut training.delta, self.delta);
        set(&mut training.epsilon, self.epsilon.map(Some));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use clap::{CommandFactory as _, FromArgMatches as _, Parser};

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        training: TrainingArgs,
    }

    #[test]
    fn flags_override_and_the_help_states_the_defaults() {
        let default = Training::default();
        let read = |flags: &[&str]| {
            let matches = Flags::command().try_get_matches_from([&["x"], flags].concat()).unwrap();
            Flags::from_arg_matches(&matches).unwrap().training.training(Noise::Secret).unwrap()
        };
        assert_eq!(read(&[]), default);
        let adam = read(&["--optimizer", "adam", "--noise", "1.1", "--clip", "2"]);
        let expected =
            Training { optimizer: OptimizerKind::Adam, noise: Some(1.1), clip: 2.0, ..default };
        assert_eq!(adam, expected);
        let command = Flags::command();
        for (flag, value) in [
            ("epochs", default.epochs.to_string()),
            ("batch", default.batch.to_string()),
            ("optimizer", default.optimizer.word().to_owned()),
            ("momentum", default.momentum.to_string()),
            ("class_weights", default.class_weights.word().to_owned()),
            ("margin", default.margin.to_string()),
            ("vote", default.vote.word().to_owned()),
            ("confidence", default.confidence.to_string()),
            ("clip", default.clip.to_string()),
            ("delta", format!("{:e}", default.delta)),
        ] {
            let argument = command.get_arguments().find(|it| it.get_id() == flag).unwrap();
            let help = argument.get_help().unwrap().to_string();
            assert!(help.contains(&format!("[default: {value}]")), "{flag}: {help}");
        }
    }
}
