//! A copy of a node's folder, made while the node runs, and audited: what a node needs to go on elsewhere.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use colearn_audit::{self as audit, AuditOptions, AuditReport, SourceError};
use colearn_contracts::Digest;

/// Files that say what the ledger has signed, which a crash leaves as they are.
const ANCHORS: [&str; 2] = ["anchor-a", "anchor-b"];
/// What only the node's user may read.
const SECRETS: [&str; 4] = ["node.pem", "node-old.pem", "node-next.pem", "tls-key.pem"];
/// What an operator has made, or may have.
const OTHERS: [&str; 2] = ["tls.pem", "creators.txt"];
/// How often what was copied is copied again where the node has written to it meanwhile.
const TRIES: usize = 5;
const PIECE: usize = 1 << 20;

/// What a backup came to.
#[derive(Debug)]
pub struct BackedUp {
    /// What was found of the copy.
    pub report: AuditReport,
    /// Bytes of the ledger that were not there before.
    pub ledger_bytes: u64,
    /// Models that are there.
    pub models: u64,
    /// Those of them that were not there before.
    pub new_models: u64,
}

/// Why there is no backup that can be gone by.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// No node has kept a ledger there.
    #[error("{} is no node's data folder", .0.display())]
    NoNode(PathBuf),
    /// It is one of several.
    #[error(
        "several nodes keep the ledger in {}: a copy of one that votes could contradict what it has signed since. Keep \
         its keys (comet/config, node.pem); one that has lost the rest starts over: colearn network resync",
        .0.display()
    )]
    Several(PathBuf),
    /// Something else is there.
    #[error("{} is not empty, and no backup: say an empty folder", .0.display())]
    Occupied(PathBuf),
    /// A node has it open.
    #[error("a node is running on {}: a backup that a node goes on with is no backup any more", .0.display())]
    InUse(PathBuf),
    /// Another ledger's, or one that has gone on by itself.
    #[error("{} holds {there}, and {} has {has}: say an empty folder", to.display(), data.display())]
    Other {
        /// The backup.
        to: PathBuf,
        /// What is in it.
        there: String,
        /// The folder.
        data: PathBuf,
        /// What is in that.
        has: String,
    },
    /// The copy is not as it should be.
    #[error("the copy in {} is not as it should be: {finding}; run: colearn audit {}", to.display(), data.display())]
    Unsound {
        /// The backup.
        to: PathBuf,
        /// The folder.
        data: PathBuf,
        /// The first thing that is wrong.
        finding: String,
    },
    /// It cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Something cannot be read or written.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

fn io_at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    move |source| BackupError::Io { doing, path: path.to_owned(), source }
}

