//! Following a ledger that a contract on a public chain keeps: only what the chain proves is believed, and only with a
//! header of now is anything signed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod mirror;

use std::path::Path;
use std::time::Duration;

use colearn_contracts::{
    Act, Action, Admission, CreateExperiment, Digest, Model, Parameters, Version,
};
use colearn_ledger::Hash;
use colearn_light::{NotBelieved, NotEstablished};
use colearn_records::keys::learner_id;
use colearn_records::on_chain::OutOfTime;
use colearn_sdk::client::{
    ChainError, ChainTrust, Client, ClientError, Evidence, Followed, Memory, Trust,
};
use colearn_sdk::ed25519_dalek::SigningKey;
use colearn_sdk::keys::Key;
use colearn_testkit::chain;

use crate::mirror::{Mirror, name};

/// How old the chains are here, of which nothing is too old.
const YOUNG: Duration = Duration::from_secs(20);
/// How old those are of which a newer header is asked for.
const OLDER: Duration = Duration::from_secs(50);

fn key() -> Key {
    SigningKey::from_bytes(&[1; 32]).into()
}

fn create(experiment: &str) -> Action {
    let model = Model { digest: Digest([3; 32]), size: 1, media_type: "m".to_owned() };
    let create = CreateExperiment {
        version: Version::V2.number(),
        parameters: Parameters { min_learners: 1, ..Parameters::default() },
        admission: Admission::Open,
        model,
        plan: None,
    };
    Action::new(name(experiment), Act::Create(create))
}

async fn follow(
    url: &str,
    dir: Option<&Path>,
    chain: Option<ChainTrust>,
) -> Result<Followed, ClientError> {
    let client = Client::connect(url).await?;
    let memory = match dir {
        Some(dir) => Memory::open(dir, learner_id(&key()))?,
        None => Memory::default(),
    };
    let mut followed = Followed::open(client, memory, Trust { chain, ..Trust::default() }).await?;
    followed.catch_up(&mut |_| {}).await?;
    Ok(followed)
}

/// What is wrong with a chain's ledger, and whether that was kept.
fn refused<T>(result: Result<T, ClientError>) -> (ChainError, bool) {
    match result {
        Err(ClientError::OnChain(error, Evidence(kept))) => (error, kept.is_some()),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it was believed"),
    }
}

#[tokio::test]
async fn a_learner_acts_on_what_the_chain_proves_and_goes_on_from_there() {
    let (mirror, url) = Mirror::start(YOUNG).await;
    let dir = tempfile::tempdir().unwrap();
    let pinned = mirror.state().chain.trust(1);
    let mut followed = follow(&url, Some(dir.path()), Some(pinned.clone())).await.unwrap();
    for experiment in ["a", "b", "c"] {
        let submitted = followed.act(key(), create(experiment)).await.unwrap();
        assert_eq!(submitted.receipt.index, followed.size());
    }
    followed.catch_up(&mut |_| {}).await.unwrap();
    assert_eq!(followed.size(), 4);
    assert_eq!(followed.seen().unwrap(), mirror.state().ends[3].0);
    assert!(followed.contract().unwrap().experiment(&name("c")).is_some());
    followed.keep().unwrap();
    drop(followed);

    // Long after, when what was pinned proves nothing any more.
    let kept = std::fs::read_to_string(dir.path().join("header")).unwrap();
    let (first, newest) = kept.trim().split_once('\n').unwrap();
    assert_eq!(first, pinned.to_string());
    let newest: ChainTrust = newest.parse().unwrap();
    assert!(newest.line.height > 1);
    {
        let mut state = mirror.state();
        state.wait(1_000);
        // The node has pruned it.
        state.chain.blocks[0] = state.chain.blocks[1].clone();
    }
    let mut followed = follow(&url, Some(dir.path()), Some(pinned.clone())).await.unwrap();
    followed.act(key(), create("d")).await.unwrap();

    // Another pin is held against what was believed.
    let third = mirror.state().chain.trust(3);
    follow(&url, Some(dir.path()), Some(third)).await.unwrap();
}

