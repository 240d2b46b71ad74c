//! Writes ledgers, honest ones and others, and audits them.

use std::collections::BTreeMap;
use std::path::Path;

use colearn_audit::{AuditOptions, AuditReport, Level, audit, open};
use colearn_contracts::*;
use colearn_ledger::note::KeyKind;
use colearn_ledger::{Entry, Hash, Head, Ledger, Options, Signer};
use colearn_proto::v1;
use colearn_records::keys::learner_id;
use colearn_records::transaction::{LedgerId, Seen, Transaction};
use colearn_records::{record, upgrade};
use ed25519_dalek::SigningKey;
use prost::Message as _;
use tempfile::TempDir;

const ORIGIN: &str = "example.org/log";

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

pub(crate) fn learner(seed: u8) -> LearnerId {
    learner_id(&key(seed))
}

pub(crate) fn model(byte: u8) -> Model {
    Model { digest: Digest([byte; 32]), size: 1, media_type: MERGED_MEDIA_TYPE.to_owned() }
}

/// A ledger with one experiment, as it is written.
pub(crate) struct Book {
    pub(crate) id: LedgerId,
    pub(crate) name: ExperimentName,
    contract: Contract,
    head: Head,
    /// When each entry is recorded, and what.
    entries: Vec<(u64, Vec<u8>)>,
    pub(crate) now_ms: u64,
    /// The members' hash chains: how many links are left.
    chains: BTreeMap<u8, u32>,
}

impl Book {
    /// A ledger of this version with nothing but its genesis.
    pub(crate) fn new(version: Version) -> Self {
        let limits = (version > Version::V1).then(|| upgrade::limits_message(&Limits::default()));
        let genesis = v1::Genesis {
            origin: ORIGIN.to_owned(),
            log_public_key: key(100).verifying_key().to_bytes().to_vec().into(),
            nonce: vec![7; 32].into(),
            contract_version: version.number(),
            validators: Vec::new(),
            time_ms: 0,
            limits,
            chain: None,
        };
        let contract = Contract::new(Digest(LedgerId::of(&genesis).0), version);
        Self { contract, ..Self::of(record::genesis_payload(genesis)) }
    }

    /// A ledger that begins with this, whatever it is.
    pub(crate) fn of(payload: Vec<u8>) -> Self {
        let id = match v1::Entry::decode(&payload[..]).unwrap().payload {
            Some(v1::entry::Payload::Genesis(genesis)) => LedgerId::of(&genesis),
            other => panic!("not {other:?}"),
        };
        let mut book = Self {
            id,
            name: "x".parse().unwrap(),
            contract: Contract::new(Digest(id.0), VERSION),
            head: Head::EMPTY,
            entries: Vec::new(),
            now_ms: 1_000,
            chains: BTreeMap::new(),
        };
        book.append(payload);
        book
    }

    /// The same with an experiment by these rules.
    pub(crate) fn with(version: Version, parameters: Parameters, admission: Admission) -> Self {
        let mut book = Self::new(version);
        let version = version.number();
        let (model, plan) = (model(0), None);
        let create = CreateExperiment { version, parameters, admission, model, plan };
        book.act(1, Act::Create(create));
        book
    }

    /// Has the node record something, whatever it is.
    pub(crate) fn append(&mut self, payload: Vec<u8>) {
        let Head { size, leaf, .. } = self.head;
        let (time_ms, kept) = (self.now_ms, payload.clone());
        let bytes = Entry { index: size, parent: leaf, time_ms, payload }.encode();
        self.head = Head { size: size + 1, leaf: Hash::leaf(&bytes), time_ms };
        self.entries.push((time_ms, kept));
    }

    /// How many entries there are.
    pub(crate) fn size(&self) -> u64 {
        self.head.size
    }

    fn moment(&self) -> Moment {
        Moment { now_ms: self.now_ms, head: Digest(self.head.leaf.0) }
    }

