//! An exported ledger, read by programs that are not ours.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use colearn_ledger::note::KeyKind;
use colearn_ledger::{Checkpoint, Exporter, Signer};
use ed25519_dalek::SigningKey;
use signed_note::{Note, StandardVerifier, VerifierList};
use tempfile::TempDir;
use tlog_tiles::{
    Error, HashReader as _, Tile, TileHashReader, TileReader, check_record, check_tree,
    prove_record, prove_tree, record_hash, stored_hash_index,
};

use crate::memory::MemoryTree;

const SIZE: u64 = 70_000;
const NAME: &str = "example.org/exported";

fn signer() -> Signer {
    Signer::new(NAME, KeyKind::Log, SigningKey::from_bytes(&[5; 32])).unwrap()
}

fn entry(i: u64) -> Vec<u8> {
    format!("entry-{i}").into_bytes()
}

fn export(dir: &Path, size: u64) -> u64 {
    let mut exporter = Exporter::new(dir);
    for i in 0..size {
        exporter.push(&entry(i)).unwrap();
    }
    let tree = MemoryTree::of((0..size).map(entry));
    let root = colearn_ledger::tree::root(&tree, size).unwrap();
    let checkpoint = Checkpoint { origin: NAME.to_owned(), size, root };
    exporter.finish(&checkpoint.sign(&signer())).unwrap()
}

/// Reads the tiles of a folder.
struct Folder<'a>(&'a Path);

impl TileReader for Folder<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, Error> {
        let read = |tile: &Tile| {
            // That crate writes the height into paths, which tlog-tiles leaves out.
            let path = tile.path().replacen("tile/8/", "tile/", 1);
            std::fs::read(self.0.join(path)).map_err(|_| Error::InvalidTile)
        };
        tiles.iter().map(read).collect()
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

/// Everything a reader that trusts only the log's key can check.
fn verify(dir: &Path) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Debug| format!("{error:?}");
    let note = std::fs::read(dir.join("checkpoint")).map_err(|e| text(&e))?;
    let note = Note::from_bytes(&note).map_err(|e| text(&e))?;
    let vkey = signer().verifier().to_string();
    let verifier = StandardVerifier::new(&vkey).map_err(|e| text(&e))?;
    note.verify(&VerifierList::new(vec![Box::new(verifier)])).map_err(|e| text(&e))?;
    let checkpoint = tlog_tiles::Checkpoint::from_bytes(note.text()).map_err(|e| text(&e))?;
    if checkpoint.origin() != NAME || checkpoint.size() != SIZE {
        return Err(format!("{} of {}", checkpoint.size(), checkpoint.origin()));
    }
    let (size, root) = (checkpoint.size(), *checkpoint.hash());
    let folder = Folder(dir);
    // Every hash that is read is proven to be in the tree.
    let reader = TileHashReader::new(size, root, &folder);
    for number in 0..size.div_ceil(256) {
        let width = (size - number * 256).min(256);
        let path = colearn_ledger::Resource::Entries { number, width: width as u16 }.path();
        let bundle = std::fs::read(dir.join(path)).map_err(|e| text(&e))?;
        let mut rest = &bundle[..];
        let indexes: Vec<u64> =
            (0..width).map(|i| stored_hash_index(0, number * 256 + i)).collect();
        let hashes = reader.read_hashes(&indexes).map_err(|e| text(&e))?;
        for hash in hashes {
            let (length, after) = rest.split_first_chunk().ok_or("a short bundle")?;
            let length = usize::from(u16::from_be_bytes(*length));
            let (entry, after) = after.split_at_checked(length).ok_or("a short bundle")?;
            if record_hash(entry) != hash {
                return Err(format!("an entry of bundle {number} is not in the tree"));
            }
            rest = after;
        }
        if !rest.is_empty() {
            return Err("a long bundle".to_owned());
        }
    }
    // The tiles above the leaves.
    for level in [8_u8, 16] {
        let hashes = size >> level;
        let indexes: Vec<u64> = (0..hashes).map(|i| stored_hash_index(level, i)).collect();
        reader.read_hashes(&indexes).map_err(|e| text(&e))?;
    }
    for index in [0, 255, 256, 4_321, 65_535, 65_536, size - 1] {
        let proof = prove_record(size, index, &reader).map_err(|e| text(&e))?;
        let leaf = record_hash(&entry(index));
        check_record(&proof, size, root, index, leaf).map_err(|e| text(&e))?;
    }
    for old in [1, 256, 65_536, 69_999] {
        let proof = prove_tree(size, old, &reader).map_err(|e| text(&e))?;
        let tree = OLD_ROOTS.get_or_init(Default::default);
        let old_root = *tree.lock().unwrap().entry(old).or_insert_with(|| {
            let tree = MemoryTree::of((0..old).map(entry));
            tlog_tiles::Hash(colearn_ledger::tree::root(&tree, old).unwrap().0)
        });
        check_tree(&proof, size, root, old, old_root).map_err(|e| text(&e))?;
    }
    Ok(())
}

