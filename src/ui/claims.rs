//! Item by item, who says what the page shows, and how that was verified.

use serde_json::{Value, json};

use super::view::{Place, View};

/// Who stands for something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// This program has verified it.
    Here,
    /// It was verified here, and is claimed no longer.
    Withdrawn,
    /// Whoever keeps the ledger says it.
    Node,
    /// Members have signed that they say it.
    Members,
    /// Nobody has looked at it here.
    Nobody,
}

impl By {
    fn word(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Withdrawn => "withdrawn",
            Self::Node => "node",
            Self::Members => "members",
            Self::Nobody => "nobody",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Here => "✓ verified here",
            Self::Withdrawn => "✗ no longer claimed",
            Self::Node => "said by the node",
            Self::Members => "said by members",
            Self::Nobody => "not looked at",
        }
    }
}

/// All that the page shows, by who says it.
pub(crate) fn claims(view: &View) -> Value {
    let mut claims: Vec<(&str, By, String)> = match view.told.place {
        Place::Node(_) => followed(view),
        Place::Folder(_) => audited(view),
        Place::Own(_) => return said(),
    };
    claims.push((
        "Times, and with them who is late",
        By::Node,
        "The times of entries are those of the nodes' clocks, which cannot run back. Countdowns compare them with \
         this computer's clock."
            .to_owned(),
    ));
    claims.push((
        "Scores and measurements",
        By::Members,
        "Each is signed by the member that states it. Whether it measured honestly no ledger can show.".to_owned(),
    ));
    claims.push((
        "Names",
        By::Members,
        "Those who invited a member, or the member itself, say what it is called. Its key is what signs."
            .to_owned(),
    ));
    claims.push((
        "Models",
        By::Nobody,
        "Weights are known by their SHA-256 here, and were not looked at. A file is compared with: colearn model \
         verify."
            .to_owned(),
    ));
    if view.told.alarm.as_ref().is_some_and(|alarm| alarm.withdraws) {
        for (_, by, how) in &mut claims {
            if *by == By::Here {
                *by = By::Withdrawn;
                how.insert_str(0, "No longer claimed, see above. ");
            }
        }
    }
    claims.into_iter().map(claim).collect()
}

fn claim((what, by, how): (&str, By, String)) -> Value {
    json!({ "what": what, "by": by.word(), "by_text": by.text(), "how": how })
}

/// Where the node tells it itself.
fn said() -> Value {
    let how = "The node says it, and whoever runs the node could have it say anything. On your own machine colearn ui \
               and colearn top show the same, and verify it.";
    [claim(("All that is shown here", By::Node, how.to_owned()))].into_iter().collect()
}

fn followed(view: &View) -> Vec<(&'static str, By, String)> {
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
fn witnessed(view: &View) -> (&'static str, By, String) {
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

fn audited(view: &View) -> Vec<(&'static str, By, String)> {
    let Some(report) = &view.told.audit else { return Vec::new() };
    let signed = match report.size {
        0 => "No signed checkpoint was found.".to_owned(),
        size => format!(
            "The hashes of all {size} entries come to the root of the checkpoint there, which the ledger's key has \
             signed."
        ),
    };
    let pinned = view.told.pins.ledger().is_some() || view.told.pins.verifier_key().is_some();
    vec![
        ("That what is shown is in the ledger", By::Here, signed),
        (
            "Who did what",
            By::Here,
            format!("{} signatures were verified.", report.signatures),
        ),
        (
            "What follows from it: phases, verdicts, members, motions",
            By::Here,
            "The contract's rules were run again over all entries, and every recorded decision is the one that they \
             give."
                .to_owned(),
        ),
        (
            "Privacy spent",
            By::Here,
            format!(
                "{} statements were computed again from the steps that they name. That all steps are named, the \
                 members say.",
                report.statements
            ),
        ),
        match pinned {
            true => (
                "That it is the right ledger",
                By::Here,
                "It is the one that was insisted on (--ledger, --verifier-key).".to_owned(),
            ),
            false => (
                "That it is the right ledger",
                By::Nobody,
                "Nothing was insisted on. Compare the ledger's id with the members, or start with --ledger ID."
                    .to_owned(),
            ),
        },
        match view.told.pins.witnesses().len() {
            0 => (
                "That others are shown the same history",
                By::Nobody,
                "No witness was named (--witness KEY).".to_owned(),
            ),
            witnesses => (
                "That others are shown the same history",
                By::Here,
                format!(
                    "At least {} of the {witnesses} witnesses that were named have cosigned the checkpoint.",
                    view.told.pins.quorum()
                ),
            ),
        },
        (
            "That nothing came after it",
            By::Nobody,
            "It is a copy, as it was when it was read. The ledger may have grown since.".to_owned(),
        ),
    ]
}
