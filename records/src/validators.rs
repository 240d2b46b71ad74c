//! The nodes that keep a ledger together, and what changes who they are.
//!
//! A change is one entry that carries its own proof, so that whoever knows the nodes of the first entry
//! can go on to those of today and believe nobody.

use bytes::Bytes;
use colearn_contracts::{Limits, Version};
use colearn_ledger::note::KeyKind;
use colearn_ledger::{Verifier, Verifiers};
use colearn_proto::v1;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::transaction::LedgerId;
use crate::upgrade;

/// The most nodes that keep one ledger.
pub const MAX_VALIDATORS: usize = 64;
/// The longest name, in bytes.
const MAX_NAME: usize = 64;
/// The longest address, in bytes.
const MAX_ADDRESS: usize = 256;

const POSSESSION: &[u8] = b"colearn/v1/validator\n";
const APPROVAL: &[u8] = b"colearn/v1/validators\n";
const NONCE: &[u8] = b"colearn/v1/network\n";

/// A node that keeps a ledger together with others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Validator {
    message: v1::Validator,
    log_key: VerifyingKey,
    consensus_key: VerifyingKey,
}

/// Why a message describes no node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadValidator {
    /// Its name is none.
    #[error("a node's name is 1 to {MAX_NAME} of a-z 0-9 . -")]
    Name,
    /// A key is none, or both are one.
    #[error("it must have two different Ed25519 keys, one for checkpoints and one for blocks")]
    Key,
    /// Its address for the other nodes is none.
    #[error("its p2p address must be <node id>@<host>:<port>, the id 40 hexadecimal digits")]
    P2p,
    /// Its address for everybody is none.
    #[error(
        "its URL must be http://<host>:<port> or https://<host>:<port>, this with #sha256:<fingerprint> or without"
    )]
    Url,
    /// It is not signed by both its keys.
    #[error("it is not signed by both its keys: somebody else may have written it")]
    Unsigned,
}

impl Validator {
    /// Describes the node that holds these keys, and has both consent.
    ///
    /// # Errors
    /// If the name or an address is none.
    pub fn sign(
        name: &str,
        p2p: &str,
        url: &str,
        log: &SigningKey,
        consensus: &SigningKey,
    ) -> Result<Self, BadValidator> {
        let mut message = v1::Validator {
            name: name.to_owned(),
            log_public_key: Bytes::copy_from_slice(log.verifying_key().as_bytes()),
            consensus_public_key: Bytes::copy_from_slice(consensus.verifying_key().as_bytes()),
            p2p: p2p.to_owned(),
            url: url.to_owned(),
            ..v1::Validator::default()
        };
        let signed = possession(&message);
        message.log_signature = Bytes::copy_from_slice(&log.sign(&signed).to_bytes());
        message.consensus_signature = Bytes::copy_from_slice(&consensus.sign(&signed).to_bytes());
        Self::read(message)
    }

