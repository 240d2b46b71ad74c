//! The draw of proposers, from version 2 on (R32, R63): that it is the one described, and what each party
//! that would steer it gains, played and counted. `cargo test --test it draw -- --nocapture` shows the
//! counts.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use colearn_contracts::{
    Act, Action, Admission, BallotKind, Choice, Close, Commit, Contract, Digest, Experiment, LINKS,
    LearnerId, Moment, PROPOSER, Parameters, Phase, Rejection, Reveal, Scores, Sealed, Seed,
    Selection, VERSION, Version, Vote, link,
};
use sha2::{Digest as _, Sha256};

use crate::script::{
    at, check_v2, create_under, created, defaults, invited, join, joined, learner, model, name,
    play, proposal, secret, vote,
};

fn drawn() -> Parameters {
    Parameters { selection: Selection::Sortition, ..defaults() }
}

/// The digest of these, one after the other.
fn digest(parts: &[&[u8]]) -> Digest {
    Digest(Sha256::digest(parts.concat()).into())
}

fn id(number: u8) -> LearnerId {
    LearnerId([number + 1; 32])
}

/// Chains from the secret on, by who stated them in which round.
type Chains = BTreeMap<(LearnerId, u64), Vec<Digest>>;

/// An experiment in which proposers are drawn, played by somebody who holds every key.
#[derive(Clone)]
struct Game {
    contract: Contract,
    now_ms: u64,
    /// The ledger's last entry: another with each step.
    head: u64,
    /// Hashed once, for all that is tried.
    chains: Rc<RefCell<Chains>>,
}

impl Game {
    /// So many members, all there are to be, in the first round.
    fn new(members: u8, rules: Parameters) -> Self {
        // Rounds are accepted whatever is voted, so that everybody can vote as it likes.
        let parameters =
            Parameters { min_learners: members.into(), threshold: "0/1".parse().unwrap(), ..rules };
        let contract = created(VERSION, parameters, Admission::Open);
        Self::of(contract, members)
    }

    /// The same where this is created.
    fn of(contract: Contract, members: u8) -> Self {
        let mut game = Self { contract, now_ms: 0, head: 0, chains: Rc::default() };
        (0..members).for_each(|number| game.join(id(number), 0));
        game
    }

    fn apply(&mut self, who: LearnerId, what: Act) -> Result<(), Rejection> {
        self.head += 1;
        let mut head = [0; 32];
        head[..8].copy_from_slice(&self.head.to_be_bytes());
        let at = Moment { now_ms: self.now_ms, head: Digest(head) };
        self.contract.apply(at, who, &Action::new(name(), what)).map(|_| ())
    }

    fn join(&mut self, who: LearnerId, term: u32) {
        let join = join(&self.contract, term).what;
        self.apply(who, join).unwrap();
    }

    fn experiment(&self) -> &Experiment {
        self.contract.experiment(&name()).unwrap()
    }

    fn round(&self) -> u64 {
        self.experiment().round()
    }

    /// Whose turn it is, or was in this round.
    fn proposer(&self) -> LearnerId {
        match self.experiment().phase() {
            Phase::Proposing { proposer, .. } | Phase::Voting { proposer, .. } => *proposer,
            phase => panic!("{phase:?}"),
        }
    }

    /// Has whose turn it is propose something new.
    fn propose(&mut self) {
        let (round, base) = (self.round(), self.experiment().model().digest);
        let mut weights = model(1);
        weights.digest.0[..8].copy_from_slice(&round.to_be_bytes());
        let proposer = self.proposer();
        self.apply(proposer, Act::Propose(proposal(round, base, weights))).unwrap();
    }

    fn pass(&mut self) {
        let (round, proposer) = (self.round(), self.proposer());
        self.apply(proposer, Act::Pass { round, exhausted: false, reason: None }).unwrap();
    }

    /// What is proposed.
    fn proposed(&self) -> Digest {
        match self.experiment().phase() {
            Phase::Voting { weights, .. } => weights.digest,
            phase => panic!("{phase:?}"),
        }
    }

