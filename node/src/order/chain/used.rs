//! The experiments that this node's own clients take part in: only for those it pays to say that something is due.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use colearn_contracts::{Contract, ExperimentName, Phase};

/// From how many on those that have ended are forgotten, and how many are remembered at most.
const MANY: (usize, usize) = (1_000, 10_000);

/// Their names, kept in a file: after a restart something may be due before anybody submits again.
pub(super) struct Used {
    file: PathBuf,
    names: Mutex<BTreeSet<ExperimentName>>,
}

impl Used {
    /// Those of this folder. What cannot be read is forgotten: whoever submits is known anew.
    pub(super) fn begin(folder: &Path) -> Self {
        let file = folder.join("chain-used.json");
        let text = std::fs::read(&file).unwrap_or_default();
        let names: Vec<String> = serde_json::from_slice(&text).unwrap_or_default();
        let names = names.iter().filter_map(|name| name.parse().ok()).take(MANY.1).collect();
        Self { file, names: Mutex::new(names) }
    }

    fn names(&self) -> MutexGuard<'_, BTreeSet<ExperimentName>> {
        // Nothing is left half done under the lock.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something that was submitted here is recorded in this experiment.
    pub(super) fn note(&self, name: &ExperimentName, contract: &Contract) {
        let mut names = self.names();
        if names.contains(name) {
            return;
        }
        if names.len() >= MANY.0 {
            // One that waits or pauses has no deadline, and goes on.
            let goes_on = |name: &ExperimentName| {
                let experiment = contract.experiment(name);
                experiment.is_some_and(|it| !matches!(it.phase(), Phase::Finished(_)))
            };
            names.retain(goes_on);
        }
        if names.len() >= MANY.1 {
            return;
        }
        names.insert(name.clone());
        let all: Vec<String> = names.iter().map(ToString::to_string).collect();
        // Names are plain text.
        let text = serde_json::to_vec(&all).unwrap_or_default();
        if let Err(error) = colearn_files::replace(&self.file, &text) {
            tracing::warn!(%error, "which experiments are used here is not kept");
        }
    }

    pub(super) fn contains(&self, name: &ExperimentName) -> bool {
        self.names().contains(name)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use colearn_contracts::{Digest, Moment};

    use super::*;
    use crate::testing::{create, keeper, name, signed};

    #[test]
    fn what_was_used_is_known_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = keeper(&dir.path().join("ledger"));
        let used = Used::begin(dir.path());
        used.note(&name("a"), keeper.contract());
        used.note(&name("b"), keeper.contract());
        let again = Used::begin(dir.path());
        assert!(again.contains(&name("a")) && again.contains(&name("b")));
        assert!(!again.contains(&name("c")));
        std::fs::write(dir.path().join("chain-used.json"), "nothing").unwrap();
        assert!(!Used::begin(dir.path()).contains(&name("a")));
    }

    #[test]
    fn no_more_than_so_many_are_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = keeper(&dir.path().join("ledger"));
        let names: Vec<String> = (0..MANY.0).map(|number| format!("n{number}")).collect();
        let file = dir.path().join("chain-used.json");
        std::fs::write(&file, serde_json::to_vec(&names).unwrap()).unwrap();
        let used = Used::begin(dir.path());
        assert!(used.contains(&name("n0")));
        // One of them waits for learners, and the others are not there any more.
        let mut contract = keeper.contract().clone();
        let (creation, moment) =
            (signed(1, create("n7")), Moment { now_ms: 2_000, head: Digest([0; 32]) });
        contract.apply(moment, creation.sender(), creation.action()).unwrap();
        used.note(&name("a"), &contract);
        assert!(used.contains(&name("a")) && !used.contains(&name("n0")));
        let kept = String::from_utf8(std::fs::read(&file).unwrap()).unwrap();
        assert_eq!(kept, "[\"a\",\"n7\"]");
    }
}
