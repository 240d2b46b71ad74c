//! A public chain of one node, on this machine.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::skip;

/// How long the node, and each transaction, may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A contract that does nothing but take the place of another one's code: the exports that a chain insists on, and
/// `migrate`, which answers that all is well.
const OTHER_CODE: &str = "0061736d0100000001130460017f017f60017f0060000060027f7f017f0305040001020305030100040607017f01418020\
    0b074205066d656d6f7279020008616c6c6f6361746500000a6465616c6c6f63617465000113696e746572666163655f76657273696f6e5f38000207\
    6d69677261746500030a3704290023002300410c6a36020023002000360204230041003602082300230020006a41106a417c7124000b02000b02000b\
    05004180080b0b5501004180080b4e100400003e0000003e000000000000007b226f6b223a7b226d65737361676573223a5b5d2c2261747472696275\
    746573223a5b5d2c226576656e7473223a5b5d2c2264617461223a6e756c6c7d7d";

/// A node of a chain with contracts, whose blocks come every 200 ms. It ends with this.
pub struct Wasmd {
    program: PathBuf,
    home: tempfile::TempDir,
    port: u16,
    gas_price: String,
    /// `None` while it is killed.
    child: Option<Child>,
}

impl Drop for Wasmd {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Wasmd {
    /// The chain's id.
    pub const CHAIN: &str = "colearn-test-1";
    /// Its denomination.
    pub const DENOM: &str = "stake";
    /// What its addresses begin with.
    pub const PREFIX: &str = "wasm";

    /// Starts one that takes transactions for nothing; a skip where there is no program for it.
    #[track_caller]
    pub fn start() -> Option<Self> {
        Self::start_with("0stake")
    }

    /// Starts one that takes so much for a unit of gas, such as `0.025stake`.
    ///
    /// # Panics
    /// If it does not start.
    #[track_caller]
    pub fn start_with(gas_price: &str) -> Option<Self> {
        let program = program()?;
        let home = tempfile::tempdir().expect("a temporary folder");
        let port = crate::free_address().port();
        let gas_price = gas_price.to_owned();
        let mut node = Self { program, home, port, gas_price, child: None };
        node.prepare();
        node.restart();
        Some(node)
    }

    fn prepare(&self) {
        let run = |arguments: &[&str]| {
            let mut command = Command::new(&self.program);
            let output = command.args(arguments).arg("--home").arg(self.home.path()).output();
            let output = output.expect("wasmd runs");
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{arguments:?}: {text}");
        };
        let test = ["--keyring-backend", "test"];
        run(&["init", "one", "--chain-id", Self::CHAIN, "--default-denom", Self::DENOM]);
        run(&[&["keys", "add", "payer"], &test[..]].concat());
        let all = "1000000000000stake";
        run(&[&["genesis", "add-genesis-account", "payer", all], &test[..]].concat());
        let staked = ["genesis", "gentx", "payer", "1000000stake", "--chain-id", Self::CHAIN];
        run(&[&staked, &test[..]].concat());
        run(&["genesis", "collect-gentxs"]);
        // What those who stake vote on is decided in seconds.
        let genesis = self.home.path().join("config/genesis.json");
        let text = std::fs::read_to_string(&genesis).expect("wasmd has written its beginning");
        let quick = text
            .replace(
                "\"expedited_voting_period\": \"86400s\"",
                "\"expedited_voting_period\": \"2s\"",
            )
            .replace("\"voting_period\": \"172800s\"", "\"voting_period\": \"3s\"");
        assert_ne!(quick, text);
        std::fs::write(&genesis, quick).expect("its beginning is written");
        let config = self.home.path().join("config/config.toml");
        let text = std::fs::read_to_string(&config).expect("wasmd has written its settings");
        let quick = text.replace("timeout_commit = \"5s\"", "timeout_commit = \"200ms\"");
        assert_ne!(quick, text);
        std::fs::write(&config, quick).expect("its settings are written");
    }