#[tokio::test]
async fn without_a_pin_it_is_read_and_nothing_is_signed() {
    let (mirror, url) = Mirror::start(YOUNG).await;
    let pinned = mirror.state().chain.trust(1);
    follow(&url, None, Some(pinned)).await.unwrap().act(key(), create("a")).await.unwrap();
    let mut followed = follow(&url, None, None).await.unwrap();
    assert_eq!(followed.size(), 2);
    let no_trust = (ChainError::NoTrust { chain: chain::ID.to_owned() }, false);
    assert_eq!(refused(followed.act(key(), create("b")).await), no_trust);
    assert_eq!(refused(followed.sign(key(), create("b"))), no_trust);
    assert_eq!(mirror.state().vouched.len(), 1);
}

#[tokio::test]
async fn a_header_that_is_not_of_now_is_asked_for_anew_and_then_nothing_is_signed() {
    let (mirror, url) = Mirror::start(Duration::from_secs(600)).await;
    let pinned = mirror.state().chain.trust(1);
    let mut followed = follow(&url, None, Some(pinned)).await.unwrap();
    let stale = refused(followed.act(key(), create("a")).await).0;
    assert!(matches!(stale, ChainError::Stale { age_s: 590..=620, max_s: 60 }), "{stale}");
    // Nothing happened in the ledger, but the chain went on.
    mirror.state().wait(590_000);
    followed.act(key(), create("a")).await.unwrap();
    assert_eq!(mirror.state().vouched.len(), 1);
}

#[tokio::test]
async fn a_new_header_makes_nothing_new_of_which_the_proof_fails() {
    let (mirror, url) = Mirror::start(Duration::from_secs(600)).await;
    let pinned = mirror.state().chain.trust(1);
    let mut followed = follow(&url, None, Some(pinned)).await.unwrap();
    // The block is one of the chain, and the value is not what it proves.
    mirror.state().wait(590_000);
    mirror.state().proof = |_, block| bend(&mut block.value.value, "\"value\":\"");
    for _ in 0..2 {
        let (error, _) = refused(followed.catch_up(&mut |_| {}).await);
        assert!(matches!(error, ChainError::Proof(_)), "{error}");
        let stale = refused(followed.sign(key(), create("a"))).0;
        assert!(matches!(stale, ChainError::Stale { .. }), "{stale}");
    }
    mirror.state().proof = |_, _| {};
    followed.act(key(), create("a")).await.unwrap();
}

#[tokio::test]
async fn where_one_node_proves_only_what_is_old_another_one_is_asked() {
    let (mirror, url) = Mirror::start(Duration::from_secs(600)).await;
    let chain = Some(mirror.state().chain.trust(1));
    let (_still, old) = mirror.second().await;
    mirror.state().wait(590_000);
    let client = Client::connect(vec![old, url.clone()]).await.unwrap();
    let trust = Trust { chain, ..Trust::default() };
    let mut followed = Followed::open(client, Memory::default(), trust).await.unwrap();
    followed.act(key(), create("a")).await.unwrap();
    assert_eq!(followed.client().url(), url);
    assert_eq!(mirror.state().vouched.len(), 1);
}

#[tokio::test]
async fn validators_may_change_and_blocks_between_are_asked_for() {
    let (mirror, url) = Mirror::start(YOUNG).await;
    let pinned = mirror.state().chain.trust(1);
    for first in 2..=9 {
        let mut state = mirror.state();
        state.chain.change_validators((first..first + 4).collect());
        state.wait(100);
        state.wait(100);
    }
    let mut followed = follow(&url, None, Some(pinned)).await.unwrap();
    followed.act(key(), create("a")).await.unwrap();
}

