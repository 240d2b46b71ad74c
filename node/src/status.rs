//! Which version of the rules the members' programs know: what an operator looks at before an upgrade.
//!
//! In memory only: it is about programs that are running.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use colearn_contracts::{LearnerId, VERSION};
use colearn_proto::{CONTRACT_METADATA, v1};
use colearn_records::upgrade;
use tonic::metadata::MetadataMap;

use crate::clock;
use crate::view::View;

/// The most senders that are remembered, and members that are listed.
const MAX: usize = 10_000;

/// What the senders of transactions said of their programs; cheap to clone.
#[derive(Clone)]
pub(crate) struct Programs {
    started_ms: u64,
    heard: Arc<Mutex<BTreeMap<LearnerId, Heard>>>,
}

/// What was last heard from a sender.
#[derive(Clone, Copy)]
struct Heard {
    version: u32,
    last_ms: u64,
}

/// The latest version of the rules that a peer's program knows, as it says: 1 if it does not.
pub(crate) fn version_of(metadata: &MetadataMap) -> u32 {
    let said = metadata.get(CONTRACT_METADATA).and_then(|value| value.to_str().ok());
    said.and_then(|text| text.parse().ok()).unwrap_or(1)
}

impl Programs {
    pub(crate) fn new(started_ms: u64) -> Self {
        Self { started_ms, heard: Arc::default() }
    }

    /// Remembers what somebody said who has sent a transaction that was recorded.
    pub(crate) fn hear(&self, sender: &[u8], version: u32) {
        let Ok(key) = <[u8; 32]>::try_from(sender) else { return };
        let mut heard = self.heard.lock().unwrap_or_else(|e| e.into_inner());
        let learner = LearnerId(key);
        if heard.len() < MAX || heard.contains_key(&learner) {
            heard.insert(learner, Heard { version, last_ms: clock::now_ms() });
        }
    }

    /// Who takes part in what is not finished, and what its program knows.
    pub(crate) fn status(&self, view: &View) -> v1::GetStatusResponse {
        let heard = self.heard.lock().unwrap_or_else(|e| e.into_inner());
        let mut members: BTreeMap<LearnerId, v1::MemberProgram> = BTreeMap::new();
        let mut more = 0;
        for experiment in view.unfinished() {
            for (learner, name) in experiment.present() {
                if members.len() >= MAX && !members.contains_key(&learner) {
                    more += 1;
                    continue;
                }
                let program = members.entry(learner).or_insert_with(|| {
                    let heard = heard.get(&learner);
                    v1::MemberProgram {
                        learner: Bytes::copy_from_slice(&learner.0),
                        name: String::new(),
                        contract_version: heard.map_or(0, |it| it.version),
                        last_ms: heard.map_or(0, |it| it.last_ms),
                        experiments: Vec::new(),
                    }
                });
                program.experiments.push(experiment.summary().name.to_string());
                if let Some(name) = name {
                    program.name = name.to_string();
                }
            }
        }
        let has_limits = view.version().number() > 1;
        v1::GetStatusResponse {
            size: view.size(),
            contract_version: view.version().number(),
            latest_contract_version: VERSION.number(),
            limits: has_limits.then(|| upgrade::limits_message(&view.limits())),
            started_ms: self.started_ms,
            members: members.into_values().collect(),
            more,
        }
    }
}
