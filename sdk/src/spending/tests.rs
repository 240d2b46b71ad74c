//! What is spent against a real contract, through kills at every write and between them, lost and
//! copied folders, and changing settings.
#![allow(clippy::unwrap_used)]

mod scores;
mod site;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use colearn_contracts::{
    Act, Action, Admission, Contract, CreateExperiment, Join, LearnerId, MAX_SEGMENTS, Model,
    Moment, Parameters, Phase, PrivacyCap, PrivateTraining, Proposal, Rejection, Scores, Version,
    terms,
};
use proptest::prelude::*;

use super::*;

const ME: LearnerId = LearnerId([1; 32]);
const DELTA: u64 = 10_000_000;

fn name(text: &str) -> ExperimentName {
    text.parse().unwrap()
}

fn file(folder: &Path) -> PathBuf {
    folder.join("experiments/x/spent.jsonl")
}

/// Without sampling, which is the quickest to account for.
fn segment(noise: u64, steps: u64) -> PrivacySegment {
    PrivacySegment {
        noise_micros: noise * 1_000_000,
        clip_micros: 1_000_000,
        sampling_nanos: 1_000_000_000,
        steps,
    }
}

fn takes(noise: u64, steps: u64) -> Privacy {
    let segment = segment(noise, steps);
    Privacy { segment, delta_picos: DELTA, max_epsilon_micros: None }
}

fn weights(number: u64) -> Digest {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&number.to_be_bytes());
    Digest(digest)
}

fn asked(version: Version, round: u64, stated: Option<PrivacySpent>) -> Assignment {
    Assignment { round, base: weights(0), version, cap: None, stated }
}

fn epsilon_of(list: &[PrivacySegment]) -> u64 {
    compose(list).epsilon_micros(DELTA).unwrap()
}

/// A contract with one experiment and one member, whose proposals are accepted as they come.
struct Ledger {
    contract: Contract,
    version: Version,
    made: u64,
}

impl Ledger {
    fn new(version: Version) -> Self {
        let parameters = Parameters { min_learners: 1, ..Parameters::default() };
        let model = Model { digest: weights(0), size: 8, media_type: "m".to_owned() };
        let admission = Admission::Open;
        let terms = terms(version, ME, &parameters, &admission);
        let number = version.number();
        let create = CreateExperiment { version: number, parameters, admission, model, plan: None };
        let contract = Contract::new(Digest([9; 32]), version);
        let mut ledger = Self { contract, version, made: 0 };
        ledger.apply(Act::Create(create)).unwrap();
        let terms = (version > Version::V1).then_some(terms);
        ledger.apply(Act::Join(Join::new(0, terms))).unwrap();
        ledger
    }

    fn apply(&mut self, act: Act) -> Result<(), Rejection> {
        let action = Action::new(name("x"), act);
        self.contract.apply(Moment::without_ledger(0), ME, &action).map(drop)
    }

    fn asked(&self) -> Assignment {
        let experiment = self.contract.experiment(&name("x")).unwrap();
        assert!(matches!(experiment.phase(), Phase::Proposing { .. }));
        let stated = experiment.member(ME).unwrap().privacy.as_deref().cloned();
        asked(self.version, experiment.round(), stated)
    }

    /// What comes of the next training.
    fn train(&mut self) -> Digest {
        self.made += 1;
        weights(self.made)
    }

    /// Records a proposal, which the contract takes: R42 and R62 are kept.
    fn record(&mut self, digest: Digest, privacy: PrivacySpent) {
        let experiment = self.contract.experiment(&name("x")).unwrap();
        let (round, base) = (experiment.round(), experiment.model().digest);
        let weights = Model { digest, size: 8, media_type: "m".to_owned() };
        let scores = Scores::default();
        let privacy = Some(privacy);
        self.apply(Act::Propose(Proposal { round, base, weights, scores, privacy })).unwrap();
    }

