//! A public chain that is made up: headers that its validators have signed, and a state of which three values are
//! proven, as servers of CometBFT answer it.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use colearn_light::{RawBlock, RawValue, Trust, TrustLine, address, code, contract_key};
use colearn_sdk::ed25519_dalek::{Signer as _, SigningKey};
use ics23::commitment_proof::Proof;
use ics23::{CommitmentProof, ExistenceProof, HashOp, InnerOp, LeafOp, LengthOp};
use prost_13::Message as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tendermint::block::signed_header::SignedHeader;
use tendermint::validator::{Info, Set};
use tendermint::vote::{Type, Vote};
use tendermint::{AppHash, PublicKey, Time};

/// The chain's id, and the contract's address there.
pub(crate) const ID: &str = "colearn-test-1";
pub(crate) const CONTRACT: &str = "wasm14hj2tavq8fpesdwxxcu44rty3hh90vhujrvcmstl4zr3txmfvw9s0phg4d";
/// The checksum of the code that the contract is to run.
pub(crate) const CODE: [u8; 32] = [7; 32];
const KEY: &[u8] = b"t";

/// Who signs the blocks, each with one vote: seeds of keys.
pub(crate) type Validators = Vec<u8>;

#[derive(Clone)]
pub(crate) struct Chain {
    /// From height 1 on.
    pub(crate) blocks: Vec<Block>,
    state: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Who signs the next block, and the one after it.
    validators: Validators,
    next_validators: Validators,
}

#[derive(Clone)]
pub(crate) struct Block {
    pub(crate) raw: RawBlock,
    pub(crate) hash: [u8; 32],
    pub(crate) time_ms: u64,
    /// The values of the state after the block before, proven by this one's header.
    pub(crate) value: RawValue,
}

impl Chain {
    /// One whose contract keeps nothing yet, and whose first block has this time.
    pub(crate) fn begin(time_ms: u64) -> Self {
        let contract = address(CONTRACT).unwrap();
        let info = [&[0x08, 1, 0x12, 1, b'c', 0x22, 1][..], b"l"].concat();
        let state = BTreeMap::from([
            (code::info_key(&contract), info),
            (contract_key(&contract, KEY), vec![0]),
        ]);
        let validators = vec![1, 2, 3, 4];
        let next_validators = validators.clone();
        let mut chain = Self { blocks: Vec::new(), state, validators, next_validators };
        chain.run_code(CODE);
        chain.block(time_ms);
        chain
    }

    /// From the next block on the contract runs this code.
    pub(crate) fn run_code(&mut self, checksum: [u8; 32]) {
        let value = [&[0x0a, 32], &checksum[..], &[0x12, 1, b'c']].concat();
        self.state.insert(code::code_key(1), value);
    }

    /// From the next block on somebody administers the contract.
    pub(crate) fn administer(&mut self) {
        let info = [&[0x08, 1, 0x12, 1, b'c', 0x1a, 1, b'a', 0x22, 1][..], b"l"].concat();
        self.state.insert(code::info_key(&address(CONTRACT).unwrap()), info);
    }

    /// From the next block on the contract keeps this as the end of its ledger.
    pub(crate) fn keep(&mut self, tree: Vec<u8>) {
        self.state.insert(contract_key(&address(CONTRACT).unwrap(), KEY), tree);
    }

    /// From the block after the next on these sign.
    pub(crate) fn change_validators(&mut self, validators: Validators) {
        self.next_validators = validators;
    }

    pub(crate) fn height(&self) -> u64 {
        self.blocks.len() as u64
    }

    pub(crate) fn at(&self, height: u64) -> Option<&Block> {
        self.blocks.get(height.checked_sub(1)? as usize)
    }

    pub(crate) fn time_ms(&self) -> u64 {
        self.blocks.last().map_or(0, |block| block.time_ms)
    }

