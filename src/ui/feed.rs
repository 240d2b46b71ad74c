//! What brings verified entries to the page: a node's ledger as it is followed, or a folder that is audited.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use colearn_audit as audit;
use colearn_audit::AuditOptions;
use colearn_records::pins::Pins;
use colearn_sdk::client::{ClientError, Patience, Watching};
use indicatif::ProgressBar;

use super::view::{Alarm, Connection, Place, Shared, Told, View, now_ms};

/// How long new entries are waited for, before it is looked at what else may be new. Longer than the client
/// waits for any answer, or it would never notice that none comes.
const QUIET: Duration = Duration::from_secs(75);
/// The same while witnesses have not cosigned all that there is.
const WITNESSES: Duration = Duration::from_secs(3);

/// Why a feed ends.
enum End {
    /// The node, or the way to it.
    Client(ClientError),
    /// This machine.
    Own(anyhow::Error),
}

impl From<ClientError> for End {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

/// What was followed so far, entry by entry.
///
/// # Errors
/// If the node does not send it again, or it cannot be kept.
pub(crate) async fn fill(
    watching: &mut Watching,
    told: Told,
    bar: &ProgressBar,
) -> anyhow::Result<View> {
    let mut view = View::new(told)?;
    bar.set_length(watching.followed().size());
    loop {
        let entries = watching.past(view.book.size()).await?;
        if entries.is_empty() {
            break;
        }
        view.take(&entries)?;
        bar.set_position(view.book.size());
    }
    view.told.checkpoint = watching.followed().checkpoint().to_owned();
    view.told.proven = watching.followed().proven();
    view.told.witnesses = watching.witnessed().await?;
    Ok(view)
}

/// Keeps the view at the end of the node's ledger, whatever happens to the node. Ends where trying again does
/// not help; what the view says then, it says for good.
pub(crate) async fn follow(mut watching: Watching, shared: Arc<Shared>) {
    let mut patience = Patience::new(None);
    loop {
        let error = match live(&mut watching, &shared).await {
            End::Client(error) => error,
            End::Own(error) => {
                return shared.change(|view| {
                    view.told.alarm = Some(stopped(&error));
                    ended(view);
                });
            }
        };
        let mut error = Some(error);
        while let Some(wrong) = error.take() {
            shared.change(|view| troubled(view, &wrong));
            let Ok((reason, pause)) = patience.pause_after(wrong) else {
                return shared.change(ended);
            };
            tracing::info!(reason, "waiting for the node");
            tokio::time::sleep(pause).await;
            error = watching.recover().await.err();
        }
        patience.renew();
    }
}

/// Takes what comes, until something goes wrong.
async fn live(watching: &mut Watching, shared: &Shared) -> End {
    loop {
        if let Err(end) = catch_up(watching, shared).await {
            return end;
        }
        let followed = watching.followed().size();
        let behind = shared.read().told.witnesses.iter().any(|(_, size)| *size < followed);
        match watching.next(if behind { WITNESSES } else { QUIET }).await {
            Ok(entries) => {
                let next = watching.followed().size() - entries.len() as u64;
                if entries.is_empty() || shared.read().book.size() != next {
                    // What was followed otherwise is fetched again.
                    continue;
                }
                if let Err(error) = take(watching, shared, &entries) {
                    return End::Own(error);
                }
            }
            Err(error) => return error.into(),
        }
    }
}

/// Gets what was followed and is not shown yet, and what witnesses have cosigned.
async fn catch_up(watching: &mut Watching, shared: &Shared) -> Result<(), End> {
    loop {
        let next = shared.read().book.size();
        let entries = watching.past(next).await?;
        if entries.is_empty() {
            break;
        }
        take(watching, shared, &entries).map_err(End::Own)?;
    }
    let witnesses = watching.witnessed().await?;
    let url = watching.followed().client().url().to_owned();
    let proven = watching.followed().proven();
    let is_news = {
        let view = shared.read();
        let told = &view.told;
        let is_calm = matches!(told.connection, Connection::Live) && told.alarm.is_none();
        let is_there = matches!(&told.place, Place::Node(at) if *at == url);
        told.witnesses != witnesses || told.proven != proven || !is_calm || !is_there
    };
    if is_news {
        shared.change(|view| {
            view.told.witnesses = witnesses;
            view.told.proven = proven;
            view.told.place = Place::Node(url);
            (view.told.connection, view.told.alarm) = (Connection::Live, None);
        });
    }
    Ok(())
}

fn take(watching: &Watching, shared: &Shared, entries: &[Bytes]) -> anyhow::Result<()> {
    let checkpoint = watching.followed().checkpoint().to_owned();
    let proven = watching.followed().proven();
    shared.change(|view| {
        view.take(entries)?;
        view.told.checkpoint = checkpoint;
        view.told.proven = proven;
        Ok(())
    })
}

/// Nothing is followed any more.
pub(super) fn ended(view: &mut View) {
    let since_ms = match view.told.connection {
        Connection::Away { since_ms, .. } | Connection::Ended { since_ms } => since_ms,
        Connection::Live | Connection::Reading { .. } | Connection::Read { .. } => now_ms(),
    };
    view.told.connection = Connection::Ended { since_ms };
}

/// The node is not reached, or shows what it should not.
fn troubled(view: &mut View, error: &ClientError) {
    let since = match view.told.connection {
        Connection::Away { since_ms, .. } | Connection::Ended { since_ms } => since_ms,
        Connection::Live | Connection::Reading { .. } | Connection::Read { .. } => now_ms(),
    };
    let reason = error.to_string();
    let alarm = alarm(error, since);
    // Who was caught is not forgiven because it has gone away since, nor because it says something else that is wrong
    // and less bad.
    let known = view.told.alarm.as_ref();
    let is_worse = |new: &Alarm| new.withdraws || known.is_none_or(|known| !known.withdraws);
    if alarm.as_ref().map_or(known.is_none(), is_worse) {
        view.told.alarm = alarm;
    }
    view.told.connection = Connection::Away { since_ms: since, reason };
}

/// What is to be said of an error that is more than a node that is away.
pub(crate) fn alarm(error: &ClientError, since_ms: u64) -> Option<Alarm> {
    let (kind, remedy, withdraws) = match error {
        ClientError::Fork(..) => (
            "fork",
            "Stop trusting this ledger. Keep the evidence, compare checkpoints with the other members, and ask \
             whoever keeps the ledger to explain both histories.",
            true,
        ),
        ClientError::Departed { .. } => (
            "broken_rules",
            "Stop trusting this ledger, and run colearn audit on it: the entry proves what its key has signed.",
            true,
        ),
        ClientError::OnChain(error, _) if error.ends_trust() => (
            "broken_rules",
            "Stop trusting this ledger. Keep the evidence, and compare with the other members what the chain shows them.",
            true,
        ),
        ClientError::RolledBack { .. } => (
            "rolled_back",
            "Ask whoever keeps the node whether it was put back to an older copy, and compare with the other \
             members. Until the node shows again what it had, rely on nothing that is decided there.",
            true,
        ),
        ClientError::OtherLedger { .. } | ClientError::Unpinned(_) => (
            "other_ledger",
            "Check the node's address, --ledger and --verifier-key; ask whoever keeps the ledger which is right.",
            true,
        ),
        ClientError::NoNode(each) => {
            return match error.is_a_lie() {
                true => each.iter().find_map(|(_, error)| alarm(error, since_ms)),
                false => None,
            };
        }
        error if error.is_a_lie() => (
            "not_proven",
            "Nothing of it was believed, and what is shown here was verified before. If it goes on, ask whoever \
             keeps the node, and whoever runs what stands between it and you.",
            false,
        ),
        // What does not pass, and is nobody's lie: the key's folder, the node's refusal.
        error if !error.is_transient() => (
            "stopped",
            "Nothing new is followed. Mend what is said here, and start this program again.",
            false,
        ),
        _ => return None,
    };
    Some(Alarm { kind, since_ms, what: error.to_string(), remedy, withdraws })
}

/// Following has ended, and why.
pub(crate) fn stopped(error: &anyhow::Error) -> Alarm {
    Alarm {
        kind: "stopped",
        since_ms: now_ms(),
        what: format!("{error:#}"),
        remedy: "Nothing new is followed. Mend what is said here, and start this program again.",
        withdraws: false,
    }
}

/// Audits a folder, and reads its entries. What the audit finds wrong is shown, and what is read then ends
/// there.
///
/// # Errors
/// If there is no ledger, or it cannot be read.
pub(crate) fn read(place: &str, pins: Pins, bar: &ProgressBar) -> anyhow::Result<View> {
    let progress = |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let options = AuditOptions { pins: pins.clone(), ..AuditOptions::default() };
    let options = AuditOptions { progress: Some(&progress), ..options };
    let report = audit::audit(&mut *audit::open(place)?, options)?;
    let mut view = View::new(Told::of(Place::Folder(place.to_owned()), pins, false))?;
    if !report.ok {
        view.told.alarm = Some(Alarm {
            kind: "audit_failed",
            since_ms: now_ms(),
            what: report.verdict_line(),
            remedy: "Do not rely on this copy. Compare it with what the other members have, and see colearn audit.",
            withdraws: true,
        });
    }
    // The node may be running: what it has recorded since was not audited.
    let audited = if report.size == 0 { u64::MAX } else { report.size };
    let mut source = audit::open(place)?;
    let mut entries = audit::entries(&mut *source, audited);
    loop {
        let some = entries.by_ref().take(4096).map_while(Result::ok);
        let some: Vec<Bytes> = some.map(|(_, bytes)| bytes.into()).collect();
        let taken = view.take(&some);
        if some.is_empty() || (taken.is_err() && !report.ok) {
            break;
        }
        taken?;
    }
    let (size, root) = (view.book.size(), view.book.root().to_string());
    anyhow::ensure!(
        !report.ok || (size, &root) == (report.size, &report.root),
        "{place} was changed while it was read; start again"
    );
    if let Ok((checkpoint, note)) = audit::signed_checkpoint(&mut *audit::open(place)?)
        && checkpoint.size == report.size
    {
        view.told.checkpoint = note;
    }
    view.told.audit = Some(report);
    Ok(view)
}
