//! Running a command for what happens in an experiment, for people who do not watch.

use std::io::Write as _;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use colearn_contracts::{Decision, LearnerId, Outcome};
use colearn_records::history::{History, Round};
use colearn_records::record::{DecodedEntry, Record};
use serde_json::{Value, json};

use crate::cli::tell::json as tell;
use crate::shell::{kill, shell};

/// How many commands may wait for their turn.
const WAITING: usize = 256;
/// A command that takes longer is ended.
const PATIENCE: Duration = Duration::from_secs(60);

/// What happens, as `COLEARN_EVENT` says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Event {
    /// The learner whose key was given is to train.
    MyTurn,
    /// It is to vote.
    MyVote,
    /// A round is over.
    Round,
    /// Members have not voted in it.
    Absent,
    Motion,
    MotionDecided,
    Suspended,
    Paused,
    Finished,
    /// The node has shown what cannot be, or is followed no more.
    Alarm,
}

impl Event {
    fn word(self) -> &'static str {
        match self {
            Self::MyTurn => "my-turn",
            Self::MyVote => "my-vote",
            Self::Round => "round",
            Self::Absent => "absent",
            Self::Motion => "motion",
            Self::MotionDecided => "motion-decided",
            Self::Suspended => "suspended",
            Self::Paused => "paused",
            Self::Finished => "finished",
            Self::Alarm => "alarm",
        }
    }
}

/// A command that is to be run.
struct Notice {
    event: Event,
    round: u64,
    told: Value,
}

/// Runs a command for each thing that happens, one after the other.
pub(super) struct Notices {
    mine: Option<LearnerId>,
    notices: SyncSender<Notice>,
    running: JoinHandle<()>,
}

impl Notices {
    pub(super) fn begin(
        command: String,
        experiment: String,
        mine: Option<LearnerId>,
    ) -> anyhow::Result<Self> {
        let (notices, asked) = sync_channel(WAITING);
        let running = std::thread::Builder::new()
            .name("exec".to_owned())
            .spawn(move || run_all(&command, &experiment, &asked))
            .context("no thread to run the command in")?;
        Ok(Self { mine, notices, running })
    }

    /// Something was recorded, which the history has already.
    pub(super) fn recorded(&self, entry: &DecodedEntry, history: &History) {
        let Record::Outcome(Outcome { what, .. }) = &entry.record else { return };
        // Motions are decided, and experiments end, before there is a first one, too.
        let round = history.rounds.last();
        let mine_votes = || {
            let both = self.mine.zip(round);
            both.is_some_and(|(mine, round)| votes(history, round, mine))
        };
        let event = match what {
            Decision::RoundOpened { proposer, .. } if self.mine == Some(*proposer) => Event::MyTurn,
            Decision::TrainingOpened { participants, .. }
                if self.mine.is_some_and(|mine| participants.contains(&mine)) =>
            {
                Event::MyTurn
            }
            Decision::VotingOpened { .. } | Decision::MergeVotingOpened { .. } if mine_votes() => {
                Event::MyVote
            }
            Decision::RoundClosed { .. } => {
                return round.map_or((), |round| self.closed(round, history));
            }
            Decision::MotionOpened { .. } => Event::Motion,
            Decision::MotionDecided { .. } => Event::MotionDecided,
            Decision::Suspended { .. } => Event::Suspended,
            Decision::Paused { .. } => Event::Paused,
            Decision::Finished { .. } => Event::Finished,
            _ => return,
        };
        self.send(event, round.map_or(0, |round| round.number), tell::happened(entry));
    }

    /// A round is over, and perhaps members have not voted in it.
    fn closed(&self, round: &Round, history: &History) {
        self.send(Event::Round, round.number, round.to_json());
        let could_vote = |who: &&LearnerId| votes(history, round, **who);
        let voted = |who: &&LearnerId| round.ballots.contains_key(*who);
        let absent = history.learners.iter().filter(could_vote).filter(|who| !voted(who));
        let absent: Vec<Value> = absent
            .map(|who| {
                let name = history.names.get(who).map(ToString::to_string);
                json!({ "learner": who.to_string(), "name": name })
            })
            .collect();
        if round.was_voted_on() && !absent.is_empty() {
            let told = json!({ "round": round.number, "absent": absent });
            self.send(Event::Absent, round.number, told);
        }
    }

    /// Something is wrong with the node, or with following it.
    pub(super) fn alarm(&self, history: &History, kind: &str, what: &str, remedy: &str) {
        let round = history.rounds.last().map_or(0, |round| round.number);
        self.send(Event::Alarm, round, json!({ "kind": kind, "what": what, "remedy": remedy }));
    }

    fn send(&self, event: Event, round: u64, told: Value) {
        match self.notices.try_send(Notice { event, round, told }) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(_)) => {
                let event = event.word();
                eprintln!("warning: {WAITING} commands wait to be run; none is for {event}");
            }
        }
    }

    /// Waits for the commands that are to be run still.
    pub(super) fn end(self) {
        drop(self.notices);
        // It has said what went wrong with each.
        let _ = self.running.join();
    }
}

/// Whether somebody could vote in a round.
fn votes(history: &History, round: &Round, who: LearnerId) -> bool {
    round.proposer != Some(who) && history.is_member(who, round.number)
}

fn run_all(command: &str, experiment: &str, asked: &Receiver<Notice>) {
    for notice in asked {
        if let Err(error) = run(command, experiment, &notice) {
            eprintln!("warning: {command}: {error:#}");
        }
    }
}

/// What others have written is in the input alone: nothing of it is part of the command.
fn run(command: &str, experiment: &str, notice: &Notice) -> anyhow::Result<()> {
    let mut child = shell(command)
        .env("COLEARN_EVENT", notice.event.word())
        .env("COLEARN_EXPERIMENT", experiment)
        .env("COLEARN_ROUND", notice.round.to_string())
        .stdin(Stdio::piped())
        // Standard output is what the watcher prints.
        .stdout(std::io::stderr())
        .spawn()
        .context("cannot be run")?;
    if let Some(mut input) = child.stdin.take() {
        let told = format!("{}\n", notice.told);
        // Beside the command, which need not read it: it ends with that.
        std::thread::spawn(move || drop(input.write_all(told.as_bytes())));
    }
    let began = std::time::Instant::now();
    loop {
        if let Some(ended) = child.try_wait().context("cannot be waited for")? {
            anyhow::ensure!(ended.success(), "ended with {ended}");
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            kill(&mut child).context("cannot be ended")?;
            anyhow::bail!("took longer than {} s and was ended", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
