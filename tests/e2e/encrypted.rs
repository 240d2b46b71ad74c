//! Models that only members can read: what a node has of them, who can open which, and what an audit makes of it.

use std::path::{Path, PathBuf};

use colearn_contracts::{Act, Action, Join, MergeStage, MergeVote, Merges, Phase, Scores, Update};
use colearn_sdk::client::{self, ClientError, Options, Summary};
use colearn_sdk::encrypted::{Encryption, EncryptionError, ModelKeys, NotOpened};
use colearn_sdk::learner::{Learner, Proposed, Result, SAFETENSORS, Score, Weights};
use colearn_sdk::participant::Event;
use colearn_testkit::Near;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::support::{NodeProcess, Speaker, fail, key, name, run, succeed};

/// A folder with what whoever creates an experiment has.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        succeed(&["key", "new", &place.path("creator.pem")]);
        succeed(&["model", "keys", "new", &place.path("model.keys")]);
        std::fs::write(place.path("first.safetensors"), Near::weights(0.0).bytes()).unwrap();
        place
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn keys(&self) -> ModelKeys {
        ModelKeys::read(Path::new(&self.path("model.keys"))).unwrap()
    }

    fn create(&self, node: &NodeProcess, rules: &[&str]) {
        let (key, weights) = (self.path("creator.pem"), self.path("first.safetensors"));
        let create = ["experiment", "create", "x", "--node", &node.url, "--key", &key, "--open"];
        let model = ["--weights", &weights, "--model-keys", &self.path("model.keys")];
        succeed(&[&create[..], &model, rules].concat());
    }
}

type Taking<L> = (JoinHandle<(L, Summary)>, mpsc::UnboundedReceiver<Event>);

fn options(node: &NodeProcess, seed: u8, keys: Option<ModelKeys>) -> Options {
    Options { model_keys: keys, ..Options::new(&node.url, name("x"), key(seed)) }
}

/// It holds another model: the first one is downloaded.
fn near(private: f32) -> Near {
    Near { current: 7.0, ..Near::new(private) }
}

fn take_part<L: Learner + Send + 'static>(options: Options, learner: L) -> Taking<L> {
    let (send, told) = mpsc::unbounded_channel();
    let watch = Box::new(move |event: &Event| drop(send.send(event.clone())));
    let run = client::run(learner, Options { watch, ..options });
    (tokio::spawn(async move { run.await.unwrap() }), told)
}

/// Every file below a folder.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Whether a model is somewhere in a file in the clear: its header is.
fn shows_a_model(path: &Path) -> bool {
    let bytes = std::fs::read(path).unwrap();
    bytes.windows(7).any(|window| window == b"\"dtype\"")
}

