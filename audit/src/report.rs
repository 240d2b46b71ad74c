//! What an audit came to.

use colearn_contracts::{Act, Decision};
use colearn_records::caught::Caught;
use colearn_records::follower::{Fault, ReadEntry};
use colearn_records::log_keys::LogKeys;
use colearn_records::record::Record;
use serde::Serialize;

use crate::finding::{Finding, Kind};
use crate::merges::MergeReport;

/// The most findings that are reported.
pub const MAX_FINDINGS: usize = 10;

/// What an audit came to.
#[derive(Clone, Default, Debug, Serialize)]
pub struct AuditReport {
    /// Whether everything is as it should be.
    pub ok: bool,
    /// The ledger's name.
    pub origin: String,
    /// Which ledger it is.
    pub ledger_id: String,
    /// The key the checkpoint was verified with.
    pub verifier_key: String,
    /// Entries in the checkpoint.
    pub size: u64,
    /// The checkpoint's root, hex.
    pub root: String,
    /// Experiments created.
    pub experiments: u64,
    /// Rounds closed.
    pub rounds: u64,
    /// Transactions recorded.
    pub transactions: u64,
    /// Signatures verified, the checkpoint's included.
    pub signatures: u64,
    /// Statements of privacy recomputed.
    pub statements: u64,
    /// Receipts and older checkpoints that are honoured.
    pub promises: u64,
    /// Who keeps the ledger together, and their blocks; where several nodes do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkReport>,
    /// What the chain proves of it; where a contract on a public chain keeps the ledger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<ChainReport>,
    /// Merged rounds that were looked at, where they were to be computed again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub merges: Vec<MergeReport>,
    /// What is not as it should be: the first ten, and among them the first that is more than a false statement
    /// of privacy.
    pub findings: Vec<Finding>,
}

/// Of a ledger that several nodes keep together.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
pub struct NetworkReport {
    /// How many nodes do, at the checkpoint.
    pub validators: usize,
    /// How many of them have signed it.
    pub signed: usize,
    /// Blocks that have recorded something.
    pub blocks: u64,
    /// Nodes that were caught signing against the rules.
    #[serde(skip_serializing_if = "Caught::is_empty")]
    pub caught: Caught,
}

/// Of a ledger that a contract on a public chain keeps.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
pub struct ChainReport {
    /// The chain's id.
    pub id: String,
    /// The contract's address there.
    pub contract: String,
    /// Of how many entries the chain is known to prove the root; 0 if that was not asked.
    pub proven: u64,
    /// How many entries the contract had when the chain was asked; 0 if that was not asked.
    pub total: u64,
    /// The height of the header that proves it; 0 if that was not asked.
    pub height: u64,
    /// The time of that header, in ms since 1970; 0 if that was not asked.
    pub time_ms: u64,
}

impl AuditReport {
    /// The last line of the output.
    pub fn verdict_line(&self) -> String {
        match self.findings.first() {
            None => format!(
                "AUDIT OK origin={} size={} root={} experiments={} rounds={} transactions={} \
                 signatures={} statements={} promises={}{}{}{}",
                self.origin,
                self.size,
                self.root,
                self.experiments,
                self.rounds,
                self.transactions,
                self.signatures,
                self.statements,
                self.promises,
                self.network_told(),
                self.chain_told(),
                self.merges_told()
            ),
            Some(finding) => format!(
                "AUDIT FAIL code={} name={} index={} expected={:?} got={:?}",
                finding.kind.code(),
                finding.kind.name(),
                finding.index.map_or_else(|| "-".to_owned(), |index| index.to_string()),
                finding.expected,
                finding.got
            ),
        }
    }

    /// Who keeps the ledger together; nothing where one node does.
    fn network_told(&self) -> String {
        self.network.as_ref().map_or_else(String::new, |network| {
            let NetworkReport { validators, signed, blocks, caught } = network;
            let names: Vec<&str> = caught.iter().map(|(name, _)| name).collect();
            let caught = if names.is_empty() { "" } else { " caught=" };
            let names = names.join(",");
            format!(" validators={validators} signed={signed} blocks={blocks}{caught}{names}")
        })
    }

