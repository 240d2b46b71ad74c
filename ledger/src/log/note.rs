//! Signed notes and checkpoints (C2SP signed-note, tlog-checkpoint, tlog-cosignature).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

use crate::log::hash::Hash;

/// The longest note that is read, in bytes.
pub const MAX_NOTE_BYTES: usize = 65_536;
/// The most signature lines that are read.
const MAX_SIGNATURES: usize = 100;
/// Sizes stay below 2^63 (C2SP tlog-checkpoint).
const MAX_SIZE: u64 = 1 << 63;

/// Why a note, checkpoint or key was not believed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoteError {
    /// Not of the signed-note or checkpoint form.
    #[error("not a well-formed checkpoint: {0}")]
    Malformed(&'static str),
    /// The verifier key cannot be read.
    #[error("not a verifier key of the form <name>+<key id>+<base64>: {0}")]
    Key(&'static str),
    /// No line is signed by the expected key.
    #[error("no signature by {0}")]
    Unsigned(String),
    /// A line claims the expected key but its signature does not verify.
    #[error("the signature by {0} does not verify")]
    BadSignature(String),
    /// Of several keys that sign together too few have.
    #[error("{signed} of the log's {of} keys have signed, and {needed} must")]
    TooFew {
        /// How many have.
        signed: usize,
        /// How many must.
        needed: usize,
        /// How many there are.
        of: usize,
    },
    /// The checkpoint is of another log.
    #[error("the checkpoint is of {found}, not of {expected}")]
    WrongOrigin {
        /// The log that was asked for.
        expected: String,
        /// The log the checkpoint names.
        found: String,
    },
}

/// The note in bytes from a file or a network; nothing else is looked at yet.
///
/// # Errors
/// If they are no UTF-8. Whoever replaces what is not would verify another note than was signed.
pub fn from_bytes(bytes: Vec<u8>) -> Result<String, NoteError> {
    String::from_utf8(bytes).map_err(|_| NoteError::Malformed("not UTF-8"))
}

/// Whether a key may be called so.
fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+')
}

/// What a key signs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyKind {
    /// The log's own key (type 0x01): signs the note's text.
    Log,
    /// A witness's key (type 0x04): signs a timestamp and the text.
    Witness,
}

impl KeyKind {
    fn byte(self) -> u8 {
        match self {
            Self::Log => 0x01,
            Self::Witness => 0x04,
        }
    }
}

/// A public key with its name: `<name>+<hex key id>+<base64(type || key)>`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verifier {
    name: String,
    kind: KeyKind,
    key: VerifyingKey,
}

