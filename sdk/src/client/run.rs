//! The loop that runs a learner on a ledger: watch, propose, test, vote, accept.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use colearn_contracts::{
    Action, Ballot, Commit, Digest, ExperimentName, FinishReason, LearnerId, Model, Outcome,
    PauseReason, PrivacyCap, Proposal, Reveal, Scores, Sealed, SuspendReason, Verdict, Vote,
};
use colearn_proto::v1;
use ed25519_dalek::SigningKey;

use super::memory::Turn;
use super::{Client, ClientError, Memory};
use crate::learner::{Learner, LearnerError, Proposed, Weights};
use colearn_records::convert;
use colearn_records::keys::learner_id;
use colearn_records::record::Record;

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
    /// A sealed vote is committed to.
    Committed {
        /// The round.
        round: u64,
    },
    /// No round opens for now.
    Paused {
        /// Why.
        reason: PauseReason,
    },
    /// The experiment goes on at this learner's word.
    Resumed,
    /// This learner lost its seat.
    Suspended {
        /// Why.
        reason: SuspendReason,
    },
    /// The members are asked to decide something; the learner leaves that to people.
    MotionOpened {
        /// The motion's number.
        number: u64,
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
    /// Whether a committed ballot is still to be revealed.
    unrevealed: bool,
    /// Whether ballots are sealed.
    sealed: bool,
    /// What proposals may reveal.
    cap: Option<PrivacyCap>,
}

