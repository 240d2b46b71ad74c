//! The models of an experiment, found again in its ledger.

use std::collections::BTreeMap;

use colearn_audit::experiments::of;
use colearn_audit::models::{Extent, Models, NoModel, Role, Which, models};
use colearn_audit::{AuditOptions, open};
use colearn_contracts::*;
use colearn_records::transaction::{Seen, Transaction};

use crate::book::{Book, key, learner, model};

fn all(book: &Book) -> BTreeMap<ExperimentName, Models> {
    let dir = book.folder();
    let mut source = open(dir.path().to_str().unwrap()).unwrap();
    let (report, all) = models(&mut *source, AuditOptions::default()).unwrap();
    assert!(report.ok, "{report:?}");
    all
}

fn begun(merging: Option<Merging>) -> Book {
    let parameters = Parameters {
        min_learners: 3,
        selection: Selection::RoundRobin,
        merging,
        ..Parameters::default()
    };
    let mut book = Book::with(Version::V2, parameters, Admission::Open);
    (1..=3).for_each(|who| book.join(who));
    book
}

/// A round in which `byte` is proposed, and all say that it scores so.
fn round(book: &mut Book, byte: u8, choice: Choice, score: Option<i64>) {
    praised(book, byte, choice, score, score);
}

/// A round in which `byte` is proposed by somebody who says that it scores like the first, and the others that it
/// scores like the second.
fn praised(book: &mut Book, byte: u8, choice: Choice, own: Option<i64>, score: Option<i64>) {
    let (number, base) = (book.experiment().round(), book.experiment().model().digest);
    let scores = Scores { vote: own, test: None };
    let weights = Model { size: u64::from(byte), ..model(byte) };
    let proposal = Proposal { round: number, base, weights, scores, privacy: None };
    let proposer = book.proposer();
    book.act(proposer, Act::Propose(proposal));
    for who in (1..=3).filter(|who| *who != proposer) {
        // Who decides is enough.
        if book.experiment().round() == number {
            let weights = model(byte).digest;
            let scores = Scores { vote: score, test: None };
            let vote = Vote { round: number, weights, choice, reason: None, scores, link: None };
            book.act(who, Act::Vote(vote));
        }
    }
}

fn told(models: &Models, which: Which) -> Result<(u8, u64, u64), NoModel> {
    let held = models.held(which)?;
    let number = held.round.map_or(0, |round| round.number);
    Ok((held.model.digest.0[0], held.model.size, number))
}

#[test]
fn each_model_is_found_by_its_round() {
    let mut book = begun(None);
    round(&mut book, 1, Choice::Approve, Some(500_000));
    round(&mut book, 2, Choice::Reject, Some(990_000));
    round(&mut book, 3, Choice::Approve, Some(900_000));
    round(&mut book, 4, Choice::Approve, Some(900_000));
    round(&mut book, 5, Choice::Approve, None);
    round(&mut book, 6, Choice::Approve, Some(-1));
    let all = all(&book);
    let found = of(&all, Some(&book.name)).unwrap();
    assert_eq!(told(found, Which::Current), Ok((6, 6, 6)));
    assert_eq!(told(found, Which::After(6)), told(found, Which::Current));
    assert_eq!(told(found, Which::After(1)), Ok((1, 1, 1)));
    assert_eq!(told(found, Which::After(0)), Ok((0, 1, 0)));
    // What was rejected is not, however it scored; and of two that are as good the later one is.
    assert_eq!(told(found, Which::Best), Ok((4, 4, 4)));
    let name = || book.name.clone();
    let rejected =
        NoModel::NotAccepted { experiment: name(), round: 2, verdict: "rejected", model_of: 1 };
    assert!(rejected.to_string().ends_with("which is: --round 1"), "{rejected}");
    assert_eq!(told(found, Which::After(2)), Err(rejected));
    assert_eq!(told(found, Which::After(7)), Err(NoModel::Open(name(), 7)));
    assert_eq!(told(found, Which::After(8)), Err(NoModel::NoSuchRound(name(), 8, 7)));

    let digests =
        |extent| found.extent(extent).into_iter().map(|it| it.digest.0[0]).collect::<Vec<_>>();
    assert_eq!(digests(Extent::Current), [6]);
    assert_eq!(digests(Extent::Accepted), [0, 1, 3, 4, 5, 6]);
    assert_eq!(digests(Extent::All), [0, 1, 2, 3, 4, 5, 6]);

    let roles = |byte| found.roles_of(model(byte).digest);
    assert_eq!((roles(0), roles(1)), (vec![Role::Initial], vec![Role::Accepted(1)]));
    assert_eq!((roles(2), roles(9)), (vec![Role::Proposed(2)], vec![]));
    // The entries say so.
    let entries = found.entries_of(1).unwrap();
    let (proposed, closed) = (entries.proposed.unwrap(), entries.closed.unwrap());
    assert_eq!(found.held(Which::After(1)).unwrap().entry, closed);
    assert!(entries.votes.values().all(|vote| (proposed..closed).contains(vote)), "{entries:?}");
}