#[tokio::test]
async fn what_the_chain_does_not_prove_is_not_believed() {
    type Bend = fn(&mirror::State, &mut chain::Block);
    type Is = fn(&ChainError) -> bool;
    let bends: [(&str, Bend, Is); 8] = [
        (
            "a value",
            |_, block| bend(&mut block.value.value, "\"value\":\""),
            |error| matches!(error, ChainError::Proof(NotEstablished::Proof(_))),
        ),
        (
            "a proof",
            |_, block| bend(&mut block.value.value, "\"data\":\""),
            |error| matches!(error, ChainError::Proof(_)),
        ),
        (
            "the code's proof",
            |_, block| bend(&mut block.value.code, "\"value\":\""),
            |error| matches!(error, ChainError::Proof(NotEstablished::Proof(_))),
        ),
        (
            "another value's proof",
            |_, block| block.value.value = block.value.code.clone(),
            |it| matches!(it, ChainError::Proof(NotEstablished::Proof(_))),
        ),
        (
            "a header",
            |_, block| bend(&mut block.raw.commit, "\"app_hash\":\""),
            |error| matches!(error, ChainError::Header(NotBelieved::Wrong(_))),
        ),
        (
            "a vote",
            |_, block| bend(&mut block.raw.commit, "\"signature\":\""),
            |error| matches!(error, ChainError::Header(NotBelieved::Wrong(_))),
        ),
        (
            "validators",
            |_, block| {
                let mut other = chain::Chain::begin(block.time_ms);
                other.change_validators(vec![5, 6, 7, 8]);
                other.block(block.time_ms + 1);
                other.block(block.time_ms + 2);
                block.raw.validators = other.blocks[2].raw.validators.clone();
            },
            |error| matches!(error, ChainError::Header(NotBelieved::Wrong(_))),
        ),
        (
            "no answer",
            |_, block| block.value.value = b"{}".to_vec(),
            |error| matches!(error, ChainError::Proof(NotEstablished::Answer(_))),
        ),
    ];
    for (what, bend, is_it) in bends {
        let (mirror, url) = Mirror::start(YOUNG).await;
        let dir = tempfile::tempdir().unwrap();
        let pinned = mirror.state().chain.trust(1);
        mirror.state().proof = bend;
        let (error, kept) = refused(follow(&url, Some(dir.path()), Some(pinned.clone())).await);
        assert!(is_it(&error) && kept, "{what}: {error:?}");
        // Whoever lied may be gone the next time.
        mirror.state().proof = |_, _| {};
        let mut followed = follow(&url, Some(dir.path()), Some(pinned)).await.unwrap();
        // The same in the middle of a stream, and for a receipt.
        mirror.state().proof = bend;
        let (error, _) = refused(followed.act(key(), create("a")).await);
        assert!(is_it(&error), "{what}: {error:?}");
    }
}

/// Changes the letter behind this, to another digit of hex and of base64.
fn bend(answer: &mut [u8], behind: &str) {
    let text = String::from_utf8(answer.to_vec()).unwrap();
    let place = text.find(behind).unwrap() + behind.len() + 8;
    answer[place] = if answer[place] == b'A' { b'B' } else { b'A' };
}

#[tokio::test]
async fn a_checkpoint_of_something_else_than_is_proven_is_not_believed() {
    let (mirror, url) = Mirror::start(YOUNG).await;
    let pinned = mirror.state().chain.trust(1);
    mirror.state().note = |checkpoint| checkpoint.root = Hash([9; 32]);
    let (error, _) = refused(follow(&url, None, Some(pinned.clone())).await);
    assert!(matches!(error, ChainError::OtherEnd { .. }), "{error}");
    mirror.state().note = |checkpoint| checkpoint.origin.push('x');
    let error = follow(&url, None, Some(pinned.clone())).await.err().unwrap();
    assert!(matches!(error, ClientError::Checkpoint(..)), "{error}");
    mirror.state().note = |_| {};
    let mut followed = follow(&url, None, Some(pinned)).await.unwrap();
    mirror.state().note = |checkpoint| checkpoint.root = Hash([9; 32]);
    let (error, _) = refused(followed.act(key(), create("a")).await);
    assert!(matches!(error, ChainError::OtherEnd { .. }), "{error}");
    assert!(ClientError::from(error).is_a_lie());
}

#[tokio::test]
async fn other_code_is_an_end_of_trust() {
    let (mirror, url) = Mirror::start(YOUNG).await;
    let pinned = mirror.state().chain.trust(1);
    let mut followed = follow(&url, None, Some(pinned)).await.unwrap();
    mirror.state().chain.run_code([8; 32]);
    let error = followed.act(key(), create("a")).await.err().unwrap();
    assert!(!error.is_transient() && !error.is_a_lie(), "{error}");
    let (error, _) = refused::<()>(Err(error));
    let code = NotEstablished::OtherCode { found: [8; 32], expected: chain::CODE };
    assert_eq!(error, ChainError::Proof(code));
}

