//! Weights that are not in the node's data folder, and what its folder knows of that.
//!
//! Where they are the node leaves a mark. A folder without it, in which they were, is that of a disk that is not there;
//! and where another's mark is, both would let go of each other's.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use super::storage::Storage;
use super::{files, parse_digest};
use crate::config::ArtifactsAt;
use crate::error::NodeError;

/// The file that says where the weights are, if they are elsewhere, and which mark is there.
const ELSEWHERE: &str = "elsewhere";
/// The name of the mark there.
pub(super) const MARK: &str = "colearn-node";
/// The longest mark that is read: one is shorter.
pub(super) const MAX_MARK_BYTES: usize = 100;
/// What stands before the mark in the file, once it is there and while it is being put there.
const MARKED: &str = "mark ";
const MARKING: &str = "marking ";

/// Where weights lie: `dir` is the folder of what has not come whole, `storage` has the rest.
pub(crate) struct Kept {
    pub(crate) dir: PathBuf,
    pub(crate) storage: Storage,
}

/// What a node's folder knows of where weights were kept.
struct Noted {
    place: ArtifactsAt,
    /// The mark that it leaves, as soon as it has one.
    mark: Option<String>,
    /// Whether it is there.
    is_marked: bool,
}

/// Where weights lie that a node keeps at a place, whose own folder for them is `own`. Called where a runtime runs.
///
/// # Errors
/// If it cannot be used, is not what it was, or is another node's.
pub(crate) fn kept_at(own: &Path, at: &ArtifactsAt) -> Result<Kept, NodeError> {
    let folder =
        |dir: &Path| Kept { dir: dir.to_owned(), storage: Storage::Folder(dir.to_owned()) };
    let kept = match at {
        ArtifactsAt::Data => return Ok(folder(own)),
        // Where it is renamed to its name, what has not come whole lies on the same disk.
        ArtifactsAt::Folder(dir) => folder(dir),
        #[cfg(feature = "object-store")]
        ArtifactsAt::Bucket(bucket) => match super::bucket::Bucket::new(bucket) {
            Ok(bucket) => Kept { dir: own.to_owned(), storage: Storage::Bucket(bucket) },
            Err(reason) => return Err(NodeError::ArtifactStore(reason)),
        },
        #[cfg(not(feature = "object-store"))]
        ArtifactsAt::Bucket(_) => {
            let reason = "this program was built without the feature `object-store`".to_owned();
            return Err(NodeError::ArtifactStore(reason));
        }
    };
    let noted = noted(own)?;
    let found = kept.storage.mark().map_err(NodeError::artifacts)?;
    let wrong = match (found, noted.mark) {
        (Some(found), mark) if mark.as_ref() != Some(&found) => format!(
            "{MARK} in {at} is another node's mark, and two that keep weights in one place let go of each other's; give \
             each its own place, or remove {MARK} there if the other is no more"
        ),
        // A store that is there lists what it has.
        (None, Some(mark)) if noted.is_marked && noted.place == *at && kept.storage.is_here() => {
            format!(
                "{at} has not got the file {MARK} that this node has left there; is its disk mounted? If it is the right \
                 folder all the same, write {mark} into that file"
            )
        }
        (Some(_) | None, _) => return Ok(kept),
    };
    Err(NodeError::ArtifactStore(wrong))
}

/// Where the weights of a node were kept when it ran last.
pub(crate) fn kept_before(own: &Path) -> Result<ArtifactsAt, NodeError> {
    noted(own).map(|noted| noted.place)
}

