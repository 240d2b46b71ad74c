//! Who says what of a ledger, item by item, and how that was verified.

use colearn_audit::{AuditReport, ChainReport};
use colearn_records::pins::Pins;
use serde_json::{Value, json};

use crate::cli::tell::text::utc;

/// Who stands for something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum By {
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
    /// The word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Withdrawn => "withdrawn",
            Self::Node => "node",
            Self::Members => "members",
            Self::Nobody => "nobody",
        }
    }

    /// The same, for people.
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

/// What is said, who stands for it, and how.
pub(crate) type Claim = (&'static str, By, String);

/// What no entry proves, whoever looks at them.
pub(crate) fn said(times: &str) -> Vec<Claim> {
    vec![
        ("Times, and with them who is late", By::Node, times.to_owned()),
        (
            "Scores and measurements",
            By::Members,
            "Each is signed by the member that states it. Whether it measured honestly no ledger can show.".to_owned(),
        ),
        (
            "Names",
            By::Members,
            "Those who invited a member, or the member itself, say what it is called. Its key is what signs."
                .to_owned(),
        ),
        (
            "Models",
            By::Nobody,
            "Weights are known by their SHA-256 here, and were not looked at. A file is compared with: colearn model \
             verify."
                .to_owned(),
        ),
    ]
}

/// What was verified is claimed no longer, and why.
pub(crate) fn withdraw(claims: &mut [Claim], why: &str) {
    for (_, by, how) in claims {
        if *by == By::Here {
            *by = By::Withdrawn;
            how.insert_str(0, &format!("{why} "));
        }
    }
}

/// As JSON.
pub(crate) fn to_json(claims: Vec<Claim>) -> Value {
    let claim = |(what, by, how): Claim| json!({ "what": what, "by": by.word(), "by_text": by.text(), "how": how });
    claims.into_iter().map(claim).collect()
}

/// What an audit that has found nothing wrong shows, and what it leaves open.
pub(crate) fn audited(report: &AuditReport, pins: &Pins) -> Vec<Claim> {
    let (in_ledger, root) = match (report.size, &report.chain) {
        (0, _) => (By::Here, "No signed checkpoint was found.".to_owned()),
        (size, None) => (
            By::Here,
            format!(
                "The hashes of all {size} entries come to the root of the checkpoint there, which the ledger's key has \
                 signed."
            ),
        ),
        (size, Some(ChainReport { id, proven: 0, .. })) => (
            By::Nobody,
            format!(
                "The hashes of all {size} entries come to the root of the checkpoint there. A contract on {id} keeps the \
                 ledger, and that the chain has that root is the word of who has kept this copy (--trust LINE)."
            ),
        ),
        (size, Some(ChainReport { id, proven, height, time_ms, .. })) => (
            By::Here,
            format!(
                "The hashes of all {size} entries come to the root of the checkpoint there, and block {height} of {id}, \
                 of {}, proves the root of {proven} entries.",
                utc(*time_ms)
            ),
        ),
    };
    // An audit goes on after that, and all else holds.
    let is_misstated = report.findings.iter().any(|it| it.kind == colearn_audit::Kind::Privacy);
    let (privacy, misstated) = match is_misstated {
        true => (By::Withdrawn, "Some are lower than what was spent, see what was found. "),
        false => (By::Here, ""),
    };
    let pinned = pins.ledger().is_some() || pins.verifier_key().is_some();
    let is_proven = report.chain.as_ref().is_some_and(|chain| chain.proven > 0);
    vec![
        ("That what is shown is in the ledger", in_ledger, root),
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
            privacy,
            format!(
                "{misstated}{} statements were computed again from the steps that they name. That all steps are named, the \
                 members say.",
                report.statements
            ),
        ),
        match pinned {
            false if is_proven => (
                "That it is the right ledger",
                By::Here,
                "It is that of the contract which was insisted on (--trust, --chain).".to_owned(),
            ),
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
        match pins.witnesses().len() {
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
                    pins.quorum()
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
