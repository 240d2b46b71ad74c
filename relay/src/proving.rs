//! Asking servers for what a chain proves: the newest header from a trusted one, and what a contract keeps under it.

use std::time::Duration;

use colearn_light::code::{self, Contract};
use colearn_light::{
    BadAnswer, BadProof, Established, Light, NotAnAddress, NotBelieved, NotEstablished, RawValue,
    Trust, TrustLine, Way, contract_key, proven,
};
use serde_json::Value;

use crate::clock::now_ms;
use crate::{Rpc, RpcError};

/// The longest trusting period that is taken from a server: with a longer one, those who have long got their stake back
/// could sign what they like.
const MAX_PERIOD: Duration = Duration::from_secs(21 * 24 * 3_600);

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
    /// Somebody may give the contract another code, and with it other rules, at any time.
    #[error(
        "{0} may give the contract another code at any time: no ledger is kept by one that has an administrator"
    )]
    Admin(String),
    /// A server says that trust lasts for longer than it makes sense.
    #[error(
        "the server says that the chain's validators get their stake back after {} days: a header would be trusted for \
         two thirds of that, and more than {} days are too long", unbonding.as_secs() / 86_400, MAX_PERIOD.as_secs() / 86_400
    )]
    TooLongTrusted {
        /// What it says.
        unbonding: Duration,
    },
    /// The chain has too few blocks yet.
    #[error("the chain has only {0} blocks yet; try again in a moment")]
    TooEarly(u64),
}

/// What a contract keeps that nobody administers, proven.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Up to the header that proves it.
    pub light: Light,
    /// The value.
    pub established: Established,
}

impl Rpc {
    /// What a contract keeps under this key now, proven from the header that is trusted. A server whose answers prove
    /// nothing is left for the next.
    ///
    /// # Errors
    /// If no server proves it, or somebody may give the contract another code.
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
        let Trust { line, code, .. } = trust;
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
        unadministered(established.admin.clone())?;
        Ok(Shown { light, established })
    }

    /// The newest header, and the code that a contract runs by it, as a server says: a line to be compared with what
    /// others are told before anything is trusted because of it. All of it: how long trust lasts is not proven either.
    ///
    /// # Errors
    /// If no server answers, or somebody may give the contract another code, or trust would last for over three weeks.
    pub async fn pin(&self, contract: &str) -> Result<Trust, NotProven> {
        let name = contract.to_owned();
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
        let period = period(self.unbonding().await?)?;
        let line = TrustLine { chain: status.chain_id, height: status.height, hash, period };
        let light = Light::begin(&line, raw.read()?)?;
        let height = status.height - 1;
        let value = async |key: Vec<u8>| -> Result<Vec<u8>, NotProven> {
            let answer = self.value(&key, height).await?;
            Ok(light.value(&key, &proven(&answer)?)?.to_vec())
        };
        let info = code::info(&value(code::info_key(&contract)).await?)?;
        unadministered(info.admin)?;
        let code = code::checksum(&value(code::code_key(info.code)).await?)?;
        Ok(Trust { line, code, contract: name })
    }
}

/// For how long a header is trusted where validators get their stake back after this time.
fn period(unbonding: Duration) -> Result<Duration, NotProven> {
    let period = unbonding / 3 * 2;
    match period <= MAX_PERIOD {
        true => Ok(period),
        false => Err(NotProven::TooLongTrusted { unbonding }),
    }
}

fn unadministered(admin: Option<String>) -> Result<(), NotProven> {
    admin.map_or(Ok(()), |admin| Err(NotProven::Admin(admin)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_lasts_for_three_weeks_at_most_whatever_a_server_says() {
        let days = |days: u64| Duration::from_secs(days * 24 * 3_600);
        assert_eq!(period(days(21)), Ok(days(14)));
        assert_eq!(period(days(31)), Ok(days(62) / 3));
        for unbonding in [days(32), Duration::from_secs(u64::MAX)] {
            assert_eq!(period(unbonding), Err(NotProven::TooLongTrusted { unbonding }));
        }
    }

    #[test]
    fn a_contract_with_an_administrator_is_refused() {
        assert_eq!(unadministered(None), Ok(()));
        let error = unadministered(Some("wasm1ann".to_owned())).err();
        assert_eq!(error, Some(NotProven::Admin("wasm1ann".to_owned())));
    }
}
