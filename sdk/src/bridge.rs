//! A learner server of the original colearn package as a learner: what it trains, tests and keeps
//! stays with it; its weights go by unread.
//!
//! They are pickles, which can execute code in whoever loads them. Nothing here does; the servers of
//! the experiment's other members will. So all members of such an experiment are bridged, and its
//! media type says so.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use colearn_contracts::Reason;
use colearn_proto::legacy::grpc_learner_client::GrpcLearnerClient;
use colearn_proto::legacy::{self, MlSetupStatus, WeightsPart};
use tokio::runtime::Handle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

use crate::client::BoxFuture;
use crate::error_cause::root_cause;
use crate::learner::{Judgement, Learner, Proposed, Result, Score, Weights};

/// The media type of weights that only the original package can read.
pub const LEGACY: &str = "application/x-colearn-legacy";
/// The size of a part, as the original sends it.
const PART_BYTES: usize = 4_000_000;
/// The largest message that the original sends or takes.
const MAX_MESSAGE_BYTES: usize = 4_194_304;
/// A part's place is an unsigned number of 32 bits.
const MAX_WEIGHTS_BYTES: u64 = u32::MAX as u64;
/// Connecting takes no longer than this; training may take as long as it likes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What the server is told to train on.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Setup {
    /// The name of its data loader.
    pub dataset: String,
    /// The loader's parameters, JSON.
    pub dataset_parameters: String,
    /// The name of its model architecture.
    pub model: String,
    /// The model's parameters, JSON.
    pub model_parameters: String,
}

/// Why a server cannot take part.
#[derive(Debug, thiserror::Error)]
pub enum BridgeError {
    /// Not an address.
    #[error("{0:?} is not the address of a learner server; it looks like HOST:PORT")]
    Address(String),
    /// Nobody answers.
    #[error("no learner server answers at {address}: {reason}")]
    Unreachable {
        /// Its address.
        address: String,
        /// What happened.
        reason: String,
    },
    /// It does not know the data or the model.
    #[error("the learner server cannot be set up: {0}")]
    Setup(String),
    /// A call failed.
    #[error("the learner server's {call} failed: {reason}")]
    Call {
        /// Its name.
        call: &'static str,
        /// In the server's words.
        reason: String,
    },
    /// The parts do not make the whole that they promise.
    #[error("the learner server sent weights with a hole: {0}")]
    Parts(String),
}

/// A learner that lives in a server of the original package.
pub struct BridgedLearner {
    client: GrpcLearnerClient<Channel>,
    setup: Setup,
    current: Weights,
    runtime: Handle,
}

impl BridgedLearner {
    /// Connects to a server, sets it up, and fetches its weights.
    ///
    /// # Errors
    /// If it does not answer, or cannot be set up.
    pub fn connect(
        address: &str,
        setup: Setup,
    ) -> BoxFuture<'_, std::result::Result<Self, BridgeError>> {
        Box::pin(async move {
            let url = if address.contains("://") {
                address.to_owned()
            } else {
                format!("http://{address}")
            };
            let endpoint = Endpoint::from_shared(url)
                .map_err(|_| BridgeError::Address(address.to_owned()))?
                .connect_timeout(CONNECT_TIMEOUT)
                .tcp_nodelay(true);
            let channel = endpoint.connect().await.map_err(|error| BridgeError::Unreachable {
                address: address.to_owned(),
                reason: root_cause(&error),
            })?;
            let mut learner = Self {
                client: GrpcLearnerClient::new(channel)
                    .max_decoding_message_size(MAX_MESSAGE_BYTES)
                    .max_encoding_message_size(MAX_MESSAGE_BYTES),
                setup,
                current: Weights::new(Bytes::new()),
                runtime: Handle::current(),
            };
            learner.set_up().await?;
            let parts = learner.client.get_current_weights(legacy::Empty {}).await;
            let parts = parts.map_err(|status| failed("GetCurrentWeights", &status))?.into_inner();
            learner.current = whole("GetCurrentWeights", parts).await?;
            Ok(learner)
        })
    }

    /// Which version answers, where it says: weights of one are not always readable by another.
    pub async fn version(&mut self) -> Option<String> {
        let answer = self.client.query_version(legacy::Empty {}).await.ok()?;
        Some(answer.into_inner().version)
    }

    async fn set_up(&mut self) -> std::result::Result<(), BridgeError> {
        let request = legacy::RequestMlSetup {
            dataset_loader_name: self.setup.dataset.clone(),
            dataset_loader_parameters: self.setup.dataset_parameters.clone(),
            model_arch_name: self.setup.model.clone(),
            model_parameters: self.setup.model_parameters.clone(),
        };
        let answer = self.client.ml_setup(request).await;
        let answer = answer.map_err(|status| failed("MLSetup", &status))?.into_inner();
        match answer.status() {
            MlSetupStatus::Success => Ok(()),
            MlSetupStatus::Undefined | MlSetupStatus::Error => {
                Err(BridgeError::Setup(answer.description))
            }
        }
    }

    /// Sets up a server that was started anew, and gives it back the weights it had.
    async fn restore(&mut self) -> std::result::Result<(), BridgeError> {
        tracing::warn!("the learner server was started anew; setting it up again");
        self.set_up().await?;
        let parts = tokio_stream::iter(parts(&self.current));
        let answer = self.client.set_weights(parts).await;
        answer.map(drop).map_err(|status| failed("SetWeights", &status))
    }

    async fn propose_weights(&mut self) -> std::result::Result<Weights, BridgeError> {
        const CALL: &str = "ProposeWeights";
        let answer = match self.client.propose_weights(legacy::Empty {}).await {
            Err(status) if status.code() == Code::FailedPrecondition => {
                self.restore().await?;
                self.client.propose_weights(legacy::Empty {}).await
            }
            answer => answer,
        };
        whole(CALL, answer.map_err(|status| failed(CALL, &status))?.into_inner()).await
    }

    async fn test_weights(
        &mut self,
        weights: &Weights,
    ) -> std::result::Result<legacy::ProposedWeights, BridgeError> {
        const CALL: &str = "TestWeights";
        let answer = match self.client.test_weights(tokio_stream::iter(parts(weights))).await {
            Err(status) if status.code() == Code::FailedPrecondition => {
                self.restore().await?;
                self.client.test_weights(tokio_stream::iter(parts(weights))).await
            }
            answer => answer,
        };
        Ok(answer.map_err(|status| failed(CALL, &status))?.into_inner())
    }

    async fn set_weights(&mut self, weights: &Weights) -> std::result::Result<(), BridgeError> {
        match self.client.set_weights(tokio_stream::iter(parts(weights))).await {
            Err(status) if status.code() == Code::FailedPrecondition => {
                self.current = weights.clone();
                self.restore().await
            }
            answer => answer.map(drop).map_err(|status| failed("SetWeights", &status)),
        }
    }
}

