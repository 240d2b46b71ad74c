//! `colearn attacks`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use colearn::simulate::{AttackTable, Cell, Grid, RULES, attack_table};

use super::progress;

#[derive(Args)]
#[command(after_help = "Examples:
  colearn attacks --out docs/attacks.md
  colearn attacks --full --out docs/attacks.md
  colearn attacks --learners 20 --splits shards:2,sorted --attackers 45 --json")]
pub(crate) struct AttacksArgs {
    /// How many learners share the digits [default: 10,41]
    #[arg(long, value_delimiter = ',', value_name = "N,...")]
    learners: Vec<usize>,
    /// How the digits are divided [default: iid,dirichlet:0.5]
    #[arg(long, value_delimiter = ',', value_name = "SPLIT,...")]
    splits: Vec<String>,
    /// How many of the learners attack, in percent [default: 20,39]
    #[arg(long, value_delimiter = ',', value_name = "PERCENT,...")]
    attackers: Vec<usize>,
    /// How many rounds where everybody trains in each [default: 20]
    #[arg(long, value_name = "N")]
    rounds: Option<u64>,
    /// How many rounds where one trains in each [default: 82]
    #[arg(long, value_name = "N")]
    single_rounds: Option<u64>,
    /// How many runs of each cell [default: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// Run the whole grid as well: all splits, 5 to 41 learners, 10 to 49 percent of them attacking; takes
    /// half an hour on two cores
    #[arg(long)]
    full: bool,
    /// How many runs of each cell of the whole grid
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    full_seeds: u64,
    /// Write the page here instead of printing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print all cells as JSON
    #[arg(long)]
    json: bool,
}

impl AttacksArgs {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let mut tables = vec![self.table(self.grid())?];
        if self.full {
            tables.push(self.table(Grid { seeds: self.full_seeds, ..Grid::full() })?);
        }
        if self.json {
            println!("{}", serde_json::to_string_pretty(&tables)?);
        }
        let page = page(&tables)?;
        match &self.out {
            Some(path) => std::fs::write(path, page)
                .with_context(|| format!("cannot write {}", path.display()))?,
            None if self.json => {}
            None => print!("{page}"),
        }
        Ok(ExitCode::SUCCESS)
    }

    fn grid(&self) -> Grid {
        fn or<T: Clone>(given: &[T], default: Vec<T>) -> Vec<T> {
            if given.is_empty() { default } else { given.to_vec() }
        }
        let default = Grid::default();
        Grid {
            learners: or(&self.learners, default.learners),
            splits: or(&self.splits, default.splits),
            percents: or(&self.attackers, default.percents),
            rounds: self.rounds.unwrap_or(default.rounds),
            single_rounds: self.single_rounds.unwrap_or(default.single_rounds),
            seeds: self.seeds.unwrap_or(default.seeds),
        }
    }

    fn table(&self, grid: Grid) -> anyhow::Result<AttackTable> {
        let bar = progress::steps(1, self.json, "run");
        let table = attack_table(grid, |done, total| {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        })?;
        bar.finish_and_clear();
        Ok(table)
    }
}

const INTRODUCTION: &str = "\
# What attackers reach

Nobody wrote these numbers: `colearn attacks --out docs/attacks.md` did, from the same contract, merges and learners that
run on a ledger. With `--full` it adds the whole grid. The same version gives the same page.

Numbers are accuracies in percent on the honest learners' test rows, means of the last three rounds, one for each number of
attackers. *o99*: the backdoor opens in 99 of a hundred rows that carry its trigger. One test row more or less is 0.3 points, and
seeds are few: differences below two points mean nothing.

**Columns.** *single*: the original's rounds, one proposer at a time and a vote on each proposal; four times as many rounds as
the others have, though fewer trainings. *merged*: [merged rounds](rounds.md) with their defaults. The others are what a server does that all
trust: the *average* of all updates; the same with *momentum* 1/2; the *median* of each weight; *Krum*, the update closest to its
neighbours; *multi-Krum*, the mean of the closest; and centred *clipping*. Krum and multi-Krum are told how many attack, which
nobody knows.

**Rows.** Attackers know everything: the rules, the honest learners' data and the updates of the round before they send theirs. All
but *only votes* send something bad, and all collude in their votes: on proposals, for those of their gang and against all others; on
merges, for what is worse for the honest than the model that there is (with a backdoor: what opens it) and against everything else.
*Label flip* trains on wrong labels. *Sign flip* sends the opposite of what was learned, *scaled* ten times that. *Free
riders* send the model that there is. *Bytes withheld*: their updates reach nobody else, or *half* of the honest, and they
deny holding those of the honest. *Mimics* all send the first honest update once more. *ALIE* sends what is at the edge of
how the honest updates scatter, *IPM* half of the opposite of their mean, *mixed* half random weights and half the mean less one
standard deviation. The last three are made against these rules: *inside the clip* sends the opposite of the mean, as long as
it can be without being clipped; *against the guard* half of the gang sends what has nothing in common with any update, so that no
guarded merge is offered, and the others what is inside the clip; *adaptive* tries all these and what hides among the
neighbours, computes in each round what would be merged and what the honest would vote, and sends the worst.

