//! A drawn history that has something of everything that may come in a block.

use std::collections::BTreeSet;

use colearn_comet::abci::{Misbehavior, MisbehaviorType, Validator as Power};
use colearn_contracts::{
    Act, BallotKind, Choice, Commit, Digest, Experiment, LINKS, Moment, Phase, Proposal, Reveal,
    Scores, Sealed, Selection, Stage, Vote, link,
};
use colearn_ledger::Hash;
use colearn_records::keys::learner_id;
use prost::Message as _;
use v1::validator_change::Change;

use super::*;
use crate::testing::{self, Draws, name, next_step};

/// How many learners take part in the experiment whose ballots are sealed and whose proposers are drawn.
const SEALED: u64 = 5;

/// What is drawn, and what was drawn before.
pub(super) struct History {
    draws: Draws,
    time_ms: u64,
    /// Whether some of what learners do comes together.
    bundles: bool,
    /// Each block's time, and what became of what it held.
    pub(super) blocks: Vec<(u64, Vec<(Bytes, u32)>)>,
}

impl History {
    pub(super) fn new(seed: u64) -> Self {
        Self { draws: Draws(seed), time_ms: BEGIN_MS, bundles: false, blocks: Vec::new() }
    }

    /// One in which some of what learners do is ordered together.
    pub(super) fn with_bundles(seed: u64) -> Self {
        Self { bundles: true, ..Self::new(seed) }
    }

    /// The codes that came of anything.
    pub(super) fn codes(&self) -> BTreeSet<u32> {
        self.blocks.iter().flat_map(|(_, txs)| txs).map(|(_, code)| *code).collect()
    }

    /// The next block.
    pub(super) fn next(&mut self, network: &Network) -> Block {
        // Now and then long enough for a deadline.
        self.time_ms += [40, 60, 200, 1_000][self.draws.below(4) as usize];
        network.clock.set(self.time_ms + 20);
        let mut txs = Vec::new();
        // An empty one is nothing but its time.
        if self.draws.below(5) > 0 {
            self.learners(network, &mut txs);
            if self.bundles && txs.len() > 2 && self.draws.below(2) == 0 {
                let rest = txs.split_off(txs.len() / 3);
                txs.push(bundle::join(&rest));
            }
            self.noise(network, &mut txs);
            if self.draws.below(4) == 0 {
                self.changes(network, &mut txs);
            }
        }
        let mut block = network.block(txs, self.time_ms);
        if self.draws.below(9) == 0 {
            block.misbehavior = vec![Misbehavior {
                r#type: MisbehaviorType::DuplicateVote.into(),
                validator: Some(Power { address: vec![7; 20].into(), power: 1 }),
                height: 1,
                time: None,
                total_voting_power: 4,
            }];
        }
        block
    }

    /// Remembers what became of a block.
    pub(super) fn done(&mut self, block: &Block, codes: Vec<u32>) {
        let txs = block.txs.iter().cloned().zip(codes).collect();
        self.blocks.push((block.time_ms, txs));
    }

    /// What learners do, each after what those before it have done.
    fn learners(&mut self, network: &Network, txs: &mut Vec<Bytes>) {
        let mut contract = network.contract();
        let seen = network.seen();
        for _ in 0..self.draws.below(8) {
            let (learner, action) = match self.draws.below(2) {
                0 => sealed_step(&mut self.draws, &contract, &network.ledger()),
                _ => {
                    let drawn = next_step(&mut self.draws, &contract);
                    (learner(drawn.sender()), drawn.action().clone())
                }
            };
            let seen = match self.draws.below(12) {
                // What is older is as good.
                0 => older(network, self.draws.below(seen.size)),
                1 => Seen { root: Hash([9; 32]), ..seen },
                2 => Seen { size: seen.size + 1 + self.draws.below(3), ..seen },
                _ => seen,
            };
            let (key, ledger) = (key(learner), network.ledger());
            let transaction = match action.what {
                Act::ReplaceKey { to } => {
                    let new = testing::key(self::learner(to));
                    Transaction::replace_key(&key, &new, &ledger, seen, action.experiment)
                }
                _ => Transaction::sign(&key, &ledger, seen, action),
            };
            let at = Moment::without_ledger(self.time_ms);
            let _ = contract.apply(at, transaction.sender(), transaction.action());
            txs.push(tx(&transaction));
        }
    }

    /// What nobody honest would order, and what was ordered before.
    fn noise(&mut self, network: &Network, txs: &mut Vec<Bytes>) {
        let junk = [
            Bytes::new(),
            Bytes::from_static(b"\x2a\x00junk"),
            Bytes::from_static(&[7; 100]),
            Bytes::from_static(&[0; 3]),
            ordered::tick(self.time_ms).into(),
            ordered::tick(u64::MAX).into(),
            record::block_payload(&v1::Block { height: 3, ..v1::Block::default() }).into(),
            record::genesis_payload(genesis(4)).into(),
            with_envelope(&network.sign(1, testing::create("c"))),
            unsigned(&network.sign(1, testing::create("c"))),
        ];
        for _ in 0..self.draws.below(3) {
            let at = self.draws.below(txs.len() as u64 + 1) as usize;
            txs.insert(at, junk[self.draws.below(junk.len() as u64) as usize].clone());
        }
        let before: Vec<_> = self.blocks.iter().flat_map(|(_, txs)| txs).collect();
        if !before.is_empty() && self.draws.below(3) == 0 {
            txs.push(before[self.draws.below(before.len() as u64) as usize].0.clone());
        }
        if let Some(first) = txs.first().filter(|_| self.draws.below(6) == 0) {
            txs.push(first.clone());
        }
    }