    fn ballot(&self, who: LearnerId) -> Vote {
        let (round, member) = (self.round(), self.experiment().member(who).unwrap());
        let (anchored, left) = match member.chain.as_deref() {
            Some(chain) if chain.left > 0 => (chain.anchored, chain.left - 1),
            Some(_) | None => (round, LINKS),
        };
        let mut chains = self.chains.borrow_mut();
        let chain = chains.entry((who, anchored)).or_insert_with(|| {
            let before = |link: &Digest| Some(digest(&[b"colearn/v2/link\n", &link.0]));
            let secret = Digest(secret(who, anchored));
            std::iter::successors(Some(secret), before).take(LINKS as usize + 1).collect()
        });
        let link = Some(chain[left as usize]);
        Vote { link, ..vote(round, self.proposed(), Choice::Approve) }
    }

    fn vote(&mut self, who: LearnerId) {
        let ballot = self.ballot(who);
        self.apply(who, Act::Vote(ballot)).unwrap();
    }

    /// Everybody that has a vote in this round.
    fn voters(&self) -> Vec<LearnerId> {
        let proposer = self.proposer();
        self.experiment().seated().filter(|who| *who != proposer).collect()
    }

    /// Ends the phase that is open by its deadline.
    fn expire(&mut self) {
        self.now_ms = self.experiment().deadline_ms().unwrap();
        self.contract.advance(at(self.now_ms));
    }

    /// Has all of these vote, and the round end.
    fn close(mut self, voters: &[LearnerId]) -> Self {
        let round = self.round();
        voters.iter().for_each(|who| self.vote(*who));
        if self.round() == round {
            self.expire();
        }
        self
    }

    /// A whole round in which everybody votes.
    fn play(self) -> Self {
        let mut game = self;
        game.propose();
        let voters = game.voters();
        game.close(&voters)
    }

    /// Who will be drawn for the round after this one: known already.
    fn next(&self) -> LearnerId {
        let (seed, proposer) = (self.experiment().next_seed(), self.proposer());
        let others = self.experiment().proposers().filter(|(_, who)| *who != proposer);
        others.min_by_key(|(seat, _)| rank(seed, *seat)).unwrap().1
    }

    /// The head of the ledger is of no matter.
    fn after_junk(mut self, entries: u64) -> Self {
        self.head += entries;
        self
    }
}

/// The rank of a seat in the draw of a proposer, from the README alone.
fn rank(seed: Seed, seat: u64) -> Digest {
    digest(&[b"colearn/v2/draw\n", &[8], b"proposer", &seed.0.0, &seat.to_be_bytes()])
}

#[test]
fn r63_chains_seeds_and_ranks_are_those_described() {
    // A chain: each link is the hash of the one that is revealed after it.
    let secret = [7; 32];
    let mut chain = vec![Digest(secret)];
    for _ in 0..LINKS {
        let before = chain[chain.len() - 1];
        chain.push(digest(&[b"colearn/v2/link\n", &before.0]));
    }
    for left in [0, 1, 2, LINKS - 1, LINKS] {
        assert_eq!(link(secret, left), chain[left as usize]);
    }
    let first = Seed::first(&Digest([3; 32]), &"digits".parse().unwrap());
    assert_eq!(first.0, digest(&[b"colearn/v2/seed\n", &[3; 32], &[6], b"digits"]));
    let links = [Digest([1; 32]), Digest([2; 32])];
    let next = digest(&[b"colearn/v2/next-seed\n", &first.0.0, &[1; 32], &[2; 32]]);
    assert_eq!(first.next(links).0, next);
    let none = digest(&[b"colearn/v2/next-seed\n", &first.0.0]);
    assert_eq!(first.next([]).0, none);
    assert_eq!(first.rank(PROPOSER, 258), rank(first, 258));
}

/// The state of the draws, kept by hand from the README.
struct ByHand {
    /// That of the round that opens next, with the round whose links made it and who was there then.
    next: (Digest, Option<(u64, u64)>),
    following: (Digest, Option<(u64, u64)>),
    last: Option<u64>,
    /// The rounds in which the seats kept a link back.
    kept: Vec<(u64, u64)>,
}

impl ByHand {
    /// The seat that is drawn among these, which may propose.
    fn draw(&mut self, seats: &[u64]) -> u64 {
        let (seed, known) = self.next;
        let others = |seat: &&u64| Some(**seat) != self.last;
        let kept = |seat: u64, from: u64| self.kept.iter().any(|it| it.0 == seat && it.1 >= from);
        let there =
            |seat: &&u64| known.is_none_or(|(round, below)| **seat < below && !kept(**seat, round));
        let first = |seats: Vec<&u64>| {
            seats.into_iter().min_by_key(|seat| rank(Seed(seed), **seat)).copied()
        };
        let drawn = first(seats.iter().filter(others).filter(there).collect())
            .or(first(seats.iter().filter(others).collect()))
            .or(first(seats.iter().collect()))
            .unwrap();
        self.next = self.following;
        self.last = Some(drawn);
        drawn
    }

