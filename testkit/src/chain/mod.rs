//! A public chain that is made up: headers that its validators have signed, and a state of which three values are
//! proven, as servers of CometBFT answer it.

mod server;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use colearn_light::{RawBlock, RawValue, Trust, TrustLine, address, code, contract_key};
use ed25519_dalek::{Signer as _, SigningKey};
use ics23::commitment_proof::Proof;
use ics23::{
    CommitmentProof, ExistenceProof, HashOp, InnerOp, LeafOp, LengthOp, NonExistenceProof,
};
use prost::Message as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tendermint::block::signed_header::SignedHeader;
use tendermint::validator::{Info, Set};
use tendermint::vote::{Type, Vote};
use tendermint::{AppHash, PublicKey, Time};

pub use self::server::{Answer, Server, entries_answer};

/// The chain's id.
pub const ID: &str = "colearn-test-1";
/// The contract's address there.
pub const CONTRACT: &str = "wasm14hj2tavq8fpesdwxxcu44rty3hh90vhujrvcmstl4zr3txmfvw9s0phg4d";
/// The checksum of the code that the contract is to run.
pub const CODE: [u8; 32] = [7; 32];
/// The key under which it keeps the end of its ledger.
pub const KEY: &[u8] = b"t";

/// Who signs the blocks, each with one vote: seeds of keys.
pub type Validators = Vec<u8>;

/// The chain, and what its contract keeps.
#[derive(Clone)]
pub struct Chain {
    /// From height 1 on.
    pub blocks: Vec<Block>,
    state: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Who signs the next block, and the one after it.
    validators: Validators,
    next_validators: Validators,
}

/// One of its blocks.
#[derive(Clone)]
pub struct Block {
    /// Its header with the votes, as servers answer.
    pub raw: RawBlock,
    /// Its header's hash.
    pub hash: [u8; 32],
    /// Its time, in ms since 1970.
    pub time_ms: u64,
    /// Values of the state after the block before, proven by this one's header.
    pub value: RawValue,
    state: Arc<Tree>,
}

impl Block {
    /// The answer of what the chain's contracts keep under this key after the block before, of this height.
    pub fn answer(&self, key: &[u8], height: u64) -> Vec<u8> {
        self.state.answer(key, height)
    }
}

impl Chain {
    /// One whose contract keeps nothing yet, and whose first block has this time.
    pub fn begin(time_ms: u64) -> Self {
        Self::begin_with(vec![1, 2, 3, 4], time_ms)
    }

    /// The same, whose blocks these sign.
    pub fn begin_with(validators: Validators, time_ms: u64) -> Self {
        let contract = address(CONTRACT).unwrap();
        let info = [&[0x08, 1, 0x12, 1, b'c', 0x22, 1][..], b"l"].concat();
        let state = BTreeMap::from([
            (code::info_key(&contract), info),
            (contract_key(&contract, KEY), vec![0]),
        ]);
        let next_validators = validators.clone();
        let mut chain = Self { blocks: Vec::new(), state, validators, next_validators };
        chain.run_code(CODE);
        chain.block(time_ms);
        chain
    }

    /// From the next block on the contract runs this code.
    pub fn run_code(&mut self, checksum: [u8; 32]) {
        let value = [&[0x0a, 32], &checksum[..], &[0x12, 1, b'c']].concat();
        self.state.insert(code::code_key(1), value);
    }

    /// From the next block on somebody administers the contract.
    pub fn administer(&mut self) {
        let info = [&[0x08, 1, 0x12, 1, b'c', 0x1a, 1, b'a', 0x22, 1][..], b"l"].concat();
        self.state.insert(code::info_key(&address(CONTRACT).unwrap()), info);
    }

    /// From the next block on the contract keeps this as the end of its ledger.
    pub fn keep(&mut self, tree: Vec<u8>) {
        self.set(KEY, tree);
    }

    /// From the next block on the contract keeps this under that key of its own.
    ///
    /// # Panics
    /// Never.
    pub fn set(&mut self, key: &[u8], value: Vec<u8>) {
        self.state.insert(contract_key(&address(CONTRACT).unwrap(), key), value);
    }

    /// From the block after the next on these sign.
    pub fn change_validators(&mut self, validators: Validators) {
        self.next_validators = validators;
    }