impl Verifier {
    /// A verifier of this name and key.
    ///
    /// # Errors
    /// If the name is empty or contains white space or `+`.
    pub fn new(name: &str, kind: KeyKind, key: VerifyingKey) -> Result<Self, NoteError> {
        if !is_key_name(name) {
            return Err(NoteError::Key("the name is empty or has white space or a plus sign"));
        }
        Ok(Self { name: name.to_owned(), kind, key })
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// If it is not of the form, the key id does not belong to it, or the key is not on the curve.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        // Base64 may hold plus signs; a name and an id never do.
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(encoded)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(NoteError::Key("two plus signs are needed"));
        };
        let bytes = BASE64.decode(encoded).map_err(|_| NoteError::Key("bad base64"))?;
        let (kind, key) = bytes.split_first().ok_or(NoteError::Key("no key"))?;
        let kind = match kind {
            0x01 => KeyKind::Log,
            0x04 => KeyKind::Witness,
            _ => return Err(NoteError::Key("not an Ed25519 key")),
        };
        let key: &[u8; 32] = key.try_into().map_err(|_| NoteError::Key("not 32 bytes"))?;
        let key = VerifyingKey::from_bytes(key).map_err(|_| NoteError::Key("not on the curve"))?;
        let verifier = Self::new(name, kind, key)?;
        // The id covers name and key, so a key that was pasted under another name is refused.
        let expected: String = verifier.id().iter().map(|byte| format!("{byte:02x}")).collect();
        if id != expected {
            return Err(NoteError::Key("the key id does not belong to the name and key"));
        }
        Ok(verifier)
    }

    /// The key's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it signs.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The public key.
    pub fn key(&self) -> &VerifyingKey {
        &self.key
    }

    /// The key id: the first four bytes of `SHA-256(name || "\n" || type || key)`.
    pub(crate) fn id(&self) -> [u8; 4] {
        let hash = Sha256::new()
            .chain_update(&self.name)
            .chain_update([b'\n', self.kind.byte()])
            .chain_update(self.key.as_bytes())
            .finalize();
        [hash[0], hash[1], hash[2], hash[3]]
    }

    /// Verifies the line this key signed.
    ///
    /// # Errors
    /// If no line carries this key's name and id, or one that does is wrong.
    pub fn verify(&self, note: &SignedNote) -> Result<(), NoteError> {
        // A line that claims this key and is wrong refuses the note, even beside one that is right:
        // nobody who signs honestly adds such a line. Lines of other keys say nothing here.
        let mut found = false;
        for line in note.signatures.iter().filter(|line| line.name == self.name) {
            let Some(signature) = line.bytes.strip_prefix(&self.id()) else { continue };
            let bad = || NoteError::BadSignature(self.name.clone());
            let (message, signature) = match self.kind {
                KeyKind::Log => (note.text.clone(), signature),
                KeyKind::Witness => {
                    let (time, signature) = signature.split_first_chunk().ok_or_else(bad)?;
                    (cosigned_message(u64::from_be_bytes(*time), &note.text), signature)
                }
            };
            let signature = Signature::from_slice(signature).map_err(|_| bad())?;
            // Strict, because what the plain check makes of odd keys and signatures differs between
            // implementations, and all who read a note are to come to the same answer.
            self.key.verify_strict(message.as_bytes(), &signature).map_err(|_| bad())?;
            found = true;
        }
        if found { Ok(()) } else { Err(NoteError::Unsigned(self.name.clone())) }
    }
}

impl std::str::FromStr for Verifier {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        Self::parse(text)
    }
}

impl std::fmt::Display for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}+", self.name)?;
        for byte in self.id() {
            write!(f, "{byte:02x}")?;
        }
        let mut bytes = vec![self.kind.byte()];
        bytes.extend_from_slice(self.key.as_bytes());
        write!(f, "+{}", BASE64.encode(bytes))
    }
}

/// A private key with the name it signs under.
#[derive(Clone)]
pub struct Signer {
    key: SigningKey,
    verifier: Verifier,
}

impl Signer {
    /// A signer of this name and key.
    ///
    /// # Errors
    /// If the name is not allowed.
    pub fn new(name: &str, kind: KeyKind, key: SigningKey) -> Result<Self, NoteError> {
        let verifier = Verifier::new(name, kind, key.verifying_key())?;
        Ok(Self { key, verifier })
    }

    /// The public side.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// The private side, for what else its holder signs.
    pub fn signing_key(&self) -> &SigningKey {
        &self.key
    }

    /// The signature line for a note's text. A witness states the time, in seconds since 1970.
    pub fn sign(&self, text: &str, time_s: u64) -> String {
        // Ed25519 draws nothing: the same text gives the same line, so signing again after a crash
        // makes no second version of a checkpoint.
        let mut bytes = self.verifier.id().to_vec();
        match self.verifier.kind {
            KeyKind::Log => bytes.extend(self.key.sign(text.as_bytes()).to_bytes()),
            KeyKind::Witness => {
                bytes.extend(time_s.to_be_bytes());
                bytes.extend(self.key.sign(cosigned_message(time_s, text).as_bytes()).to_bytes());
            }
        }
        signature_line(&self.verifier.name, &bytes)
    }
}

fn signature_line(name: &str, bytes: &[u8]) -> String {
    format!("\u{2014} {name} {}\n", BASE64.encode(bytes))
}

/// What a witness signs. The first line keeps it from being taken for a note's text.
fn cosigned_message(time_s: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time_s}\n{text}")
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct SignatureLine {
    name: String,
    bytes: Vec<u8>,
}

/// A text with signature lines, none of them verified yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedNote {
    text: String,
    signatures: Vec<SignatureLine>,
}

