//! The files by which organisations agree to keep a ledger together, as JSON for people: who each is, how
//! the ledger begins, and what is to change.

use bytes::Bytes;
use colearn_contracts::{Limits, UnknownVersion, Version};
use colearn_ledger::Hash;
use colearn_proto::v1;
use colearn_proto::v1::validator_change::Change;
use serde::{Deserialize, Serialize};

use crate::founded::{BadFounding, Founded};
use crate::transaction::LedgerId;
use crate::upgrade;
use crate::validators::{self, BadChange, BadValidator, Validator, Validators};

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
    /// It says how a ledger of one becomes one of several, and does not hold together.
    #[error(transparent)]
    Founding(#[from] BadFounding),
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

/// How several organisations came to keep a ledger together.
#[derive(Clone, PartialEq, Debug)]
pub enum NetworkFile {
    /// From its first entry on.
    Begun(v1::Genesis),
    /// From a later one on.
    Founded(Box<Founded>),
}

impl NetworkFile {
    /// Which ledger it is.
    pub fn ledger(&self) -> LedgerId {
        match self {
            Self::Begun(genesis) => LedgerId::of(genesis),
            Self::Founded(founded) => founded.ledger(),
        }
    }

    /// Who keeps it first.
    ///
    /// # Errors
    /// If the first entry is not what they would have made together.
    pub fn validators(&self) -> Result<Validators, BadChange> {
        match self {
            Self::Begun(genesis) => Validators::of_genesis(genesis)?.ok_or(BadChange::Count(0)),
            Self::Founded(founded) => Ok(founded.validators().clone()),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FoundedText {
    ledger: String,
    founded: FoundingText,
    validators: Vec<ValidatorText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FoundingText {
    /// With the entry that founds it; to be compared by voice.
    root: String,
    time_ms: u64,
    /// The last that one key has signed alone.
    checkpoint: String,
    approval: ApprovalText,
}

/// Writes how a ledger of one node's becomes one of several.
pub fn founded(founded: &Founded) -> String {
    let list = founded.validators().iter().map(|it| ValidatorText::of(it.message()));
    let approval = founded.change().approvals.first().map(ApprovalText::of);
    write(&FoundedText {
        ledger: founded.ledger().to_string(),
        founded: FoundingText {
            root: founded.root().to_string(),
            time_ms: founded.time_ms(),
            checkpoint: founded.note().to_owned(),
            approval: approval.unwrap_or_default(),
        },
        validators: list.collect(),
    })
}

/// Reads how several came to keep a ledger, and verifies that it is what its nodes make together, or what
/// one key says that has kept it alone.
///
/// # Errors
/// If it is not.
pub fn read_network(json: &str) -> Result<NetworkFile, BadFile> {
    let keys: serde_json::Value = parse(json)?;
    match keys.get("founded") {
        None => Ok(NetworkFile::Begun(read_genesis(json)?)),
        Some(_) => Ok(NetworkFile::Founded(Box::new(read_founded(json)?))),
    }
}

fn read_genesis(json: &str) -> Result<v1::Genesis, BadFile> {
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

fn read_founded(json: &str) -> Result<Founded, BadFile> {
    let it: FoundedText = parse(json)?;
    let ledger = it.ledger.parse().map_err(BadFile::Json)?;
    let validators = it.validators.iter().map(ValidatorText::message).collect::<Result<_, _>>()?;
    let change = v1::ValidatorChange {
        number: 1,
        change: Some(Change::Found(v1::Founding { validators })),
        approvals: vec![it.founded.approval.message()?],
    };
    let root = bytes("root", &it.founded.root)?;
    let root = Hash::try_from(&root[..]).map_err(|_| BadFile::Hex("root"))?;
    Ok(Founded::new(ledger, it.founded.checkpoint, change, it.founded.time_ms, root)?)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesText {
    contract_version: u32,
    limits: LimitsText,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ApprovalText {
    key: String,
    signature: String,
}

impl ApprovalText {
    fn of(it: &v1::Approval) -> Self {
        Self { key: hex::encode(&it.key), signature: hex::encode(&it.signature) }
    }

    fn message(&self) -> Result<v1::Approval, BadFile> {
        Ok(v1::Approval {
            key: bytes("key", &self.key)?,
            signature: bytes("signature", &self.signature)?,
        })
    }
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
        approvals: change.approvals.iter().map(ApprovalText::of).collect(),
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
    let approvals = it.approvals.iter().map(ApprovalText::message);
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
    use colearn_ledger::note::KeyKind;
    use colearn_ledger::{Checkpoint, Signer};
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
    fn one_key_says_all_of_how_a_ledger_of_one_becomes_one_of_several() {
        let (solo, ledger) = (SigningKey::from_bytes(&[50; 32]), LedgerId([3; 32]));
        let sign = |key: &SigningKey, size| {
            let signer = Signer::new("log", KeyKind::Log, key.clone()).unwrap();
            Checkpoint { origin: "log".to_owned(), size, root: Hash([7; 32]) }.sign(&signer)
        };
        let founding = |by: &SigningKey| {
            let found = Change::Found(v1::Founding { validators: vec![node(1), node(2)] });
            let (change, approvals) = (Some(found), Vec::new());
            let mut it = v1::ValidatorChange { number: 1, change, approvals };
            validators::approve(&ledger, by, &mut it);
            it
        };
        let make = |note: String| Founded::new(ledger, note, founding(&solo), 9, Hash([8; 32]));
        let good = make(sign(&solo, 5)).unwrap();
        assert_eq!((good.index(), good.size(), good.origin()), (5, 6, "log"));
        let text = founded(&good);
        assert_eq!(read_network(&text).unwrap(), NetworkFile::Founded(Box::new(good)));
        // Somebody else signs a part of it, or has changed who keeps the ledger, or which it is.
        let other = SigningKey::from_bytes(&[51; 32]);
        assert!(matches!(make(sign(&other, 5)), Err(BadFounding::Checkpoint(_))));
        assert_eq!(make(sign(&solo, 0)), Err(BadFounding::Nothing));
        let moved = text.replace("org-2", "org-3");
        assert!(matches!(read_network(&moved), Err(BadFile::Founding(_))));
        let another = text.replace(&ledger.to_string(), &LedgerId([4; 32]).to_string());
        let refused = Err(BadFile::Founding(BadChange::Approval.into()));
        assert_eq!(read_network(&another), refused);
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
        assert_eq!(read_network(&text).unwrap(), NetworkFile::Begun(genesis.clone()));
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
