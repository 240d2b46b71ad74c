//! What people read.

use std::collections::BTreeMap;

use colearn_audit::ChainReport;
use colearn_contracts::{
    Act, Action, Choice, Decision, Evaluation, FinishReason, Invitation, LearnerId, MemberName,
    MergeVote, Motion, Outcome, Parameters, PauseReason, Phase, PrivacyCap, Reason, Reveal, Scores,
    Tally, Update, Vote,
};
use colearn_learning::data::{Composition, Share, Target};
use colearn_proto::v1;
use colearn_records::convert::{ExperimentState, MotionState};
use colearn_records::history::{Evaluated, History, MotionResult, Moved, unit};
use colearn_records::pins::Pins;
use colearn_records::plan::Plan;
use colearn_records::record::{DecodedEntry, Record};
use colearn_records::words::{Word as _, Words as _};
use colearn_sdk::client::Event;

/// A number with three digits behind the point, or a dash.
pub(crate) fn score(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"))
}

/// The first eight digits of a key.
pub(crate) fn short(learner: LearnerId) -> String {
    learner.to_string()[..8].to_owned()
}

pub(super) fn scores(scores: Scores) -> String {
    let text = |name: &str, value: Option<i64>| match value {
        Some(value) => format!(" {name} {:.3}", unit(value)),
        None => String::new(),
    };
    text("vote score", scores.vote) + &text("test score", scores.test)
}

/// What a motion is to do.
pub(crate) fn motion(motion: &Motion) -> String {
    match motion {
        Motion::SetParameters(parameters) => {
            let rules = rules_alone(parameters).to_text();
            format!("set {}", rules.trim_end().replace('\n', ", "))
        }
        Motion::Admit(Invitation { learner, weight, judge, name }) => {
            let name = name.as_ref().map_or_else(String::new, |name| format!(" ({name})"));
            let judge = if *judge { ", as a judge" } else { "" };
            format!("admit {learner}{name} with weight {weight}{judge}")
        }
        Motion::Suspend(learner) => format!("suspend {learner}"),
        Motion::Expel(learner) => format!("expel {learner}"),
        Motion::Stop => "stop".to_owned(),
        Motion::Adopt(version) => format!("adopt version {version} of the rules"),
    }
}

/// What a motion is to change about these rules.
pub(crate) fn motion_against(rules: Option<&Parameters>, motion: &Motion) -> String {
    let (Motion::SetParameters(new), Some(rules)) = (motion, rules) else {
        return self::motion(motion);
    };
    let difference = rules_alone(rules).difference(&rules_alone(new));
    let lines = |sign: &str| -> Vec<&str> {
        difference.iter().filter_map(|line| line.strip_prefix(sign)).collect()
    };
    let key = |line: &str| line.split(" = ").next().map(str::to_owned);
    let (gone, new) = (lines("- "), lines("+ "));
    let unset = gone.iter().filter(|gone| !new.iter().any(|new| key(new) == key(gone)));
    let unset = unset.map(|line| format!("no {}", key(line).unwrap_or_default()));
    let set = new.iter().map(|new| match gone.iter().find(|gone| key(gone) == key(new)) {
        Some(gone) => {
            format!("{new} (was {})", gone.split_once(" = ").map_or(*gone, |(_, value)| value))
        }
        None => (*new).to_owned(),
    });
    let changes: Vec<String> = set.chain(unset).collect();
    match changes.is_empty() {
        true => "leave the rules as they are".to_owned(),
        false => format!("set {}", changes.join(", ")),
    }
}

fn rules_alone(parameters: &Parameters) -> Plan {
    Plan {
        name: None,
        parameters: parameters.clone(),
        limits_weights: true,
        admission: None,
        agreements: Vec::new(),
        terms: None,
        pins: Pins::default(),
    }
}