#[tokio::test]
async fn a_contract_that_somebody_administers_is_an_end_of_trust() {
    let (mirror, url) = Mirror::start(OLDER).await;
    let pinned = mirror.state().chain.trust(1);
    let mut followed = follow(&url, None, Some(pinned)).await.unwrap();
    mirror.state().chain.administer();
    mirror.state().wait(1_000);
    let (error, _) = refused(followed.catch_up(&mut |_| {}).await);
    assert!(error.ends_trust() && error == ChainError::Admin { admin: "a".to_owned() }, "{error}");
}

#[tokio::test]
async fn a_ledger_that_shrinks_is_an_end_of_trust() {
    let (mirror, url) = Mirror::start(OLDER).await;
    let dir = tempfile::tempdir().unwrap();
    let pinned = mirror.state().chain.trust(1);
    let mut followed = follow(&url, Some(dir.path()), Some(pinned)).await.unwrap();
    let earlier = mirror.state().tree.to_bytes();
    followed.act(key(), create("a")).await.unwrap();
    mirror.state().chain.keep(earlier);
    mirror.state().wait(1_000);
    let (error, kept) = refused(followed.catch_up(&mut |_| {}).await);
    assert!(error.ends_trust() && error == ChainError::Shrunk { one: 2, other: 1 }, "{error}");
    assert!(kept);
}

#[tokio::test]
async fn a_header_of_the_future_is_told_as_what_it_may_be_and_is_no_evidence() {
    let (mirror, url) = Mirror::start(YOUNG).await;
    let dir = tempfile::tempdir().unwrap();
    let pinned = mirror.state().chain.trust(1);
    mirror.state().wait(600_000);
    mirror.state().proof = |state, block| *block = state.chain.blocks[3].clone();
    let error = follow(&url, Some(dir.path()), Some(pinned)).await.err().unwrap();
    assert!(error.is_transient() && !error.is_a_lie(), "{error}");
    assert_eq!(refused::<()>(Err(error)), (ChainError::Future { height: 4 }, false));
}

#[tokio::test]
async fn pins_and_memories_of_another_chain_are_refused() {
    let (mirror, url) = Mirror::start(YOUNG).await;
    let pinned = mirror.state().chain.trust(1);
    let mut other = pinned.clone();
    other.line.chain = "other-1".to_owned();
    let (error, _) = refused(follow(&url, None, Some(other)).await);
    assert!(matches!(error, ChainError::OtherChain { .. }), "{error}");
    // The same code on the same chain keeps another ledger under another address.
    let contract = "wasm1nc5tatafv6eyq7llkr2gv50ff9e22mnf70qgjlv737ktmt4eswrqr5j2ht";
    let other = ChainTrust { contract: contract.to_owned(), ..pinned.clone() };
    let (error, _) = refused(follow(&url, None, Some(other)).await);
    assert!(matches!(error, ChainError::OtherContract { .. }), "{error}");
    let mut other = pinned.clone();
    other.line.hash = [1; 32];
    let (error, _) = refused(follow(&url, None, Some(other)).await);
    assert_eq!(error, ChainError::Header(NotBelieved::OtherHeader { height: 1 }));
    let mut short = pinned.clone();
    short.line.period = Duration::from_secs(1);
    let (error, _) = refused(follow(&url, None, Some(short)).await);
    assert_eq!(error, ChainError::Header(NotBelieved::TooOld));

    let dir = tempfile::tempdir().unwrap();
    drop(follow(&url, Some(dir.path()), Some(pinned.clone())).await.unwrap());
    let path = dir.path().join("header");
    let kept = std::fs::read_to_string(&path).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    std::fs::write(&path, kept.replace(chain::ID, "other-1")).unwrap();
    let (error, _) = refused(follow(&url, Some(dir.path()), Some(pinned.clone())).await);
    assert!(matches!(error, ChainError::OtherChain { .. }), "{error}");
    // Another pin, from which another header follows.
    let mut newest: ChainTrust = kept.lines().nth(1).unwrap().parse().unwrap();
    newest.line.hash = [1; 32];
    let mut before = pinned.clone();
    before.line.hash = [2; 32];
    std::fs::write(&path, format!("{before}\n{newest}\n")).unwrap();
    let (error, _) = refused(follow(&url, Some(dir.path()), Some(pinned.clone())).await);
    assert_eq!(error, ChainError::Contradicted { height: newest.line.height });
    std::fs::write(&path, "nothing").unwrap();
    let error = follow(&url, Some(dir.path()), Some(pinned)).await.err().unwrap();
    assert!(matches!(error, ClientError::Data { .. }), "{error}");
}

