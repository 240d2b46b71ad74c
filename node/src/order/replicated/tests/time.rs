//! At what time things are recorded, by CometBFT's rule: a block's time is when the one before was voted for.

use colearn_ledger::Entry;

use super::*;
use crate::testing;

/// A network whose blocks are proposed in turn, take a while, and come as CometBFT makes them: as long as
/// something waits, at each heartbeat, and after each that has changed the application's hash.
struct Chain {
    network: Network,
    /// From a proposal to the votes for it, in ms.
    vote_ms: u64,
    /// From the votes until the next is proposed.
    next_ms: u64,
    /// When the last one was voted for.
    last_ms: u64,
    /// The application's hash before the last one and after it.
    hashes: [Bytes; 2],
    /// Empty blocks that were proposed though something waited, in a row.
    refreshing: u32,
    last_tick_s: u64,
}

impl Chain {
    fn new(nodes: u8, vote_ms: u64, next_ms: u64) -> Self {
        let network = Network::of(nodes);
        let hashes = [Bytes::new(), Bytes::new()];
        let mut chain = Self {
            network,
            vote_ms,
            next_ms,
            last_ms: BEGIN_MS,
            hashes,
            refreshing: 0,
            last_tick_s: 0,
        };
        // Long after it was agreed on.
        chain.wait(3_600_000);
        chain
    }

    fn now_ms(&self) -> u64 {
        self.network.clock.now_ms()
    }

    fn pass(&self, ms: u64) {
        self.network.clock.set(self.now_ms() + ms);
    }

    /// Offers one to a node, which tells the others.
    fn offer(&mut self, tx: &Bytes) {
        for node in &mut self.network.nodes {
            let _ = node.comet.check_tx(tx.clone()).unwrap();
        }
    }

    /// Makes a block, as whoever's turn it is proposes it.
    fn block(&mut self) {
        let nodes = &mut self.network.nodes;
        let turn = (nodes[0].comet.height() % nodes.len() as u64) as usize;
        let now_ms = self.network.clock.now_ms() + self.vote_ms;
        let waits = nodes[turn].comet.mempool().count() > 0;
        let block = nodes[turn].comet.propose(now_ms).unwrap();
        self.refreshing = if waits && block.txs.is_empty() { self.refreshing + 1 } else { 0 };
        assert!(self.refreshing < 2, "two blocks in a row for nothing but the time");
        self.network.clock.set(now_ms);
        for node in nodes {
            assert!(node.comet.process(&block).unwrap());
        }
        self.last_ms = block.voted_ms;
        let answer = self.network.apply(&block);
        self.hashes.rotate_left(1);
        self.hashes[1] = answer.app_hash;
        self.pass(self.next_ms);
    }

    /// Whether CometBFT would make a block now.
    fn goes_on(&self) -> bool {
        let waits = self.network.nodes.iter().any(|node| node.comet.mempool().count() > 0);
        let heartbeat = self.now_ms() - self.last_ms >= files::HEARTBEAT.as_millis() as u64;
        waits || heartbeat || self.hashes[0] != self.hashes[1]
    }

    /// Lets this long pass, with what the nodes do meanwhile.
    fn wait(&mut self, ms: u64) {
        let until_ms = self.now_ms() + ms;
        while self.now_ms() < until_ms {
            // One beat of one node: the others would say the same.
            let mut last_s = self.last_tick_s;
            if let Some(tick) = self.network.nodes[0].application().tick(&mut last_s) {
                self.offer(&tick);
            }
            self.last_tick_s = last_s;
            if self.goes_on() {
                self.block();
                continue;
            }
            let due_ms = self.network.contract().next_deadline_ms().unwrap_or(u64::MAX);
            let heartbeat_ms = self.last_ms + files::HEARTBEAT.as_millis() as u64;
            let next_ms = due_ms.max(self.now_ms() + 250).min(heartbeat_ms).min(until_ms);
            self.network.clock.set(next_ms.max(self.now_ms() + 1));
        }
    }

    /// Has a transaction recorded; how long before it was offered that is said to have been, in ms.
    fn record(&mut self, tx: &Bytes) -> u64 {
        let offered_ms = self.now_ms();
        self.offer(tx);
        for _ in 0..4 {
            self.block();
            let entries = self.network.entries();
            let all = entries.iter().map(|entry| Entry::decode(entry).unwrap());
            let recorded = all.filter(|entry| record_is(&entry.payload, tx)).last();
            if let Some(entry) = recorded {
                return offered_ms.saturating_sub(entry.time_ms);
            }
        }
        panic!("not recorded within four blocks");
    }

