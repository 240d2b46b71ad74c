//! Merged rounds, as the command tells them: created by flags, run by hand on a real node, and explained from
//! its ledger.

use std::path::Path;

use colearn_contracts::{
    Act, Action, Digest, Join, MergeVote, Merges, Model, Reason, Scores, Update,
};
use colearn_records::keys;
use colearn_sdk::learner::{SAFETENSORS, Weights};
use serde_json::Value;

use crate::support::{Counter, NodeProcess, Speaker, name, run, succeed};

/// The merges as two of three have them.
const PAIR: Merges = Merges { open: Some(Digest([0xa1; 32])), guarded: Some(Digest([0xb2; 32])) };

async fn act(speaker: &mut Speaker, dir: &Path, who: u8, what: Act) {
    let key = keys::load(&dir.join(format!("{who}.pem"))).unwrap();
    speaker.act(&key, Action::new(name("m"), what)).await.unwrap();
}

/// Somebody sends what it has trained from this model.
async fn train(speaker: &mut Speaker, dir: &Path, who: u8, round: u64, base: Digest) {
    let weights = Weights::new(vec![who, round as u8]);
    speaker.client.upload(&weights).await.unwrap();
    let model: Model = weights.model(SAFETENSORS);
    let scores = Scores { vote: Some(500_000), test: None };
    let update = Update { round, base, weights: model, scores, privacy: None };
    act(speaker, dir, who, Act::Update(update)).await;
}