    /// Reads a node's description, and verifies that both its keys have signed it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(message: v1::Validator) -> Result<Self, BadValidator> {
        let of_name = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-')
        };
        if !(1..=MAX_NAME).contains(&message.name.len()) || !message.name.bytes().all(of_name) {
            return Err(BadValidator::Name);
        }
        let key = |bytes: &[u8]| {
            let bytes = bytes.try_into().map_err(|_| BadValidator::Key)?;
            VerifyingKey::from_bytes(bytes).map_err(|_| BadValidator::Key)
        };
        let log_key = key(&message.log_public_key)?;
        let consensus_key = key(&message.consensus_public_key)?;
        // One key for both would sign a block where a checkpoint was meant, or the other way round.
        if log_key == consensus_key {
            return Err(BadValidator::Key);
        }
        if !is_p2p(&message.p2p) {
            return Err(BadValidator::P2p);
        }
        if !is_url(&message.url) {
            return Err(BadValidator::Url);
        }
        let signed = possession(&message);
        if !verifies(&log_key, &signed, &message.log_signature)
            || !verifies(&consensus_key, &signed, &message.consensus_signature)
        {
            return Err(BadValidator::Unsigned);
        }
        Ok(Self { message, log_key, consensus_key })
    }

    /// As it is recorded.
    pub fn message(&self) -> &v1::Validator {
        &self.message
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.message.name
    }

    /// The key that signs its checkpoints.
    pub fn log_key(&self) -> &VerifyingKey {
        &self.log_key
    }

    /// The key that signs its blocks.
    pub fn consensus_key(&self) -> &VerifyingKey {
        &self.consensus_key
    }

    /// How blocks name it: the first 20 bytes of the SHA-256 of the key that signs its blocks.
    pub fn consensus_address(&self) -> [u8; 20] {
        let mut address = [0; 20];
        address.copy_from_slice(&Sha256::digest(self.consensus_key.as_bytes())[..20]);
        address
    }

    /// Where the other nodes find it: `<node id>@<host>:<port>`.
    pub fn p2p(&self) -> &str {
        &self.message.p2p
    }

    /// How the other nodes know it: the id in its p2p address.
    pub fn node_id(&self) -> &str {
        self.p2p().split('@').next().unwrap_or_default()
    }

    /// Where it serves everybody.
    pub fn url(&self) -> &str {
        &self.message.url
    }
}

/// These stand in a configuration that is separated by commas and quoted, and come from others.
fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let of_host =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'[' | b']' | b':');
    !host.is_empty() && host.bytes().all(of_host) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_p2p(text: &str) -> bool {
    let of_id = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() <= MAX_ADDRESS
        && text.split_once('@').is_some_and(|(id, address)| {
            id.len() == 40 && id.bytes().all(of_id) && is_host_and_port(address)
        })
}

/// With the fingerprint of its certificate, if no authority vouches for it.
fn is_url(text: &str) -> bool {
    let (url, is_right) = match text.split_once("#sha256:") {
        None => (text, true),
        Some((url, digits)) => (url, url.starts_with("https://") && is_fingerprint(digits)),
    };
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    text.len() <= MAX_ADDRESS && is_right && rest.is_some_and(is_host_and_port)
}

/// Of its spellings there is one here.
fn is_fingerprint(digits: &str) -> bool {
    digits.len() == 64 && digits.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'))
}

/// What a node's keys sign to say that a description is of it.
pub fn possession(validator: &v1::Validator) -> Vec<u8> {
    let bare = v1::Validator {
        log_signature: Bytes::new(),
        consensus_signature: Bytes::new(),
        ..validator.clone()
    };
    [POSSESSION, &bare.encode_to_vec()].concat()
}

fn verifies(key: &VerifyingKey, message: &[u8], signature: &[u8]) -> bool {
    Signature::from_slice(signature)
        .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok())
}

/// The nodes that keep a ledger together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Validators {
    /// By name, ascending.
    list: Vec<Validator>,
    /// How often they were changed.
    number: u64,
}

/// Why an entry does not change who keeps the ledger, or a first entry does not say it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadChange {
    /// It says nothing that this program knows.
    #[error("it changes nothing that is known here")]
    Malformed,
    /// A node's description is none.
    #[error("{name}: {why}")]
    Validator {
        /// The name it gives.
        name: String,
        /// Why.
        why: BadValidator,
    },
    /// Too few or too many nodes.
    #[error("1 to {MAX_VALIDATORS} nodes keep a ledger together, not {0}")]
    Count(usize),
    /// Not by name, or one twice.
    #[error("its nodes are not in ascending order of their names, each once")]
    Order,
    /// Two nodes have a key in common, or keys that checkpoints cannot tell apart.
    #[error("{0} has a key, or the id of one, that another node has")]
    SameKey(String),
    /// The number is not the next.
    #[error("it is change {found}, and the next one is {expected}: make it anew")]
    Number {
        /// The next.
        expected: u64,
        /// What it says.
        found: u64,
    },
    /// It changes the nodes of a ledger that one node keeps.
    #[error("one node keeps this ledger, and it is not a change to several")]
    NoNetwork,
    /// It founds a network where one is.
    #[error("several nodes keep this ledger already")]
    Founded,
    /// A node of that name is there.
    #[error("a node called {0} keeps this ledger already")]
    Taken(String),
    /// No node of that name is there.
    #[error("no node called {0} keeps this ledger")]
    Unknown(String),
    /// The last node would go.
    #[error("{0} is the last node; who shall keep the ledger?")]
    Last(String),
    /// An update changes nothing.
    #[error("{0} is as it says already")]
    Same(String),
    /// Too few approve.
    #[error("{approved} of {of} nodes approve, and {needed} must")]
    Unapproved {
        /// How many do.
        approved: usize,
        /// How many must.
        needed: usize,
        /// How many there are.
        of: usize,
    },
    /// An approval is wrong, of somebody who has no say, or out of order.
    #[error(
        "an approval is by nobody who has a say in this, wrong, or not in ascending order of the keys"
    )]
    Approval,
    /// The rules are none.
    #[error("the limits of the rules break a bound")]
    Rules,
    /// The first entry of a network does not have what follows from its nodes.
    #[error("its key, nonce or time is not what follows from its nodes")]
    Genesis,
}

