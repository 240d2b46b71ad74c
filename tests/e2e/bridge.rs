//! Learner servers of the original package, through `colearn bridge`: a stand-in with the behaviour that is known of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use colearn_contracts::{Parameters, Reason};
use colearn_proto::legacy::grpc_learner_server::{GrpcLearner, GrpcLearnerServer};
use colearn_proto::legacy::{
    DiffPrivBudget, Empty, MlSetupStatus, ProposedWeights, RequestMlSetup, RequestStatus,
    ResponseCurrentModel, ResponseMlSetup, ResponseStatus, ResponseSupportedSystem,
    ResponseVersion, TrainingSummary, WeightsPart,
};
use colearn_sdk::bridge::{BridgedLearner, Setup};
use colearn_sdk::learner::{Judgement, Learner as _, Weights};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Mutex;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

use crate::proxy::{Lie, Proxy};
use crate::support::{NodeProcess, Process, fail, run, succeed};

/// Larger than one part, so that weights come in several.
const FILLING: usize = 5_000_000;
const PART: usize = 4_000_000;

/// Holds a private number; its weights are the shared guess, in bytes that look like a pickle.
struct Server {
    private: f64,
    /// `None` before the setup.
    guess: Mutex<Option<f64>>,
    /// Leaves out the first part.
    holes: bool,
    /// So many calls are answered as by nobody, once it is set up.
    away: AtomicU32,
}

impl Server {
    fn new(private: f64) -> Self {
        Self { private, guess: Mutex::new(None), holes: false, away: AtomicU32::new(0) }
    }

    /// Whether it is there.
    fn there(&self) -> Result<(), Status> {
        let less = |left: u32| left.checked_sub(1);
        match self.away.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) {
            Ok(_) => Err(Status::unavailable("away")),
            Err(_) => Ok(()),
        }
    }
}

fn encode(guess: f64) -> Vec<u8> {
    let mut bytes = b"\x80\x04not to be read".to_vec();
    bytes.extend(guess.to_le_bytes());
    bytes.resize(FILLING, 7);
    bytes
}

fn decode(bytes: &[u8]) -> f64 {
    assert_eq!(bytes.len(), FILLING, "nothing is missing");
    f64::from_le_bytes(bytes[16..24].try_into().unwrap())
}

fn parts(bytes: &[u8], summary: Option<TrainingSummary>) -> Vec<Result<WeightsPart, Status>> {
    let part = |(at, chunk): (usize, &[u8])| {
        Ok(WeightsPart {
            weights: Bytes::copy_from_slice(chunk),
            byte_index: (at * PART) as u32,
            total_bytes: bytes.len() as u64,
            training_summary: if at == 0 { summary } else { None },
        })
    };
    bytes.chunks(PART).enumerate().map(part).collect()
}

async fn together(mut parts: Streaming<WeightsPart>) -> Result<Vec<u8>, Status> {
    let mut bytes = Vec::new();
    while let Some(part) = parts.message().await? {
        // As the original does: what is missing is zero.
        bytes.resize(part.total_bytes as usize, 0);
        let at = part.byte_index as usize;
        bytes[at..at + part.weights.len()].copy_from_slice(&part.weights);
    }
    Ok(bytes)
}

fn not_set_up() -> Status {
    Status::failed_precondition("the learner is not set up")
}

type Parts = BoxStream<'static, Result<WeightsPart, Status>>;

#[tonic::async_trait]
impl GrpcLearner for Server {
    type ProposeWeightsStream = Parts;
    type GetCurrentWeightsStream = Parts;
    type StatusStreamStream = BoxStream<'static, Result<ResponseStatus, Status>>;

    async fn ml_setup(
        &self,
        request: Request<RequestMlSetup>,
    ) -> Result<Response<ResponseMlSetup>, Status> {
        let request = request.into_inner();
        let mut answer = ResponseMlSetup::default();
        if request.dataset_loader_name == "NUMBERS" && request.model_parameters == "{\"a\": 1}" {
            *self.guess.lock().await = Some(0.0);
            answer.set_status(MlSetupStatus::Success);
        } else {
            answer.set_status(MlSetupStatus::Error);
            answer.description = format!("no data loader {}", request.dataset_loader_name);
        }
        Ok(Response::new(answer))
    }