fn noted(own: &Path) -> Result<Noted, NodeError> {
    let path = own.join(ELSEWHERE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(source) => {
            return Err(NodeError::Io { doing: format!("read {}", path.display()), source });
        }
    };
    let mut lines = text.lines().map(str::trim);
    let place = match lines.next().filter(|place| !place.is_empty()) {
        None => ArtifactsAt::Data,
        Some(place) => place
            .parse::<ArtifactsAt>()
            .map_err(|bad| NodeError::ArtifactStore(format!("{} says: {bad}", path.display())))?,
    };
    let mark = lines.next().unwrap_or_default();
    let (is_marked, mark) = match (mark.strip_prefix(MARKED), mark.strip_prefix(MARKING)) {
        (Some(mark), _) => (true, Some(mark)),
        (None, mark) => (false, mark),
    };
    Ok(Noted { place, mark: mark.map(str::to_owned), is_marked })
}

impl Noted {
    fn write(&self, own: &Path) -> Result<(), NodeError> {
        let mut text = match &self.place {
            ArtifactsAt::Data => String::new(),
            place @ (ArtifactsAt::Folder(_) | ArtifactsAt::Bucket(_)) => place.to_string(),
        };
        if let Some(mark) = &self.mark {
            let word = if self.is_marked { MARKED } else { MARKING };
            // Writing to a string does not fail.
            let _ = write!(text, "\n{word}{mark}");
        }
        let noted = colearn_files::replace(&own.join(ELSEWHERE), text.as_bytes());
        noted.map_err(|error| in_use(own, error.into()))
    }
}

fn in_use(own: &Path, source: io::Error) -> NodeError {
    NodeError::Io { doing: format!("use {}", own.display()), source }
}

/// Notes in its folder where a node keeps weights, once they were found there, and leaves its mark there. Says what is
/// not to be found any more, because it was kept elsewhere so far.
pub(crate) fn note_place(
    own: &Path,
    now: &ArtifactsAt,
    storage: &Storage,
) -> Result<(), NodeError> {
    let Noted { place: before, mark, is_marked } = noted(own)?;
    let is_same = before == *now;
    if is_same && (is_marked || *now == ArtifactsAt::Data) {
        // A bucket may have been emptied.
        return match (now, mark) {
            (ArtifactsAt::Bucket(_), Some(mark)) => leave(storage, &mark),
            (ArtifactsAt::Data | ArtifactsAt::Folder(_) | ArtifactsAt::Bucket(_), _) => Ok(()),
        };
    }
    std::fs::create_dir_all(own).map_err(|error| in_use(own, error))?;
    if !is_same {
        tell(own, &before, now)?;
    }
    let mark = match mark {
        Some(mark) => mark,
        None => new_mark()?,
    };
    // Before the mark is there: where this is cut short, the next start finds its own.
    let mut noted = Noted { place: now.clone(), mark: Some(mark.clone()), is_marked: false };
    noted.write(own)?;
    if *now == ArtifactsAt::Data {
        return Ok(());
    }
    leave(storage, &mark)?;
    noted.is_marked = true;
    noted.write(own)
}

/// Leaves a mark, where it is not there already.
fn leave(storage: &Storage, mark: &str) -> Result<(), NodeError> {
    let is_there = || Ok(storage.mark()?.as_deref() == Some(mark));
    let left = is_there().and_then(|is_there| if is_there { Ok(()) } else { storage.leave(mark) });
    left.map_err(NodeError::artifacts)
}

/// What tells one node from another, wherever it lies.
fn new_mark() -> Result<String, NodeError> {
    let mut mark = [0; 16];
    let random = getrandom::fill(&mut mark);
    random.map_err(|error| NodeError::ArtifactStore(format!("no random numbers: {error}")))?;
    Ok(hex::encode(mark))
}