impl Validators {
    /// The nodes that a first entry says keep the ledger; `None` if one node does.
    ///
    /// # Errors
    /// If it is not what they would have made together.
    pub fn of_genesis(genesis: &v1::Genesis) -> Result<Option<Self>, BadChange> {
        if genesis.validators.is_empty() {
            return if genesis.time_ms == 0 { Ok(None) } else { Err(BadChange::Genesis) };
        }
        let validators = Self::read(&genesis.validators, 0)?;
        let nonce = nonce(&genesis.validators, genesis.time_ms);
        let follows =
            genesis.log_public_key.is_empty() && genesis.nonce[..] == nonce && genesis.time_ms > 0;
        if follows { Ok(Some(validators)) } else { Err(BadChange::Genesis) }
    }

    pub(crate) fn read(messages: &[v1::Validator], number: u64) -> Result<Self, BadChange> {
        if !(1..=MAX_VALIDATORS).contains(&messages.len()) {
            return Err(BadChange::Count(messages.len()));
        }
        let list = messages.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        Self { list, number }.checked()
    }

    /// Holds what is true of any set.
    fn checked(self) -> Result<Self, BadChange> {
        if !(1..=MAX_VALIDATORS).contains(&self.list.len()) {
            return Err(BadChange::Count(self.list.len()));
        }
        if self.list.windows(2).any(|pair| pair[0].name() >= pair[1].name()) {
            return Err(BadChange::Order);
        }
        for (at, one) in self.list.iter().enumerate() {
            for other in &self.list[..at] {
                let keys = [&other.log_key, &other.consensus_key];
                if keys.contains(&&one.log_key)
                    || keys.contains(&&one.consensus_key)
                    || one.node_id() == other.node_id()
                {
                    return Err(BadChange::SameKey(one.name().to_owned()));
                }
            }
        }
        Ok(self)
    }

    /// Those who sign this ledger's checkpoints together.
    pub(crate) fn verifiers(&self, origin: &str) -> Result<Verifiers, BadChange> {
        let key = |validator: &Validator| {
            Verifier::new(origin, KeyKind::Log, validator.log_key).map_err(|_| BadChange::Genesis)
        };
        let keys = self.list.iter().map(key).collect::<Result<Vec<_>, _>>()?;
        let last = self.list.last().map_or("", |last| last.name()).to_owned();
        Verifiers::new(keys).map_err(|_| BadChange::SameKey(last))
    }

