//! The words for what a scenario can do to its learners.

use colearn_records::{serde_words, words};

use super::baseline::Aggregation;
use super::faults::{Attack, VoteFault};

words! {
    Aggregation {
        Average = "average", "the mean of all updates";
        Median = "median", "the median of each weight";
        Krum = "krum", "the update closest to its neighbours";
    }
    Attack {
        LabelFlip = "label_flip", "trains on wrong labels";
        SignFlip = "sign_flip", "proposes the opposite of what it learned";
        Scaled = "scaled", "proposes ten times what it learned";
        Random = "random", "proposes random weights";
        Nan = "nan", "proposes weights that are not numbers";
        Alie = "alie", "sends what is at the edge of how the honest learners' updates scatter";
        Ipm = "ipm", "sends the opposite of half of the honest learners' mean";
        Backdoor = "backdoor", "also trains that a trigger means the first class";
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
