//! The public chain of a demo: one node of it on this machine, a contract there, and two nodes of ours that mirror it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use colearn_records::on_chain::{TREE_KEY, Tree};
use colearn_relay::{Account, BadAccount, Deliverer, Rpc, Settings};
use colearn_sdk::client::ChainTrust as Trust;
use serde_json::json;

use super::super::Program;
use super::super::chain::wait;
use super::fleet::Fleet;
use super::ports;

/// How many mirrors there are.
const MIRRORS: usize = 2;
const CHAIN: &str = "colearn-demo";
const PREFIX: &str = "wasm";
/// How long the chain's first block may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the chain's node is run by: it ends when this program does, however that ends.
const UNTIL_EOF: &str =
    "exec 3<&0\n\"$0\" \"$@\" </dev/null & child=$!\nread -r _ <&3\nkill $child\nwait $child";

/// Where the programs of a chain are: what the demo needs besides itself.
pub(super) struct Programs {
    pub(super) wasmd: PathBuf,
    pub(super) contract: PathBuf,
}

/// A chain with a contract, and what is to be trusted of both.
pub(super) struct PublicChain {
    node: Child,
    settings: Settings,
    contract: String,
    trust: Trust,
}

impl Drop for PublicChain {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.node.stdin.take());
        let _ = self.node.wait();
    }
}

impl PublicChain {
    /// Starts a chain in a folder, and begins a ledger on it; or goes on with the one that is there.
    pub(super) async fn start(programs: &Programs, dir: &Path) -> anyhow::Result<Self> {
        let home = dir.join("chain");
        let account = dir.join(format!("{}.pem", mirror(0)));
        if !home.exists() {
            let addresses = (0..MIRRORS).map(|at| {
                let account = account_in(&dir.join(format!("{}.pem", mirror(at))))?;
                Ok(account.address(PREFIX)?)
            });
            let addresses = addresses.collect::<anyhow::Result<Vec<_>>>()?;
            prepare(&programs.wasmd, &home, &addresses)?;
        }
        let [address] = ports::free(1)?[..] else { bail!("no free port") };
        let mut node = run(&programs.wasmd, &home, &format!("tcp://{address}"))?;
        let url = format!("http://{address}");
        let rpc = Rpc::new(std::slice::from_ref(&url))?;
        first_block(&rpc, &mut node, &home).await?;
        let (path, known) = (dir.join("deployed.toml"), dir.join("contract"));
        let (contract, trust): (String, Trust) = match std::fs::read_to_string(&known) {
            Ok(text) => {
                let (contract, trust) =
                    text.trim().split_once('\n').context("contract is cut short")?;
                (contract.to_owned(), trust.parse()?)
            }
            Err(_) => {
                let settings = write_settings(&path, &url, &account, &[], "")?;
                let wasm = std::fs::read(&programs.contract)
                    .with_context(|| format!("cannot read {}", programs.contract.display()))?;
                let deployed = deploy(&rpc, &settings, &wasm).await?;
                let text = format!("{}\n{}\n", deployed.0, deployed.1);
                colearn_files::replace(&known, text.as_bytes())?;
                deployed
            }
        };
        let settings = write_settings(&path, &url, &account, &[], &lines(&contract, &trust))?;
        Ok(Self { node, settings, contract, trust })
    }

    /// What whoever follows the ledger trusts.
    pub(super) fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Which contract keeps it.
    pub(super) fn contract(&self) -> &str {
        &self.contract
    }

    /// Starts the nodes that mirror it.
    pub(super) fn mirrors(&self, program: &Program, dir: &Path) -> anyhow::Result<Fleet> {
        let urls: Vec<String> =
            ports::free(MIRRORS)?.iter().map(|address| format!("http://{address}")).collect();
        let server = self.settings.rpc.first().context("the chain has a server")?;
        let mut files = Vec::new();
        for at in 0..MIRRORS {
            let others: Vec<&String> = urls
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != at)
                .map(|(_, url)| url)
                .collect();
            let account = dir.join(format!("{}.pem", mirror(at)));
            let file = dir.join(format!("{}.toml", mirror(at)));
            let lines = lines(&self.contract, &self.trust);
            write_settings(&file, server, &account, &others, &lines)?;
            files.push(file.display().to_string());
        }
        Fleet::start(program, dir, urls, move |at| vec!["--chain".to_owned(), files[at].clone()])
    }

    /// How many entries there are with which root, and the height of the header that proves it: asked of the chain
    /// itself.
    pub(super) async fn proven(&self) -> anyhow::Result<(u64, String, u64)> {
        let shown = self.settings.servers()?.prove(&self.trust, &self.contract, TREE_KEY).await?;
        let tree =
            Tree::from_bytes(&shown.established.value).context("the contract keeps no ledger")?;
        Ok((tree.head().size, tree.root().to_string(), shown.light.height()))
    }
}