    /// Starts it, after [`Wasmd::kill`] again with all that it has on disk, and waits for a new block.
    ///
    /// # Panics
    /// If none comes.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let path = self.home.path().join("log");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&path);
        let log = log.expect("its log can be written");
        let child = Command::new(&self.program)
            .args(["start", "--rpc.laddr", &self.node(), "--p2p.laddr", "tcp://127.0.0.1:0"])
            .args(["--rpc.pprof_laddr", "", "--grpc.enable=false"])
            .args(["--minimum-gas-prices", &self.gas_price, "--home"])
            .arg(self.home.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("its log can be written"))
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("wasmd starts"));
        let begun = Instant::now();
        // After a restart the node shows the height that it had.
        let mut first = None;
        loop {
            let height = self.status_height().filter(|height| *height > 0);
            if let Some(height) = height
                && height > *first.get_or_insert(height)
            {
                return;
            }
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            let log = || std::fs::read_to_string(&path).unwrap_or_default();
            assert!(ended.is_none() && begun.elapsed() < PATIENCE, "no first block: {}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// From the next [`Wasmd::restart`] on it takes so much for a unit of gas.
    pub fn ask_for(&mut self, gas_price: &str) {
        gas_price.clone_into(&mut self.gas_price);
    }

    /// kill -9; what waits for its block is lost.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The address at which it is asked.
    pub fn rpc_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The chain's id.
    pub fn chain_id(&self) -> &'static str {
        Self::CHAIN
    }

    /// How many blocks there are.
    ///
    /// # Panics
    /// If it does not say.
    pub fn height(&self) -> u64 {
        self.status_height().expect("wasmd answers")
    }

    /// Waits until there are so many blocks.
    ///
    /// # Panics
    /// If they do not come.
    pub fn wait_for(&self, height: u64) {
        let begun = Instant::now();
        while self.height() < height {
            assert!(begun.elapsed() < PATIENCE, "no block {height}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Gives an account so much of [`Wasmd::DENOM`], and waits until it has it.
    ///
    /// # Panics
    /// If that fails.
    pub fn fund(&self, address: &str, amount: u128) {
        let coins = format!("{amount}{}", Self::DENOM);
        self.pay(&["tx", "bank", "send", "payer", address, &coins]);
    }

    /// Has the account that everything comes from pay so much of fees in another's place, and waits for that. Gives its
    /// address.
    ///
    /// # Panics
    /// If that fails.
    pub fn grant(&self, address: &str, amount: u128) -> String {
        let coins = format!("{amount}{}", Self::DENOM);
        self.pay(&["tx", "feegrant", "grant", "payer", address, "--spend-limit", &coins]);
        // No question to the node, which is all that `ask` is for.
        let mut command = Command::new(&self.program);
        command.args(["keys", "show", "payer", "--address", "--keyring-backend", "test", "--home"]);
        let output = command.arg(self.home.path()).output().expect("wasmd runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Has the chain's governance give a contract other code, whoever administers it, and waits until it has.
    ///
    /// # Panics
    /// If that fails.
    pub fn migrate(&self, contract: &str) {
        let file = |name: &str| self.home.path().join(name);
        let bytes = (0..OTHER_CODE.len()).step_by(2).map(|at| &OTHER_CODE[at..at + 2]);
        let code: Vec<u8> = bytes.map(|it| u8::from_str_radix(it, 16).expect("hex")).collect();
        std::fs::write(file("other.wasm"), code).expect("it can be written");
        self.pay(&["tx", "wasm", "store", &file("other.wasm").to_string_lossy()]);
        let codes = self.ask(&["query", "wasm", "list-code"]).expect("wasmd answers");
        let codes = codes["code_infos"].as_array().expect("there is code");
        let code = &codes.last().expect("there is code")["code_id"];
        let governance = self.ask(&["query", "auth", "module-account", "gov"]);
        let governance = governance.expect("wasmd answers")["account"]["value"]["address"].clone();
        let proposal = serde_json::json!({
            "messages": [{
                "@type": "/cosmwasm.wasm.v1.MsgMigrateContract", "sender": governance,
                "contract": contract, "code_id": code, "msg": {},
            }],
            "metadata": "", "deposit": "10000000stake", "title": "other code", "summary": "other code",
        });
        std::fs::write(file("proposal.json"), proposal.to_string()).expect("it can be written");
        let proposal = file("proposal.json");
        self.pay(&["tx", "gov", "submit-proposal", &proposal.to_string_lossy()]);
        self.pay(&["tx", "gov", "vote", "1", "yes"]);
        let begun = Instant::now();
        loop {
            let info = self.ask(&["query", "wasm", "contract", contract]).unwrap_or_default();
            if info["contract_info"]["code_id"] == *code {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "the proposal has come to nothing: {info}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Has a transaction carried out that the account signs that everything comes from.
    fn pay(&self, transaction: &[&str]) {
        let from = ["--from", "payer"];
        // The others say who among what they are about.
        let says = matches!(transaction[1], "wasm" | "gov");
        let from = if says { &from[..] } else { &[] };
        let pays = ["--keyring-backend", "test", "--chain-id", Self::CHAIN, "--yes"];
        let gas = ["--broadcast-mode", "sync", "--gas", "2000000", "--gas-prices", &self.gas_price];
        let sent = self.ask(&[transaction, from, &pays, &gas].concat());
        let sent = sent.expect("wasmd takes the transaction");
        assert_eq!(sent["code"], 0, "{sent}");
        let hash = sent["txhash"].as_str().expect("a transaction has a hash");
        let begun = Instant::now();
        loop {
            match self.ask(&["query", "tx", hash]) {
                Some(done) if done["txhash"] == hash => {
                    return assert_eq!(done["code"], 0, "{done}");
                }
                _ => assert!(begun.elapsed() < PATIENCE, "{hash} is in no block"),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn status_height(&self) -> Option<u64> {
        self.ask(&["status"])?["sync_info"]["latest_block_height"].as_str()?.parse().ok()
    }

    fn node(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    /// What a command of the program prints, in JSON, if it does.
    fn ask(&self, arguments: &[&str]) -> Option<Value> {
        let mut command = Command::new(&self.program);
        command.args(arguments).args(["--node", &self.node(), "--output", "json", "--home"]);
        let output = command.arg(self.home.path()).output().expect("wasmd runs");
        serde_json::from_slice(&output.stdout).ok()
    }
}

/// The program that `COLEARN_WASMD` names, or else the one that `.ci/wasmd` has built; a skip where there is none.
#[track_caller]
pub fn program() -> Option<PathBuf> {
    built("wasmd", "COLEARN_WASMD", "tools/wasmd", ".ci/wasmd")
}

/// The contract's code that `COLEARN_CHAIN_WASM` names, or else the one that `.ci/chain-wasm` has built; a skip where
/// there is none.
#[track_caller]
pub fn contract() -> Option<PathBuf> {
    built("chain-wasm", "COLEARN_CHAIN_WASM", "chain/colearn-chain.wasm", ".ci/chain-wasm")
}

/// The file that an environment variable names, or that a script has built; a skip where there is none.
#[track_caller]
fn built(what: &str, variable: &str, path: &str, script: &str) -> Option<PathBuf> {
    let named = std::env::var_os(variable).filter(|named| !named.is_empty()).map(PathBuf::from);
    let there = || {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target").join(path);
        path.exists().then_some(path)
    };
    let found = named.or_else(there);
    if found.is_none() {
        skip(what, &format!("neither {variable} nor target/{path}; {script} builds it"));
    }
    found
}