    /// A turn in which nothing goes wrong.
    fn turn(&mut self, spending: &mut Spending, takes: Privacy) -> PrivacySpent {
        let asked = self.asked();
        let planned = spending.after(&takes, &asked).unwrap();
        let made = self.train();
        let spent = spending.spend(made, &takes, &asked).unwrap();
        assert_eq!(spent, planned);
        self.record(made, spent.clone());
        spent
    }
}

/// A disk on which the process ends at one of its steps: from there on nothing works any more. It knows
/// what would survive a power failure.
#[derive(Debug)]
struct Dying {
    /// Steps until then.
    steps: AtomicUsize,
    /// How much of a line is written in that step, in 256ths.
    share: u8,
    synced: AtomicU64,
    named: AtomicUsize,
}

impl Dying {
    fn after(steps: usize, share: u8, folder: &Path) -> Arc<Self> {
        let length = std::fs::metadata(file(folder)).map_or(0, |file| file.len());
        Arc::new(Self {
            steps: AtomicUsize::new(steps),
            share,
            synced: AtomicU64::new(length),
            named: AtomicUsize::new(usize::from(length > 0)),
        })
    }

    fn step(&self) -> io::Result<()> {
        let left = self.steps.load(Ordering::Relaxed);
        self.steps.store(left.saturating_sub(1), Ordering::Relaxed);
        if left == 0 { Err(io::Error::other("the process has ended")) } else { Ok(()) }
    }

    fn is_dead(&self) -> bool {
        self.steps.load(Ordering::Relaxed) == 0
    }

    /// Power fails: what was not synced is there or not.
    fn lose_power(&self, folder: &Path, share: u8) {
        let Ok(file) = File::options().write(true).open(file(folder)) else { return };
        if self.named.load(Ordering::Relaxed) == 0 && share < 128 {
            drop(std::fs::remove_file(self::file(folder)));
            return;
        }
        let (synced, length) =
            (self.synced.load(Ordering::Relaxed), file.metadata().unwrap().len());
        let unsynced = length.saturating_sub(synced) * u64::from(share) / 256;
        file.set_len(length.min(synced) + unsynced).unwrap();
    }
}

impl Disk for Dying {
    fn open(&self, path: &Path) -> io::Result<File> {
        self.step()?;
        RealDisk.open(path)
    }

    fn cut(&self, file: &File, length: u64) -> io::Result<()> {
        self.step()?;
        RealDisk.cut(file, length)
    }

    fn append(&self, file: &mut File, line: &[u8]) -> io::Result<()> {
        match self.step() {
            Ok(()) => RealDisk.append(file, line),
            Err(ended) => {
                let written = line.len() * usize::from(self.share) / 256;
                if !self.is_dead() || written > 0 {
                    RealDisk.append(file, &line[..written])?;
                }
                Err(ended)
            }
        }
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.step()?;
        self.synced.store(file.metadata()?.len(), Ordering::Relaxed);
        RealDisk.sync(file)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.step()?;
        self.named.fetch_add(1, Ordering::Relaxed);
        RealDisk.sync_folder(folder)
    }
}

/// When a turn is cut off.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Kill {
    Never,
    /// Before what was trained is kept.
    Trained,
    /// When it is kept, before anything is written of what it took.
    Kept,
    /// At this step of writing, with so much of the line; and whether power fails too.
    Writing(usize, u8, Option<u8>),
    /// When it is written, before anything has left.
    Spent,
    /// While the weights are on their way, or before what was said is recorded.
    Left,
}

/// A learner that takes its turns until it is killed, and what can be known about it from outside.
struct World {
    ledger: Ledger,
    folder: tempfile::TempDir,
    /// What was trained for the turn that is not over.
    kept: Option<(Digest, Privacy)>,
    /// Everything of which something has left.
    left: BTreeMap<Digest, PrivacySegment>,
    /// Steps that may have been written.
    attempted: u64,
    kills: usize,
}

impl World {
    fn new(version: Version) -> Self {
        Self {
            ledger: Ledger::new(version),
            folder: tempfile::tempdir().unwrap(),
            kept: None,
            left: BTreeMap::new(),
            attempted: 0,
            kills: 0,
        }
    }

