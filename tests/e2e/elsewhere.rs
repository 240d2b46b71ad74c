//! Keys that are in no file: in a real ssh-agent, and behind commands.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use colearn::supervise;
use colearn_records::keys;
use ed25519_dalek::Signer as _;
use serde_json::Value;

use crate::support::{NodeProcess, Process, colearn, key, write_csv};

/// A folder with a home, and perhaps an agent in it.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// `None`, and said so, where there is no ssh-agent.
    fn new() -> Option<Self> {
        for program in ["ssh-agent", "ssh-add", "ssh-keygen"] {
            if Command::new(program).arg("-?").stdin(Stdio::null()).output().is_err() {
                colearn_testkit::skip(program, "no such program; it is in Debian's openssh-client");
                return None;
            }
        }
        Some(Self { dir: tempfile::tempdir().unwrap() })
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// In this folder, with this agent: what tests run is not to meet the keys of whoever runs them.
    fn at_home<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("SSH_AUTH_SOCK", self.path("agent"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("HOME", self.path("home"))
            .env_remove("SSH_ASKPASS")
            .env_remove("DISPLAY")
    }

    /// An agent at the socket, where none is now, with more in its environment.
    fn agent(&self, environment: &[(&str, &str)]) -> Process {
        // What one that was killed has left.
        let _ = std::fs::remove_file(self.path("agent"));
        let mut command = Command::new("ssh-agent");
        let command_line = ["-D", "-a", &self.path("agent")];
        self.at_home(&mut command).args(command_line).envs(environment.iter().copied());
        let mut agent = Process::of(supervise::Process::start(command).unwrap());
        let said = agent.line().expect("the agent says where it is");
        assert!(said.contains("SSH_AUTH_SOCK"), "{said}");
        agent
    }

    /// Makes a key for SSH with this comment; the file.
    fn make(&self, comment: &str) -> String {
        let file = self.path(comment);
        self.tool("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", &file]);
        file
    }

    fn add(&self, file: &str, more: &[&str]) {
        self.tool("ssh-add", &[&["-q"], more, &[file]].concat());
    }

    fn tool(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(program);
        let output = self.at_home(&mut command).args(arguments).stdin(Stdio::null()).output();
        told(program, output.unwrap())
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.at_home(&mut colearn(arguments)).stdin(Stdio::null()).output().unwrap()
    }

    fn succeed(&self, arguments: &[&str]) -> String {
        told("colearn", self.run(arguments))
    }

    fn fail(&self, arguments: &[&str]) -> String {
        self.fail_with(arguments, &[])
    }

    fn fail_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> String {
        let mut command = colearn(arguments);
        self.at_home(&mut command).envs(environment.iter().copied());
        let output = command.stdin(Stdio::null()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
        let line = stderr.lines().last().unwrap_or_default().to_owned();
        assert!(line.starts_with("error: ") && !stderr.contains("panicked"), "{stderr}");
        line
    }

    fn start(&self, arguments: &[&str]) -> Process {
        let mut command = colearn(arguments);
        self.at_home(&mut command);
        Process::of(supervise::Process::start(command).unwrap())
    }

    fn public(&self, key: &str) -> String {
        self.succeed(&["key", "show", key]).trim().to_owned()
    }

    /// An experiment `x` for any two, with these rules.
    fn create(&self, node: &NodeProcess, key: &str, rules: &[&str]) {
        let csv = write_csv(self.dir.path());
        let at = ["experiment", "create", "x", "--node", &node.url, "--open", "--key", key];
        let data = ["--data", csv.to_str().unwrap(), "--label", "class", "--min-learners", "2"];
        self.succeed(&[&at[..], &data, rules].concat());
    }

    fn learner(&self, node: &NodeProcess, key: &str) -> Process {
        let csv = self.path("points.csv");
        let what = ["learner", "--json", "--node", &node.url, "--experiment", "x"];
        self.start(&[&what[..], &["--data", &csv, "--key", key]].concat())
    }
}

fn told(program: &str, output: Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// The learner's next event of a kind, and all that comes before it.
fn until(learner: &mut Process, kind: &str) -> Value {
    loop {
        let line = learner.line().unwrap_or_else(|| panic!("it ended before it was {kind}"));
        let event: Value = serde_json::from_str(&line).unwrap();
        if event["event"] == kind {
            return event;
        }
    }
}

fn rounds(place: &Place, node: &NodeProcess) -> Vec<Value> {
    let shown = place.succeed(&["experiment", "show", "x", "--json", "--node", &node.url]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    shown["history"]["rounds"].as_array().unwrap().clone()
}

/// With sealed votes, whose salts must survive, and drawn proposers, whose secrets follow from the key.
#[test]
fn a_learner_whose_key_is_in_an_agent_alone_goes_on_after_it_was_killed() {
    let Some(place) = Place::new() else { return };
    let _agent = place.agent(&[]);
    let file = place.make("ann");
    place.add(&file, &[]);
    std::fs::remove_file(&file).unwrap();
    place.succeed(&["key", "new", &place.path("bob.pem")]);
    let node = NodeProcess::start(&place.dir.path().join("node"));
    let rules = ["--ballot", "sealed", "--selection", "sortition", "--max-rounds", "6"];
    place.create(&node, "agent:ann", &rules);

    let mut bob = place.learner(&node, &place.path("bob.pem"));
    let mut ann = place.learner(&node, "agent:ann");
    // Committed, and not revealed: what it has committed to is in its memory only.
    until(&mut ann, "committed");
    ann.kill();
    let mut ann = place.learner(&node, "agent:ann");
    let finished = until(&mut ann, "finished");
    assert_eq!(finished["reason"], "max_rounds");
    until(&mut bob, "finished");
    assert_eq!((ann.wait(), bob.wait()), (Some(0), Some(0)));

    let id = place.public("agent:ann");
    let rounds = rounds(&place, &node);
    assert_eq!(rounds.len(), 6);
    for round in &rounds {
        let voted = round["votes"].get(&id).is_some_and(|vote| vote["choice"] != "abstain");
        assert!(round["proposer"] == id.as_str() || voted, "a vote is missing: {round}");
    }
    // What it remembers is the user's, not beside any file.
    assert!(place.dir.path().join("state/colearn").join(&id).join("memory.json").exists());
    let audited = place.succeed(&["audit", &node.url]);
    assert!(audited.contains("AUDIT OK"), "{audited}");
}

#[test]
fn a_learner_waits_for_an_agent_that_has_ended() {
    let Some(place) = Place::new() else { return };
    let mut agent = place.agent(&[]);
    let file = place.make("ann");
    place.add(&file, &[]);
    place.succeed(&["key", "new", &place.path("bob.pem")]);
    let node = NodeProcess::start(&place.dir.path().join("node"));
    place.create(&node, "agent:ann", &["--max-rounds", "4"]);

    let mut ann = place.learner(&node, "agent:ann");
    until(&mut ann, "joined");
    agent.kill();
    // From now on it has to sign.
    let mut bob = place.learner(&node, &place.path("bob.pem"));
    let told = until(&mut ann, "reconnecting")["reason"].as_str().unwrap().to_owned();
    assert!(told.starts_with("no ssh-agent answers at ") && told.contains("/agent"), "{told}");
    // Back, and without the key: a learner says that too.
    let _agent = place.agent(&[]);
    while !until(&mut ann, "reconnecting")["reason"].as_str().unwrap().contains("ssh-add") {}
    place.add(&file, &[]);
    assert_eq!(until(&mut ann, "finished")["reason"], "max_rounds");
    until(&mut bob, "finished");
    assert_eq!((ann.wait(), bob.wait()), (Some(0), Some(0)));
    assert!(rounds(&place, &node).iter().any(|it| it["proposer"] == place.public(&file).as_str()));
}

#[test]
fn what_an_agent_will_not_do_is_told() {
    let Some(place) = Place::new() else { return };
    let told = place.fail(&["key", "show", "agent:ann"]);
    assert!(told.contains("no ssh-agent answers at "), "{told}");
    let told = place.fail_with(&["key", "show", "agent:ann"], &[("SSH_AUTH_SOCK", "")]);
    assert!(told.contains("SSH_AUTH_SOCK names none"), "{told}");

    // Whoever is asked says no; and once it is to be locked, which word opens it.
    let asked = place.path("asked");
    std::fs::write(&asked, "#!/bin/sh\ncase $1 in *confirm*|*Allow*) exit 1 ;; esac\necho word\n")
        .unwrap();
    std::fs::set_permissions(&asked, PermissionsExt::from_mode(0o700)).unwrap();
    let asking = [("SSH_ASKPASS", &*asked), ("SSH_ASKPASS_REQUIRE", "force"), ("DISPLAY", ":0")];
    let _agent = place.agent(&asking);
    let (ann, bob) = (place.make("ann"), place.make("bob"));
    place.add(&ann, &["-c"]);
    // Showing a key takes no signature.
    assert_eq!(place.public("agent:"), place.public(&ann));
    let node = NodeProcess::start(&place.dir.path().join("node"));
    let csv = write_csv(place.dir.path());
    let create = ["experiment", "create", "x", "--node", &node.url, "--open", "--key"];
    let data = ["--data", csv.to_str().unwrap(), "--label", "class"];
    let refused = place.fail(&[&create[..], &["agent:ann"], &data].concat());
    assert!(refused.contains("agent:ann was not allowed to sign"), "{refused}");

    place.add(&bob, &[]);
    let told = place.fail(&["key", "show", "agent:"]);
    assert!(
        told.contains("could be any of 2 Ed25519 keys") && told.contains("agent:SHA256:"),
        "{told}"
    );
    let prints = place.tool("ssh-add", &["-l"]);
    let print = prints.lines().find(|line| line.contains("bob")).unwrap();
    let print = print.split(' ').nth(1).unwrap();
    assert_eq!(place.public(&format!("agent:{print}")), place.public(&bob));
    place.tool(
        "ssh-keygen",
        &["-q", "-t", "ecdsa", "-N", "", "-C", "carol", "-f", &place.path("carol")],
    );
    place.add(&place.path("carol"), &[]);
    let told = place.fail(&["key", "show", "agent:carol"]);
    assert!(told.contains("of the kind ecdsa-sha2-nistp256"), "{told}");

    let mut lock = Command::new("ssh-add");
    let locked = place.at_home(&mut lock).arg("-x").envs(asking).stdin(Stdio::null()).output();
    assert!(locked.unwrap().status.success());
    let told = place.fail(&["key", "show", "agent:bob"]);
    assert!(told.contains("none at all (a locked one does: ssh-add -X)"), "{told}");
}

#[test]
fn an_agent_that_lies_gets_nothing_sent() {
    let place = Place { dir: tempfile::tempdir().unwrap() };
    let node = NodeProcess::start(&place.dir.path().join("node"));
    let listener = UnixListener::bind(place.path("agent")).unwrap();
    let string = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat();
    let blob = [string(b"ssh-ed25519"), string(key(1).verifying_key().as_bytes())].concat();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut length = [0; 4];
            stream.read_exact(&mut length).unwrap();
            let mut request = vec![0; u32::from_be_bytes(length) as usize];
            stream.read_exact(&mut request).unwrap();
            let answer = match request[0] {
                11 => [&[12, 0, 0, 0, 1][..], &string(&blob), &string(b"ann")].concat(),
                // By another key, over what was asked for.
                _ => {
                    let message = &request[1 + 4 + blob.len() + 4..request.len() - 4];
                    let signature = key(2).sign(message).to_bytes();
                    let signature = [string(b"ssh-ed25519"), string(&signature)].concat();
                    [vec![14], string(&signature)].concat()
                }
            };
            stream.write_all(&string(&answer)).unwrap();
        }
    });
    let before = crate::support::http(&format!("{}/checkpoint", node.url));
    let csv = write_csv(place.dir.path());
    let what = ["experiment", "create", "x", "--node", &node.url, "--open", "--key", "agent:ann"];
    let data = ["--data", csv.to_str().unwrap(), "--label", "class"];
    let told = place.fail(&[&what[..], &data].concat());
    assert!(told.contains("its public key does not verify; nothing was sent"), "{told}");
    assert_eq!(crate::support::http(&format!("{}/checkpoint", node.url)), before);
}

