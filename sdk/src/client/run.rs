//! The loop that runs a learner on a ledger: it follows the ledger, shows [`Participant`] what is recorded,
//! and does what that says is owed.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use colearn_contracts::{
    Action, Digest, ExperimentName, FinishReason, LearnerId, MemberName, Merges, Model, Phase,
    Rejection, RevealUpdate,
};
use colearn_keys::Key;
use colearn_merge::Source;
use colearn_net::Credential;
use colearn_records::convert::ExperimentState;
use colearn_records::follower::ReadEntry;
use colearn_records::keys::learner_id;
use colearn_records::plan::Plan;
use colearn_records::transaction::Transaction;
use tokio::task::{JoinError, JoinHandle, JoinSet};

use super::elsewhere::in_its_time;
use super::followed::Sent;
use super::in_time::{self, InTime};
use super::joining::{Joiner, check};
use super::memory::Turns;
use super::moving::Others;
use super::nodes::Failures;
use super::patience::FIRST_PAUSE;
use super::receipts::Pledge;
use super::updates::{Held, Updates};
use super::{
    Client, ClientError, Described, Destination, Followed, Memory, Nodes, Patience, Progress,
    Suspicion, Trust, threads,
};
use crate::encrypted::{Current, Encrypted, Encryption, MergeError, ModelKeys, opened};
use crate::large;
use crate::learner::{Failure, Learner, Task, Work};
use crate::merging::{Judged, Merged};
use crate::participant::{
    self, Assignment, Duty, Ending, Event, Membership, MergeTask, Participant, Remembered,
    Standing, Statement, Turn,
};
use crate::policy::Policy;
use crate::spending::Spending;
use crate::turn::{self, Attempt, Trained};
use crate::weights::Weights;

/// How many downloaded, merged or proposed weights are kept to be accepted without another download: the two
/// merges of a round, and the two models that the next one is merged from.
const KEPT_WEIGHTS: usize = 4;
/// Updates are downloaded side by side as long as they have no more bytes than this together.
const MAX_COMING_BYTES: u64 = 64 << 20;
/// From so many bytes of updates a round on, it is said how there would be fewer.
const MANY_BYTES: u64 = 2 << 30;
/// How often an act is signed again at once because it has become too old (R71).
const RENEWALS: u32 = 3;
/// How often it is told how far a long ledger was followed.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// Where and as whom a learner takes part.
pub struct Options {
    /// The node's address, such as `http://127.0.0.1:7400`; where several nodes keep the ledger, those that
    /// are gone on to when one will not do.
    pub node: Nodes,
    /// The experiment.
    pub experiment: ExperimentName,
    /// The learner's private key, wherever that is kept.
    pub key: Key,
    /// What the learner calls itself, where its invitation does not say.
    pub name: Option<MemberName>,
    /// What the experiment has to be like, or it is not joined.
    pub plan: Option<Plan>,
    /// What the learner's site lets leave, whatever the experiment allows; `None` for anything.
    pub policy: Option<Policy>,
    /// The keys of the experiment's models, if these are encrypted: then nothing else is taken, and nothing leaves in the
    /// clear. `None` for an experiment whose models are not.
    pub model_keys: Option<ModelKeys>,
    /// Where to remember what must survive a restart, one folder for a key ([`Memory::beside`]); `None`
    /// to remember until the end only.
    pub data: Option<PathBuf>,
    /// What is believed from the start.
    pub trust: Trust,
    /// Whether what the learner approves of decides what it can bear in merged rounds, and not how its
    /// score compares with those of the models before.
    pub own_judge: bool,
    /// Give up when the node cannot be reached for this long; `None` for never.
    pub patience: Option<Duration>,
    /// When one of several nodes will not do although it answers.
    pub suspicion: Suspicion,
    /// Told what happens.
    pub watch: Box<dyn FnMut(&Event) + Send>,
}

impl Options {
    /// The defaults: no name, no plan, no policy, no model keys, no memory, no pins, endless patience, nobody watching.
    pub fn new(node: impl Into<Nodes>, experiment: ExperimentName, key: impl Into<Key>) -> Self {
        Self {
            node: node.into(),
            experiment,
            key: key.into(),
            name: None,
            plan: None,
            policy: None,
            model_keys: None,
            data: None,
            trust: Trust::default(),
            own_judge: false,
            patience: None,
            suspicion: Suspicion::default(),
            watch: Box::new(|_| {}),
        }
    }
}

/// What a finished run leaves.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Why the experiment ended; `None` if it goes on, and this learner has left.
    pub reason: Option<FinishReason>,
    /// The final global model, or the last that the learner took part with.
    pub model: Model,
    /// How many rounds were opened.
    pub rounds: u64,
}

/// Runs a learner in an experiment until that finishes, and gives it back.
///
/// Follows the ledger, joins if need be, proposes in its turn, votes on what others propose, and accepts
/// what is accepted. Nothing is acted on that does not follow from what the ledger's key has signed. A
/// lost connection is made again; after a restart of either side it goes on where the ledger stands,
/// without voting twice, losing its turn or training twice for it.
///
/// # Errors
/// If the learner is not admitted, cannot take the model, or the ledger cannot be trusted.
pub async fn run<L: Learner + Send + 'static>(
    learner: L,
    options: Options,
) -> Result<(L, Summary), ClientError> {
    Prepared::new(options).await?.run(learner).await
}

/// Follows the ledger to where it stands, and gets what a learner is made from: the experiment and its
/// model. Then [`Prepared::run`].
///
/// # Errors
/// If there is no such experiment, it does not follow the plan, or the ledger cannot be trusted.
pub async fn prepare(options: Options) -> Result<Prepared, ClientError> {
    let mut prepared = Prepared::new(options).await?;
    let mut patience = Patience::new(prepared.options.patience);
    loop {
        let ready = prepared.get_ready().await;
        let Err(error) = ready else { return Ok(prepared) };
        prepared.pause(&mut patience, error).await?;
    }
}

/// A learner's place in an experiment, before there is the learner.
pub struct Prepared {
    me: LearnerId,
    options: Options,
    turns: Turns,
    /// What the learner has spent of its privacy; lent with it.
    spending: Option<Spending>,
    /// The memory, until the node is first reached.
    memory: Option<Memory>,
    followed: Option<Followed>,
    /// Whether the connection is good, as far as is known.
    connected: bool,
    /// Which of several nodes have failed since one would do.
    failures: Failures,
    /// Whether another node is spoken to than before, which may lack what that one was given.
    moved: bool,
    /// The latest weights seen, newest last.
    kept: VecDeque<Weights>,
    /// Where large ones come to, and merges are made.
    large: Option<PathBuf>,
    /// What encrypts them, and opens them.
    encryption: Option<Encryption>,
    /// The global model's weights as they were when this was prepared, opened; and as the ledger names them.
    opened: Option<(Weights, Weights)>,
    /// What others have trained in the open round.
    updates: Updates,
}