/// A decision of the contract.
pub(crate) fn outcome(outcome: &Outcome, names: &Names) -> String {
    let experiment = &outcome.experiment;
    match &outcome.what {
        Decision::RoundOpened { round, proposer, .. } => {
            format!("{experiment} round {round} opened, proposer {}", who(names, *proposer))
        }
        Decision::VotingOpened { round, electorate, .. } => {
            format!("{experiment} round {round}: {electorate} may vote")
        }
        Decision::RevealOpened { round, committed, .. } => {
            format!("{experiment} round {round}: {committed} may reveal")
        }
        Decision::RoundClosed {
            round,
            verdict,
            approvals,
            rejections,
            abstentions,
            unavailable,
            electorate,
            ..
        } => format!(
            "{experiment} round {round} {}: {approvals} for, {rejections} against{}, of {electorate}",
            verdict.word(),
            abstained(*abstentions, *unavailable)
        ),
        Decision::Waiting { members, min_learners } => {
            format!("{experiment} waits: {members} of {min_learners} members")
        }
        Decision::Paused { reason } => format!(
            "{experiment} pauses: {}",
            match reason {
                PauseReason::NobodyProposes => "nobody has proposed for too long",
                PauseReason::BudgetsSpent => "every member's privacy budget is spent",
                PauseReason::OnlyJudges => "only judges are there",
            }
        ),
        Decision::Suspended { learner, reason } => {
            format!("{experiment}: {} {}", who(names, *learner), reason.meaning())
        }
        Decision::MotionOpened { number, electorate, .. } => {
            format!("{experiment} motion {number}: {electorate} may vote")
        }
        Decision::MotionDecided { number, adopted, approvals, rejections, electorate } => format!(
            "{experiment} motion {number} {}: {approvals} for, {rejections} against, of {electorate}",
            if *adopted { "adopted" } else { "rejected" }
        ),
        Decision::MotionTookEffect { number } => {
            format!("{experiment} motion {number} is in effect")
        }
        Decision::Finished { reason, rounds, model } => {
            format!("{experiment} finished ({}) after {rounds} rounds: {model}", reason.word())
        }
        Decision::TrainingOpened { round, participants, checkers, .. } => {
            let checkers = match checkers.len() {
                0 => String::new(),
                count => format!(", {count} check"),
            };
            format!("{experiment} round {round} opened, {} train{checkers}", participants.len())
        }
        Decision::GatheringOpened { round, updates, .. } => {
            format!("{experiment} round {round}: {} updates, who holds them?", updates.len())
        }
        Decision::MergeVotingOpened { round, updates, electorate, .. } => {
            let count = updates.len();
            format!("{experiment} round {round}: {count} updates are merged, {electorate} may vote")
        }
        Decision::MergeDecided {
            round,
            agreed,
            named,
            bear_open,
            bear_guarded,
            prefer_guarded,
            accepted,
        } => match agreed {
            None => format!(
                "{experiment} round {round}: no agreement on the merges, {named} name the same at most"
            ),
            Some(agreed) => {
                let guarded = match agreed.guarded {
                    Some(_) => {
                        format!(", {bear_guarded} the guarded one, {prefer_guarded} prefer that")
                    }
                    None => String::new(),
                };
                let accepted = accepted.map_or("neither", |which| which.word());
                format!(
                    "{experiment} round {round}: {named} name the merges, {bear_open} can bear the \
                    open one{guarded}: {accepted}"
                )
            }
        },
    }
}

/// An entry on one line.
pub(crate) fn entry(decoded: &DecodedEntry) -> String {
    let what = match &decoded.record {
        Record::Genesis(genesis) => format!("genesis      {}", genesis.origin),
        Record::KeyRotation(rotation) => {
            let [from, to] = [&rotation.old_public_key, &rotation.new_public_key].map(hex::encode);
            format!("node         changes its key from {from} to {to}")
        }
        Record::Upgrade(upgrade) => {
            let version = upgrade.contract_version;
            format!("node         has new experiments follow version {version} of the rules")
        }
        Record::Block(block) => {
            let caught = match block.misbehavior.len() {
                0 => String::new(),
                caught => format!("; {caught} caught misbehaving"),
            };
            format!("nodes        end block {}{caught}", block.height)
        }
        Record::ValidatorChange(change) => format!("nodes        {}", validator_change(change)),
        Record::Transaction(transaction) => {
            format!("{}     {}", short(transaction.sender), action(&transaction.action))
        }
        Record::Outcome(outcome) => {
            format!("contract     {}", self::outcome(outcome, &Names::new()))
        }
    };
    format!(
        "{:>8}  {}  {what}",
        decoded.index,
        humantime::format_rfc3339_millis(time(decoded.time_ms))
    )
}

