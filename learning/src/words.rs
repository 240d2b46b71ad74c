//! The words for what training is made of, for files, flags and reports.

use colearn_sdk::records::{serde_words, words};

use super::data::Embedded;
use super::metric::Metric;
use super::model::Activation;
use super::optimizer::OptimizerKind;
use super::training::{ClassWeights, VoteRule};

words! {
    OptimizerKind {
        Sgd = "sgd", "stochastic gradient descent with momentum";
        Adam = "adam", "Adam";
    }
    Metric {
        Accuracy = "accuracy", "the share of rows whose class is right";
        Loss = "loss", "cross entropy, or squared error for a number; recorded as its negative";
        Auc = "auc", "the area under the ROC curve";
        BalancedAccuracy = "balanced_accuracy", "the mean over the classes of the share of their rows that is right";
        F1 = "f1", "the mean of the classes' F1 (macro)";
        R2 = "r2", "for a number: the share of its variance that is explained";
    }
    ClassWeights {
        Even = "even", "every row as much as another";
        Balanced = "balanced", "every class as much as another, however rare it is";
    }
    VoteRule {
        Score = "score", "what does not score lower than the current model, but for the margin";
        NotWorse = "not_worse", "what is not shown to be worse on the same rows, with --confidence";
        Better = "better", "what is better on the same rows, with --confidence";
    }
    Activation {
        Relu = "relu", "max(0, x)";
        Tanh = "tanh", "the hyperbolic tangent";
    }
    Embedded {
        Digits = "digits", "1,797 handwritten digits of 8x8 pixels";
        Iris = "iris", "150 flowers of three species";
        BreastCancer = "breast_cancer", "569 tumours, malignant or benign";
        Wine = "wine", "178 wines of three growers";
        Diabetes = "diabetes", "442 patients and how their diabetes progressed, a number";
    }
}

// Models say their activation in their header: its words are part of their bytes.
serde_words!(OptimizerKind, Metric, ClassWeights, VoteRule, Activation, Embedded);
