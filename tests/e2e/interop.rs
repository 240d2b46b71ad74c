//! Together with programs that were not written here.

use std::process::{Command, Stdio};

use colearn_contracts::{Act, Action, Join};
use colearn_ledger::note::KeyKind;
use colearn_ledger::{SignedNote, Verifier};
use ed25519_dalek::VerifyingKey;
use sha2::{Digest as _, Sha256};

use crate::support::{
    Counter, NodeProcess, Speaker, closed_port, http, key, name, succeed, wait_for,
};

/// Kills a process when it goes out of scope.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sigsum's witness cosigns a node's checkpoints, one after the other. (The other way, a Sigsum log
/// that asks our witness, there is no package for; our witness is asked by our node elsewhere.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sigsum_witness_cosigns() {
    if Command::new("sigsum-witness").arg("--version").output().is_err() {
        colearn_testkit::skip("sigsum-witness", "it is in sigsum-go, of Debian's backports");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let sigsum_key = |arguments: &[&str]| {
        let output = Command::new("sigsum-key").args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    // It knows logs by the hash of their key, so the key comes first.
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let log_key = succeed(&["key", "new", &path("data/node.pem")]);
    let hash = Sha256::digest(hex::decode(log_key.trim()).unwrap());
    let origin = format!("sigsum.org/v1/tree/{}", hex::encode(hash));
    std::fs::write(path("log.hex"), log_key.trim()).unwrap();
    sigsum_key(&["from-hex", "-k", &path("log.hex"), "-o", &path("log.pub")]);
    sigsum_key(&["generate", "-o", &path("witness")]);
    let public = hex::decode(sigsum_key(&["to-hex", "-k", &path("witness.pub")]).trim()).unwrap();
    let witness_name = format!("sigsum.org/v1/witness/{}", hex::encode(Sha256::digest(&public)));
    let public = VerifyingKey::from_bytes(public[..].try_into().unwrap()).unwrap();
    let verifier = Verifier::new(&witness_name, KeyKind::Witness, public).unwrap();

    let address = closed_port().to_string();
    let _witness = Killed(
        Command::new("sigsum-witness")
            .env("GODEBUG", "httpmuxgo121=0")
            .args(["-k", &path("witness"), "--log-key", &path("log.pub")])
            .args(["--state-file", &path("state"), &address])
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let by = format!("sigsum={verifier}@http://{address}");
    let more = ["--listen", "127.0.0.1:0", "--origin", &origin, "--witness", &by];
    let node = NodeProcess::start_with(&data, &more);
    let cosigned = |size: &str| {
        wait_for("the cosignature", || {
            let note = String::from_utf8(http(&format!("{}/checkpoint", node.url)).1).unwrap();
            let note = SignedNote::parse(&note).unwrap();
            (note.text().lines().nth(1) == Some(size) && verifier.verify(&note).is_ok())
                .then_some(())
        });
    };
    cosigned("1");
    let mut speaker = Speaker::connect(&node.url).await;
    speaker.create("x", &Counter::weights(0), 3).await;
    cosigned("2");
    speaker.act(&key(1), Action::new(name("x"), Act::Join(Join::new(0, None)))).await.unwrap();
    cosigned("3");
    node.stop();
}
