//! What a real chain proves of the ledger, and what it does not.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use colearn_light::{Block, Light, TrustLine, address, block, code, contract_key, proven};
use colearn_records::on_chain::Tree;
use colearn_records::transaction::Seen;
use serde_json::Value;

use crate::wasmd::{CHAIN, Wasmd};

/// A node's answers about the block of this height.
struct Answers {
    commit: Vec<u8>,
    validators: Vec<u8>,
    next_validators: Vec<u8>,
}

impl Answers {
    fn of(node: &Wasmd, height: u64) -> Self {
        // The next one's validators are known with the block after it.
        node.wait_for(height + 1);
        Self {
            commit: node.rpc(&format!("commit?height={height}")),
            validators: node.rpc(&format!("validators?height={height}&per_page=100")),
            next_validators: node.rpc(&format!("validators?height={}&per_page=100", height + 1)),
        }
    }

    fn read(&self) -> Block {
        let pages = |page: &Vec<u8>| [page.clone()];
        block(&self.commit, &pages(&self.validators), &pages(&self.next_validators)).unwrap()
    }

    fn header_hash(&self) -> String {
        let answer: Value = serde_json::from_slice(&self.commit).unwrap();
        let hash = &answer["result"]["signed_header"]["commit"]["block_id"]["hash"];
        hash.as_str().unwrap().to_owned()
    }
}

/// Follows the chain from an early header to the newest, and has the ledger's end proven under it, and that the
/// contract runs the code with this checksum and nobody may give it another. With `COLEARN_BLESS=1` what the chain
/// answers becomes the data of the tests of `colearn-light`.
pub(crate) fn prove(node: &Wasmd, contract: &str, seen: &Seen, sha256: [u8; 32]) {
    let early = Answers::of(node, 2);
    let state_height = node.height();
    let late = Answers::of(node, state_height + 1);
    let contract_bytes = address(contract).unwrap();
    let ask = |key: &[u8]| {
        let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = "abci_query?path=%22/store/wasm/key%22";
        node.rpc(&format!("{path}&data=0x{digits}&prove=true&height={state_height}"))
    };

    let hash = early.header_hash();
    let byte = |at: usize| u8::from_str_radix(&hash[at * 2..at * 2 + 2], 16).unwrap();
    let line = TrustLine {
        chain: CHAIN.to_owned(),
        height: 2,
        hash: std::array::from_fn(byte),
        period: Duration::from_secs(14 * 24 * 3_600),
    };
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let mut light = Light::begin(&line, early.read()).unwrap();
    light.advance(late.read(), now_ms).unwrap();
    let value = |key: &[u8]| light.value(key, &proven(&ask(key)).unwrap()).unwrap().to_vec();
    let key = contract_key(&contract_bytes, b"t");
    let tree = Tree::from_bytes(&value(&key)).unwrap();
    assert_eq!(&Seen { size: tree.head().size, root: tree.root() }, seen);
    let info = code::info(&value(&code::info_key(&contract_bytes))).unwrap();
    assert_eq!(info, code::Contract { code: 1, admin: None });
    assert_eq!(code::checksum(&value(&code::code_key(info.code))), Ok(sha256));

    if std::env::var_os("COLEARN_BLESS").is_some() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../light/tests/data");
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).unwrap();
        for (name, answers) in [("early", &early), ("late", &late)] {
            write(&format!("{name}-commit.json"), &answers.commit);
            write(&format!("{name}-validators.json"), &answers.validators);
            write(&format!("{name}-next-validators.json"), &answers.next_validators);
        }
        write("value.json", &ask(&key));
        let told = format!("{contract}\n{hash}\n{now_ms}\n");
        write("told.txt", told.as_bytes());
    }
}