/// Copies what a node needs to go on from its data folder, which may be in use, to another folder: its keys, its
/// ledger, its models, without what it can make anew. What is there from an earlier time is gone on from; after a
/// crash at any moment the next one goes on, too. Then the copy is audited.
///
/// # Errors
/// If something cannot be copied, or the copy is not as it should be.
pub fn backup(
    data: &Path,
    to: &Path,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<BackedUp, BackupError> {
    if !data.join("ledger/journal").is_dir() || !data.join("node.pem").exists() {
        return Err(BackupError::NoNode(data.to_owned()));
    }
    if data.join("comet").is_dir() || data.join("network.json").exists() {
        return Err(BackupError::Several(data.to_owned()));
    }
    let is_backup = to.join("ledger/journal").is_dir();
    let is_empty = || to.read_dir().map_or(true, |mut all| all.next().is_none());
    if !is_backup && !is_empty() {
        return Err(BackupError::Occupied(to.to_owned()));
    }
    let journal = to.join("ledger/journal");
    colearn_files::create_folder(&journal).map_err(|it| io_at("create", &journal)(it.into()))?;
    let lock = to.join("ledger/LOCK");
    let locked = colearn_files::Lock::try_take(&lock).map_err(io_at("lock", &lock))?;
    let Some(_locked) = locked else { return Err(BackupError::InUse(to.to_owned())) };
    if is_backup {
        check_same(data, to)?;
    }

    let mut ledger_bytes = 0;
    for _ in 1..TRIES {
        ledger_bytes += copy_ledger(data, to)?;
        // What a node was writing while it was read is whole the next time.
        if audit::signed_checkpoint(&mut *audit::open(&to.to_string_lossy())?).is_ok() {
            break;
        }
    }
    let (models, new_models) = copy_models(&data.join("artifacts"), &to.join("artifacts"))?;
    // Last: who finds a key finds a ledger, or would begin another one with it.
    for name in SECRETS.iter().chain(&OTHERS) {
        copy_small(&data.join(name), &to.join(name))?;
    }
    let options = AuditOptions { progress: Some(progress), ..AuditOptions::default() };
    let report = audit::audit(&mut *audit::open(&to.to_string_lossy())?, options)?;
    match report.unsound() {
        None => Ok(BackedUp { report, ledger_bytes, models, new_models }),
        Some(finding) => Err(BackupError::Unsound {
            to: to.to_owned(),
            data: data.to_owned(),
            finding: finding.to_string(),
        }),
    }
}

/// What is there must be of the same ledger, and not ahead of it.
fn check_same(data: &Path, to: &Path) -> Result<(), BackupError> {
    let checkpoint = |dir: &Path| {
        let source = audit::open(&dir.to_string_lossy()).ok();
        source.and_then(|mut source| audit::signed_checkpoint(&mut *source).ok())
    };
    // One that was cut short before it had a checkpoint is gone on from.
    let (Some((there, _)), Some((has, _))) = (checkpoint(to), checkpoint(data)) else {
        return Ok(());
    };
    if there.origin == has.origin && there.size <= has.size {
        return Ok(());
    }
    Err(BackupError::Other {
        to: to.to_owned(),
        there: format!("{} entries of {}", there.size, there.origin),
        data: data.to_owned(),
        has: format!("{} of {}", has.size, has.origin),
    })
}

/// Copies what a ledger is, and gives how many bytes that took. First what it has signed, then the entries: those
/// that come meanwhile are then like those that a crash leaves behind the last checkpoint.
fn copy_ledger(data: &Path, to: &Path) -> Result<u64, BackupError> {
    let (from, to) = (data.join("ledger"), to.join("ledger"));
    let mut anchors = Vec::new();
    for name in ANCHORS {
        let path = from.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => anchors.push((name, bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_at("read", &path)(error)),
        }
    }
    let segments = from.join("journal");
    let listed = segments.read_dir().map_err(io_at("list", &segments))?;
    let mut names = listed
        .map(|entry| Ok(entry?.file_name()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(io_at("list", &segments))?;
    names.retain(|name| Path::new(name).extension().is_some_and(|it| it == "journal"));
    names.sort_unstable();
    let mut copied = 0;
    for name in names {
        copied += append(&segments.join(&name), &to.join("journal").join(&name))?;
    }
    let journal = to.join("journal");
    colearn_files::sync_folder(&journal).map_err(|it| io_at("sync", &journal)(it.into()))?;
    for (name, bytes) in anchors {
        let path = to.join(name);
        colearn_files::replace(&path, &bytes).map_err(|it| io_at("write", &path)(it.into()))?;
    }
    Ok(copied)
}

/// Has a copy of a file that only grows, and gives how many bytes were written: those that are there stay if they
/// are the same, as far as they are.
fn append(from: &Path, to: &Path) -> Result<u64, BackupError> {
    let mut source = File::open(from).map_err(io_at("read", from))?;
    let mut options = File::options();
    let mut copy = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(to)
        .map_err(io_at("write", to))?;
    let same = same_bytes(&mut source, &mut copy).map_err(io_at("compare", to))?;
    source.seek(SeekFrom::Start(same)).map_err(io_at("read", from))?;
    let kept = copy.set_len(same).and_then(|()| copy.seek(SeekFrom::Start(same)));
    kept.map_err(io_at("write", to))?;
    let mut piece = vec![0; PIECE];
    let mut copied = 0;
    loop {
        let count = source.read(&mut piece).map_err(io_at("read", from))?;
        if count == 0 {
            break;
        }
        copy.write_all(&piece[..count]).map_err(io_at("write", to))?;
        copied += count as u64;
    }
    copy.sync_all().map_err(io_at("sync", to))?;
    Ok(copied)
}

/// How many bytes at the beginning of two files are the same.
fn same_bytes(a: &mut File, b: &mut File) -> io::Result<u64> {
    let (mut one, mut other) = (vec![0; PIECE], vec![0; PIECE]);
    let mut same = 0;
    loop {
        let count = b.read(&mut other)?;
        let mut filled = 0;
        while filled < count {
            match a.read(&mut one[filled..count])? {
                0 => break,
                more => filled += more,
            }
        }
        let equal = one[..filled].iter().zip(&other).take_while(|(a, b)| a == b).count();
        same += equal as u64;
        if count == 0 || equal < count {
            return Ok(same);
        }
    }
}

/// Copies the models that are not there yet. Gives how many are, and how many of them are new.
fn copy_models(from: &Path, to: &Path) -> Result<(u64, u64), BackupError> {
    let listed = match from.read_dir() {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((0, 0)),
        Err(error) => return Err(io_at("list", from)(error)),
    };
    colearn_files::create_folder(to).map_err(|it| io_at("create", to)(it.into()))?;
    let (mut models, mut new) = (0, 0);
    for entry in listed {
        let name = entry.map_err(io_at("list", from))?.file_name();
        // What is on its way has another name.
        let Some(digest) = name.to_str().and_then(digest_of) else { continue };
        let (source, copy) = (from.join(&name), to.join(&name));
        if copy.exists() {
            models += 1;
        } else if copy_model(&source, &copy, digest)? {
            (models, new) = (models + 1, new + 1);
        }
    }
    colearn_files::sync_folder(to).map_err(|it| io_at("sync", to)(it.into()))?;
    Ok((models, new))
}

/// Copies a model, if it is there and what its name says.
fn copy_model(from: &Path, to: &Path, digest: Digest) -> Result<bool, BackupError> {
    let mut source = match File::open(from) {
        Ok(source) => source,
        // The node has let go of it meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(io_at("read", from)(error)),
    };
    let part = to.with_extension("part");
    let mut copy = File::create(&part).map_err(io_at("write", &part))?;
    io::copy(&mut source, &mut copy).map_err(io_at("copy", from))?;
    copy.sync_all().map_err(io_at("sync", &part))?;
    let copied = File::open(&part).and_then(|copy| colearn_merge::digest(&copy));
    if copied.map_err(io_at("read", &part))? != digest.0 {
        // Damaged there, it is not to be taken for the model here.
        std::fs::remove_file(&part).map_err(io_at("remove", &part))?;
        return Ok(false);
    }
    std::fs::rename(&part, to).map_err(io_at("write", to))?;
    Ok(true)
}

/// Has a copy of a small file as it is now: none, if there is none.
fn copy_small(from: &Path, to: &Path) -> Result<(), BackupError> {
    match std::fs::read(from) {
        Ok(bytes) => {
            colearn_files::replace_secret(to, &bytes).map_err(|it| io_at("write", to)(it.into()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => match std::fs::remove_file(to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_at("remove", to)(error))
            }
            Ok(()) | Err(_) => Ok(()),
        },
        Err(error) => Err(io_at("read", from)(error)),
    }
}

fn digest_of(name: &str) -> Option<Digest> {
    let bytes: [u8; 32] = hex::decode(name).ok()?.try_into().ok()?;
    // The one name that it has.
    (hex::encode(bytes) == name).then_some(Digest(bytes))
}