impl Learner for BridgedLearner {
    fn propose(&mut self) -> Result<Proposed> {
        let runtime = self.runtime.clone();
        // What the original says of a privacy budget does not say how it was spent, so nobody could add to it
        // or check it: it is not stated.
        Ok(Proposed::Weights(runtime.block_on(self.propose_weights())?))
    }

    fn test(&mut self, weights: &Weights) -> Result<Score> {
        let runtime = self.runtime.clone();
        let judged = runtime.block_on(self.test_weights(weights))?;
        let judgement = match judged.vote {
            true => Judgement::Approve,
            false => Judgement::Reject(Some(Reason::Worse)),
        };
        Ok(Score {
            vote: f64::from(judged.vote_score),
            test: Some(f64::from(judged.test_score)),
            judgement,
        })
    }

    fn accept(&mut self, weights: &Weights) -> Result<()> {
        let runtime = self.runtime.clone();
        runtime.block_on(self.set_weights(weights))?;
        self.current = weights.clone();
        Ok(())
    }

    fn current(&self) -> Weights {
        self.current.clone()
    }
}

fn failed(call: &'static str, status: &Status) -> BridgeError {
    BridgeError::Call { call, reason: format!("{} ({:?})", status.message(), status.code()) }
}

/// Weights in parts, as the original sends them.
fn parts(weights: &Weights) -> Vec<WeightsPart> {
    let bytes = weights.bytes();
    let part = |at: usize| WeightsPart {
        // A slice shares the buffer.
        weights: bytes.slice(at..bytes.len().min(at + PART_BYTES)),
        byte_index: at as u32,
        total_bytes: bytes.len() as u64,
        training_summary: None,
    };
    (0..bytes.len()).step_by(PART_BYTES).map(part).collect()
}

/// Puts parts together. The original takes a missing one for zeros; here every part must begin where
/// the one before ended, and the last end where all said.
async fn whole(
    call: &'static str,
    mut parts: Streaming<WeightsPart>,
) -> std::result::Result<Weights, BridgeError> {
    let mut bytes = BytesMut::new();
    let mut total = None;
    while let Some(part) = parts.message().await.map_err(|status| failed(call, &status))? {
        let expected = *total.get_or_insert(part.total_bytes);
        if part.total_bytes != expected || expected > MAX_WEIGHTS_BYTES {
            return Err(BridgeError::Parts(format!("{} bytes, then {expected}", part.total_bytes)));
        }
        if u64::from(part.byte_index) != bytes.len() as u64 {
            let at = part.byte_index;
            return Err(BridgeError::Parts(format!("a part for {at} at {}", bytes.len())));
        }
        if bytes.len() as u64 + part.weights.len() as u64 > expected {
            return Err(BridgeError::Parts(format!("more than the {expected} bytes promised")));
        }
        bytes.extend_from_slice(&part.weights);
    }
    let expected = total.unwrap_or(0);
    if bytes.is_empty() || bytes.len() as u64 != expected {
        return Err(BridgeError::Parts(format!("{} of {expected} bytes", bytes.len())));
    }
    Ok(Weights::new(bytes.freeze()))
}