A dash: there is nothing to tell. A single proposer sends while nobody else does, so there is nothing to wait for; and a server has
an update's bytes or has them not.
";

const BACKDOORS: &str = "
## Backdoors, and two first defences

A model that is as good as before on everybody's data, and does what the attackers want on data that carries their trigger,
deserves every honest vote: accuracy stays, the backdoor opens. Both defences are options of a learner, and change no rule.

* *cautious* (`colearn learner --judge cautious`; `cautious = true` under `[training]` of a scenario): of the two merges it prefers
  the guarded one, which leaves outsiders out, unless the open one is better by more than 0.05 in loss.
* *hardened* (`colearn learner --harden`; `harden = true`): in each pass over its rows the learner looks for the inputs that would
  make its model take rows for another class, sets some of them in a copy of each row, and trains that the class stays what it
  is. It needs no guarded merge and no majority, it takes several times as long to train, and it makes small shares of digits go
  further. What it looks for is a few inputs with extreme values, as the backdoor here is (four inputs of 64; it does
  not know which, nor how many). A backdoor of another kind, such as a pattern in all inputs or a kind of row that honest learners do
  not have, it does not look for.

Neither is a promise: compare the columns. Accuracies are as above, and how often the backdoor opens is the final model's; the rows
without attackers show what a defence costs.
";

const LIMITS: &str = "
**Tried, and left out.** Voters who compare the merges class by class on their own rows, and take the guarded one wherever the
open one recognises fewer of some class, hardly see a backdoor: it costs no class anything (41 learners, Dirichlet 0.5, 8 attackers: it
opens in 99 of a hundred rows either way). What members have sent over time does tell something, where data is alike: of 41 learners
the 8 who planted a backdoor were among the nearest of 6 others on average, the honest of 23, and in each of three runs their updates
were longer than any honest one. `colearn audit --merges` and `colearn round --explain` show such things to people. It is no rule,
as on skewed data it tells nothing: there, who holds rare classes looks the same as who attacks.

## What is not stopped

**Backdoors**: see above. From a fifth of the learners on a backdoor opens in nearly every row under merged rounds as they are, under
averaging, and with a single proposer. A ledger of votes does not find it; it says whose updates they were. Look into models that
matter by other means.

**Skewed data and many attackers, or such as know the rules.** Where learners hold two classes or so each (shards:2), 45 % who
collude can end learning, under merged rounds as under everything else here: sign flip, IPM or free riders do. Those who stay inside the
clip, or work against the guard, can do so with a fifth of the learners: where honest updates have little in common, no guarded merge is offered, and the open one is a mean of
which each member has twice its share. multi-Krum, which is told how many attack, does better against some of them, and loses to
others. Nobody has a rule that works there: whoever alone holds a class decides what is learned of it, and no rule sees whether it
tells the truth. On like data that takes nearly half: 20 of 41 who work against the guard end at guessing or below, where Krum, told
their number, keeps two thirds.

**Half of few.** Of ten learners with four attackers the guarded merge needs the preference of all six others, as more than half of
all must prefer it; and late in training, when the updates have little left in common, none is offered. That leaves the open merge, which
attackers slow down. It costs two to five points against the best of median and single proposer, on like data.

**A large minority, with a single proposer.** A vote asks each time whether one update is good; colluders answer before they are
asked, and honest voters who see seven rows are wrong often enough. Of 41 learners with like data 39 % suffice to end at guessing; in
merged rounds they do not.

