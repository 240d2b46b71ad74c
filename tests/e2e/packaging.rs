//! What comes with the program: completions, manual pages, units, containers, what it is made of.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use colearn::supervise;
use serde_json::Value;

use crate::support::{NodeProcess, Process, fail, succeed};

const PROGRAM: &str = env!("CARGO_BIN_EXE_colearn");

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root(path)).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn done(output: Output) -> String {
    let told = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{told}");
    told
}

/// Whether a program is there; said so if not.
fn has(program: &str, package: &str) -> bool {
    let found = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    if found.is_err() {
        colearn_testkit::skip(program, &format!("no such program; it is in Debian's {package}"));
    }
    found.is_ok()
}

/// All commands, as words after the program's name, down to those that have no others below them.
fn commands(path: &[String]) -> Vec<Vec<String>> {
    let words: Vec<&str> = path.iter().map(String::as_str).collect();
    let help = succeed(&[&words[..], &["--help"]].concat());
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| !line.is_empty());
    // A description that goes on in another line stands further in.
    let names = listed.filter_map(|line| line.strip_prefix("  ").filter(|it| !it.starts_with(' ')));
    let names = names.filter_map(|line| line.split_whitespace().next());
    let mut all = vec![path.to_vec()];
    for name in names.filter(|name| *name != "help") {
        all.extend(commands(&[path, &[name.to_owned()]].concat()));
    }
    all
}

#[test]
fn each_command_has_a_manual_page() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("man");
    succeed(&["man", "--out", out.to_str().unwrap()]);
    let commands = commands(&[]);
    assert!(commands.len() > 40, "{commands:?}");
    for command in &commands {
        let name = [&["colearn".to_owned()][..], command].concat().join("-");
        let page = std::fs::read_to_string(out.join(format!("{name}.1")));
        let page = page.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(page.contains(&format!(".TH {name} 1")), "{page}");
        assert!(page.contains(".SH SYNOPSIS"), "{name}");
    }
    // Again, over what is there; and where nothing can be.
    succeed(&["man", "--out", out.to_str().unwrap()]);
    let told = fail(&["man", "--out", out.join("colearn.1").to_str().unwrap()]);
    assert!(told.contains("cannot write to"), "{told}");
}

#[test]
fn shells_complete_commands_and_flags() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = succeed(&["completions", shell]);
        for word in ["key", "rotate", "auth-key"] {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
    }
    if !has("bash", "bash") {
        return;
    }
    // As when somebody presses the key.
    let ask = "source /dev/stdin; complete -p colearn >/dev/null; COMP_WORDS=(colearn key ''); COMP_CWORD=2; \
               _colearn colearn '' key; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let mut bash = Command::new("bash")
        .args(["--norc", "-euc", ask])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    bash.stdin.take().unwrap().write_all(succeed(&["completions", "bash"]).as_bytes()).unwrap();
    let shown = done(bash.wait_with_output().unwrap());
    let shown: BTreeSet<&str> = shown.lines().collect();
    for command in ["new", "show", "rotate"] {
        assert!(shown.contains(command), "{shown:?}");
    }
}