    fn restart(&mut self) {
        for node in &mut self.network.nodes {
            node.kill();
        }
        for node in &mut self.network.nodes {
            node.start();
        }
    }

    /// A transaction that was not there before.
    fn create(&self, number: u64) -> Bytes {
        self.network.sign(1 + number as u8, testing::create(&format!("e{number}")))
    }
}

fn record_is(payload: &[u8], tx: &Bytes) -> bool {
    *payload == tx[..]
}

#[test]
fn what_comes_after_idling_is_recorded_as_of_now() {
    let mut chain = Chain::new(4, 300, 200);
    // Any part of a heartbeat, and several.
    for (number, idle_ms) in
        (0..).zip([0, 900, 1_900, 2_500, 10_000, 31_000, 59_000, 59_900, 61_000, 3_600_000])
    {
        chain.wait(idle_ms);
        let tx = chain.create(number);
        let early_ms = chain.record(&tx);
        assert!(early_ms <= 3_000, "after {idle_ms} ms: {early_ms} ms early");
    }
}

#[test]
fn a_slow_network_records_without_end() {
    // The others' votes take their time, or who proposes does.
    for (vote_ms, next_ms) in [(5_000, 200), (2_500, 2_500), (200, 5_000), (500, 30_000)] {
        let mut chain = Chain::new(4, vote_ms, next_ms);
        for number in 0..12 {
            if number == 6 {
                chain.wait(120_000);
            }
            let tx = chain.create(number);
            let early_ms = chain.record(&tx);
            // A block's time is when the one before was voted for: never less than that.
            let most_ms = 3_000 + next_ms;
            assert!(early_ms <= most_ms, "{vote_ms}+{next_ms}: {early_ms} ms early");
        }
    }
}

#[test]
fn a_stop_of_all_makes_nothing_early() {
    let mut chain = Chain::new(4, 300, 200);
    let mut number = 0;
    for dies_within_a_block in [false, true] {
        for stopped_ms in [1_000, 30_000, 600_000] {
            number += 1;
            let tx = chain.create(number);
            chain.record(&tx);
            if dies_within_a_block {
                // Decided by all, durable for nobody: it comes again when they start.
                let block =
                    chain.network.block(Vec::new(), chain.network.nodes[0].comet.next_time_ms());
                for node in &mut chain.network.nodes {
                    node.comet.decide(block.clone());
                    node.comet.finalize().unwrap();
                }
            }
            for node in &mut chain.network.nodes {
                node.kill();
            }
            chain.pass(stopped_ms);
            chain.restart();
            let tx = chain.create(100 + number);
            let early_ms = chain.record(&tx);
            assert!(early_ms <= 3_000, "after {stopped_ms} ms: {early_ms} ms early");
        }
    }
}

#[test]
fn a_node_whose_clock_is_ahead_stops_nobody() {
    let mut chain = Chain::new(4, 300, 200);
    let ahead = Clock::by_hand(0);
    let ahead_ms = 20_000;
    chain.network.nodes[1].clock = ahead.clone();
    chain.network.nodes[1].kill();
    ahead.set(chain.now_ms() + ahead_ms);
    chain.network.nodes[1].start();
    for number in 0..8 {
        ahead.set(chain.now_ms() + ahead_ms);
        let tx = chain.create(number);
        chain.record(&tx);
    }
}

#[test]
fn deadlines_come_in_time_though_nobody_says_anything() {
    let mut chain = Chain::new(4, 300, 200);
    for learner in 1..=3 {
        let join = match learner {
            1 => testing::create("a"),
            _ => testing::join("a", 1, 0),
        };
        let tx = chain.network.sign(learner, join);
        chain.record(&tx);
    }
    let join = chain.network.sign(1, testing::join("a", 1, 0));
    chain.record(&join);
    // Each turn that is missed is the next one's, until they are all suspended.
    let mut late = Vec::new();
    while let Some(due_ms) = chain.network.contract().next_deadline_ms() {
        let before = chain.network.contract();
        while chain.network.contract() == before {
            chain.wait(50);
            assert!(chain.now_ms() < due_ms + 10_000, "never");
        }
        late.push(chain.now_ms().saturating_sub(due_ms));
    }
    assert!(late.len() > 3, "{late:?}");
    assert!(late.iter().all(|late_ms| *late_ms <= 3_000), "{late:?}");
    // A tick is taken only while something is due.
    let tick = Bytes::from(ordered::tick(chain.now_ms()));
    let refused = chain.network.nodes[0].comet.check_tx(tick).unwrap();
    assert!(matches!(refused, Broadcast::Refused { code: code::INVALID }));
}
