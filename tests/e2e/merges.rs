//! Where the merges of a round come from for whoever has not computed them, and what an audit makes of them.

use std::path::Path;

use colearn_contracts::{
    Act, Action, Admission, CreateExperiment, Digest, Join, MergeStage, MergeVote, MergedRound,
    Merges, Merging, Model, Parameters, Phase, Scores, Update, VERSION,
};
use colearn_merge::{Merge, Source};
use colearn_sdk::client::{self, Options};
use colearn_sdk::learner::{SAFETENSORS, Weights};
use colearn_testkit::Near;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::support::{Counter, NodeProcess, Speaker, key, name, run, succeed, wait_for};

async fn create(node: &NodeProcess, merging: Merging) -> Speaker {
    let mut speaker = Speaker::connect(&node.url).await;
    let weights = Near::weights(0.0);
    speaker.client.upload(&weights).await.unwrap();
    let parameters = Parameters {
        max_rounds: Some(2),
        min_learners: 3,
        merging: Some(merging),
        ..Parameters::default()
    };
    let create = CreateExperiment {
        version: VERSION.number(),
        parameters,
        admission: Admission::Open,
        model: weights.model(SAFETENSORS),
        plan: None,
    };
    act(&mut speaker, 200, Act::Create(create)).await;
    speaker
}

async fn act(speaker: &mut Speaker, who: u8, what: Act) {
    speaker.act(&key(who), Action::new(name("x"), what)).await.unwrap();
}

async fn send(speaker: &mut Speaker, who: u8, round: u64, base: &Model, value: f32) -> Model {
    let weights = Near::weights(value);
    speaker.client.upload(&weights).await.unwrap();
    let model = weights.model(SAFETENSORS);
    let (base, scores) = (base.digest, Scores::default());
    let update = Update { round, base, weights: model.clone(), scores, privacy: None };
    act(speaker, who, Act::Update(update)).await;
    model
}

/// Somebody names these, and can bear the open one.
async fn name_merges(speaker: &mut Speaker, who: u8, round: u64, merges: Merges) {
    let vote = MergeVote {
        round,
        merges,
        bear_open: true,
        bear_guarded: false,
        prefer_guarded: false,
        reason: None,
        scores_open: Scores::default(),
        scores_guarded: Scores::default(),
        link: None,
    };
    act(speaker, who, Act::MergeVote(vote)).await;
}

/// The merges, and what they are called.
fn merged(base: f32, previous: Option<f32>, updates: &[f32]) -> (Merges, Vec<Weights>) {
    let file = |value: f32| Near::weights(value).bytes().to_vec();
    let (base, previous) = (file(base), previous.map(file));
    let updates: Vec<Vec<u8>> = updates.iter().copied().map(file).collect();
    let updates: Vec<&dyn Source> = updates.iter().map(|update| update as &dyn Source).collect();
    let merging = Merging::default();
    let merge = Merge {
        base: &base,
        previous: previous.as_ref().map(|previous| previous as &dyn Source),
        updates: &updates,
        clip_permille: merging.clip_permille,
        momentum_permille: merging.momentum_permille,
    };
    let merged = merge.in_memory().unwrap();
    let [open, guarded] = [merged.open, merged.guarded].map(|merge| merge.map(Weights::new));
    let digest = |weights: &Option<Weights>| weights.as_ref().map(Weights::digest);
    let merges = Merges { open: digest(&open), guarded: digest(&guarded) };
    (merges, open.into_iter().chain(guarded).collect())
}

/// Waits until the open round is so far.
async fn reached(speaker: &mut Speaker, is: impl Fn(u64, &MergedRound) -> bool) -> Model {
    loop {
        speaker.followed.catch_up(&mut |_| {}).await.unwrap();
        let described =
            speaker.followed.described(&name("x"), colearn_contracts::LearnerId([0; 32]), 0);
        let state = described.unwrap().experiment;
        match &state.phase {
            Phase::Merged(open) if is(state.round, open) => return state.model,
            _ => tokio::task::yield_now().await,
        }
    }
}