impl Prepared {
    async fn new(options: Options) -> Result<Self, ClientError> {
        // Now, while somebody is there who can do something about it.
        in_its_time(&options.key, Key::check).await?;
        let me = learner_id(&options.key);
        let memory = match &options.data {
            Some(dir) => Memory::open(dir, me)?,
            None => Memory::default(),
        };
        let mut spending = memory.spending(&options.experiment)?;
        if let Some(policy) = &options.policy {
            // Under the first of the keys that have followed one another here, as the others count with it.
            let first = memory.first_key().unwrap_or(me);
            spending = spending.under(policy.clone(), first, &options.experiment)?;
        }
        let large = memory.large(&options.experiment);
        let keys = options.model_keys.clone();
        let mut prepared = Self {
            me,
            turns: memory.turns(&options.experiment)?,
            spending: Some(spending),
            updates: memory.updates(&options.experiment),
            encryption: keys.map(|keys| Encryption::new(keys, large.clone())),
            opened: None,
            large,
            options,
            memory: Some(memory),
            followed: None,
            connected: false,
            failures: Failures::default(),
            moved: false,
            kept: VecDeque::new(),
        };
        if let Some(policy) = &prepared.options.policy {
            let (digest, data) = (policy.digest, policy.data.clone());
            let unprotected = prepared.spending.as_ref().map_or(0, Spending::unprotected);
            prepared.tell(Event::Policy { digest, data, unprotected });
        }
        Ok(prepared)
    }

    fn tell(&mut self, event: Event) {
        (self.options.watch)(&event);
    }

    /// Waits before something is tried again, where that may help.
    async fn pause(
        &mut self,
        patience: &mut Patience,
        error: ClientError,
    ) -> Result<(), ClientError> {
        self.connected = false;
        if !error.is_transient() && (self.followed.is_none() || !error.is_the_nodes_own()) {
            return Err(error);
        }
        let Some(error) = self.move_on(error) else {
            tokio::time::sleep(FIRST_PAUSE).await;
            return Ok(());
        };
        let Some(pause) = patience.pause() else { return Err(error) };
        let reason = error.to_string();
        self.tell(match error.is_a_lie() {
            true => Event::Distrusted { reason, pause },
            false => Event::Reconnecting { reason, pause },
        });
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Goes on to the next of several nodes. What is wrong, where there is none that was not tried.
    fn move_on(&mut self, error: ClientError) -> Option<ClientError> {
        let several = self.followed.as_mut().map(|followed| &mut followed.client.nodes);
        // A key that does not sign does so at no node.
        let several = several.filter(|_| !matches!(error, ClientError::Signer(_)));
        let Some(nodes) = several.filter(|nodes| nodes.are_several()) else { return Some(error) };
        let (from, reason) = (nodes.url().to_owned(), error.to_string());
        let all = self.failures.go_on(nodes, error);
        let to = nodes.url().to_owned();
        self.moved = true;
        self.tell(Event::Moved { from, to, reason });
        all
    }

    fn followed(&mut self) -> Result<&mut Followed, ClientError> {
        // It is there from the first connection on.
        self.followed.as_mut().ok_or(ClientError::Panicked)
    }

    /// Follows the ledger to its end.
    async fn follow(&mut self) -> Result<(), ClientError> {
        if !self.connected {
            self.connect().await?;
        }
        let Self { followed, options, .. } = self;
        let followed = followed.as_mut().ok_or(ClientError::Panicked)?;
        let mut told = Instant::now();
        let mut tell = |Progress { followed, size }| {
            if told.elapsed() >= TOLD_EVERY {
                told = Instant::now();
                (options.watch)(&Event::Following { followed, size });
            }
        };
        followed.catch_up(&mut tell).await
    }

    async fn connect(&mut self) -> Result<(), ClientError> {
        let trusted = match &mut self.followed {
            Some(followed) => {
                followed.reconnect().await?;
                None
            }
            None => {
                let Options { node, patience, suspicion, key, .. } = &self.options;
                let node = node.clone().signed_by(Credential::new(key));
                let client = Client::connect_within(node, *patience, *suspicion).await?;
                let memory = match (self.memory.take(), &self.options.data) {
                    (Some(memory), _) => memory,
                    // It went with an attempt that failed.
                    (None, Some(dir)) => Memory::open(dir, self.me)?,
                    (None, None) => Memory::default(),
                };
                let mut followed =
                    Followed::open(client, memory, self.options.trust.clone()).await?;
                // What was signed before vouches for a history that must still be this one.
                for signed in self.turns.signed() {
                    let (size, root) = (signed.seen.size, signed.seen.root);
                    let signed = format!("this key has signed root {root} at size {size}\n");
                    followed.expect(Pledge { size, root, signed });
                }
                let spending = self.spending.as_mut().ok_or(ClientError::Panicked)?;
                spending.on(followed.ledger_id())?;
                let trusted = followed.trusted();
                self.followed = Some(followed);
                Some(trusted).filter(|size| *size > 0)
            }
        };
        self.connected = true;
        let url = self.followed()?.client().url().to_owned();
        self.tell(Event::Connected { url });
        if let Some(size) = trusted {
            self.tell(Event::Trusting { size });
        }
        Ok(())
    }

    /// Follows the ledger, looks at what is to be joined, and gets its model.
    async fn get_ready(&mut self) -> Result<(), ClientError> {
        self.follow().await?;
        let described = self.described()?;
        let standing = Standing::of(self.me, &described.experiment, described.member.as_ref());
        check(self.options.plan.as_ref(), &described.experiment, standing.membership, None)?;
        let weights = self.fetch(&described.experiment.model).await?;
        let encryption = self.encryption.clone();
        let opening = move || opened(encryption.as_ref(), &weights).map(|opened| (opened, weights));
        let opened = tokio::task::spawn_blocking(opening).await;
        self.opened = Some(opened.map_err(|_| ClientError::Panicked)??);
        Ok(())
    }

    /// The experiment, and how this learner stands in it, as they were followed; without its members.
    ///
    /// # Errors
    /// [`ClientError::NoExperiment`] if there is none.
    pub fn described(&self) -> Result<Described, ClientError> {
        let followed = self.followed.as_ref().ok_or(ClientError::Panicked)?;
        followed.described(&self.options.experiment, self.me, 0)
    }

    /// The global model's weights, as they were when this was prepared; opened, where they are encrypted.
    pub fn weights(&self) -> Option<&Weights> {
        self.opened.as_ref().map(|(opened, _)| opened)
    }

    /// Runs the learner: see [`run`].
    ///
    /// # Errors
    /// Those of [`run`].
    pub async fn run<L: Learner + Send + 'static>(
        mut self,
        learner: L,
    ) -> Result<(L, Summary), ClientError> {
        let mut patience = Patience::new(self.options.patience);
        // What was opened is the learner's alone from here on.
        let held = self.opened.take();
        let held = held.map(|(opened, named)| Current { opened: opened.digest(), named });
        let mut run = Run {
            learner: Some(Encrypted::new(learner, self.encryption.clone(), held)),
            others: Others::new(self.options.suspicion),
            unanswered: None,
            place: self,
            participant: None,
            takes_part: false,
            lacks_key: false,
            in_time: InTime::default(),
            merging_round: None,
            merged: None,
            told_bytes: false,
            bringing: JoinSet::new(),
        };
        loop {
            match run.session().await {
                Ok(summary) => {
                    while run.bringing.join_next().await.is_some() {}
                    run.place.followed()?.keep()?;
                    let learner = run.learner.take().ok_or(ClientError::Panicked)?;
                    return Ok((learner.into_inner(), summary));
                }
                Err(error) => {
                    let took_part = std::mem::take(&mut run.takes_part);
                    if let ClientError::Signer(_) = error {
                        // The node is in reach each time, the key was until the first.
                        if !std::mem::replace(&mut run.lacks_key, true) {
                            patience.renew();
                        }
                    } else if took_part && !error.is_a_lie() {
                        // It was in reach until now.
                        patience.renew();
                        run.place.failures = Failures::default();
                    }
                    run.others.begin_anew();
                    run.place.pause(&mut patience, error).await?;
                }
            }
        }
    }