    /// A process is started, takes its turn, with these settings if it still has to train, and is
    /// killed or not.
    fn turn(&mut self, takes: Privacy, kill: Kill) {
        let folder = self.folder.path().to_owned();
        self.kills += usize::from(kill != Kill::Never);
        let mut spending = Spending::open(&folder, &name("x")).unwrap();
        let asked = self.ledger.asked();
        let before = asked.stated.as_ref().map_or(0, PrivacySpent::steps);
        let (made, takes) = match self.kept {
            Some(kept) => kept,
            None => {
                spending.after(&takes, &asked).unwrap();
                let made = self.ledger.train();
                if kill == Kill::Trained {
                    return;
                }
                self.attempted += takes.segment.steps;
                *self.kept.insert((made, takes))
            }
        };
        if let Kill::Trained | Kill::Kept = kill {
            return;
        }
        if let Kill::Writing(steps, share, power) = kill {
            let disk = Dying::after(steps, share, &folder);
            let mut spending = Spending::open_on(&folder, &name("x"), disk.clone()).unwrap();
            let spent = spending.spend(made, &takes, &asked);
            if let Some(power) = power {
                disk.lose_power(&folder, power);
            }
            // It may have come to its end before, and something may have left.
            if spent.is_ok() {
                self.left.insert(made, takes.segment);
            }
            return;
        }
        let spent = spending.spend(made, &takes, &asked).unwrap();
        if kill == Kill::Spent {
            return;
        }
        self.left.insert(made, takes.segment);
        if kill == Kill::Left {
            return;
        }
        let taken: u64 = self.left.values().map(|it| it.steps).sum();
        assert!((taken..=self.attempted).contains(&spent.steps()), "{spent:?} {:?}", self.left);
        assert!(spent.steps() > before);
        let all: Vec<PrivacySegment> = self.left.values().copied().collect();
        assert!(spent.epsilon_micros >= epsilon_of(&all), "{spent:?} {:?}", self.left);
        if let PrivateTraining::Last(last) = &spent.training {
            assert_eq!(PrivacySegment { steps: takes.segment.steps, ..*last }, takes.segment);
        }
        self.ledger.record(made, spent);
        self.kept = None;
    }

    /// The turn is over without a proposal, or what was kept for it is lost.
    fn lose_what_was_kept(&mut self) {
        self.kept = None;
    }
}

const VERSIONS: [Version; 2] = [Version::V1, Version::V2];

#[test]
fn what_has_left_is_stated_whichever_step_of_writing_was_the_last() {
    let mut kills = 0;
    for version in VERSIONS {
        for power in [None, Some(0), Some(100), Some(200), Some(255)] {
            // The first line, with which the file is created, and a later one; the writing has six
            // steps.
            for (first, share) in [(true, 0), (true, 90), (false, 90), (false, 255)] {
                for steps in 0..7 {
                    let mut world = World::new(version);
                    if !first {
                        world.turn(takes(20, 3), Kill::Never);
                        world.turn(takes(20, 3), Kill::Left);
                    }
                    world.turn(takes(30, 5), Kill::Writing(steps, share, power));
                    if share == 90 {
                        world.lose_what_was_kept();
                    }
                    world.turn(takes(20, 7), Kill::Never);
                    kills += world.kills;
                }
            }
        }
    }
    assert!(kills > 400, "{kills}");
}

