//! Roots and proofs of the tree (RFC 6962).

use std::collections::BTreeMap;

use colearn_ledger::{Hash, TreeBuilder, tree};
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct File {
    /// Of the first so many leaves.
    roots: BTreeMap<u64, String>,
    inclusion: Vec<Inclusion>,
    consistency: Vec<Consistency>,
    refused: Refused,
}

#[derive(Serialize)]
struct Inclusion {
    leaf: u64,
    size: u64,
    path: Vec<String>,
}

#[derive(Serialize)]
struct Consistency {
    old: u64,
    new: u64,
    path: Vec<String>,
}

#[derive(Serialize)]
struct Refused {
    inclusion: Vec<RefusedInclusion>,
    consistency: Vec<RefusedConsistency>,
}

#[derive(Serialize)]
struct RefusedInclusion {
    name: &'static str,
    leaf: String,
    index: u64,
    size: u64,
    root: String,
    path: Vec<String>,
}

#[derive(Serialize)]
struct RefusedConsistency {
    name: &'static str,
    old: u64,
    old_root: String,
    new: u64,
    new_root: String,
    path: Vec<String>,
}

/// More than two tiles.
const LEAVES: u64 = 600;

/// What leaf `index` holds.
fn leaf(index: u64) -> Hash {
    Hash::leaf(format!("leaf {index}").as_bytes())
}

fn texts(path: &[Hash]) -> Vec<String> {
    path.iter().map(Hash::to_string).collect()
}

pub(super) fn file() -> File {
    let mut tree = TreeBuilder::new();
    (0..LEAVES).for_each(|index| tree.push(leaf(index)));
    let root = |size| tree::root(&tree, size).unwrap();
    let inclusion = |index, size| tree::inclusion(&tree, index, size).unwrap();
    let consistency = |old, new| tree::consistency(&tree, old, new).unwrap();

    let sizes = (0..=17).chain([255, 256, 257, 511, 512, 513, LEAVES]);
    let all_of_small = (1..=9).flat_map(|size| (0..size).map(move |index| (index, size)));
    let of_large = [
        (0, 256),
        (255, 256),
        (255, 257),
        (256, 257),
        (0, 600),
        (511, 600),
        (512, 600),
        (599, 600),
    ];
    let between_small = (1..=9).flat_map(|new| (1..=new).map(move |old| (old, new)));
    let between_large =
        [(1, 600), (255, 256), (256, 257), (257, 512), (256, 600), (512, 600), (599, 600)];

    let included = |name, leaf: Hash, index, size, root: Hash, path: &[Hash]| RefusedInclusion {
        name,
        leaf: leaf.to_string(),
        index,
        size,
        root: root.to_string(),
        path: texts(path),
    };
    let begun =
        |name, old, old_root: Hash, new, new_root: Hash, path: &[Hash]| RefusedConsistency {
            name,
            old,
            old_root: old_root.to_string(),
            new,
            new_root: new_root.to_string(),
            path: texts(path),
        };
    let (path, proof) = (inclusion(5, 7), consistency(5, 7));
    let longer = |path: &[Hash]| [path, &[leaf(0)]].concat();
    let refused = Refused {
        inclusion: vec![
            included("path_too_short", leaf(5), 5, 7, root(7), &path[..path.len() - 1]),
            included("path_too_long", leaf(5), 5, 7, root(7), &longer(&path)),
            included("other_leaf", leaf(6), 5, 7, root(7), &path),
            included("other_index", leaf(5), 4, 7, root(7), &path),
            included("other_size", leaf(5), 5, 6, root(7), &path),
            included("other_root", leaf(5), 5, 7, root(8), &path),
            included("index_beyond", leaf(5), 7, 7, root(7), &path),
            included("in_the_empty_tree", leaf(0), 0, 0, Hash::empty_root(), &[]),
        ],
        consistency: vec![
            begun("proof_too_short", 5, root(5), 7, root(7), &proof[..proof.len() - 1]),
            begun("proof_too_long", 5, root(5), 7, root(7), &longer(&proof)),
            begun("other_old_root", 5, root(4), 7, root(7), &proof),
            begun("other_new_root", 5, root(5), 7, root(6), &proof),
            begun("of_equal_sizes", 7, root(7), 7, root(7), &proof),
            begun("of_nothing", 0, Hash::empty_root(), 7, root(7), &proof),
            begun("nothing_with_a_root", 0, root(1), 7, root(7), &[]),
            begun("shorter", 7, root(7), 5, root(5), &proof),
            begun("no_proof", 5, root(5), 7, root(7), &[]),
        ],
    };
    for it in &refused.inclusion {
        let path: Vec<Hash> = it.path.iter().map(|text| hash(text)).collect();
        let holds =
            tree::verify_inclusion(hash(&it.leaf), it.index, it.size, &path, hash(&it.root));
        assert!(!holds, "{}", it.name);
    }
    for it in &refused.consistency {
        let path: Vec<Hash> = it.path.iter().map(|text| hash(text)).collect();
        let (old_root, new_root) = (hash(&it.old_root), hash(&it.new_root));
        assert!(
            !tree::verify_consistency(it.old, old_root, it.new, new_root, &path),
            "{}",
            it.name
        );
    }
    File {
        roots: sizes.map(|size| (size, root(size).to_string())).collect(),
        inclusion: all_of_small
            .chain(of_large)
            .map(|(leaf, size)| Inclusion { leaf, size, path: texts(&inclusion(leaf, size)) })
            .collect(),
        consistency: between_small
            .chain(between_large)
            .map(|(old, new)| Consistency { old, new, path: texts(&consistency(old, new)) })
            .collect(),
        refused,
    }
}

fn hash(text: &str) -> Hash {
    Hash::try_from(&hex::decode(text).unwrap()[..]).unwrap()
}