    /// What the chain proves; nothing where none keeps the ledger.
    fn chain_told(&self) -> String {
        self.chain.as_ref().map_or_else(String::new, |chain| {
            let ChainReport { id, contract: _, proven, total: _, height, time_ms: _ } = chain;
            match proven {
                0 => format!(" chain={id} proven=no"),
                proven => format!(" chain={id} proven={proven} height={height}"),
            }
        })
    }

    /// How many merged rounds were computed again, and how many could not be; nothing where none was to be.
    fn merges_told(&self) -> String {
        let missing = self.merges.iter().filter(|merge| !merge.missing.is_empty()).count();
        match self.merges.len() {
            0 => String::new(),
            all => format!(" merges={} not_computed={missing}", all - missing),
        }
    }

    /// Whether the ledger can be gone by: nothing is wrong but statements of privacy. Any member can make a false
    /// one, which says something of that member and nothing of what the ledger came to.
    pub fn is_sound(&self) -> bool {
        self.unsound().is_none()
    }

    /// The first finding because of which the ledger cannot be gone by.
    pub fn unsound(&self) -> Option<&Finding> {
        self.findings.iter().find(|it| it.kind != Kind::Privacy)
    }

    /// 0, or the code of the first finding.
    pub fn exit_code(&self) -> u8 {
        self.findings.first().map_or(0, |finding| finding.kind.code())
    }

    pub(crate) fn find(
        &mut self,
        kind: Kind,
        index: Option<u64>,
        expected: impl ToString,
        got: impl ToString,
    ) {
        let (expected, got) = (expected.to_string(), got.to_string());
        self.add(Finding { kind, index, expected, got });
    }

    /// Adds what is wrong with an entry.
    pub(crate) fn find_fault(&mut self, index: u64, fault: Fault) {
        self.add(Finding::of_fault(index, fault));
    }

    pub(crate) fn add(&mut self, finding: Finding) {
        // One cause can make every later entry wrong; the first few say what it is. But whoever makes many false
        // statements must not keep from being told what is worse.
        let is_worse = finding.kind != Kind::Privacy && self.is_sound();
        if is_worse {
            self.findings.truncate(MAX_FINDINGS - 1);
        }
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        }
    }

    /// Counts what the entry at `index` records. The keys are those after it.
    pub(crate) fn count(&mut self, index: u64, entry: &ReadEntry, keys: &LogKeys) {
        match entry.record() {
            Some(Record::Transaction(transaction)) => {
                self.transactions += 1;
                self.signatures += u64::from(entry.is_signed());
                if let Act::Create(_) = transaction.action.what {
                    self.experiments += 1;
                }
            }
            Some(Record::Outcome(outcome)) => {
                if let Decision::RoundClosed { .. } = outcome.what {
                    self.rounds += 1;
                }
            }
            // The old key's and the new one's.
            Some(Record::KeyRotation(_)) => self.signatures += 2,
            Some(Record::Upgrade(_)) => self.signatures += 1,
            Some(Record::ValidatorChange(change)) => {
                self.signatures += change.approvals.len() as u64;
            }
            Some(Record::Block(block)) => {
                let network = self.network.get_or_insert_default();
                network.blocks += 1;
                network.caught.follow(index, block, keys);
            }
            // Each node's two.
            Some(Record::Genesis(genesis)) => {
                self.signatures += 2 * genesis.validators.len() as u64;
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_false_statements_hide_nothing_that_is_worse() {
        let mut report = AuditReport::default();
        for index in 0..20 {
            report.find(Kind::Privacy, Some(index), "more", "less");
        }
        assert!(report.is_sound());
        report.find(Kind::Signature, Some(20), "one that verifies", "none");
        report.find(Kind::Root, None, "a root", "another");
        assert_eq!(report.findings.len(), MAX_FINDINGS);
        assert_eq!(report.unsound().map(|it| it.kind), Some(Kind::Signature));
        assert!(!report.is_sound());
    }
}