fn any_kill() -> impl Strategy<Value = Kill> {
    prop_oneof![
        4 => Just(Kill::Never),
        1 => Just(Kill::Trained),
        1 => Just(Kill::Kept),
        3 => (0..7_usize, any::<u8>(), prop::option::of(any::<u8>()))
            .prop_map(|(steps, share, power)| Kill::Writing(steps, share, power)),
        1 => Just(Kill::Spent),
        2 => Just(Kill::Left),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// However often a learner is killed and started again with other settings: never less is stated
    /// than has left, exactly as much where nothing that was kept is lost, and the contract takes it.
    #[test]
    fn never_less_is_stated_than_has_left(
        version in prop_oneof![Just(Version::V1), Just(Version::V2)],
        turns in prop::collection::vec((20..23_u64, 1..9_u64, any_kill(), 0..5_u8), 1..14),
        loses in any::<bool>(),
    ) {
        let mut world = World::new(version);
        for (noise, steps, kill, loss) in turns {
            if loses && loss == 0 {
                world.lose_what_was_kept();
            }
            world.turn(takes(noise, steps), kill);
        }
        world.turn(takes(20, 1), Kill::Never);
        let stated = world.ledger.asked().stated.unwrap().steps();
        if !loses {
            prop_assert_eq!(stated, world.attempted);
        }
    }

    /// Lost folders, and old copies of them: what the ledger has is never forgotten, and what is added
    /// counts.
    #[test]
    fn what_the_ledger_has_is_a_floor(
        version in prop_oneof![Just(Version::V1), Just(Version::V2)],
        turns in prop::collection::vec((20..23_u64, 1..9_u64, 0..3_usize, any::<bool>()), 1..12),
    ) {
        let mut ledger = Ledger::new(version);
        let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
        for (noise, steps, at, is_recorded) in turns {
            let mut spending = Spending::open(folders[at].path(), &name("x")).unwrap();
            let (asked, made, takes) = (ledger.asked(), ledger.train(), takes(noise, steps));
            let spent = spending.spend(made, &takes, &asked).unwrap();
            if let Some(before) = &asked.stated {
                prop_assert!(spent.steps() >= before.steps() + steps);
                prop_assert!(spent.epsilon_micros >= before.epsilon_micros);
            }
            if is_recorded {
                ledger.record(made, spent);
            }
        }
    }
}

#[test]
fn a_restart_with_other_settings_keeps_what_was_done_with_those_before() {
    let folder = tempfile::tempdir().unwrap();
    for version in VERSIONS {
        drop(std::fs::remove_dir_all(folder.path()));
        let mut ledger = Ledger::new(version);
        let open = || Spending::open(folder.path(), &name("x")).unwrap();
        ledger.turn(&mut open(), takes(6, 144));
        let both = ledger.turn(&mut open(), takes(10, 144));
        assert_eq!(both.epsilon_micros, epsilon_of(&[segment(6, 144), segment(10, 144)]));
        match &both.training {
            // All steps, and the last settings: nothing but epsilon tells of those before.
            PrivateTraining::Last(last) => assert_eq!(*last, segment(10, 288)),
            PrivateTraining::All(all) => assert_eq!(*all, [segment(6, 144), segment(10, 144)]),
        }
        // With the same settings it goes on in the same segment.
        let more = ledger.turn(&mut open(), takes(10, 1));
        assert_eq!(more.steps(), 289);
        assert_eq!(more.segments().len(), both.segments().len());
        // A larger delta was stated once: it stays, and epsilon is stated for it.
        let loose = Privacy { delta_picos: 2 * DELTA, ..takes(10, 1) };
        let loose = ledger.turn(&mut open(), loose);
        assert!(loose.epsilon_micros >= more.epsilon_micros);
        assert_eq!(ledger.turn(&mut open(), takes(10, 1)).delta_picos, 2 * DELTA);
    }
}

#[test]
fn what_is_sent_again_is_spent_once_and_what_is_trained_again_twice() {
    let folder = tempfile::tempdir().unwrap();
    let asked = asked(Version::V2, 3, None);
    let spend = |made| {
        let mut spending = Spending::open(folder.path(), &name("x")).unwrap();
        spending.spend(weights(made), &takes(20, 5), &asked).unwrap()
    };
    let once = spend(1);
    assert_eq!(spend(1), once);
    assert_eq!(spend(2).steps(), 10);
    assert_eq!(spend(1), once);
    assert_eq!(spend(3).steps(), 15);
}

#[test]
fn a_foreign_statement_counts_besides_what_was_not_recorded() {
    for version in VERSIONS {
        let [ours, theirs] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let open = |folder: &tempfile::TempDir| Spending::open(folder.path(), &name("x")).unwrap();
        let mut ledger = Ledger::new(version);
        ledger.turn(&mut open(&ours), takes(20, 5));
        // Something leaves here that is never recorded; and with the same key in another place
        // something is.
        let (asked, made) = (ledger.asked(), ledger.train());
        open(&ours).spend(made, &takes(20, 3), &asked).unwrap();
        ledger.turn(&mut open(&theirs), takes(20, 4));
        // The list could be read as if the three were in the nine.
        let spent = ledger.turn(&mut open(&ours), takes(20, 2));
        assert_eq!(spent.steps(), 5 + 3 + 4 + 2);
        assert_eq!(ledger.turn(&mut open(&ours), takes(20, 1)).steps(), 15);
    }
}

#[test]
fn a_first_version_statement_that_its_list_does_not_explain_had_less_noise() {
    let mut ledger = Ledger::new(Version::V1);
    let folder = tempfile::tempdir().unwrap();
    ledger.turn(&mut Spending::open(folder.path(), &name("x")).unwrap(), takes(6, 50));
    let known = ledger.turn(&mut Spending::open(folder.path(), &name("x")).unwrap(), takes(30, 50));
    // The folder is lost: what is left says 100 steps with the noise of the last ones.
    assert!(known.epsilon_micros > 2 * epsilon_of(&[segment(30, 100)]));
    let mut lost = Spending::in_memory();
    let next = ledger.turn(&mut lost, takes(30, 50));
    let true_micros = epsilon_of(&[segment(6, 50), segment(30, 100)]);
    assert!(next.epsilon_micros >= true_micros, "{} {true_micros}", next.epsilon_micros);
    assert!(next.epsilon_micros < true_micros * 11 / 10, "{} {true_micros}", next.epsilon_micros);
    // An experiment that adopts version 2 goes on from it.
    let mut adopted = asked(Version::V2, 9, Some(next.clone()));
    let all = Spending::in_memory().after(&takes(30, 1), &adopted).unwrap();
    assert_eq!((all.steps(), all.segments().len()), (151, 2));
    // Who has the journal says what was done.
    adopted.stated = Some(known);
    let mut kept = Spending::open(folder.path(), &name("x")).unwrap();
    let all = kept.after(&takes(30, 1), &adopted).unwrap();
    assert_eq!(all.training, PrivateTraining::All(vec![segment(6, 50), segment(30, 51)]));
}

#[test]
fn a_figure_never_falls_even_where_another_accountant_had_found_more() {
    for version in VERSIONS {
        let mut spending = Spending::in_memory();
        let first = spending.after(&takes(20, 10), &asked(version, 1, None)).unwrap();
        let high = PrivacySpent { epsilon_micros: 3 * first.epsilon_micros, ..first };
        let next = asked(version, 2, Some(high.clone()));
        let next = spending.after(&takes(20, 1), &next).unwrap();
        assert!(next.epsilon_micros >= high.epsilon_micros);
        assert_eq!(next.steps(), 11);
    }
}

#[test]
fn caps_are_looked_at_before_anything_is_trained() {
    let epsilon_micros = epsilon_of(&[segment(20, 10)]);
    let cap = PrivacyCap { epsilon_micros, delta_picos: DELTA };
    let asked = Assignment { cap: Some(cap), ..asked(Version::V2, 1, None) };
    let mut spending = Spending::in_memory();
    assert!(spending.after(&takes(20, 10), &asked).is_ok());
    let over = spending.after(&takes(20, 11), &asked).unwrap_err();
    assert!(
        over.is_exhausted() && over.to_string().contains("the privacy budget is spent"),
        "{over}"
    );
    let loose = Privacy { delta_picos: DELTA + 1, ..takes(20, 1) };
    assert!(spending.after(&loose, &asked).unwrap_err().is_exhausted());
    // What no accountant can follow, and what is none.
    let silent =
        Privacy { segment: PrivacySegment { noise_micros: 1, ..segment(1, 1) }, ..takes(1, 1) };
    let told = spending.after(&silent, &asked).unwrap_err();
    assert!(matches!(told, SpendingError::Accountant(DpError::Noise(_))), "{told}");
    for wrong in [
        PrivacySegment { noise_micros: 0, ..segment(1, 1) },
        PrivacySegment { clip_micros: 0, ..segment(1, 1) },
        PrivacySegment { sampling_nanos: 1_000_000_001, ..segment(1, 1) },
        segment(1, 0),
    ] {
        let told = spending.after(&Privacy { segment: wrong, ..takes(1, 1) }, &asked).unwrap_err();
        assert!(matches!(told, SpendingError::Settings { .. }), "{told}");
        assert!(!told.is_exhausted());
    }
}

#[test]
fn a_learners_own_cap_counts_all_experiments_of_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let open = |experiment| Spending::open(folder.path(), &name(experiment)).unwrap();
    let max_epsilon_micros = Some(epsilon_of(&[segment(20, 10), segment(30, 10)]));
    let own = |noise, steps| Privacy { max_epsilon_micros, ..takes(noise, steps) };
    let asked = asked(Version::V2, 1, None);
    let (mut x, mut y) = (open("x"), open("y"));
    x.spend(weights(1), &own(20, 10), &asked).unwrap();
    // Each of the two may train; when one has spent, the other must not any more.
    assert!(x.after(&own(30, 10), &asked).is_ok());
    assert!(y.after(&own(30, 10), &asked).is_ok());
    let there = y.spend(weights(2), &own(30, 10), &asked).unwrap();
    assert_eq!(
        there.epsilon_micros,
        epsilon_of(&[segment(30, 10)]),
        "an experiment is told of its own"
    );
    let over = x.spend(weights(3), &own(30, 10), &asked).unwrap_err();
    assert!(over.is_exhausted() && over.to_string().contains("in all experiments"), "{over}");
    assert!(x.after(&own(30, 1), &asked).is_err());
    assert!(open("z").after(&own(30, 1), &asked).is_err());
    // Also after a restart, and nothing was written of what must not be.
    assert_eq!(open("x").after(&takes(20, 1), &asked).unwrap().steps(), 11);
}