    /// A round has closed in which these links were revealed, in joining order.
    fn close(&mut self, round: u64, links: &[Digest], next_seat: u64) {
        let links: Vec<u8> = links.iter().flat_map(|link| link.0).collect();
        let seed = digest(&[b"colearn/v2/next-seed\n", &self.next.0.0, &links]);
        self.following = (seed, Some((round, next_seat)));
    }
}

#[test]
fn r63_proposers_are_drawn_as_described() {
    let mut game = Game::new(5, drawn());
    let first = digest(&[b"colearn/v2/seed\n", &[0; 32], &[1], b"x"]);
    let kept = Vec::new();
    let mut by_hand = ByHand { next: (first, None), following: (first, None), last: None, kept };
    let mut anchored: BTreeSet<LearnerId> = BTreeSet::new();
    let mut chained: BTreeSet<u64> = BTreeSet::new();
    let mut newcomer = 5;
    for round in 1..=300 {
        let seats: Vec<u64> = game.experiment().proposers().map(|(seat, _)| seat).collect();
        let seat = by_hand.draw(&seats);
        let drawn = game.experiment().proposers().find(|(it, _)| *it == seat).unwrap().1;
        assert_eq!((game.round(), game.proposer()), (round, drawn));
        assert_eq!(game.experiment().next_seed().0, by_hand.next.0);
        let next_seat = game.experiment().proposers().map(|(seat, _)| seat).max().unwrap() + 1;
        // Sometimes somebody joins, leaves, is silent, changes its key, or passes.
        if round % 7 == 0 {
            game.join(id(newcomer), 0);
            newcomer += 1;
        }
        if round % 11 == 0 {
            game.pass();
            by_hand.close(round, &[], next_seat);
            continue;
        }
        game.propose();
        let mut voters = game.voters();
        voters.rotate_left(round as usize % 4);
        let seat_of =
            |who: &LearnerId| game.experiment().proposers().find(|(_, it)| it == who).unwrap().0;
        if round % 3 == 0 {
            by_hand.kept.push((seat_of(&voters.pop().unwrap()), round));
        }
        let mut links: Vec<(u64, Digest)> = Vec::new();
        for who in &voters {
            let (ballot, seat) = (game.ballot(*who), seat_of(who));
            if anchored.insert(*who) {
                // Another key begins another chain.
                if !chained.insert(seat) {
                    by_hand.kept.push((seat, round));
                }
            } else {
                links.push((seat, ballot.link.unwrap()));
            }
        }
        links.sort_unstable();
        if round % 13 == 0 {
            // It votes first, so that what it revealed is there and stays there.
            let who = voters.remove(0);
            game.vote(who);
            if round % 2 == 0 {
                game.apply(who, Act::Leave { term: 0, renounce: false }).unwrap();
            } else {
                let to = id(newcomer);
                newcomer += 1;
                game.apply(who, Act::ReplaceKey { to }).unwrap();
            }
        }
        game = game.close(&voters);
        let links: Vec<Digest> = links.into_iter().map(|(_, link)| link).collect();
        by_hand.close(round, &links, next_seat);
    }
}

