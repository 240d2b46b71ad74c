//! Who sends an update and keeps its bytes back: nobody honest pays for it, and rounds go on.

use std::path::Path;
use std::time::Duration;

use colearn_contracts::{
    Act, Action, Admission, CreateExperiment, Digest, FinishReason, Join, LearnerId, MergeStage,
    MergeVote, MergedRound, Merges, Merging, Parameters, Part, Phase, Scores, Update, VERSION,
};
use colearn_records::convert::{ExperimentState, SeatState};
use colearn_sdk::client::{self, Options, Summary};
use colearn_sdk::learner::{Learner as _, SAFETENSORS};
use colearn_sdk::participant::Event;
use colearn_testkit::Near;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::proxy::Proxy;
use crate::support::{NodeProcess, Speaker, id, key, name, succeed};

const HONEST: [u8; 3] = [1, 2, 3];
const ATTACKERS: [u8; 2] = [8, 9];

async fn create(node: &NodeProcess, max_rounds: u64, min_learners: u32, gather_deadline_ms: u64) {
    let mut speaker = Speaker::connect(&node.url).await;
    let weights = Near::weights(0.0);
    speaker.client.upload(&weights).await.unwrap();
    let merging = Merging { gather_deadline_ms: Some(gather_deadline_ms), ..Merging::default() };
    let parameters = Parameters {
        max_rounds: Some(max_rounds),
        min_learners,
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
    speaker.act(&key(200), Action::new(name("x"), Act::Create(create))).await.unwrap();
}

async fn join(speaker: &mut Speaker, seed: u8) {
    let join = Action::new(name("x"), Act::Join(Join::new(0, None)));
    speaker.act(&key(seed), join).await.unwrap();
}

/// An honest learner, and what it is told.
fn take_part(
    url: &str,
    seed: u8,
    memory: &Path,
) -> (JoinHandle<(Near, Summary)>, mpsc::UnboundedReceiver<Event>) {
    let (send, told) = mpsc::unbounded_channel();
    let options = Options {
        data: Some(memory.join(seed.to_string())),
        watch: Box::new(move |event| drop(send.send(event.clone()))),
        ..Options::new(url, name("x"), key(seed))
    };
    let run = client::run(Near::new(0.1 + 1.3 * f32::from(seed)), options);
    (tokio::spawn(async move { run.await.unwrap() }), told)
}

async fn state(speaker: &mut Speaker, of: LearnerId) -> (ExperimentState, Option<SeatState>) {
    speaker.followed.catch_up(&mut |_| {}).await.unwrap();
    let described = speaker.followed.described(&name("x"), of, 0).unwrap();
    (described.experiment, described.member.map(|member| member.seat))
}

/// What an attacker does next: it sends what it withholds by these, says that it holds everything, and names with
/// its fellow what nobody has computed.
fn next_act(seed: u8, state: &ExperimentState, withholding: &[Proxy]) -> Option<(Near, Act)> {
    let (round, me) = (state.round, id(&key(seed)));
    let Phase::Merged(open) = &state.phase else { return None };
    let sends = Near::new(1e4 + f32::from(seed) + 100.0 * round as f32);
    let act = match &open.stage {
        MergeStage::Training if open.part(me) == Some(&Part::Due) => {
            let weights = Near::weights(sends.private).model(SAFETENSORS);
            withholding.iter().for_each(|proxy| proxy.withhold(weights.digest));
            let base = state.model.digest;
            Act::Update(Update { round, base, weights, scores: Scores::default(), privacy: None })
        }
        MergeStage::Gathering { held, .. } => Act::Have { round, held: (1 << held.len()) - 1 },
        MergeStage::Voting { .. } => Act::MergeVote(MergeVote {
            round,
            merges: Merges { open: Some(Digest([7; 32])), guarded: None },
            bear_open: true,
            bear_guarded: false,
            prefer_guarded: false,
            reason: None,
            scores_open: Scores::default(),
            scores_guarded: Scores::default(),
            link: None,
        }),
        MergeStage::Training | MergeStage::Revealing => return None,
    };
    Some((sends, act))
}

/// Attacks until the experiment ends.
async fn attack(mut speaker: Speaker, seed: u8, withholding: Vec<Proxy>) {
    let key = key(seed);
    let mut done = None;
    loop {
        let (state, _) = state(&mut speaker, id(&key)).await;
        if let Phase::Finished(_) = state.phase {
            return;
        }
        match next_act(seed, &state, &withholding) {
            Some((sends, act)) if done.as_ref() != Some(&act) => {
                if let Act::Update(_) = act {
                    speaker.client.upload(&Near::weights(sends.private)).await.unwrap();
                }
                // It is refused where it comes too late, or when the attacker has lost its seat.
                let _ = speaker.act(&key, Action::new(name("x"), act.clone())).await;
                done = Some(act);
            }
            Some(_) | None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// The attackers have joined when these attack.
async fn attackers(node: &NodeProcess, withholding: &[Proxy]) -> Vec<JoinHandle<()>> {
    let mut attacks = Vec::new();
    for seed in ATTACKERS {
        let mut speaker = Speaker::connect(&node.url).await;
        join(&mut speaker, seed).await;
        attacks.push(tokio::spawn(attack(speaker, seed, withholding.to_vec())));
    }
    attacks
}

fn nobody_is_suspended(told: &mut mpsc::UnboundedReceiver<Event>) {
    while let Ok(event) = told.try_recv() {
        assert!(!matches!(event, Event::Suspended { .. } | Event::Distrusted { .. }), "{event:?}");
    }
}

fn audit_passes(data: &Path) {
    let data = data.to_str().unwrap();
    let audited = succeed(&["audit", data, "--merges", data]);
    assert!(audited.lines().last().unwrap().starts_with("AUDIT OK"), "{audited}");
}

fn rounds(node: &NodeProcess) -> Vec<Value> {
    let shown = succeed(&["experiment", "show", "x", "--node", &node.url, "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    shown["history"]["rounds"].as_array().unwrap().clone()
}

fn explained(node: &NodeProcess, round: &str, more: &[&str]) -> String {
    let round = ["round", round, "--experiment", "x", "--from", &node.url, "--explain"];
    succeed(&[&round[..], more].concat())
}

/// Two of five, whose bytes reach nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_reaches_nobody_is_left_out_and_its_senders_lose_their_seats() {
    const ROUNDS: u64 = 12;
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(&dir.path().join("data"));
    create(&node, ROUNDS, 3, 2000).await;
    let (proxy, url) = Proxy::start(&node.url, None).await;
    // The first round is theirs alone: with the attackers they will be five from the second on.
    let mut speaker = Speaker::connect(&node.url).await;
    for seed in HONEST {
        join(&mut speaker, seed).await;
    }
    let attacks = attackers(&node, std::slice::from_ref(&proxy)).await;
    let honest = HONEST.map(|seed| take_part(&url, seed, dir.path()));
    let mut models = Vec::new();
    for (run, mut told) in honest {
        let (learner, summary) = run.await.unwrap();
        assert_eq!((summary.reason, summary.rounds), (Some(FinishReason::MaxRounds), ROUNDS));
        assert_eq!(learner.current().digest(), summary.model.digest);
        // What they withhold is ten thousand times as large.
        assert!((learner.current - 2.7).abs() < 3.0, "{}", learner.current);
        models.push(summary.model);
        nobody_is_suspended(&mut told);
    }
    assert!(models.iter().all(|model| *model == models[0]));
    for attack in attacks {
        attack.await.unwrap();
    }
    for seed in HONEST {
        assert_eq!(state(&mut speaker, id(&key(seed))).await.1, Some(SeatState::Seated));
    }
    for seed in ATTACKERS {
        assert_eq!(state(&mut speaker, id(&key(seed))).await.1, Some(SeatState::Suspended));
    }

    let rounds = rounds(&node);
    assert!(rounds.iter().all(|round| round["verdict"] == "accepted"), "{rounds:?}");
    let merges = |round: &Value, seed: u8| {
        round["merged"]["updates"][id(&key(seed)).to_string()]["merged"].as_bool()
    };
    for round in &rounds {
        // Who has nothing new to send passes.
        assert!(HONEST.iter().any(|seed| merges(round, *seed) == Some(true)), "{round}");
        assert!(HONEST.iter().all(|seed| merges(round, *seed) != Some(false)), "{round}");
        assert!(ATTACKERS.iter().all(|seed| merges(round, *seed) != Some(true)), "{round}");
    }
    assert!(ATTACKERS.iter().all(|seed| merges(&rounds[1], *seed) == Some(false)), "{}", rounds[1]);
    let told = explained(&node, "2", &[]);
    assert_eq!(told.matches("left out: too few hold it (R80)").count(), 2, "{told}");
    assert_eq!(told.matches("2 of 5 hold it: too few").count(), 2, "{told}");
    assert_eq!(told.matches("5 of 5 hold it: more than half").count(), 3, "{told}");
    node.stop();
    audit_passes(&dir.path().join("data"));
}

/// Two of five, whose bytes reach two others; then the node has lost them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_reaches_only_some_comes_from_them_to_the_others() {
    const GATHERING_MS: u64 = 6000;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let node = NodeProcess::start(&data);
    create(&node, 1, 5, GATHERING_MS).await;
    let (proxy, url) = Proxy::start(&node.url, None).await;
    let attacks = attackers(&node, std::slice::from_ref(&proxy)).await;
    let [one, two, deprived] = HONEST;
    let honest = [(one, &node.url), (two, &node.url), (deprived, &url)];
    let honest = honest.map(|(seed, url)| take_part(url, seed, dir.path()));
    // All have told what they hold but the one that waits for what is withheld.
    let mut speaker = Speaker::connect(&node.url).await;
    let all_but_one = loop {
        let (state, _) = state(&mut speaker, id(&key(one))).await;
        match state.phase {
            Phase::Merged(open) if matches!(open.stage, MergeStage::Gathering { said: 4, .. }) => {
                break open;
            }
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    let withheld = |open: &MergedRound| {
        let attackers = ATTACKERS.map(|seed| id(&key(seed)));
        let updates = open.updates().filter(|(sender, _)| attackers.contains(sender));
        updates.map(|(_, weights)| weights.digest).collect::<Vec<_>>()
    };
    let lost = withheld(&all_but_one);
    assert_eq!(lost.len(), 2);
    for digest in &lost {
        std::fs::remove_file(data.join("artifacts").join(digest.to_string())).unwrap();
    }
    proxy.give_out();

    let mut models = Vec::new();
    for (run, mut told) in honest {
        let (learner, summary) = run.await.unwrap();
        assert_eq!(learner.current().digest(), summary.model.digest);
        models.push(summary.model);
        nobody_is_suspended(&mut told);
    }
    assert!(models.iter().all(|model| *model == models[0]));
    for attack in attacks {
        attack.await.unwrap();
    }
    let rounds = rounds(&node);
    assert_eq!(rounds[0]["verdict"], "accepted", "{}", rounds[0]);
    let merged = &rounds[0]["merged"];
    assert_eq!(merged["named"], 3, "{merged}");
    let updates = merged["updates"].as_object().unwrap();
    assert_eq!(updates.values().filter(|update| update["merged"] == true).count(), 5, "{merged}");
    let told = explained(&node, "1", &[]);
    assert_eq!(told.matches("4 of 5 hold it: more than half").count(), 2, "{told}");
    assert!(told.contains("3 of 5 votes name"), "{told}");
    node.stop();
    audit_passes(&data);
}
