//! Weights elsewhere: in an S3 server on this machine, what happens when that is gone, and in another folder.

use std::io::Read as _;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use colearn_proto::v1;
use colearn_proto::v1::artifact_service_client::ArtifactServiceClient;
use colearn_sdk::client::{Client, Nodes, TlsTrust};
use colearn_sdk::learner::{SAFETENSORS, Weights};
use tonic::Code;

use crate::merges;
use crate::proxy::Proxy;
use crate::support::{Counter, NodeProcess, Speaker, channel, colearn, http, succeed, wait_for};

/// A secret that is to be nowhere but where it is given.
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/notAnywhere";

/// Moto, which speaks as S3 does, and forgets all when it ends.
struct Store {
    child: Child,
    address: std::net::SocketAddr,
}

impl Store {
    fn start() -> Option<Self> {
        let python = std::env::var("COLEARN_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let has = Command::new(&python).args(["-c", "import moto.server, flask"]).output();
        if !has.is_ok_and(|output| output.status.success()) {
            colearn_testkit::skip("moto", "pip install -r python/requirements-store.txt");
            return None;
        }
        let address = colearn_testkit::free_address();
        Some(Self::at(&python, address))
    }

    fn at(python: &str, address: std::net::SocketAddr) -> Self {
        let port = address.port().to_string();
        let serve = ["-m", "moto.server", "-H", "127.0.0.1", "-p", &port];
        let mut command = Command::new(python);
        command.args(serve).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let store = Self { child, address };
        wait_for("moto", || TcpStream::connect(address).ok());
        ureq::put(store.url("")).send_empty().unwrap();
        store
    }

    /// The same, after it has forgotten everything.
    fn again(mut self) -> Self {
        let address = self.stop();
        let python = std::env::var("COLEARN_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        Self::at(&python, address)
    }

    fn stop(&mut self) -> std::net::SocketAddr {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.address
    }

    fn url(&self, name: &str) -> String {
        format!("http://{}/models{name}", self.address)
    }

    /// What is under a name there. Moto looks whether somebody signs, and not who.
    fn object(&self, name: &str) -> Option<Vec<u8>> {
        let signed = "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request, \
                      SignedHeaders=host, Signature=0";
        let asked = ureq::get(self.url(&format!("/of/node/{name}")));
        let mut answer = asked.header("authorization", signed).call().ok()?;
        let mut whole = Vec::new();
        answer.body_mut().as_reader().read_to_end(&mut whole).unwrap();
        Some(whole)
    }

    fn command(&self, data: &Path, place: &str) -> Command {
        let more = ["--listen", "127.0.0.1:0", "--artifacts", place, "--log-level", "debug"];
        let more = [&more[..], &["--presigned", "5min"]].concat();
        self.known(NodeProcess::command(data, &more))
    }

    /// With what says who one is there.
    fn known(&self, mut command: Command) -> Command {
        command.env("AWS_ENDPOINT_URL", format!("http://{}", self.address));
        command.env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE");
        command.env("AWS_SECRET_ACCESS_KEY", SECRET);
        command.env("AWS_REGION", "us-east-1");
        command
    }

    /// What `colearn artifacts` prints of a stopped node's weights.
    fn artifacts(&self, arguments: &[&str], data: &Path) -> serde_json::Value {
        let more = ["--data", data.to_str().unwrap(), "--json"];
        let arguments = [&["artifacts"], arguments, &more].concat();
        let output = self.known(colearn(&arguments)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A node that keeps its weights there, and where it logs.
    fn node(&self, data: &Path, log: &Path) -> NodeProcess {
        let mut command = self.command(data, "s3://models/of/node");
        command.stderr(std::fs::File::create(log).unwrap());
        NodeProcess::start_command(command)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn code(node: &NodeProcess, weights: &Weights) -> Code {
    let mut artifacts = ArtifactServiceClient::new(channel(&node.url).await);
    let digest = bytes::Bytes::copy_from_slice(&weights.digest().0);
    let asked = v1::DownloadArtifactRequest { digest, offset: 0 };
    artifacts.download_artifact(asked).await.map_or_else(|status| status.code(), |_| Code::Ok)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_are_kept_in_an_object_store_and_its_outage_is_no_loss() {
    let Some(mut store) = Store::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (data, log) = (dir.path().join("data"), dir.path().join("log"));
    let node = store.node(&data, &log);
    // In one piece, and in parts; from its beginning, and from somewhere.
    let client = Client::connect(&node.url).await.unwrap();
    let large: Vec<u8> = (0..(20 << 20) + 7).map(|at: u32| (at % 251) as u8).collect();
    let (small, large) = (Counter::weights(70), Weights::new(large));
    for weights in [&small, &large] {
        client.upload(weights).await.unwrap();
        let found = client.download(&weights.model(SAFETENSORS)).await.unwrap();
        assert_eq!(found.digest(), weights.digest());
        assert_eq!(store.object(&weights.digest().to_string()).unwrap(), weights.bytes()[..]);
    }
    // Whoever has named the store has them from there, and nothing of them from the node.
    let (proxy, between) = Proxy::start(&node.url, None).await;
    proxy.withhold(large.digest());
    let trust = TlsTrust::of_process().fetching_from(vec![store.url("")]);
    let direct = Client::connect(Nodes::from(&between).trusting(trust)).await.unwrap();
    let found = direct.download(&large.model(SAFETENSORS)).await.unwrap();
    assert_eq!(found.digest(), large.digest());
    let url = format!("{}/artifact/{}", node.url, large.digest());
    let mut tail = ureq::get(&url).header("range", "bytes=20971520-").call().unwrap();
    assert_eq!(tail.body_mut().read_to_vec().unwrap(), large.bytes()[20 << 20..]);
    let kept: Vec<_> = std::fs::read_dir(data.join("artifacts"))
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(kept.len() == 2 && kept.iter().all(|it| it == "partial" || it == "elsewhere"));
    // Rounds are merged from there, too.
    let model = merges::two_rounds(&node, dir.path()).await;
    assert!(store.object(&model.digest.to_string()).is_some());

    // A stopped node's are listed and let go of where they are.
    let listed = succeed(&["artifacts", "list", "--node", &node.url, "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    node.stop();
    let stopped = store.artifacts(&["list"], &data);
    assert_eq!(stopped["kinds"], listed["kinds"]);
    let digests = |of: &serde_json::Value| {
        let all = of["artifacts"].as_array().unwrap().clone();
        all.iter().map(|it| it["digest"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(digests(&stopped), digests(&listed));
    assert_eq!(stopped["lost"], serde_json::json!([]));
    let prune = ["prune", "--keep-artifacts", "accepted", "--keep-updates", "0"];
    let goes = store.artifacts(&prune, &data)["artifacts"].as_array().unwrap().clone();
    assert!(!goes.is_empty() && goes.iter().all(|it| it["kind"] == "update"), "{goes:?}");
    let names: Vec<&str> = goes.iter().map(|it| it["digest"].as_str().unwrap()).collect();
    assert!(names.iter().all(|name| store.object(name).is_some()));
    store.artifacts(&[&prune[..], &["--yes"]].concat(), &data);
    assert!(names.iter().all(|name| store.object(name).is_none()));
    let node = store.node(&data, &log);
    let client = Client::connect(&node.url).await.unwrap();
    let url = format!("{}/artifact/{}", node.url, large.digest());

    // The store is gone for a while: the weights are not.
    store.stop();
    assert_eq!(code(&node, &small).await, Code::Unavailable);
    assert_eq!(http(&url).0, 503);
    assert_eq!(http(&format!("{}/artifact/{}", node.url, "0".repeat(64))).0, 404);
    let new = Counter::weights(71);
    let error = client.upload(&new).await.unwrap_err().to_string();
    assert!(error.contains("artifact store"), "{error}");
    assert_eq!(http(&format!("{}/checkpoint", node.url)).0, 200);
    // It comes back, and has forgotten all: what is to be had is said to be lost, and can be brought again. What did
    // not get there has been kept.
    let store = store.again();
    assert_eq!(code(&node, &small).await, Code::NotFound);
    for weights in [&new, &small] {
        client.upload(weights).await.unwrap();
        assert_eq!(code(&node, weights).await, Code::Ok);
    }
    Speaker::connect(&node.url).await.create("y", &Counter::weights(9), 3).await;
    node.stop();
    let store = store.again();
    let node = store.node(&data, &dir.path().join("log2"));
    let text = succeed(&["artifacts", "list", "--node", &node.url]);
    let lost = format!("lost: {}, which y needs", Counter::weights(9).digest());
    assert!(text.contains(&lost), "{text}");
    node.stop();
    let told = std::fs::read_to_string(dir.path().join("log2")).unwrap();
    assert!(told.contains("the model's weights are lost here"), "{told}");

    // What cannot be is said at the start; what is secret is said nowhere.
    let refused = |command: Command| {
        let mut command = command;
        let output = command.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let none = refused(store.command(&data, "s3://nowhere/x"));
    assert!(none.contains("NoSuchBucket"), "{none}");
    let mut plain = store.command(&data, "s3://models/x");
    plain.env("AWS_ENDPOINT_URL", "http://store.example:9");
    let plain = refused(plain);
    assert!(plain.contains("is not encrypted"), "{plain}");
    let logged = std::fs::read_to_string(&log).unwrap();
    for told in [&none, &plain, &told, &logged] {
        assert!(!told.contains(SECRET) && !told.contains("AKIAIOSFODNN7EXAMPLE"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_are_kept_in_another_folder() {
    let dir = tempfile::tempdir().unwrap();
    let (data, place) = (dir.path().join("data"), dir.path().join("large/disk"));
    let at = format!("file:{}", place.display());
    let listen = ["--listen", "127.0.0.1:0"];
    let there = [&listen[..], &["--artifacts", &at]].concat();
    let node = NodeProcess::start_with(&data, &there);
    let weights = Counter::weights(5);
    Speaker::connect(&node.url).await.create("x", &weights, 3).await;
    let digest = weights.digest().to_string();
    assert!(place.join(&digest).exists() && !data.join("artifacts").join(&digest).exists());
    assert_eq!(code(&node, &weights).await, Code::Ok);
    node.stop();
    let node = NodeProcess::start_with(&data, &there);
    assert_eq!(code(&node, &weights).await, Code::Ok);
    node.stop();
    // Started without, it says where they were; and with less than an experiment allows, that.
    let log = dir.path().join("log");
    let small = [&listen[..], &["--max-artifact-bytes", "1000000"]].concat();
    let mut command = NodeProcess::command(&data, &small);
    command.stderr(std::fs::File::create(&log).unwrap());
    let node = NodeProcess::start_command(command);
    assert_eq!(code(&node, &weights).await, Code::NotFound);
    node.stop();
    let told = std::fs::read_to_string(&log).unwrap();
    assert!(told.contains("were kept elsewhere so far") && told.contains(&at), "{told}");
    assert!(told.contains("allows larger models than this node takes"), "{told}");
    // Once it has been used, a disk that is not mounted is no empty folder.
    NodeProcess::start_with(&data, &there).stop();
    std::fs::rename(&place, dir.path().join("away")).unwrap();
    std::fs::create_dir(&place).unwrap();
    let output = NodeProcess::command(&data, &there).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("is its disk mounted?"), "{told}");
    for bad in ["file:here", "s3://", "ftp://x", "s3://key:secret@models"] {
        let output = colearn(&["node", "--data", "x", "--artifacts", bad]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{bad}");
    }
}