enum Phase {
    Idle,
    Proposing { proposer: LearnerId },
    Voting { proposer: LearnerId, weights: Model, stage: Stage },
    Finished(FinishReason),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    Commit,
    Reveal,
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
        let mut known = self.join(&mut client).await?;
        if let Some(experiment) = &known.experiment
            && experiment.phase() == v1::Phase::Paused
            && experiment.pause_reason() == v1::PauseReason::NobodyProposes
        {
            let round = experiment.round;
            // Somebody is there again. Another may have been faster.
            let action = Action::Resume { experiment: self.options.experiment.clone(), round };
            match client.act(&self.options.key, action, &mut self.memory).await {
                Ok(_) => self.tell(Event::Resumed),
                Err(error) if error.is_stale() => {}
                Err(error) => return Err(error),
            }
            known = client.experiment(&name, Some(self.me)).await?;
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

    /// Joins if need be. Gives the experiment's state after that.
    async fn join(
        &mut self,
        client: &mut Client,
    ) -> Result<v1::GetExperimentResponse, ClientError> {
        let name = self.options.experiment.to_string();
        let known = client.experiment(&name, Some(self.me)).await?;
        let seat = known.member.as_ref().map(v1::Member::seat);
        let finished = known.experiment.as_ref().is_some_and(|e| e.phase() == v1::Phase::Finished);
        if finished
            || matches!(seat, Some(v1::Seat::Joining | v1::Seat::Seated | v1::Seat::Leaving))
        {
            return Ok(known);
        }
        let term = known.member.as_ref().map_or(0, |member| member.term + 1);
        let action = Action::Join { experiment: self.options.experiment.clone(), term };
        client.act(&self.options.key, action, &mut self.memory).await?;
        self.tell(Event::Joined);
        client.experiment(&name, Some(self.me)).await
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
                self.take_turn(client, round, standing.model.clone(), standing.cap).await
            }
            Phase::Voting { proposer, weights, stage: Stage::Reveal }
                if *proposer != self.me && standing.unrevealed =>
            {
                standing.unrevealed = false;
                let (round, weights) = (standing.round, weights.digest);
                self.reveal(client, round, weights).await
            }
            Phase::Voting { proposer, weights, stage: stage @ (Stage::Open | Stage::Commit) }
                if *proposer != self.me && standing.votes_from <= standing.round =>
            {
                standing.votes_from = standing.round + 1;
                standing.unrevealed = *stage == Stage::Commit;
                let (round, weights, stage) = (standing.round, weights.clone(), *stage);
                self.cast_vote(client, round, weights, stage).await
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
        cap: Option<PrivacyCap>,
    ) -> Result<(), ClientError> {
        let experiment = self.options.experiment.clone();
        let turn = Turn::Propose { experiment: experiment.to_string(), round };
        if self.send_again(client, &turn).await? {
            return Ok(());
        }
        self.tell(Event::MyTurn { round });
        let proposed = self
            .work(move |learner| {
                // What the cap does not allow is not even tried.
                let proposed = learner.propose()?.within(cap);
                let score = match proposed.weights() {
                    Some(weights) => Some(learner.test(weights)?),
                    None => None,
                };
                Ok((proposed, score))
            })
            .await?;
        let pass = |exhausted, reason: Option<&str>| {
            let reason = reason.map(ToOwned::to_owned);
            let experiment = self.options.experiment.clone();
            (Action::Pass { experiment, round, exhausted }, Event::Passed { round, reason })
        };
        let (action, event) = match proposed {
            Ok((proposed, score)) => match proposed.weights() {
                Some(weights) => {
                    let scores = score.map_or_else(Scores::default, |score| score.scores());
                    client.upload(weights).await?;
                    let model = weights.model(&base.media_type);
                    let privacy = proposed.privacy();
                    self.keep(weights.clone());
                    let base = base.digest;
                    let weights = model;
                    let proposal = Proposal { experiment, round, base, weights, scores, privacy };
                    (Action::Propose(proposal), Event::Proposed { round, scores })
                }
                None if proposed == Proposed::Exhausted => {
                    pass(true, Some("the privacy budget is spent"))
                }
                None => pass(false, None),
            },
            Err(error) => pass(false, Some(&error.to_string())),
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
        stage: Stage,
    ) -> Result<(), ClientError> {
        let experiment = self.options.experiment.clone();
        let digest = weights.digest;
        let turn = Turn::Vote { experiment: experiment.to_string(), round, weights: digest };
        if self.send_again(client, &turn).await? {
            return Ok(());
        }
        if let (Stage::Commit, Some(reveal)) = (stage, self.memory.sealed_for(round, digest)) {
            // Sealed before a restart, but not committed to.
            return self.commit(client, &reveal).await;
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
        if stage == Stage::Commit {
            let mut salt = [0; 32];
            getrandom::fill(&mut salt).map_err(ClientError::Random)?;
            let reveal = Reveal { vote, salt };
            self.memory.keep_sealed(&reveal)?;
            return self.commit(client, &reveal).await;
        }
        self.sign_and_submit(client, Action::Vote(vote)).await?;
        self.tell(Event::Voted { round, approve, scores });
        Ok(())
    }

    async fn commit(&mut self, client: &mut Client, reveal: &Reveal) -> Result<(), ClientError> {
        let Reveal { vote, salt } = reveal;
        let ledger = Digest(client.ledger_id().0);
        let sealed = Sealed { ledger, voter: self.me, vote, salt };
        let (round, weights) = (vote.round, vote.weights);
        let (experiment, commitment) = (vote.experiment.clone(), sealed.commitment());
        let commit = Commit { experiment, round, weights, commitment };
        self.sign_and_submit(client, Action::Commit(commit)).await?;
        self.tell(Event::Committed { round });
        Ok(())
    }

    async fn reveal(
        &mut self,
        client: &mut Client,
        round: u64,
        weights: Digest,
    ) -> Result<(), ClientError> {
        let Some(reveal) = self.memory.sealed_for(round, weights) else {
            // Committed to by another process with the same key, or the data folder is lost.
            tracing::warn!(round, "the sealed ballot is not in this learner's data folder");
            return Ok(());
        };
        let Vote { approve, scores, .. } = reveal.vote;
        // Not remembered as signed: revealing again says nothing else.
        let action = Action::Reveal(reveal);
        client.act(&self.options.key, action, &mut self.memory).await?;
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
                    let stage = if standing.sealed { Stage::Commit } else { Stage::Open };
                    let (proposer, weights) = (transaction.sender, proposal.weights);
                    standing.phase = Phase::Voting { proposer, weights, stage };
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
                Outcome::Paused { reason, .. } => {
                    standing.phase = Phase::Idle;
                    self.tell(Event::Paused { reason });
                }
                Outcome::RevealOpened { .. } => {
                    if let Phase::Voting { stage, .. } = &mut standing.phase {
                        *stage = Stage::Reveal;
                    }
                }
                Outcome::Suspended { learner, reason, .. } if learner == self.me => {
                    self.tell(Event::Suspended { reason });
                    if reason != SuspendReason::MissedTurns {
                        return Err(ClientError::Unseated(reason));
                    }
                    // It is here again.
                    self.join(client).await?;
                }
                Outcome::MotionTookEffect { .. } => {
                    // Perhaps under other rules from here on.
                    let name = self.options.experiment.to_string();
                    let known = client.experiment(&name, None).await?;
                    (standing.sealed, standing.cap) = rules(&known)?;
                }
                Outcome::MotionOpened { number, .. } => self.tell(Event::MotionOpened { number }),
                Outcome::Finished { reason, .. } => standing.phase = Phase::Finished(reason),
                Outcome::VotingOpened { .. }
                | Outcome::Suspended { .. }
                | Outcome::MotionDecided { .. } => {}
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
        v1::Phase::Waiting | v1::Phase::Paused => Phase::Idle,
        v1::Phase::Proposing => {
            Phase::Proposing { proposer: convert::learner(&experiment.proposer, "proposer")? }
        }
        v1::Phase::Voting => Phase::Voting {
            proposer: convert::learner(&experiment.proposer, "proposer")?,
            weights: convert::model(experiment.weights.clone().ok_or_else(|| missing("weights"))?)?,
            stage: match experiment.stage() {
                v1::Stage::Open => Stage::Open,
                v1::Stage::Commit => Stage::Commit,
                v1::Stage::Reveal => Stage::Reveal,
            },
        },
        v1::Phase::Finished => Phase::Finished(convert::finish_reason(experiment.finish_reason())?),
        v1::Phase::Unspecified => return Err(missing("phase")),
    };
    let votes_from = match &known.member {
        Some(member) if member.seat() == v1::Seat::Joining => experiment.round + 1,
        Some(member) => member.last_vote + 1,
        None => 0,
    };
    let unrevealed = known
        .member
        .as_ref()
        .is_some_and(|member| member.unrevealed && member.last_vote == experiment.round);
    let (sealed, cap) = rules(known)?;
    let (round, model) = (experiment.round, convert::model(model)?);
    Ok(Standing { round, model, phase, votes_from, unrevealed, sealed, cap })
}

/// Whether ballots are sealed, and what proposals may reveal.
fn rules(known: &v1::GetExperimentResponse) -> Result<(bool, Option<PrivacyCap>), ClientError> {
    let missing = || ClientError::Malformed("no parameters".to_owned());
    let parameters = known.experiment.as_ref().and_then(|it| it.parameters.as_ref());
    let parameters = convert::parameters(parameters.ok_or_else(missing)?)?;
    Ok((parameters.ballot == Ballot::Sealed, parameters.privacy))
}