/// What changes who keeps a ledger, and who approves it.
fn validator_change(change: &v1::ValidatorChange) -> String {
    use v1::validator_change::Change;

    let what = match &change.change {
        Some(Change::Admit(new)) => format!("let {} keep the ledger with them", new.name),
        Some(Change::Remove(name)) => format!("keep the ledger without {name}"),
        Some(Change::Update(new)) => {
            format!("know {} under another address or other keys", new.name)
        }
        Some(Change::Found(founding)) => {
            let names: Vec<_> = founding.validators.iter().map(|it| it.name.as_str()).collect();
            format!("keep the ledger together from here on: {}", names.join(", "))
        }
        Some(Change::Rules(rules)) => {
            format!("have new experiments follow version {} of the rules", rules.contract_version)
        }
        None => "change nothing that is known here".to_owned(),
    };
    format!("{what} ({} approve)", change.approvals.len())
}

fn time(time_ms: u64) -> std::time::SystemTime {
    std::time::UNIX_EPOCH + std::time::Duration::from_millis(time_ms.min(i64::MAX as u64 / 1000))
}

/// A time in ms since 1970, in UTC.
pub(crate) fn utc(ms: u64) -> String {
    // Later is none that a ledger can name.
    let at = time(ms.min(colearn_contracts::MAX_TIME_MS));
    humantime::format_rfc3339_seconds(at).to_string().replace('T', " ")
}

/// Who keeps a ledger that a contract on a public chain keeps; and what the chain is known to prove of it.
pub(crate) fn kept_on_chain(chain: &ChainReport) -> (String, String) {
    let ChainReport { id, contract, proven, total, height, time_ms } = chain;
    let more = match total.saturating_sub(*proven) {
        0 => String::new(),
        more => format!("; {more} more are there, which this copy does not have yet"),
    };
    let proof = match proven {
        0 => "not proven: that its root is the chain's is the word of who shows or has kept this copy; --trust LINE, with the \
              address of a node that mirrors it, has it proven, and audit --chain chain.toml"
            .to_owned(),
        proven => format!(
            "root of {proven} entries proven by the chain {id} at height {height}, of {}{more}",
            utc(*time_ms)
        ),
    };
    (format!("kept by the contract {contract} on the chain {id}"), proof)
}

/// What a learner did, and which.
pub(crate) fn entry_action(sender: LearnerId, action: &Action) -> String {
    format!("{} {}", short(sender), self::action(action))
}

