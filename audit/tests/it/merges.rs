//! Merged rounds are computed again from the weights.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::Path;

use colearn_audit::merges::{Keyed, RecordedMerge, Weights, WeightsFolder};
use colearn_audit::{AuditOptions, AuditReport, Kind, audit, open};
use colearn_contracts::*;
use colearn_encrypted::{Encryptor, ModelKeys};
use colearn_merge::{Merge, Source};
use sha2::{Digest as _, Sha256};

use crate::book::{Book, learner};

/// Members, of whom each has sent an update and named a pair.
const MEMBERS: std::ops::RangeInclusive<u8> = 1..=3;

/// Two weights in a file.
fn weights(values: [f32; 2]) -> Vec<u8> {
    let header = br#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    let data = values.map(f32::to_le_bytes).concat();
    [&(header.len() as u64).to_le_bytes(), &header[..], &data].concat()
}

fn model(bytes: &[u8]) -> Model {
    let media_type = "application/x-safetensors".to_owned();
    Model { digest: Digest(Sha256::digest(bytes).into()), size: bytes.len() as u64, media_type }
}

/// A ledger with merged rounds, and the weights that it names.
struct Rounds {
    book: Book,
    files: BTreeMap<Digest, Vec<u8>>,
    base: Vec<u8>,
    previous: Option<Vec<u8>>,
}

impl Rounds {
    fn new() -> Self {
        let base = weights([0.0, 0.0]);
        let parameters = Parameters {
            min_learners: 3,
            merging: Some(Merging::default()),
            ..Parameters::default()
        };
        let mut book = Book::new(Version::V2);
        let create = CreateExperiment {
            version: Version::V2.number(),
            parameters,
            admission: Admission::Open,
            model: model(&base),
            plan: None,
        };
        book.act(1, Act::Create(create));
        MEMBERS.for_each(|who| book.join(who));
        let files = BTreeMap::from([(model(&base).digest, base.clone())]);
        Self { book, files, base, previous: None }
    }

    /// Everybody sends these; gives what follows from that.
    fn send(&mut self, updates: [[f32; 2]; 3]) -> Merges {
        let updates = updates.map(weights);
        for (who, update) in MEMBERS.zip(&updates) {
            self.files.insert(model(update).digest, update.clone());
            let (round, base) = (self.book.experiment().round(), model(&self.base).digest);
            let (weights, scores, privacy) = (model(update), Scores::default(), None);
            self.book.act(who, Act::Update(Update { round, base, weights, scores, privacy }));
        }
        let updates = updates.each_ref().map(|update| update as &dyn Source);
        let merge = Merge {
            base: &self.base,
            previous: self.previous.as_ref().map(|previous| previous as &dyn Source),
            updates: &updates,
            clip_permille: 2000,
            momentum_permille: 500,
        };
        let merged = merge.in_memory().unwrap();
        let mut digest = |merge: Option<Vec<u8>>| {
            merge.map(|merge| {
                let digest = model(&merge).digest;
                self.files.insert(digest, merge);
                digest
            })
        };
        Merges { open: digest(merged.open), guarded: digest(merged.guarded) }
    }

    /// Everybody can bear what it names.
    fn name(&mut self, named: [Merges; 3]) {
        for (who, merges) in MEMBERS.zip(named) {
            let vote = MergeVote {
                round: self.book.experiment().round(),
                merges,
                bear_open: merges.open.is_some(),
                bear_guarded: false,
                prefer_guarded: false,
                reason: None,
                scores_open: Scores::default(),
                scores_guarded: Scores::default(),
                link: None,
            };
            self.book.act(who, Act::MergeVote(vote));
        }
        let now = self.book.experiment();
        let file = |model: &Model| self.files.get(&model.digest).cloned();
        let (base, previous) = (file(now.model()), file(now.previous()));
        self.base = base.unwrap_or_default();
        self.previous = previous.filter(|previous| *previous != self.base);
    }

