//! A round of an experiment, played through whatever keeps the ledger.

use colearn_contracts::{
    Act, Admission, Choice, CreateExperiment, Digest, Invitation, Join, MergeVote, Merges, Merging,
    Parameters, Proposal, Scores, Update, VERSION, Vote, terms,
};
use colearn_records::transaction::{LedgerId, Seen};

use crate::people::{learner, model, payload, signed};

/// What keeps the ledger.
pub(crate) trait Keeps {
    fn id(&self) -> LedgerId;
    fn seen(&self) -> Seen;
    /// The codes, and the gas that it took where that is counted.
    fn submit(&mut self, payloads: &[Vec<u8>]) -> (Vec<u32>, u64);
    /// Has what is due of an experiment recorded, once something is. The gas that it took.
    fn tick(&mut self, name: &str) -> u64;
}

/// The invitation of the first so many.
fn invited(members: u16) -> Admission {
    let mut listed: Vec<Invitation> =
        (0..members).map(|number| Invitation::new(learner(number), 1)).collect();
    listed.sort_by_key(|it| it.learner);
    Admission::Invited(listed)
}

fn first_proposal() -> Act {
    Act::Propose(Proposal {
        round: 1,
        base: model(0).digest,
        weights: model(1),
        scores: Scores { vote: Some(900_000), test: None },
        privacy: None,
    })
}

/// Invites so many, has all of them join, one propose and nobody vote, for which all others are suspended.
/// The gas of that.
pub(crate) fn keep_silent(ledger: &mut impl Keeps, name: &str, members: u16) -> u64 {
    let admission = invited(members);
    let parameters = Parameters {
        min_learners: members.into(),
        missed_turns: Some(1),
        vote_deadline_ms: 1_000,
        ..Parameters::default()
    };
    let terms = terms(VERSION, learner(0), &parameters, &admission);
    let version = VERSION.number();
    let create = CreateExperiment { version, parameters, admission, model: model(0), plan: None };
    let id = ledger.id();
    let signed = |seen, who, what| payload(&signed(&id, seen, who, name, what));
    let seen = ledger.seen();
    assert_eq!(ledger.submit(&[signed(seen, 0, Act::Create(create))]).0, [0]);
    let seen = ledger.seen();
    let join = || Act::Join(Join::new(0, Some(terms)));
    let joins: Vec<Vec<u8>> = (0..members).map(|who| signed(seen, who, join())).collect();
    for batch in joins.chunks(20) {
        assert_eq!(ledger.submit(batch).0, vec![0; batch.len()]);
    }
    let seen = ledger.seen();
    assert_eq!(ledger.submit(&[signed(seen, 0, first_proposal())]).0, [0]);
    let before = ledger.seen().size;
    let gas = ledger.tick(name);
    assert!(ledger.seen().size >= before + u64::from(members));
    gas
}

/// The gas of a merged round.
pub(crate) struct Merged {
    /// Those of the first update, of one in the middle, and of the last, with which training ends.
    pub(crate) updates: [u64; 3],
    /// Those of votes on the merges alone.
    pub(crate) votes: Vec<u64>,
    /// That of one vote of a batch, and how many that has.
    pub(crate) in_batch: Option<(u64, usize)>,
    /// That which closes the round.
    pub(crate) closing: u64,
}

impl Merged {
    pub(crate) fn tell(&self, members: u16) {
        let Self { updates, votes, in_batch, closing } = self;
        println!("{members} members who all train: updates {updates:?}, votes {votes:?},");
        println!("    in a batch {in_batch:?}, closing vote {closing}");
    }
}

/// Invites so many, has all of them join, train and approve of the merges: the first two votes and the last alone, the others
/// in batches of 20.
pub(crate) fn play_merged(ledger: &mut impl Keeps, name: &str, members: u16) -> Merged {
    let admission = invited(members);
    let merging = Some(Merging { proposers: members.into(), ..Merging::default() });
    let parameters = Parameters { min_learners: members.into(), merging, ..Parameters::default() };
    let terms = terms(VERSION, learner(0), &parameters, &admission);
    let version = VERSION.number();
    let create = CreateExperiment { version, parameters, admission, model: model(0), plan: None };
    let id = ledger.id();
    let signed = |seen, who, what| payload(&signed(&id, seen, who, name, what));
    let one = |ledger: &mut _, seen, who, what| {
        let (codes, gas) = Keeps::submit(ledger, &[signed(seen, who, what)]);
        assert_eq!(codes, [0]);
        gas
    };
    let seen = ledger.seen();
    one(ledger, seen, 0, Act::Create(create));
    let seen = ledger.seen();
    let join = || Act::Join(Join::new(0, Some(terms)));
    let joins: Vec<Vec<u8>> = (0..members).map(|who| signed(seen, who, join())).collect();
    for batch in joins.chunks(20) {
        assert_eq!(ledger.submit(batch).0, vec![0; batch.len()]);
    }
    let seen = ledger.seen();
    let update = |who: u16| {
        let (base, weights) = (model(0).digest, model(1 + u32::from(who)));
        let scores = Scores { vote: Some(900_000), test: None };
        Act::Update(Update { round: 1, base, weights, scores, privacy: None })
    };
    let all: Vec<u64> = (0..members).map(|who| one(ledger, seen, who, update(who))).collect();
    let updates = [all[0], all[all.len() / 2], all[all.len() - 1]];
    let seen = ledger.seen();
    let vote = || {
        let scores = Scores { vote: Some(910_000), test: Some(905_000) };
        Act::MergeVote(MergeVote {
            round: 1,
            merges: Merges { open: Some(Digest([1; 32])), guarded: Some(Digest([2; 32])) },
            bear_open: true,
            bear_guarded: true,
            prefer_guarded: false,
            reason: None,
            scores_open: scores,
            scores_guarded: scores,
            link: None,
        })
    };
    let votes = (0..2).map(|who| one(ledger, seen, who, vote())).collect();
    let batched: Vec<Vec<u8>> = (2..members - 1).map(|who| signed(seen, who, vote())).collect();
    let mut in_batch = None;
    for batch in batched.chunks(20) {
        let (codes, gas) = ledger.submit(batch);
        assert_eq!(codes, vec![0; batch.len()]);
        in_batch = in_batch.or(Some((gas / batch.len() as u64, batch.len())));
    }
    let closing = one(ledger, seen, members - 1, vote());
    Merged { updates, votes, in_batch, closing }
}

