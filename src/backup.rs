//! A copy of a node's folder, made while the node runs, and audited: what a node needs to go on elsewhere.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::AddAssign;
use std::path::{Path, PathBuf};

use colearn_audit::{self as audit, AuditOptions, AuditReport, Level, Promise, SourceError};
use colearn_contracts::Digest;

/// Files that say what the ledger has signed, which a crash leaves as they are.
const ANCHORS: [&str; 2] = ["anchor-a", "anchor-b"];
/// The keys, and what an operator has made, or may have.
const SMALL: [&str; 6] =
    ["node.pem", "node-old.pem", "node-next.pem", "tls-key.pem", "tls.pem", "creators.txt"];
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
    /// Those that are not what their names say, and were not copied.
    pub damaged: Vec<Digest>,
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
    #[error("a node, or another backup, is at work in {}; what a node goes on with is no backup any more", .0.display())]
    InUse(PathBuf),
    /// It would lie in what is to be copied.
    #[error("{} lies in {}: say another folder", to.display(), data.display())]
    Within {
        /// The backup.
        to: PathBuf,
        /// The folder.
        data: PathBuf,
    },
    /// Another ledger's, or one that has gone on by itself; or what is to be copied is damaged.
    #[error(
        "nothing was copied: {} does not continue what {} holds: {has}; see what colearn audit says of both, or say an \
         empty folder",
        data.display(),
        to.display()
    )]
    Other {
        /// The backup.
        to: PathBuf,
        /// The folder.
        data: PathBuf,
        /// What is wrong.
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
    // It need not be there yet, but some folder above it is.
    let absolute = std::path::absolute(to).unwrap_or_else(|_| to.to_owned());
    let above = absolute.ancestors().find_map(|dir| dir.canonicalize().ok());
    if let (Ok(real), Some(above)) = (data.canonicalize(), above)
        && above.starts_with(&real)
    {
        return Err(BackupError::Within { to: to.to_owned(), data: data.to_owned() });
    }
    let journal = to.join("ledger/journal");
    let is_backup = journal.is_dir();
    if !is_backup && !is_empty(to) {
        return Err(BackupError::Occupied(to.to_owned()));
    }
    colearn_files::create_folder(&journal).map_err(|it| io_at("create", &journal)(it.into()))?;
    let lock = to.join("ledger/LOCK");
    let locked = colearn_files::Lock::try_take(&lock).map_err(io_at("lock", &lock))?;
    let Some(_locked) = locked else { return Err(BackupError::InUse(to.to_owned())) };
    if is_backup {
        check_continues(data, to)?;
    }

    // Before the ledger and after it: what it names then may be gone by then, or not be there yet.
    let mut models = copy_models(&data.join("artifacts"), &to.join("artifacts"))?;
    let (mut ledger_bytes, mut keys) = (0, small_files(data)?);
    for _ in 0..TRIES {
        ledger_bytes += copy_ledger(data, to)?;
        let before = std::mem::replace(&mut keys, small_files(data)?);
        // What a node was writing while it was read is whole the next time; and keys that were changed meanwhile are
        // those of the ledger that is copied next.
        let is_whole = audit::signed_checkpoint(&mut *audit::open(&to.to_string_lossy())?).is_ok();
        if is_whole && before == keys {
            break;
        }
    }
    models += copy_models(&data.join("artifacts"), &to.join("artifacts"))?;
    let options = AuditOptions { progress: Some(progress), ..AuditOptions::default() };
    let report = audit::audit(&mut *audit::open(&to.to_string_lossy())?, options)?;
    if let Some(finding) = report.unsound() {
        let (to, data) = (to.to_owned(), data.to_owned());
        return Err(BackupError::Unsound { to, data, finding: finding.to_string() });
    }
    // Last: who finds a key finds a ledger, or would begin another one with it; and keys that were there are those of
    // a ledger that can be gone by.
    for (name, bytes) in keys {
        write_small(&to.join(name), bytes.as_deref())?;
    }
    let Models { there, new, damaged } = models;
    Ok(BackedUp { report, ledger_bytes, models: there, new_models: new, damaged })
}

/// Whether there is nothing, or what a backup that was cut short at once has made.
fn is_empty(to: &Path) -> bool {
    let Ok(mut all) = to.read_dir() else { return true };
    all.all(|entry| {
        entry.is_ok_and(|entry| {
            let is_bare =
                || entry.path().read_dir().is_ok_and(|mut within| within.next().is_none());
            entry.file_name() == "ledger" && is_bare()
        })
    })
}

/// What is there must be what the ledger was: nothing that is only there is written over. Where its entries differ
/// from the ledger's, be it that one of the two is damaged, the ledger has to be sound and to hold what the backup's
/// checkpoint states.
fn check_continues(data: &Path, to: &Path) -> Result<(), BackupError> {
    if !differs(&data.join("ledger/journal"), &to.join("ledger/journal"))? {
        return Ok(());
    }
    let source = audit::open(&to.to_string_lossy()).ok();
    let there = source.and_then(|mut source| audit::signed_checkpoint(&mut *source).ok());
    let other = |has: String| BackupError::Other { to: to.to_owned(), data: data.to_owned(), has };
    let Some((_, note)) = there else {
        return Err(other(
            "it holds entries of another ledger, and nothing that says which".into(),
        ));
    };
    let promises = vec![Promise::stated(to, note)];
    let options = AuditOptions { promises, level: Level::Signatures, ..AuditOptions::default() };
    let report = audit::audit(&mut *audit::open(&data.to_string_lossy())?, options)?;
    match report.unsound() {
        None => Ok(()),
        Some(finding) => Err(other(finding.to_string())),
    }
}