/// What a learner did.
fn action(action: &Action) -> String {
    let experiment = &action.experiment;
    match &action.what {
        Act::Create(create) => {
            format!("creates {experiment} with model {}", create.model.digest)
        }
        Act::Join(join) => match &join.name {
            Some(name) => format!("joins {experiment} as {name}"),
            None => format!("joins {experiment}"),
        },
        Act::Leave { renounce: false, .. } => format!("leaves {experiment}"),
        Act::Leave { renounce: true, .. } => format!("leaves {experiment} for good"),
        Act::Propose(proposal) => format!(
            "proposes in {experiment} round {}: {}{}",
            proposal.round,
            proposal.weights.digest,
            scores(proposal.scores)
        ),
        Act::Pass { round, exhausted, reason } => format!(
            "passes {experiment} round {round}{}{}",
            if *exhausted { ", its privacy budget is spent" } else { "" },
            because(*reason)
        ),
        Act::Commit(commit) => {
            format!("commits to a ballot in {experiment} round {}", commit.round)
        }
        Act::Reveal(Reveal { vote, .. }) => format!(
            "reveals that it {} in {experiment} round {}{}",
            chooses(vote.choice),
            vote.round,
            measured_and_why(vote)
        ),
        Act::Resume { .. } => format!("resumes {experiment}"),
        Act::ReplaceKey { to } => {
            format!("goes on as {} in {experiment}", short(*to))
        }
        Act::Move { number, motion } => {
            format!("moves in {experiment}, motion {number}: {}", self::motion(motion))
        }
        Act::MotionVote { number, approve } => {
            let word = if *approve { "approves" } else { "rejects" };
            format!("{word} motion {number} in {experiment}")
        }
        Act::Vote(vote) => format!(
            "{} in {experiment} round {}{}",
            chooses(vote.choice),
            vote.round,
            measured_and_why(vote)
        ),
        Act::Stop => format!("stops {experiment}"),
        Act::Evaluate(Evaluation { model, measures, .. }) => {
            let measured: Vec<String> = measures
                .iter()
                .map(|it| format!("{} {}", it.name, unit(it.value_micros)))
                .collect();
            format!("measures in {experiment}: {model} has {}", measured.join(", "))
        }
        Act::Update(update) => {
            format!("trains in {experiment} round {}: {}", update.round, trained(update))
        }
        Act::CommitUpdate(commit) => {
            format!("commits to an update in {experiment} round {}", commit.round)
        }
        Act::RevealUpdate(reveal) => format!(
            "reveals what it has trained in {experiment} round {}: {}",
            reveal.update.round,
            trained(&reveal.update)
        ),
        Act::Have { round, held } => {
            format!("holds {} updates in {experiment} round {round}", held.count_ones())
        }
        Act::MergeVote(vote) => {
            format!("{} in {experiment} round {}{}", judges(vote), vote.round, judged(vote))
        }
        Act::RevealMergeVote(reveal) => format!(
            "reveals that it {} in {experiment} round {}{}",
            judges(&reveal.vote),
            reveal.vote.round,
            judged(&reveal.vote)
        ),
    }
}

fn trained(update: &Update) -> String {
    format!("{}{}", update.weights.digest, scores(update.scores))
}

/// What somebody thinks of the merges of a round.
pub(super) fn judges(vote: &MergeVote) -> &'static str {
    if vote.is_abstention() {
        return "abstains";
    }
    match (vote.bear_open, vote.bear_guarded, vote.prefer_guarded) {
        (false, false, _) => "can bear neither merge",
        (true, false, _) => "can bear the open merge",
        (false, true, _) => "can bear the guarded merge",
        (true, true, false) => "can bear both merges",
        (true, true, true) => "can bear both merges and prefers the guarded one",
    }
}

pub(super) fn judged(vote: &MergeVote) -> String {
    let merge = |name: &str, measured: Scores| match scores(measured) {
        nothing if nothing.is_empty() => nothing,
        measured => format!(", {name}:{measured}"),
    };
    let measured = [merge("open", vote.scores_open), merge("guarded", vote.scores_guarded)];
    measured.concat() + &because(vote.reason)
}

fn chooses(choice: Choice) -> &'static str {
    match choice {
        Choice::Approve => "approves",
        Choice::Reject => "rejects",
        Choice::Abstain => "abstains",
    }
}

fn measured_and_why(vote: &Vote) -> String {
    scores(vote.scores) + &because(vote.reason)
}

/// Why somebody passed, voted against or abstained.
pub(super) fn because(reason: Option<Reason>) -> String {
    reason.map_or_else(String::new, |reason| format!(" because {}", reason.meaning()))
}

/// How many voted for neither.
fn abstained(abstentions: u32, unavailable: u32) -> String {
    match (abstentions, unavailable) {
        (0, _) => String::new(),
        (_, 0) => format!(", {abstentions} abstained"),
        _ => format!(", {abstentions} abstained ({unavailable} could not get the weights)"),
    }
}

