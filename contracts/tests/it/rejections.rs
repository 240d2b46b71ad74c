//! The table of rejections: what the README says of each, and what clients are told by number.

use std::collections::{BTreeMap, BTreeSet};

use colearn_contracts::{Rejection, rule_is_stale};

#[test]
fn the_readme_has_the_table_as_it_is() {
    let readme = include_str!("../../README.md");
    let row = |row: &str| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, rule, kind, stale, _status] = cells[..] else { panic!("{row}") };
        format!("{name} {rule} {kind} {stale}")
    };
    let begin = readme.find("| variant of `Rejection`").expect("the table");
    let told: Vec<String> =
        readme[begin..].lines().skip(2).take_while(|line| line.starts_with('|')).map(row).collect();
    let table = Rejection::TABLE.iter().map(|row| {
        let stale = if row.stale { "yes" } else { "" };
        format!("`{}` R{} `{:?}` {stale}", row.name, row.rule, row.kind)
    });
    assert_eq!(told, table.collect::<Vec<_>>());
}

#[test]
fn staleness_is_the_rules_not_the_variants() {
    let mut rules: BTreeMap<u8, BTreeSet<bool>> = BTreeMap::new();
    for row in Rejection::TABLE {
        rules.entry(row.rule).or_default().insert(row.stale);
    }
    for (rule, stale) in &rules {
        assert_eq!(stale.len(), 1, "R{rule} is both, so a number does not say which");
    }
    // Those a learner shrugs at: its round, its proposal, its seat or its experiment has moved on.
    let stale: Vec<u8> = (0..=u8::MAX).filter(|rule| rule_is_stale(*rule)).collect();
    assert_eq!(
        stale,
        [5, 9, 10, 11, 12, 13, 14, 17, 19, 20, 34, 35, 40, 41, 52, 53, 71, 73, 75, 78, 80]
    );
}

#[test]
fn a_rejection_is_described_by_its_row() {
    let late = Rejection::WrongRound { current: 3 };
    assert_eq!(
        late.describe(),
        *Rejection::TABLE.iter().find(|row| row.name == "WrongRound").unwrap()
    );
    assert_eq!((late.rule(), late.is_stale()), (11, true));
    assert_eq!(
        late.to_string(),
        "R11: that round is closed or not open yet; the current round is 3"
    );
}