    fn record(&mut self, outcomes: &[Outcome]) {
        outcomes.iter().for_each(|outcome| self.append(record::outcome_payload(outcome)));
    }

    /// A transaction whose signer has seen nothing.
    pub(crate) fn signed(&self, who: u8, what: Act) -> Transaction {
        let seen = Seen { size: 0, root: Hash::empty_root() };
        Transaction::sign(&key(who), &self.id, seen, Action::new(self.name.clone(), what))
    }

    /// Records an action, which must be accepted.
    pub(crate) fn act(&mut self, who: u8, what: Act) {
        self.wait(1);
        let signed = self.signed(who, what);
        self.transact(&signed);
    }

    /// Records a transaction, which must be accepted.
    pub(crate) fn transact(&mut self, signed: &Transaction) {
        let outcomes = self.contract.apply(self.moment(), signed.sender(), signed.action());
        let outcomes = outcomes.unwrap();
        self.append(record::transaction_payload(signed));
        self.record(&outcomes);
    }

    pub(crate) fn wait(&mut self, ms: u64) {
        self.now_ms += ms;
        let outcomes = self.contract.advance(self.moment());
        self.record(&outcomes);
    }

    /// Has new experiments follow version 2.
    pub(crate) fn upgrade(&mut self) {
        self.wait(1);
        let (version, limits) = (Version::V2, Limits::default());
        self.contract.upgrade(self.now_ms, version, limits).unwrap();
        let signed = upgrade::sign(&self.id, &key(100), version, limits);
        self.append(record::upgrade_payload(&signed));
    }

    pub(crate) fn experiment(&self) -> &Experiment {
        self.contract.experiment(&self.name).unwrap()
    }

    pub(crate) fn join(&mut self, who: u8) {
        let experiment = self.experiment();
        let term = experiment.member(learner(who)).map_or(0, |member| member.term + 1);
        let terms = (experiment.version() > Version::V1).then(|| experiment.terms());
        self.act(who, Act::Join(Join::new(term, terms)));
    }

    /// Whose turn it is, of the first hundred.
    pub(crate) fn proposer(&self) -> u8 {
        let (Phase::Proposing { proposer, .. } | Phase::Voting { proposer, .. }) =
            self.experiment().phase()
        else {
            panic!("no round is open")
        };
        (1..100).find(|who| learner(*who) == *proposer).unwrap()
    }

    /// Whose turn it is proposes.
    pub(crate) fn propose(&mut self, privacy: Option<PrivacySpent>) {
        let experiment = self.experiment();
        let proposal = Proposal {
            round: experiment.round(),
            base: experiment.model().digest,
            weights: Model { digest: Digest(self.head.leaf.0), ..model(0) },
            scores: Scores::default(),
            privacy,
        };
        self.act(self.proposer(), Act::Propose(proposal));
    }

    pub(crate) fn pass(&mut self, reason: Option<Reason>) {
        let round = self.experiment().round();
        self.act(self.proposer(), Act::Pass { round, exhausted: false, reason });
    }

    pub(crate) fn vote(&mut self, who: u8, choice: Choice, reason: Option<Reason>) {
        let experiment = self.experiment();
        let Phase::Voting { weights, .. } = experiment.phase() else {
            panic!("nothing to vote on")
        };
        let (round, weights) = (experiment.round(), weights.digest);
        let (link, scores) = (self.link(who), Scores::default());
        self.act(who, Act::Vote(Vote { round, weights, choice, reason, scores, link }));
    }

    /// What somebody reveals with a vote, where proposers are drawn.
    fn link(&mut self, who: u8) -> Option<Digest> {
        let experiment = self.experiment();
        let drawn = experiment.parameters().selection == Selection::Sortition
            && experiment.version() > Version::V1;
        drawn.then(|| {
            let left = self.chains.entry(who).and_modify(|left| *left -= 1).or_insert(LINKS);
            link([who; 32], *left)
        })
    }