#[test]
fn nothing_is_best_where_nobody_says_how_good_it_is() {
    let mut book = begun(None);
    round(&mut book, 1, Choice::Approve, None);
    let all = all(&book);
    let found = of(&all, None).unwrap();
    assert_eq!(told(found, Which::Best), Err(NoModel::NoScores(book.name.clone())));
    assert_eq!(told(found, Which::Current), Ok((1, 1, 1)));
    let other: ExperimentName = "other".parse().unwrap();
    let error = of(&all, Some(&other)).unwrap_err();
    assert_eq!(error.to_string(), "the ledger has no experiment other; it has: x");
    let error = of(&BTreeMap::<_, Models>::new(), None).unwrap_err();
    assert_eq!(error.to_string(), "name the experiment; it has none");
}

#[test]
fn nobody_makes_their_own_model_the_best() {
    let mut book = begun(None);
    round(&mut book, 1, Choice::Approve, Some(900_000));
    praised(&mut book, 2, Choice::Approve, Some(i64::MAX), Some(100_000));
    praised(&mut book, 3, Choice::Approve, Some(i64::MAX), None);
    let all = all(&book);
    assert_eq!(told(of(&all, None).unwrap(), Which::Best), Ok((1, 1, 1)));
}

#[test]
fn votes_are_found_under_the_present_key() {
    let mut book = begun(None);
    round(&mut book, 1, Choice::Approve, None);
    let seen = Seen { size: 0, root: colearn_ledger::Hash::empty_root() };
    let voter = (1..=3)
        .find(|who| {
            all(&book)
                .values()
                .next()
                .unwrap()
                .entries_of(1)
                .unwrap()
                .votes
                .contains_key(&learner(*who))
        })
        .unwrap();
    let before = all(&book)[&book.name].entries_of(1).unwrap().votes[&learner(voter)];
    book.wait(1);
    let replaced =
        Transaction::replace_key(&key(voter), &key(9), &book.id, seen, book.name.clone());
    book.transact(&replaced);
    let after = all(&book);
    let votes = &after[&book.name].entries_of(1).unwrap().votes;
    assert_eq!((votes.get(&learner(9)), votes.get(&learner(voter))), (Some(&before), None));
    let ballots = &after[&book.name].history().rounds[0].ballots;
    assert!(ballots.keys().eq(votes.keys()), "{votes:?}");
}

#[test]
fn merges_are_told_from_what_was_merged() {
    let mut book = begun(Some(Merging::default()));
    let updates = [1, 2, 3].map(|who| {
        let weights = model(10 + who);
        (who, Update { weights, ..book.trained(None) })
    });
    book.train(updates);
    let digest = |byte| Some(Digest([byte; 32]));
    let merges = Merges { open: digest(21), guarded: digest(22) };
    (1..=3).for_each(|who| book.judge(who, merges, [true, true, true]));
    let all = all(&book);
    let found = of(&all, None).unwrap();
    // Its size is that of the model that it is made of.
    assert_eq!(told(found, Which::Current), Ok((22, 1, 1)));
    assert_eq!(told(found, Which::Best), Ok((22, 1, 1)));
    let roles = |byte| found.roles_of(model(byte).digest);
    assert_eq!(roles(11), [Role::Update(1, learner(1))]);
    assert_eq!(roles(21), [Role::Merge(1, Merge::Open)]);
    assert_eq!(roles(22), [Role::Accepted(1)]);
}