#[test]
fn two_processes_with_one_key_spend_one_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let spend = |thread: u64| {
        let mut spending = Spending::open(folder.path(), &name("x")).unwrap();
        for at in 0..10 {
            let asked = asked(Version::V2, at, None);
            spending.spend(weights(100 * thread + at), &takes(20, 1), &asked).unwrap();
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|thread| drop(scope.spawn(move || spend(thread)))));
    let mut spending = Spending::open(folder.path(), &name("x")).unwrap();
    let next = spending.after(&takes(20, 1), &asked(Version::V2, 99, None)).unwrap();
    assert_eq!(next.steps(), 41);
}

#[test]
fn damage_is_found_and_a_torn_line_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let asked = asked(Version::V2, 1, None);
    let open = |experiment| Spending::open(folder.path(), &name(experiment));
    for made in 1..=3 {
        open("x").unwrap().spend(weights(made), &takes(20, made), &asked).unwrap();
    }
    let path = file(folder.path());
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(&path).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
    }
    let whole = std::fs::read(&path).unwrap();
    let next = || open("x").unwrap().after(&takes(20, 1), &asked).unwrap().steps();
    assert_eq!(next(), 7);
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    // Any byte of a whole line, the end of all but the last included.
    for at in (0..whole.len() - 1).step_by(7).chain([lines[0].len() - 1]) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let told = open("x").unwrap_err();
        assert!(matches!(told, SpendingError::Damaged { .. }), "{at}: {told}");
    }
    // A line that is gone, or of another experiment.
    std::fs::write(&path, [lines[0], lines[2]].concat()).unwrap();
    let told = open("x").unwrap_err();
    assert!(matches!(told, SpendingError::Damaged { line: 2, .. }), "{told}");
    let other = folder.path().join("experiments/other/spent.jsonl");
    std::fs::create_dir_all(other.parent().unwrap()).unwrap();
    std::fs::write(&other, &whole).unwrap();
    assert!(open("other").is_err());
    std::fs::write(&path, &whole).unwrap();
    // Whoever has a cap of its own cannot know whether it is kept.
    let own = Privacy { max_epsilon_micros: Some(u64::MAX), ..takes(20, 1) };
    let told = open("x").unwrap().after(&own, &asked).unwrap_err();
    assert!(matches!(told, SpendingError::Damaged { .. }) && !told.is_exhausted(), "{told}");
    // What was never written to its end had not left; the next line takes its place.
    let before_last = lines[0].len() + lines[1].len();
    for length in before_last..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert_eq!(next(), 4, "{length}");
    }
    std::fs::write(&path, [&whole[..before_last], &[0; 100]].concat()).unwrap();
    open("x").unwrap().spend(weights(9), &takes(20, 5), &asked).unwrap();
    assert_eq!(next(), 9);
}