/// Sends something in the first round whatever it was to train, does not judge what comes of it, and leaves.
async fn lie(speaker: &mut Speaker, junk: &Weights) {
    let liar = key(9);
    let mut has_sent = false;
    loop {
        speaker.followed.catch_up(&mut |_| {}).await.unwrap();
        let nobody = colearn_contracts::LearnerId([0; 32]);
        let state = speaker.followed.described(&name("x"), nobody, 0).unwrap().experiment;
        let Phase::Merged(open) = &state.phase else { continue };
        let round = state.round;
        let acts = match open.stage {
            MergeStage::Voting { .. } => {
                let vote = MergeVote {
                    round,
                    merges: Merges::default(),
                    bear_open: false,
                    bear_guarded: false,
                    prefer_guarded: false,
                    reason: None,
                    scores_open: Scores::default(),
                    scores_guarded: Scores::default(),
                    link: None,
                };
                // Its seat is its until the round closes, which may be with this vote.
                vec![Act::Leave { term: 0, renounce: false }, Act::MergeVote(vote)]
            }
            _ if !has_sent => {
                let (base, scores) = (state.model.digest, Scores::default());
                let weights = junk.model(SAFETENSORS);
                speaker.client.upload(junk).await.unwrap();
                vec![Act::Update(Update { round, base, weights, scores, privacy: None })]
            }
            _ => continue,
        };
        for act in acts {
            has_sent = true;
            let is_over = matches!(act, Act::MergeVote(_));
            speaker.act(&liar, Action::new(name("x"), act)).await.unwrap();
            if is_over {
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_train_and_merge_what_their_node_cannot_read() {
    let place = Place::new();
    let data = place.dir.path().join("node");
    let node = NodeProcess::start(&data);
    let rules = ["--merging", "--min-learners", "3", "--max-rounds", "3"];
    place.create(&node, &rules);
    // The model is the ledger's in no other form: who has no keys, or others, joins nothing.
    let stranger = Some(ModelKeys::generate().unwrap());
    for (keys, has_some) in [(None, false), (stranger, true)] {
        let error = client::prepare(options(&node, 8, keys)).await.err().unwrap();
        let ClientError::Encrypted(why) = &error else { panic!("{error}") };
        let unknown = EncryptionError::NotOpened(NotOpened::UnknownKey([0; 8]));
        let wanted = if has_some { unknown } else { EncryptionError::NoKeys };
        assert_eq!(std::mem::discriminant(why), std::mem::discriminant(&wanted), "{error}");
    }

    let mut speaker = Speaker::connect(&node.url).await;
    let join = Action::new(name("x"), Act::Join(Join::new(0, None)));
    speaker.act(&key(9), join).await.unwrap();
    let all = [1, 2, 3].map(|seed| {
        let memory = Some(place.dir.path().join(seed.to_string()));
        let options = options(&node, seed, Some(place.keys()));
        take_part(Options { data: memory, ..options }, near(f32::from(seed)))
    });
    // In the clear, at that: it does not count for that either.
    lie(&mut speaker, &Near::weights(1000.0)).await;
    let mut ended = Vec::new();
    for (run, _) in all {
        ended.push(run.await.unwrap());
    }
    let (learner, summary) = &ended[0];
    assert_eq!(summary.rounds, 3);
    assert!(ended.iter().all(|(other, it)| {
        it.model == summary.model && other.current().digest() == learner.current().digest()
    }));
    assert!((learner.current - 2.0).abs() < 1.5, "{}", learner.current);
    assert_ne!(learner.current().digest(), summary.model.digest);

    // What everybody can know of it: that the members have merged what they say.
    let (keys, at) = (place.path("model.keys"), data.to_str().unwrap());
    let audit = ["audit", at, "--merges", &node.url, "--json"];
    let output = run(&[&audit[..], &["--model-keys", &keys]].concat());
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let merges = report["merges"].as_array().unwrap();
    assert_eq!(merges.len(), 3, "{report}");
    assert!(merges.iter().all(|merge| merge["as_agreed"] == true), "{report}");
    let voids = |merge: &Value| {
        let updates = merge["updates"].as_array().unwrap();
        updates.iter().filter(|update| !update["void"].is_null()).count()
    };
    assert_eq!(merges.iter().map(voids).collect::<Vec<_>>(), [1, 0, 0], "{report}");
    let output = run(&audit);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let missing = report["merges"][0]["missing"][0].as_str().unwrap();
    assert!(missing.contains("--model-keys"), "{report}");

    // And what members: the model that the ledger names, opened.
    let [got, opened] = ["got", "opened"].map(|name| place.path(name));
    succeed(&["model", "get", "x", "--from", &node.url, "--out", &got]);
    assert!(succeed(&["model", "show", &got]).contains("encrypted"));
    let told = fail(&["predict", "--model", &got, "--data", "nowhere.csv"]);
    assert!(told.contains("model decrypt"), "{told}");
    succeed(&["model", "decrypt", &got, "--model-keys", &keys, "--out", &opened]);
    let model = Weights::open(Path::new(&opened)).unwrap();
    assert!((Near::value(&model).unwrap() - learner.current).abs() < f32::EPSILON);
    let told = fail(&["model", "decrypt", &got, "--model-keys", &keys, "--out", &opened]);
    assert!(told.contains("cannot write"), "{told}");
    let told = fail(&["model", "decrypt", &opened, "--model-keys", &keys, "--out", &got]);
    assert!(told.contains("not encrypted"), "{told}");

    node.stop();
    // But for what the liar has shown itself, the node's folder has no model, and would be found out.
    assert!(shows_a_model(Path::new(&opened)));
    let shown: Vec<PathBuf> = files(&data).into_iter().filter(|path| shows_a_model(path)).collect();
    let own = data.join("artifacts").join(Near::weights(1000.0).digest().to_string());
    assert_eq!(shown, [own]);
    // Nor has the memory of a learner.
    assert!(!files(&place.dir.path().join("1")).iter().any(|path| shows_a_model(path)));
}

/// Trains only when it is let.
struct Waits {
    learner: Near,
    until: std::sync::mpsc::Receiver<()>,
}

impl Learner for Waits {
    fn propose(&mut self) -> Result<Proposed> {
        self.until.recv()?;
        self.learner.propose()
    }

    fn test(&mut self, weights: &Weights) -> Result<Score> {
        self.learner.test(weights)
    }

    fn accept(&mut self, weights: &Weights) -> Result<()> {
        self.learner.accept(weights)
    }

    fn current(&self) -> Weights {
        self.learner.current()
    }
}

/// Waits for a learner's next turn.
async fn turn(events: &mut mpsc::UnboundedReceiver<Event>) {
    while !matches!(events.recv().await.unwrap(), Event::MyTurn { .. }) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_left_cannot_open_what_comes_after_and_who_came_later_need_not_what_was_before() {
    let place = Place::new();
    let node = NodeProcess::start(&place.dir.path().join("node"));
    place.create(&node, &["--min-learners", "2", "--max-rounds", "8"]);
    let before = place.keys();
    let (go, until) = std::sync::mpsc::channel();
    let waits = Waits { learner: near(1.0), until };
    let (leaver, mut events) = take_part(options(&node, 1, Some(before.clone())), waits);
    let stays = take_part(options(&node, 2, Some(before.clone())), near(2.0)).0;
    turn(&mut events).await;
    go.send(()).unwrap();
    // In its second turn, so that it has had all that the others have.
    turn(&mut events).await;
    let mut speaker = Speaker::connect(&node.url).await;
    let leave = Action::new(name("x"), Act::Leave { term: 0, renounce: false });
    speaker.act(&key(1), leave).await.unwrap();
    go.send(()).unwrap();
    let (_, left) = leaver.await.unwrap();
    assert_eq!(left.reason, None);
    // Nothing goes on without a second member.
    stays.abort();
    assert!(stays.await.unwrap_err().is_cancelled());

    let file = place.path("model.keys");
    assert!(fail(&["model", "keys", "new", &file]).contains("not overwritten"));
    let ids = succeed(&["model", "keys", "add", &file]);
    assert_eq!((ids.lines().count(), &ids), (2, &succeed(&["model", "keys", "show", &file])));
    let after = place.keys();
    let text = after.to_text();
    let newer = ModelKeys::parse(text.lines().last().unwrap()).unwrap();
    // The model is encrypted under the key before still.
    let early = client::prepare(options(&node, 4, Some(newer.clone()))).await.err().unwrap();
    assert!(matches!(early, ClientError::Encrypted(_)), "{early}");
    let stays = take_part(options(&node, 2, Some(after.clone())), near(2.0)).0;
    let joins = take_part(options(&node, 3, Some(after)), near(3.0)).0;
    let ((learner, ended), (other, same)) = (stays.await.unwrap(), joins.await.unwrap());
    assert_eq!((ended.rounds, &ended.model), (8, &same.model));
    assert_eq!(learner.current().digest(), other.current().digest());

    let found = speaker.client.download(&ended.model).await.unwrap();
    let open = |keys: &ModelKeys| Encryption::new(keys.clone(), None).open(&found);
    assert!(matches!(open(&before), Err(NotOpened::UnknownKey(_))));
    assert_eq!(open(&newer).unwrap(), learner.current());
    let late = client::prepare(options(&node, 4, Some(newer))).await.unwrap();
    assert_eq!(late.weights(), Some(&learner.current()));
    node.stop();
}