    /// Something that is trained in a merged round; what is trained later is something else.
    pub(crate) fn trained(&self, privacy: Option<PrivacySpent>) -> Update {
        let experiment = self.experiment();
        let (round, base) = (experiment.round(), experiment.model().digest);
        let weights = Model { digest: Digest(self.head.leaf.0), ..model(0) };
        Update { round, base, weights, scores: Scores::default(), privacy }
    }

    /// These send what they have trained, after they have committed to it where ballots are sealed. Gives
    /// the entries.
    pub(crate) fn train<const N: usize>(&mut self, updates: [(u8, Update); N]) -> [u64; N] {
        let salt = [5; 32];
        if self.experiment().parameters().ballot == BallotKind::Open {
            return updates.map(|(who, update)| self.place(who, Act::Update(update)));
        }
        for (who, update) in &updates {
            let (ledger, experiment) = (Digest(self.id.0), &self.name);
            let sealed =
                SealedUpdate { ledger, experiment, sender: learner(*who), update, salt: &salt };
            let (round, base, commitment) = (update.round, update.base, sealed.commitment());
            self.act(*who, Act::CommitUpdate(CommitUpdate { round, base, commitment }));
        }
        updates
            .map(|(who, update)| self.place(who, Act::RevealUpdate(RevealUpdate { update, salt })))
    }

    /// Records an action, and gives its entry.
    fn place(&mut self, who: u8, what: Act) -> u64 {
        self.wait(1);
        let place = self.size();
        self.act(who, what);
        place
    }

    /// Somebody judges the merges of a round: whether it can bear the open one and the guarded one, and prefers
    /// this.
    pub(crate) fn judge(&mut self, who: u8, merges: Merges, says: [bool; 3]) {
        let [bear_open, bear_guarded, prefer_guarded] = says;
        let vote = MergeVote {
            round: self.experiment().round(),
            merges,
            bear_open,
            bear_guarded,
            prefer_guarded,
            reason: None,
            scores_open: Scores { vote: Some(900_000), test: None },
            scores_guarded: Scores { vote: Some(800_000), test: None },
            link: self.link(who),
        };
        self.act(who, Act::MergeVote(vote));
    }

    /// Everybody who may votes for it.
    pub(crate) fn accept(&mut self, learners: std::ops::RangeInclusive<u8>) {
        // Where nobody else is there it is accepted already.
        let Phase::Voting { .. } = self.experiment().phase() else { return };
        let proposer = self.proposer();
        let seated: Vec<LearnerId> = self.experiment().seated().collect();
        for who in learners.filter(|who| *who != proposer && seated.contains(&learner(*who))) {
            self.vote(who, Choice::Approve, None);
        }
    }

    /// The ledger in a folder.
    pub(crate) fn folder(&self) -> TempDir {
        self.folder_of(ORIGIN)
    }

    /// The same, of a ledger of this name.
    pub(crate) fn folder_of(&self, origin: &str) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        self.write_to(dir.path(), origin);
        dir
    }

    /// Goes on with what a ledger of this name has in a folder.
    pub(crate) fn write_to(&self, dir: &Path, origin: &str) {
        let signer = Signer::new(origin, KeyKind::Log, key(100)).unwrap();
        let (mut ledger, _) = Ledger::open(dir, Options::new(signer)).unwrap();
        let there = ledger.head().size as usize;
        for (time_ms, payload) in &self.entries[there..] {
            ledger.append(*time_ms, payload.clone(), Vec::new()).unwrap();
        }
        ledger.commit().unwrap();
    }

    pub(crate) fn audited(&self) -> AuditReport {
        self.audited_to(Level::Contract)
    }

    pub(crate) fn audited_to(&self, level: Level) -> AuditReport {
        let dir = self.folder();
        let mut source = open(dir.path().to_str().unwrap()).unwrap();
        audit(&mut *source, AuditOptions { level, ..AuditOptions::default() }).unwrap()
    }
}