/// Where Debian's packages put the source of golang.org/x/mod.
const GO_PATH: &str = "/usr/share/gocode";

/// The reader in Go, built from `tests/interop`; `None` where Go or its library is missing.
fn go_reader() -> Option<PathBuf> {
    let library = Path::new(GO_PATH).join("src/golang.org/x/mod/sumdb/tlog");
    let has_go = Command::new("go").arg("version").output().is_ok();
    if !has_go || !library.is_dir() {
        let why = "Go's reader needs Debian's golang-go and golang-golang-x-mod-dev";
        colearn_testkit::skip("go", why);
        return None;
    }
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sumdb");
    let output = Command::new("go")
        .env("GO111MODULE", "off")
        .env("GOPATH", GO_PATH)
        .env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-cache"))
        .args(["build", "-o"])
        .arg(&built)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/sumdb.go"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(built)
}

/// What Go's reader says of the folder.
fn verify_in_go(reader: &Path, dir: &Path) -> Result<(), String> {
    let (vkey, size) = (signer().verifier().to_string(), SIZE.to_string());
    let output = Command::new(reader).arg(dir).args([vkey, size]).output().unwrap();
    match output.status.code() {
        Some(0) => Ok(()),
        Some(1) => Err(String::from_utf8_lossy(&output.stdout).into_owned()),
        _ => panic!("{}", String::from_utf8_lossy(&output.stderr)),
    }
}

static OLD_ROOTS: OnceLock<Mutex<BTreeMap<u64, tlog_tiles::Hash>>> = OnceLock::new();

#[test]
fn a_foreign_reader_verifies_everything_and_finds_every_lie() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    export(dir, 40_000);
    let old_checkpoint = std::fs::read(dir.join("checkpoint")).unwrap();
    // A second export writes what is new: the tiles and bundles from 40,000 on, their levels above,
    // the checkpoint.
    let written = export(dir, SIZE);
    assert_eq!(written, (70_000 / 256 + 1 - 40_000 / 256) * 2 + 1 + 2 + 1);
    assert_eq!(export(dir, SIZE), 0);
    assert_eq!(verify(dir), Ok(()));
    let go = go_reader();
    if let Some(go) = &go {
        assert_eq!(verify_in_go(go, dir), Ok(()));
    }

    let lie = |what: &str, path: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let path = dir.join(path);
        let truth = std::fs::read(&path).unwrap();
        let mut lie = truth.clone();
        change(&mut lie);
        std::fs::write(&path, lie).unwrap();
        assert!(verify(dir).is_err(), "{what} was not found");
        if let Some(go) = &go {
            assert!(verify_in_go(go, dir).is_err(), "{what} was not found by Go's reader");
        }
        std::fs::write(&path, truth).unwrap();
    };
    lie("a flipped byte of a tile", "tile/0/100", &|tile| tile[77] ^= 1);
    lie("a flipped byte of an upper tile", "tile/1/000", &|tile| tile[8] ^= 0x80);
    lie("a flipped byte at the edge", "tile/2/000.p/1", &|tile| tile[31] ^= 1);
    lie("an edited entry", "tile/entries/200", &|bundle| bundle[5] ^= 1);
    lie("two swapped entries", "tile/entries/039", &|bundle| {
        // Both are a length and `entry-` with four or five digits.
        let size = 2 + usize::from(u16::from_be_bytes([bundle[0], bundle[1]]));
        bundle[..2 * size].rotate_left(size);
    });
    lie("a truncation", "tile/entries/273.p/112", &|bundle| bundle.truncate(bundle.len() - 14));
    lie("an old checkpoint as new", "checkpoint", &|note| note.clone_from(&old_checkpoint));
    lie("a forged signature", "checkpoint", &|note| {
        let last = note.len() - 10;
        note[last] = if note[last] == b'A' { b'B' } else { b'A' };
    });
    assert_eq!(verify(dir), Ok(()));
}
