//! The loop that runs a learner on a ledger: watch, propose, test, vote, accept.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use colearn_contracts::{
    Action, ExperimentName, FinishReason, LearnerId, Model, Outcome, Proposal, Scores, Verdict,
    Vote,
};
use colearn_proto::v1;
use ed25519_dalek::SigningKey;

use super::memory::Turn;
use super::{Client, ClientError, Memory};
use crate::convert;
use crate::keys::learner_id;
use crate::learner::{Learner, LearnerError, Proposed, Weights};
use crate::record::Record;

/// The first and the longest pause before connecting again; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How many downloaded or proposed weights are kept to be accepted without another download.
const KEPT_WEIGHTS: usize = 2;

/// Where and as whom a learner takes part.
pub struct Options {
    /// The node's address, such as `http://127.0.0.1:7400`.
    pub node: String,
    /// The experiment.
    pub experiment: ExperimentName,
    /// The learner's private key.
    pub key: SigningKey,
    /// Where to remember what must survive a restart; `None` to remember until the end only.
    pub data: Option<PathBuf>,
    /// Give up when the node cannot be reached for this long; `None` for never.
    pub patience: Option<Duration>,
    /// Told what happens.
    pub watch: Box<dyn FnMut(&Event) + Send>,
}

impl Options {
    /// The defaults: no memory, endless patience, nobody watching.
    pub fn new(node: impl Into<String>, experiment: ExperimentName, key: SigningKey) -> Self {
        Self {
            node: node.into(),
            experiment,
            key,
            data: None,
            patience: None,
            watch: Box::new(|_| {}),
        }
    }
}

/// What happens to a running learner.
#[derive(Clone, Debug)]
pub enum Event {
    /// Connected to the node.
    Connected {
        /// Its address.
        url: String,
    },
    /// Became a member.
    Joined,
    /// It is this learner's turn.
    MyTurn {
        /// The round.
        round: u64,
    },
    /// The proposal is recorded.
    Proposed {
        /// The round.
        round: u64,
        /// What this learner measured of it.
        scores: Scores,
    },
    /// The turn was given up.
    Passed {
        /// The round.
        round: u64,
        /// Why, if something went wrong.
        reason: Option<String>,
    },
    /// The vote is recorded.
    Voted {
        /// The round.
        round: u64,
        /// For or against.
        approve: bool,
        /// What this learner measured.
        scores: Scores,
    },
    /// A round ended.
    RoundClosed {
        /// The round.
        round: u64,
        /// Its verdict.
        verdict: Verdict,
        /// Votes for.
        approvals: u32,
        /// Votes against.
        rejections: u32,
        /// How many could vote.
        electorate: u32,
    },
    /// The experiment waits for members.
    Waiting {
        /// Members now.
        members: u32,
        /// Members needed.
        min_learners: u32,
    },
    /// What was about to be said came too late.
    TooLate {
        /// In the node's words.
        reason: String,
    },
    /// The connection is lost; it is tried again.
    Reconnecting {
        /// Why.
        reason: String,
        /// In how long.
        pause: Duration,
    },
    /// The experiment ended.
    Finished {
        /// Why.
        reason: FinishReason,
    },
}

/// What a finished run leaves.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Why the experiment ended.
    pub reason: FinishReason,
    /// The final global model.
    pub model: Model,
    /// How many rounds were opened.
    pub rounds: u64,
}