    /// A round as it should be.
    fn honest(&mut self, updates: [[f32; 2]; 3]) {
        let merges = self.send(updates);
        self.name([merges; 3]);
    }

    fn audited(&self, change: impl FnOnce(&Path)) -> AuditReport {
        let (ledger, folder) = (self.book.folder(), tempfile::tempdir().unwrap());
        for (digest, bytes) in &self.files {
            std::fs::write(folder.path().join(digest.to_string()), bytes).unwrap();
        }
        change(folder.path());
        let mut source = open(ledger.path().to_str().unwrap()).unwrap();
        let weights = WeightsFolder::new(folder.path());
        let options = AuditOptions { weights: Some(&weights), ..AuditOptions::default() };
        audit(&mut *source, options).unwrap()
    }
}

#[test]
fn what_was_agreed_on_is_what_follows() {
    let mut rounds = Rounds::new();
    rounds.honest([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]);
    // With momentum, and one who is far too loud.
    rounds.honest([[3.0, 1.0], [3.0, 1.5], [900.0, -900.0]]);
    // And one whose update is none.
    rounds.honest([[4.0, 1.0], [f32::NAN, 1.5], [4.0, 2.0]]);
    let report = rounds.audited(|_| {});
    assert!(report.ok, "{report:?}");
    assert!(report.verdict_line().ends_with(" merges=3 not_computed=0"), "{report:?}");
    let [first, second, third] = &report.merges[..] else { panic!("{report:?}") };
    assert_eq!((first.as_agreed, first.round), (Some(true), 1));
    assert!(first.updates.iter().all(|update| !update.clipped && update.void.is_none()));
    let clipped: Vec<bool> = second.updates.iter().map(|update| update.clipped).collect();
    assert_eq!(clipped, [false, false, true]);
    assert_eq!(second.updates[2].learner, learner(3).to_string());
    assert!(third.updates[1].void.as_ref().unwrap().contains("not finite"));
    // Nobody is asked for weights who did not ask for this.
    let report = rounds.book.audited();
    assert!(report.ok && report.merges.is_empty(), "{report:?}");
    assert!(!report.verdict_line().contains("merges="));
}

#[test]
fn who_names_something_else_is_told_and_a_majority_of_them_is_found() {
    let mut rounds = Rounds::new();
    let lie = Merges { open: Some(Digest([9; 32])), guarded: None };
    let merges = rounds.send([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]);
    rounds.name([merges, merges, lie]);
    let report = rounds.audited(|_| {});
    assert!(report.ok, "{report:?}");
    assert_eq!(report.merges[0].false_pairs, [learner(3).to_string()]);

    let merges = rounds.send([[3.0, 1.0], [3.0, 1.5], [3.5, 1.0]]);
    let place = rounds.book.size();
    rounds.name([lie, merges, lie]);
    let report = rounds.audited(|_| {});
    let [finding] = &report.findings[..] else { panic!("{report:?}") };
    assert_eq!((finding.kind, report.exit_code()), (Kind::Merge, 25));
    // Behind the three votes.
    assert_eq!(finding.index, Some(place + 3));
    assert!(finding.expected.contains(&merges.open.unwrap().to_string()), "{finding}");
}

#[test]
fn what_cannot_be_computed_is_told() {
    let mut rounds = Rounds::new();
    rounds.honest([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]);
    let second = [[3.0, 1.0], [3.0, 1.5], [4.0, 1.0]];
    rounds.honest(second);
    let file = |values| model(&weights(values)).digest.to_string();
    let report =
        rounds.audited(|folder| std::fs::remove_file(folder.join(file(second[0]))).unwrap());
    assert!(report.ok, "{report:?}");
    assert!(report.verdict_line().ends_with(" merges=1 not_computed=1"), "{report:?}");
    assert_eq!(report.merges[1].missing, [format!("{} is not there", file(second[0]))]);

    // What has another's name is not believed to be it.
    let report = rounds
        .audited(|folder| std::fs::write(folder.join(file(second[0])), weights([9.0; 2])).unwrap());
    assert!(report.merges[1].missing[0].contains("other bytes"), "{report:?}");

    // All is not well where nothing could be looked at.
    let nothing = |folder: &Path| {
        std::fs::read_dir(folder)
            .unwrap()
            .for_each(|file| std::fs::remove_file(file.unwrap().path()).unwrap());
    };
    let report = rounds.audited(nothing);
    assert_eq!(report.exit_code(), 25, "{report:?}");
    assert!(report.findings[0].got.contains("none of 2 merged rounds"), "{report:?}");
}

