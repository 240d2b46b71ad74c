//! Item by item, who says what the page shows, and how that was verified.

use serde_json::Value;

use super::view::{Place, View};
use crate::claims::{By, Claim, audited, said, to_json, withdraw};

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
    let size = view.book.size();
    let told = &view.told;
    let same = "That what is shown is in the ledger";
    let mut claims = vec![
        (
            same,
            By::Here,
            format!(
                "The hashes of all {size} entries come to the root of a checkpoint that the ledger's key has signed."
            ),
        ),
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
    claims.push(match (told.pins.ledger().is_some(), told.pins.verifier_key(), told.remembered) {
        (true, _, _) | (_, Some(_), _) => (
            "That it is the right ledger",
            By::Here,
            "It is the one that was insisted on (--ledger, --verifier-key).".to_owned(),
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