#[tokio::test]
async fn a_block_of_another_height_than_was_asked_for_contradicts_nothing() {
    let (mirror, url) = Mirror::start(YOUNG).await;
    let pinned = mirror.state().chain.trust(1);
    let second = mirror.state().chain.trust(2);
    let dir = tempfile::tempdir().unwrap();
    drop(follow(&url, Some(dir.path()), Some(pinned)).await.unwrap());
    let (_honest, other) = mirror.second().await;
    // Of the header that is remembered, the one before is shown.
    {
        let mut state = mirror.state();
        assert_eq!(state.chain.height(), 3);
        state.chain.blocks[2] = state.chain.blocks[1].clone();
    }
    let error = follow(&url, Some(dir.path()), Some(second.clone())).await.err().unwrap();
    assert!(error.is_a_lie() && error.is_transient(), "{error}");
    let client = Client::connect(vec![url, other.clone()]).await.unwrap();
    let memory = Memory::open(dir.path(), learner_id(&key())).unwrap();
    let trust = Trust { chain: Some(second), ..Trust::default() };
    let followed = Followed::open(client, memory, trust).await.unwrap();
    assert_eq!(followed.client().url(), other);
}

#[tokio::test]
async fn what_was_followed_on_a_nodes_word_is_not_gone_on_from_with_a_pin() {
    let (mirror, url) = Mirror::start(YOUNG).await;
    let (liar, lying) = mirror.second().await;
    let pinned = mirror.state().chain.trust(1);
    // The liar's chain goes another way.
    let lied = liar.state().chain.trust(1);
    follow(&lying, None, Some(lied)).await.unwrap().act(key(), create("a")).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut followed = follow(&lying, Some(dir.path()), None).await.unwrap();
    assert_eq!(followed.size(), 2);
    followed.keep().unwrap();
    // Nor does the key belong to what somebody may have made up.
    let bound = || std::fs::read_to_string(dir.path().join("memory.json")).unwrap();
    assert!(bound().contains("\"ledger\": null"), "{}", bound());
    drop(followed);
    let mut other = follow(&url, None, Some(pinned.clone())).await.unwrap();
    for experiment in ["b", "c"] {
        other.act(key(), create(experiment)).await.unwrap();
    }
    let followed = follow(&url, Some(dir.path()), Some(pinned.clone())).await.unwrap();
    assert_eq!(followed.size(), 3);
    drop(followed);
    // Without a pin, what was proven is gone on from.
    assert_eq!(follow(&url, Some(dir.path()), None).await.unwrap().size(), 3);
}

#[tokio::test]
async fn a_message_that_has_waited_is_followed_by_what_is_proven_now() {
    let (mirror, url) = Mirror::start(YOUNG).await;
    let pinned = mirror.state().chain.trust(1);
    let mut busy = follow(&url, None, Some(pinned.clone())).await.unwrap();
    let mut other = follow(&url, None, Some(pinned)).await.unwrap();
    other.act(key(), create("a")).await.unwrap();
    // Both were sent the first entry, and now the second.
    let mut streamed = mirror.state().streamed.subscribe();
    streamed.wait_for(|count| *count >= 4).await.unwrap();
    other.act(key(), create("b")).await.unwrap();
    mirror.state().gone = 2;
    busy.catch_up(&mut |_| {}).await.unwrap();
    assert_eq!(busy.size(), 3);
}

#[tokio::test]
async fn who_trusts_a_chain_is_shown_no_ledger_that_a_node_keeps() {
    let (mirror, url) = Mirror::start(YOUNG).await;
    let pinned = mirror.state().chain.trust(1);
    mirror.state().show_its_own();
    let (error, _) = refused(follow(&url, None, Some(pinned)).await);
    assert!(matches!(error, ChainError::NotOnChain { .. }), "{error}");
}