What digits cannot show, pictures do: a [convolutional network](rounds.md#pictures-and-a-network-with-batch-normalisation), clean and
under attack.

What does hold: *only votes* shows that colluding voters alone do not stop merged rounds, nor spoil them where data is alike; and
*bytes withheld*, that nobody is held up by updates that cannot be had, however many under one half withhold them and lie about what they hold. Nobody
honest misses a turn by that.
";

/// Rules that merged rounds are measured by: they should never be more than [`TOLERATED`] below the best.
const MEASURED_BY: [&str; 3] = ["single", "median", "Krum"];
/// Two points: less means nothing with so few seeds.
const TOLERATED: f64 = 0.02;

fn page(tables: &[AttackTable]) -> anyhow::Result<String> {
    let mut text = String::from(INTRODUCTION);
    for (table, title) in tables.iter().zip(["The table", "The whole grid"]) {
        let Grid { rounds, single_rounds, seeds, .. } = table.grid;
        let runs =
            if seeds == 1 { "one run a cell".into() } else { format!("means of {seeds} seeds") };
        writeln!(
            text,
            "\n## {title}\n\nThe digits, an MLP 64-32-10, {rounds} rounds, or {single_rounds} with a single \
             proposer; {runs}."
        )?;
        for group in table.cells.chunk_by(|a, b| (a.learners, &a.split) == (b.learners, &b.split)) {
            write_group(&mut text, &table.grid, group)?;
        }
    }
    text.push_str(BACKDOORS);
    for table in tables {
        write_defences(&mut text, table)?;
    }
    text.push_str(LIMITS);
    Ok(text)
}

/// What so many learners with their data so divided come to.
fn write_group(text: &mut String, grid: &Grid, cells: &[Cell]) -> anyhow::Result<()> {
    let Some(Cell { learners, split, .. }) = cells.first() else { return Ok(()) };
    let counts = grid.attackers(*learners).into_iter();
    let counts: Vec<String> = counts.map(|count| count.to_string()).collect();
    writeln!(text, "\n### {learners} learners, {split}: {} attack\n", counts.join(", "))?;
    let rules: Vec<&str> =
        RULES.iter().filter(|rule| !rule.is_defence()).map(|rule| rule.name).collect();
    writeln!(text, "| | {} |\n|---|{}", rules.join(" | "), "---|".repeat(rules.len()))?;
    let mut below = Vec::new();
    for row in cells.chunk_by(|a, b| a.attack == b.attack) {
        let attack = row.first().map_or("", |cell| cell.attack);
        let told = rules.iter().map(|rule| told(row.iter().filter(|cell| cell.rule == *rule)));
        writeln!(text, "| {attack} | {} |", told.collect::<Vec<_>>().join(" | "))?;
        for one in row.chunk_by(|a, b| a.attackers == b.attackers) {
            below.extend(shortfall(one));
        }
    }
    let below = if below.is_empty() { "nowhere".to_owned() } else { below.join("; ") };
    writeln!(text, "\nMore than two points below the best of single, median and Krum: {below}.")?;
    Ok(())
}

/// The cells of a row and rule, for each number of attackers.
fn told<'a>(cells: impl Iterator<Item = &'a Cell>) -> String {
    let cell = |cell: &Cell| {
        let opens = cell.backdoor.map(|share| format!(" o{:.0}", 100.0 * share));
        format!("{:.1}{}", 100.0 * cell.accuracy, opens.unwrap_or_default())
    };
    let cells: Vec<String> = cells.map(cell).collect();
    let between = if cells.iter().any(|cell| cell.contains('o')) { ", " } else { " " };
    if cells.is_empty() { "-".to_owned() } else { cells.join(between) }
}

/// Where merged rounds are behind, of one attack by so many.
fn shortfall(cells: &[Cell]) -> Option<String> {
    let of = |rule: &str| cells.iter().find(|cell| cell.rule == rule);
    let merged = of("merged")?;
    let best = MEASURED_BY.into_iter().filter_map(of);
    let best = best.max_by(|one, other| one.accuracy.total_cmp(&other.accuracy))?;
    (merged.accuracy < best.accuracy - TOLERATED).then(|| {
        let [merged_at, best_at] = [merged, best].map(|cell| 100.0 * cell.accuracy);
        let (attack, attackers, rule) = (merged.attack, merged.attackers, best.rule);
        match attackers {
            0 => format!("{attack} ({merged_at:.1}, {rule} {best_at:.1})"),
            _ => format!("{attack} by {attackers} ({merged_at:.1}, {rule} {best_at:.1})"),
        }
    })
}

/// What the defences against backdoors cost, and what they stop.
fn write_defences(text: &mut String, table: &AttackTable) -> anyhow::Result<()> {
    let rules = RULES.iter().filter(|rule| rule.name == "merged" || rule.is_defence());
    let rules: Vec<&str> = rules.map(|rule| rule.name).collect();
    writeln!(text, "\n| learners, split, attackers | {} |", rules.join(" | "))?;
    writeln!(text, "|---|{}", "---|".repeat(rules.len()))?;
    let shown = |cell: &&Cell| cell.backdoor.is_some() || cell.attackers == 0;
    let cells: Vec<&Cell> = table.cells.iter().filter(shown).collect();
    for row in cells
        .chunk_by(|a, b| (a.learners, &a.split, a.attackers) == (b.learners, &b.split, b.attackers))
    {
        let Some(Cell { learners, split, attackers, .. }) = row.first() else { continue };
        let of = |rule: &&str| told(row.iter().copied().filter(|cell| cell.rule == *rule));
        let told: Vec<String> = rules.iter().map(of).collect();
        writeln!(text, "| {learners}, {split}, {attackers} | {} |", told.join(" | "))?;
    }
    Ok(())
}
