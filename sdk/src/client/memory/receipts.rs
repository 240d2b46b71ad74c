//! What a ledger has promised, in files of many receipts: see `colearn_records::receipts`.
//!
//! Whoever calls holds the lock of the memory's folder.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use colearn_ledger::Receipt;
use colearn_records::receipts::{ENDING, KeptReceipt, KeptReceipts, NotKept, file_name};

use super::{ClientError, damaged, data};

/// What a single receipt's file had behind the index of its entry, and the entry's beside it.
const PROOF: &str = "tlog-proof";
const ENTRY: &str = "entry";

/// Keeps these, durably, but for those that are there. `false` if another entry is kept with the index of one.
pub(super) fn keep(
    dir: &Path,
    receipts: impl IntoIterator<Item = KeptReceipt>,
) -> Result<bool, ClientError> {
    let mut files: BTreeMap<String, Vec<KeptReceipt>> = BTreeMap::new();
    for kept in receipts {
        files.entry(file_name(kept.receipt.index)).or_default().push(kept);
    }
    let mut same = true;
    for (name, new) in files {
        same &= add(&dir.join(name), new)?;
    }
    Ok(same)
}

fn add(path: &Path, new: Vec<KeptReceipt>) -> Result<bool, ClientError> {
    let io = |source| ClientError::Data { path: path.to_owned(), source };
    let (before, is_new) = match std::fs::read(path) {
        Ok(bytes) => (bytes, false),
        Err(error) if error.kind() == ErrorKind::NotFound => (Vec::new(), true),
        Err(source) => return Err(io(source)),
    };
    let mut read = KeptReceipts::new(&before);
    let mut known = BTreeMap::new();
    for kept in read.by_ref() {
        match kept {
            Ok(kept) => drop(known.insert(kept.receipt.index, kept.entry)),
            // It was never acknowledged.
            Err(NotKept::Cut) => {}
            Err(error @ NotKept::Malformed(_)) => return Err(damaged(path, &error.to_string())),
        }
    }
    let (mut same, mut bytes) = (true, Vec::new());
    for kept in new {
        match known.get(&kept.receipt.index) {
            Some(entry) => same &= *entry == kept.entry,
            None => {
                bytes.extend(kept.to_bytes());
                known.insert(kept.receipt.index, kept.entry);
            }
        }
    }
    if bytes.is_empty() {
        return Ok(same);
    }
    if is_new {
        let dir = path.parent().unwrap_or(Path::new("."));
        colearn_files::create_folder(dir).map_err(|error| data(dir, error))?;
        colearn_files::replace(path, &bytes).map_err(|error| data(path, error))?;
        return Ok(same);
    }
    let mut file = OpenOptions::new().append(true).open(path).map_err(io)?;
    let whole = read.whole_bytes() as u64;
    // Synced: what the ledger has promised is worth as much as what it holds.
    file.set_len(whole)
        .and_then(|()| file.write_all(&bytes))
        .and_then(|()| file.sync_all())
        .map_err(io)?;
    Ok(same)
}

/// The receipt for the last entry, if one can be read.
pub(super) fn last(dir: &Path) -> Option<Receipt> {
    let file = files(dir, ENDING).into_iter().max()?;
    let bytes = std::fs::read(file).ok()?;
    let whole = KeptReceipts::new(&bytes).map_while(Result::ok);
    whole.map(|kept| kept.receipt).max_by_key(|receipt| receipt.index)
}

/// Takes over what an earlier version has kept, one receipt a file. What cannot be read stays where it is.
pub(super) fn take_over(dir: &Path) -> Result<(), ClientError> {
    let read = |path: &PathBuf| {
        let receipt = Receipt::parse(&std::fs::read_to_string(path).ok()?).ok()?;
        let entry = std::fs::read(path.with_extension(ENTRY)).ok()?;
        Some(KeptReceipt { receipt, entry })
    };
    let found: Vec<_> =
        files(dir, PROOF).into_iter().filter_map(|it| Some((read(&it)?, it))).collect();
    if found.is_empty() {
        return Ok(());
    }
    // Of the same index the first stays, as ever; another is kept where it is, as what it is evidence of.
    let mut taken = Vec::new();
    for (kept, path) in found {
        if keep(dir, [kept])? {
            taken.push(path);
        }
    }
    // Only now: they are durable in their new place. What a crash leaves is taken over once more.
    for path in taken {
        let io = |source| ClientError::Data { path: path.clone(), source };
        std::fs::remove_file(path.with_extension(ENTRY)).map_err(io)?;
        std::fs::remove_file(&path).map_err(io)?;
    }
    Ok(())
}