fn audit(place: &str, merges: &str) -> (Option<i32>, String) {
    let output = run(&["audit", place, "--merges", merges]);
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_merges_beside_the_members_and_an_audit_after_them() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let node = NodeProcess::start(&data);
    let mut speaker = create(&node, Merging::default()).await;
    for who in 1..=3 {
        act(&mut speaker, who, Act::Join(Join::new(0, None))).await;
    }
    let base = Near::weights(0.0).model(SAFETENSORS);
    let values = [1.0, 2.0, 3.0];
    for (who, value) in (1..=3).zip(values) {
        send(&mut speaker, who, 1, &base, value).await;
    }
    // Nobody has uploaded them.
    let (merges, files) = merged(0.0, None, &values);
    assert!(merges.open.is_some() && merges.guarded.is_some() && merges.open != merges.guarded);
    for file in &files {
        let path = data.join("artifacts").join(file.digest().to_string());
        wait_for("the merge", || path.exists().then_some(()));
        let found = speaker.client.download(&file.model(SAFETENSORS)).await.unwrap();
        assert_eq!(found.bytes(), file.bytes());
    }
    for who in 1..=3 {
        name_merges(&mut speaker, who, 1, merges).await;
    }
    let place = data.to_str().unwrap();
    for (ledger, weights) in
        [(place, place), (&node.url, place), (place, &node.url), (&node.url, &node.url)]
    {
        let (code, told) = audit(ledger, weights);
        assert_eq!(code, Some(0), "{told}");
        assert!(told.contains("round 1 of x: open ") && told.contains(", as agreed"), "{told}");
        assert!(told.trim_end().ends_with(" merges=1 not_computed=0"), "{told}");
    }
    let explained =
        |more: &[&str]| succeed(&[&["round", "1", "--explain", "--from"], more].concat());
    for told in [explained(&[place]), explained(&[&node.url])] {
        assert_eq!(told.matches(" near to ").count(), 3, "{told}");
        assert!(told.contains(": as agreed"), "{told}");
    }
    let told: Value = serde_json::from_str(&explained(&[place, "--json"])).unwrap();
    let computed = &told["merged"]["computed"];
    assert_eq!(
        (&computed["as_agreed"], &computed["updates"][1]["clipped"]),
        (&true.into(), &false.into())
    );
    // An exported ledger has no weights.
    let exported = dir.path().join("exported").to_str().unwrap().to_owned();
    succeed(&["ledger", "export", &exported, "--from", &node.url]);
    assert!(explained(&[&exported]).contains("--merges DIR|URL"));
    assert!(explained(&[&exported, "--merges", place]).contains(": as agreed"));

    // In the second round most agree on what nobody has computed.
    let accepted = files[0].model(SAFETENSORS);
    let base = Near::value(&files[0]).unwrap();
    for (who, value) in (1..=3).zip([4.0, 5.0, 6.0]) {
        send(&mut speaker, who, 2, &accepted, value).await;
    }
    let lie = Near::weights(42.0);
    speaker.client.upload(&lie).await.unwrap();
    let (true_merges, _) = merged(base, Some(0.0), &[4.0, 5.0, 6.0]);
    let false_merges = Merges { open: Some(lie.digest()), guarded: None };
    for (who, merges) in [(1, false_merges), (2, true_merges), (3, false_merges)] {
        name_merges(&mut speaker, who, 2, merges).await;
    }
    for weights in [place, &node.url] {
        let (code, told) = audit(place, weights);
        assert_eq!(code, Some(25), "{told}");
        assert!(told.contains("NOT AS AGREED"), "{told}");
        assert!(told.contains(&true_merges.open.unwrap().to_string()), "{told}");
        assert!(told.contains(&format!("{:.8} named another pair", key_text(1))), "{told}");
        assert!(!told.contains(&format!("{:.8} named another pair", key_text(2))), "{told}");
    }
    // Without the weights of a round it is not computed; without any at all that is not what was asked for.
    let one = Near::weights(4.0).digest();
    std::fs::remove_file(data.join("artifacts").join(one.to_string())).unwrap();
    let (code, told) = audit(place, place);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains(&format!("round 2 of x: not computed: {one} is not there")), "{told}");
    assert!(succeed(&["round", "2", "--from", place, "--explain"]).contains("not computed: "));
    let empty = tempfile::tempdir().unwrap();
    let (code, told) = audit(place, empty.path().to_str().unwrap());
    assert_eq!(code, Some(25), "{told}");
    node.stop();
}

fn key_text(who: u8) -> String {
    crate::support::id(&key(who)).to_string()
}

fn learner(node: &NodeProcess, seed: u8, memory: &Path) -> JoinHandle<Digest> {
    let options = Options {
        data: Some(memory.join(seed.to_string())),
        ..Options::new(&node.url, name("x"), key(seed))
    };
    // No merge of these is what somebody has sent.
    let run = client::run(Near::new(f32::from(seed).powi(2)), options);
    tokio::spawn(async move { run.await.unwrap().1.model.digest })
}

/// Two merged rounds of three learners in an experiment `x`; the model that comes of them.
pub(crate) async fn two_rounds(node: &NodeProcess, memory: &Path) -> Model {
    let speaker = create(node, Merging::default()).await;
    for learner in [1, 2, 3].map(|seed| learner(node, seed, memory)) {
        learner.await.unwrap();
    }
    speaker.client.experiment(&name("x"), None).await.unwrap().experiment.model
}

