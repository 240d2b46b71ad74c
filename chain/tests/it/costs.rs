//! What calls read and write, and what that costs: the same, whatever strangers have left behind.

use std::collections::BTreeSet;

use colearn_chain::contract::{CLOSING_GAS, CLOSING_GAS_A_MEMBER};
use colearn_chain::messages::{ExperimentState, Query};
use colearn_contracts::{Act, Admission, CreateExperiment, Join, Parameters, VERSION, terms};
use colearn_records::transaction::{LedgerId, Seen};

use crate::counted::Asked;
use crate::native::{Instantiate, Native, usual};
use crate::people::{learner, model, payload, signed};
use crate::round::{Keeps, keep_silent, play};

/// A contract of which is counted what each call asks of its storage.
struct Counting {
    native: Native,
    calls: Vec<Asked>,
}

impl Counting {
    fn begin() -> Self {
        let begin = Instantiate { max_members: 500, experiments_per_creator: 200, ..usual() };
        Self { native: Native::begin(1_000, begin).unwrap(), calls: Vec::new() }
    }

    fn one(&mut self, who: u16, experiment: &str, what: Act) -> Asked {
        let payload = payload(&signed(&self.native.id, self.seen(), who, experiment, what));
        assert_eq!(self.submit(&[payload]).0, [0]);
        *self.calls.last().unwrap()
    }
}

impl Keeps for Counting {
    fn id(&self) -> LedgerId {
        self.native.id
    }

    fn seen(&self) -> Seen {
        self.native.seen()
    }

    fn submit(&mut self, payloads: &[Vec<u8>]) -> (Vec<u32>, u64) {
        self.native.deps.storage.take();
        let codes = self.native.submit(1_000 + self.calls.len() as u64, payloads);
        let asked = self.native.deps.storage.take();
        self.calls.push(asked);
        (codes, asked.gas)
    }

    fn tick(&mut self, name: &str) -> u64 {
        self.native.deps.storage.take();
        self.native.tick(1_000_000_000, &[name]);
        self.native.deps.storage.take().gas
    }
}

fn create(parameters: Parameters, admission: Admission) -> Act {
    let version = VERSION.number();
    Act::Create(CreateExperiment { version, parameters, admission, model: model(0), plan: None })
}

/// So many strangers who come to an experiment that anybody may join, and go.
fn come_and_go(counting: &mut Counting, name: &str, strangers: std::ops::Range<u16>) {
    let terms = terms(VERSION, learner(0), &Parameters::default(), &Admission::Open);
    let strangers: Vec<u16> = strangers.collect();
    for some in strangers.chunks(30) {
        let (id, seen) = (counting.native.id, counting.seen());
        let act = |who: &u16| {
            [Act::Join(Join::new(0, Some(terms))), Act::Leave { term: 0, renounce: false }]
                .map(|what| payload(&signed(&id, seen, *who, name, what)))
        };
        let payloads: Vec<Vec<u8>> = some.iter().flat_map(act).collect();
        assert_eq!(counting.submit(&payloads).0, vec![0; payloads.len()]);
    }
}

#[test]
fn a_vote_reads_and_writes_as_much_however_many_members_there_are() {
    let mut all = BTreeSet::new();
    for (members, strangers) in [(5, 0), (50, 0), (500, 0), (5, 300)] {
        let mut counting = Counting::begin();
        // What strangers can add to: experiments, those who have left one, entries, roots.
        for number in 0..strangers / 2 {
            let name = format!("a-study-{number}");
            counting.one(10_000, &name, create(Parameters::default(), Admission::Open));
        }
        counting.one(0, "open", create(Parameters::default(), Admission::Open));
        come_and_go(&mut counting, "open", 1_000..1_000 + strangers);
        let gas = play(&mut counting, "a-study", members, members.into());
        let (_, calls) = counting.calls.split_last().unwrap();
        let votes = &calls[calls.len() - gas.votes.len()..];
        let (bytes, gas) = votes.iter().map(|it| (it.written, it.gas)).max().unwrap();
        println!(
            "{members} members, {strangers} strangers: a vote writes {bytes} bytes for {gas} gas"
        );
        assert!(bytes <= 1_200, "{bytes}");
        assert!(gas <= 50_000, "{gas}");
        all.extend(votes.iter().map(|it| (it.reads, it.writes)));
    }
    // The tree, what the ledger says of itself, the root that was seen, where the experiment stands, and who
    // votes; and what is new.
    assert_eq!(all, BTreeSet::from([(5, 5)]), "reads and writes");
}

#[test]
fn what_strangers_leave_behind_is_not_read_where_they_were() {
    let mut before = None;
    for strangers in [1, 400] {
        let mut counting = Counting::begin();
        counting.one(0, "open", create(Parameters::default(), Admission::Open));
        come_and_go(&mut counting, "open", 1_000..1_000 + strangers);
        let terms = terms(VERSION, learner(0), &Parameters::default(), &Admission::Open);
        let join = |term| Act::Join(Join::new(term, Some(terms)));
        let mut asked = vec![counting.one(0, "open", join(0)), counting.one(1, "open", join(0))];
        asked.push(counting.one(1_000, "open", join(1)));
        let pass = Act::Pass { round: 1, exhausted: false, reason: None };
        asked.push(counting.one(0, "open", pass));
        let name = "open".to_owned();
        counting.native.ask::<ExperimentState>(Query::Experiment { name }).unwrap();
        asked.push(counting.native.deps.storage.take());
        let reads: Vec<(u64, u64)> = asked.iter().map(|it| (it.reads, it.writes)).collect();
        println!("beside {strangers}: {reads:?}");
        assert_eq!(before.get_or_insert_with(|| reads.clone()), &reads);
    }
}

#[test]
fn everything_costs_what_the_page_says_of_it() {
    // What a chain takes for storage alone; on the page is what it takes in all, some 110,000 more.
    for (members, [create, first, last, propose, vote, closing]) in [
        (5_u16, [84_000, 53_000, 62_000, 49_000, 44_000, 72_000]),
        (50, [330_000, 53_000, 79_000, 52_000, 45_000, 89_000]),
        (500, [2_800_000, 53_000, 223_000, 54_000, 49_000, 233_000]),
    ] {
        let mut counting = Counting::begin();
        let gas = play(&mut counting, "a-study", members, 3);
        gas.tell(members);
        // Nodes answer nothing that takes more than 3 M.
        counting.native.deps.storage.take();
        let name = "a-study".to_owned();
        counting.native.ask::<ExperimentState>(Query::Experiment { name }).unwrap();
        let asked = counting.native.deps.storage.take().gas;
        println!("    a question for it {asked}");
        assert!(asked <= 20_000 + 2_000 * u64::from(members), "{asked}");
        assert!(gas.create <= create && gas.joins[0] <= first && gas.joins[2] <= last);
        assert!(gas.propose <= propose && gas.closing <= closing);
        assert!(gas.votes.iter().all(|it| *it <= vote));
        assert!(gas.in_batch.is_none_or(|(one, _)| one <= 18_500));
    }
}

#[test]
fn closing_a_round_of_silent_members_costs_what_the_bound_supposes() {
    for members in [10, 100, 500] {
        let gas = keep_silent(&mut Counting::begin(), "silent", members);
        println!("{members} silent members: {gas} gas for storage");
        // What is computed takes a quarter as much again.
        let most = CLOSING_GAS + CLOSING_GAS_A_MEMBER * u64::from(members);
        assert!(gas * 5 / 4 <= most, "{gas} of {most}");
    }
}