/// The files of a folder whose names end so; none if there is no folder.
fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let Ok(found) = std::fs::read_dir(dir) else { return Vec::new() };
    let paths = found.filter_map(|file| Some(file.ok()?.path()));
    paths.filter(|path| path.extension().is_some_and(|it| it == ending)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use colearn_ledger::Hash;

    use super::*;

    fn kept(index: u64, entry: &str) -> KeptReceipt {
        let checkpoint = "test\n8\nAAAA\n\n\u{2014} test AAAA\n".to_owned();
        let receipt = Receipt { index, path: vec![Hash([7; 32])], checkpoint };
        KeptReceipt { receipt, entry: entry.into() }
    }

    fn all(dir: &Path) -> Vec<(u64, Vec<u8>)> {
        let mut all = Vec::new();
        for file in files(dir, ENDING) {
            let bytes = std::fs::read(file).unwrap();
            let read: Result<Vec<_>, _> = KeptReceipts::new(&bytes).collect();
            all.extend(read.unwrap().into_iter().map(|kept| (kept.receipt.index, kept.entry)));
        }
        all.sort();
        all
    }

    #[test]
    fn receipts_are_kept_once_and_a_cut_one_is_kept_again() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("receipts");
        assert_eq!(last(&dir), None);
        for index in [1, 7, 1_002] {
            assert!(keep(&dir, [kept(index, "an entry")]).unwrap());
        }
        assert_eq!(files(&dir, ENDING).len(), 2);
        assert_eq!(last(&dir), Some(kept(1_002, "").receipt));
        // What is kept of an index stays.
        assert!(keep(&dir, [kept(7, "an entry")]).unwrap());
        assert!(!keep(&dir, [kept(7, "another")]).unwrap());
        let path = dir.join(file_name(0));
        let whole = std::fs::read(&path).unwrap();
        for length in [whole.len() - 1, whole.len() - 20] {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(keep(&dir, [kept(7, "an entry")]).unwrap());
            assert_eq!(std::fs::read(&path).unwrap(), whole);
        }
        assert_eq!(all(&dir).iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 7, 1_002]);
        // Damage is told, and nothing is overwritten.
        let damaged: Vec<u8> = whole.iter().map(|byte| byte.to_ascii_uppercase()).collect();
        std::fs::write(&path, &damaged).unwrap();
        let refused = keep(&dir, [kept(8, "an entry")]).unwrap_err();
        assert!(refused.to_string().contains("000000000000.receipts"), "{refused}");
        assert_eq!(std::fs::read(&path).unwrap(), damaged);
    }

    #[test]
    fn what_an_earlier_version_kept_is_taken_over_whenever_that_is_interrupted() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path();
        take_over(&dir.join("none")).unwrap();
        let write = |kept: &KeptReceipt| {
            let proof = dir.join(format!("{}.{PROOF}", kept.receipt.index));
            std::fs::write(proof.with_extension(ENTRY), &kept.entry).unwrap();
            std::fs::write(&proof, kept.receipt.to_text()).unwrap();
        };
        let before = [kept(3, "three"), kept(4, "four"), kept(2_000, "more")];
        before.iter().for_each(write);
        // One without its entry proves nothing; one that is cut is no receipt.
        std::fs::write(dir.join("8.tlog-proof"), before[0].receipt.to_text()).unwrap();
        std::fs::write(dir.join("9.tlog-proof"), "c2sp").unwrap();
        take_over(dir).unwrap();
        let taken = before.map(|kept| (kept.receipt.index, kept.entry)).to_vec();
        assert_eq!(
            (all(dir), files(dir, PROOF).len(), files(dir, ENTRY).len()),
            (taken.clone(), 2, 0)
        );
        // Interrupted between the two places.
        write(&kept(4, "four"));
        take_over(dir).unwrap();
        assert_eq!((all(dir), files(dir, PROOF).len()), (taken, 2));
        // What contradicts is evidence, and stays.
        write(&kept(4, "five"));
        take_over(dir).unwrap();
        assert_eq!(files(dir, PROOF).len(), 3);
    }
}