impl SignedNote {
    /// Splits a note into its text and signature lines.
    ///
    /// # Errors
    /// If it is not of the signed-note form.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        // Notes come from the network: what follows looks at every byte, so their number is bounded.
        if note.len() > MAX_NOTE_BYTES {
            return Err(NoteError::Malformed("longer than 65,536 bytes"));
        }
        if note.chars().any(|c| c < ' ' && c != '\n') {
            return Err(NoteError::Malformed("control characters"));
        }
        // The last blank line: the text before may have some of its own, signature lines may not.
        let split = note.rfind("\n\n").ok_or(NoteError::Malformed("no blank line"))?;
        let (text, lines) = (&note[..=split], &note[split + 2..]);
        if !lines.ends_with('\n') {
            return Err(NoteError::Malformed("no newline at the end"));
        }
        let mut signatures = Vec::new();
        for line in lines.lines() {
            let line = line.strip_prefix("\u{2014} ").and_then(|line| line.split_once(' '));
            let (name, encoded) = line.ok_or(NoteError::Malformed("a bad signature line"))?;
            let bytes = BASE64.decode(encoded).map_err(|_| NoteError::Malformed("bad base64"))?;
            // Four bytes of key id, and a signature of whatever kind.
            if bytes.len() < 5 || !is_key_name(name) || signatures.len() == MAX_SIGNATURES {
                return Err(NoteError::Malformed("a bad signature line"));
            }
            signatures.push(SignatureLine { name: name.to_owned(), bytes });
        }
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// The signed text, with its last newline.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The line that claims to be a key's, as it stands in the note; the last, if there are several.
    /// Whether it verifies is not looked at.
    pub fn line_of(&self, key: &Verifier) -> Option<String> {
        let of_key =
            |line: &&SignatureLine| line.name == key.name && line.bytes.starts_with(&key.id());
        let line = self.signatures.iter().rfind(of_key)?;
        Some(signature_line(&line.name, &line.bytes))
    }
}

/// What a log says of itself at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// The number of entries.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
}

impl Checkpoint {
    /// The text that is signed: three lines.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(self.root.0))
    }

    /// The signed note.
    pub fn sign(&self, signer: &Signer) -> String {
        let text = self.text();
        format!("{text}\n{}", signer.sign(&text, 0))
    }

    /// Reads the three lines.
    ///
    /// # Errors
    /// If they are not exactly of the form; extension lines are not used here and refused.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let lines: Vec<&str> = text.strip_suffix('\n').unwrap_or(text).split('\n').collect();
        let &[origin, size, root] = lines.as_slice() else {
            return Err(NoteError::Malformed("a checkpoint has three lines"));
        };
        let number: u64 = size.parse().map_err(|_| NoteError::Malformed("a bad size"))?;
        // One spelling only: two texts of one checkpoint would be two signatures of one fact.
        if number.to_string() != size || number >= MAX_SIZE || origin.is_empty() {
            return Err(NoteError::Malformed("a bad size or origin"));
        }
        let root = BASE64.decode(root).map_err(|_| NoteError::Malformed("a bad root"))?;
        let root =
            Hash::try_from(root.as_slice()).map_err(|_| NoteError::Malformed("a bad root"))?;
        Ok(Self { origin: origin.to_owned(), size: number, root })
    }

    /// Reads a signed checkpoint of `verifier`'s log and verifies its signature.
    ///
    /// # Errors
    /// If anything about it is not as it should be. Signatures of other keys are ignored.
    pub fn open(note: &str, verifier: &Verifier) -> Result<Self, NoteError> {
        let note = SignedNote::parse(note)?;
        let checkpoint = Self::parse(note.text())?;
        // One key may sign several logs' notes under different names.
        if checkpoint.origin != verifier.name() {
            return Err(NoteError::WrongOrigin {
                expected: verifier.name().to_owned(),
                found: checkpoint.origin,
            });
        }
        verifier.verify(&note)?;
        Ok(checkpoint)
    }
}

/// A checkpoint with its signed form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedCheckpoint {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The signed note, verbatim.
    pub note: String,
}
