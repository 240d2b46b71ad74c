//! Asking servers for what a chain proves: the newest header from a trusted one, and what a contract keeps under it.

use colearn_light::code::{self, Contract};
use colearn_light::{
    BadAnswer, BadProof, Established, Light, NotAnAddress, NotBelieved, NotEstablished, RawValue,
    Trust, TrustLine, Way, contract_key, proven,
};
use serde_json::Value;

use crate::clock::now_ms;
use crate::{Rpc, RpcError};

/// Why something is not proven.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotProven {
    /// The chain's servers do not answer.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// What one answers cannot be read.
    #[error(transparent)]
    Answer(#[from] BadAnswer),
    /// A header is not believed.
    #[error(transparent)]
    Header(#[from] NotBelieved),
    /// A value is not the chain's.
    #[error(transparent)]
    Proof(#[from] BadProof),
    /// What the contract keeps is not what it is to be.
    #[error(transparent)]
    Value(#[from] NotEstablished),
    /// The contract has no such address.
    #[error(transparent)]
    Address(#[from] NotAnAddress),
    /// Another chain answers.
    #[error("the server is one of the chain {found}, and {expected} is trusted")]
    OtherChain {
        /// Its id.
        found: String,
        /// The trusted one's.
        expected: String,
    },
    /// The chain has too few blocks yet.
    #[error("the chain has only {0} blocks yet; try again in a moment")]
    TooEarly(u64),
}

/// What a contract keeps, proven.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Up to the header that proves it.
    pub light: Light,
    /// The value, and who may have another code write it.
    pub established: Established,
}

impl Rpc {
    /// What a contract keeps under this key now, proven from the header that is trusted. A server whose answers prove
    /// nothing is left for the next.
    ///
    /// # Errors
    /// If no server proves it.
    pub async fn prove(
        &self,
        trust: &Trust,
        contract: &str,
        key: &[u8],
    ) -> Result<Shown, NotProven> {
        let contract = colearn_light::address(contract)?;
        let mut tries = 0;
        loop {
            tries += 1;
            match self.prove_once(trust, &contract, key).await {
                Err(error) if tries < self.servers() => {
                    tracing::warn!(server = self.server(), %error, "the next server of the chain is asked");
                    self.go_on();
                }
                done => return done,
            }
        }
    }

    async fn prove_once(
        &self,
        trust: &Trust,
        contract: &[u8; 32],
        key: &[u8],
    ) -> Result<Shown, NotProven> {
        let Trust { line, code } = trust;
        let status = self.status().await?;
        if status.chain_id != line.chain {
            let (found, expected) = (status.chain_id, line.chain.clone());
            return Err(NotProven::OtherChain { found, expected });
        }
        let begun = self.block(line.height).await?.read()?;
        let mut light = Light::begin(line, begun)?;
        // What the newest block says of the state before it is of the last but one.
        let mut way = Way::to(status.height);
        while let Some(height) = way.next(&light) {
            let block = self.block(height).await?.read()?;
            let took = light.advance(block, now_ms());
            way.took(&light, took)?;
        }
        let height = light.height().saturating_sub(1);
        let info = self.value(&code::info_key(contract), height).await?;
        let Contract { code: number, .. } =
            code::info(light.value(&code::info_key(contract), &proven(&info)?)?)?;
        let answers = RawValue {
            value: self.value(&contract_key(contract, key), height).await?,
            contract: info,
            code: self.value(&code::code_key(number), height).await?,
        };
        let established = light.established(contract, key, code, &answers)?;
        Ok(Shown { light, established })
    }

    /// The newest header, and the code that a contract runs by it, as a server says: a line to be compared with what
    /// others are told before anything is trusted because of it.
    ///
    /// # Errors
    /// If no server answers.
    pub async fn pin(&self, contract: &str) -> Result<Trust, NotProven> {
        let contract = colearn_light::address(contract)?;
        let status = self.status().await?;
        // The first block proves nothing of a state.
        if status.height < 2 {
            return Err(NotProven::TooEarly(status.height));
        }
        let raw = self.block(status.height).await?;
        let malformed =
            |text: &str| BadAnswer::Malformed { asked: "commit", text: text.to_owned() };
        let commit: Value =
            serde_json::from_slice(&raw.commit).map_err(|error| malformed(&error.to_string()))?;
        let text = commit.pointer("/result/signed_header/commit/block_id/hash");
        let mut hash = [0; 32];
        // Whether it is the header's is looked at next.
        hex::decode_to_slice(text.and_then(Value::as_str).unwrap_or_default(), &mut hash)
            .map_err(|_| malformed("no hash"))?;
        let period = self.unbonding().await? * 2 / 3;
        let line = TrustLine { chain: status.chain_id, height: status.height, hash, period };
        let light = Light::begin(&line, raw.read()?)?;
        let height = status.height - 1;
        let value = async |key: Vec<u8>| -> Result<Vec<u8>, NotProven> {
            let answer = self.value(&key, height).await?;
            Ok(light.value(&key, &proven(&answer)?)?.to_vec())
        };
        let info = code::info(&value(code::info_key(&contract)).await?)?;
        let code = code::checksum(&value(code::code_key(info.code)).await?)?;
        Ok(Trust { line, code })
    }
}