fn tell(own: &Path, before: &ArtifactsAt, now: &ArtifactsAt) -> Result<(), NodeError> {
    let listed = files(own).map_err(|error| in_use(own, error))?;
    let left = listed.iter().filter(|it| parse_digest(&it.0).is_some()).count();
    match before {
        ArtifactsAt::Data if left == 0 => {}
        ArtifactsAt::Data => tracing::warn!(
            count = left,
            dir = %own.display(),
            %now,
            "weights lie in the node's own folder and are not used there any more; copy them"
        ),
        ArtifactsAt::Folder(_) | ArtifactsAt::Bucket(_) => tracing::warn!(
            %before,
            %now,
            "weights were kept elsewhere so far, and what is only there is not found any more; copy it, or start with \
             --artifacts as before"
        ),
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn kept(own: &Path, at: &ArtifactsAt) -> Result<(), String> {
        let kept = kept_at(own, at).map_err(|error| error.to_string())?;
        std::fs::create_dir_all(kept.dir.join("partial")).unwrap();
        note_place(own, at, &kept.storage).unwrap();
        Ok(())
    }

    #[test]
    fn a_folder_whose_disk_is_not_mounted_is_no_empty_folder() {
        let dir = tempfile::tempdir().unwrap();
        let (own, disk) = (dir.path().join("own"), dir.path().join("disk"));
        let at = ArtifactsAt::Folder(disk.clone());
        kept(&own, &at).unwrap();
        kept(&own, &at).unwrap();
        let mounted = dir.path().join("mounted");
        std::fs::rename(&disk, &mounted).unwrap();
        for is_there in [false, true] {
            if is_there {
                std::fs::create_dir(&disk).unwrap();
            }
            let told = kept(&own, &at).unwrap_err();
            assert!(told.contains("is its disk mounted?"), "{told}");
            assert_eq!(disk.exists(), is_there, "nothing is made there");
        }
        // It says what mends that: either the disk, or the mark.
        let mark = std::fs::read_to_string(mounted.join(MARK)).unwrap();
        assert!(kept(&own, &at).unwrap_err().contains(mark.trim()));
        std::fs::write(disk.join(MARK), &mark).unwrap();
        kept(&own, &at).unwrap();
        // Elsewhere nothing was left, and here it stays.
        kept(&own, &ArtifactsAt::Folder(dir.path().join("other"))).unwrap();
        kept(&own, &ArtifactsAt::Data).unwrap();
        assert_eq!(kept_before(&own).unwrap(), ArtifactsAt::Data);
        kept(&own, &at).unwrap();
        assert_eq!(std::fs::read_to_string(disk.join(MARK)).unwrap(), mark);
    }

    #[test]
    fn two_nodes_do_not_share_a_place() {
        let dir = tempfile::tempdir().unwrap();
        let at = ArtifactsAt::Folder(dir.path().join("disk"));
        let [one, other] = ["one", "other"].map(|it| dir.path().join(it));
        kept(&one, &at).unwrap();
        let told = kept(&other, &at).unwrap_err();
        assert!(told.contains("another node's mark"), "{told}");
        kept(&one, &at).unwrap();
        std::fs::remove_file(dir.path().join("disk").join(MARK)).unwrap();
        kept(&other, &at).unwrap();
        assert!(kept(&one, &at).unwrap_err().contains("another node's mark"));
    }

    /// Nodes before marks have left none.
    #[test]
    fn a_place_that_was_used_before_there_were_marks_is_used_and_marked() {
        let dir = tempfile::tempdir().unwrap();
        let (own, disk) = (dir.path().join("own"), dir.path().join("disk"));
        let at = ArtifactsAt::Folder(disk.clone());
        std::fs::create_dir(&own).unwrap();
        std::fs::write(own.join(ELSEWHERE), at.to_string()).unwrap();
        // Also when it was cut short before the mark was there.
        for _ in 0..2 {
            kept(&own, &at).unwrap();
            let noted = std::fs::read_to_string(own.join(ELSEWHERE)).unwrap();
            assert!(noted.contains(MARKED) && disk.join(MARK).exists(), "{noted}");
            std::fs::write(own.join(ELSEWHERE), noted.replace(MARKED, MARKING)).unwrap();
            std::fs::remove_file(disk.join(MARK)).unwrap();
        }
    }
}
