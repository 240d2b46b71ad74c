//! Transactions of the chain: one message, signed by one account.

use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::Account;
use crate::rpc::AccountState;
use crate::wire::{self, Any};

/// What a transaction is made of.
pub(crate) struct Draft<'a> {
    pub(crate) message: &'a Any,
    /// The last block that may have it.
    pub(crate) timeout_height: u64,
    pub(crate) gas: u64,
    /// Units of the denomination.
    pub(crate) fee: u128,
    pub(crate) denom: &'a str,
    /// Who pays in the account's place.
    pub(crate) granter: Option<&'a str>,
}

impl Draft<'_> {
    /// With an empty signature, as it can be simulated.
    pub(crate) fn unsigned(&self, account: &Account, state: AccountState) -> Vec<u8> {
        let (body_bytes, auth_info_bytes) = self.parts(account, state);
        wire::TxRaw { body_bytes, auth_info_bytes, signatures: vec![Vec::new()] }.encode_to_vec()
    }

    /// As the chain takes it.
    pub(crate) fn signed(&self, account: &Account, state: AccountState, chain: &str) -> Vec<u8> {
        let (body_bytes, auth_info_bytes) = self.parts(account, state);
        let document = wire::SignDoc {
            body_bytes,
            auth_info_bytes,
            chain_id: chain.to_owned(),
            account_number: state.number,
        };
        let signature = account.sign(&document.encode_to_vec());
        let wire::SignDoc { body_bytes, auth_info_bytes, .. } = document;
        let signatures = vec![signature.to_vec()];
        wire::TxRaw { body_bytes, auth_info_bytes, signatures }.encode_to_vec()
    }

    fn parts(&self, account: &Account, state: AccountState) -> (Vec<u8>, Vec<u8>) {
        let body = wire::TxBody {
            messages: vec![self.message.clone()],
            memo: String::new(),
            timeout_height: self.timeout_height,
        };
        let coin = wire::Coin { denom: self.denom.to_owned(), amount: self.fee.to_string() };
        // The chain refuses a list with a coin of nothing.
        let amount = if self.fee == 0 { Vec::new() } else { vec![coin] };
        let key = wire::PubKey { key: account.public_key().to_vec() };
        let single = wire::Single { mode: wire::SIGN_MODE_DIRECT };
        let auth = wire::AuthInfo {
            signer_infos: vec![wire::SignerInfo {
                public_key: Some(Any::of("/cosmos.crypto.secp256k1.PubKey", &key)),
                mode_info: Some(wire::ModeInfo { single: Some(single) }),
                sequence: state.sequence,
            }],
            fee: Some(wire::Fee {
                amount,
                gas_limit: self.gas,
                payer: String::new(),
                granter: self.granter.unwrap_or_default().to_owned(),
            }),
        };
        (body.encode_to_vec(), auth.encode_to_vec())
    }
}

/// The hash by which the chain knows a transaction.
pub(crate) fn hash(tx: &[u8]) -> [u8; 32] {
    Sha256::digest(tx).into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The account of cosmjs's test vectors, whose signatures cosmos-sdk itself has made
    /// (`packages/proto-signing/src/testutils.spec.ts`).
    const KEY: &str = "e16ee698b4a4ee03566d7dd9bb6f0e8a2dda802527ba56205f5767c0049fa0b9";
    const ADDRESS: &str = "cosmos1pkptre7fdkl6gfrzlesjjvhxhlc3r4gmmk8rs6";
    const SIGNATURES: [&str; 3] = [
        "c9dd20e07464d3a688ff4b710b1fbc027e495e797cfa0b4804da2ed117959227772de059808f765aa29b8f92edf30f4c2c5a438e30d3fe6897daa7141e3ce6f9",
        "525adc7e61565a509c60497b798c549fbf217bb5cd31b24cc9b419d098cc95330c99ecc4bc72448f85c365a4e3f91299a3d40412fb3751bab82f1940a83a0a4c",
        "f3f2ca73806f2abbf6e0fe85f9b8af66f0e9f7f79051fdb8abe5bb8633b17da132e82d577b9d5f7a6dae57a144efc9ccc6eef15167b44b3b22a57240109762af",
    ];

    /// `cosmos.bank.v1beta1.MsgSend`.
    #[derive(Clone, PartialEq, prost::Message)]
    struct MsgSend {
        #[prost(string, tag = "1")]
        from_address: String,
        #[prost(string, tag = "2")]
        to_address: String,
        #[prost(message, repeated, tag = "3")]
        amount: Vec<wire::Coin>,
    }

    #[test]
    fn the_chain_would_have_signed_the_same_bytes() {
        let account = Account::from_bytes(&hex::decode(KEY).unwrap()).unwrap();
        assert_eq!(account.address("cosmos").unwrap(), ADDRESS);
        let message = MsgSend {
            from_address: ADDRESS.to_owned(),
            to_address: "cosmos1qypqxpq9qcrsszg2pvxq6rs0zqg3yyc5lzv7xu".to_owned(),
            amount: vec![wire::Coin { denom: "ucosm".to_owned(), amount: "1234567".to_owned() }],
        };
        let draft = Draft {
            message: &Any::of("/cosmos.bank.v1beta1.MsgSend", &message),
            timeout_height: 0,
            gas: 200_000,
            fee: 2_000,
            denom: "ucosm",
            granter: None,
        };
        for (sequence, signature) in (0..).zip(SIGNATURES) {
            let state = AccountState { number: 1, sequence };
            let signed = draft.signed(&account, state, "simd-testing");
            let raw = wire::TxRaw::decode(&signed[..]).unwrap();
            assert_eq!(hex::encode(&raw.signatures[0]), signature);
            let unsigned = wire::TxRaw::decode(&draft.unsigned(&account, state)[..]).unwrap();
            assert_eq!(unsigned, wire::TxRaw { signatures: vec![Vec::new()], ..raw });
        }
    }
}