    /// The nodes, by name.
    pub fn iter(&self) -> std::slice::Iter<'_, Validator> {
        self.list.iter()
    }

    /// The node of this name.
    pub fn get(&self, name: &str) -> Option<&Validator> {
        self.list.iter().find(|validator| validator.name() == name)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// How many may be faulty in any way without harm: less than a third.
    pub fn tolerated(&self) -> usize {
        (self.count() - 1) / 3
    }

    /// How many must be there, sign and approve: more than two thirds.
    pub fn quorum(&self) -> usize {
        2 * self.count() / 3 + 1
    }

    /// How often they were changed.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Those after a change.
    pub(crate) fn after(
        &self,
        ledger: &LedgerId,
        change: &v1::ValidatorChange,
    ) -> Result<Self, BadChange> {
        use v1::validator_change::Change;

        let expected = self.number + 1;
        if change.number != expected {
            return Err(BadChange::Number { expected, found: change.number });
        }
        let mut list = self.list.clone();
        let found = |name: &str| self.list.iter().position(|validator| validator.name() == name);
        match change.change.as_ref().ok_or(BadChange::Malformed)? {
            Change::Admit(message) => {
                let new = read(message)?;
                if found(new.name()).is_some() {
                    return Err(BadChange::Taken(new.name().to_owned()));
                }
                let at = list.partition_point(|other| other.name() < new.name());
                list.insert(at, new);
                self.check_quorum(ledger, change)?;
            }
            Change::Remove(name) => {
                let at = found(name).ok_or_else(|| BadChange::Unknown(name.clone()))?;
                if list.len() == 1 {
                    return Err(BadChange::Last(name.clone()));
                }
                list.remove(at);
                self.check_quorum(ledger, change)?;
            }
            Change::Update(message) => {
                let new = read(message)?;
                let unknown = || BadChange::Unknown(new.name().to_owned());
                let at = found(new.name()).ok_or_else(unknown)?;
                if list[at] == new {
                    return Err(BadChange::Same(new.name().to_owned()));
                }
                check_one(&list[at].log_key, ledger, change)?;
                list[at] = new;
            }
            Change::Found(_) => return Err(BadChange::Founded),
            Change::Rules(rules) => {
                upgrade::limits(rules.limits.as_ref()).map_err(|_| BadChange::Rules)?;
                self.check_quorum(ledger, change)?;
            }
        }
        Self { list, number: change.number }.checked()
    }

    /// Those who keep a ledger from here on that one node has kept alone until here.
    pub(crate) fn found(
        ledger: &LedgerId,
        solo: &VerifyingKey,
        change: &v1::ValidatorChange,
    ) -> Result<Self, BadChange> {
        let Some(v1::validator_change::Change::Found(founding)) = &change.change else {
            return Err(BadChange::NoNetwork);
        };
        if change.number != 1 {
            return Err(BadChange::Number { expected: 1, found: change.number });
        }
        let validators = Self::read(&founding.validators, 1)?;
        check_one(solo, ledger, change)?;
        Ok(validators)
    }

    /// More than two thirds of those before a change must approve it.
    fn check_quorum(
        &self,
        ledger: &LedgerId,
        change: &v1::ValidatorChange,
    ) -> Result<(), BadChange> {
        let approved = self.approvals(ledger, change)?;
        let needed = self.quorum();
        if approved < needed {
            return Err(BadChange::Unapproved { approved, needed, of: self.count() });
        }
        Ok(())
    }

    /// How many of them approve a change.
    ///
    /// # Errors
    /// If an approval is of none of them, wrong, or not in the order of the keys.
    pub fn approvals(
        &self,
        ledger: &LedgerId,
        change: &v1::ValidatorChange,
    ) -> Result<usize, BadChange> {
        // Before any is verified: a list without bound would be a lot of work.
        if change.approvals.len() > self.count()
            || change.approvals.windows(2).any(|pair| pair[0].key >= pair[1].key)
        {
            return Err(BadChange::Approval);
        }
        let message = approval(ledger, change);
        for one in &change.approvals {
            let by = self.list.iter().find(|other| other.log_key.as_bytes()[..] == one.key[..]);
            let by = by.ok_or(BadChange::Approval)?;
            if !verifies(&by.log_key, &message, &one.signature) {
                return Err(BadChange::Approval);
            }
        }
        Ok(change.approvals.len())
    }
}

