#![allow(clippy::unwrap_used)]

use super::*;

const WHOLE: &str = r#"
chain_id = "colearn-test-1"
rpc = ["http://127.0.0.1:26657", "https://rpc.example.org/chain"]
contract = "wasm14hj2tavq8fpesdwxxcu44rty3hh90vhujrvcmstl4zr3txmfvw9s0phg4d"
peers = ["https://mirror.example.org:7400"]
prefix = "wasm"
denom = "stake"
gas_price = "0.025"
account = "relay.pem"
max_fee = 500_000
max_fee_a_day = "100000000000000000000"
"#;

const CONTRACT: &str = "wasm14hj2tavq8fpesdwxxcu44rty3hh90vhujrvcmstl4zr3txmfvw9s0phg4d";
const OTHER: &str = "wasm1nc5tatafv6eyq7llkr2gv50ff9e22mnf70qgjlv737ktmt4eswrqr5j2ht";

fn read(text: &str) -> Result<Settings, BadSettings> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chain.toml");
    std::fs::write(&path, text).unwrap();
    let read = Settings::read(&path);
    if let Ok(settings) = &read {
        assert_eq!(settings.account, folder.path().join("relay.pem"));
    }
    read
}

#[test]
fn everything_is_read() {
    let settings = read(WHOLE).unwrap();
    assert_eq!(settings.chain_id, "colearn-test-1");
    assert_eq!(settings.rpc.len(), 2);
    assert_eq!(settings.gas_price.fee(1_000), Some(25));
    assert_eq!(settings.max_fee, Amount(500_000));
    assert_eq!(settings.max_fee_a_day, Amount(100_000_000_000_000_000_000));
    assert!(settings.trust.is_none() && settings.granter.is_none());
    let number = read(&WHOLE.replace("\"0.025\"", "0.025")).unwrap();
    assert_eq!(number, Settings { account: number.account.clone(), ..settings });
}

#[test]
fn what_is_trusted_names_the_contract() {
    let line = format!("colearn-test-1/12/{}/600s/{}", "ab".repeat(32), "07".repeat(32));
    let trust = format!("trust = \"{line}/{CONTRACT}\"\n");
    let both = read(&format!("{WHOLE}{trust}")).unwrap();
    let alone =
        read(&format!("{}{trust}", WHOLE.replace(&format!("contract = \"{CONTRACT}\"\n"), "")));
    let alone = alone.unwrap();
    assert_eq!(
        (both.contract, alone.contract),
        (Some(CONTRACT.to_owned()), Some(CONTRACT.to_owned()))
    );
    assert_eq!(both.trust, alone.trust);
}

#[test]
fn what_is_wrong_is_named() {
    let older = format!("other-1/12/{}/600s/{}", "ab".repeat(32), "07".repeat(32));
    let trust = |contract: &str| format!("trust = \"{older}/{contract}\"\naccount");
    let (this, other) = (trust(CONTRACT), trust(OTHER).replace("other-1", "colearn-test-1"));
    for (from, to, told) in [
        ("colearn-test-1", "", "chain_id: "),
        ("http://127.0.0.1:26657", "ftp://a", "rpc: "),
        ("phg4d", "phg4e", "contract: "),
        ("prefix = \"wasm\"", "prefix = \"fetch\"", "contract: "),
        ("prefix = \"wasm\"", "prefix = \"\"", "prefix: "),
        ("https://mirror.example.org:7400", "a b", "peers: "),
        ("\"stake\"", "\"s\"", "denom: "),
        ("\"0.025\"", "\"cheap\"", "no price of a unit of gas"),
        ("500_000", "-1", "max_fee"),
        ("500_000", "1.5", "no whole number"),
        ("\"100000000000000000000\"", "1", "max_fee_a_day: "),
        ("denom", "demon", "unknown field `demon`"),
        ("account = \"relay.pem\"", "", "missing field `account`"),
        ("account", "trust = \"yes\"\naccount", "trust: "),
        ("account", &this, "trust: it is of another chain"),
        ("account", &other, "trust: it is of wasm1nc5t"),
        ("account", &format!("trust = \"{older}\"\naccount"), "names no contract"),
        ("account", "granter = \"wasm1x\"\naccount", "granter: "),
    ] {
        let error = read(&WHOLE.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(told) && error.contains("chain.toml"), "{told}: {error}");
    }
    let missing = Settings::read(Path::new("/nowhere/chain.toml")).unwrap_err();
    assert!(missing.to_string().starts_with("cannot read /nowhere/chain.toml: "));
}
