//! The loop that runs a learner on a ledger: it does what [`Participant`] says is owed.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use colearn_contracts::{
    Action, Digest, ExperimentName, FinishReason, LearnerId, MemberName, Model, Rejection,
};
use colearn_records::keys::learner_id;
use colearn_records::plan::Plan;
use colearn_records::record::Record;
use colearn_records::transaction::Transaction;
use ed25519_dalek::SigningKey;

use super::in_time::{self, InTime};
use super::joining::check;
use super::{Client, ClientError, Entries, Memory, Patience};
use crate::learner::{Learner, LearnerError};
use crate::participant::{Duty, Ending, Event, Membership, Participant, Standing, Statement, Turn};
use crate::weights::Weights;

/// How many downloaded or proposed weights are kept to be accepted without another download.
const KEPT_WEIGHTS: usize = 2;
/// How often an act is signed again at once because it has become too old (R71).
const RENEWALS: u32 = 3;

/// Where and as whom a learner takes part.
pub struct Options {
    /// The node's address, such as `http://127.0.0.1:7400`.
    pub node: String,
    /// The experiment.
    pub experiment: ExperimentName,
    /// The learner's private key.
    pub key: SigningKey,
    /// What the learner calls itself, where its invitation does not say.
    pub name: Option<MemberName>,
    /// What the experiment has to be like, or it is not joined.
    pub plan: Option<Plan>,
    /// Where to remember what must survive a restart; `None` to remember until the end only.
    pub data: Option<PathBuf>,
    /// Give up when the node cannot be reached for this long; `None` for never.
    pub patience: Option<Duration>,
    /// Told what happens.
    pub watch: Box<dyn FnMut(&Event) + Send>,
}

impl Options {
    /// The defaults: no name, no plan, no memory, endless patience, nobody watching.
    pub fn new(node: impl Into<String>, experiment: ExperimentName, key: SigningKey) -> Self {
        Self {
            node: node.into(),
            experiment,
            key,
            name: None,
            plan: None,
            data: None,
            patience: None,
            watch: Box::new(|_| {}),
        }
    }
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
    let mut patience = Patience::new(options.patience);
    let mut run = Run::new(learner, options);
    let mut client = None;
    loop {
        let ended = match run.connect(&mut client).await {
            Ok(client) => {
                run.tell(Event::Connected { url: client.url().to_owned() });
                let ended = run.session(client).await;
                // It was in reach until now.
                patience.renew();
                ended
            }
            Err(error) => Err(error),
        };
        match ended {
            Ok(summary) => {
                let learner = run.learner.take().ok_or(ClientError::Panicked)?;
                return Ok((learner, summary));
            }
            Err(error) => {
                let pause = patience.pause_after(error)?;
                run.tell(Event::Reconnecting { reason: pause.0, pause: pause.1 });
                tokio::time::sleep(pause.1).await;
            }
        }
    }
}

struct Run<L> {
    /// Lent to a thread while it works.
    learner: Option<L>,
    me: LearnerId,
    options: Options,
    /// Lives as long as the run: what is ready for a turn outlives a lost connection.
    participant: Option<Participant>,
    /// The latest weights seen, newest last.
    kept: VecDeque<Weights>,
    /// How long there is for what is owed.
    in_time: InTime,
}