/// Exactly this key must approve.
fn check_one(
    key: &VerifyingKey,
    ledger: &LedgerId,
    change: &v1::ValidatorChange,
) -> Result<(), BadChange> {
    match &change.approvals[..] {
        [] => Err(BadChange::Unapproved { approved: 0, needed: 1, of: 1 }),
        [one]
            if one.key[..] == key.as_bytes()[..]
                && verifies(key, &approval(ledger, change), &one.signature) =>
        {
            Ok(())
        }
        _ => Err(BadChange::Approval),
    }
}

fn read(message: &v1::Validator) -> Result<Validator, BadChange> {
    let named = |why| BadChange::Validator { name: message.name.clone(), why };
    Validator::read(message.clone()).map_err(named)
}

/// Adds the consent of who holds this key to a change, in its place.
pub fn approve(ledger: &LedgerId, key: &SigningKey, change: &mut v1::ValidatorChange) {
    let signature = key.sign(&approval(ledger, change));
    let public = Bytes::copy_from_slice(key.verifying_key().as_bytes());
    let signature = Bytes::copy_from_slice(&signature.to_bytes());
    let approval = v1::Approval { key: public, signature };
    change.approvals.retain(|other| other.key != approval.key);
    let at = change.approvals.partition_point(|other| other.key < approval.key);
    change.approvals.insert(at, approval);
}

fn approval(ledger: &LedgerId, change: &v1::ValidatorChange) -> Vec<u8> {
    let bare = v1::ValidatorChange { approvals: Vec::new(), ..change.clone() };
    [APPROVAL, &ledger.0, &bare.encode_to_vec()].concat()
}

/// The first entry of a ledger that these nodes keep together from the first on. Whoever has the same
/// descriptions, in whatever order, and the same time makes the same.
///
/// # Errors
/// If they cannot keep a ledger together.
pub fn genesis(
    origin: Option<String>,
    mut validators: Vec<v1::Validator>,
    time_ms: u64,
    version: Version,
    limits: &Limits,
) -> Result<v1::Genesis, BadChange> {
    validators.sort_by(|one, other| one.name.cmp(&other.name));
    let nonce = nonce(&validators, time_ms);
    let genesis = v1::Genesis {
        origin: origin.unwrap_or_else(|| format!("colearn/{}", hex::encode(&nonce[..8]))),
        log_public_key: Bytes::new(),
        nonce: Bytes::copy_from_slice(&nonce),
        contract_version: version.number(),
        validators,
        time_ms,
        limits: Some(upgrade::limits_message(limits)),
        chain: None,
    };
    let validators = Validators::of_genesis(&genesis)?.ok_or(BadChange::Count(0))?;
    validators.verifiers(&genesis.origin)?;
    Ok(genesis)
}