/// Whether a copied journal has bytes that the journal has not.
fn differs(from: &Path, to: &Path) -> Result<bool, BackupError> {
    for entry in to.read_dir().map_err(io_at("list", to))? {
        let path = entry.map_err(io_at("list", to))?.path();
        let Some(name) = path.file_name() else { continue };
        let mut copy = File::open(&path).map_err(io_at("read", &path))?;
        let length = copy.metadata().map_err(io_at("read", &path))?.len();
        let source = from.join(name);
        let same = match File::open(&source) {
            Ok(mut source) => {
                same_bytes(&mut source, &mut copy).map_err(io_at("compare", &path))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(io_at("read", &source)(error)),
        };
        // Room that the ledger had made for entries to come, when it was copied in use.
        if same < length && !is_zero_from(&mut copy, same).map_err(io_at("read", &path))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a file has only zeros from some byte on.
fn is_zero_from(file: &mut File, start: u64) -> io::Result<bool> {
    file.seek(SeekFrom::Start(start))?;
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(true),
            count if piece[..count].iter().any(|byte| *byte != 0) => return Ok(false),
            _ => {}
        }
    }
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

/// What is there of the models.
#[derive(Default)]
struct Models {
    there: u64,
    new: u64,
    damaged: Vec<Digest>,
}

impl AddAssign for Models {
    /// Those of a later look, which has found the earlier ones there.
    fn add_assign(&mut self, later: Self) {
        *self = Self { there: later.there, new: self.new + later.new, damaged: later.damaged };
    }
}

/// Copies the models that are not there yet, or not whole.
fn copy_models(from: &Path, to: &Path) -> Result<Models, BackupError> {
    let listed = match from.read_dir() {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Models::default()),
        Err(error) => return Err(io_at("list", from)(error)),
    };
    colearn_files::create_folder(to).map_err(|it| io_at("create", to)(it.into()))?;
    let mut models = Models::default();
    for entry in listed {
        let name = entry.map_err(io_at("list", from))?.file_name();
        // What is on its way has another name.
        let Some(digest) = name.to_str().and_then(digest_of) else { continue };
        let (source, copy) = (from.join(&name), to.join(&name));
        let length = |path: &Path| path.metadata().ok().map(|it| it.len());
        if length(&copy).is_some_and(|there| length(&source).is_none_or(|it| it == there)) {
            models.there += 1;
            continue;
        }
        match copy_model(&source, &copy, digest)? {
            Some(true) => (models.there, models.new) = (models.there + 1, models.new + 1),
            Some(false) => models.damaged.push(digest),
            None => {}
        }
    }
    colearn_files::sync_folder(to).map_err(|it| io_at("sync", to)(it.into()))?;
    Ok(models)
}

/// Copies a model, if it is there, and says whether it is what its name says: what is damaged is not copied.
fn copy_model(from: &Path, to: &Path, digest: Digest) -> Result<Option<bool>, BackupError> {
    let mut source = match File::open(from) {
        Ok(source) => source,
        // The node has let go of it meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_at("read", from)(error)),
    };
    let part = to.with_extension("part");
    let mut copy = File::create(&part).map_err(io_at("write", &part))?;
    io::copy(&mut source, &mut copy).map_err(io_at("copy", from))?;
    copy.sync_all().map_err(io_at("sync", &part))?;
    let copied = File::open(&part).and_then(|copy| colearn_merge::digest(&copy));
    if copied.map_err(io_at("read", &part))? != digest.0 {
        std::fs::remove_file(&part).map_err(io_at("remove", &part))?;
        return Ok(Some(false));
    }
    std::fs::rename(&part, to).map_err(io_at("write", to))?;
    Ok(Some(true))
}

/// A small file's name and content; `None` if it is not there.
type Small = (&'static str, Option<Vec<u8>>);

/// The keys and what else is small, as it is now.
fn small_files(data: &Path) -> Result<Vec<Small>, BackupError> {
    let read = |name: &&'static str| {
        let path = data.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => Ok((*name, Some(bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((*name, None)),
            Err(error) => Err(io_at("read", &path)(error)),
        }
    };
    SMALL.iter().map(read).collect()
}

fn write_small(path: &Path, bytes: Option<&[u8]>) -> Result<(), BackupError> {
    let Some(bytes) = bytes else {
        return match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_at("remove", path)(error))
            }
            Ok(()) | Err(_) => Ok(()),
        };
    };
    colearn_files::replace_secret(path, bytes).map_err(|it| io_at("write", path)(it.into()))
}

fn digest_of(name: &str) -> Option<Digest> {
    let bytes: [u8; 32] = hex::decode(name).ok()?.try_into().ok()?;
    // The one name that it has.
    (hex::encode(bytes) == name).then_some(Digest(bytes))
}
