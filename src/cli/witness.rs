//! `colearn witness`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use colearn_ledger::note::KeyKind;
use colearn_ledger::{Signer, Verifiers};
use colearn_net::{Address, Http, Trust};
use colearn_node::witness::{ServedWitness, Witness};
use colearn_records::keys;

use super::args::TlsArgs;
use super::signals::{Hangups, Signals};

/// How long a node may take to show its checkpoint.
const PATIENCE: Duration = Duration::from_secs(30);
const MAX_NOTE_BYTES: usize = 65_536;

#[derive(Args)]
#[command(after_help = "Examples:
  colearn witness --data witness-data --log 'colearn/0011223344556677+...'
  colearn witness --data w --log 'colearn/0011223344556677+...=https://node.example:7400'
  colearn witness --data w --log 'colearn/00112233...+a...,colearn/00112233...+b...,...'   of several nodes
  colearn witness --data w --log 'colearn/00112233...' --listen 0.0.0.0:7402 --tls-cert w.pem --tls-key w-key.pem
  colearn witness --data w --log 'colearn/00112233...' --listen 10.0.0.7:7402 --tls-self-signed

It cosigns a ledger's checkpoints (C2SP tlog-witness), but never two that do not continue one another.
Of a ledger that several nodes keep it cosigns only what more than two thirds of them have signed.
Where others can reach it, it wants TLS. Files of certificates are read anew when they change, and on SIGHUP.
Give its verifier key and address to the node: colearn node --witness NAME=VKEY@https://HOST:PORT")]
pub(crate) struct WitnessArgs {
    /// Where its key and the latest checkpoints are kept; created on first start
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The address to listen on; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:7402", value_name = "ADDR")]
    listen: SocketAddr,
    /// The witness's name in its cosignatures
    #[arg(long, default_value = "colearn-witness", value_name = "NAME")]
    name: String,
    /// A ledger to cosign: its verifier key, or those of all nodes that keep it together, with commas
    /// between, and optionally =URL to check at the start that a node of this ledger answers there;
    /// may be repeated, also for the keys of one ledger before and after they change
    #[arg(long, value_name = "VKEY[,VKEY...][=URL]", required = true)]
    log: Vec<String>,
    #[command(flatten)]
    tls: TlsArgs,
    /// Print what was started as one line of JSON
    #[arg(long)]
    json: bool,
}

impl WitnessArgs {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        super::keep_to_oneself();
        super::in_small_pages();
        // Before anyone is told that it runs, so that no signal is missed.
        let (mut signals, mut hangups) = (Signals::catch()?, Hangups::catch()?);
        let mut logs = Vec::new();
        for log in &self.log {
            let (vkey, url) = match log.split_once("=http") {
                Some((vkey, rest)) => (vkey, Some(format!("http{rest}"))),
                None => (log.as_str(), None),
            };
            let verifiers: Verifiers = vkey.parse()?;
            if let Some(url) = url {
                check(&url, &verifiers).await?;
            }
            logs.push(verifiers);
        }
        std::fs::create_dir_all(&self.data)
            .with_context(|| format!("cannot create {}", self.data.display()))?;
        let key = keys::load_or_create(&self.data.join("witness.pem"))?;
        let signer = Signer::new(&self.name, KeyKind::Witness, key)?;
        let witness = Witness::open(&self.data, signer, logs)?;
        let security = self.tls.security();
        let served = ServedWitness::start(&witness, &self.data, self.listen, security).await?;
        if self.json {
            let line = serde_json::json!({
                "address": served.url(),
                "fingerprint": served.fingerprint(),
                "verifier_key": witness.verifier().to_string(),
            });
            println!("{line}");
        } else {
            println!("address       {}", served.url());
            if let Some(fingerprint) = served.fingerprint() {
                println!("certificate   {fingerprint}");
            }
            println!("verifier key  {}", witness.verifier());
        }
        loop {
            tokio::select! {
                _ = signals.asked() => break,
                // Where there is nothing to be read anew it means what it does elsewhere: the terminal is gone.
                () = hangups.next() => if !tokio::task::block_in_place(|| served.reload()) { break },
            }
        }
        served.shutdown().await;
        Ok(ExitCode::SUCCESS)
    }
}

/// Whether a ledger of these keys is served there.
async fn check(url: &str, log: &Verifiers) -> anyhow::Result<()> {
    let address: Address = url.parse()?;
    let http = Http::new(&address, &Trust::of_process(), PATIENCE)?;
    let note = http.get("/checkpoint", MAX_NOTE_BYTES).await?.text();
    let note = note.map_err(|why| anyhow::anyhow!("no checkpoint is at {address}: {why}"))?;
    log.open(&note).with_context(|| format!("{address} is not of this log"))?;
    Ok(())
}