    /// Changes of who keeps the ledger, good and bad.
    fn changes(&mut self, network: &Network, txs: &mut Vec<Bytes>) {
        let keys = network.nodes[0].application().keys.borrow().clone();
        let them = keys.validators().unwrap();
        let numbers: Vec<u8> =
            them.iter().map(|it| it.name().rsplit('-').next().unwrap().parse().unwrap()).collect();
        let other = 5 + self.draws.below(3) as u8;
        let what = match (numbers.contains(&other), self.draws.below(3)) {
            (false, _) => Change::Admit(validator(other)),
            (true, 0) => Change::Update(validator_at(
                other,
                &format!("http://127.0.0.1:{}", 1 + self.draws.below(9)),
            )),
            (true, _) => Change::Remove(format!("org-{other}")),
        };
        let own = matches!(what, Change::Update(_)).then_some(other);
        let good = |number| {
            let by: Vec<u8> = own.map_or_else(|| numbers.clone(), |own| vec![own]);
            change(&network.ledger(), number, what.clone(), by)
        };
        let next = them.number() + 1;
        match self.draws.below(5) {
            0 => txs.push(good(next + 1)),
            1 => txs.push(change(&network.ledger(), next, what.clone(), [1, 2])),
            // Of two in a block the first.
            2 => txs.extend([good(next), good(next + 1)]),
            _ => txs.insert(0, good(next)),
        }
    }
}

fn older(network: &Network, size: u64) -> Seen {
    Seen { size, root: network.nodes[0].reader().root(size).unwrap() }
}

/// With a place in the ledger, which is not the sender's to say.
fn with_envelope(tx: &Bytes) -> Bytes {
    let mut entry = v1::Entry::decode(&tx[..]).unwrap();
    entry.index = 3;
    entry.encode_to_vec().into()
}

fn unsigned(tx: &Bytes) -> Bytes {
    let mut entry = v1::Entry::decode(&tx[..]).unwrap();
    if let Some(v1::entry::Payload::Transaction(transaction)) = &mut entry.payload {
        transaction.signature = vec![1; 64].into();
    }
    entry.encode_to_vec().into()
}

fn learner(id: colearn_contracts::LearnerId) -> u8 {
    (0..=255).find(|it| learner_id(&key(*it)) == id).unwrap()
}

/// What one of a few learners does next where ballots are sealed and proposers drawn.
fn sealed_step(draws: &mut Draws, contract: &Contract, ledger: &LedgerId) -> (u8, Action) {
    let learner = 1 + draws.below(SEALED) as u8;
    let Some(experiment) = contract.experiment(&name("s")) else {
        let mut action = testing::create("s");
        if let Act::Create(create) = &mut action.what {
            create.parameters.selection = Selection::Sortition;
            create.parameters.ballot = BallotKind::Sealed;
            create.parameters.reveal_deadline_ms = 300;
            create.parameters.vote_deadline_ms = 600;
            create.parameters.proposal_deadline_ms = 600;
        }
        return (learner, action);
    };
    let me = learner_id(&key(learner));
    let term = experiment.member(me).map_or(0, |member| member.term + 1);
    let join = Act::Join(colearn_contracts::Join::new(term, Some(experiment.terms())));
    let round = experiment.round();
    let (learner, act) = match experiment.phase() {
        _ if draws.below(12) == 0 => (learner, join),
        Phase::Waiting | Phase::Merged(_) => (learner, join),
        Phase::Paused(_) | Phase::Finished(_) => (learner, Act::Resume { round }),
        Phase::Proposing { proposer, .. } => {
            let mut weights = experiment.model().clone();
            weights.digest = Digest([draws.below(200) as u8 + 1; 32]);
            let proposal = Proposal {
                round,
                base: experiment.model().digest,
                weights,
                scores: Scores::default(),
                privacy: None,
            };
            (self::learner(*proposer), Act::Propose(proposal))
        }
        Phase::Voting { weights, stage, .. } => {
            let vote = Vote {
                round,
                weights: weights.digest,
                choice: [Choice::Approve, Choice::Reject][usize::from(learner) % 2],
                reason: None,
                scores: Scores::default(),
                link: None,
            };
            let salt = [learner; 32];
            let act = match stage {
                Stage::Reveal { .. } => Act::Reveal(Reveal { vote, salt }),
                Stage::Open | Stage::Commit { .. } => Act::Commit(Commit {
                    round,
                    weights: weights.digest,
                    commitment: Sealed {
                        version: VERSION,
                        ledger: Digest(ledger.0),
                        experiment: experiment.name(),
                        voter: me,
                        vote: &vote,
                        salt: &salt,
                    }
                    .commitment(),
                    link: Some(next_link(learner, experiment)),
                }),
            };
            (learner, act)
        }
    };
    (learner, Action::new(name("s"), act))
}

/// The next link of a learner's chain, or the anchor of one.
fn next_link(learner: u8, experiment: &Experiment) -> Digest {
    let member = experiment.member(learner_id(&key(learner)));
    match member.and_then(|member| member.chain.as_ref()).filter(|chain| chain.left > 0) {
        Some(chain) => link(secret(learner, chain.anchored), chain.left - 1),
        None => link(secret(learner, experiment.round()), LINKS),
    }
}

fn secret(learner: u8, round: u64) -> [u8; 32] {
    let mut secret = [learner; 32];
    secret[..8].copy_from_slice(&round.to_be_bytes());
    secret
}