/// A list of many settings with one step each.
fn settings(many: u64) -> impl Iterator<Item = PrivacySegment> {
    (0..many).map(|at| segment(20 + at, 1))
}

fn done(fixed: u64, free: impl IntoIterator<Item = PrivacySegment>) -> Done {
    let all = settings(fixed).collect();
    let training = PrivateTraining::All(all);
    let stated = PrivacySpent { epsilon_micros: 1, delta_picos: 1, training };
    let took = |took| Training {
        round: 0,
        weights: weights(0),
        took,
        unrecorded: usize::MAX,
        epsilon_micros: 1,
        delta_picos: 1,
        all: vec![took],
    };
    let trainings: Vec<Training> = free.into_iter().map(took).collect();
    Done::of(&trainings, Some(&stated), |_, last| last)
}

#[test]
fn a_list_that_would_be_too_long_reveals_no_less_and_goes_on_from_what_was_stated() {
    let most = MAX_SEGMENTS as u64;
    let stated: Vec<PrivacySegment> = settings(most).collect();
    // Room for one more.
    let list = done(most - 1, []).and(segment(5, 1)).unwrap();
    assert_eq!((list.len(), list[MAX_SEGMENTS - 1]), (MAX_SEGMENTS, segment(5, 1)));
    // Many in turns become two, since their order is free.
    let turns = (0..100).map(|at| segment(5 + at % 2, 1));
    let list = done(most - 2, turns).and(segment(5, 1)).unwrap();
    assert_eq!(list[MAX_SEGMENTS - 2..], [segment(5, 51), segment(6, 50)]);
    assert_eq!(list[..MAX_SEGMENTS - 2], stated[..MAX_SEGMENTS - 2]);
    // With room for one they are the worse of the two.
    let turns = (0..100).map(|at| segment(5 + at % 2, 1));
    let list = done(most - 1, turns).and(segment(7, 1)).unwrap();
    assert_eq!(list[MAX_SEGMENTS - 1], segment(5, 101));
    // With room for none the last goes on, if it is no better.
    let list = done(most, []).and(segment(999, 3)).unwrap();
    assert_eq!(list[MAX_SEGMENTS - 1], PrivacySegment { steps: 4, ..stated[MAX_SEGMENTS - 1] });
    assert_eq!(done(most, []).and(segment(5, 3)), None);
    let often = PrivacySegment { sampling_nanos: 1, ..segment(999, 3) };
    assert!(done(most, []).and(often).is_some());
}

#[test]
fn seventy_changes_of_settings_are_stated_or_refused_for_good_reason() {
    let mut ledger = Ledger::new(Version::V2);
    let mut spending = Spending::in_memory();
    for at in 0..MAX_SEGMENTS as u64 {
        ledger.turn(&mut spending, takes(20 + 10 * (at % 2), 1));
    }
    let asked = ledger.asked();
    assert_eq!(asked.stated.as_ref().unwrap().segments().len(), MAX_SEGMENTS);
    let told = spending.after(&takes(20, 1), &asked).unwrap_err();
    assert!(matches!(told, SpendingError::TooManySettings), "{told}");
    ledger.turn(&mut spending, takes(30, 5));
    ledger.turn(&mut spending, takes(40, 5));
    assert_eq!(ledger.asked().stated.unwrap().steps(), MAX_SEGMENTS as u64 + 10);
}
