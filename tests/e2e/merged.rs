//! Merged rounds on a node: learners that know nothing of them send updates, merge what the others have sent,
//! and end with the same model.

use std::path::Path;

use colearn_contracts::{
    Act, Action, Admission, BallotKind, CreateExperiment, Merging, Parameters, Selection, VERSION,
};
use colearn_sdk::client::{self, Options, Summary};
use colearn_sdk::learner::{Learner as _, SAFETENSORS};
use colearn_sdk::participant::Event;
use colearn_testkit::Near;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::support::{NodeProcess, Speaker, key, name};

const ROUNDS: u64 = 3;

async fn create(node: &NodeProcess, parameters: Parameters) {
    let mut speaker = Speaker::connect(&node.url).await;
    let weights = Near::weights(0.0);
    speaker.client.upload(&weights).await.unwrap();
    let create = CreateExperiment {
        version: VERSION.number(),
        parameters,
        admission: Admission::Open,
        model: weights.model(SAFETENSORS),
        plan: None,
    };
    speaker.act(&key(200), Action::new(name("x"), Act::Create(create))).await.unwrap();
}

fn take_part(
    node: &NodeProcess,
    seed: u8,
    memory: &Path,
) -> (JoinHandle<(Near, Summary)>, mpsc::UnboundedReceiver<Event>) {
    let (send, told) = mpsc::unbounded_channel();
    let options = Options {
        data: Some(memory.join(seed.to_string())),
        watch: Box::new(move |event| drop(send.send(event.clone()))),
        ..Options::new(&node.url, name("x"), key(seed))
    };
    // It holds another model: the first one is downloaded.
    let learner = Near { current: 7.0, ..Near::new(f32::from(seed)) };
    let run = client::run(learner, options);
    (tokio::spawn(async move { run.await.unwrap() }), told)
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_trains_and_ends_with_the_same_merge() {
    let rules = Parameters {
        max_rounds: Some(ROUNDS),
        min_learners: 3,
        merging: Some(Merging::default()),
        ..Parameters::default()
    };
    let gathers = Merging { gather_deadline_ms: Some(60_000), ..Merging::default() };
    for parameters in [
        rules.clone(),
        Parameters { ballot: BallotKind::Sealed, ..rules.clone() },
        Parameters { merging: Some(gathers), ..rules.clone() },
        Parameters {
            merging: Some(Merging { checkers: 2, ..Merging::default() }),
            selection: Selection::Sortition,
            ..rules
        },
    ] {
        let dir = tempfile::tempdir().unwrap();
        let node = NodeProcess::start(&dir.path().join("data"));
        create(&node, parameters.clone()).await;
        let all = [1, 2, 3].map(|seed| take_part(&node, seed, dir.path()));
        let mut models = Vec::new();
        for (run, mut told) in all {
            let (learner, summary) = run.await.unwrap();
            assert_eq!(summary.rounds, ROUNDS);
            assert_eq!(learner.current().digest(), summary.model.digest);
            models.push(summary.model);
            let mut merges = 0;
            while let Ok(event) = told.try_recv() {
                assert!(!matches!(event, Event::TooLate { .. } | Event::Distrusted { .. }));
                merges += u64::from(matches!(event, Event::Merged { accepted: Some(_), .. }));
            }
            assert_eq!(merges, ROUNDS, "{parameters:?}");
        }
        assert!(models.iter().all(|model| *model == models[0]));
        // Whoever comes now finds the model, though nobody has proposed it.
        let speaker = Speaker::connect(&node.url).await;
        let found = speaker.client.download(&models[0]).await.unwrap();
        assert!((Near::value(&found).unwrap() - 2.0).abs() < 1.0);
        node.stop();
    }
}