    async fn fetch(&mut self, model: &Model) -> Result<Weights, ClientError> {
        if let Some(kept) = self.kept.iter().find(|kept| kept.digest() == model.digest) {
            return Ok(kept.clone());
        }
        let client = self.followed()?.client().clone();
        let to = self.large.clone().map_or(Destination::Memory, Destination::Folder);
        let weights = client.download_to(model, to).await?;
        self.keep([weights.clone()]);
        Ok(weights)
    }

    /// Whether merges are still here.
    fn keeps(&self, merges: Merges) -> bool {
        let mut digests = [merges.open, merges.guarded].into_iter().flatten();
        digests.all(|digest| self.kept.iter().any(|kept| kept.digest() == digest))
    }

    /// Keeps weights that belong together, in place of the oldest.
    fn keep(&mut self, weights: impl IntoIterator<Item = Weights>) {
        for weights in weights {
            self.kept.retain(|kept| *kept != weights);
            self.kept.push_back(weights);
        }
        let more = self.kept.len().saturating_sub(KEPT_WEIGHTS);
        self.kept.drain(..more);
        if let Some(dir) = &self.large {
            large::clear(dir, &self.kept);
        }
    }
}

struct Run<L> {
    /// Lent to a thread while it works.
    learner: Option<L>,
    place: Prepared,
    /// What the other nodes show.
    others: Others,
    /// What was sent last, until there is an answer to it: if it is still owed, the very same is sent again.
    unanswered: Option<Transaction>,
    /// Lives as long as the run: what is ready for a turn outlives a lost connection.
    participant: Option<Participant>,
    /// Whether it has taken part over the present connection.
    takes_part: bool,
    /// Whether its key has not signed what is owed.
    lacks_key: bool,
    /// How long there is for what is owed.
    in_time: InTime,
    /// The round whose updates are here.
    merging_round: Option<u64>,
    /// The merges of that round: nobody merges twice for one.
    merged: Option<Merges>,
    /// Whether it was said how much is downloaded each round.
    told_bytes: bool,
    /// What was merged here, on its way to the node.
    bringing: JoinSet<()>,
}

