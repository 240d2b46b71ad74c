//! What the contract refuses to do at all, and what it answers.

use colearn_chain::Error;
use colearn_chain::contract::{execute, instantiate, most_members};
use colearn_chain::messages::{Execute, ExperimentState, Instantiate, Query};
use colearn_contracts::{Act, Admission, CreateExperiment, Parameters, VERSION};
use colearn_records::convert;
use cosmwasm_std::testing::{message_info, mock_dependencies};
use cosmwasm_std::{Addr, Binary, coins};

use crate::native::{Native, env, usual};
use crate::people::{learner, model, payload, signed};

fn create() -> Act {
    Act::Create(CreateExperiment {
        version: VERSION.number(),
        parameters: Parameters::default(),
        admission: Admission::Open,
        model: model(0),
        plan: None,
    })
}

#[test]
fn what_is_out_of_bounds_begins_no_ledger() {
    let with = |change: fn(&mut Instantiate)| {
        let mut message = usual();
        change(&mut message);
        Native::begin(1_000, message).err()
    };
    assert!(matches!(with(|it| it.max_members = 0), Some(Error::Chain(_))));
    assert!(matches!(with(|it| it.max_members = 1_001), Some(Error::Members { .. })));
    // What closing a round of silent members takes fits into half a block.
    assert_eq!(
        [0, 800_000, 832_000, 20_000_000, u64::MAX].map(most_members),
        [0, 0, 1, 600, 1_000]
    );
    let block = |block_gas: u64, max_members: u32| {
        Native::begin(1_000, Instantiate { block_gas, max_members, ..usual() }).err()
    };
    assert!(block(20_000_000, 600).is_none());
    let told = block(20_000_000, 601).unwrap().to_string();
    assert!(told.contains("20000000 gas") && told.contains("at most 600"), "{told}");
    assert!(matches!(with(|it| it.creators = Some(Vec::new())), Some(Error::Chain(_))));
    assert!(matches!(with(|it| it.creators = Some(vec![[1; 31].into()])), Some(Error::Key(31))));
    let twice = with(|it| it.creators = Some(vec![[1; 32].into(), [1; 32].into()]));
    assert!(matches!(twice, Some(Error::Chain(_))));
    assert!(matches!(with(|it| it.experiments_per_creator = 0), Some(Error::Limits(_))));
    assert!(matches!(with(|it| it.expiry_ms = 9), Some(Error::Limits(_))));
    assert!(with(|_| {}).is_none());
    let payer = message_info(&Addr::unchecked("who-pays"), &coins(1, "stake"));
    let begun = instantiate(mock_dependencies().as_mut(), env(1), payer, usual());
    assert!(matches!(begun, Err(Error::Funds)));
}

#[test]
fn too_much_at_once_is_refused_and_nothing_is_written() {
    let mut native = Native::begin(1_000, usual()).unwrap();
    let before = native.state();
    let mut submit =
        |transactions: Vec<Binary>| native.execute(2_000, Execute::Submit { transactions }).err();
    assert!(matches!(submit(Vec::new()), Some(Error::Transactions)));
    assert!(matches!(submit(vec![Binary::default(); 65]), Some(Error::Transactions)));
    let large = vec![Binary::new(vec![0; 65_537]); 8];
    assert!(matches!(submit(large), Some(Error::Transactions)));
    let mut tick = |experiments| native.execute(2_000, Execute::Tick { experiments }).err();
    assert!(matches!(tick(Vec::new()), Some(Error::Names)));
    assert!(matches!(tick(vec![String::new(); 65]), Some(Error::Names)));
    assert!(tick(vec!["nobody".to_owned(); 64]).is_none());
    let payer = message_info(&Addr::unchecked("who-pays"), &coins(1, "stake"));
    let message = Execute::Tick { experiments: vec!["a".to_owned()] };
    assert!(matches!(execute(native.deps.as_mut(), env(1), payer, message), Err(Error::Funds)));
    // One in which nothing was recorded writes nothing either.
    assert_eq!(native.submit(3_000, &[vec![1, 2, 3], Vec::new()]), [200, 200]);
    assert_eq!(native.state(), before);
}

#[test]
fn only_the_listed_create_and_only_what_is_signed_for_this_ledger_counts() {
    let mut keys = [learner(1).0, learner(2).0];
    keys.sort_unstable();
    let creators = Some(keys.map(Binary::from).to_vec());
    let mut native = Native::begin(1_000, Instantiate { creators, ..usual() }).unwrap();
    let other = Native::begin(1_001, usual()).unwrap();
    assert_ne!(native.id, other.id);
    let seen = native.seen();
    let id = native.id;
    let of = |id, who| payload(&signed(id, seen, who, "a", create()));
    let mut bent = of(&id, 1);
    *bent.last_mut().unwrap() ^= 1;
    let codes = native.submit(2_000, &[of(&id, 3), of(&other.id, 1), bent]);
    assert_eq!(codes, [91, 200, 200]);
    let one = of(&id, 1);
    // The very same again is refused by what it means.
    assert_eq!(native.submit(2_000, &[one.clone(), one]), [0, 3]);
    let state: ExperimentState = native.ask(Query::Experiment { name: "a".to_owned() }).unwrap();
    let state = prost::Message::decode(state.experiment.as_slice()).unwrap();
    assert_eq!(convert::ExperimentState::read(state).unwrap().creator, learner(1));
    for unknown in ["b", "", "A B"] {
        let asked = native.ask::<ExperimentState>(Query::Experiment { name: unknown.to_owned() });
        assert!(matches!(asked, Err(Error::Unknown(_))));
    }
}

#[test]
fn a_time_before_the_last_entry_counts_as_that() {
    let mut native = Native::begin(5_000, usual()).unwrap();
    let create = payload(&signed(&native.id, native.seen(), 1, "a", create()));
    assert_eq!(native.submit(4_000, &[create]), [0]);
    assert_eq!(native.state().time_ms, 5_000);
}