impl<L: Learner + Send + 'static> Run<L> {
    fn new(learner: L, options: Options) -> Self {
        let me = learner_id(&options.key);
        Self {
            learner: Some(learner),
            me,
            options,
            participant: None,
            kept: VecDeque::new(),
            in_time: InTime::default(),
        }
    }

    fn tell(&mut self, event: Event) {
        (self.options.watch)(&event);
    }

    async fn connect<'a>(
        &mut self,
        client: &'a mut Option<Client>,
    ) -> Result<&'a mut Client, ClientError> {
        if let Some(known) = client {
            known.reconnect().await?;
            return Ok(known);
        }
        let memory = match &self.options.data {
            Some(dir) => Memory::open(dir)?,
            None => Memory::default(),
        };
        Ok(client.insert(Client::connect(&self.options.node, memory).await?))
    }

    /// Takes part over one connection, until the experiment ends or the connection does.
    async fn session(&mut self, client: &mut Client) -> Result<Summary, ClientError> {
        let mut events = self.sync(client).await?;
        loop {
            match self.fulfil(client).await? {
                Step::Done(summary) => return Ok(summary),
                Step::Again => continue,
                Step::Wait => self.observe_next(&mut events).await?,
                // Whatever happens first: if nothing does, this learner lets it go on,
                Step::Resume(pause) => {
                    match tokio::time::timeout(pause, self.observe_next(&mut events)).await {
                        Ok(observed) => observed?,
                        Err(_) => self.participant()?.resume(),
                    }
                }
                // or tries again.
                Step::Retry(pause) => {
                    match tokio::time::timeout(pause, self.observe_next(&mut events)).await {
                        Ok(observed) => observed?,
                        Err(_) => continue,
                    }
                }
            }
        }
    }

    /// Learns where the experiment stands, and follows it from there.
    async fn sync(&mut self, client: &mut Client) -> Result<Entries, ClientError> {
        let name = self.options.experiment.clone();
        let described = client.experiment(&name, Some(self.me)).await?;
        let standing = Standing::of(self.me, &described.experiment, described.member.as_ref());
        check(self.options.plan.as_ref(), &described.experiment, standing.membership)?;
        let held = self.learner.as_ref().map(|learner| learner.current().digest());
        let participant = self.participant.get_or_insert_with(|| {
            let ledger = Digest(client.ledger_id().0);
            let memory = client.memory();
            let remembered = (memory.signed_turn(), memory.sealed(&name));
            Participant::new(self.me, ledger, name.clone(), held, remembered)
                .called(self.options.name.clone())
        });
        participant.resync(standing);
        client.watch(&name, described.size).await
    }

    fn participant(&mut self) -> Result<&mut Participant, ClientError> {
        // It is there from the first session on.
        self.participant.as_mut().ok_or(ClientError::Panicked)
    }

    async fn observe_next(&mut self, events: &mut Entries) -> Result<(), ClientError> {
        if let Some(entry) = events.next().await?.entry {
            let decoded = Record::decode(&entry)
                .map_err(|error| ClientError::Malformed(error.to_string()))?;
            self.in_time.observe(decoded.time_ms);
            if let Some(event) = self.participant()?.observe(&decoded.record) {
                self.tell(event);
            }
        }
        Ok(())
    }

    /// Does what is owed now.
    async fn fulfil(&mut self, client: &mut Client) -> Result<Step, ClientError> {
        match self.participant()?.duty() {
            Duty::End(ending) => return self.end(ending).map(Step::Done),
            Duty::Wait => {
                if self.participant()?.has_lost_ballot() {
                    // Committed to by another process with the same key, or the data folder is lost.
                    tracing::warn!("the sealed ballot is not in this learner's data folder");
                }
                return Ok(Step::Wait);
            }
            Duty::Resume { pause } => return Ok(Step::Resume(pause)),
            Duty::AskRules => {
                let described = client.experiment(&self.options.experiment, None).await?;
                let membership = self.participant()?.standing().map(|it| it.membership);
                let membership = membership.unwrap_or(Membership::Outside);
                check(self.options.plan.as_ref(), &described.experiment, membership)?;
                self.participant()?.set_rules(&described.experiment);
            }
            Duty::Accept(model) => return self.accept(client, &model).await,
            Duty::Train { round, cap } => {
                self.tell(Event::MyTurn { round });
                let work = self.work(move |learner| {
                    let proposed = learner.propose()?.within(cap);
                    let score = match proposed.weights() {
                        Some(weights) => Some(learner.test(weights)?),
                        None => None,
                    };
                    Ok((proposed, score))
                });
                let work = work.await?;
                self.participant()?.trained(round, work);
            }
            Duty::Score { round, weights } => return self.score(client, round, &weights).await,
            Duty::Submit(statement) => {
                let submitted = self.submit(client, statement).await;
                self.settle(submitted)?;
            }
            Duty::SubmitAgain(turn) => {
                let submitted = self.submit_again(client, &turn).await;
                self.settle(submitted)?;
            }
        }
        Ok(Step::Again)
    }

    fn end(&mut self, ending: Ending) -> Result<Summary, ClientError> {
        match ending {
            Ending::Finished { reason, model, rounds } => {
                self.tell(Event::Finished { reason });
                Ok(Summary { reason, model, rounds })
            }
            Ending::Unseated(reason) => Err(ClientError::Unseated(reason)),
            Ending::KeyReplaced(by) => Err(ClientError::KeyReplaced(by)),
        }
    }

    /// Tells the participant what came of what it owed.
    fn settle(&mut self, submitted: Result<(), ClientError>) -> Result<(), ClientError> {
        let event = match submitted {
            Ok(()) => self.participant()?.submitted(),
            Err(error) => {
                let goes_on = match error.rule() {
                    Some(rule) => self.participant()?.refused(rule),
                    None => false,
                };
                if !goes_on {
                    return Err(error);
                }
                error.is_stale().then(|| Event::TooLate { reason: error.to_string() })
            }
        };
        if let Some(event) = event {
            self.tell(event);
        }
        Ok(())
    }

    /// Signs and submits. What may be signed once only is remembered before it is sent: after a
    /// restart the same is sent again.
    async fn submit(
        &mut self,
        client: &mut Client,
        statement: Statement,
    ) -> Result<(), ClientError> {
        if let Some(weights) = &statement.weights {
            client.upload(weights).await?;
            self.keep(weights.clone());
        }
        let experiment = self.options.experiment.clone();
        if let Some(reveal) = &statement.sealed {
            client.memory.keep_sealed(&experiment, reveal)?;
        }
        let ledger = Digest(client.ledger_id().0);
        let act = statement.act_of(&self.options.key, ledger, &experiment)?;
        // An outage after signing must not lead to a second signature for the same turn: another one only
        // takes the place of what was refused for good.
        let signed = statement.once.as_ref().and_then(|turn| client.signed_for(turn));
        let signed = signed.filter(|it| !statement.instead || it.action().what == act);
        let signed = match signed {
            Some(signed) => signed,
            None => {
                let action = Action::new(experiment, act);
                let signed = client.sign(&self.options.key, action).await?;
                if statement.once.is_some() {
                    client.memory.keep_signed(&signed)?;
                }
                signed
            }
        };
        self.deliver(client, signed).await
    }

    async fn submit_again(&mut self, client: &mut Client, turn: &Turn) -> Result<(), ClientError> {
        // The memory that named the turn holds what was signed for it.
        match client.signed_for(turn) {
            Some(signed) => self.deliver(client, signed).await,
            None => Ok(()),
        }
    }

    /// Submits what is signed. If that has become too old (R71), the very same act is signed again, with
    /// what was verified since: never another one in its place.
    async fn deliver(
        &mut self,
        client: &mut Client,
        mut signed: Transaction,
    ) -> Result<(), ClientError> {
        let too_old = Some(Rejection::TransactionExpired.rule());
        for _ in 0..RENEWALS {
            match client.submit(&signed).await {
                Err(error) if error.rule() == too_old => {}
                done => return done.map(drop),
            }
            signed = client.sign(&self.options.key, signed.action().clone()).await?;
            if Turn::of(signed.action()).is_some() {
                client.memory.keep_signed(&signed)?;
            }
        }
        client.submit(&signed).await.map(drop)
    }

    /// Gives the learner the global model.
    async fn accept(&mut self, client: &mut Client, model: &Model) -> Result<Step, ClientError> {
        let weights = match self.fetch_in_time(client, model).await? {
            Fetched::Weights(weights) => weights,
            Fetched::Not(step) => return Ok(step),
        };
        self.work(move |learner| learner.accept(&weights)).await?.map_err(ClientError::Model)?;
        self.participant()?.accepted(model.digest);
        Ok(Step::Again)
    }

    /// Has the learner judge a proposal.
    async fn score(
        &mut self,
        client: &mut Client,
        round: u64,
        proposed: &Model,
    ) -> Result<Step, ClientError> {
        let weights = match self.fetch_in_time(client, proposed).await? {
            Fetched::Weights(weights) => weights,
            Fetched::Not(step) => return Ok(step),
        };
        let score = self.work(move |learner| learner.test(&weights)).await?;
        if let Err(error) = &score {
            tracing::warn!(round, %error, "voting against weights that cannot be scored");
        }
        self.participant()?.scored(round, proposed.digest, score, salt)?;
        Ok(Step::Again)
    }

    /// Gets weights, and says so in the round if they are not to be had before it is too late.
    async fn fetch_in_time(
        &mut self,
        client: &mut Client,
        model: &Model,
    ) -> Result<Fetched, ClientError> {
        let deadline_ms = self.participant()?.deadline_ms();
        let left = deadline_ms.map(|deadline_ms| self.in_time.left(deadline_ms));
        let fetch = self.fetch(client, model);
        let fetched = match left {
            Some(left) => tokio::time::timeout(left, fetch).await,
            None => Ok(fetch.await),
        };
        let Ok(fetched) = fetched else {
            tracing::warn!(weights = %model.digest, "not to be had in time");
            self.participant()?.unavailable(salt)?;
            return Ok(Fetched::Not(Step::Again));
        };
        match fetched {
            Ok(weights) => Ok(Fetched::Weights(weights)),
            // The node has not got them, or something else: others may bring them.
            Err(error @ (ClientError::Refused { .. } | ClientError::WrongArtifact(_)))
                if !error.is_transient() =>
            {
                let pause = in_time::pause(left);
                self.tell(Event::Reconnecting { reason: error.to_string(), pause });
                Ok(Fetched::Not(Step::Retry(pause)))
            }
            Err(error) => Err(error),
        }
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

/// 32 random bytes for a sealed ballot.
fn salt() -> Result<[u8; 32], ClientError> {
    let mut salt = [0; 32];
    getrandom::fill(&mut salt).map(|()| salt).map_err(ClientError::Random)
}

/// What came of getting weights.
enum Fetched {
    Weights(Weights),
    /// They are not to be had; what follows from that.
    Not(Step),
}

/// What follows from having done what was owed.
enum Step {
    /// Perhaps more is owed.
    Again,
    /// Nothing is, until the next entry.
    Wait,
    /// Nothing is; after so long without an entry, the experiment is let go on.
    Resume(Duration),
    /// The same is; after so long, or at the next entry, it is tried again.
    Retry(Duration),
    /// Nothing any more.
    Done(Summary),
}