fn nonce(validators: &[v1::Validator], time_ms: u64) -> [u8; 32] {
    let founding = v1::Founding { validators: validators.to_vec() };
    let mut hash = Sha256::new();
    hash.update(NONCE);
    hash.update(founding.encode_to_vec());
    hash.update(time_ms.to_be_bytes());
    hash.finalize().into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use colearn_contracts::VERSION;
    use v1::validator_change::Change;

    use super::*;

    fn log_key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn node(name: &str, seed: u8) -> v1::Validator {
        let p2p = format!("{seed:040x}@{name}.example:26656");
        let url = format!("https://{name}.example:7400");
        let consensus = SigningKey::from_bytes(&[100 + seed; 32]);
        Validator::sign(name, &p2p, &url, &log_key(seed), &consensus).unwrap().message.clone()
    }

    fn four() -> Vec<v1::Validator> {
        (1..=4).map(|seed| node(&format!("org-{seed}"), seed)).collect()
    }

    fn network() -> (LedgerId, Validators) {
        let genesis = genesis(None, four(), 1_000, VERSION, &Limits::default()).unwrap();
        (LedgerId::of(&genesis), Validators::of_genesis(&genesis).unwrap().unwrap())
    }

    fn change(
        ledger: &LedgerId,
        number: u64,
        change: Change,
        approve_with: &[u8],
    ) -> v1::ValidatorChange {
        let mut it = v1::ValidatorChange { number, change: Some(change), approvals: Vec::new() };
        for seed in approve_with {
            approve(ledger, &log_key(*seed), &mut it);
        }
        it
    }

    #[test]
    fn everybody_makes_the_same_genesis() {
        let mut backwards = four();
        backwards.reverse();
        let make = |list, time| genesis(None, list, time, VERSION, &Limits::default()).unwrap();
        let one = make(four(), 1_000);
        assert_eq!(one, make(backwards, 1_000));
        assert_ne!(LedgerId::of(&one), LedgerId::of(&make(four(), 1_001)));
        assert_ne!(LedgerId::of(&one), LedgerId::of(&make(four()[..3].to_vec(), 1_000)));
        for spoilt in [
            v1::Genesis { time_ms: 1_001, ..one.clone() },
            v1::Genesis { nonce: Bytes::from_static(&[7; 32]), ..one.clone() },
            v1::Genesis { log_public_key: Bytes::from_static(&[7; 32]), ..one.clone() },
            v1::Genesis { validators: Vec::new(), ..one.clone() },
        ] {
            assert_eq!(Validators::of_genesis(&spoilt), Err(BadChange::Genesis));
        }
    }

    #[test]
    fn a_node_is_described_by_itself_only() {
        let good = node("a", 1);
        assert_eq!(Validator::read(good.clone()).unwrap().node_id(), format!("{:040x}", 1));
        let spoilt = |spoil: fn(&mut v1::Validator)| {
            let mut spoilt = good.clone();
            spoil(&mut spoilt);
            Validator::read(spoilt).unwrap_err()
        };
        assert_eq!(spoilt(|it| it.name = "A".to_owned()), BadValidator::Name);
        assert_eq!(spoilt(|it| it.name = String::new()), BadValidator::Name);
        assert_eq!(
            spoilt(|it| it.url = "https://b.example:7400".to_owned()),
            BadValidator::Unsigned
        );
        let pinned = |scheme: &str, digits: String| format!("{scheme}://a:1#sha256:{digits}");
        assert!(is_url(&pinned("https", "0a".repeat(32))));
        for url in [
            "ftp://a:1",
            "http://a",
            "http://a:1/\"x",
            "http://:1",
            "http://a:0",
            "https://a:1#x",
            &pinned("http", "0a".repeat(32)),
            &pinned("https", "0A".repeat(32)),
            &pinned("https", "0a".repeat(31)),
        ] {
            let spoilt = Validator::read(v1::Validator { url: url.to_owned(), ..good.clone() });
            assert_eq!(spoilt, Err(BadValidator::Url), "{url}");
        }
        let id = "0".repeat(40);
        // It would stand in another program's settings.
        for p2p in [format!("{id}@a:1,{id}@b:1"), format!("{id}@a:1\"\nx=1"), format!("{id}a:1")] {
            let spoilt = Validator::read(v1::Validator { p2p: p2p.clone(), ..good.clone() });
            assert_eq!(spoilt, Err(BadValidator::P2p), "{p2p}");
        }
        assert_eq!(
            spoilt(|it| it.consensus_public_key = it.log_public_key.clone()),
            BadValidator::Key
        );
        assert_eq!(
            spoilt(|it| it.consensus_signature = it.log_signature.clone()),
            BadValidator::Unsigned
        );
    }

    #[test]
    fn more_than_two_thirds_change_who_they_are() {
        let (ledger, four) = network();
        let admit = || Change::Admit(node("org-5", 5));
        let after = |it: &v1::ValidatorChange| four.after(&ledger, it);
        let five = after(&change(&ledger, 1, admit(), &[1, 3, 4])).unwrap();
        assert_eq!((five.count(), five.number(), five.tolerated()), (5, 1, 1));
        assert!(five.get("org-5").is_some());
        assert_eq!(
            after(&change(&ledger, 1, admit(), &[1, 3])),
            Err(BadChange::Unapproved { approved: 2, needed: 3, of: 4 })
        );
        // By who is not there yet, for another ledger, twice, of another change.
        assert_eq!(after(&change(&ledger, 1, admit(), &[1, 3, 5])), Err(BadChange::Approval));
        let other = LedgerId([9; 32]);
        assert_eq!(after(&change(&other, 1, admit(), &[1, 2, 3])), Err(BadChange::Approval));
        let mut twice = change(&ledger, 1, admit(), &[1, 3]);
        twice.approvals.push(twice.approvals[1].clone());
        assert_eq!(after(&twice), Err(BadChange::Approval));
        let mut moved = change(&ledger, 1, Change::Remove("org-4".to_owned()), &[1, 2, 3]);
        moved.change = Some(Change::Remove("org-3".to_owned()));
        assert_eq!(after(&moved), Err(BadChange::Approval));

        let late = change(&ledger, 2, admit(), &[1, 3, 4]);
        assert_eq!(after(&late), Err(BadChange::Number { expected: 1, found: 2 }));
        let taken = change(&ledger, 1, Change::Admit(node("org-2", 5)), &[1, 2, 3]);
        assert_eq!(after(&taken), Err(BadChange::Taken("org-2".to_owned())));
        let same_key = change(&ledger, 1, Change::Admit(node("org-9", 2)), &[1, 2, 3]);
        assert_eq!(after(&same_key), Err(BadChange::SameKey("org-9".to_owned())));
        let nobody = change(&ledger, 1, Change::Remove("org-7".to_owned()), &[1, 2, 3]);
        assert_eq!(after(&nobody), Err(BadChange::Unknown("org-7".to_owned())));
        let three = after(&change(&ledger, 1, Change::Remove("org-1".to_owned()), &[1, 2, 3]));
        assert_eq!(three.unwrap().count(), 3);
    }

    #[test]
    fn a_node_changes_its_own_description_with_its_old_key() {
        let (ledger, four) = network();
        let update = || Change::Update(node("org-2", 7));
        let after = four.after(&ledger, &change(&ledger, 1, update(), &[2])).unwrap();
        assert_eq!(after.get("org-2").unwrap().log_key(), &log_key(7).verifying_key());
        for others in [&[7][..], &[1], &[1, 2, 3]] {
            let refused = four.after(&ledger, &change(&ledger, 1, update(), others));
            assert_eq!(refused, Err(BadChange::Approval), "{others:?}");
        }
        let same = Change::Update(node("org-2", 2));
        let refused = four.after(&ledger, &change(&ledger, 1, same, &[2]));
        assert_eq!(refused, Err(BadChange::Same("org-2".to_owned())));
    }

    #[test]
    fn who_kept_a_ledger_alone_says_who_keeps_it_together() {
        let ledger = LedgerId([3; 32]);
        let solo = log_key(50);
        let found = Change::Found(v1::Founding { validators: four() });
        let good = change(&ledger, 1, found, &[50]);
        let validators = Validators::found(&ledger, &solo.verifying_key(), &good).unwrap();
        assert_eq!((validators.count(), validators.number()), (4, 1));
        let other = log_key(51).verifying_key();
        assert_eq!(Validators::found(&ledger, &other, &good), Err(BadChange::Approval));
        let admit = change(&ledger, 1, Change::Admit(node("org-1", 1)), &[50]);
        let refused = Validators::found(&ledger, &solo.verifying_key(), &admit);
        assert_eq!(refused, Err(BadChange::NoNetwork));
        assert_eq!(
            validators.after(&ledger, &change(&ledger, 2, good.change.unwrap(), &[1, 2, 3])),
            Err(BadChange::Founded)
        );
    }

    #[test]
    fn the_last_node_stays() {
        let genesis = genesis(None, vec![node("a", 1)], 5, VERSION, &Limits::default()).unwrap();
        let ledger = LedgerId::of(&genesis);
        let alone = Validators::of_genesis(&genesis).unwrap().unwrap();
        let remove = change(&ledger, 1, Change::Remove("a".to_owned()), &[1]);
        assert_eq!(alone.after(&ledger, &remove), Err(BadChange::Last("a".to_owned())));
    }
}
