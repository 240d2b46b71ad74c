//! Starting real processes and talking to them.

pub(crate) mod browser;
pub(crate) mod network;
pub(crate) mod terminal;

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use colearn::supervise;
use colearn_contracts::{
    Act, Action, Admission, CreateExperiment, ExperimentName, Join, LearnerId, Parameters, VERSION,
    terms,
};
use colearn_sdk::client::{Client, Credential, Followed, Memory, Nodes};
use colearn_sdk::learner::{Learner, Proposed, Result, SAFETENSORS, Score, Weights};
use ed25519_dalek::SigningKey;
use socket2::{Domain, Socket, Type};
use tonic::transport::{Channel, Endpoint};

/// Longer than anything here takes on the slowest machine.
const DEADLINE: Duration = Duration::from_secs(120);

pub(crate) fn colearn(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_colearn"));
    command
        .args(arguments)
        .env_remove("COLEARN_NODE")
        .env_remove("NO_COLOR")
        .env("COLEARN_LOG", "warn,sled=off");
    command
}

/// Runs a command to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    colearn(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Runs a command that must succeed, and gives its output.
pub(crate) fn succeed(arguments: &[&str]) -> String {
    let output = run(arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Runs a command that must fail with one line that says why, and gives that line.
pub(crate) fn fail(arguments: &[&str]) -> String {
    let output = run(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines.len(), 1, "one line, not: {stderr}");
    if arguments.contains(&"--json") {
        let told: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
        return format!("error: {}", told["error"].as_str().unwrap());
    }
    assert!(lines[0].starts_with("error: "), "{stderr}");
    lines[0].to_owned()
}

/// Polls until something is there.
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(started.elapsed() < DEADLINE, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A child process that is killed when it goes out of scope.
pub(crate) struct Process(supervise::Process);

impl Process {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self(supervise::Process::start(colearn(arguments)).unwrap())
    }

    /// One that was started otherwise.
    pub(crate) fn of(process: supervise::Process) -> Self {
        Self(process)
    }

    /// The next line of output; `None` at its end.
    pub(crate) fn line(&mut self) -> Option<String> {
        self.0.line().unwrap()
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
    }

    pub(crate) fn terminate(&mut self) {
        self.0.terminate().unwrap();
    }

    /// Waits for its end, and gives the exit code.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.0.wait(DEADLINE).unwrap().expect("the process ends").code()
    }
}

/// A running node.
pub(crate) struct NodeProcess {
    pub(crate) process: Process,
    pub(crate) url: String,
    pub(crate) started: serde_json::Value,
}

impl NodeProcess {
    pub(crate) fn start(data: &Path) -> Self {
        Self::start_at(data, "127.0.0.1:0")
    }

    pub(crate) fn start_at(data: &Path, listen: &str) -> Self {
        Self::start_with(data, &["--listen", listen])
    }

    pub(crate) fn start_with(data: &Path, more: &[&str]) -> Self {
        Self::start_command(Self::command(data, more))
    }

    /// What starts a node. One that is not about that serves no metrics: its next port may be another test's.
    pub(crate) fn command(data: &Path, more: &[&str]) -> Command {
        let arguments = ["node", "--json", "--data", data.to_str().unwrap()];
        let ops = ["--ops-listen", "off"];
        let ops = if more.contains(&"--ops-listen") { &[][..] } else { &ops };
        colearn(&[&arguments[..], more, ops].concat())
    }

    pub(crate) fn start_command(command: Command) -> Self {
        let supervise::NodeProcess { process, started, url } =
            supervise::NodeProcess::start(command).unwrap();
        Self { process: Process(process), url, started }
    }

    pub(crate) fn address(&self) -> String {
        self.url.strip_prefix("http://").unwrap().to_owned()
    }

    /// kill -9, then start again on the same data and port.
    pub(crate) fn kill_and_restart(&mut self, data: &Path) {
        self.process.kill();
        *self = Self::start_at(data, &self.address());
    }

    pub(crate) fn stop(mut self) {
        self.process.terminate();
        assert_eq!(self.process.wait(), Some(0));
    }
}

/// The body of an HTTP answer, and its status.
pub(crate) fn http(url: &str) -> (u16, Vec<u8>) {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut answer = agent.get(url).call().unwrap();
    (answer.status().as_u16(), answer.body_mut().read_to_vec().unwrap())
}

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

pub(crate) fn id(key: &SigningKey) -> LearnerId {
    colearn_records::keys::learner_id(key)
}

pub(crate) fn name(text: &str) -> ExperimentName {
    text.parse().unwrap()
}

/// A connection that remembers, for tests that speak for a learner by hand.
pub(crate) struct Speaker {
    pub(crate) client: Client,
    pub(crate) followed: Followed,
}

impl Speaker {
    pub(crate) async fn connect(url: &str) -> Self {
        Self::remembering(url, Memory::default()).await
    }

    /// With a memory of its own.
    pub(crate) async fn remembering(url: &str, memory: Memory) -> Self {
        let followed = Followed::connect(url, memory).await.unwrap();
        Self { client: followed.client().clone(), followed }
    }

    /// As the holder of a key, where a node wants to know who asks.
    pub(crate) async fn connect_as(url: &str, key: &SigningKey) -> Self {
        let nodes = Nodes::from(url).signed_by(Credential::new(key));
        let followed = Followed::connect(nodes, Memory::default()).await.unwrap();
        Self { client: followed.client().clone(), followed }
    }

    /// Signs and submits; the entry's index. A join that names no terms names those that the node
    /// shows.
    pub(crate) async fn act(
        &mut self,
        key: &SigningKey,
        action: Action,
    ) -> std::result::Result<u64, colearn_sdk::client::ClientError> {
        let action = self.agree(action).await;
        Ok(self.followed.act(key, action).await?.receipt.index)
    }

    /// The action, a join with the terms that the node shows.
    pub(crate) async fn agree(&mut self, mut action: Action) -> Action {
        if let Act::Join(join @ Join { terms: None, .. }) = &mut action.what
            && let Ok(described) = self.client.experiment(&action.experiment, None).await
        {
            join.terms = Some(described.experiment.terms);
        }
        action
    }

    /// Creates an open experiment with these initial weights.
    pub(crate) async fn create(&mut self, experiment: &str, weights: &Weights, max_rounds: u64) {
        self.client.upload(weights).await.unwrap();
        let parameters = parameters(max_rounds);
        let model = weights.model(SAFETENSORS);
        let admission = Admission::Open;
        let version = VERSION.number();
        let create = CreateExperiment { version, parameters, admission, model, plan: None };
        let action = Action::new(name(experiment), Act::Create(create));
        self.act(&key(200), action).await.unwrap();
    }
}

/// The rules of what [`Speaker::create`] creates.
fn parameters(max_rounds: u64) -> Parameters {
    Parameters {
        max_rounds: Some(max_rounds),
        idle_rotations: None,
        missed_turns: None,
        creator_may_stop: true,
        max_weights_bytes: 1 << 20,
        ..Parameters::default()
    }
}

/// Joins what [`Speaker::create`] creates.
pub(crate) fn join(experiment: &str, max_rounds: u64, term: u32) -> Action {
    let terms = terms(VERSION, id(&key(200)), &parameters(max_rounds), &Admission::Open);
    Action::new(name(experiment), Act::Join(Join::new(term, Some(terms))))
}

/// A learner whose model is a number: it proposes the next one and approves what is larger.
pub(crate) struct Counter {
    pub(crate) value: u64,
}

impl Counter {
    pub(crate) fn weights(value: u64) -> Weights {
        Weights::new(value.to_be_bytes().to_vec())
    }

    fn value_of(weights: &Weights) -> Result<u64> {
        let bytes: &[u8] = weights.bytes();
        Ok(u64::from_be_bytes(bytes.try_into().map_err(|_| "a counter has 8 bytes")?))
    }
}

impl Learner for Counter {
    fn propose(&mut self) -> Result<Proposed> {
        Ok(Proposed::Weights(Self::weights(self.value + 1)))
    }

    fn test(&mut self, weights: &Weights) -> Result<Score> {
        let value = Self::value_of(weights)?;
        Ok(Score::new(value as f64, value > self.value))
    }

    fn accept(&mut self, weights: &Weights) -> Result<()> {
        self.value = Self::value_of(weights)?;
        Ok(())
    }

    fn current(&self) -> Weights {
        Self::weights(self.value)
    }
}

/// A CSV of two classes that a straight line separates.
pub(crate) fn write_csv(dir: &Path) -> PathBuf {
    let path = dir.join("points.csv");
    let mut text = String::from("x,y,class\n");
    for i in 0..200 {
        let (x, y) = (f64::from(i % 20) / 20.0, f64::from(i / 20) / 10.0);
        text += &format!("{x},{y},{}\n", if x + y > 0.9 { "high" } else { "low" });
    }
    std::fs::write(&path, text).unwrap();
    path
}

/// An address nobody listens on.
pub(crate) fn closed_port() -> SocketAddr {
    colearn_testkit::free_address()
}

/// Copies a folder.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let (from, to) = (file.path(), to.join(file.file_name()));
        if from.is_dir() { copy(&from, &to) } else { std::fs::copy(&from, &to).map(drop).unwrap() }
    }
}

/// Copies the first version's folder.
pub(crate) fn copy_frozen(data: &Path) {
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frozen/v1"), data);
    // git does not keep this mode.
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(data.join("node.pem"), private).unwrap();
}

/// A channel to a node, for a client that is no client of ours.
pub(crate) async fn channel(url: &str) -> Channel {
    Endpoint::from_shared(url.to_owned()).unwrap().connect().await.unwrap()
}

/// Somebody else, at another address of this machine.
pub(crate) const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A channel from another address of this machine.
pub(crate) async fn channel_from(from: Ipv4Addr, url: &str) -> Channel {
    let endpoint = Endpoint::from_shared(url.to_owned()).unwrap();
    endpoint.local_address(Some(from.into())).connect().await.unwrap()
}

/// A connection from another address of this machine.
pub(crate) fn connect_from(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.into()
}