    /// How many blocks there are.
    pub fn height(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// The block of this height.
    pub fn at(&self, height: u64) -> Option<&Block> {
        self.blocks.get(height.checked_sub(1)? as usize)
    }

    /// The time of the newest, in ms since 1970; 0 before the first.
    pub fn time_ms(&self) -> u64 {
        self.blocks.last().map_or(0, |block| block.time_ms)
    }

    /// The next block, whose header proves the state until here.
    pub fn block(&mut self, time_ms: u64) {
        let block = self.sealed(time_ms);
        self.blocks.push(block);
        self.validators = self.next_validators.clone();
    }

    /// The same, without going on.
    pub fn sealed(&self, time_ms: u64) -> Block {
        let height = self.height() + 1;
        let tree = Tree::new(&self.state);
        let (raw, hash) = signed(height, time_ms, &tree, &self.validators, &self.next_validators);
        let contract = address(CONTRACT).unwrap();
        let answer = |key: Vec<u8>| tree.answer(&key, height - 1);
        let value = RawValue {
            value: answer(contract_key(&contract, KEY)),
            contract: answer(code::info_key(&contract)),
            code: answer(code::code_key(1)),
        };
        Block { raw, hash, time_ms, value, state: tree.into() }
    }

    /// What is trusted by whoever trusts this block.
    ///
    /// # Panics
    /// If there is none of this height.
    pub fn trust(&self, height: u64) -> Trust {
        let hash = self.at(height).unwrap().hash;
        let period = Duration::from_secs(14 * 24 * 3_600);
        let line = TrustLine { chain: ID.to_owned(), height, hash, period };
        Trust { line, code: CODE, contract: CONTRACT.to_owned() }
    }
}

/// A block that these have signed.
fn signed(
    height: u64,
    time_ms: u64,
    state: &Tree,
    validators: &[u8],
    next: &[u8],
) -> (RawBlock, [u8; 32]) {
    let template = include_str!("../../../light/tests/data/late-commit.json");
    let mut answer: Value = serde_json::from_str(template).unwrap();
    let read = answer["result"]["signed_header"].clone();
    let SignedHeader { mut header, .. } = serde_json::from_value(read).unwrap();
    let set = |seeds: &[u8]| Set::without_proposer(seeds.iter().map(|seed| info(*seed)).collect());
    header.height = height.try_into().unwrap();
    header.time = time(time_ms);
    header.last_block_id = header.last_block_id.filter(|_| height > 1);
    header.validators_hash = set(validators).hash();
    header.next_validators_hash = set(next).hash();
    header.app_hash = AppHash::try_from(state.app_hash().to_vec()).unwrap();
    let hash = header.hash();
    let commit = &mut answer["result"]["signed_header"]["commit"];
    commit["height"] = height.to_string().into();
    commit["block_id"]["hash"] = hash.to_string().into();
    let block_id = serde_json::from_value(commit["block_id"].clone()).unwrap();
    let votes = validators.iter().enumerate().map(|(at, seed)| {
        let vote = Vote {
            vote_type: Type::Precommit,
            height: header.height,
            round: 0_u8.into(),
            block_id: Some(block_id),
            timestamp: Some(header.time),
            validator_address: info(*seed).address,
            validator_index: (at as i32).try_into().unwrap(),
            signature: None,
            extension: Vec::new(),
            extension_signature: None,
        };
        let signature = key(*seed).sign(&vote.into_signable_vec(header.chain_id.clone()));
        json!({
            "block_id_flag": 2,
            "validator_address": info(*seed).address.to_string(),
            "timestamp": header.time.to_rfc3339(),
            "signature": STANDARD.encode(signature.to_bytes()),
        })
    });
    commit["signatures"] = votes.collect();
    answer["result"]["signed_header"]["header"] = serde_json::to_value(&header).unwrap();
    let page = |seeds: &[u8]| {
        let infos: Vec<Info> = set(seeds).validators().clone();
        vec![
            serde_json::to_vec(
                &json!({ "result": { "validators": infos, "total": infos.len().to_string() } }),
            )
            .unwrap(),
        ]
    };
    let raw = RawBlock {
        commit: serde_json::to_vec(&answer).unwrap(),
        validators: page(validators),
        next_validators: page(next),
    };
    (raw, hash.as_bytes().try_into().unwrap())
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[100 + seed; 32])
}

fn info(seed: u8) -> Info {
    let key = key(seed).verifying_key().to_bytes();
    Info::new(PublicKey::from_raw_ed25519(&key).unwrap(), 1_u32.into())
}

fn time(ms: u64) -> Time {
    Time::from_unix_timestamp((ms / 1000) as i64, (ms % 1000) as u32 * 1_000_000).unwrap()
}

/// A state of these values in the contracts' store, which is all of the state, among a million of others.
struct Tree {
    leaves: Vec<(Vec<u8>, Vec<u8>)>,
    /// The hashes of the values, and of those above them, in pairs.
    levels: Vec<Vec<[u8; 32]>>,
}

/// What leaves of IAVL begin with: height, size, version.
const LEAF: &[u8] = &[0, 2, 2];
/// Of how many other values, as a power of two, the state has proofs as long.
const OTHERS: u8 = 20;
const ABOVE: &[u8] = &[80, 80, 2];