/// The scripts of docs/keys.md, as they stand there.
#[test]
fn commands_sign_as_the_guide_says() {
    let place = Place { dir: tempfile::tempdir().unwrap() };
    let pem = place.path("hospital-a.pem");
    keys::save_new(&key(1), Path::new(&pem)).unwrap();
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/keys.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let script = |language: &str, name: &str| {
        let (_, script) = guide.split_once(&format!("```{language}\n#!")).unwrap();
        let (script, _) = script.split_once("```").unwrap();
        let script = format!("#!{script}").replace("/etc/colearn/hospital-a.pem", &pem);
        std::fs::write(place.path(name), script).unwrap();
        std::fs::set_permissions(place.path(name), PermissionsExt::from_mode(0o700)).unwrap();
        format!("exec:{}", place.path(name))
    };
    let node = NodeProcess::start(&place.dir.path().join("node"));
    let takes_part = |command: &str| {
        assert_eq!(place.public(command), place.public(&pem), "{command}");
        let what = ["experiment", "stop", "x", "--node", &node.url, "--key", command];
        let told = place.fail(&[&what[..], &["--memory", &place.path("memory")]].concat());
        assert!(told.contains("no experiment x"), "{told}");
    };
    match Command::new("openssl").arg("version").output() {
        Ok(_) => {
            let sh = script("sh", "sign");
            takes_part(&sh);
            // From the first act to the last.
            place.create(&node, &sh, &["--max-rounds", "2", "--creator-may-stop"]);
            place.succeed(&["key", "new", &place.path("bob.pem")]);
            let mut learners = [&sh, &place.path("bob.pem")].map(|key| place.learner(&node, key));
            for learner in &mut learners {
                assert_eq!(until(learner, "finished")["reason"], "max_rounds");
                assert_eq!(learner.wait(), Some(0));
            }
        }
        Err(_) => colearn_testkit::skip("openssl", "no such program; it is Debian's openssl"),
    }
    let python = std::env::var("COLEARN_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has = Command::new(&python).args(["-c", "import cryptography"]).output();
    if !has.is_ok_and(|output| output.status.success()) {
        let why = format!("{python} has no cryptography; install it: pip install cryptography");
        return colearn_testkit::skip("cryptography", &why);
    }
    let command = script("python", "sign.py").replace("exec:", &format!("exec:{python} "));
    assert_eq!(place.public(&command), place.public(&pem));
    let rotated = ["key", "rotate", &command, "--to", &pem, "--node", &node.url];
    let told = place.fail(&rotated);
    assert!(told.contains("is the same key"), "{told}");
}

#[test]
fn commands_that_fail_are_told() {
    let place = Place { dir: tempfile::tempdir().unwrap() };
    for (command, environment, what) in [
        ("exec:", None, "it has no words"),
        ("exec:sign 'x", None, "a quote or a backslash has no end"),
        ("exec:/nowhere/sign", None, "cannot run exec:/nowhere/sign"),
        ("exec:sh -c 'exit 3' sh", None, "has failed (exit status: 3), asked for public"),
        ("exec:echo 61", None, "32 bytes in hexadecimal or base64 were asked for"),
        ("exec:yes", None, "more than 512 bytes"),
        ("exec:sleep 1000", Some(("COLEARN_KEY_TIMEOUT", "1")), "has not signed within 1 s"),
    ] {
        // `sleep` takes no word besides.
        let command = command.replace("exec:sleep 1000", "exec:sh -c 'exec sleep 1000' sh");
        let told = place.fail_with(&["key", "show", &command], environment.as_slice());
        assert!(told.contains(what), "{command}: {told}");
    }
}

/// Where a node asks who asks, and where a key moves from a file to an agent.
#[test]
fn an_agents_key_says_who_asks_and_takes_the_place_of_one_in_a_file() {
    let Some(place) = Place::new() else { return };
    let _agent = place.agent(&[]);
    let file = place.make("ann");
    place.add(&file, &[]);
    let (old, list) = (place.path("ann.pem"), place.path("readers"));
    place.succeed(&["key", "new", &old]);
    let listed = [place.public("agent:ann"), place.public(&old)].join("\n");
    std::fs::write(&list, listed).unwrap();
    let rights = format!("members,keys:{list}");
    let rights = ["--read", &rights, "--write", &rights, "--create", &format!("keys:{list}")];
    let at = [&["--listen", "127.0.0.1:0"][..], &rights].concat();
    let node = NodeProcess::start_with(&place.dir.path().join("node"), &at);
    let listing = ["experiment", "list", "--node", &node.url];
    assert!(place.fail(&listing).contains("--auth-key"));
    place.succeed(&[&listing[..], &["--auth-key", "agent:ann"]].concat());
    let mut from_environment = colearn(&listing);
    let listed = place.at_home(&mut from_environment).env("COLEARN_AUTH_KEY", "agent:ann").output();
    assert!(listed.unwrap().status.success());

    place.create(&node, &old, &["--max-rounds", "2", "--creator-may-stop"]);
    let told = place.fail(&["key", "rotate", "agent:ann", "--node", &node.url]);
    assert!(told.contains("--to KEY"), "{told}");
    let rotated = place.succeed(&["key", "rotate", &old, "--to", "agent:ann", "--node", &node.url]);
    assert!(rotated.contains("in 1 experiments"), "{rotated}");
    let last = rotated.lines().last().unwrap();
    assert!(last.ends_with(&format!("--key agent:ann --memory {old}.data")), "{last}");
    // It goes on with what the old one remembers; interrupted, it would be run again.
    place.succeed(&["key", "rotate", &old, "--to", "agent:ann", "--node", &node.url]);
    let memory = format!("{old}.data");
    let stop = ["experiment", "stop", "x", "--node", &node.url, "--key", "agent:ann"];
    place.succeed(&[&stop[..], &["--memory", &memory]].concat());
}