    async fn propose_weights(&self, _: Request<Empty>) -> Result<Response<Parts>, Status> {
        self.there()?;
        let guess = self.guess.lock().await.ok_or_else(not_set_up)?;
        let budget =
            DiffPrivBudget { consumed_epsilon: 0.5, consumed_delta: 1e-5, ..Default::default() };
        let summary = Some(TrainingSummary { dp_budget: Some(budget) });
        let mut parts = parts(&encode(guess + 0.5 * (self.private - guess)), summary);
        if self.holes {
            drop(parts.remove(0));
        }
        Ok(Response::new(stream::iter(parts).boxed()))
    }

    async fn test_weights(
        &self,
        request: Request<Streaming<WeightsPart>>,
    ) -> Result<Response<ProposedWeights>, Status> {
        self.there()?;
        let old = self.guess.lock().await.ok_or_else(not_set_up)?;
        let new = decode(&together(request.into_inner()).await?);
        let error = |guess: f64| (guess - self.private).abs();
        Ok(Response::new(ProposedWeights {
            vote_score: -error(new) as f32,
            test_score: -error(new) as f32,
            vote: error(new) <= error(old),
        }))
    }

    async fn set_weights(
        &self,
        request: Request<Streaming<WeightsPart>>,
    ) -> Result<Response<Empty>, Status> {
        self.there()?;
        let mut guess = self.guess.lock().await;
        guess.ok_or_else(not_set_up)?;
        *guess = Some(decode(&together(request.into_inner()).await?));
        Ok(Response::new(Empty {}))
    }

    async fn get_current_weights(&self, _: Request<Empty>) -> Result<Response<Parts>, Status> {
        let guess = self.guess.lock().await.ok_or_else(not_set_up)?;
        Ok(Response::new(stream::iter(parts(&encode(guess), None)).boxed()))
    }

    async fn status_stream(
        &self,
        _: Request<Streaming<RequestStatus>>,
    ) -> Result<Response<Self::StatusStreamStream>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn query_version(&self, _: Request<Empty>) -> Result<Response<ResponseVersion>, Status> {
        Err(Status::unimplemented("as in 0.2.8"))
    }

