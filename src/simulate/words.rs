//! The words for what a scenario can do to its learners.

use colearn_records::{serde_words, words};

use super::attack::Attack;
use super::baseline::Aggregation;
use super::faults::VoteFault;

words! {
    Aggregation {
        Average = "average", "the mean of all updates";
        Momentum = "momentum", "the mean of all updates, and half of the last movement";
        Median = "median", "the median of each weight";
        Krum = "krum", "the update closest to its neighbours";
        MultiKrum = "multi_krum", "the mean of as many such updates as learners are honest";
        Clipping = "clipping", "the last movement, moved by the updates' clipped differences from it";
        Own = "own", "a rule that is handed in, in Python";
    }
    Attack {
        LabelFlip = "label_flip", "trains on wrong labels";
        SignFlip = "sign_flip", "proposes the opposite of what it learned";
        Scaled = "scaled", "proposes ten times what it learned";
        Random = "random", "proposes random weights";
        Nan = "nan", "proposes weights that are not numbers";
        Zero = "zero", "has learned nothing, and sends the model that there is";
        Withheld = "withheld", "sends the opposite, and its gang alone gets the bytes";
        HalfWithheld = "half_withheld", "sends the opposite, and half of the honest get the bytes";
        Alie = "alie", "sends what is at the edge of how the honest learners' updates scatter";
        Ipm = "ipm", "sends the opposite of half of the honest learners' mean";
        Mimic = "mimic", "sends the update of the first honest learner";
        Mixed = "mixed", "sends random weights, or the honest mean less a standard deviation";
        Limit = "limit", "sends the opposite of the honest mean, as long as clipping allows";
        Gate = "gate", "keeps the updates from having much in common, or does as limit does";
        Adaptive = "adaptive", "knows the rule, and sends what comes to the worst";
        Backdoor = "backdoor", "also trains that a trigger means the first class";
        Own = "own", "sends what an attack makes of it that is handed in, in Python";
    }
    VoteFault {
        Approves = "approves", "votes for everything";
        Rejects = "rejects", "votes against everything";
        Opposite = "opposite", "votes the opposite of what it thinks";
        Colludes = "colludes", "votes for what its gang proposes, against everything else";
        Copies = "copies", "votes as the others did, if it can see that";
        Never = "never", "does not vote";
    }
}

serde_words!(Aggregation, Attack, VoteFault);