/// Where an experiment stands, in a few words.
pub(crate) fn phase(phase: &Phase) -> String {
    match phase {
        Phase::Waiting => "waiting for members".to_owned(),
        Phase::Paused(reason) => format!("paused: {}", reason.meaning()),
        Phase::Merged(round) => format!("merged round: {}", round.stage.word()),
        Phase::Proposing { .. } | Phase::Voting { .. } | Phase::Finished(_) => {
            phase.word().to_owned()
        }
    }
}

/// That an experiment has ended, and why.
pub(crate) fn finished(reason: FinishReason) -> String {
    format!("finished: {}", reason.word())
}

/// The plan that an experiment follows.
pub fn plan_of(experiment: &ExperimentState) -> Plan {
    Plan {
        name: Some(experiment.name.clone()),
        parameters: experiment.parameters.clone(),
        limits_weights: true,
        admission: Some(experiment.admission.clone()),
        agreements: Vec::new(),
        terms: Some(experiment.terms),
        pins: Pins::default(),
    }
}

/// A motion, and how the votes on it stand, or what became of it.
pub(crate) fn moved(moved: &Moved, open: Option<&MotionState>, names: &Names) -> String {
    let Moved { number, mover, motion, rules, votes: _, decided, in_effect } = moved;
    let (what, mover) = (motion_against(rules.as_deref(), motion), who(names, *mover));
    let stands = match (decided, open) {
        (Some(MotionResult { adopted, approvals, rejections, electorate }), _) => {
            let word = match (adopted, in_effect) {
                (true, true) => "adopted",
                (true, false) => "adopted, in effect once the round is over",
                (false, _) => "rejected",
            };
            format!("{word}: {approvals} for, {rejections} against, of {electorate}")
        }
        (None, Some(MotionState { tally, threshold, .. })) => {
            let Tally { approvals, rejections, electorate, .. } = tally;
            format!("{approvals} for, {rejections} against, of {electorate} (needs {threshold})")
        }
        (None, None) => "lapsed".to_owned(),
    };
    format!("{number} by {mover}: {what}; {stands}")
}

fn measured(scores: Scores) -> String {
    let text = |value: Option<i64>| value.map_or("-".to_owned(), |v| format!("{:.3}", unit(v)));
    format!("vote score {}, test score {}", text(scores.vote), text(scores.test))
}

