//! Which signatures are believed: those that `verify_strict` of ed25519-dalek takes, and no others.

use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::{EdwardsPoint, Scalar};
use ed25519_dalek::{Signature, Signer as _, VerifyingKey};
use serde::Serialize;
use sha2::{Digest as _, Sha512};

use crate::scribe::key;

#[derive(Serialize)]
pub(super) struct File {
    signatures: Vec<Case>,
    refused: Vec<Case>,
}

#[derive(Serialize)]
struct Case {
    name: &'static str,
    public_key: String,
    message: String,
    signature: String,
    #[serde(skip)]
    is_valid: bool,
}

/// The order of the base point, little-endian.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

pub(super) fn file() -> File {
    let honest = key(1);
    let public = honest.verifying_key().to_bytes();
    let signature = honest.sign(b"message").to_bytes();
    let point: [u8; 32] = signature[..32].try_into().unwrap();
    let scalar: [u8; 32] = signature[32..].try_into().unwrap();
    let identity = EIGHT_TORSION[0].compress().to_bytes();
    let small = EIGHT_TORSION[1].compress().to_bytes();

    let mut carry = 0;
    let unreduced: [u8; 32] = std::array::from_fn(|place| {
        let sum = u16::from(scalar[place]) + u16::from(ORDER[place]) + carry;
        carry = sum >> 8;
        sum as u8
    });
    let mut flipped = scalar;
    flipped[0] ^= 1;

    // With R the identity and s = k a the equation holds, whatever k is.
    let secret = honest.to_scalar();
    let without_nonce = (challenge(&identity, &public, b"message") * secret).to_bytes();

    // A key with a part of small order: whether the equation holds depends on the message.
    let mixed = (EdwardsPoint::mul_base(&secret) + EIGHT_TORSION[1]).compress().to_bytes();
    let nonce = Scalar::from(7_u64);
    let commitment = EdwardsPoint::mul_base(&nonce).compress().to_bytes();
    let mixed_case = |name, divides: bool| {
        let message = (0_u8..)
            .map(|number| [number])
            .find(|message| {
                let k = challenge(&commitment, &mixed, message).to_bytes();
                k[0].is_multiple_of(8) == divides
            })
            .unwrap();
        let s = nonce + challenge(&commitment, &mixed, &message) * secret;
        case(name, &mixed, &message, &commitment, &s.to_bytes())
    };

    let (signatures, refused) = [
        case("signed", &public, b"message", &point, &scalar),
        case(
            "signed_nothing",
            &public,
            b"",
            &halves(&honest.sign(b"")).0,
            &halves(&honest.sign(b"")).1,
        ),
        case("other_message", &public, b"Message", &point, &scalar),
        case("other_key", key(2).verifying_key().as_bytes(), b"message", &point, &scalar),
        case("other_scalar", &public, b"message", &point, &flipped),
        case("scalar_not_reduced", &public, b"message", &point, &unreduced),
        case("key_of_small_order", &small, b"message", &identity, &[0; 32]),
        case("key_is_identity", &identity, b"message", &commitment, &nonce.to_bytes()),
        case("point_of_small_order", &public, b"message", &identity, &without_nonce),
        case("key_not_on_the_curve", &[2; 32], b"message", &point, &scalar),
        case("point_not_on_the_curve", &public, b"message", &[2; 32], &scalar),
        mixed_case("key_of_mixed_order", true),
        mixed_case("only_with_cofactor", false),
    ]
    .into_iter()
    .partition(|case: &Case| case.is_valid);
    File { signatures, refused }
}

fn halves(signature: &Signature) -> ([u8; 32], [u8; 32]) {
    (*signature.r_bytes(), *signature.s_bytes())
}

/// SHA-512(R || A || message) modulo the order of the base point.
fn challenge(point: &[u8; 32], public: &[u8; 32], message: &[u8]) -> Scalar {
    let hash = Sha512::new().chain_update(point).chain_update(public).chain_update(message);
    Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
}

fn case(
    name: &'static str,
    public: &[u8; 32],
    message: &[u8],
    point: &[u8; 32],
    scalar: &[u8; 32],
) -> Case {
    let signature = Signature::from_components(*point, *scalar);
    let is_valid = VerifyingKey::from_bytes(public)
        .is_ok_and(|key| key.verify_strict(message, &signature).is_ok());
    Case {
        name,
        public_key: hex::encode(public),
        message: hex::encode(message),
        signature: hex::encode(signature.to_bytes()),
        is_valid,
    }
}