fn vote(round: u64, merges: Merges, [bear_open, bear_guarded, prefer_guarded]: [bool; 3]) -> Act {
    let scored = |vote| Scores { vote: Some(vote), test: Some(vote + 50_000) };
    Act::MergeVote(MergeVote {
        round,
        merges,
        bear_open,
        bear_guarded,
        prefer_guarded,
        reason: None,
        scores_open: scored(700_000),
        scores_guarded: scored(800_000),
        link: None,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merged_round_is_told_and_explained() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path();
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let node = NodeProcess::start(&dir.join("data"));
    for who in 1..=3 {
        succeed(&["key", "new", &path(&format!("{who}.pem"))]);
    }
    let initial = Counter::weights(0);
    std::fs::write(path("initial"), initial.bytes()).unwrap();
    let (key, weights) = (path("1.pem"), path("initial"));
    let create = |name: &str, more: &[&str]| {
        let create = ["experiment", "create", name, "--key", &key, "--weights", &weights, "--open"];
        let created = run(&[&create[..], &["--node", &node.url], more].concat());
        assert!(created.status.success(), "{created:?}");
        String::from_utf8(created.stderr).unwrap()
    };
    let more = ["--merging", "--momentum-permille", "400", "--min-learners", "3"];
    assert_eq!(create("m", &[&more[..], &["--max-rounds", "2"]].concat()), "");
    // Who has not asked for them is told in one line what they are.
    let told = create("single", &[]);
    assert!(told.contains("with --merging all do") && told.lines().count() == 1, "{told}");

    let mut speaker = Speaker::connect(&node.url).await;
    for who in 1..=3 {
        act(&mut speaker, dir, who, Act::Join(Join::new(0, None))).await;
    }
    let base = initial.digest();
    for who in 1..=3 {
        train(&mut speaker, dir, who, 1, base).await;
    }
    let false_pair = Merges { guarded: Some(Digest([0xc3; 32])), ..PAIR };
    act(&mut speaker, dir, 1, vote(1, PAIR, [true, true, true])).await;
    act(&mut speaker, dir, 2, vote(1, PAIR, [false, true, true])).await;
    act(&mut speaker, dir, 3, vote(1, false_pair, [true, true, false])).await;

    let base = PAIR.guarded.unwrap();
    let pass = Act::Pass { round: 2, exhausted: false, reason: Some(Reason::TooLittleData) };
    act(&mut speaker, dir, 3, pass).await;
    for who in 1..=2 {
        train(&mut speaker, dir, who, 2, base).await;
    }
    act(&mut speaker, dir, 1, vote(2, PAIR, [true, true, true])).await;
    act(&mut speaker, dir, 2, vote(2, false_pair, [true, true, true])).await;
    let abstains = Act::MergeVote(MergeVote {
        reason: Some(Reason::Unavailable),
        merges: Merges::default(),
        scores_open: Scores::default(),
        scores_guarded: Scores::default(),
        round: 2,
        bear_open: false,
        bear_guarded: false,
        prefer_guarded: false,
        link: None,
    });
    act(&mut speaker, dir, 3, abstains).await;

    let at = ["--node", &node.url];
    let plan = succeed(&[&["experiment", "plan", "m"], &at[..]].concat());
    assert!(plan.contains("merging = { proposers = 64, ") && plan.contains(" = 400,"), "{plan}");
    let plot = path("m.svg");
    let shown = succeed(&[&["experiment", "show", "m", "--plot", &plot], &at[..]].concat());
    let watched = succeed(&[&["experiment", "watch", "m"], &at[..]].concat());
    for line in [
        "round  merged    named     open  guarded  prefer  verdict           vote score  test score  \
         open/guarded merge",
        "    1  3 of 3    2 of 3       1        2       2  accepted guarded       0.800       0.850  \
         a1a1a1a1/b2b2b2b2, another named by learner 3",
        "    2  2 of 3    1 of 3       -        -       -  no_agreement           0.700       0.750  -",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
        assert!(watched.lines().any(|watched| watched == line), "{line}\n{watched}");
    }
    assert_eq!(watched.matches("round  merged").count(), 1, "{watched}");
    let picture = std::fs::read_to_string(&plot).unwrap();
    assert!(picture.contains("open merge") && picture.contains("guarded merge"), "no merges");

    let round = |number: &str, more: &[&str]| {
        let round = ["round", number, "--experiment", "m", "--from", &node.url, "--explain"];
        succeed(&[&round[..], more].concat())
    };
    let explained = round("1", &[]);
    for line in [
        "selection   all: there are no more than may be chosen",
        "participants 3 (as recorded)",
        "  R82  2 of 3 votes name a1a1a1a1/b2b2b2b2: more than half",
        "  R84  1 of 3 can bear the open merge: too few for 1/2",
        "  R84  2 of 3 can bear the guarded merge: enough for 1/2",
        "  R84  2 of 3 find the guarded merge better: more than half",
        "  so   the guarded merge, what most updates agree on, is accepted (as recorded)",
    ] {
        assert!(explained.lines().any(|told| told == line), "{line}\n{explained}");
    }
    for part in [
        "vote score 0.500, merged",
        "names a1a1a1a1/b2b2b2b2, can bear the guarded merge, open: vote score 0.700",
        "names another pair, and counts as silent",
    ] {
        assert!(explained.contains(part), "{part}\n{explained}");
    }
    let explained = round("2", &[]);
    for part in [
        "passed because there is too little data here",
        "abstains because the bytes were not to be had in time",
        "  R82  1 of 3 votes name a1a1a1a1/b2b2b2b2: not more than half",
        "  R81  1 of 3 abstain, 1 of them could not get the bytes",
        "  so   nothing is agreed on: the model stays (as recorded)",
    ] {
        assert!(explained.contains(part), "{part}\n{explained}");
    }

    let told: Value = serde_json::from_str(&round("1", &["--json"])).unwrap();
    assert_eq!(
        (&told["as_recorded"], &told["merged"]["as_recorded"]),
        (&true.into(), &true.into())
    );
    assert_eq!(told["participants"].as_array().unwrap().len(), 3);
    assert_eq!(told["merged"]["verdict"], "accepted");
    assert_eq!(told["merged"]["pairs"][0]["bear_guarded"], 2);
    assert_eq!(told["merged"]["named_another"].as_array().unwrap().len(), 1);
    let shown = succeed(&[&["experiment", "show", "m", "--json"], &at[..]].concat());
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let rounds = &shown["history"]["rounds"];
    assert_eq!(rounds[0]["merged"]["mean_guarded"]["vote_score"], 0.8);
    assert_eq!(rounds[1]["merged"]["passed"].as_object().unwrap().len(), 1);
    assert!(succeed(&["audit", &node.url]).contains("AUDIT OK "));
}
