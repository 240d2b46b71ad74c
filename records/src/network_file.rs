//! The files by which organisations agree to keep a ledger together, as JSON for people: who each is, how
//! the ledger begins, and what is to change.

use bytes::Bytes;
use colearn_contracts::{Limits, UnknownVersion, Version};
use colearn_proto::v1;
use colearn_proto::v1::validator_change::Change;
use serde::{Deserialize, Serialize};

use crate::transaction::LedgerId;
use crate::upgrade;
use crate::validators::{self, BadChange, BadValidator, Validator};

/// Why a file is none of these.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadFile {
    /// It is not the JSON that it should be.
    #[error("it cannot be read: {0}")]
    Json(String),
    /// It has bytes that are not hexadecimal.
    #[error("{0} is not hexadecimal")]
    Hex(&'static str),
    /// It describes no node.
    #[error(transparent)]
    Validator(#[from] BadValidator),
    /// Its nodes cannot keep a ledger together.
    #[error(transparent)]
    Network(#[from] BadChange),
    /// Its rules are not known here.
    #[error("{0}")]
    Version(UnknownVersion),
    /// Its limits break a bound.
    #[error("its limits break a bound")]
    Limits,
    /// The ledger that it names does not follow from the rest.
    #[error(
        "it names the ledger {stated}, and what it says makes {found}: somebody has changed it"
    )]
    OtherLedger {
        /// What it says.
        stated: String,
        /// What follows.
        found: LedgerId,
    },
    /// It changes nothing, or several things.
    #[error("it must have one of admit, remove, update, found, rules")]
    Change,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ValidatorText {
    name: String,
    url: String,
    p2p: String,
    log_public_key: String,
    consensus_public_key: String,
    log_signature: String,
    consensus_signature: String,
}

impl ValidatorText {
    fn of(it: &v1::Validator) -> Self {
        Self {
            name: it.name.clone(),
            url: it.url.clone(),
            p2p: it.p2p.clone(),
            log_public_key: hex::encode(&it.log_public_key),
            consensus_public_key: hex::encode(&it.consensus_public_key),
            log_signature: hex::encode(&it.log_signature),
            consensus_signature: hex::encode(&it.consensus_signature),
        }
    }

    fn message(&self) -> Result<v1::Validator, BadFile> {
        Ok(v1::Validator {
            name: self.name.clone(),
            log_public_key: bytes("log_public_key", &self.log_public_key)?,
            consensus_public_key: bytes("consensus_public_key", &self.consensus_public_key)?,
            p2p: self.p2p.clone(),
            url: self.url.clone(),
            log_signature: bytes("log_signature", &self.log_signature)?,
            consensus_signature: bytes("consensus_signature", &self.consensus_signature)?,
        })
    }
}

fn bytes(what: &'static str, text: &str) -> Result<Bytes, BadFile> {
    hex::decode(text).map(Bytes::from).map_err(|_| BadFile::Hex(what))
}

fn parse<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, BadFile> {
    serde_json::from_str(json).map_err(|error| BadFile::Json(error.to_string()))
}

fn write(it: &impl Serialize) -> String {
    // Of strings, numbers and lists nothing can fail.
    let mut text = serde_json::to_string_pretty(it).unwrap_or_default();
    text.push('\n');
    text
}

/// Writes who an organisation's node is.
pub fn identity(validator: &v1::Validator) -> String {
    write(&ValidatorText::of(validator))
}

/// Reads who an organisation's node is, and verifies that its own keys say so.
///
/// # Errors
/// If it is none.
pub fn read_identity(json: &str) -> Result<Validator, BadFile> {
    Ok(Validator::read(parse::<ValidatorText>(json)?.message()?)?)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsText {
    experiments_per_creator: u32,
    experiments: u32,
    expiry_ms: u64,
}

impl LimitsText {
    fn of(limits: &Limits) -> Self {
        Self {
            experiments_per_creator: limits.per_creator,
            experiments: limits.experiments,
            expiry_ms: limits.expiry_ms,
        }
    }

    fn limits(&self) -> Result<Limits, BadFile> {
        let limits = Limits {
            per_creator: self.experiments_per_creator,
            experiments: self.experiments,
            expiry_ms: self.expiry_ms,
        };
        limits.check().map_err(|_| BadFile::Limits)?;
        Ok(limits)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NetworkText {
    /// To be compared by voice.
    ledger: String,
    origin: String,
    time_ms: u64,
    contract_version: u32,
    limits: LimitsText,
    validators: Vec<ValidatorText>,
}

/// Writes how the ledger of a network begins.
///
/// # Errors
/// If it has no limits.
pub fn network(genesis: &v1::Genesis) -> Result<String, BadFile> {
    let limits = upgrade::limits(genesis.limits.as_ref()).map_err(|_| BadFile::Limits)?;
    Ok(write(&NetworkText {
        ledger: LedgerId::of(genesis).to_string(),
        origin: genesis.origin.clone(),
        time_ms: genesis.time_ms,
        contract_version: genesis.contract_version,
        limits: LimitsText::of(&limits),
        validators: genesis.validators.iter().map(ValidatorText::of).collect(),
    }))
}

/// Reads how the ledger of a network begins, and verifies that it is what its nodes make together.
///
/// # Errors
/// If it is not.
pub fn read_network(json: &str) -> Result<v1::Genesis, BadFile> {
    let it: NetworkText = parse(json)?;
    let nodes = it.validators.iter().map(ValidatorText::message).collect::<Result<Vec<_>, _>>()?;
    let version = Version::try_from(it.contract_version).map_err(BadFile::Version)?;
    let limits = it.limits.limits()?;
    let genesis = validators::genesis(Some(it.origin), nodes, it.time_ms, version, &limits)?;
    let found = LedgerId::of(&genesis);
    match it.ledger == found.to_string() {
        true => Ok(genesis),
        false => Err(BadFile::OtherLedger { stated: it.ledger, found }),
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesText {
    contract_version: u32,
    limits: LimitsText,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ApprovalText {
    key: String,
    signature: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeText {
    ledger: String,
    number: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    admit: Option<ValidatorText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    remove: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    update: Option<ValidatorText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    found: Option<Vec<ValidatorText>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rules: Option<RulesText>,
    approvals: Vec<ApprovalText>,
}

/// Writes a change of who keeps a ledger.
///
/// # Errors
/// If it changes nothing that is known here.
pub fn change(ledger: &LedgerId, change: &v1::ValidatorChange) -> Result<String, BadFile> {
    let mut it = ChangeText {
        ledger: ledger.to_string(),
        number: change.number,
        admit: None,
        remove: None,
        update: None,
        found: None,
        rules: None,
        approvals: change
            .approvals
            .iter()
            .map(|it| ApprovalText {
                key: hex::encode(&it.key),
                signature: hex::encode(&it.signature),
            })
            .collect(),
    };
    match change.change.as_ref().ok_or(BadFile::Change)? {
        Change::Admit(new) => it.admit = Some(ValidatorText::of(new)),
        Change::Remove(name) => it.remove = Some(name.clone()),
        Change::Update(new) => it.update = Some(ValidatorText::of(new)),
        Change::Found(founding) => {
            it.found = Some(founding.validators.iter().map(ValidatorText::of).collect());
        }
        Change::Rules(rules) => {
            let limits = upgrade::limits(rules.limits.as_ref()).map_err(|_| BadFile::Limits)?;
            it.rules = Some(RulesText {
                contract_version: rules.contract_version,
                limits: LimitsText::of(&limits),
            });
        }
    }
    Ok(write(&it))
}

/// Reads a change of who keeps a ledger. Whether it is approved is not looked at.
///
/// # Errors
/// If it is none.
pub fn read_change(json: &str) -> Result<(LedgerId, v1::ValidatorChange), BadFile> {
    let it: ChangeText = parse(json)?;
    let ledger = it.ledger.parse().map_err(BadFile::Json)?;
    let approvals = it.approvals.iter().map(|it| {
        Ok(v1::Approval {
            key: bytes("key", &it.key)?,
            signature: bytes("signature", &it.signature)?,
        })
    });
    let change = match (it.admit, it.remove, it.update, it.found, it.rules) {
        (Some(new), None, None, None, None) => Change::Admit(new.message()?),
        (None, Some(name), None, None, None) => Change::Remove(name),
        (None, None, Some(new), None, None) => Change::Update(new.message()?),
        (None, None, None, Some(nodes), None) => {
            let nodes = nodes.iter().map(ValidatorText::message);
            Change::Found(v1::Founding { validators: nodes.collect::<Result<_, _>>()? })
        }
        (None, None, None, None, Some(rules)) => Change::Rules(v1::Rules {
            contract_version: rules.contract_version,
            limits: Some(upgrade::limits_message(&rules.limits.limits()?)),
        }),
        _ => return Err(BadFile::Change),
    };
    let approvals = approvals.collect::<Result<_, BadFile>>()?;
    Ok((ledger, v1::ValidatorChange { number: it.number, change: Some(change), approvals }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use colearn_contracts::VERSION;
    use ed25519_dalek::SigningKey;

    use super::*;

    fn node(seed: u8) -> v1::Validator {
        let key = |seed| SigningKey::from_bytes(&[seed; 32]);
        let p2p = format!("{seed:040x}@127.0.0.1:26656");
        let (log, consensus) = (key(seed), key(seed + 100));
        let it =
            Validator::sign(&format!("org-{seed}"), &p2p, "http://127.0.0.1:1", &log, &consensus);
        it.unwrap().message().clone()
    }

    #[test]
    fn what_is_written_reads_back_and_what_was_changed_does_not() {
        let identity = identity(&node(1));
        assert_eq!(read_identity(&identity).unwrap().message(), &node(1));
        let moved = identity.replace("127.0.0.1:1", "127.0.0.1:2");
        assert_eq!(read_identity(&moved), Err(BadFile::Validator(BadValidator::Unsigned)));

        let nodes = vec![node(2), node(1)];
        let genesis = validators::genesis(None, nodes, 1_000, VERSION, &Limits::default()).unwrap();
        let text = network(&genesis).unwrap();
        assert_eq!(read_network(&text).unwrap(), genesis);
        let later = text.replace("\"time_ms\": 1000", "\"time_ms\": 1001");
        assert!(matches!(read_network(&later), Err(BadFile::OtherLedger { .. })));

        let ledger = LedgerId::of(&genesis);
        for it in [
            Change::Admit(node(3)),
            Change::Remove("org-1".to_owned()),
            Change::Update(node(1)),
            Change::Found(v1::Founding { validators: vec![node(1), node(2)] }),
            Change::Rules(v1::Rules {
                contract_version: 2,
                limits: Some(upgrade::limits_message(&Limits::default())),
            }),
        ] {
            let mut it = v1::ValidatorChange { number: 1, change: Some(it), approvals: Vec::new() };
            validators::approve(&ledger, &SigningKey::from_bytes(&[1; 32]), &mut it);
            let text = change(&ledger, &it).unwrap();
            assert_eq!(read_change(&text).unwrap(), (ledger, it));
        }
        let nothing = "{\"ledger\":\"LEDGER\",\"number\":1,\"approvals\":[]}";
        let nothing = nothing.replace("LEDGER", &ledger.to_string());
        assert_eq!(read_change(&nothing), Err(BadFile::Change));
        assert!(matches!(read_change("{"), Err(BadFile::Json(_))));
    }
}