#[test]
fn r63_a_vote_reveals_the_next_link_and_nothing_else() {
    // Any first one is an anchor; what does not lead to it is refused from then on.
    let three = Parameters { min_learners: 3, ..drawn() };
    check_v2(
        three.clone(),
        Admission::Open,
        "A joins: ok
         B joins: ok
         C joins: round 1 of B
         B proposes 1 in 1 from 0: 2 vote
         A approves 1 in 1 linking nothing: WrongLink
         A approves 1 in 1 linking junk: ok
         C approves 1 in 1: accepted 2-0, round 2 of C
         C proposes 2 in 2 from 1: 2 vote
         A approves 2 in 2: WrongLink
         A abstains 2 in 2 linking junk: WrongLink
         A rejects 2 in 2 linking nothing: WrongLink
         B approves 2 in 2 linking junk: ok",
    );
    let contract = check_v2(
        three,
        Admission::Open,
        "A joins: ok
         B joins: ok
         C joins: round 1 of B
         B proposes 1 in 1 from 0: 2 vote
         A approves 1 in 1: ok
         C approves 1 in 1: accepted 2-0, round 2 of C
         C proposes 2 in 2 from 1: 2 vote
         A approves 2 in 2: ok
         B rejects 2 in 2: accepted 1-1, round 3 of A",
    );
    let chain = |who: &str| {
        let member = contract.experiment(&name()).unwrap().member(learner(who)).unwrap();
        member.chain.as_deref().map(|chain| (chain.link, chain.left, chain.anchored))
    };
    let of = |who: &str, anchored, left| {
        Some((link(secret(learner(who), anchored), left), left, anchored))
    };
    let chains = [chain("A"), chain("B"), chain("C")];
    assert_eq!(chains, [of("A", 1, LINKS - 1), of("B", 2, LINKS), of("C", 1, LINKS)]);
    // Where nobody is drawn nothing is revealed.
    check_v2(
        defaults(),
        Admission::Open,
        &(joined("AB")
            + "A proposes 1 in 1 from 0: 1 vote
             B approves 1 in 1 linking junk: WrongLink
             B approves 1 in 1 linking nothing: accepted 1-0, round 2 of B"),
    );
    // With sealed ballots the commitment reveals it, not what opens it.
    check_v2(
        Parameters { ballot: BallotKind::Sealed, ..drawn() },
        Admission::Open,
        "A joins: ok
         B joins: round 1 of B
         B proposes 1 in 1 from 0: 1 vote
         A commits yes on 1 in 1 linking nothing: WrongLink
         A commits yes on 1 in 1: reveal 1
         A reveals yes on 1 in 1: accepted 1-0, round 2 of A",
    );
}

#[test]
fn r63_with_sealed_ballots_commitments_draw() {
    // As votes do, also where nobody opens what it committed to: nobody chooses when the count is seen.
    let mut open = Game::new(4, drawn());
    let mut sealed = Game::new(4, Parameters { ballot: BallotKind::Sealed, ..drawn() });
    for _ in 0..12 {
        assert_eq!(open.proposer(), sealed.proposer());
        open = open.play();
        sealed.propose();
        let round = sealed.round();
        for who in sealed.voters() {
            let Vote { weights, link, .. } = sealed.ballot(who);
            let commitment = Digest([0; 32]);
            sealed.apply(who, Act::Commit(Commit { round, weights, commitment, link })).unwrap();
        }
        sealed.expire();
        assert_eq!(open.experiment().next_seed(), sealed.experiment().next_seed());
    }
}

#[test]
fn r63_what_opens_a_ballot_reveals_no_link() {
    let rules = Parameters { ballot: BallotKind::Sealed, ..drawn() };
    let begin = "A joins: ok\n B joins: round 1 of B\n B proposes 1 in 1 from 0: 1 vote";
    let mut contract = check_v2(rules, Admission::Open, begin);
    let vote = vote(1, Digest([1; 32]), Choice::Approve);
    let (experiment, salt, voter) = (&name(), [5; 32], learner("A"));
    let (version, ledger) = (Version::V2, Digest([0; 32]));
    let sealed = Sealed { version, ledger, experiment, voter, vote: &vote, salt: &salt };
    let (round, weights, commitment) = (1, vote.weights, sealed.commitment());
    let link = Some(Digest([6; 32]));
    let mut apply = |what| contract.apply(at(1), voter, &Action::new(name(), what)).map(|_| ());
    assert_eq!(apply(Act::Commit(Commit { round, weights, commitment, link })), Ok(()));
    let with_link = Vote { link, ..vote.clone() };
    let reveal = |vote| Act::Reveal(Reveal { vote, salt });
    assert_eq!(apply(reveal(with_link)), Err(Rejection::WrongLink));
    assert_eq!(apply(reveal(vote)), Ok(()));
}

#[test]
fn r63_a_chain_that_is_used_up_is_followed_by_another() {
    let mut game = Game::new(2, drawn());
    // The two take turns, and each votes in every second round.
    while game.experiment().member(id(0)).unwrap().chain.as_ref().is_none_or(|it| it.left > 0) {
        game = game.play();
    }
    let rounds = game.round();
    assert!((2 * u64::from(LINKS)..2 * u64::from(LINKS) + 4).contains(&rounds), "{rounds}");
    for _ in 0..4 {
        game = game.play();
    }
    let chain = *game.experiment().member(id(0)).unwrap().chain.as_deref().unwrap();
    assert!(chain.anchored >= rounds && chain.left > LINKS - 3, "{chain:?}");
}

#[test]
fn r32_the_last_proposer_is_not_drawn_if_there_are_others() {
    check_v2(
        Parameters { min_learners: 1, ..drawn() },
        Admission::Open,
        "A joins: round 1 of A
         A passes 1: passed, round 2 of A
         A passes 2: passed, round 3 of A",
    );
    let mut game = Game::new(3, drawn());
    let mut counts = [0; 3];
    let mut last = None;
    for _ in 0..3000 {
        let proposer = game.proposer();
        assert_ne!(last, Some(proposer));
        counts[proposer.0[0] as usize - 1] += 1;
        last = Some(proposer);
        game.pass();
    }
    assert!(counts.iter().all(|count| (900..=1100).contains(count)), "{counts:?}");
}

/// Plays so many rounds, in each of which a party chooses one of several ways on, and counts how often it
/// has the turn. Gives the share, in thousandths, and how often it chose another than the first way.
fn share(
    mut game: Game,
    rounds: u32,
    party: &[LearnerId],
    mut ways: impl FnMut(&Game) -> Vec<Game>,
) -> (u32, u32) {
    let (mut turns, mut others) = (0, 0);
    for _ in 0..rounds {
        turns += u32::from(party.contains(&game.proposer()));
        let ways = ways(&game);
        let suits = ways.iter().position(|way| party.contains(&way.next()));
        others += u32::from(suits.is_some_and(|place| place > 0));
        game = ways.into_iter().nth(suits.unwrap_or(0)).unwrap();
    }
    (turns * 1000 / rounds, others)
}

/// A round in which everybody votes: the only way on.
fn honest(game: &Game) -> Vec<Game> {
    vec![game.clone().play()]
}

/// A game that has gone on until links are revealed in every round.
fn running(members: u8, rules: Parameters) -> Game {
    (0..3 * members).fold(Game::new(members, rules), |game, _| game.play())
}

#[test]
fn r63_the_last_voter_gains_nothing_by_what_it_votes_or_by_entries_elsewhere() {
    // In version 1 it had 15 of 15 turns for 19 entries.
    let (grinder, rounds) = (id(2), 1500);
    let seeds = std::cell::Cell::new(0);
    let grinds = |game: &Game| {
        let mut game = game.clone();
        game.propose();
        if game.proposer() == grinder {
            let voters = game.voters();
            return vec![game.close(&voters)];
        }
        let others: Vec<LearnerId> =
            game.voters().into_iter().filter(|who| *who != grinder).collect();
        others.iter().for_each(|who| game.vote(*who));
        let mut ways = Vec::new();
        for junk in 0..8 {
            for (choice, score) in [
                (Choice::Approve, 1),
                (Choice::Approve, 2),
                (Choice::Reject, 3),
                (Choice::Abstain, 4),
            ] {
                let mut way = game.clone().after_junk(junk);
                let scores = Scores { vote: Some(score), test: Some(junk as i64) };
                let ballot = Vote { choice, scores, ..way.ballot(grinder) };
                way.apply(grinder, Act::Vote(ballot)).unwrap();
                ways.push(way);
            }
        }
        let different: BTreeSet<Digest> =
            ways.iter().map(|way| way.experiment().next_seed().0).collect();
        seeds.set(seeds.get() + different.len() - 1);
        ways
    };
    let (baseline, _) = share(running(5, drawn()), rounds, &[grinder], honest);
    let (ground, others) = share(running(5, drawn()), rounds, &[grinder], grinds);
    println!(
        "last voter of 5, 32 contents and junk entries: rate {ground} (without {baseline}), 200 is fair"
    );
    // Of 32 tries each gives the same draw.
    assert_eq!((seeds.into_inner(), others), (0, 0));
    assert_eq!(ground, baseline);
    assert!((160..=240).contains(&ground), "{ground}");
}

#[test]
fn r63_the_order_of_votes_moves_nothing() {
    // Who orders transactions, or tries an order in a copy and takes it back, has one draw to choose from.
    let mut game = running(5, drawn());
    for _ in 0..20 {
        game.propose();
        let voters = game.voters();
        let [a, b, c, d] = voters[..] else { panic!() };
        let mut next = BTreeSet::new();
        for order in [
            [a, b, c, d],
            [d, c, b, a],
            [b, d, a, c],
            [c, a, d, b],
            [a, c, b, d],
            [d, a, b, c],
            [b, a, d, c],
            [c, d, a, b],
        ] {
            let way = game.clone().after_junk(u64::from(order[0].0[0])).close(&order);
            next.insert((way.experiment().next_seed().0, way.next()));
        }
        assert_eq!(next.len(), 1);
        game = game.close(&voters);
    }
    println!("order of 4 votes: 8 orders in 20 rounds, one draw each");
}

/// Every way in which some of these vote and the others are silent, all voting first.
fn subsets(game: &Game, party: &[LearnerId]) -> Vec<Game> {
    let mut game = game.clone();
    game.propose();
    let all = game.voters();
    let (mine, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|who| party.contains(who));
    others.iter().for_each(|who| game.vote(*who));
    let votes = |silent: u32| {
        let votes = |(i, who): (usize, &LearnerId)| (silent >> i & 1 == 0).then_some(*who);
        let voting: Vec<LearnerId> = mine.iter().enumerate().filter_map(votes).collect();
        if mine.is_empty() { game.clone() } else { game.clone().close(&voting) }
    };
    (0..1 << mine.len()).map(votes).collect()
}

#[test]
fn r63_k_who_keep_silent_have_at_most_2_to_the_k_draws_to_choose_from() {
    println!("keeping silent, of 8 members:");
    for k in 1..=3_u8 {
        let rounds = 600;
        let party: Vec<LearnerId> = (0..k).map(id).collect();
        let most = std::cell::Cell::new(0);
        let ways = |game: &Game| {
            let ways = subsets(game, &party);
            let seeds: BTreeSet<Digest> =
                ways.iter().map(|way| way.experiment().next_seed().0).collect();
            most.set(most.get().max(seeds.len()));
            assert!(seeds.len() <= 1 << k);
            ways
        };
        let (baseline, _) = share(running(8, drawn()), rounds, &party, honest);
        let (ground, silent) = share(running(8, drawn()), rounds, &party, ways);
        let fair = 1000 * u32::from(k) / 8;
        println!(
            "k = {k}: rate {ground} (without {baseline}, {fair} is fair), {} draws at most, \
             {silent} rounds of {rounds} with a missed vote",
            most.get()
        );
        assert_eq!(most.get(), 1 << k);
        // Who keeps a link back is not drawn by what comes of it, so one alone gains nothing, and
        // several what one of them can do for another.
        let bound = fair + fair * (u32::from(k) - 1) / 4 + 60;
        assert!(ground < bound, "{ground} {bound}");
        assert!(baseline.abs_diff(fair) < 60 && silent > 0);
    }
}

#[test]
fn r63_the_proposer_has_one_other_draw_to_choose_from_for_its_turn() {
    // By passing it takes every link of its round out; it cannot choose among them.
    let (party, rounds) = ([id(0)], 1500);
    let ways = |game: &Game| {
        let played = game.clone().play();
        if game.proposer() != party[0] {
            return vec![played];
        }
        let mut passed = game.clone();
        passed.pass();
        vec![played, passed]
    };
    let (baseline, _) = share(running(5, drawn()), rounds, &party, honest);
    let (ground, passed) = share(running(5, drawn()), rounds, &party, ways);
    println!(
        "proposer of 5 that passes: rate {ground} (without {baseline}), {passed} turns given up for that"
    );
    // Of what it gains each is a turn that it gave up.
    let turns_kept = ground * rounds / 1000 - passed;
    assert!(turns_kept <= baseline * rounds / 1000 + 60, "{turns_kept}");
    assert!((160..=300).contains(&ground) && passed > 0, "{ground}");
}

#[test]
fn r63_another_key_takes_a_link_out_64_times_at_most() {
    // Who goes on under another key before it votes states an anchor instead of its next link.
    let mut game = running(5, drawn());
    let (mut key, mut fresh, mut changed) = (id(0), 100, 0);
    let mut turns = 0;
    let rounds = 600;
    for _ in 0..rounds {
        turns += u32::from(game.proposer() == key);
        game.propose();
        if game.proposer() == key {
            let voters = game.voters();
            game = game.close(&voters);
            continue;
        }
        let others: Vec<LearnerId> = game.voters().into_iter().filter(|it| *it != key).collect();
        others.iter().for_each(|who| game.vote(*who));
        let mut other = game.clone();
        let to = id(fresh);
        let may = other.apply(key, Act::ReplaceKey { to }).is_ok();
        game = game.close(&[key]);
        if may && game.next() != key {
            let other = other.close(&[to]);
            if other.next() == to {
                (game, key, changed) = (other, to, changed + 1);
                fresh += 1;
            }
        }
    }
    println!(
        "another key before voting, of 5: {changed} keys for {turns} turns in {rounds} rounds"
    );
    assert!(changed <= 64);
    assert!((150..=270).contains(&(turns * 1000 / rounds)), "{turns}");
}

#[test]
fn r63_who_joins_is_drawn_from_the_second_seed_after_it_came() {
    // It knows two seeds when it joins, and could choose when: it is a candidate of neither.
    let mut game = running(4, drawn());
    let mut earliest = Vec::new();
    for newcomer in 0..200_u8 {
        let who = LearnerId([newcomer + 40; 32]);
        // As the last thing in a round that everybody but one has voted in.
        game.propose();
        let mut voters = game.voters();
        let last = voters.pop().unwrap();
        voters.iter().for_each(|voter| game.vote(*voter));
        game.join(who, 0);
        let joined = game.round();
        game = game.close(&[last]);
        // Seats are numbered by joining, and this one would often be first for the seeds that are known.
        let mut drawn_in = None;
        for _ in 0..6 {
            if game.proposer() == who && drawn_in.is_none() {
                drawn_in = Some(game.round() - joined);
            }
            game = game.play();
        }
        earliest.extend(drawn_in);
        // It leaves again, so that there are as many as before.
        game.propose();
        game.apply(who, Act::Leave { term: 0, renounce: false }).unwrap();
        let voters = game.voters();
        game = game.close(&voters);
    }
    let count = |rounds: u64| earliest.iter().filter(|it| **it == rounds).count();
    println!(
        "200 who time their joining, of 5: first turns by round after it {:?}",
        (1..=6).map(count).collect::<Vec<_>>()
    );
    assert_eq!(count(1) + count(2), 0);
    // From then on as anybody: about one in five, and one in four where it was not the last.
    assert!((25..=75).contains(&count(3)), "{}", count(3));
}

#[test]
fn r63_who_leaves_changes_only_its_own_place() {
    let mut game = running(6, drawn());
    for round in 0..60 {
        game.propose();
        let (next, voters) = (game.next(), game.voters());
        // Whoever of those that are not drawn leaves, before or after it has voted: the same is drawn.
        for leaver in voters.iter().filter(|who| **who != next) {
            for before in [true, false] {
                let mut way = game.clone();
                let leave = |way: &mut Game| {
                    way.apply(*leaver, Act::Leave { term: 0, renounce: false }).unwrap();
                };
                if before {
                    leave(&mut way);
                }
                way.vote(*leaver);
                if !before {
                    leave(&mut way);
                }
                let others: Vec<LearnerId> =
                    voters.iter().copied().filter(|who| who != leaver).collect();
                // Too few are left, so one joins meanwhile that cannot be drawn yet.
                way.join(id(200), 0);
                let way = way.close(&others);
                assert_eq!(way.proposer(), next, "round {round}");
                let together = game.clone().close(&voters);
                assert_eq!(way.experiment().next_seed(), together.experiment().next_seed());
            }
        }
        game = game.close(&voters);
    }
    println!("who leaves, of 6: the same is drawn in 60 rounds, whoever of the others leaves");
}

#[test]
fn r63_who_withholds_the_votes_of_others_is_as_one_that_is_them() {
    // Who orders the transactions of 5 of 6 can withhold two at a time: 4 draws, each seen as missed votes.
    let rounds = 600;
    let favourite = [id(0)];
    let ways = |game: &Game| {
        let ways = subsets(game, &[id(3), id(4)]);
        assert!(ways.len() <= 4);
        ways
    };
    let (baseline, _) = share(running(6, drawn()), rounds, &favourite, honest);
    let (ground, withheld) = share(running(6, drawn()), rounds, &favourite, ways);
    println!(
        "who orders, withholding up to 2 of 6: rate {ground} for one that it favours (without {baseline}), \
         {withheld} of {rounds} rounds with missed votes"
    );
    let bound = 1000.0 * (1.0 - 0.8_f64.powi(4)) + 60.0;
    assert!(f64::from(ground) < bound && ground > baseline && withheld > 0, "{ground}");
}

#[test]
fn r63_who_orders_chooses_unseen_only_where_rounds_close_early() {
    // Early: which votes are in when the verdict is certain is for who orders to say, and nobody missed any.
    let early = Parameters { close: Close::Early, ..drawn() };
    let parameters = Parameters { min_learners: 5, threshold: "1/2".parse().unwrap(), ..early };
    let contract = created(VERSION, parameters, Admission::Open);
    let mut game = Game::of(contract, 5);
    let mut different = 0;
    for round in 0..60 {
        game.propose();
        let voters = game.voters();
        let ways: Vec<Game> = [[0, 1, 2], [1, 2, 3], [2, 3, 0], [3, 0, 1]]
            .into_iter()
            .map(|order| {
                let mut way = game.clone();
                let round = way.round();
                for place in order {
                    if way.round() == round {
                        way.vote(voters[place]);
                    }
                }
                assert_eq!(way.round(), round + 1);
                way
            })
            .collect();
        let seeds: BTreeSet<Digest> =
            ways.iter().map(|way| way.experiment().next_seed().0).collect();
        different += usize::from(seeds.len() > 1);
        game = ways.into_iter().nth(round % 4).unwrap();
    }
    println!(
        "who orders, where rounds close early: several draws to choose from in {different} of 60 rounds"
    );
    assert!(different > 40);
}

#[test]
fn r63_the_first_seeds_are_known_from_the_beginning() {
    // Those of three rounds: in the first one there is nothing yet to be revealed but anchors. And as long
    // as nobody votes, those after.
    let first = Seed::first(&Digest([0; 32]), &name());
    let game = Game::new(5, drawn());
    assert_eq!(game.experiment().next_seed(), first);
    let second = game.play();
    assert_eq!(second.experiment().next_seed(), first.next([]));
    let third = second.clone().play();
    assert_ne!(third.experiment().next_seed(), first.next([]).next([]));
    let mut passed = second;
    passed.pass();
    assert_eq!(passed.experiment().next_seed(), first.next([]).next([]));
}

#[test]
fn r63_who_joins_in_the_first_round_may_be_drawn_for_the_second() {
    // Its seed was known before it came: it could choose its place by choosing when to come.
    let first = Seed::first(&Digest([0; 32]), &name());
    let suits = |seat: u64| (0..seat).all(|other| rank(first, seat) < rank(first, other));
    let seat = (3..).find(|seat| suits(*seat)).unwrap() as u8;
    let mut game = Game::new(seat, drawn());
    let joiner = id(200);
    game.join(joiner, 0);
    game.pass();
    assert_eq!((game.round(), game.proposer()), (2, joiner));
}

#[test]
fn r63_the_same_votes_in_other_experiments_draw_others() {
    // The ledger and the experiment's name are in the first seed.
    let [a, b] = [1, 2].map(|ledger| {
        let mut contract = Contract::new(Digest([ledger; 32]), VERSION);
        let create = create_under(VERSION, drawn(), invited("AB"));
        contract.apply(at(0), learner("Z"), &create).unwrap();
        contract.experiment(&name()).unwrap().next_seed()
    });
    assert_ne!(a, b);
    let other = Seed::first(&Digest([1; 32]), &"y".parse().unwrap());
    assert_ne!(a, other);
}

#[test]
fn r63_rules_that_begin_to_draw_draw_from_the_first_seed() {
    // From the round on in which the rules take effect; chains are anchored from then on.
    let mut contract = check_v2(
        defaults(),
        Admission::Open,
        &(joined("AB")
            + "C joins: ok
             A passes 1: passed, round 2 of B
             B passes 2: passed, round 3 of C"),
    );
    let set = colearn_contracts::Motion::SetParameters(Box::new(drawn()));
    let set = Action::new(name(), Act::Move { number: 1, motion: set });
    contract.apply(at(0), learner("A"), &set).unwrap();
    let first = Seed::first(&Digest([0; 32]), &name());
    // Not C, who proposed last.
    let seat = if rank(first, 0) < rank(first, 1) { "A" } else { "B" };
    play(
        &mut contract,
        &name(),
        &format!(
            "B seconds 1: motion 1 adopted 2-0
             C proposes 1 in 3 from 0: 2 vote
             A approves 1 in 3 linking nothing: ok
             B approves 1 in 3 linking nothing: accepted 2-0, motion 1 in effect, round 4 of {seat}"
        ),
    );
    assert_eq!(contract.experiment(&name()).unwrap().next_seed(), first);
}
