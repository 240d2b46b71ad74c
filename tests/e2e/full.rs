//! A disk that strangers fill.

use std::process::{Command, Stdio};

use bytes::Bytes;
use colearn::supervise;
use colearn_contracts::{Act, Action, Join};
use colearn_proto::v1;
use colearn_proto::v1::artifact_service_client::ArtifactServiceClient;
use colearn_sdk::learner::Weights;
use tonic::{Code, Status};

use crate::support::{Counter, Process, Speaker, channel, key, name};

const MIB: usize = 1 << 20;

/// A small disk, which only what is started on it sees.
struct Disk {
    dir: tempfile::TempDir,
    holder: supervise::Process,
}

impl Disk {
    /// `None` where nobody may mount one.
    fn of_mib(size: usize) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let script = format!(
            "mount -t tmpfs -o size={size}m none \"$0\" && echo mounted && exec sleep 3600"
        );
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", &script]).arg(dir.path());
        command.stderr(Stdio::null());
        let mut holder = supervise::Process::start(command).ok()?;
        (holder.line().unwrap()?.as_str() == "mounted").then_some(Self { dir, holder })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        let target = self.holder.id().to_string();
        command.args(["--preserve-credentials", "--user", "--mount", "--target", &target, program]);
        command
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn start_node(&self) -> (Process, String) {
        let mut command = self.command(env!("CARGO_BIN_EXE_colearn"));
        let (data, reserve) = (self.path("data"), (8 * MIB).to_string());
        command.args(["node", "--json", "--data", &data, "--listen", "127.0.0.1:0"]);
        command.args(["--reserve-bytes", &reserve]);
        let supervise::NodeProcess { process, url, .. } =
            supervise::NodeProcess::start(command).unwrap();
        (Process::of(process), url)
    }

    /// What a shell prints that runs on it.
    fn shell(&self, script: &str) -> String {
        let output = self.command("sh").args(["-c", script]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Uploads the first so many bytes of something, and then ends.
async fn upload(url: &str, whole: &Weights, bytes: usize) -> Result<u64, Status> {
    use v1::upload_artifact_request::Part;
    let digest = Bytes::copy_from_slice(&whole.digest().0);
    let all = whole.bytes().clone();
    let header = Part::Header(v1::UploadHeader { digest, size: all.len() as u64, offset: 0 });
    let chunks = (0..bytes).step_by(MIB).map(move |at| Part::Chunk(all.slice(at..at + MIB)));
    let parts = std::iter::once(header).chain(chunks);
    let parts = parts.map(|part| v1::UploadArtifactRequest { part: Some(part) });
    let mut artifacts = ArtifactServiceClient::new(channel(url).await);
    Ok(artifacts.upload_artifact(tokio_stream::iter(parts)).await?.into_inner().size)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_strangers_fill_stops_neither_the_ledger_nor_the_node() {
    let Some(disk) = Disk::of_mib(96) else {
        colearn_testkit::skip("small-disk", "no file system can be mounted in a namespace here");
        return;
    };
    let (mut process, url) = disk.start_node();
    let mut speaker = Speaker::connect(&url).await;
    speaker.create("x", &Counter::weights(0), 3).await;

    // Five that are never whole would take 150 MiB.
    let weights = |seed: u8| Weights::new(vec![seed; 40 * MIB]);
    for seed in 1..=5 {
        let ended = upload(&url, &weights(seed), 30 * MIB).await.unwrap_err();
        assert_eq!(ended.code(), Code::Aborted, "{ended}");
    }
    // Whole ones that nobody has named a moment later are not thrown away at once.
    assert_eq!(upload(&url, &weights(6), 40 * MIB).await.unwrap(), 40 * MIB as u64);
    let full = upload(&url, &weights(7), 40 * MIB).await.unwrap_err();
    assert_eq!(full.code(), Code::ResourceExhausted, "{full}");
    assert!(full.message().contains("disk is nearly full"), "{full}");
    // The ledger grows all the same, and small weights come through.
    let join = |term| Action::new(name("x"), Act::Join(Join::new(term, None)));
    speaker.act(&key(1), join(0)).await.unwrap();
    speaker.client.upload(&Counter::weights(1)).await.unwrap();

    // Something else fills it to the last byte: what is unfinished makes room.
    let fill = |name: &str| disk.shell(&format!("cat /dev/zero > {}", disk.path(name)));
    fill("filler");
    speaker.client.upload(&Counter::weights(2)).await.unwrap();
    speaker.act(&key(2), join(0)).await.unwrap();
    // And once more: then nothing is taken, and what is there is read.
    fill("more");
    let refused = speaker.act(&key(3), join(0)).await.unwrap_err();
    assert!(refused.to_string().contains("disk is nearly full"), "{refused}");
    let refused = speaker.client.upload(&Counter::weights(3)).await.unwrap_err();
    assert!(refused.to_string().contains("disk is nearly full"), "{refused}");
    let model = Counter::weights(0).model(colearn_sdk::learner::SAFETENSORS);
    assert_eq!(speaker.client.download(&model).await.unwrap(), Counter::weights(0));
    // Also by a node that is started on it.
    process.kill();
    let (mut process, url) = disk.start_node();
    let mut speaker = Speaker::connect(&url).await;
    assert_eq!(speaker.client.download(&model).await.unwrap(), Counter::weights(0));
    assert!(speaker.act(&key(3), join(0)).await.is_err());

    // With room it goes on by itself.
    disk.shell(&format!("rm {} {}", disk.path("filler"), disk.path("more")));
    speaker.act(&key(3), join(0)).await.unwrap();
    speaker.client.upload(&Counter::weights(3)).await.unwrap();
    process.terminate();
    assert_eq!(process.wait(), Some(0));
    let program = env!("CARGO_BIN_EXE_colearn");
    let told = disk.shell(&format!("{program} audit {}", disk.path("data")));
    assert!(told.contains("AUDIT OK"), "{told}");
}