impl Tree {
    fn new(values: &BTreeMap<Vec<u8>, Vec<u8>>) -> Self {
        let leaves: Vec<_> = values.clone().into_iter().collect();
        let hashes = leaves.iter().map(|(key, value)| hashed_leaf(LEAF, key, value)).collect();
        let mut levels: Vec<Vec<[u8; 32]>> = vec![hashes];
        while let Some(below) = levels.last().filter(|below| below.len() > 1) {
            let prefix = prefix(levels.len());
            let above = below.chunks(2).map(|pair| match pair {
                [low, high] => inner(&prefix, *low, *high),
                // Who has no neighbour goes up alone.
                alone => alone[0],
            });
            levels.push(above.collect());
        }
        Self { leaves, levels }
    }

    /// Of these values, and all that others keep.
    fn root(&self) -> [u8; 32] {
        let own = self.levels[self.levels.len() - 1][0];
        (0..OTHERS).fold(own, |root, level| inner(ABOVE, root, [level; 32]))
    }

    fn app_hash(&self) -> [u8; 32] {
        hashed_leaf(&[0], b"wasm", &self.root())
    }

    /// The answer of what is under a key after the block of this height, or that nothing is.
    fn answer(&self, key: &[u8], height: u64) -> Vec<u8> {
        let place = self.leaves.binary_search_by(|(other, _)| other[..].cmp(key));
        let (store, value) = match place {
            Ok(place) => (Proof::Exist(self.exists(place)), Some(&self.leaves[place].1)),
            Err(place) => {
                let beside = |at: usize| self.leaves.get(at).map(|_| self.exists(at));
                let left = place.checked_sub(1).and_then(beside);
                let absent = NonExistenceProof { key: key.to_vec(), left, right: beside(place) };
                (Proof::Nonexist(absent), None)
            }
        };
        let root = self.root().to_vec();
        let state = Proof::Exist(exists(&[0], b"wasm".to_vec(), root, Vec::new()));
        let ops = [store, state].map(|proof| {
            let proof = CommitmentProof { proof: Some(proof) };
            json!({ "data": STANDARD.encode(proof.encode_to_vec()) })
        });
        let response = json!({
            "key": STANDARD.encode(key), "value": value.map(|value| STANDARD.encode(value)),
            "proofOps": { "ops": ops }, "height": height.to_string(),
        });
        serde_json::to_vec(&json!({ "result": { "response": response } })).unwrap()
    }

    /// That the store has the value of this place.
    fn exists(&self, place: usize) -> ExistenceProof {
        let mut path = Vec::new();
        for (level, hashes) in self.levels.iter().enumerate() {
            let at = place >> level;
            if let Some(neighbour) = hashes.get(at ^ 1) {
                let beside = if at.is_multiple_of(2) { left } else { right };
                path.push(beside(&prefix(level + 1), *neighbour));
            }
        }
        path.extend((0..OTHERS).map(|level| left(ABOVE, [level; 32])));
        let (key, value) = self.leaves[place].clone();
        exists(LEAF, key, value, path)
    }
}

/// What nodes of IAVL begin with that are so far above the leaves.
fn prefix(level: usize) -> [u8; 3] {
    [2 * level as u8, 4, 2]
}

fn hashed_leaf(prefix: &[u8], key: &[u8], value: &[u8]) -> [u8; 32] {
    let value = Sha256::digest(value);
    let parts = [prefix, &[key.len() as u8], key, &[32], &value[..]].concat();
    Sha256::digest(parts).into()
}

fn inner(prefix: &[u8], left: [u8; 32], right: [u8; 32]) -> [u8; 32] {
    Sha256::digest([prefix, &[32], &left[..], &[32], &right[..]].concat()).into()
}

/// What makes the node above of a left child, and of a right one.
fn left(prefix: &[u8], right: [u8; 32]) -> InnerOp {
    let (prefix, suffix) = ([prefix, &[32]].concat(), [&[32], &right[..]].concat());
    InnerOp { hash: HashOp::Sha256.into(), prefix, suffix }
}

fn right(prefix: &[u8], left: [u8; 32]) -> InnerOp {
    let prefix = [prefix, &[32], &left[..], &[32]].concat();
    InnerOp { hash: HashOp::Sha256.into(), prefix, suffix: Vec::new() }
}

fn exists(prefix: &[u8], key: Vec<u8>, value: Vec<u8>, path: Vec<InnerOp>) -> ExistenceProof {
    let leaf = LeafOp {
        hash: HashOp::Sha256.into(),
        prehash_key: HashOp::NoHash.into(),
        prehash_value: HashOp::Sha256.into(),
        length: LengthOp::VarProto.into(),
        prefix: prefix.to_vec(),
    };
    ExistenceProof { key, value, leaf: Some(leaf), path }
}