    async fn query_supported_system(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<ResponseSupportedSystem>, Status> {
        Ok(Response::new(ResponseSupportedSystem::default()))
    }

    async fn get_current_model(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<ResponseCurrentModel>, Status> {
        Err(Status::unimplemented("as in 0.2.8"))
    }
}

async fn serve(server: Server) -> (SocketAddr, Arc<Server>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    serve_at(listener, server)
}

fn serve_at(listener: TcpListener, server: Server) -> (SocketAddr, Arc<Server>) {
    let address = listener.local_addr().unwrap();
    let server = Arc::new(server);
    let service = GrpcLearnerServer::from_arc(server.clone())
        .max_decoding_message_size(4_194_304)
        .max_encoding_message_size(4_194_304);
    let serving = tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(serving);
    (address, server)
}

const SETUP: [&str; 6] =
    ["--dataset", "NUMBERS", "--model", "GUESS", "--model-parameters", "{\"a\": 1}"];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn unmodified_servers_take_part_through_bridges() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let mut servers = Vec::new();
    for private in [3.0, 5.0, 7.0] {
        // One that comes and goes while it takes part does so all the same.
        let away = AtomicU32::new(if private == 5.0 { 4 } else { 0 });
        servers.push(serve(Server { away, ..Server::new(private) }).await);
    }
    let done = tokio::task::spawn_blocking({
        let addresses: Vec<String> = servers.iter().map(|(at, _)| at.to_string()).collect();
        let paths = ["initial.pkl", "a.pem", "b.pem", "c.pem", "node"].map(path);
        move || {
            let [initial, keys @ .., data] = &paths;
            let node = NodeProcess::start(data.as_ref());
            let learner = ["bridge", "--learner", &addresses[0]];
            succeed(&[&learner[..], &SETUP, &["--initial", initial]].concat());
            keys.iter().for_each(|key| drop(succeed(&["key", "new", key])));
            let create =
                ["experiment", "create", "guess", "--node", &node.url, "--key", &keys[0], "--open"];
            let rules = ["--weights", initial, "--min-learners", "3", "--max-rounds", "6"];
            let kind = ["--media-type", "application/x-colearn-legacy"];
            succeed(&[&create[..], &rules, &kind].concat());
            // A learner that is not bridged is refused, with the reason.
            let ours = ["learner", "--node", &node.url, "--experiment", "guess", "--key", &keys[0]];
            assert!(fail(&ours).contains("take part through: colearn bridge"));
            let mut bridges: Vec<Process> = (0..3)
                .map(|at| {
                    let at_node =
                        ["--node", &node.url, "--experiment", "guess", "--key", &keys[at]];
                    let learner = ["bridge", "--learner", &addresses[at]];
                    Process::start(&[&learner[..], &SETUP, &at_node].concat())
                })
                .collect();
            for bridge in &mut bridges {
                let lines: Vec<String> = std::iter::from_fn(|| bridge.line()).collect();
                assert_eq!(bridge.wait(), Some(0), "{lines:?}");
                assert!(lines[1].contains("version unknown"), "{lines:?}");
            }
            let privacy = succeed(&["experiment", "privacy", "guess", "--node", &node.url]);
            // It says how much it has spent and not how, which nobody could check (R62).
            assert!(privacy.contains("nothing stated"), "{privacy}");
            let told = succeed(&["ledger", "show", data]);
            for word in ["rejects", "abstains", "passes"] {
                let line = told.lines().find(|line| line.contains(word) && line.contains("failed"));
                assert_eq!(line, None);
            }
            let wrong = succeed(&[
                "experiment",
                "create",
                "other",
                "--node",
                &node.url,
                "--key",
                &keys[0],
                "--open",
            ]);
            assert!(wrong.contains("created other"));
            let at_node = ["--node", &node.url, "--experiment", "other", "--key", &keys[0]];
            let error =
                fail(&[&["bridge", "--learner", &addresses[0]][..], &SETUP, &at_node].concat());
            assert!(error.contains("create it with --media-type"), "{error}");
            node.stop();
            let audited = succeed(&["audit", data]);
            assert!(audited.contains("AUDIT OK"), "{audited}");
        }
    });
    done.await.unwrap();
    // Everybody's server has the same guess, between the private numbers.
    let mut guesses = Vec::new();
    for (_, server) in &servers {
        guesses.push(server.guess.lock().await.unwrap());
    }
    assert!(guesses.windows(2).all(|pair| pair[0] == pair[1]), "{guesses:?}");
    assert!((1.0..7.0).contains(&guesses[0]), "{guesses:?}");
}

/// A bridge follows the ledger like any learner: whoever stands between is not believed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_bridge_believes_nothing_but_the_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let node = NodeProcess::start(&dir.path().join("node"));
    let mut servers = Vec::new();
    let mut liars = Vec::new();
    for (private, lie) in [(3.0, Lie::Finish), (5.0, Lie::Verdict), (7.0, Lie::Proposal)] {
        servers.push(serve(Server::new(private)).await);
        liars.push(Proxy::start(&node.url, Some(lie)).await);
    }
    let (keys, initial) = (["a.pem", "b.pem", "c.pem"].map(path), path("initial.pkl"));
    std::fs::write(&initial, encode(0.0)).unwrap();
    let bridges = tokio::task::spawn_blocking({
        let servers: Vec<String> = servers.iter().map(|(at, _)| at.to_string()).collect();
        let url = node.url.clone();
        move || {
            keys.iter().for_each(|key| drop(succeed(&["key", "new", key])));
            let create = ["experiment", "create", "x", "--node", &url, "--key", &keys[0], "--open"];
            let rules = ["--weights", &initial, "--min-learners", "3", "--max-rounds", "4"];
            let kind = ["--media-type", "application/x-colearn-legacy", "--ballot", "sealed"];
            succeed(&[&create[..], &rules, &kind].concat());
            let take_part =
                |((server, key), (liar, url)): ((&String, &String), (Proxy, String))| {
                    let place = ["--node", &url, "--experiment", "x", "--key", key];
                    let mut bridge = Process::start(
                        &[&["bridge", "--learner", server], &SETUP[..], &place].concat(),
                    );
                    std::thread::spawn(move || {
                        let mut told = Vec::new();
                        while let Some(line) = bridge.line() {
                            if line.contains("NOT BELIEVED") {
                                liar.turn_honest();
                            }
                            told.push(line);
                        }
                        assert_eq!(bridge.wait(), Some(0), "{told:?}");
                        let noticed = told.iter().any(|line| line.contains("are not proven to be"));
                        assert!(liar.has_lied() && noticed, "{told:?}");
                        assert_eq!(told.last().unwrap(), "finished: max_rounds", "{told:?}");
                    })
                };
            let threads: Vec<_> = servers.iter().zip(&keys).zip(liars).map(take_part).collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        }
    });
    bridges.await.unwrap();
    let shown = succeed(&["experiment", "show", "x", "--node", &node.url, "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["history"]["rounds"].as_array().unwrap().len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holes_and_refusals_of_a_server_are_told() {
    let (address, _) = serve(Server { holes: true, ..Server::new(1.0) }).await;
    let told = tokio::task::spawn_blocking(move || {
        let learner = ["bridge", "--learner", &address.to_string(), "--initial", "/nowhere/x"]
            .map(str::to_owned);
        let learner: Vec<&str> = learner.iter().map(String::as_str).collect();
        let wrong = fail(&[&learner[..], &["--dataset", "CATS", "--model", "GUESS"]].concat());
        assert!(wrong.contains("cannot be set up: no data loader CATS"), "{wrong}");
        let error = fail(&[&learner[..], &SETUP].concat());
        assert!(error.contains("cannot write /nowhere/x"), "{error}");
        let nobody =
            fail(&[&["bridge", "--learner", "127.0.0.1:1", "--initial", "x"][..], &SETUP].concat());
        assert!(nobody.contains("no learner server answers at 127.0.0.1:1"), "{nobody}");
        let bad = [
            "bridge",
            "--learner",
            "x",
            "--dataset",
            "A",
            "--model",
            "B",
            "--model-parameters",
            "{",
        ];
        assert_eq!(run(&bad).status.code(), Some(2));
    });
    told.await.unwrap();
    // A proposal with a hole is an error, not zeros.
    let mut learner = BridgedLearner::connect(&address.to_string(), setup()).await.unwrap();
    let proposed =
        tokio::task::spawn_blocking(move || learner.propose().map_err(|error| error.to_string()));
    let error = proposed.await.unwrap().unwrap_err();
    assert!(error.contains("a hole: a part for 4000000 at 0"), "{error}");
}

fn setup() -> Setup {
    Setup {
        dataset: "NUMBERS".to_owned(),
        model: "GUESS".to_owned(),
        model_parameters: "{\"a\": 1}".to_owned(),
        ..Setup::default()
    }
}

/// A server with a runtime of its own: with that everything of it ends, its connections too.
fn live(listener: std::net::TcpListener) -> (Runtime, Arc<Server>) {
    let life = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    listener.set_nonblocking(true).unwrap();
    let (_, server) = life
        .block_on(async { serve_at(TcpListener::from_std(listener).unwrap(), Server::new(3.0)) });
    (life, server)
}

#[test]
fn a_server_that_goes_away_is_waited_for_and_set_up_again() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (life, _) = live(listener);
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let at = address.to_string();
    let mut learner = runtime.block_on(BridgedLearner::connect(&at, setup())).unwrap();
    let weights = |guess| Weights::new(encode(guess));

    life.shutdown_timeout(std::time::Duration::from_secs(60));
    learner.accept(&weights(5.0)).unwrap();
    let score = learner.test(&weights(4.0)).unwrap();
    assert_eq!(score.judgement, Judgement::Abstain(Some(Reason::Failed)));
    let error = learner.propose().unwrap_err().to_string();
    assert!(error.starts_with("the learner server is away: "), "{error}");

    // It is tried once in vain, and then a new one is there, which knows nothing.
    let mut learner = learner.patient(&Parameters::default());
    let listener = std::net::TcpListener::bind(address).unwrap();
    let back = std::thread::spawn(move || {
        drop(listener.accept().unwrap());
        live(listener)
    });
    let score = learner.test(&weights(4.0)).unwrap();
    let (_life, server) = back.join().unwrap();
    assert_eq!((score.judgement, score.vote), (Judgement::Approve, -1.0));
    let guess = runtime.block_on(async { *server.guess.lock().await });
    assert_eq!(guess, Some(5.0), "it has what was accepted while it was away");
}