/// Runs a learner in an experiment until that finishes, and gives it back.
///
/// Joins if need be, proposes in its turn, votes on what others propose, and accepts what is
/// accepted. A lost connection is made again; after a restart of either side it goes on where the
/// ledger stands, without voting twice or losing its turn.
///
/// # Errors
/// If the learner is not admitted, cannot take the model, or the node cannot be trusted.
pub async fn run<L: Learner + Send + 'static>(
    learner: L,
    options: Options,
) -> Result<(L, Summary), ClientError> {
    let memory = match &options.data {
        Some(dir) => Memory::open(dir)?,
        None => Memory::default(),
    };
    let me = learner_id(&options.key);
    let mut run = Run { learner: Some(learner), me, options, memory, kept: VecDeque::new() };
    let mut pause = FIRST_PAUSE;
    let mut out_of_reach = tokio::time::Instant::now();
    loop {
        let connected = Client::connect(&run.options.node, &mut run.memory).await;
        let ended = match connected {
            Ok(client) => {
                let url = client.url().to_owned();
                run.tell(Event::Connected { url });
                let ended = run.session(client).await;
                // It was in reach until now.
                (pause, out_of_reach) = (FIRST_PAUSE, tokio::time::Instant::now());
                ended
            }
            Err(error) => Err(error),
        };
        match ended {
            Ok(summary) => {
                let learner = run.learner.take().ok_or(ClientError::Panicked)?;
                return Ok((learner, summary));
            }
            Err(error) if error.is_transient() => {
                if run.options.patience.is_some_and(|limit| out_of_reach.elapsed() > limit) {
                    return Err(error);
                }
                run.tell(Event::Reconnecting { reason: error.to_string(), pause });
                tokio::time::sleep(pause).await;
                pause = (2 * pause).min(LONGEST_PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Where the experiment stands, as far as a learner has to know.
struct Standing {
    round: u64,
    model: Model,
    phase: Phase,
    /// No vote before this round: not a member yet, or voted already.
    votes_from: u64,
}

enum Phase {
    Idle,
    Proposing { proposer: LearnerId },
    Voting { proposer: LearnerId, weights: Model },
    Finished(FinishReason),
}

struct Run<L> {
    /// Lent to a thread while it works.
    learner: Option<L>,
    me: LearnerId,
    options: Options,
    memory: Memory,
    /// The latest weights seen, newest last.
    kept: VecDeque<Weights>,
}

impl<L: Learner + Send + 'static> Run<L> {
    fn tell(&mut self, event: Event) {
        (self.options.watch)(&event);
    }

    /// Takes part over one connection, until the experiment ends or the connection does.
    async fn session(&mut self, mut client: Client) -> Result<Summary, ClientError> {
        let name = self.options.experiment.to_string();
        let mut known = client.experiment(&name, Some(self.me)).await?;
        let seat = known.member.as_ref().map(v1::Member::seat);
        if !matches!(seat, Some(v1::Seat::Joining | v1::Seat::Seated | v1::Seat::Leaving)) {
            let finished =
                known.experiment.as_ref().is_some_and(|e| e.phase() == v1::Phase::Finished);
            if !finished {
                let term = known.member.as_ref().map_or(0, |member| member.term + 1);
                let action = Action::Join { experiment: self.options.experiment.clone(), term };
                let signed = client.sign(&self.options.key, action, &mut self.memory).await?;
                client.submit(signed, &self.memory).await?;
                self.tell(Event::Joined);
                known = client.experiment(&name, Some(self.me)).await?;
            }
        }
        let mut standing = standing(&known)?;
        self.accept(&mut client, &standing.model).await?;
        let mut events = client.watch(&name, known.size).await?;
        loop {
            if let Phase::Finished(reason) = standing.phase {
                self.tell(Event::Finished { reason });
                let Standing { model, round, .. } = standing;
                return Ok(Summary { reason, model, rounds: round });
            }
            self.act(&mut client, &mut standing).await?;
            let message = events
                .message()
                .await
                .map_err(|status| ClientError::from_status(client.url(), &status))?
                .ok_or_else(|| ClientError::Unreachable {
                    url: client.url().to_owned(),
                    reason: "the stream ended".to_owned(),
                })?;
            if let Some(entry) = message.entry {
                let placed = Record::decode(&entry)
                    .map_err(|error| ClientError::Malformed(error.to_string()))?;
                self.follow(&mut client, &mut standing, placed.record).await?;
            }
        }
    }

    /// Does what the standing asks of this learner.
    async fn act(
        &mut self,
        client: &mut Client,
        standing: &mut Standing,
    ) -> Result<(), ClientError> {
        let acted = match &standing.phase {
            Phase::Proposing { proposer } if *proposer == self.me => {
                let round = standing.round;
                // Whatever becomes of it, the turn is not taken twice.
                standing.phase = Phase::Idle;
                self.take_turn(client, round, standing.model.clone()).await
            }
            Phase::Voting { proposer, weights }
                if *proposer != self.me && standing.votes_from <= standing.round =>
            {
                standing.votes_from = standing.round + 1;
                let (round, weights) = (standing.round, weights.clone());
                self.cast_vote(client, round, weights).await
            }
            Phase::Idle | Phase::Proposing { .. } | Phase::Voting { .. } | Phase::Finished(_) => {
                Ok(())
            }
        };
        match acted {
            Err(error) if error.is_stale() => {
                self.tell(Event::TooLate { reason: error.to_string() });
                Ok(())
            }
            acted => acted,
        }
    }

    async fn take_turn(
        &mut self,
        client: &mut Client,
        round: u64,
        base: Model,
    ) -> Result<(), ClientError> {
        let experiment = self.options.experiment.clone();
        let turn = Turn::Propose { experiment: experiment.to_string(), round };
        if self.send_again(client, &turn).await? {
            return Ok(());
        }
        self.tell(Event::MyTurn { round });
        let proposed = self.work(|learner| {
            let proposed = learner.propose()?;
            let score = match &proposed {
                Proposed::Weights(weights) => Some(learner.test(weights)?),
                Proposed::Pass => None,
            };
            Ok((proposed, score))
        });
        let (action, event) = match proposed.await? {
            Ok((Proposed::Weights(weights), score)) => {
                let scores = score.map_or_else(Scores::default, |score| score.scores());
                client.upload(&weights).await?;
                let model = weights.model(&base.media_type);
                self.keep(weights);
                let proposal =
                    Proposal { experiment, round, base: base.digest, weights: model, scores };
                (Action::Propose(proposal), Event::Proposed { round, scores })
            }
            Ok((Proposed::Pass, _)) => {
                (Action::Pass { experiment, round }, Event::Passed { round, reason: None })
            }
            Err(error) => {
                let reason = Some(error.to_string());
                (Action::Pass { experiment, round }, Event::Passed { round, reason })
            }
        };
        self.sign_and_submit(client, action).await?;
        self.tell(event);
        Ok(())
    }

    async fn cast_vote(
        &mut self,
        client: &mut Client,
        round: u64,
        weights: Model,
    ) -> Result<(), ClientError> {
        let experiment = self.options.experiment.clone();
        let digest = weights.digest;
        let turn = Turn::Vote { experiment: experiment.to_string(), round, weights: digest };
        if self.send_again(client, &turn).await? {
            return Ok(());
        }
        let proposed = self.fetch(client, &weights).await?;
        let score = self.work(move |learner| learner.test(&proposed)).await?;
        let (approve, scores) = match score {
            Ok(score) => (score.approve, score.scores()),
            Err(error) => {
                // What cannot be scored is not approved.
                tracing::warn!(round, %error, "voting against weights that cannot be scored");
                (false, Scores::default())
            }
        };
        let vote = Vote { experiment, round, weights: digest, approve, scores };
        self.sign_and_submit(client, Action::Vote(vote)).await?;
        self.tell(Event::Voted { round, approve, scores });
        Ok(())
    }

    /// Sends what was signed for this turn or ballot before, if there is something.
    async fn send_again(&mut self, client: &mut Client, turn: &Turn) -> Result<bool, ClientError> {
        let Some(signed) = self.memory.signed_for(turn) else { return Ok(false) };
        client.submit(signed, &self.memory).await?;
        Ok(true)
    }

    /// Remembers what is signed before it is sent: after a restart the same is sent again.
    async fn sign_and_submit(
        &mut self,
        client: &mut Client,
        action: Action,
    ) -> Result<(), ClientError> {
        let signed = client.sign(&self.options.key, action, &mut self.memory).await?;
        self.memory.keep_signed(&signed)?;
        client.submit(signed, &self.memory).await?;
        Ok(())
    }

    /// Follows an entry of the experiment.
    async fn follow(
        &mut self,
        client: &mut Client,
        standing: &mut Standing,
        record: Record,
    ) -> Result<(), ClientError> {
        match record {
            Record::Transaction(transaction) => {
                if let Action::Propose(proposal) = transaction.action {
                    standing.phase =
                        Phase::Voting { proposer: transaction.sender, weights: proposal.weights };
                }
            }
            Record::Outcome(outcome) => match outcome {
                Outcome::RoundOpened { round, proposer, .. } => {
                    standing.round = round;
                    standing.phase = Phase::Proposing { proposer };
                }
                Outcome::RoundClosed {
                    round, verdict, approvals, rejections, electorate, ..
                } => {
                    if let Phase::Voting { weights, .. } =
                        std::mem::replace(&mut standing.phase, Phase::Idle)
                        && verdict == Verdict::Accepted
                    {
                        self.accept(client, &weights).await?;
                        standing.model = weights;
                    }
                    self.tell(Event::RoundClosed {
                        round,
                        verdict,
                        approvals,
                        rejections,
                        electorate,
                    });
                }
                Outcome::Waiting { members, min_learners, .. } => {
                    standing.phase = Phase::Idle;
                    self.tell(Event::Waiting { members, min_learners });
                }
                Outcome::Finished { reason, .. } => standing.phase = Phase::Finished(reason),
                Outcome::VotingOpened { .. } => {}
            },
            Record::Genesis(_) | Record::KeyRotation(_) => {}
        }
        Ok(())
    }

    /// Gives the learner the global model, unless it has it.
    async fn accept(&mut self, client: &mut Client, model: &Model) -> Result<(), ClientError> {
        let current = self.learner.as_ref().map(|learner| learner.current().digest());
        if current == Some(model.digest) {
            return Ok(());
        }
        let weights = self.fetch(client, model).await?;
        self.work(move |learner| learner.accept(&weights)).await?.map_err(ClientError::Model)
    }

    async fn fetch(&mut self, client: &mut Client, model: &Model) -> Result<Weights, ClientError> {
        if let Some(kept) = self.kept.iter().find(|kept| kept.digest() == model.digest) {
            return Ok(kept.clone());
        }
        let weights = client.download(model).await?;
        self.keep(weights.clone());
        Ok(weights)
    }

    fn keep(&mut self, weights: Weights) {
        self.kept.push_back(weights);
        if self.kept.len() > KEPT_WEIGHTS {
            self.kept.pop_front();
        }
    }

    /// Lets the learner work on a thread where that may take as long as it likes.
    async fn work<T: Send + 'static>(
        &mut self,
        task: impl FnOnce(&mut L) -> Result<T, LearnerError> + Send + 'static,
    ) -> Result<Result<T, LearnerError>, ClientError> {
        let mut learner = self.learner.take().ok_or(ClientError::Panicked)?;
        let worked = tokio::task::spawn_blocking(move || {
            let result = task(&mut learner);
            (learner, result)
        });
        let (learner, result) = worked.await.map_err(|_| ClientError::Panicked)?;
        self.learner = Some(learner);
        Ok(result)
    }
}

fn standing(known: &v1::GetExperimentResponse) -> Result<Standing, ClientError> {
    let missing = |what: &str| ClientError::Malformed(format!("no {what}"));
    let experiment = known.experiment.as_ref().ok_or_else(|| missing("experiment"))?;
    let model = experiment.model.clone().ok_or_else(|| missing("model"))?;
    let phase = match experiment.phase() {
        v1::Phase::Waiting => Phase::Idle,
        v1::Phase::Proposing => {
            Phase::Proposing { proposer: convert::learner(&experiment.proposer, "proposer")? }
        }
        v1::Phase::Voting => Phase::Voting {
            proposer: convert::learner(&experiment.proposer, "proposer")?,
            weights: convert::model(experiment.weights.clone().ok_or_else(|| missing("weights"))?)?,
        },
        v1::Phase::Finished => Phase::Finished(match experiment.finish_reason() {
            v1::FinishReason::MaxRounds => FinishReason::MaxRounds,
            v1::FinishReason::Stopped => FinishReason::Stopped,
            v1::FinishReason::Unspecified => return Err(missing("reason")),
        }),
        v1::Phase::Unspecified => return Err(missing("phase")),
    };
    let votes_from = match &known.member {
        Some(member) if member.seat() == v1::Seat::Joining => experiment.round + 1,
        Some(member) => member.last_vote + 1,
        None => 0,
    };
    Ok(Standing { round: experiment.round, model: convert::model(model)?, phase, votes_from })
}
