//! The terms under which one joins, as one digest (R53).

use sha2::{Digest as _, Sha256};

use crate::admission::Admission;
use crate::id::{Digest, LearnerId};
use crate::merging::Merging;
use crate::parameters::{BallotKind, Close, Parameters, Selection, Threshold};
use crate::version::Version;

/// The digest of an experiment's terms: SHA-256 over "colearn/v2/terms\n", the version in 4 bytes, the
/// creator's key, the parameters in the order in which [`Parameters`] and
/// [`Merging`] declare them, and who may join.
///
/// Numbers are big-endian in the size of their type. A threshold is its numerator, its denominator and
/// 1 if it is strict, else 0; a choice is its place among its variants in one byte; what may be absent
/// is 0, or 1 and the value. Who may join is the place of the [`Admission`] among its variants, the number
/// of invitations in 4 bytes, and for each one the key, the weight, 1 for a judge, else 0, and the length
/// of the name in 2 bytes with its bytes (0 for none).
pub fn terms(
    version: Version,
    creator: LearnerId,
    parameters: &Parameters,
    admission: &Admission,
) -> Digest {
    let mut terms = Terms(Sha256::new().chain_update(b"colearn/v2/terms\n"));
    terms.u32(version.number());
    terms.bytes(&creator.0);
    terms.parameters(parameters);
    terms.admission(admission);
    Digest(terms.0.finalize().into())
}

struct Terms(Sha256);

impl Terms {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn u32(&mut self, number: u32) {
        self.bytes(&number.to_be_bytes());
    }

    fn u64(&mut self, number: u64) {
        self.bytes(&number.to_be_bytes());
    }

    fn maybe<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.bytes(&[u8::from(value.is_some())]);
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn threshold(&mut self, threshold: Threshold) {
        self.u32(threshold.numerator);
        self.u32(threshold.denominator);
        self.bytes(&[u8::from(threshold.strict)]);
    }

    fn parameters(&mut self, parameters: &Parameters) {
        // In full, so that a new one does not compile until it is part of what is agreed to.
        let Parameters {
            threshold,
            selection,
            proposal_deadline_ms,
            vote_deadline_ms,
            reveal_deadline_ms,
            close,
            ballot,
            min_learners,
            max_rounds,
            patience,
            missed_turns,
            idle_rotations,
            privacy,
            max_weights_bytes,
            governance_threshold,
            motion_deadline_ms,
            creator_may_stop,
            merging,
        } = parameters;
        self.threshold(*threshold);
        self.bytes(&[match selection {
            Selection::RoundRobin => 0,
            Selection::Sortition => 1,
        }]);
        self.u64(*proposal_deadline_ms);
        self.u64(*vote_deadline_ms);
        self.u64(*reveal_deadline_ms);
        self.bytes(&[match close {
            Close::All => 0,
            Close::Early => 1,
        }]);
        self.bytes(&[match ballot {
            BallotKind::Open => 0,
            BallotKind::Sealed => 1,
        }]);
        self.u32(*min_learners);
        self.maybe(*max_rounds, Self::u64);
        self.maybe(*patience, Self::u64);
        self.maybe(*missed_turns, Self::u32);
        self.maybe(*idle_rotations, Self::u32);
        self.maybe(*privacy, |terms, cap| {
            terms.u64(cap.epsilon_micros);
            terms.u64(cap.delta_picos);
        });
        self.u64(*max_weights_bytes);
        self.maybe(*governance_threshold, Self::threshold);
        self.u64(*motion_deadline_ms);
        self.bytes(&[u8::from(*creator_may_stop)]);
        self.maybe(*merging, |terms, merging| {
            let Merging {
                proposers,
                clip_permille,
                momentum_permille,
                checkers,
                gather_deadline_ms,
            } = merging;
            terms.u32(proposers);
            terms.u32(clip_permille);
            terms.u32(momentum_permille);
            terms.u32(checkers);
            terms.maybe(gather_deadline_ms, Self::u64);
        });
    }

    fn admission(&mut self, admission: &Admission) {
        self.bytes(&[match admission {
            Admission::Open => 0,
            Admission::Invited(_) => 1,
            Admission::ByVote(_) => 2,
        }]);
        let invitations = admission.invitations();
        // R8 keeps it far below u32::MAX.
        self.u32(invitations.len() as u32);
        for invitation in invitations {
            self.bytes(&invitation.learner.0);
            self.u32(invitation.weight);
            self.bytes(&[u8::from(invitation.judge)]);
            let name = invitation.name.as_ref().map_or("", |name| name.as_str());
            self.bytes(&(name.len() as u16).to_be_bytes());
            self.bytes(name.as_bytes());
        }
    }
}