/// Weights in memory.
struct InMemory(BTreeMap<Digest, Vec<u8>>);

impl Weights for InMemory {
    fn open(&self, model: &Model) -> io::Result<Option<Box<dyn Source>>> {
        Ok(self.0.get(&model.digest).map(|bytes| Box::new(bytes.clone()) as Box<dyn Source>))
    }
}

/// Keys from 1 on.
fn keys(count: usize) -> ModelKeys {
    let line = |number| format!("{number} {}", format!("{number:02x}").repeat(32));
    ModelKeys::parse(&(1..=count).map(line).collect::<Vec<_>>().join("\n")).unwrap()
}

/// A model's encryption under the key of this number.
fn under(number: usize, model: &[u8]) -> Vec<u8> {
    let digest = Sha256::digest(model).into();
    let mut encryptor = Encryptor::new(Vec::new(), keys(number).newest(), &digest).unwrap();
    encryptor.write_all(model).unwrap();
    encryptor.finish().unwrap()
}

/// While a key is new, some members have it and some have not: neither is accused for that.
#[test]
fn what_was_agreed_on_with_other_keys_than_the_auditors_is_no_lie() {
    let base = weights([0.0, 0.0]);
    let updates = [[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [2.5, 0.0]].map(weights);
    let encrypted: Vec<_> =
        [1, 1, 1, 2].iter().zip(&updates).map(|(key, it)| under(*key, it)).collect();
    // What follows with so many of the updates, encrypted under the newest of their keys.
    let merged = |count: usize, key| {
        let updates: Vec<_> = updates[..count].iter().map(|it| it as &dyn Source).collect();
        let (clip_permille, momentum_permille) = (2000, 500);
        let merge = Merge {
            base: &base,
            previous: None,
            updates: &updates,
            clip_permille,
            momentum_permille,
        };
        let merged = merge.in_memory().unwrap();
        let digest = |merge: Option<Vec<u8>>| merge.map(|it| model(&under(key, &it)).digest);
        Merges { open: digest(merged.open), guarded: digest(merged.guarded) }
    };
    let (before, after) = (merged(3, 1), merged(4, 2));
    let base = under(1, &base);
    let files = encrypted.iter().chain([&base]).map(|it| (model(it).digest, it.clone()));
    let files: BTreeMap<_, _> = files.collect();
    let audited = |named: &[Merges], agreed, count| {
        let recorded = RecordedMerge {
            experiment: "xray".parse().unwrap(),
            round: 1,
            index: 9,
            base: model(&base),
            previous: model(&base),
            merging: Merging::default(),
            updates: (1..).map(learner).zip(encrypted.iter().map(|it| model(it))).collect(),
            named: (1..).map(learner).zip(named.iter().copied()).collect(),
            agreed: Some(agreed),
        };
        let weights = Box::new(InMemory(files.clone()));
        recorded.compute(&Keyed { weights, keys: keys(count) })
    };
    let lie = Merges { open: Some(Digest([9; 32])), guarded: None };
    // The auditor has the key that members had not, and the other way round.
    for agreed in [before, after] {
        let report = audited(&[before, after, before, lie], agreed, 2);
        assert_eq!((report.as_agreed, &report.missing[..]), (Some(true), &[][..]));
        assert_eq!(report.open.digest, agreed.open.map(|it| it.to_string()));
        assert_eq!(report.false_pairs, [learner(4).to_string()]);
    }
    let report = audited(&[after, after, after, before], after, 1);
    assert_eq!(report.missing, ["an update is under a model key that is not here"]);
    assert_eq!((report.as_agreed, report.false_pairs.len()), (None, 0));
    let report = audited(&[before, before, before, after], before, 1);
    assert_eq!((report.as_agreed, report.false_pairs.len()), (Some(true), 0));
    // A lie stays one.
    assert_eq!(audited(&[lie; 4], lie, 2).as_agreed, Some(false));
}

/// Or whoever lies would have an update sent that nobody can open, and no auditor could compute the round.
#[test]
fn an_update_that_nobody_can_open_hides_no_lie() {
    let base = under(1, &weights([0.0, 0.0]));
    let mut updates = [[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [2.5, 0.0]].map(weights);
    updates = updates.map(|it| under(1, &it));
    // Behind what all begin with comes the key's name.
    updates[3][24..32].copy_from_slice(b"no key's");
    let files = updates.iter().chain([&base]).map(|it| (model(it).digest, it.clone()));
    let files: BTreeMap<_, _> = files.collect();
    let audited = |agreed: Merges, merges: &[&[u8]], keys: ModelKeys| {
        let recorded = RecordedMerge {
            experiment: "xray".parse().unwrap(),
            round: 1,
            index: 9,
            base: model(&base),
            previous: model(&base),
            merging: Merging::default(),
            updates: (1..).map(learner).zip(updates.iter().map(|it| model(it))).collect(),
            named: vec![(learner(1), agreed), (learner(2), agreed), (learner(3), other())],
            agreed: Some(agreed),
        };
        let merges = merges.iter().map(|it| (model(it).digest, it.to_vec()));
        let files = files.clone().into_iter().chain(merges).collect();
        recorded.compute(&Keyed { weights: Box::new(InMemory(files)), keys })
    };
    fn other() -> Merges {
        Merges { open: Some(Digest([8; 32])), guarded: None }
    }
    let named = |lie: &[u8]| Merges { open: None, guarded: Some(model(lie).digest) };
    // What the members say that they have merged is under a key that all have, or under none.
    for lie in [under(1, &weights([9.0, 9.0])), under(2, &weights([9.0, 9.0])), vec![1; 200]] {
        let report = audited(named(&lie), &[&lie], keys(2));
        assert_eq!((report.as_agreed, &report.missing[..]), (Some(false), &[][..]));
        assert_eq!(report.false_pairs, [learner(1).to_string(), learner(2).to_string()]);
        let void = report.updates[3].void.as_deref().unwrap();
        assert!(void.contains("a model key that is not here"), "{void}");
        // Where that is not there nobody can tell.
        assert_eq!(audited(named(&lie), &[], keys(2)).as_agreed, None);
    }
    // Nor where the members may have had a key before that one, or a newer one.
    let text = keys(3).to_text();
    let without_the_second = text.lines().filter(|line| !line.starts_with("2 "));
    let gap = ModelKeys::parse(&without_the_second.collect::<Vec<_>>().join("\n")).unwrap();
    let lie = under(3, &weights([9.0, 9.0]));
    assert_eq!(audited(named(&lie), &[&lie], gap).as_agreed, None);
    assert_eq!(audited(named(&lie), &[&lie], keys(2)).as_agreed, None);
    // What follows without it is as agreed, though the merges are not there.
    let plain = [[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]].map(weights);
    let void: &[u8] = &[];
    let of_all: Vec<_> = plain.iter().map(|it| it as &dyn Source).chain([&void as _]).collect();
    let merge = Merge {
        base: &weights([0.0, 0.0]),
        previous: None,
        updates: &of_all,
        clip_permille: 2000,
        momentum_permille: 500,
    };
    let merged = merge.in_memory().unwrap();
    let digest = |merge: Option<Vec<u8>>| merge.map(|it| model(&under(1, &it)).digest);
    let honest = Merges { open: digest(merged.open), guarded: digest(merged.guarded) };
    let report = audited(honest, &[], keys(2));
    assert_eq!((report.as_agreed, report.false_pairs.len()), (Some(true), 0));
}