    /// The next block, whose header proves the state until here.
    pub(crate) fn block(&mut self, time_ms: u64) {
        let block = self.sealed(time_ms);
        self.blocks.push(block);
        self.validators = self.next_validators.clone();
    }

    /// The same, without going on.
    pub(crate) fn sealed(&self, time_ms: u64) -> Block {
        let height = self.height() + 1;
        let tree = Tree::new(self.state.iter());
        let (raw, hash) = signed(height, time_ms, &tree, &self.validators, &self.next_validators);
        let contract = address(CONTRACT).unwrap();
        let answer = |key: Vec<u8>| tree.answer(&key, height - 1);
        let value = RawValue {
            value: answer(contract_key(&contract, KEY)),
            contract: answer(code::info_key(&contract)),
            code: answer(code::code_key(1)),
        };
        Block { raw, hash, time_ms, value }
    }

    /// What is trusted by whoever trusts this block.
    pub(crate) fn trust(&self, height: u64) -> Trust {
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
        vec![serde_json::to_vec(&json!({ "result": { "validators": infos } })).unwrap()]
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

/// A state of three values in the contracts' store, which is all of the state.
struct Tree {
    leaves: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Tree {
    fn new<'a>(values: impl Iterator<Item = (&'a Vec<u8>, &'a Vec<u8>)>) -> Self {
        let leaves: Vec<_> = values.map(|(key, value)| (key.clone(), value.clone())).collect();
        assert_eq!(leaves.len(), 3);
        Self { leaves }
    }

    fn leaf(&self, at: usize) -> [u8; 32] {
        let (key, value) = &self.leaves[at];
        hashed_leaf(LEAF, key, value)
    }

    /// The first two, and then all.
    fn low(&self) -> [u8; 32] {
        inner(LOW, self.leaf(0), self.leaf(1))
    }

    fn root(&self) -> [u8; 32] {
        inner(HIGH, self.low(), self.leaf(2))
    }

    fn app_hash(&self) -> [u8; 32] {
        hashed_leaf(&[0], b"wasm", &self.root())
    }

    fn answer(&self, key: &[u8], height: u64) -> Vec<u8> {
        let at = self.leaves.iter().position(|(other, _)| other == key).unwrap();
        let path = match at {
            0 => vec![left(LOW, self.leaf(1)), left(HIGH, self.leaf(2))],
            1 => vec![right(LOW, self.leaf(0)), left(HIGH, self.leaf(2))],
            _ => vec![right(HIGH, self.low())],
        };
        let (key, value) = self.leaves[at].clone();
        let store = proof(LEAF, key.clone(), value.clone(), path);
        let state = proof(&[0], b"wasm".to_vec(), self.root().to_vec(), Vec::new());
        let ops = [store, state].map(|data| json!({ "data": STANDARD.encode(data) }));
        let (key, value) = (STANDARD.encode(key), STANDARD.encode(value));
        let response = json!({
            "key": key, "value": value, "proofOps": { "ops": ops }, "height": height.to_string(),
        });
        serde_json::to_vec(&json!({ "result": { "response": response } })).unwrap()
    }
}

/// What nodes of IAVL begin with: height, size, version.
const LEAF: &[u8] = &[0, 2, 2];
const LOW: &[u8] = &[2, 4, 2];
const HIGH: &[u8] = &[4, 6, 2];

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

fn proof(prefix: &[u8], key: Vec<u8>, value: Vec<u8>, path: Vec<InnerOp>) -> Vec<u8> {
    let leaf = LeafOp {
        hash: HashOp::Sha256.into(),
        prehash_key: HashOp::NoHash.into(),
        prehash_value: HashOp::Sha256.into(),
        length: LengthOp::VarProto.into(),
        prefix: prefix.to_vec(),
    };
    let exists = ExistenceProof { key, value, leaf: Some(leaf), path };
    CommitmentProof { proof: Some(Proof::Exist(exists)) }.encode_to_vec()
}
