//! Flags that say whether and how rounds are merged: the keys of a plan's `merging`.

use clap::Args;
use colearn_contracts::Merging;

use super::duration_ms;

/// What is said where somebody lets one learner train in each round, and could have them all train.
pub(crate) const SINGLE_ROUNDS: &str = "one learner trains in each round; with --merging all do, and vote on two merges \
    of what they have trained (docs/rounds.md)";

/// Merged rounds, on top of what a plan, or the rules so far, say of them.
#[derive(Args, Default)]
pub(crate) struct MergingArgs {
    /// Merge rounds: in each all train, and vote on two merges of what they have trained [default: one
    /// learner trains, and the others vote on that]
    #[arg(long)]
    merging: bool,
    /// Let one learner train in each round, whatever the plan, or the rules so far, say
    #[arg(
        long,
        conflicts_with_all = [
            "merging", "proposers", "clip_permille", "momentum_permille", "checkers", "gather_deadline",
        ]
    )]
    no_merging: bool,
    /// How many train in a merged round, 1 to 64; with fewer members, all of them [default: 64]
    #[arg(long, value_name = "N", requires = "merging")]
    proposers: Option<u32>,
    /// How long an update may be, in thousandths of the median length; longer ones are shortened to that
    /// [default: 2000]
    #[arg(long, value_name = "N", requires = "merging")]
    clip_permille: Option<u32>,
    /// How much of the model's last movement is added, in thousandths [default: 500]
    #[arg(long, value_name = "N", requires = "merging")]
    momentum_permille: Option<u32>,
    /// How many must compute the merges, drawn by sortition; the others take them over. 0 for everybody
    /// [default: 0]
    #[arg(long, value_name = "N", requires = "merging")]
    checkers: Option<u32>,
    /// How long members have to say which updates they hold; 0s where the node admits none that it does
    /// not hold [default: 0s]
    #[arg(long, value_parser = duration_ms, value_name = "TIME", requires = "merging")]
    gather_deadline: Option<u64>,
}

impl MergingArgs {
    /// These rules on top of others.
    pub(crate) fn apply(&self, rules: &mut Option<Merging>) {
        if self.no_merging {
            *rules = None;
        }
        if !self.merging {
            return;
        }
        let rules = rules.get_or_insert_default();
        rules.proposers = self.proposers.unwrap_or(rules.proposers);
        rules.clip_permille = self.clip_permille.unwrap_or(rules.clip_permille);
        rules.momentum_permille = self.momentum_permille.unwrap_or(rules.momentum_permille);
        rules.checkers = self.checkers.unwrap_or(rules.checkers);
        if let Some(ms) = self.gather_deadline {
            rules.gather_deadline_ms = Some(ms).filter(|ms| *ms > 0);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        merging: MergingArgs,
    }

    fn applied(flags: &str, mut rules: Option<Merging>) -> Result<Option<Merging>, clap::Error> {
        let arguments = std::iter::once("colearn").chain(flags.split_whitespace());
        Command::try_parse_from(arguments)?.merging.apply(&mut rules);
        Ok(rules)
    }

    #[test]
    fn flags_come_on_top_of_the_rules_so_far() {
        let merging = Merging::default();
        let gathers = Merging { checkers: 3, gather_deadline_ms: Some(30_000), ..merging };
        for (flags, before, after) in [
            ("", None, None),
            ("", Some(gathers), Some(gathers)),
            ("--merging", None, Some(merging)),
            ("--merging", Some(gathers), Some(gathers)),
            ("--no-merging", Some(gathers), None),
            ("--merging --checkers 3 --gather-deadline 30s", None, Some(gathers)),
            ("--merging --checkers 0 --gather-deadline 0s", Some(gathers), Some(merging)),
            (
                "--merging --proposers 8 --clip-permille 1500 --momentum-permille 0",
                Some(gathers),
                Some(Merging {
                    proposers: 8,
                    clip_permille: 1500,
                    momentum_permille: 0,
                    ..gathers
                }),
            ),
        ] {
            assert_eq!(applied(flags, before).unwrap(), after, "{flags}");
        }
    }

    #[test]
    fn what_says_how_rounds_are_merged_needs_them_to_be() {
        for flags in [
            "--proposers 8",
            "--clip-permille 2000",
            "--momentum-permille 500",
            "--checkers 3",
            "--gather-deadline 30s",
            "--no-merging --checkers 3",
            "--no-merging --merging",
        ] {
            let refused = applied(flags, None).unwrap_err().to_string();
            assert!(refused.contains("merging"), "{refused}");
        }
    }
}
