//! Weights that are not in the node's data folder, and what its folder knows of that.

use std::io;
use std::path::{Path, PathBuf};

use super::storage::Storage;
use super::{files, parse_digest};
use crate::config::ArtifactsAt;
use crate::error::NodeError;

/// The file that says where the weights are, if they are elsewhere.
const ELSEWHERE: &str = "elsewhere";

/// Where weights lie: `dir` is the folder of what has not come whole, `storage` has the rest.
pub(crate) struct Kept {
    pub(crate) dir: PathBuf,
    pub(crate) storage: Storage,
}

/// Where weights lie that a node keeps at a place, whose own folder for them is `own`. Called where a runtime runs.
pub(crate) fn kept_at(own: &Path, at: &ArtifactsAt) -> Result<Kept, NodeError> {
    let folder =
        |dir: &Path| Kept { dir: dir.to_owned(), storage: Storage::Folder(dir.to_owned()) };
    match at {
        ArtifactsAt::Data => Ok(folder(own)),
        // Where it is renamed to its name, what has not come whole lies on the same disk.
        ArtifactsAt::Folder(dir) => Ok(folder(dir)),
        #[cfg(feature = "object-store")]
        ArtifactsAt::Bucket(bucket) => match super::bucket::Bucket::new(bucket) {
            Ok(bucket) => Ok(Kept { dir: own.to_owned(), storage: Storage::Bucket(bucket) }),
            Err(reason) => Err(NodeError::ArtifactStore(reason)),
        },
        #[cfg(not(feature = "object-store"))]
        ArtifactsAt::Bucket(_) => {
            let reason = "this program was built without the feature `object-store`".to_owned();
            Err(NodeError::ArtifactStore(reason))
        }
    }
}

/// Where the weights of a node were kept when it ran last.
pub(crate) fn kept_before(own: &Path) -> Result<ArtifactsAt, NodeError> {
    let path = own.join(ELSEWHERE);
    let place = match std::fs::read_to_string(&path) {
        Ok(place) => place,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ArtifactsAt::Data),
        Err(source) => {
            return Err(NodeError::Io { doing: format!("read {}", path.display()), source });
        }
    };
    let place = place.trim().parse::<ArtifactsAt>();
    place.map_err(|bad| NodeError::ArtifactStore(format!("{} says: {bad}", path.display())))
}

/// Notes in its folder where a node keeps weights, once they were found there. Says what is not to be found any more,
/// because it was kept elsewhere so far.
pub(crate) fn note_place(own: &Path, now: &ArtifactsAt) -> Result<(), NodeError> {
    let before = kept_before(own)?;
    if before == *now {
        return Ok(());
    }
    let io = |source| NodeError::Io { doing: format!("use {}", own.display()), source };
    std::fs::create_dir_all(own).map_err(io)?;
    let left = files(own).map_err(io)?.iter().filter(|it| parse_digest(&it.0).is_some()).count();
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
    let place = own.join(ELSEWHERE);
    match now {
        ArtifactsAt::Data => std::fs::remove_file(&place).map_err(io),
        ArtifactsAt::Folder(_) | ArtifactsAt::Bucket(_) => {
            let noted = colearn_files::replace(&place, now.to_string().as_bytes());
            noted.map_err(io::Error::from).map_err(io)
        }
    }
}