/// What happens to a running learner, on one line.
pub fn event(event: &Event) -> String {
    match event {
        Event::Policy { digest, data, unprotected } => {
            let told = format!("keeping to the site's policy {digest} on {data}");
            match unprotected {
                0 => told,
                many => format!(
                    "{told}; {many} trainings on it have left without differential privacy, so no epsilon \
                     bounds what they reveal"
                ),
            }
        }
        Event::Connected { url } => format!("connected to {url}"),
        Event::Trusting { size } => {
            format!("trusting a checkpoint: who signed the first {size} entries is not checked")
        }
        Event::Following { followed, size } => format!("followed {followed} of {size} entries"),
        Event::Joined => "joined".to_owned(),
        Event::Left => "you have left".to_owned(),
        Event::MyTurn { round } => format!("round {round}: my turn, training"),
        Event::Proposed { round, scores } => {
            format!("round {round}: proposed, {}", measured(*scores))
        }
        Event::Updated { round, scores } => {
            format!("round {round}: sent an update, {}", measured(*scores))
        }
        Event::UpdateCommitted { round } => {
            format!("round {round}: committed to a sealed update")
        }
        Event::Passed { round, reason: None } => format!("round {round}: passed"),
        Event::Passed { round, reason: Some(reason) } => {
            format!("round {round}: passed, because: {reason}")
        }
        Event::Voted { round, choice, reason, scores } => {
            let word = match choice {
                Choice::Approve => "approved",
                Choice::Reject => "rejected",
                Choice::Abstain => "abstained",
            };
            format!("round {round}: {word}{}, {}", because(*reason), measured(*scores))
        }
        Event::Judged { round, vote } => format!("round {round}: {}{}", judges(vote), judged(vote)),
        Event::Merged { round, accepted: Some(merge) } => {
            format!("round {round}: the {} merge is taken", merge.word())
        }
        Event::Merged { round, accepted: None } => format!("round {round}: no merge is taken"),
        Event::RoundClosed {
            round,
            verdict,
            approvals,
            rejections,
            abstentions,
            unavailable,
            electorate,
        } => format!(
            "round {round}: {} with {approvals} for, {rejections} against{}, of {electorate}",
            verdict.word(),
            abstained(*abstentions, *unavailable)
        ),
        Event::Waiting { members, min_learners } => {
            format!("waiting for members: {members} of {min_learners}")
        }
        Event::Committed { round } => format!("round {round}: committed to a sealed vote"),
        Event::Paused { reason } => format!("paused: {}", reason.meaning()),
        Event::Resumed => "resumed".to_owned(),
        Event::Suspended { reason } => format!("suspended: {}", reason.word()),
        Event::MotionOpened { number } => format!(
            "motion {number} is open; see: colearn experiment show, and vote: colearn experiment ballot"
        ),
        Event::TooLate { reason } => format!("too late: {reason}"),
        Event::Reconnecting { reason, pause } => {
            format!("{reason}; trying again in {} ms", pause.as_millis())
        }
        Event::Moved { from, to, reason } => format!("going on at {to}, not at {from}: {reason}"),
        Event::Distrusted { reason, pause } => {
            format!("NOT BELIEVED: {reason}; trying again in {} ms", pause.as_millis())
        }
        Event::Finished { reason } => finished(*reason),
    }
}

