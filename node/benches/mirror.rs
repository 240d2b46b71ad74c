//! Mirroring the ledger of a public chain: how quickly a new mirror takes over a long one, beside how quickly a newcomer
//! follows the same history at one node.
//!
//! Run with `cargo bench -p colearn-node --bench mirror` (10,000 entries), or with another number of entries behind
//! `--`. The chain is made up, and its server in this process: what is told has the server's work in it, and reading its
//! JSON, but no network. The mirror verifies, decides, and records durably; who follows verifies and decides.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[path = "../../benches/long/mod.rs"]
mod long;

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use colearn_contracts::{Charter, Contract, Creators, Digest, Limits, VERSION};
use colearn_ledger::Head;
use colearn_node::{Config, Node};
use colearn_records::keys::learner_id;
use colearn_records::on_chain::{PublicChain, Root, Tree};
use colearn_records::record;
use colearn_records::transaction::{LedgerId, Seen};
use colearn_relay::{Account, Settings};
use colearn_sdk::client::{Client, Followed, Memory, Trust};
use colearn_testkit::Figures;
use colearn_testkit::chain::{CONTRACT, Chain, ID, Server};

use self::long::{Log, key, signatures_alone};

/// As in the `colearn` binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Of the rate of following.
const GOAL: f64 = 0.5;
const TIMES: usize = 3;

/// What a contract has.
struct Written {
    tree: Tree,
    entries: Vec<Vec<u8>>,
    chain: Chain,
}

impl Log for Written {
    fn append(&mut self, now_ms: u64, payload: Vec<u8>, _: Vec<Vec<u8>>) {
        self.entries.push(self.tree.push(now_ms, payload).unwrap());
        self.chain.set(&Root::key(self.tree.head().size), self.tree.kept_root().to_bytes());
    }

    fn head(&self) -> Head {
        *self.tree.head()
    }

    fn seen(&mut self) -> Seen {
        Seen { size: self.tree.head().size, root: self.tree.root() }
    }
}

/// A chain whose contract has recorded about so many entries.
fn written(entries: u64) -> Written {
    let charter = Charter { creators: Creators::Anybody, max_members: 100 };
    let public = PublicChain::new(ID.to_owned(), CONTRACT.to_owned(), charter.clone(), 1 << 30);
    let genesis = public.unwrap().genesis(VERSION, &Limits::default(), 1_000);
    let id = LedgerId::of(&genesis);
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let chain = Chain::begin(now_ms - 10_000);
    let mut written = Written { tree: Tree::empty(), entries: Vec::new(), chain };
    written.append(1_000, record::genesis_payload(genesis), Vec::new());
    let contract = Contract::on_chain(Digest(id.0), VERSION, Limits::default(), charter);
    long::play(&mut written, &id, contract, entries);
    let Written { tree, chain, .. } = &mut written;
    chain.keep(tree.to_bytes());
    (1..=2).for_each(|_| chain.block(chain.time_ms() + 1_000));
    written
}

/// What a mirror is told of the chain.
fn settings(chain: &Chain, server: &Server, dir: &Path) -> Settings {
    let (path, account) = (dir.join("chain.toml"), dir.join("relay.pem"));
    if !account.exists() {
        Account::generate().unwrap().save(&account).unwrap();
    }
    let text = format!(
        "chain_id = \"{ID}\"\nrpc = [\"{}\"]\nprefix = \"wasm\"\ndenom = \"stake\"\ngas_price = 0\nmax_fee = 0\n\
         max_fee_a_day = 0\naccount = \"relay.pem\"\ncontract = \"{CONTRACT}\"\ntrust = \"{}\"\n",
        server.url(),
        chain.trust(1)
    );
    std::fs::write(&path, text).unwrap();
    Settings::read(&path).unwrap()
}

/// Entries a second of following a node from the first entry on, into a folder.
async fn follow(url: &str, folder: &Path) -> f64 {
    let memory = Memory::open(folder, learner_id(&key(0))).unwrap();
    let started = Instant::now();
    let client = Client::connect(url).await.unwrap();
    let mut followed = Followed::open(client, memory, Trust::default()).await.unwrap();
    followed.catch_up(&mut |_| {}).await.unwrap();
    followed.size() as f64 / started.elapsed().as_secs_f64()
}

/// Whether what a node shows has so many entries.
async fn shows(url: &str, size: f64) -> bool {
    let Ok(client) = Client::connect(url).await else { return false };
    let followed = Followed::open(client, Memory::default(), Trust::default()).await;
    followed.is_ok_and(|followed| followed.checkpoint().contains(&format!("\n{size}\n")))
}

#[tokio::main]
async fn main() {
    let entries = std::env::args().find_map(|text| text.parse().ok()).unwrap_or(10_000);
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let dir = dir.path();
    long::write(&dir.join("solo"), entries);
    let (count, alone, _) = signatures_alone(&dir.join("solo/ledger"));
    println!("{count} signatures alone: {:.0}/s", count as f64 / alone.as_secs_f64());
    let solo = Node::start(Config::new(dir.join("solo"))).await.unwrap();
    let Written { chain, entries, .. } = written(entries);
    let size = entries.len() as f64;
    let server = Server::start(chain.clone(), entries);
    // In turn, since others may use the machine: the best of each is told.
    let (mut following, mut mirroring) = (0_f64, 0_f64);
    for time in 0..TIMES {
        following = following.max(follow(&solo.url(), &dir.join(format!("followed{time}"))).await);
        let settings = settings(&chain, &server, dir);
        let data = dir.join(format!("mirror{time}"));
        let started = Instant::now();
        let config = Config { chain: Some(settings), ..Config::new(data) };
        let mirror = Node::start(config).await.unwrap();
        // It serves while it takes over, and says so until all is there.
        while !shows(&mirror.url(), size).await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        mirroring = mirroring.max(size / started.elapsed().as_secs_f64());
        mirror.shutdown().await.unwrap();
    }
    let ratio = mirroring / following;
    let mut figures = Figures::of("mirror", env!("CARGO_TARGET_TMPDIR"));
    let told = format!("{mirroring:.0}/s of {following:.0}/s: {ratio:.2}");
    figures.at_least(
        &format!("{size} entries mirrored, to followed at a node"),
        &told,
        ratio,
        GOAL,
    );
    figures.end();
    solo.shutdown().await.unwrap();
}