#[tokio::test]
async fn two_headers_of_one_height_are_kept_and_nothing_goes_on() {
    let (mirror, url) = Mirror::start(OLDER).await;
    let dir = tempfile::tempdir().unwrap();
    let pinned = mirror.state().chain.trust(1);
    let mut followed = follow(&url, Some(dir.path()), Some(pinned.clone())).await.unwrap();
    // The same validators have signed another block at the height of the last one.
    let sign_another = || {
        let mut state = mirror.state();
        let last = state.chain.blocks.pop().unwrap();
        let other = state.chain.sealed(last.time_ms + 7);
        assert!(other.hash != last.hash);
        state.chain.blocks.push(other);
        last
    };
    let last = sign_another();
    let height = mirror.state().chain.height();
    let error = followed.catch_up(&mut |_| {}).await.err().unwrap();
    assert!(!error.is_transient() && !error.is_a_lie(), "{error}");
    assert_eq!(refused::<()>(Err(error)), (ChainError::TwoHeaders { height }, true));
    let evidence = std::fs::read_dir(dir.path().join("evidence")).unwrap();
    let headers = evidence.filter(|it| {
        let name = it.as_ref().unwrap().file_name();
        name.to_string_lossy().ends_with("-header.txt")
    });
    assert_eq!(headers.count(), 2);
    // Nor after a restart, whoever is asked, and with another pin.
    let (_honest, other) = mirror.second().await;
    let newer = mirror.state().chain.trust(height);
    for (url, pinned) in [(&url, pinned.clone()), (&other, pinned.clone()), (&url, newer)] {
        let (error, _) = refused(follow(url, Some(dir.path()), Some(pinned)).await);
        assert_eq!(error, ChainError::TwoHeaders { height });
    }
    // It is for somebody to decide.
    let mark = dir.path().join("two-headers");
    std::fs::remove_file(&mark).unwrap();
    *mirror.state().chain.blocks.last_mut().unwrap() = last;
    let mut followed = follow(&url, Some(dir.path()), Some(pinned)).await.unwrap();
    mirror.state().wait(10_000);
    followed.catch_up(&mut |_| {}).await.unwrap();
    // It is told also where it cannot be kept.
    std::fs::create_dir(&mark).unwrap();
    sign_another();
    let height = mirror.state().chain.height();
    let error = followed.catch_up(&mut |_| {}).await.err().unwrap();
    assert_eq!(refused::<()>(Err(error)), (ChainError::TwoHeaders { height }, true));
}

#[tokio::test]
async fn an_entry_of_another_time_than_its_block_is_a_departure() {
    for clock_ms in [5_000, -5_000] {
        let (mirror, url) = Mirror::start(OLDER).await;
        let dir = tempfile::tempdir().unwrap();
        let pinned = mirror.state().chain.trust(1);
        let mut followed = follow(&url, Some(dir.path()), Some(pinned.clone())).await.unwrap();
        mirror.state().wait(10_000);
        // The newest header says that nothing was recorded before it.
        followed.catch_up(&mut |_| {}).await.unwrap();
        mirror.state().clock_ms = clock_ms;
        let mut other = follow(&url, None, Some(pinned)).await.unwrap();
        other.act(key(), create("a")).await.unwrap();
        let (error, kept) = refused(followed.catch_up(&mut |_| {}).await);
        assert!(matches!(error, ChainError::Time(OutOfTime { index: 1, .. })) && kept, "{error}");
    }
}

#[tokio::test]
async fn a_mirror_that_is_behind_was_not_put_back_and_is_gone_on_from() {
    let (mirror, url) = Mirror::start(YOUNG).await;
    let dir = tempfile::tempdir().unwrap();
    let pinned = mirror.state().chain.trust(1);
    let (_behind, old) = mirror.second().await;
    let mut followed = follow(&url, Some(dir.path()), Some(pinned.clone())).await.unwrap();
    followed.act(key(), create("a")).await.unwrap();
    followed.catch_up(&mut |_| {}).await.unwrap();
    followed.keep().unwrap();
    drop(followed);
    let error = follow(&old, Some(dir.path()), Some(pinned.clone())).await.err().unwrap();
    assert!(matches!(error, ClientError::Behind { shown: 1, known: 2, .. }), "{error}");
    let client = Client::connect(vec![old, url.clone()]).await.unwrap();
    let memory = Memory::open(dir.path(), learner_id(&key())).unwrap();
    let trust = Trust { chain: Some(pinned), ..Trust::default() };
    let mut both = Followed::open(client, memory, trust).await.unwrap();
    both.catch_up_somewhere(&mut |_| {}).await.unwrap();
    assert_eq!((both.size(), both.client().url()), (2, &*url));
}