/// A table of what every learner did.
pub(crate) fn learner_table(history: &History) -> String {
    let mut text = format!(
        "learner                {:<9}       votes                 last scores\n\
         number  key         accepted  other   for  against  absent    vote    test  votes in  name\n",
        sent(history)
    );
    for (at, learner) in history.learners.iter().enumerate() {
        let totals = history.totals_of(*learner);
        text += &format!(
            "{:>6}  {:<10}  {:>8}  {:>5}  {:>4}  {:>7}  {:>6}  {:>6}  {:>6}  {:>8}  {}\n",
            at + 1,
            short(*learner),
            totals.accepted,
            totals.rejected + totals.missed_turns,
            totals.approvals,
            totals.rejections,
            totals.missed_votes,
            score(totals.last_vote_score),
            score(totals.last_test_score),
            took(totals.mean_vote_ms),
            history.names.get(learner).map_or("", |name| name.as_str())
        );
        // Who has no name leaves no spaces behind.
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// How long something took, in the unit that suits it.
fn took(ms: Option<u64>) -> String {
    match ms {
        None => "-".to_owned(),
        Some(ms @ 0..1000) => format!("{ms}ms"),
        Some(ms @ 1000..120_000) => format!("{:.1}s", ms as f64 / 1e3),
        Some(ms @ 120_000..7_200_000) => format!("{:.0}min", ms as f64 / 6e4),
        Some(ms) => format!("{:.1}h", ms as f64 / 3.6e6),
    }
}

/// What learners send in their turns.
fn sent(history: &History) -> &'static str {
    let merged = history.rounds.iter().filter(|round| round.merged.is_some()).count();
    match merged {
        0 => "proposals",
        _ if merged == history.rounds.len() => "updates",
        _ => "sent",
    }
}

/// What members have measured of models on their own data.
pub(crate) fn evaluation_table(history: &History) -> String {
    let mut text =
        String::from("evaluations\nround  learner                         model     measured\n");
    for Evaluated { learner, round, evaluation } in &history.evaluations {
        let measures = evaluation.measures.iter();
        let measures: Vec<String> =
            measures.map(|it| format!("{} {}", it.name, unit(it.value_micros))).collect();
        text += &format!(
            "{round:>5}  {:<30}  {:.8}  {}\n",
            who(&history.names, *learner),
            evaluation.model.to_string(),
            measures.join(", ")
        );
    }
    text
}

/// What learners are called.
pub(crate) type Names = BTreeMap<LearnerId, MemberName>;

/// A learner by its name, if it has one, and its key, shortened: a name is whatever somebody calls itself.
pub(crate) fn who(names: &Names, learner: LearnerId) -> String {
    match names.get(&learner) {
        Some(name) => format!("{name} ({})", short(learner)),
        None => short(learner),
    }
}

/// What each learner has stated of its privacy budget.
pub(crate) fn privacy_table(history: &History, cap: Option<PrivacyCap>) -> String {
    let micros = |value: u64| value as f64 / 1e6;
    let mut text = match cap {
        Some(cap) => format!(
            "cap: epsilon {} at delta {:e}\n",
            micros(cap.epsilon_micros),
            cap.delta_picos as f64 / 1e12
        ),
        None => "no cap\n".to_owned(),
    };
    text += &format!(
        "learner                {:>9}  epsilon     delta   left  noise   clip  sampling  steps\n",
        sent(history)
    );
    for (at, learner) in history.learners.iter().enumerate() {
        let privacy = history.privacy.get(learner).cloned().unwrap_or_default();
        let name = format!("{:>6}  {:<10}", at + 1, short(*learner));
        let Some(spent) = privacy.spent else {
            text += &format!("{name}  {:>12}  nothing stated\n", privacy.proposals);
            continue;
        };
        let left = match cap {
            _ if privacy.exhausted => "spent".to_owned(),
            Some(cap) => {
                let left = cap.epsilon_micros.saturating_sub(spent.epsilon_micros);
                format!("{:.0} %", 100.0 * left as f64 / cap.epsilon_micros as f64)
            }
            None => "-".to_owned(),
        };
        // One line for each setting; what they reveal together is told with the first.
        let mut told = format!(
            "{name}  {:>12}  {:>7.3}  {:>8.1e}  {left:>5}",
            privacy.proposals,
            micros(spent.epsilon_micros),
            spent.delta_picos as f64 / 1e12,
        );
        let width = told.len();
        for segment in spent.segments() {
            text += &format!(
                "{told:width$}  {:>5.2}  {:>5.2}  {:>8.4}  {:>5}\n",
                micros(segment.noise_micros),
                micros(segment.clip_micros),
                segment.sampling_nanos as f64 / 1e9,
                segment.steps
            );
            told.clear();
        }
    }
    text
}

/// Who has what: a table.
pub(crate) fn split_table(shares: &[Share]) -> String {
    const MOST_CLASSES: usize = 12;
    let Some(first) = shares.first() else { return String::new() };
    let target = &first.data.schema.target;
    let mut text = "learner  train   vote   test  ".to_owned();
    let classes = target.classes();
    match target {
        Target::Class { .. } => {
            for class in classes.iter().take(MOST_CLASSES) {
                text += &format!("{class:>6.6}");
            }
            if classes.len() > MOST_CLASSES {
                text += "   ...";
            }
        }
        Target::Number { name, .. } => text += &format!("mean {name} (scaled)"),
    }
    text.push('\n');
    for (at, share) in shares.iter().enumerate() {
        let (train, vote, test) = (share.train.len(), share.vote.len(), share.test.len());
        text += &format!("{:>7}  {train:>5}  {vote:>5}  {test:>5}  ", at + 1);
        let own: Vec<usize> = share.train.iter().chain(&share.vote).copied().collect();
        match share.data.composition(&own) {
            Composition::Classes(counts) => {
                for count in counts.iter().take(MOST_CLASSES) {
                    text += &format!("{count:>6}");
                }
            }
            Composition::Mean(mean) => text += &format!("{mean:.3}"),
        }
        text.push('\n');
    }
    text
}