impl<L: Learner + Send + 'static> Run<L> {
    fn tell(&mut self, event: Event) {
        self.place.tell(event);
    }

    fn followed(&mut self) -> Result<&mut Followed, ClientError> {
        self.place.followed()
    }

    fn joiner(&self) -> Joiner {
        let privacy = self.learner.as_ref().and_then(Learner::privacy);
        Joiner { me: self.place.me, privacy }
    }

    fn participant(&mut self) -> Result<&mut Participant, ClientError> {
        // It is there from the first session on.
        self.participant.as_mut().ok_or(ClientError::Panicked)
    }

    /// Takes part over one connection, until the experiment ends or the connection does.
    async fn session(&mut self) -> Result<Summary, ClientError> {
        self.sync().await?;
        loop {
            let step = self.fulfil().await?;
            // Nothing is owed any more that it could not sign.
            self.lacks_key &= !matches!(step, Step::Wait | Step::Resume(_));
            match step {
                Step::Done(summary) => return Ok(summary),
                Step::Again => continue,
                Step::Wait => {
                    if let Some(sent) = self.receive_within(None).await? {
                        self.observe(sent).await?;
                    }
                }
                // Whatever happens first: if nothing does, this learner lets it go on,
                Step::Resume(pause) => match self.receive_within(Some(pause)).await? {
                    Some(sent) => self.observe(sent).await?,
                    None => self.participant()?.resume(),
                },
                // or tries again.
                Step::Retry(pause) => {
                    if let Some(sent) = self.receive_within(Some(pause)).await? {
                        self.observe(sent).await?;
                    }
                }
            }
        }
    }

    /// What the node sends next, if it does before the pause is over. Meanwhile the other nodes are asked
    /// whether it keeps anything back.
    async fn receive_within(
        &mut self,
        pause: Option<Duration>,
    ) -> Result<Option<Sent>, ClientError> {
        let since = tokio::time::Instant::now();
        self.others.receive_within(self.place.followed()?, since, pause).await
    }

    /// Follows the ledger to where it stands, and goes on from there.
    async fn sync(&mut self) -> Result<(), ClientError> {
        self.place.follow().await?;
        let described = self.place.described()?;
        let me = self.place.me;
        let standing = Standing::of(me, &described.experiment, described.member.as_ref());
        let joiner = self.joiner();
        check(
            self.place.options.plan.as_ref(),
            &described.experiment,
            standing.membership,
            Some(joiner),
        )?;
        // Whoever only judges trains nothing.
        if self.participant.is_none() && !joiner.only_judges(&described.experiment) {
            let spending = self.place.spending.as_ref().ok_or(ClientError::Panicked)?;
            spending.check_policy(joiner.privacy.as_ref())?;
        }
        let held = self.learner.as_ref().map(Learner::current);
        self.bring_back(&described.experiment.model, held.as_ref()).await?;
        if std::mem::take(&mut self.place.moved) {
            self.bring_kept(&described.experiment).await?;
        }
        if self.participant.is_none() {
            let sealed_update = self.sealed_update(&standing).await?;
            let ledger = Digest(self.followed()?.ledger_id().0);
            let Prepared { options, turns, .. } = &self.place;
            let remembered = Remembered {
                signed: turns.signed_turns(),
                sealed: turns.sealed().cloned(),
                sealed_merge_vote: turns.sealed_merge_vote().cloned(),
                sealed_update,
                trained: turns.trained().map(|trained| trained.made.weights.clone()),
                lived_with: turns.lived_with().to_vec(),
            };
            let held = held.map(|held| held.digest());
            let name = options.experiment.clone();
            let participant = Participant::new(me, ledger, name, held, remembered);
            let participant = participant.called(options.name.clone());
            let hides_scores = options.policy.as_ref().is_some_and(|policy| !policy.scores);
            let participant = participant.hiding_scores(hides_scores);
            self.participant = Some(participant.judging_itself(options.own_judge));
        }
        self.participant()?.resync(standing);
        self.takes_part = true;
        self.tell_what_is_waited_for();
        Ok(())
    }

    /// The update that was sealed before a restart, if it may still leave: the site's policy can be another
    /// one than it was sealed under. What is held back is as if its salt were lost.
    async fn sealed_update(
        &mut self,
        standing: &Standing,
    ) -> Result<Option<RevealUpdate>, ClientError> {
        let Prepared { options, turns, .. } = &self.place;
        let sealed = turns.sealed_update().cloned();
        let Some(reveal) = sealed.filter(|_| options.policy.is_some()) else {
            return Ok(turns.sealed_update().cloned());
        };
        let asked = standing.assignment();
        let Some(made) = turns.trained_for(&asked).cloned() else {
            // Of another round; or what it takes is not known.
            return Ok(None);
        };
        let update = reveal.update.clone();
        let release = move |learner: &mut L, spending: &mut Spending| {
            made.release(&update, learner, spending, &asked)
        };
        let released = self.work(release).await?;
        if let Err(reason) = &released {
            let round = reveal.update.round;
            tracing::warn!(round, reason, "the update that was sealed is held back");
        }
        Ok(released.is_ok().then_some(reveal))
    }

    /// A model that the node has lost comes from whoever holds it.
    async fn bring_back(
        &mut self,
        model: &Model,
        held: Option<&Weights>,
    ) -> Result<(), ClientError> {
        let Some(held) = held.filter(|held| held.digest() == model.digest) else { return Ok(()) };
        let client = self.followed()?.client().clone();
        match client.upload(held).await {
            Err(error) if !matches!(error, ClientError::Refused { .. }) => Err(error),
            // It is not this learner's business alone.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// What the experiment names, and the node before was given, is given to this one.
    async fn bring_kept(&mut self, experiment: &ExperimentState) -> Result<(), ClientError> {
        let mut named = vec![&experiment.model];
        match &experiment.phase {
            Phase::Voting { weights, .. } => named.push(weights),
            Phase::Merged(round) => named.extend(round.updates().map(|(_, update)| update)),
            Phase::Waiting | Phase::Paused(_) | Phase::Proposing { .. } | Phase::Finished(_) => {}
        }
        for model in named {
            let trained = self.place.turns.trained().map(|trained| &trained.made.weights);
            let mut kept = self.place.kept.iter().chain(trained);
            let kept = kept.find(|kept| kept.digest() == model.digest).cloned();
            self.bring_back(model, kept.as_ref()).await?;
        }
        Ok(())
    }

    fn membership(&self) -> Option<Membership> {
        self.participant.as_ref()?.standing().map(|it| it.membership)
    }

    /// For whoever would otherwise see a learner that says nothing.
    fn tell_what_is_waited_for(&mut self) {
        if self.membership() != Some(Membership::Member) {
            return;
        }
        let Ok(described) = self.place.described() else { return };
        if described.experiment.phase == Phase::Waiting {
            self.tell(Event::Waiting {
                members: described.experiment.member_count,
                min_learners: described.experiment.parameters.min_learners,
            });
        }
    }

    /// Follows what was sent, and shows it to the participant.
    async fn observe(&mut self, sent: Sent) -> Result<(), ClientError> {
        let entries = self.followed()?.take(sent).await?;
        let before = self.membership();
        for entry in &entries {
            self.show(entry)?;
        }
        if before != self.membership() {
            self.tell_what_is_waited_for();
        }
        Ok(())
    }

    fn show(&mut self, entry: &ReadEntry) -> Result<(), ClientError> {
        let Some(decoded) = entry.decoded() else { return Ok(()) };
        self.in_time.observe(decoded.time_ms);
        if let Some(event) = self.participant()?.observe(&decoded.record) {
            self.tell(event);
        }
        Ok(())
    }

    /// Does what is owed now.
    async fn fulfil(&mut self) -> Result<Step, ClientError> {
        let duty = self.participant()?.duty();
        if !matches!(duty, Duty::Submit(_)) {
            self.unanswered = None;
        }
        if let Some(round) = self.place.turns.trained().map(|trained| trained.round)
            && self.participant()?.is_over(round)
        {
            self.place.turns.forget_trained();
        }
        if let Some(participant) = &self.participant {
            self.place.turns.keep_lived_with(participant.lived_with())?;
        }
        if matches!(duty, Duty::Submit(_) | Duty::SubmitAgain(_) | Duty::End(_)) {
            self.followed()?.wait_for_witnesses().await?;
        }
        match duty {
            Duty::End(ending) => return self.end(ending).map(Step::Done),
            Duty::Wait => {
                if self.participant()?.has_lost_ballot() {
                    // Committed to by another process with the same key, or the data folder is lost.
                    tracing::warn!(
                        "no sealed ballot that may leave is in this learner's data folder"
                    );
                }
                return Ok(Step::Wait);
            }
            Duty::Resume { pause } => return Ok(Step::Resume(pause)),
            Duty::AskRules => {
                let described = self.place.described()?;
                let membership = self.membership().unwrap_or(Membership::Outside);
                let joiner = Some(self.joiner());
                let plan = self.place.options.plan.as_ref();
                check(plan, &described.experiment, membership, joiner)?;
                self.participant()?.set_rules(&described.experiment);
            }
            Duty::Accept(model) => return self.accept(&model).await,
            Duty::Train(asked) => return self.train(asked).await,
            Duty::Score { round, weights } => return self.score(round, &weights).await,
            Duty::Gather { round, updates } => return self.gather(round, &updates).await,
            Duty::Merge(task) => return self.merge(task).await,
            Duty::Submit(ref statement) => {
                let sent = self.submit(&duty, statement.clone()).await;
                self.settle(sent)?;
            }
            Duty::SubmitAgain(ref turn) => {
                let sent = self.submit_again(&duty, turn).await;
                self.settle(sent)?;
            }
        }
        Ok(Step::Again)
    }

    fn end(&mut self, ending: Ending) -> Result<Summary, ClientError> {
        self.place.updates.forget();
        if let Some(dir) = &self.place.large {
            // What stays takes room, and no more.
            let _ = std::fs::remove_dir_all(dir);
        }
        match ending {
            Ending::Finished { reason, model, rounds } => {
                self.tell(Event::Finished { reason });
                Ok(Summary { reason: Some(reason), model, rounds })
            }
            Ending::Left { model, rounds } => {
                self.tell(Event::Left);
                Ok(Summary { reason: None, model, rounds })
            }
            Ending::Unseated(reason) => Err(ClientError::Unseated(reason)),
            Ending::KeyReplaced(by) => Err(ClientError::KeyReplaced(by)),
        }
    }

    /// Tells the participant what came of what it owed.
    fn settle(&mut self, sent: Result<Sending, ClientError>) -> Result<(), ClientError> {
        let event = match sent {
            Ok(Sending::Recorded) => self.participant()?.submitted(),
            Ok(Sending::Moot) => None,
            Err(error) => {
                let goes_on = match &error {
                    ClientError::Refused { rule: Some(rule), message, .. } => {
                        self.participant()?.refused(*rule, message)
                    }
                    _ => false,
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
    async fn submit(&mut self, owed: &Duty, statement: Statement) -> Result<Sending, ClientError> {
        if let Some(weights) = &statement.weights {
            self.followed()?.client().clone().upload(weights).await?;
            self.place.keep([weights.clone()]);
        }
        if let Some(sealed) = &statement.sealed {
            self.place.turns.keep_sealed(sealed)?;
        }
        let ledger = Digest(self.followed()?.ledger_id().0);
        let experiment = self.place.options.experiment.clone();
        let (said, name) = (statement.clone(), experiment.clone());
        let act = in_its_time(&self.place.options.key, move |key| said.act_of(key, ledger, &name))
            .await?;
        // An outage after signing must not lead to a second signature for the same turn: another one only
        // takes the place of what was refused for good.
        let signed = statement.once.as_ref().and_then(|turn| self.signed_for(turn));
        let signed = signed.filter(|it| !statement.instead || it.action().what == act);
        let action = Action::new(experiment, act);
        let unanswered = self.unanswered.take().filter(|sent| *sent.action() == action);
        let signed = match signed.or(unanswered) {
            Some(signed) => signed,
            None => self.sign(action, statement.instead).await?,
        };
        self.deliver(owed, signed).await
    }

    /// Signs over what was followed, and remembers what is signed once.
    async fn sign(&mut self, action: Action, instead: bool) -> Result<Transaction, ClientError> {
        let Prepared { followed, options, turns, .. } = &mut self.place;
        let followed = followed.as_mut().ok_or(ClientError::Panicked)?;
        let signed = followed.signed_with(&options.key, action).await?;
        turns.keep_signed(&signed, instead)?;
        Ok(signed)
    }

    /// What was signed for a turn or ballot before, if anything was.
    fn signed_for(&mut self, turn: &Turn) -> Option<Transaction> {
        let ledger = self.place.followed.as_ref()?.ledger_id();
        self.place.turns.signed_for(turn)?.clone().verify(&ledger).ok()
    }

    async fn submit_again(&mut self, owed: &Duty, turn: &Turn) -> Result<Sending, ClientError> {
        // A node that has changed since may not have them.
        if let Some(weights) = self.place.turns.shown_with(turn).cloned() {
            self.followed()?.client().clone().upload(&weights).await?;
            self.place.keep([weights]);
        }
        // The memory that named the turn holds what was signed for it.
        match self.signed_for(turn) {
            Some(signed) => self.deliver(owed, signed).await,
            None => Ok(Sending::Recorded),
        }
    }

    /// Submits what is signed. If that has become too old (R71), the very same act is signed again, with
    /// what was followed since: never another one in its place.
    async fn deliver(
        &mut self,
        owed: &Duty,
        mut signed: Transaction,
    ) -> Result<Sending, ClientError> {
        let too_old = Some(Rejection::TransactionExpired.rule());
        let mut renewals = 0;
        loop {
            let refused = match self.followed()?.submit(&signed).await {
                Ok(_) => return Ok(Sending::Recorded),
                Err(error) if error.rule().is_some() => error,
                Err(error) => {
                    let is_answered = matches!(error, ClientError::Refused { .. });
                    self.unanswered = (!is_answered).then_some(signed);
                    return Err(error);
                }
            };
            // Why, and whether at all, the ledger says.
            let size = self.followed()?.refresh().await?;
            while self.followed()?.size() < size {
                let sent = self.followed()?.receive().await?;
                self.observe(sent).await?;
            }
            if self.participant()?.duty() != *owed {
                return Ok(Sending::Moot);
            }
            if refused.rule() != too_old || renewals == RENEWALS {
                return Err(self.followed()?.refusal_of(&signed, refused));
            }
            renewals += 1;
            signed = self.sign(signed.action().clone(), false).await?;
        }
    }

    /// Takes the learner's turn. What comes of training is kept before it is spent, and spent before the
    /// first byte of it leaves: after a crash it is neither trained nor counted again, and never sent
    /// without having been counted.
    async fn train(&mut self, asked: Assignment) -> Result<Step, ClientError> {
        let round = asked.round;
        let attempt = match self.place.turns.trained_for(&asked) {
            Some(made) => Ok(Attempt::Made(made.clone())),
            None => {
                if let Some(step) = self.ask_for_room(round).await? {
                    return Ok(step);
                }
                self.tell(Event::MyTurn { round });
                let asked = asked.clone();
                let make = move |learner: &mut L, spending: &mut Spending| {
                    turn::make(learner, spending, &asked)
                };
                self.work_on(round, Work::Propose, make).await?
            }
        };
        let work = match attempt {
            Ok(Attempt::Made(made)) => {
                let made = self.place.turns.keep_trained(&asked, made)?;
                let spend = move |learner: &mut L, spending: &mut Spending| {
                    made.spend(learner, spending, &asked)
                };
                let spent = self.work(spend).await?;
                if !matches!(spent, Trained::Proposal { .. }) {
                    // What was not spent never leaves.
                    self.place.turns.forget_trained();
                }
                Ok(spent)
            }
            Ok(Attempt::Not(trained)) => Ok(trained),
            Err(error) => Err(error),
        };
        self.participant()?.trained(round, work, salt)?;
        Ok(Step::Again)
    }

    /// Gives the learner the global model.
    async fn accept(&mut self, model: &Model) -> Result<Step, ClientError> {
        let weights = match self.fetch_in_time(model).await? {
            Fetched::Weights(weights) => weights,
            Fetched::Not(step) => return Ok(step),
        };
        let taken = weights.clone();
        self.work(move |learner, _| learner.accept(&taken)).await?.map_err(ClientError::Model)?;
        self.participant()?.accepted(model.digest);
        if self.merged.is_some_and(|it| [it.open, it.guarded].contains(&Some(model.digest))) {
            // Newcomers find it where they look for it, whoever brings it. All who have merged do so at the same
            // time, and all but one are told to try later: nobody's next turn waits for that.
            let client = self.followed()?.client().clone();
            while self.bringing.try_join_next().is_some() {}
            self.bringing.spawn(async move {
                if let Err(error) = client.upload(&weights).await {
                    tracing::debug!(%error, "a merge that is not brought; at the next start it is");
                }
            });
        }
        Ok(Step::Again)
    }

    /// What is here of an earlier merged round is of no use any more.
    fn begin_merging(&mut self, round: u64) {
        // What is here from before a restart may be of this one.
        if self.merging_round.is_some_and(|before| before != round) {
            self.place.updates.forget();
            self.merged = None;
        }
        self.merging_round = Some(round);
    }

    /// Gets the updates of a merged round that are not here, side by side: what does not come keeps nothing
    /// else from coming.
    async fn get_updates(&mut self, updates: &[Model]) -> Result<Got, ClientError> {
        let client = self.followed()?.client().clone();
        let left = self.time_left()?;
        let until = left.map(|left| tokio::time::Instant::now() + left);
        let mut missing = Vec::new();
        for update in updates {
            if self.place.updates.get(update.digest).is_some() || missing.contains(update) {
                continue;
            }
            match self.place.kept.iter().find(|kept| kept.digest() == update.digest) {
                Some(kept) => drop(self.place.updates.keep(kept.clone())?),
                None => missing.push(update.clone()),
            }
        }
        let mut missing = missing.into_iter().peekable();
        let mut coming = JoinSet::new();
        let (mut coming_bytes, mut pause) = (0, None);
        loop {
            while let Some(next) = missing
                .next_if(|next| coming.is_empty() || coming_bytes + next.size <= MAX_COMING_BYTES)
            {
                coming_bytes += next.size;
                let (client, to) = (client.clone(), self.place.updates.destination());
                coming.spawn(async move { (client.download_to(&next, to).await, next.size) });
            }
            let came = match until {
                Some(until) => tokio::time::timeout_at(until, coming.join_next()).await,
                None => Ok(coming.join_next().await),
            };
            match came {
                Err(_) => return Ok(Got::TooLate),
                Ok(None) => return Ok(pause.map_or(Got::All, Got::NotYet)),
                Ok(Some(came)) => {
                    let (came, size) = came.map_err(|_| ClientError::Panicked)?;
                    coming_bytes -= size;
                    match came {
                        Ok(weights) => drop(self.place.updates.keep(weights)?),
                        Err(error) => pause = Some(self.not_there(error, left)?),
                    }
                }
            }
        }
    }

    /// Says which updates can be had.
    async fn gather(&mut self, round: u64, updates: &[Model]) -> Result<Step, ClientError> {
        self.begin_merging(round);
        // Tried again, until it has to be said that they are not to be had.
        if let Got::NotYet(pause) = self.get_updates(&self.countable(updates)?).await? {
            return Ok(Step::Retry(pause));
        }
        let held = updates.iter().rev().fold(0, |held, update| {
            held << 1 | u64::from(self.place.updates.get(update.digest).is_some())
        });
        self.participant()?.gathered(round, held);
        Ok(Step::Again)
    }

    /// What there is of a round's updates that could count: what is larger would be void, and nobody need have it.
    fn countable(&self, updates: &[Model]) -> Result<Vec<Model>, ClientError> {
        let standing = self.participant.as_ref().and_then(Participant::standing);
        let base_bytes = standing.ok_or(ClientError::Panicked)?.model.size;
        let largest = colearn_merge::largest_update(base_bytes);
        Ok(updates.iter().filter(|update| update.size <= largest).cloned().collect())
    }

    /// What somebody lacks comes from whoever holds it.
    async fn bring_lacked(&mut self, task: &MergeTask) -> Result<(), ClientError> {
        for update in task.updates.iter().filter(|update| task.lacked.contains(&update.digest)) {
            let held = self.place.updates.weights(update.digest)?;
            self.bring_back(update, held.as_ref()).await?;
        }
        Ok(())
    }

    /// Merges a round's updates, or takes the merges that others have computed, and has the learner judge
    /// them.
    async fn merge(&mut self, task: MergeTask) -> Result<Step, ClientError> {
        let round = task.round;
        self.begin_merging(round);
        let mut there = Vec::new();
        for model in std::iter::once(&task.base).chain(&task.previous) {
            match self.fetch_in_time(model).await? {
                Fetched::Weights(weights) => there.push(weights),
                Fetched::Not(step) => return Ok(step),
            }
        }
        let base = there.first().filter(|_| task.score_base).cloned();
        let named = match (task.named, self.merged) {
            (Some(named), _) => named,
            (None, Some(merges)) if self.place.keeps(merges) => merges,
            (None, _) => {
                self.tell_bytes(&task);
                let updates = self.countable(&task.updates)?;
                let got = self.get_updates(&updates).await?;
                self.bring_lacked(&task).await?;
                match got {
                    Got::All => {
                        match self.compute(MergeTask { updates, ..task.clone() }, there).await {
                            Ok(merges) => merges,
                            Err(error) => {
                                let left = self.time_left()?;
                                let pause = self.not_there(error, left)?;
                                if left.is_some_and(|left| left.is_zero()) {
                                    self.participant()?.unavailable(salt)?;
                                    return Ok(Step::Again);
                                }
                                return Ok(Step::Retry(pause));
                            }
                        }
                    }
                    Got::NotYet(pause) => return Ok(Step::Retry(pause)),
                    Got::TooLate => {
                        tracing::warn!(round, "updates that were not to be had in time");
                        self.participant()?.unavailable(salt)?;
                        return Ok(Step::Again);
                    }
                }
            }
        };
        if task.rules.checkers > 0 && task.named.is_none() {
            self.show_merges(named).await?;
        }
        self.merged = Some(named);
        let mut merges = [None, None];
        for (merge, digest) in merges.iter_mut().zip([named.open, named.guarded]) {
            let Some(digest) = digest else { continue };
            match self.fetch_in_time(&Model { digest, ..task.base.clone() }).await? {
                Fetched::Weights(weights) => *merge = Some(weights),
                Fetched::Not(step) => return Ok(step),
            }
        }
        let [open, guarded] = merges;
        let judge = move |learner: &mut L, spending: &mut Spending| {
            let judged = Judged::by(learner, base.as_ref(), open.as_ref(), guarded.as_ref());
            judged.told(|weights, score| turn::cleared(learner, spending, round, weights, score))
        };
        let judged = self.work_on(round, Work::Merge, judge).await?;
        self.participant()?.judged(round, &judged, salt)?;
        Ok(Step::Again)
    }

    /// Merges what is here, on a thread of its own.
    async fn compute(
        &mut self,
        task: MergeTask,
        models: Vec<Weights>,
    ) -> Result<Merges, ClientError> {
        let updates = task.updates.iter().map(|update| self.place.updates.get(update.digest));
        // All of them are here: what is merged without one of them is something else.
        let updates: Vec<Held> = updates.collect::<Option<_>>().ok_or(ClientError::Panicked)?;
        let (dir, encryption) = (self.place.large.clone(), self.place.encryption.clone());
        let merge = move || {
            let mut models = models.iter().map(|model| model as &dyn Source);
            let empty: &[u8] = &[];
            let base = models.next().unwrap_or(&empty);
            let updates: Vec<&dyn Source> = updates.iter().map(|it| it as &dyn Source).collect();
            match encryption {
                Some(encryption) => encryption.merge(&task, base, models.next(), &updates),
                None => Merged::compute(&task, base, models.next(), &updates, dir.as_deref())
                    .map_err(MergeError::from),
            }
        };
        let merged = tokio::task::spawn_blocking(move || match threads::pool(usize::MAX) {
            Some(pool) => pool.install(merge),
            None => merge(),
        });
        let merged = merged.await.map_err(|_| ClientError::Panicked)?;
        let merged = merged.map_err(|error| match error {
            MergeError::NotOpened(error) => ClientError::Encrypted(error.into()),
            MergeError::Merge(error) => ClientError::merging(self.place.large.as_deref(), error),
        })?;
        let named = merged.named();
        self.place.keep([merged.open, merged.guarded].into_iter().flatten());
        Ok(named)
    }

    /// Others take the merges that this learner names, so they must be where those look for them.
    async fn show_merges(&mut self, merges: Merges) -> Result<(), ClientError> {
        let client = self.followed()?.client().clone();
        for digest in [merges.open, merges.guarded].into_iter().flatten() {
            let kept = self.place.kept.iter().find(|kept| kept.digest() == digest).cloned();
            if let Some(merge) = kept {
                client.upload(&merge).await?;
            }
        }
        Ok(())
    }

    /// Says once what merging costs here, if that is much.
    fn tell_bytes(&mut self, task: &MergeTask) {
        let bytes: u64 = task.updates.iter().map(|update| update.size).sum();
        if bytes > MANY_BYTES && !self.told_bytes {
            self.told_bytes = true;
            tracing::warn!(
                bytes,
                "all updates of a round are downloaded; with `checkers` only some members would need to, and \
                 with fewer `proposers` there would be fewer"
            );
        }
    }

    /// Has the learner judge a proposal.
    async fn score(&mut self, round: u64, proposed: &Model) -> Result<Step, ClientError> {
        let weights = match self.fetch_in_time(proposed).await? {
            Fetched::Weights(weights) => weights,
            Fetched::Not(step) => return Ok(step),
        };
        let test = move |learner: &mut L, spending: &mut Spending| {
            let score = learner.test(&weights)?;
            Ok(turn::cleared(learner, spending, round, weights.digest(), score))
        };
        let score = self.work_on(round, Work::Vote, test).await?;
        if let Err(error) = &score {
            tracing::warn!(round, %error, "voting against weights that cannot be scored");
        }
        self.participant()?.scored(round, proposed.digest, score, salt)?;
        Ok(Step::Again)
    }

    /// How long there is for what is owed; `None` without end.
    fn time_left(&mut self) -> Result<Option<Duration>, ClientError> {
        let deadline_ms = self.participant()?.deadline_ms();
        Ok(deadline_ms.map(|deadline_ms| self.in_time.left(deadline_ms)))
    }

    /// Whether the node could take what comes of training, of which nothing is known but that it is about
    /// as large as the model. What is to be done first, if not.
    async fn ask_for_room(&mut self, round: u64) -> Result<Option<Step>, ClientError> {
        let Some(model) = self.participant()?.standing().map(|it| it.model.clone()) else {
            return Ok(None);
        };
        let client = self.followed()?.client().clone();
        let there = client.stat(model.digest).await?;
        let Some(room) = there.room_bytes.filter(|room| *room < model.size) else {
            return Ok(None);
        };
        let reason = format!(
            "the node has room for {room} bytes, and the model has {}; who keeps it can give it more \
             (colearn node --artifact-quota)",
            model.size
        );
        let left = self.time_left()?;
        if left == Some(Duration::ZERO) {
            let failure =
                Failure { reason: colearn_contracts::Reason::Failed, source: reason.into() };
            self.participant()?.trained(round, Err(failure.into()), salt)?;
            return Ok(Some(Step::Again));
        }
        let pause = in_time::pause(left);
        self.tell(Event::Reconnecting { reason, pause });
        Ok(Some(Step::Retry(pause)))
    }

    /// Gets weights, and says so in the round if they are not to be had before it is too late.
    async fn fetch_in_time(&mut self, model: &Model) -> Result<Fetched, ClientError> {
        let left = self.time_left()?;
        let fetch = self.place.fetch(model);
        let fetched = match left {
            Some(left) => tokio::time::timeout(left, fetch).await,
            None => Ok(fetch.await),
        };
        match fetched {
            Ok(Ok(weights)) => Ok(Fetched::Weights(weights)),
            Ok(Err(error)) => Ok(Fetched::Not(Step::Retry(self.not_there(error, left)?))),
            Err(_) => {
                tracing::warn!(weights = %model.digest, "not to be had in time");
                self.participant()?.unavailable(salt)?;
                Ok(Fetched::Not(Step::Again))
            }
        }
    }

    /// The node has not got weights, or something else: others may bring them. After how long it is tried again.
    fn not_there(
        &mut self,
        error: ClientError,
        left: Option<Duration>,
    ) -> Result<Duration, ClientError> {
        // Newer keys may be here after a restart; the others do not wait for that.
        let may_come = matches!(
            error,
            ClientError::WrongArtifact(_) | ClientError::NoRoom { .. } | ClientError::Encrypted(_)
        ) || (matches!(error, ClientError::Refused { .. }) && !error.is_transient());
        if !may_come {
            return Err(error);
        }
        let pause = in_time::pause(left);
        let reason = error.to_string();
        self.tell(match error.is_a_lie() {
            true => Event::Distrusted { reason, pause },
            false => Event::Reconnecting { reason, pause },
        });
        Ok(pause)
    }

    /// Lets the learner work on a thread where that may take as long as it likes.
    async fn work<T: Send + 'static>(
        &mut self,
        task: impl FnOnce(&mut L, &mut Spending) -> T + Send + 'static,
    ) -> Result<T, ClientError> {
        let worked = self.lend(task)?.await;
        self.take_back(worked)
    }

    /// The same for what a round asks of it, which it is told of before. Where it would stop when the round moves on,
    /// the ledger is followed meanwhile.
    async fn work_on<T: Send + 'static>(
        &mut self,
        round: u64,
        work: Work,
        task: impl FnOnce(&mut L, &mut Spending) -> T + Send + 'static,
    ) -> Result<T, ClientError> {
        let deadline_ms = self.participant()?.deadline_ms();
        let standing = self.participant()?.standing().ok_or(ClientError::Panicked)?;
        let work = match (&standing.phase, work) {
            (participant::Phase::Training { .. }, Work::Propose) => Work::Update,
            _ => work,
        };
        let asked = Task::new(round, work, standing.model.digest, deadline_ms);
        let stops = self.learner.as_mut().is_some_and(|learner| learner.begin(&asked));
        let mut working = self.lend(task)?;
        if !stops {
            let worked = working.await;
            return self.take_back(worked);
        }
        let mut patience = Patience::new(self.place.options.patience);
        let mut wrong = None;
        let worked = loop {
            wrong = match wrong.take() {
                _ if asked.is_over() => break (&mut working).await,
                None => {
                    // The other nodes are not asked meanwhile: that cannot be broken off halfway.
                    let received = tokio::select! {
                        worked = &mut working => break worked,
                        received = self.place.followed()?.receive() => received,
                    };
                    // Whole, whatever becomes of the work: what was followed has to be shown.
                    match received {
                        Ok(sent) => self.observe(sent).await.err(),
                        Err(error) => Some(error),
                    }
                }
                Some(error) => {
                    self.others.begin_anew();
                    let paused = tokio::select! {
                        worked = &mut working => break worked,
                        paused = self.place.pause(&mut patience, error) => paused,
                    };
                    if let Err(fatal) = paused {
                        // It ends with that; what works for it need not go on.
                        asked.end();
                        let worked = working.await;
                        return self.take_back(worked).and(Err(fatal));
                    }
                    let synced = self.sync().await;
                    if synced.is_ok() {
                        patience.renew();
                    }
                    synced.err()
                }
            };
            let participant = self.participant()?;
            let now = participant.standing().map(|standing| standing.round);
            if now != Some(round) || participant.deadline_ms() != deadline_ms {
                asked.end();
            }
        };
        self.take_back(worked)
    }

    /// Has the learner do something on a thread of its own.
    fn lend<T: Send + 'static>(
        &mut self,
        task: impl FnOnce(&mut L, &mut Spending) -> T + Send + 'static,
    ) -> Result<JoinHandle<Lent<L, T>>, ClientError> {
        let mut learner = self.learner.take().ok_or(ClientError::Panicked)?;
        let mut spending = self.place.spending.take().ok_or(ClientError::Panicked)?;
        Ok(tokio::task::spawn_blocking(move || {
            let result = task(&mut learner, &mut spending);
            Lent { learner, spending, result }
        }))
    }

    fn take_back<T>(&mut self, worked: Result<Lent<L, T>, JoinError>) -> Result<T, ClientError> {
        let Lent { learner, spending, result } = worked.map_err(|_| ClientError::Panicked)?;
        (self.learner, self.place.spending) = (Some(learner), Some(spending));
        Ok(result)
    }
}

/// 32 random bytes for a sealed ballot.
fn salt() -> Result<[u8; 32], ClientError> {
    let mut salt = [0; 32];
    getrandom::fill(&mut salt).map(|()| salt).map_err(ClientError::Random)
}

/// A learner that comes back from its work, and what came of that.
struct Lent<L, T> {
    learner: L,
    spending: Spending,
    result: T,
}

/// What came of submitting something.
enum Sending {
    /// It is recorded.
    Recorded,
    /// It was refused, and by what has been recorded since it is not owed any more.
    Moot,
}

/// What came of getting weights.
enum Fetched {
    Weights(Weights),
    /// They are not to be had; what follows from that.
    Not(Step),
}

/// What came of getting the updates of a round.
enum Got {
    All,
    /// Some are not there; after so long they may be.
    NotYet(Duration),
    /// It has to be said now that some are not to be had.
    TooLate,
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
