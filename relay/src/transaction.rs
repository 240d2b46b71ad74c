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
