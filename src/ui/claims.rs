//! Item by item, who says what the page shows, and how that was verified.

use colearn_audit::ChainReport;
use serde_json::Value;

use super::state::chain;
use super::view::{Place, View};
use crate::claims::{By, Claim, audited, said, to_json, withdraw};
use crate::cli::tell::text::utc;

/// All that the page shows, by who says it.
pub(crate) fn claims(view: &View) -> Value {
    let mut claims = match view.told.place {
        Place::Node(_) => followed(view),
        Place::Own(_) => return to_json(own()),
        Place::Folder(_) => {
            let report = view.told.audit.as_ref();
            report.map(|report| audited(report, &view.told.pins)).unwrap_or_default()
        }
    };
    claims.extend(said(
        "The times of entries are those of the nodes' clocks, which cannot run back. Countdowns compare them with this \
         computer's clock.",
    ));
    if view.told.alarm.as_ref().is_some_and(|alarm| alarm.withdraws) {
        withdraw(&mut claims, "No longer claimed, see above.");
    }
    to_json(claims)
}

/// Where the node tells it itself.
fn own() -> Vec<Claim> {
    let how = "The node says it, and whoever runs the node could have it say anything. On your own machine colearn ui \
               and colearn top show the same, and verify it.";
    vec![("All that is shown here", By::Node, how.to_owned())]
}

fn followed(view: &View) -> Vec<Claim> {
    let told = &view.told;
    let mut claims = vec![
        in_ledger(view),
        (
            "Who did what",
            By::Here,
            "The signature of each action was verified with its sender's key, and that its sender had seen this \
             history."
                .to_owned(),
        ),
        (
            "What follows from it: phases, verdicts, members, motions",
            By::Here,
            "The contract's rules were run again over all entries, and every recorded decision is the one that they \
             give."
                .to_owned(),
        ),
    ];
    let before = match told.remembered {
        true => ", and what this key was shown and promised before",
        false => " since this program was started",
    };
    claims.push((
        "That the ledger only grows",
        By::Here,
        format!("Each checkpoint is proven to continue the one before{before}."),
    ));
    // A key belongs to no ledger of a public chain before that has proven one.
    let is_a_word = chain(view).is_some_and(|chain| chain.proven == 0);
    let remembered = told.remembered && !is_a_word;
    claims.push(match (told.pins.ledger().is_some(), told.pins.verifier_key(), remembered) {
        (true, _, _) | (_, Some(_), _) => (
            "That it is the right ledger",
            By::Here,
            "It is the one that was insisted on (--ledger, --verifier-key).".to_owned(),
        ),
        (false, None, _) if told.proven.is_some() => (
            "That it is the right ledger",
            By::Here,
            "It is that of the contract which was insisted on (--trust).".to_owned(),
        ),
        (false, None, true) => (
            "That it is the right ledger",
            By::Here,
            "It is the one that this key has belonged to since its first contact.".to_owned(),
        ),
        (false, None, false) => (
            "That it is the right ledger",
            By::Node,
            "Nothing was insisted on. Compare the ledger's id with the other members, or start with --ledger ID."
                .to_owned(),
        ),
    });
    claims.push(witnessed(view));
    claims.push((
        "That nothing is kept back",
        By::Node,
        "What a node has recorded and does not send yet, nobody sees. With several nodes (--node A,B) each is held to \
         what another one shows."
            .to_owned(),
    ));
    claims.push((
        "Privacy spent",
        By::Members,
        "The sums are those that members have signed; the contract checks that they only grow. colearn audit computes \
         them again from the steps that they name."
            .to_owned(),
    ));
    claims
}

/// Whose root it is that the entries come to.
fn in_ledger(view: &View) -> Claim {
    let what = "That what is shown is in the ledger";
    let size = view.book.size();
    match chain(view) {
        None => (
            what,
            By::Here,
            format!(
                "The hashes of all {size} entries come to the root of a checkpoint that the ledger's key has signed."
            ),
        ),
        Some(ChainReport { id, contract, proven: 0, .. }) => (
            what,
            By::Node,
            format!(
                "A contract on {id} ({contract}) keeps the ledger, and nobody signs for it. That the root of these {size} \
                 entries is what the chain has is the node's word. Start with --trust LINE to have it proven."
            ),
        ),
        Some(ChainReport { id, contract, proven, height, time_ms, .. }) => (
            what,
            By::Here,
            format!(
                "A contract on {id} ({contract}) keeps the ledger, and block {height}, of {}, proves that the hashes of the \
                 first {proven} of {size} entries come to its root.",
                utc(time_ms)
            ),
        ),
    }
}

/// Whether others are shown the same.
fn witnessed(view: &View) -> Claim {
    let what = "That others are shown the same history";
    let told = &view.told;
    let witnesses = told.witnesses.len();
    if witnesses == 0 {
        let how = "No witness was named. With --witness KEY it is seen whether somebody independent has cosigned the \
                   same history.";
        return (what, By::Nobody, how.to_owned());
    }
    let mut sizes: Vec<u64> = told.witnesses.iter().map(|(_, size)| *size).collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    let quorum = told.pins.quorum();
    let seen = sizes.get(quorum.saturating_sub(1)).copied().unwrap_or(0);
    let by = if seen > 0 { By::Here } else { By::Nobody };
    let how = format!(
        "{quorum} of the {witnesses} witnesses that were named have cosigned the first {seen} of {} entries.",
        view.book.size()
    );
    (what, by, how)
}