/// The account of this file, which is made if need be: a demo that died before its chain was there has one already.
fn account_in(path: &Path) -> Result<Account, BadAccount> {
    match Account::open(path) {
        Err(BadAccount::Missing { .. }) => {
            let account = Account::generate()?;
            account.save(path)?;
            Ok(account)
        }
        opened => opened,
    }
}

fn mirror(at: usize) -> String {
    format!("relay-{}", at + 1)
}

fn lines(contract: &str, trust: &Trust) -> String {
    format!("contract = \"{contract}\"\ntrust = \"{trust}\"\n")
}

fn write_settings(
    path: &Path,
    server: &str,
    account: &Path,
    peers: &[&String],
    more: &str,
) -> anyhow::Result<Settings> {
    let mut text = format!("chain_id = \"{CHAIN}\"\nrpc = [{server:?}]\nprefix = \"{PREFIX}\"\n");
    let account = account.canonicalize()?;
    writeln!(
        text,
        "denom = \"stake\"\naccount = {:?}\npeers = {peers:?}",
        account.display().to_string()
    )?;
    // Everything is free there.
    text += "gas_price = 0\nmax_fee = 0\nmax_fee_a_day = 0\n";
    colearn_files::replace(path, (text + more).as_bytes())?;
    Ok(Settings::read(path)?)
}

/// Makes a chain of one node, on which these accounts have money.
fn prepare(program: &Path, home: &Path, accounts: &[String]) -> anyhow::Result<()> {
    // Beside it, then in place: what is interrupted here is begun anew.
    let new = home.with_extension("new");
    let _ = std::fs::remove_dir_all(&new);
    let call = |arguments: &[&str]| -> anyhow::Result<()> {
        let mut command = Command::new(program);
        let output = command.args(arguments).arg("--home").arg(&new).output();
        let output = output.with_context(|| {
            format!(
                "cannot run {}; say where it is: --wasmd FILE (docs/chain.md)",
                program.display()
            )
        })?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            bail!("{} {} failed: {}", program.display(), arguments.join(" "), why.trim_end());
        }
        Ok(())
    };
    let keyring = ["--keyring-backend", "test"];
    call(&["init", "one", "--chain-id", CHAIN, "--default-denom", "stake"])?;
    call(&[&["keys", "add", "validator"], &keyring[..]].concat())?;
    let validator = ["genesis", "add-genesis-account", "validator", "1000000000stake"];
    call(&[&validator, &keyring[..]].concat())?;
    for account in accounts {
        call(&["genesis", "add-genesis-account", account, "1000000000stake"])?;
    }
    let staked = ["genesis", "gentx", "validator", "1000000stake", "--chain-id", CHAIN];
    call(&[&staked, &keyring[..]].concat())?;
    call(&["genesis", "collect-gentxs"])?;
    let config = new.join("config/config.toml");
    let text = std::fs::read_to_string(&config)?;
    let quick = text.replace("timeout_commit = \"5s\"", "timeout_commit = \"1s\"");
    std::fs::write(&config, quick)?;
    Ok(std::fs::rename(&new, home)?)
}

fn run(program: &Path, home: &Path, listen: &str) -> anyhow::Result<Child> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(home.join("log"))?;
    let child = Command::new("sh")
        .args(["-c", UNTIL_EOF])
        .arg(program)
        .args(["start", "--rpc.laddr", listen, "--p2p.laddr", "tcp://127.0.0.1:0"])
        .args(["--rpc.pprof_laddr", "", "--grpc.enable=false"])
        .args(["--minimum-gas-prices", "0stake", "--home"])
        .arg(home)
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn();
    child.context("cannot run sh, which runs the chain's node")
}

async fn first_block(rpc: &Rpc, node: &mut Child, home: &Path) -> anyhow::Result<()> {
    let begun = Instant::now();
    // After a restart it shows at first the height that it had.
    let mut first = None;
    loop {
        if let Ok(status) = rpc.status().await
            && status.height > *first.get_or_insert(status.height.max(1))
        {
            return Ok(());
        }
        if node.try_wait()?.is_some() || begun.elapsed() > PATIENCE {
            bail!("the chain's node makes no block: see {}", home.join("log").display());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Puts the contract there. Gives its address, and what is to be trusted.
async fn deploy(rpc: &Rpc, settings: &Settings, wasm: &[u8]) -> anyhow::Result<(String, Trust)> {
    let mut deliverer = Deliverer::new(rpc.clone(), settings, settings.open_account()?);
    let code = deliverer.store(wasm).await?;
    let begin = json!({
        "max_members": 100, "block_gas": 100_000_000, "experiments_per_creator": 8, "expiry_ms": 3_600_000,
    });
    let contract = deliverer.instantiate(code, &begin, "colearn demo").await?;
    // What a header proves is the state before its block.
    wait(rpc, 2).await?;
    let trust = rpc.pin(&contract).await?;
    Ok((contract, trust))
}