/// What a newcomer needs is there, whatever the node has lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_the_node_has_not_merged_or_has_lost_comes_from_its_members() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut node = NodeProcess::start(&data);
    let gathers = Merging { gather_deadline_ms: Some(60_000), ..Merging::default() };
    let mut speaker = create(&node, gathers).await;
    learner(&node, 1, dir.path());
    learner(&node, 2, dir.path());
    act(&mut speaker, 3, Act::Join(Join::new(0, None))).await;
    let base = Near::weights(0.0).model(SAFETENSORS);
    reached(&mut speaker, |_, _| true).await;
    let sent = send(&mut speaker, 3, 1, &base, 1.5).await;
    // The others hold all; then the node loses some of it, and merges nothing.
    let path = |digest: Digest| data.join("artifacts").join(digest.to_string());
    let two_hold =
        |_: u64, open: &MergedRound| matches!(open.stage, MergeStage::Gathering { said: 2, .. });
    reached(&mut speaker, two_hold).await;
    std::fs::remove_file(path(sent.digest)).unwrap();
    act(&mut speaker, 3, Act::Have { round: 1, held: 0b111 }).await;
    reached(
        &mut speaker,
        |_, open| matches!(&open.stage, MergeStage::Voting { tally, .. } if tally.cast == 2),
    )
    .await;
    name_merges(&mut speaker, 3, 1, Merges { open: Some(Digest([7; 32])), guarded: None }).await;
    let model = reached(&mut speaker, |round, _| round == 2).await;
    assert_ne!(model, base);
    wait_for("the model", || path(model.digest).exists().then_some(()));

    // And when it is lost later.
    node.process.kill();
    std::fs::remove_file(path(model.digest)).unwrap();
    let listen = node.address();
    let node = NodeProcess::start_at(&data, &listen);
    wait_for("the model", || path(model.digest).exists().then_some(()));
    let newcomer = Speaker::connect(&node.url).await;
    let found = newcomer.client.download(&model).await.unwrap();
    assert!((Near::value(&found).unwrap() - 1.0).abs() < 1.0);
    node.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_told_so_keeps_models_only() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let keeps = ["--listen", "127.0.0.1:0", "--keep-updates", "0"];
    let node = NodeProcess::start_with(&data, &keeps);
    create(&node, Merging::default()).await;
    let learners = [1, 2, 3].map(|seed| learner(&node, seed, dir.path()));
    let mut model = Digest([0; 32]);
    for learner in learners {
        model = learner.await.unwrap();
    }
    let shown = succeed(&["experiment", "show", "x", "--node", &node.url, "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let rounds = shown["history"]["rounds"].as_array().unwrap();
    let updates =
        rounds.iter().flat_map(|it| it["merged"]["updates"].as_object().unwrap().values());
    let updates: Vec<&str> = updates.map(|update| update["weights"].as_str().unwrap()).collect();
    assert!(updates.len() > 3, "{shown}");
    let first = Near::weights(0.0).digest();
    let there = |digest: &str| data.join("artifacts").join(digest).exists();
    let previous = rounds.last().unwrap()["base"].as_str().unwrap();
    let is_model = |digest: &str| {
        digest == previous || [model, first].map(|it| it.to_string()).contains(&digest.to_owned())
    };
    wait_for("letting go", || {
        updates.iter().all(|update| is_model(update) || !there(update)).then_some(())
    });
    assert!(there(&model.to_string()) && there(&first.to_string()));
    node.stop();
    // Whoever audits is told.
    let place = data.to_str().unwrap();
    let (_, told) = audit(place, place);
    assert!(told.contains("round 1 of x: not computed: "), "{told}");
}

/// Whoever votes on merges can name any digest; what others have proposed is not let go of for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_false_name_in_a_vote_costs_nobody_a_model() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let keeps = ["--listen", "127.0.0.1:0", "--keep-updates", "0"];
    let node = NodeProcess::start_with(&data, &keeps);
    // Of four models in single rounds the second is neither the last nor the one before.
    let mut speaker = Speaker::connect(&node.url).await;
    speaker.create("y", &Counter::weights(0), 4).await;
    let others = [11, 12].map(|seed| {
        let options = Options::new(&node.url, name("y"), key(seed));
        tokio::spawn(client::run(Counter { value: 0 }, options))
    });
    for other in others {
        other.await.unwrap().unwrap();
    }
    let path = |weights: &Weights| data.join("artifacts").join(weights.digest().to_string());
    let victim = Counter::weights(2);
    assert!(path(&victim).exists());

    let mut speaker = create(&node, Merging::default()).await;
    let values = [1.0, 4.0, 9.0];
    for who in 1..=3 {
        act(&mut speaker, who, Act::Join(Join::new(0, None))).await;
    }
    let base = Near::weights(0.0).model(SAFETENSORS);
    for (who, value) in (1..=3).zip(values) {
        send(&mut speaker, who, 1, &base, value).await;
    }
    let (merges, _) = merged(0.0, None, &values);
    let false_merges = Merges { open: Some(victim.digest()), guarded: None };
    for (who, merges) in [(3, false_merges), (1, merges), (2, merges)] {
        name_merges(&mut speaker, who, 1, merges).await;
    }
    let update = path(&Near::weights(9.0));
    wait_for("letting go", || (!update.exists()).then_some(()));
    // What goes at a time goes before the node stops.
    node.stop();
    assert!(path(&victim).exists());
}
