//! Who gets in: TLS with real certificates, proxies, IPv6, and connections that are of no use.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use colearn_contracts::{Act, Action, Admission, CreateExperiment, Parameters, VERSION};
use colearn_net::{Address, Fingerprint, Http, Trust};
use colearn_proto::v1;
use colearn_proto::v1::ledger_service_client::LedgerServiceClient;
use colearn_sdk::client::{self, Nodes, Options, TlsTrust};
use colearn_sdk::learner::SAFETENSORS;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::support::{
    Counter, NodeProcess, Process, STRANGER, Speaker, channel_from, colearn, connect_from, fail,
    key, name, succeed, wait_for,
};

/// An authority of its own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn keep(&self, path: &Path) {
        std::fs::write(path, self.0.pem()).unwrap();
    }

    /// Writes a certificate for a name, and its key.
    fn vouch(&self, name: &str, dir: &Path, file: &str) -> [String; 2] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let paths = [dir.join(format!("{file}.pem")), dir.join(format!("{file}-key.pem"))];
        std::fs::write(&paths[0], certificate.pem()).unwrap();
        std::fs::write(&paths[1], key.serialize_pem()).unwrap();
        paths.map(|path| path.to_str().unwrap().to_owned())
    }
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A folder with an authority in it, and its certificate for this machine.
fn with_authority() -> (tempfile::TempDir, Authority, PathBuf, [String; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let ca = dir.path().join("ca.pem");
    authority.keep(&ca);
    let files = authority.vouch("127.0.0.1", dir.path(), "node");
    (dir, authority, ca, files)
}

fn error_of(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_certificate_that_a_node_made_is_known_by_its_fingerprint() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let node = NodeProcess::start_with(&data, &["--listen", "127.0.0.1:0", "--tls-self-signed"]);
    let (url, pin) = node.url.split_once('#').unwrap();
    assert!(url.starts_with("https://127.0.0.1:") && pin.starts_with("sha256:"), "{}", node.url);
    let ask = |url: &str| colearn(&["experiment", "list", "--node", url]).output().unwrap();
    assert!(ask(&node.url).status.success());
    // As `openssl x509 -fingerprint` shows it.
    let bytes = hex::decode(&pin["sha256:".len()..]).unwrap();
    let colons: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    assert!(ask(&format!("{url}#sha256:{}", colons.join(":"))).status.success());

    let unknown = error_of(&ask(url));
    assert!(unknown.contains("nobody whom you believe vouches for its certificate"), "{unknown}");
    assert!(unknown.contains("#sha256:"), "{unknown}");
    let other = format!("{url}#sha256:{}", "0".repeat(64));
    let error = error_of(&ask(&other));
    assert!(error.contains(&format!("its certificate is {pin}, not sha256:0000")), "{error}");
    let plain = url.replacen("https", "http", 1);
    let error = error_of(&ask(&plain));
    assert!(error.contains("it speaks TLS; is its address https://"), "{error}");
    // Audits, too; and the files are as they should be.
    let verdict = succeed(&["audit", &node.url]);
    assert!(verdict.contains("AUDIT OK"), "{verdict}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let key = std::fs::metadata(data.join("tls-key.pem")).unwrap();
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
        // Everybody's weights are in there: they are for its user alone, whatever the umask was.
        for path in ["", "ledger", "ledger/journal/00000000.journal", "artifacts"] {
            let mode = std::fs::metadata(data.join(path)).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{path}");
        }
    }
    // Started again it is the same.
    let before = node.url.clone();
    let listen = url.strip_prefix("https://").unwrap().to_owned();
    node.stop();
    let node = NodeProcess::start_with(&data, &["--listen", &listen, "--tls-self-signed"]);
    assert_eq!(node.url, before);
}

#[test]
fn whoever_does_not_speak_tls_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let node = NodeProcess::start_with(&data, &["--listen", "127.0.0.1:0", "--tls-self-signed"]);
    let (url, _) = node.url.split_once('#').unwrap();
    let address = url.strip_prefix("https://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /checkpoint HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("use https://"), "{answer}");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"POST /validator-change HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let error = fail(&["audit", &url.replacen("https", "http", 1)]);
    assert!(error.contains("this port speaks TLS"), "{error}");
    // The other way round: TLS is asked for, and there is none.
    let plain = NodeProcess::start(&dir.path().join("plain"));
    let error = fail(&["experiment", "list", "--node", &plain.url.replacen("http", "https", 1)]);
    assert!(error.contains("it does not speak TLS; is its address http://"), "{error}");
    // And nobody is there at all.
    let free = colearn_testkit::free_address();
    let error = fail(&["experiment", "list", "--node", &format!("https://{free}")]);
    assert!(error.contains("no node answers at https://"), "{error}");
}

#[test]
fn a_certificate_is_read_anew_when_it_changes() {
    let (dir, authority, ca, files) = with_authority();
    let data = dir.path().join("data");
    let tls = ["--listen", "127.0.0.1:0", "--tls-cert", &files[0], "--tls-key", &files[1]];
    let node = NodeProcess::start_with(&data, &tls);
    // One that is renewed is not in the address.
    let (url, before) = (&node.url[..], node.started["fingerprint"].as_str().unwrap());
    let by_authority = ["experiment", "list", "--node", url, "--ca", shown(&ca)];
    succeed(&by_authority);
    let pinned = |pin: &str| {
        let address = format!("{url}#{pin}");
        colearn(&["experiment", "list", "--node", &address]).output().unwrap().status.success()
    };
    assert!(pinned(before));
    let hang_up = || {
        let pid = rustix::process::Pid::from_raw(node.process.id() as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    };
    // Half of a new one, and the old one stays; the other half comes, and nobody says so.
    let key = std::fs::read(&files[1]).unwrap();
    std::fs::write(&files[1], &key[..key.len() / 2]).unwrap();
    hang_up();
    assert!(pinned(before));
    authority.vouch("127.0.0.1", dir.path(), "node");
    wait_for("the new certificate is shown", || (!pinned(before)).then_some(()));
    let before = {
        let pem = std::fs::read(&files[0]).unwrap();
        let der = CertificateDer::from_pem_slice(&pem).unwrap();
        Fingerprint::of(&der).to_string()
    };
    let before = &before[..];
    assert!(pinned(before));
    authority.vouch("127.0.0.1", dir.path(), "node");
    hang_up();
    wait_for("the new certificate is shown", || (!pinned(before)).then_some(()));
    succeed(&by_authority);
    // Another authority is not believed, whatever the system believes.
    let other = dir.path().join("other.pem");
    Authority::new().keep(&other);
    let error = fail(&["experiment", "list", "--node", url, "--ca", shown(&other)]);
    assert!(error.contains("nobody whom you believe"), "{error}");
    let error =
        fail(&["experiment", "list", "--node", url, "--ca", shown(&dir.path().join("none"))]);
    assert!(error.contains("--ca") && error.contains("none"), "{error}");
    let name = url.replace("127.0.0.1", "localhost");
    let error = fail(&["experiment", "list", "--node", &name, "--ca", shown(&ca)]);
    assert!(error.contains("its certificate is for another name"), "{error}");
}

#[test]
fn clients_show_certificates_where_a_node_asks_for_them() {
    let (dir, authority, ca, files) = with_authority();
    let clients = Authority::new();
    let client_ca = dir.path().join("clients.pem");
    clients.keep(&client_ca);
    let data = dir.path().join("data");
    let mut tls = vec!["--listen", "127.0.0.1:0", "--tls-cert", &files[0], "--tls-key", &files[1]];
    tls.extend(["--client-ca", shown(&client_ca)]);
    let node = NodeProcess::start_with(&data, &tls);
    let ask = ["experiment", "list", "--node", &node.url, "--ca", shown(&ca)];
    let mine = clients.vouch("ann", dir.path(), "ann");
    succeed(&[&ask[..], &["--client-cert", &mine[0], "--client-key", &mine[1]]].concat());
    let error = fail(&ask);
    assert!(
        error.contains("certificate of a client") || error.contains("CertificateRequired"),
        "{error}"
    );
    // Of an authority that vouches for servers only.
    let other = authority.vouch("bob", dir.path(), "bob");
    fail(&[&ask[..], &["--client-cert", &other[0], "--client-key", &other[1]]].concat());
    let error = fail(&[&ask[..], &["--client-cert", &mine[0]]].concat());
    assert!(error.contains("go together"), "{error}");
    // The environment does as well, for programs that have no flags.
    let output = colearn(&ask)
        .env("COLEARN_CLIENT_CERT", &mine[0])
        .env("COLEARN_CLIENT_KEY", &mine[1])
        .output()
        .unwrap();
    assert!(output.status.success());
}

#[test]
fn where_others_can_listen_a_node_wants_tls() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let everywhere = ["node", "--data", shown(&data), "--listen", "0.0.0.0:0"];
    let error = fail(&everywhere);
    assert!(error.contains("--tls-self-signed") && error.contains("--insecure"), "{error}");
    assert!(!data.exists(), "nothing was begun");
    NodeProcess::start_with(&data, &["--listen", "0.0.0.0:0", "--insecure"]).stop();
    let missing = dir.path().join("no.pem");
    let error =
        fail(&[&everywhere[..], &["--tls-cert", shown(&missing), "--tls-key", "x"]].concat());
    assert!(error.contains("no.pem") && error.contains("PEM"), "{error}");
    // IPv6 as well, where this machine has it.
    if TcpListener::bind("[::1]:0").is_ok() {
        let six = ["--listen", "[::1]:0", "--tls-self-signed"];
        let node = NodeProcess::start_with(&data, &six);
        assert!(node.url.starts_with("https://[::1]:"), "{}", node.url);
        succeed(&["experiment", "list", "--node", &node.url]);
        assert!(succeed(&["audit", &node.url]).contains("AUDIT OK"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn witnesses_have_the_same_door() {
    let (dir, authority, ca, files) = with_authority();
    let clients = Authority::new();
    let client_ca = dir.path().join("clients.pem");
    clients.keep(&client_ca);
    let mine = clients.vouch("node", dir.path(), "of-node");
    let data = dir.path().join("data");
    let node = NodeProcess::start(&data);
    let log = node.started["verifier_key"].as_str().unwrap().to_owned();
    node.stop();

    // Where others can listen.
    let folders = ["made", "given"].map(|name| dir.path().join(name));
    let witness = ["witness", "--json", "--log", &log];
    let everywhere = ["--listen", "0.0.0.0:0", "--data", shown(&folders[0])];
    let error = fail(&[&witness[..], &everywhere].concat());
    assert!(error.contains("--tls-self-signed") && error.contains("--insecure"), "{error}");

    let start = |data: &Path, more: &[&str]| {
        let here = ["--listen", "127.0.0.1:0", "--data", shown(data)];
        let mut process = Process::start(&[&witness[..], &here, more].concat());
        let started: serde_json::Value = serde_json::from_str(&process.line().unwrap()).unwrap();
        let text = |field: &str| started[field].as_str().unwrap().to_owned();
        (process, text("address"), text("verifier_key"), text("fingerprint"))
    };
    let (_made, made_url, made_key, made_print) = start(&folders[0], &["--tls-self-signed"]);
    assert!(made_url.ends_with(&format!("#{made_print}")), "{made_url}");
    let given = ["--tls-cert", &files[0], "--tls-key", &files[1], "--client-ca", shown(&client_ca)];
    let (mut given, given_url, given_key, given_print) = start(&folders[1], &given);
    assert!(given_url.starts_with("https://") && !given_url.contains('#'), "{given_url}");

    // A node reaches both: the one by its fingerprint, the other by its authority, showing who it is itself.
    let by = [format!("a={made_key}@{made_url}"), format!("b={given_key}@{given_url}")];
    let trusting = ["--ca", shown(&ca), "--client-cert", &mine[0], "--client-key", &mine[1]];
    let asking = ["--listen", "127.0.0.1:0", "--witness", &by[0], "--witness", &by[1]];
    let node = NodeProcess::start_with(&data, &[&asking[..], &trusting].concat());
    wait_for("both cosign", || {
        let answer = ureq::get(format!("{}/checkpoint", node.url)).call().unwrap();
        let said = answer.headers().get("colearn-witnessed").unwrap().to_str().unwrap();
        (said == "witnessed; cosignatures=2 quorum=2").then_some(())
    });

    let ask = async |url: &str, trust: &Trust| {
        let address: Address = url.parse().unwrap();
        let http = Http::new(&address, trust, Duration::from_secs(10)).unwrap();
        let asked = http.post("/add-checkpoint", b"old 0".as_slice().into(), 4096).await;
        asked.map(|answer| answer.status).map_err(|error| error.to_string())
    };
    let nobody = Trust::new(Some(ca.clone()), None);
    assert_eq!(ask(&made_url, &nobody).await, Ok(400));
    let plain = made_url.split_once('#').unwrap().0;
    let error = ask(plain, &nobody).await.unwrap_err();
    assert!(error.contains("nobody whom you believe"), "{error}");
    let mut error = ask(&given_url, &nobody).await.unwrap_err();
    // Who shows no certificate is refused after its own part of the handshake: it may learn only that the
    // connection has ended.
    for _ in 0..50 {
        if error.contains("certificate") {
            break;
        }
        error = ask(&given_url, &nobody).await.unwrap_err();
    }
    assert!(error.contains("certificate"), "{error}");
    // The key that it made is its user's alone.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let key = std::fs::metadata(folders[0].join("tls-key.pem")).unwrap();
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
        // What is renewed is shown when it is told so.
        let [certificate, key] = mine.map(PathBuf::from);
        let known = Trust::new(None, Some(colearn_net::Identity { certificate, key }));
        let pinned = format!("{given_url}#{given_print}");
        assert_eq!(ask(&pinned, &known).await, Ok(400));
        authority.vouch("127.0.0.1", dir.path(), "node");
        let pid = rustix::process::Pid::from_raw(given.id() as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
        let asking = tokio::runtime::Handle::current();
        wait_for("the new certificate is shown", || {
            let asked = tokio::task::block_in_place(|| asking.block_on(ask(&pinned, &known)));
            asked.is_err().then_some(())
        });
    }
    given.terminate();
    assert_eq!(given.wait(), Some(0));
}

/// A proxy that leads wherever it is asked to, to this machine.
struct Tunnels {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Tunnels {
    fn start(leads_to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let told = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, told) = (stream.unwrap(), told.clone());
                std::thread::spawn(move || {
                    let mut head = Vec::new();
                    let mut byte = [0];
                    while !head.ends_with(b"\r\n\r\n") {
                        if stream.read(&mut byte).unwrap_or(0) == 0 {
                            return;
                        }
                        head.push(byte[0]);
                    }
                    let head = String::from_utf8(head).unwrap();
                    told.lock().unwrap().push(head.lines().next().unwrap().to_owned());
                    let Ok(mut to) = TcpStream::connect(leads_to) else { return };
                    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
                    let (mut back, mut forth) =
                        (stream.try_clone().unwrap(), to.try_clone().unwrap());
                    std::thread::spawn(move || std::io::copy(&mut forth, &mut back));
                    let _ = std::io::copy(&mut stream, &mut to);
                });
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

#[test]
fn proxies_of_the_environment_are_used_and_never_for_this_machine() {
    let (dir, authority, ca, _) = with_authority();
    let files = authority.vouch("node.test", dir.path(), "named");
    let tls = ["--listen", "127.0.0.1:0", "--tls-cert", &files[0], "--tls-key", &files[1]];
    let node = NodeProcess::start_with(&dir.path().join("data"), &tls);
    let address: SocketAddr = node.url.strip_prefix("https://").unwrap().parse().unwrap();
    let proxy = Tunnels::start(address);
    let named = format!("https://node.test:{}", address.port());
    let run = |arguments: &[&str], not: &str| {
        let mut command = colearn(arguments);
        command.env("HTTPS_PROXY", format!("http://{}", proxy.address));
        command.env("https_proxy", format!("http://{}", proxy.address));
        command.env("NO_PROXY", not).env("no_proxy", not).env("COLEARN_CA", &ca);
        command.output().unwrap()
    };
    let list = ["experiment", "list", "--node", &named];
    let output = run(&list, "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(run(&["audit", &named], "").status.success());
    let asked = proxy.asked();
    let line = format!("CONNECT node.test:{} HTTP/1.1", address.port());
    assert!(asked.len() >= 2 && asked.iter().all(|it| *it == line), "{asked:?}");
    // Without it the name leads nowhere.
    let error = error_of(&run(&list, "node.test"));
    assert!(error.contains("no node answers at https://node.test"), "{error}");
    let pinned = format!("{}#{}", node.url, node.started["fingerprint"].as_str().unwrap());
    assert!(run(&["experiment", "list", "--node", &pinned], "").status.success());
    assert_eq!(proxy.asked().len(), asked.len());
    // Of others than plain ones none is used: a password would be told in clear.
    let mut command = colearn(&list);
    command.env("HTTPS_PROXY", "https://ann:secret@127.0.0.1:1").env("NO_PROXY", "");
    let error = error_of(&command.output().unwrap());
    assert!(error.contains("names a https proxy") && !error.contains("secret"), "{error}");
    // A proxy that is not there is told from a node that is not.
    drop(node);
    let gone = colearn_testkit::free_address();
    let mut command = colearn(&list);
    command.env("HTTPS_PROXY", format!("http://{gone}")).env("NO_PROXY", "");
    let error = error_of(&command.output().unwrap());
    assert!(error.contains(&format!("the proxy http://{gone}")), "{error}");
}

/// A program in front of a node, at an address that was free.
fn in_front(
    program: &str,
    package: &str,
    dir: &Path,
    config: impl Fn(SocketAddr) -> (String, Vec<String>),
) -> Option<(Killed, String)> {
    if Command::new(program).arg("-h").output().is_err() {
        colearn_testkit::skip(program, &format!("the package {package} has it"));
        return None;
    }
    let address = colearn_testkit::free_address();
    let (text, arguments) = config(address);
    std::fs::write(dir.join("config"), text).unwrap();
    let log = std::fs::File::create(dir.join("log")).unwrap();
    let mut command = Command::new(program);
    command.args(arguments).env("HOME", dir).stdout(log.try_clone().unwrap()).stderr(log);
    let child = Killed(command.spawn().unwrap());
    wait_for(program, || TcpStream::connect(address).ok());
    Some((child, format!("https://{address}")))
}

/// Three learners take part in three rounds, and an audit finds nothing, all through this address.
async fn learns(node: &NodeProcess, experiment: &str, url: &str, ca: &Path, auth: &str) {
    let mut speaker = Speaker::connect_as(&node.url, &key(200)).await;
    let weights = Counter::weights(0);
    speaker.client.upload(&weights).await.unwrap();
    let parameters = Parameters { max_rounds: Some(3), min_learners: 3, ..Parameters::default() };
    let create = CreateExperiment {
        version: VERSION.number(),
        parameters,
        admission: Admission::Open,
        model: weights.model(SAFETENSORS),
        plan: None,
    };
    speaker.act(&key(200), Action::new(name(experiment), Act::Create(create))).await.unwrap();
    let trust = TlsTrust::new(Some(ca.to_owned()), None);
    let learners = [1, 2, 3].map(|seed| {
        let nodes = Nodes::from(url).trusting(trust.clone());
        let options = Options::new(nodes, name(experiment), key(seed));
        tokio::spawn(async move { client::run(Counter { value: 0 }, options).await.unwrap() })
    });
    for learner in learners {
        let (learner, summary) = learner.await.unwrap();
        assert_eq!((learner.value, summary.rounds), (3, 3));
    }
    assert!(fail(&["audit", url, "--ca", shown(ca)]).contains("--auth-key"));
    let audit = ["audit", url, "--ca", shown(ca), "--auth-key", auth];
    assert!(succeed(&audit).contains("AUDIT OK"));
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxies_that_end_tls_lead_to_a_node() {
    let (dir, _authority, ca, [certificate, key_file]) = with_authority();
    // Who asks is known all the same: it signs, and the proxy passes that on.
    let (creators, auth) = (dir.path().join("creators"), dir.path().join("auth.pem"));
    let creator = key(200);
    std::fs::write(&creators, crate::support::id(&creator).to_string()).unwrap();
    colearn_records::keys::save_new(&creator, &auth).unwrap();
    let create = format!("--create=keys:{}", shown(&creators));
    let rights = ["--read=members", "--write=members", &create];
    let flags = [&["--listen", "127.0.0.1:0"], &rights[..]].concat();
    let node = NodeProcess::start_with(&dir.path().join("data"), &flags);
    let to = node.address();
    let at = |name: &str| {
        let dir = dir.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        dir
    };
    let folder = at("nginx");
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let nginx = in_front("nginx", "nginx-light", &folder, |address| {
        let folder = shown(&folder);
        let temporary = temporary.map(|it| format!("{it}_temp_path {folder}/{it};")).join("\n");
        let config = format!(
            "user root; daemon off; worker_processes 1; pid {folder}/pid; error_log stderr;
             events {{ worker_connections 256; }}
             http {{
               access_log off; {temporary}
               server {{
                 listen {address} ssl http2;
                 ssl_certificate {certificate}; ssl_certificate_key {key_file};
                 client_max_body_size 0; grpc_read_timeout 1h; grpc_send_timeout 1h;
                 location /colearn.v1. {{
                   grpc_pass grpc://{to}; grpc_set_header X-Forwarded-For $remote_addr;
                 }}
                 location / {{
                   proxy_pass http://{to}; proxy_set_header X-Forwarded-For $remote_addr;
                 }}
               }}
             }}"
        );
        let arguments = ["-p", folder, "-c", &format!("{folder}/config")];
        (config, arguments.map(str::to_owned).to_vec())
    });
    if let Some((_nginx, url)) = nginx {
        learns(&node, "by-nginx", &url, &ca, shown(&auth)).await;
    }
    let folder = at("caddy");
    let caddy = in_front("caddy", "caddy", &folder, |address| {
        let folder = shown(&folder);
        let config = format!(
            "{{\n admin off\n auto_https off\n storage file_system {folder}\n}}\n\
             https://{address} {{\n tls {certificate} {key_file}\n reverse_proxy h2c://{to} {{\n \
             flush_interval -1\n }}\n}}\n"
        );
        let arguments = ["run", "--adapter", "caddyfile", "--config", &format!("{folder}/config")];
        (config, arguments.map(str::to_owned).to_vec())
    });
    if let Some((_caddy, url)) = caddy {
        learns(&node, "by-caddy", &url, &ca, shown(&auth)).await;
    }
    let folder = at("haproxy");
    // It takes the certificate and its key from one file.
    let both = [&certificate, &key_file].map(|path| std::fs::read_to_string(path).unwrap());
    std::fs::write(folder.join("node.pem"), both.concat()).unwrap();
    let haproxy = in_front("haproxy", "haproxy", &folder, |address| {
        let folder = shown(&folder);
        let config = format!(
            "defaults\n mode http\n timeout connect 5s\n timeout http-request 20s\n timeout client 1h\n \
             timeout server 1h\n timeout tunnel 1h\nfrontend node\n \
             bind {address} ssl crt {folder}/node.pem alpn h2,http/1.1\n option forwardfor\n \
             default_backend node\nbackend node\n server node {to} proto h2\n"
        );
        let arguments = ["-db", "-f", &format!("{folder}/config")];
        (config, arguments.map(str::to_owned).to_vec())
    });
    if let Some((_haproxy, url)) = haproxy {
        learns(&node, "by-haproxy", &url, &ca, shown(&auth)).await;
    }
    // Whoever stands between and is believed cannot pass on what was signed to a node where TLS ends.
    let data = dir.path().join("behind");
    let secure = ["--listen", "127.0.0.1:0", "--tls-cert", &certificate, "--tls-key", &key_file];
    let behind = NodeProcess::start_with(&data, &[&secure[..], &rights].concat());
    let to = behind.url.strip_prefix("https://").unwrap().to_owned();
    let folder = at("between");
    let between = in_front("caddy", "caddy", &folder, |address| {
        let folder = shown(&folder);
        let config = format!(
            "{{\n admin off\n auto_https off\n storage file_system {folder}\n}}\n\
             https://{address} {{\n tls {certificate} {key_file}\n reverse_proxy https://{to} {{\n \
             flush_interval -1\n transport http {{\n tls_insecure_skip_verify\n }}\n }}\n}}\n"
        );
        let arguments = ["run", "--adapter", "caddyfile", "--config", &format!("{folder}/config")];
        (config, arguments.map(str::to_owned).to_vec())
    });
    if let Some((_between, url)) = between {
        let list = |url: &str| {
            let auth = ["--ca", shown(&ca), "--auth-key", shown(&auth)];
            colearn(&[&["experiment", "list", "--node", url], &auth[..]].concat()).output().unwrap()
        };
        assert!(list(&behind.url).status.success());
        let error = error_of(&list(&url));
        assert!(error.contains("TLS that ends before the node"), "{error}");
    }
}

/// A child that goes with this.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn connections_that_say_nothing_are_in_nobodys_way() {
    let dir = tempfile::tempdir().unwrap();
    let few = ["--max-connections", "64", "--max-connections-per-address", "24"];
    let listen = ["--listen", "127.0.0.1:0"];
    let node = NodeProcess::start_with(&dir.path().join("data"), &[&listen[..], &few].concat());
    let to: SocketAddr = node.address().parse().unwrap();
    // N2: silent ones, and ones that begin with HTTP/2 and go no further.
    let mut held: Vec<TcpStream> = (0..200)
        .map(|number| {
            let mut stream = connect_from(STRANGER, to);
            if number % 2 == 1 {
                // What is closed already cannot be written to.
                let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
            }
            stream
        })
        .collect();
    for _ in 0..20 {
        succeed(&["experiment", "list", "--node", &node.url]);
    }
    // Most of them were closed at once.
    let mut closed = 0;
    for stream in &mut held {
        stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let mut buffer = [0; 256];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => {
                    closed += 1;
                    break;
                }
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    closed += 1;
                    break;
                }
            }
        }
    }
    assert!(closed >= 200 - 24, "{closed}");
    // And the rest is, soon: nobody keeps a connection without ever asking for something.
    wait_for("there is room again", || {
        let mut stream = connect_from(STRANGER, to);
        let asked =
            stream.write_all(b"GET /checkpoint HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let mut answer = String::new();
        let answered = asked.is_ok() && stream.read_to_string(&mut answer).is_ok();
        (answered && answer.contains(" 200 ")).then_some(())
    });
}

#[cfg(target_os = "linux")]
#[test]
fn where_several_have_taken_all_connections_they_make_room() {
    let dir = tempfile::tempdir().unwrap();
    let few = ["--max-connections", "32", "--max-connections-per-address", "16"];
    let listen = ["--listen", "127.0.0.1:0"];
    let node = NodeProcess::start_with(&dir.path().join("data"), &[&listen[..], &few].concat());
    let to: SocketAddr = node.address().parse().unwrap();
    let hold = || {
        let held = [2, 3].map(|last| {
            let from = Ipv4Addr::new(127, 0, 0, last);
            (0..16).map(|_| connect_from(from, to)).collect::<Vec<_>>()
        });
        held.into_iter().flatten().collect::<Vec<_>>()
    };
    for _ in 0..5 {
        let _held = hold();
        succeed(&["experiment", "list", "--node", &node.url]);
    }
}

/// What was read of an answer with a body of a few bytes.
#[cfg(target_os = "linux")]
fn get(stream: &mut TcpStream, path: &str) -> String {
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        // Whoever asks may outlive the node that it asks.
        let read = stream.read(&mut buffer).unwrap_or(0);
        answer.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            if read == 0 {
                return text.into_owned();
            }
            continue;
        };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if read == 0 || body.len() >= length.unwrap().parse().unwrap() {
            return text.into_owned();
        }
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_without_end_is_refused_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let few = ["--max-calls-per-second", "20", "--max-watchers-per-address", "3"];
    let listen = ["--listen", "127.0.0.1:0"];
    let node = NodeProcess::start_with(&dir.path().join("data"), &[&listen[..], &few].concat());
    // Whoever takes part follows the ledger: three may from one address.
    let mut ledger = LedgerServiceClient::new(channel_from(STRANGER, &node.url).await);
    let mut subscribed = Vec::new();
    let refused = loop {
        match ledger.subscribe(v1::SubscribeRequest { start: 0 }).await {
            Ok(entries) => subscribed.push(entries),
            Err(status) => break status,
        }
    };
    assert_eq!((subscribed.len(), refused.code()), (3, tonic::Code::ResourceExhausted));
    assert!(refused.message().contains("--max-watchers-per-address"), "{refused}");
    Speaker::connect(&node.url).await.create("x", &Counter::weights(0), 1).await;

    let to: SocketAddr = node.address().parse().unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let asking: Vec<_> = (0..16)
        .map(|_| {
            let is_over = is_over.clone();
            std::thread::spawn(move || {
                let mut stream = connect_from(STRANGER, to);
                // Whoever asks one thing after the other waits for its turn; of so many some cannot.
                while !is_over.load(Ordering::SeqCst) {
                    let answer = get(&mut stream, "/checkpoint");
                    if !answer.starts_with("HTTP/1.1 200 ") {
                        is_over.store(true, Ordering::SeqCst);
                        return Some((answer, stream));
                    }
                }
                None
            })
        })
        .collect();
    let mut refused = asking.into_iter().filter_map(|it| it.join().unwrap());
    let (answer, mut stream) = refused.next().unwrap();
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert!(answer.contains("20 times a second (--max-calls-per-second)"), "{answer}");
    assert!(get(&mut stream, "/healthz").ends_with("ok\n"));
    Speaker::connect(&node.url).await.create("y", &Counter::weights(0), 1).await;
}
