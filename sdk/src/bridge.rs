//! A learner server of the original colearn package as a learner: what it trains, tests and keeps
//! stays with it; its weights go by unread.
//!
//! They are pickles, which can execute code in whoever loads them. Nothing here does; the servers of
//! the experiment's other members will. So all members of such an experiment are bridged, and its
//! media type says so.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use colearn_contracts::{Parameters, Reason};
use colearn_proto::legacy::grpc_learner_client::GrpcLearnerClient;
use colearn_proto::legacy::{self, MlSetupStatus, WeightsPart};
use tokio::runtime::Handle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status, Streaming};

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
/// Before a server that is away is tried again.
const PAUSE: Duration = Duration::from_millis(250);
/// The call that judges weights.
const TEST: &str = "TestWeights";

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
    /// It has gone away, or is not back yet.
    #[error("the learner server is away: {call} failed: {reason}")]
    Away {
        /// The call.
        call: &'static str,
        /// What happened.
        reason: String,
    },
    /// It says that it has to be set up first.
    #[error("the learner server's {call} failed, as if it was not set up: {reason}")]
    NotSetUp {
        /// The call.
        call: &'static str,
        /// In the server's words.
        reason: String,
    },
    /// The parts do not make the whole that they promise.
    #[error("the learner server sent weights with a hole: {0}")]
    Parts(String),
}

type Answer<T> = std::result::Result<T, BridgeError>;
type Client = GrpcLearnerClient<Channel>;

/// A learner that lives in a server of the original package.
pub struct BridgedLearner {
    client: Client,
    setup: Setup,
    current: Weights,
    /// Whether the server has these as its own, as far as is known.
    in_step: bool,
    /// How long one that is away is waited for where it is to train.
    to_train: Duration,
    /// And where it is to judge.
    to_judge: Duration,
    runtime: Handle,
}

impl BridgedLearner {
    /// Connects to a server, sets it up, and fetches its weights.
    ///
    /// # Errors
    /// If it does not answer, or cannot be set up. One that goes away later is waited for: see
    /// [`BridgedLearner::patient`].
    pub fn connect(address: &str, setup: Setup) -> BoxFuture<'_, Answer<Self>> {
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
                in_step: true,
                to_train: Duration::ZERO,
                to_judge: Duration::ZERO,
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

    async fn set_up(&mut self) -> Answer<()> {
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

    /// Waits for a server that is away: nearly as long as these rules leave for a turn or a vote, and
    /// then it can still be said that it was in vain.
    #[must_use]
    pub fn patient(mut self, rules: &Parameters) -> Self {
        let most = |deadline_ms: u64| Duration::from_millis(deadline_ms / 10 * 9);
        self.to_train = most(rules.proposal_deadline_ms);
        self.to_judge = most(rules.vote_deadline_ms);
        self
    }

    /// Sets up a server that was started anew, and gives it back the weights it had.
    async fn restore(&mut self) -> Answer<()> {
        tracing::warn!("the learner server was started anew; setting it up again");
        self.set_up().await?;
        self.set_weights().await
    }

    async fn set_weights(&mut self) -> Answer<()> {
        let parts = tokio_stream::iter(parts(&self.current));
        self.client.set_weights(parts).await.map_err(|status| failed("SetWeights", &status))?;
        self.in_step = true;
        Ok(())
    }

    /// Gives the server the current weights, unless it has them.
    async fn bring_up(&mut self) -> Answer<()> {
        if self.in_step {
            return Ok(());
        }
        match self.set_weights().await {
            Err(BridgeError::NotSetUp { .. }) => self.restore().await,
            answer => answer,
        }
    }

    /// Asks a server that has the current weights; again and again while it is away, for so long.
    async fn ask<T>(
        &mut self,
        patience: Duration,
        question: impl AsyncFn(&mut Client) -> Answer<T>,
    ) -> Answer<T> {
        let started = Instant::now();
        let mut told = false;
        loop {
            let away = match self.ask_once(&question).await {
                Err(error @ BridgeError::Away { .. }) if started.elapsed() < patience => error,
                answer => return answer,
            };
            if !told {
                tracing::warn!("{away}; trying again");
                told = true;
            }
            tokio::time::sleep(PAUSE.min(patience.saturating_sub(started.elapsed()))).await;
        }
    }

    async fn ask_once<T>(&mut self, question: impl AsyncFn(&mut Client) -> Answer<T>) -> Answer<T> {
        self.bring_up().await?;
        match question(&mut self.client).await {
            Err(BridgeError::NotSetUp { .. }) => {
                self.restore().await?;
                question(&mut self.client).await
            }
            answer => answer,
        }
    }

    async fn propose_weights(&mut self) -> Answer<Weights> {
        const CALL: &str = "ProposeWeights";
        self.ask(self.to_train, async |client| {
            let answer = client.propose_weights(legacy::Empty {}).await;
            whole(CALL, answer.map_err(|status| failed(CALL, &status))?.into_inner()).await
        })
        .await
    }

    async fn test_weights(&mut self, weights: &Weights) -> Answer<legacy::ProposedWeights> {
        self.ask(self.to_judge, async |client| {
            let answer = client.test_weights(tokio_stream::iter(parts(weights))).await;
            answer.map(Response::into_inner).map_err(|status| failed(TEST, &status))
        })
        .await
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
        let judged = match runtime.block_on(self.test_weights(weights)) {
            Ok(judged) => judged,
            // It has seen them, and cannot make anything of them.
            Err(error @ BridgeError::Call { call: TEST, .. }) => return Err(error.into()),
            // It has not, so there is nothing to be said against them. Nor for saying that they were not to be
            // had (R68): that would be the proposer's fault.
            Err(error) => {
                tracing::warn!("{error}; abstaining");
                return Ok(Score::none(Judgement::Abstain(Some(Reason::Failed))));
            }
        };
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
        self.current = weights.clone();
        self.in_step = false;
        let runtime = self.runtime.clone();
        match runtime.block_on(self.bring_up()) {
            // It gets them before it is asked for anything else.
            Err(away @ BridgeError::Away { .. }) => {
                tracing::warn!("{away}; it gets the accepted weights when it is back");
                Ok(())
            }
            answer => Ok(answer?),
        }
    }

    fn current(&self) -> Weights {
        self.current.clone()
    }
}

fn failed(call: &'static str, status: &Status) -> BridgeError {
    let reason = format!("{} ({:?})", status.message(), status.code());
    // What has a cause on this side, such as a broken connection, is not the server's answer.
    let away = matches!(status.code(), Code::Unavailable | Code::Cancelled)
        || std::error::Error::source(status).is_some();
    match status.code() {
        _ if away => BridgeError::Away { call, reason },
        Code::FailedPrecondition => BridgeError::NotSetUp { call, reason },
        _ => BridgeError::Call { call, reason },
    }
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
async fn whole(call: &'static str, mut parts: Streaming<WeightsPart>) -> Answer<Weights> {
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
