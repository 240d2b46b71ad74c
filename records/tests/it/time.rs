//! R70. Ledger time ends with the year 9999.

use colearn_contracts::{
    Act, Admission, CreateExperiment, Decision, Limits, MAX_TIME_MS, Outcome, Parameters, Version,
};
use colearn_records::follower::{Depth, Fault};
use colearn_records::record;

use crate::scribe::{Scribe, model};

const DEPTHS: [Depth; 4] = [Depth::Chain, Depth::Replay, Depth::Signatures, Depth::Full];

#[test]
fn an_entry_that_names_a_later_time_is_none() {
    for time_ms in [MAX_TIME_MS + 1, u64::MAX] {
        let mut scribe = Scribe::empty(Version::V2, Limits::default());
        scribe.now_ms = MAX_TIME_MS;
        scribe.change_key();
        scribe.now_ms = time_ms;
        scribe.change_key();
        let entries = scribe.read();
        for depth in DEPTHS {
            assert!(scribe.follow_to(depth, &entries[..2]).is_ok(), "the last millisecond is one");
            let (place, fault) = scribe.follow_to(depth, &entries).map(drop).unwrap_err();
            assert_eq!((place, fault), (2, Fault::Time(time_ms)));
        }
    }
}

#[test]
fn nothing_is_opened_and_expired_until_the_end_of_the_numbers() {
    // Where nobody is ever suspended, and nothing ever pauses.
    let parameters = Parameters {
        min_learners: 1,
        proposal_deadline_ms: 10,
        missed_turns: None,
        idle_rotations: None,
        ..Parameters::default()
    };
    for version in [Version::V1, Version::V2] {
        let mut scribe = Scribe::empty(version, Limits::default());
        let create = CreateExperiment {
            version: version.number(),
            parameters: parameters.clone(),
            admission: Admission::Open,
            model: model(0),
            plan: None,
        };
        assert!(scribe.act(1, 0, Act::Create(create)));
        let join = scribe.join(1);
        assert!(scribe.act(1, 0, join));
        scribe.now_ms = u64::MAX;
        let waiting = Decision::Waiting { members: 0, min_learners: 1 };
        let forged = Outcome::new(scribe.name.clone(), waiting);
        scribe.append(record::outcome_payload(&forged));

        // Who lists all that is wrong goes on past the time, and is still done in no time.
        let mut follower = scribe.follower(Depth::Full);
        let mut faults = Vec::new();
        for entry in &scribe.read() {
            let past = follower.follow_past(entry, |fault| {
                faults.push(fault);
                Ok(())
            });
            assert_eq!(past, Ok(()));
        }
        let [Fault::Time(u64::MAX), Fault::Departure(_)] = &faults[..] else {
            panic!("{faults:?}")
        };
    }
}