/// The gas of each action.
pub(crate) struct Gas {
    pub(crate) create: u64,
    /// The first, the middle and the last, which opens the round.
    pub(crate) joins: [u64; 3],
    pub(crate) propose: u64,
    /// Those of votes alone.
    pub(crate) votes: Vec<u64>,
    /// That of one vote of a batch, and how many that has.
    pub(crate) in_batch: Option<(u64, usize)>,
    /// That which closes the round.
    pub(crate) closing: u64,
}

impl Gas {
    pub(crate) fn tell(&self, members: u16) {
        let Self { create, joins, propose, votes, in_batch, closing } = self;
        println!(
            "{members} members: create {create}, join {joins:?}, propose {propose}, vote {votes:?}, "
        );
        println!("    in a batch {in_batch:?}, closing vote {closing}");
    }
}

/// Invites so many, has all of them join, one propose and all others approve: the first `alone` of them one by
/// one, the others in batches of 20, the last alone. The model is that of the first proposal then.
pub(crate) fn play(ledger: &mut impl Keeps, name: &str, members: u16, alone: usize) -> Gas {
    let admission = invited(members);
    let parameters = Parameters { min_learners: members.into(), ..Parameters::default() };
    let terms = terms(VERSION, learner(0), &parameters, &admission);
    let create = Act::Create(CreateExperiment {
        version: VERSION.number(),
        parameters,
        admission,
        model: model(0),
        plan: None,
    });
    let id = ledger.id();
    let mut seen = ledger.seen();
    let one = |ledger: &mut _, seen: Seen, who: u16, what: Act| {
        let (codes, gas) = Keeps::submit(ledger, &[payload(&signed(&id, seen, who, name, what))]);
        assert_eq!(codes, [0]);
        gas
    };
    let create = one(ledger, seen, 0, create);
    seen = ledger.seen();
    let join = || Act::Join(Join::new(0, Some(terms)));
    let mut joins = [0; 3];
    joins[0] = one(ledger, seen, 0, join());
    joins[1] = one(ledger, seen, 1, join());
    let others: Vec<Vec<u8>> =
        (2..members - 1).map(|who| payload(&signed(&id, seen, who, name, join()))).collect();
    for batch in others.chunks(20) {
        assert_eq!(ledger.submit(batch).0, vec![0; batch.len()]);
    }
    joins[2] = one(ledger, seen, members - 1, join());
    seen = ledger.seen();
    let propose = one(ledger, seen, 0, first_proposal());
    seen = ledger.seen();
    let vote = || {
        Act::Vote(Vote {
            round: 1,
            weights: Digest(model(1).digest.0),
            choice: Choice::Approve,
            reason: None,
            scores: Scores { vote: Some(910_000), test: Some(905_000) },
            link: None,
        })
    };
    let voters: Vec<u16> = (1..members).collect();
    let (last, rest) = voters.split_last().unwrap();
    let (first, batched) = rest.split_at(alone.min(rest.len()));
    let votes = first.iter().map(|who| one(ledger, seen, *who, vote())).collect();
    let mut in_batch = None;
    for batch in batched.chunks(20) {
        let payloads: Vec<Vec<u8>> =
            batch.iter().map(|who| payload(&signed(&id, seen, *who, name, vote()))).collect();
        let (codes, gas) = ledger.submit(&payloads);
        assert_eq!(codes, vec![0; batch.len()]);
        in_batch = in_batch.or(Some((gas / batch.len() as u64, batch.len())));
    }
    let closing = one(ledger, seen, *last, vote());
    Gas { create, joins, propose, votes, in_batch, closing }
}