#[test]
fn units_are_whole_and_leave_little_open() {
    if !has("systemd-analyze", "systemd") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for name in ["colearn-node.service", "colearn-learner@.service"] {
        let unit = read(&format!("deploy/systemd/{name}"));
        // Where the program is that was just built.
        let unit = unit.replace("/usr/local/bin/colearn", PROGRAM);
        let path = dir.path().join(name);
        std::fs::write(&path, unit).unwrap();
        files.push(path);
    }
    for file in &files {
        let verified = Command::new("systemd-analyze")
            .args(["verify", "--man=no", "--recursive-errors=no"])
            .arg(file)
            .output()
            .unwrap();
        // What it does not know is only told, and no failure.
        let told = done(verified);
        let of_ours: Vec<&str> = told.lines().filter(|line| line.contains("colearn")).collect();
        assert!(of_ours.is_empty(), "{told}");
        let analyzed = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--threshold=20", "--no-pager"])
            .arg(file)
            .output();
        done(analyzed.unwrap());
    }
    // And the program takes what they say.
    let taken = |unit: &str, values: &[(&str, &str)]| {
        let unit = read(&format!("deploy/systemd/{unit}"));
        let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
        let line =
            values.iter().fold(line.to_owned(), |line, (name, value)| line.replace(name, value));
        assert!(!line.contains('$'), "{line}");
        line.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    let data = dir.path().join("state");
    let data = data.to_str().unwrap();
    let node = taken(
        "colearn-node.service",
        &[("${STATE_DIRECTORY}", data), ("$OPTIONS", "--listen 127.0.0.1:0 --json")],
    );
    let mut command = Command::new(PROGRAM);
    command.args(&node);
    let node = NodeProcess::start_command(command);
    let learner = taken(
        "colearn-learner@.service",
        &[
            ("${NODE}", &node.url),
            ("${EXPERIMENT}", "xray"),
            ("${CREDENTIALS_DIRECTORY}", data),
            ("${STATE_DIRECTORY}", data),
            ("$OPTIONS", "--noise 1.1 --data ours.csv"),
        ],
    );
    let told = fail(&learner.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(told.contains("there is no key file"), "{told}");
}

/// A system call that a unit does not allow would end no process, but fail where nobody expects it.
#[test]
#[cfg(target_os = "linux")]
fn units_allow_the_system_calls_that_are_made() {
    if !has("systemd-analyze", "systemd") || !has("strace", "strace") {
        return;
    }
    let listed = |group: &str| -> BTreeSet<String> {
        fn add(group: &str, to: &mut BTreeSet<String>) {
            let listed = Command::new("systemd-analyze")
                .args(["syscall-filter", "--no-pager", group])
                .output();
            for line in done(listed.unwrap()).lines().skip(1).map(str::trim) {
                match line.strip_prefix('@') {
                    Some(_) => add(line, to),
                    None if line.is_empty() || line.starts_with('#') => {}
                    None => drop(to.insert(line.to_owned())),
                }
            }
        }
        let mut all = BTreeSet::new();
        add(group, &mut all);
        all
    };
    let unit = read("deploy/systemd/colearn-node.service");
    let filters: Vec<&str> =
        unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")).collect();
    assert_eq!(filters, ["@system-service", "~@privileged @resources"]);
    // systemd adds what every program needs.
    let mut allowed = &listed("@system-service") | &listed("@default");
    for group in ["@privileged", "@resources"] {
        allowed = &allowed - &listed(group);
    }
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let traced = |trace: &str, arguments: &[&str]| {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", trace, PROGRAM]).args(arguments);
        command
    };
    // Killed, strace would leave it running: it ends with its input.
    let node =
        ["node", "--json", "--data", &path("node"), "--listen", "127.0.0.1:0", "--until-eof"];
    let node = NodeProcess::start_command(traced(&path("node.trace"), &node));
    for who in ["a.pem", "b.pem"] {
        succeed(&["key", "new", &path(who)]);
    }
    let create = ["experiment", "create", "x", "--open", "--max-rounds", "2", "--node", &node.url];
    succeed(&[&create[..], &["--key", &path("a.pem")]].concat());
    let learner = |key: &str, share: &str| {
        let (node, key) = (node.url.clone(), path(key));
        let all =
            ["learner", "--node", &node, "--experiment", "x", "--key", &key, "--share", share];
        all.map(str::to_owned)
    };
    let (a, b) = (learner("a.pem", "1/2"), learner("b.pem", "2/2"));
    let a = traced(&path("learner.trace"), &a.each_ref().map(String::as_str));
    let mut a = Process::of(supervise::Process::start(a).unwrap());
    let mut b = Process::start(&b.each_ref().map(String::as_str));
    assert_eq!((a.wait(), b.wait()), (Some(0), Some(0)));
    drop(node);
    // systemd itself starts the program; what cannot be had is done without.
    let without = BTreeSet::from(["execve", "prlimit64", "sched_setaffinity", "mbind"]);
    for trace in ["node.trace", "learner.trace"] {
        let calls = std::fs::read_to_string(path(trace)).unwrap();
        let made: BTreeSet<&str> = calls
            .lines()
            .filter_map(|line| line.split_whitespace().nth(1)?.split_once('('))
            .map(|(name, _)| name)
            .collect();
        assert!(made.contains("write"), "{made:?}");
        let refused: Vec<&&str> = made
            .iter()
            .filter(|name| !allowed.contains(**name) && !without.contains(**name))
            .collect();
        assert!(refused.is_empty(), "{trace}: {refused:?}");
    }
}

/// A list of words, as JSON or YAML has it.
fn words(list: &Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    list.map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// What stands behind a word of the Dockerfile, which is JSON.
fn in_dockerfile(word: &str) -> Vec<String> {
    let dockerfile = read("Dockerfile");
    let at = dockerfile.find(word).unwrap();
    let line = dockerfile[at + word.len()..].lines().next().unwrap();
    words(&serde_json::from_str(line).unwrap())
}

/// The compose file's commands, run here as there: no container engine is needed to see that they fit together.
#[test]
fn what_the_compose_file_runs_fits_together() {
    let parse = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let parsed =
        Command::new("python3").args(["-c", parse]).arg(root("deploy/compose.yml")).output();
    let Some(parsed) = parsed.ok().filter(|parsed| parsed.status.success()) else {
        return colearn_testkit::skip("python3-yaml", "python3 has no yaml: Debian's python3-yaml");
    };
    let compose: Value = serde_json::from_slice(&parsed.stdout).unwrap();
    let services = compose["services"].as_object().unwrap();
    let image: BTreeSet<&str> = services
        .iter()
        .filter(|(_, it)| it["image"] == "colearn")
        .map(|(name, _)| &**name)
        .collect();
    let learners = ["learner-a", "learner-b", "learner-c"];
    let others = ["experiment", "keys", "node"];
    assert_eq!(image, BTreeSet::from_iter(learners.into_iter().chain(others)));
    for (name, service) in services {
        for mounted in words(&service["volumes"]) {
            let from = mounted.split(':').next().unwrap();
            let is_volume = compose["volumes"].as_object().unwrap().contains_key(from);
            // A folder of the repository, in this change or in one beside it.
            assert!(is_volume || from.starts_with("./"), "{name}: {mounted}");
        }
        for on in service["depends_on"].as_object().into_iter().flatten() {
            assert!(services.contains_key(on.0), "{name} depends on {}", on.0);
        }
        if image.contains(&**name) {
            assert_eq!(service["read_only"], true, "{name}");
        }
    }

    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (keys, data) = (path("keys"), path("node"));
    std::fs::create_dir(&keys).unwrap();
    std::fs::create_dir(&data).unwrap();
    let beside = Path::new(PROGRAM).parent().unwrap().to_str().unwrap();
    let search = format!("{beside}:{}", std::env::var("PATH").unwrap());
    let here = |text: &str, url: &str| {
        let text = text.replace("$$", "$").replace("http://node:7400", url);
        text.replace("/keys", &keys).replace("/var/lib/colearn", &data)
    };
    let run = |name: &str, url: &str| {
        let service = &services[name];
        let entry = match words(&service["entrypoint"]) {
            entry if entry.is_empty() => in_dockerfile("ENTRYPOINT "),
            entry => entry,
        };
        let all = [entry, words(&service["command"])].concat();
        let mut command = Command::new(&all[0]);
        command.args(all[1..].iter().map(|word| here(word, url))).env("PATH", &search);
        command
    };
    // Twice: who has started it once starts it again.
    done(run("keys", "").stdin(Stdio::null()).output().unwrap());
    done(run("keys", "").stdin(Stdio::null()).output().unwrap());

    let mut node = run("node", "");
    let arguments: Vec<String> = node
        .get_args()
        .map(|word| word.to_str().unwrap().replace("0.0.0.0:7400", "127.0.0.1:0"))
        .collect();
    node = Command::new(PROGRAM);
    // As it is where others can reach it.
    let create = format!("keys:{data}/creators.txt");
    let rights = ["--read", "members", "--write", "members", "--create", &create];
    node.args(&arguments).args(rights).arg("--json");
    let node = NodeProcess::start_command(node);
    let healthy = || {
        let asked = in_dockerfile("    CMD ");
        let asked: Vec<String> = asked.iter().map(|word| here(word, "")).collect();
        let mut command = Command::new(&asked[0]);
        command.args(&asked[1..]).env("PATH", &search).env("COLEARN_NODE", &node.url);
        command.stdin(Stdio::null()).output().unwrap()
    };
    done(healthy());
    done(run("experiment", &node.url).stdin(Stdio::null()).output().unwrap());
    done(run("experiment", &node.url).stdin(Stdio::null()).output().unwrap());
    let mut running: Vec<Process> = learners
        .iter()
        .map(|name| Process::of(supervise::Process::start(run(name, &node.url)).unwrap()))
        .collect();
    for learner in &mut running {
        assert_eq!(learner.wait(), Some(0));
    }
    let auth = format!("{keys}/a/key.pem");
    let audited = succeed(&["audit", &node.url, "--auth-key", &auth]);
    assert!(audited.contains("AUDIT OK") && audited.contains("rounds=30"), "{audited}");
    node.stop();
}

#[test]
fn the_image_runs_what_the_program_takes() {
    let dockerfile = read("Dockerfile");
    assert!(dockerfile.contains("\nUSER 10001:10001\n"), "it is to run as nobody in particular");
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("node").to_str().unwrap().to_owned();
    let arguments = in_dockerfile("\nCMD ");
    let arguments = arguments.iter().map(|word| match &**word {
        "/var/lib/colearn" => data.clone(),
        "0.0.0.0:7400" => "127.0.0.1:0".to_owned(),
        word => word.to_owned(),
    });
    let mut command = Command::new(PROGRAM);
    command.args(arguments).arg("--json");
    let node = NodeProcess::start_command(command);
    // With the address that it prints, its health is what it says.
    let key = format!("{data}/node.pem");
    succeed(&["node", "status", "--node", &node.url, "--auth-key", &key]);
    node.stop();
}

/// All that Cargo.lock has for the program, and nothing that only tests need.
#[test]
fn what_the_program_is_made_of_is_written_down() {
    let has = Command::new("python3").args(["-c", "import tomllib"]).output();
    if !has.is_ok_and(|output| output.status.success()) {
        return colearn_testkit::skip(
            "python3.11",
            "python3 has no tomllib, which is there from 3.11 on",
        );
    }
    let told = Command::new(root("tools/sbom")).env("CARGO_NET_OFFLINE", "true").output().unwrap();
    assert!(told.status.success(), "{}", text(&told.stderr));
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!((&told["bomFormat"], &told["specVersion"]), (&"CycloneDX".into(), &"1.6".into()));
    assert_eq!(told["metadata"]["component"]["name"], "colearn");
    let components = told["components"].as_array().unwrap();
    let names: BTreeSet<&str> = components.iter().map(|it| it["name"].as_str().unwrap()).collect();
    for name in ["colearn-contracts", "colearn-keys", "ed25519-dalek", "mimalloc", "rustls", "sled"]
    {
        assert!(names.contains(name), "{name} is missing");
    }
    for name in ["colearn-testkit", "proptest", "pyo3"] {
        assert!(!names.contains(name), "{name} is not in the program");
    }
    let references: BTreeSet<&str> = components
        .iter()
        .chain([&told["metadata"]["component"]])
        .map(|it| it["bom-ref"].as_str().unwrap())
        .collect();
    assert_eq!(references.len(), components.len() + 1, "each is there once");
    for component in components {
        let is_ours = component["name"].as_str().unwrap().starts_with("colearn");
        assert_eq!(component["hashes"][0]["content"].is_string(), !is_ours, "{component}");
        assert!(component["licenses"][0]["expression"].is_string(), "{component}");
    }
    for dependency in told["dependencies"].as_array().unwrap() {
        for on in words(&dependency["dependsOn"]) {
            assert!(references.contains(&*on), "{on}");
        }
    }
}
