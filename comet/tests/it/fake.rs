//! The CometBFT of tests, against the smallest application.

use colearn_comet::abci::{ResponseCheckTx, Stopping, response};
use colearn_comet::files::Genesis;
use colearn_comet::rpc::Broadcast;
use colearn_comet::testing::{Between, FakeComet, Gone};

use crate::app::App;

fn genesis() -> Genesis {
    Genesis {
        chain_id: "test".to_owned(),
        time_ms: 1_000_000,
        app_version: 1,
        validators: vec![("a".to_owned(), [1; 32])],
    }
}

/// An application that is served as long as `f` runs.
fn with_app(app: &App, f: impl FnOnce(&std::path::Path)) -> Stopping {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("abci.sock");
    let stopping = Stopping::new();
    let serving = app.serve(&socket, &stopping);
    f(&socket);
    stopping.stop();
    serving.join().unwrap();
    stopping
}

#[test]
fn who_stands_between_passes_on_what_he_likes() {
    let app = App::default();
    with_app(&app, |socket| {
        let dir = tempfile::tempdir().unwrap();
        let (between, socket) = (dir.path().join("between.sock"), socket.to_owned());
        let alter = |answer| match answer {
            response::Value::CheckTx(_) => {
                response::Value::CheckTx(ResponseCheckTx { code: 7, ..ResponseCheckTx::default() })
            }
            answer => answer,
        };
        let standing = Between::stand(&between, move || Ok(socket.clone()), alter).unwrap();
        let mut comet = FakeComet::new(genesis());
        comet.connect(&between).unwrap();
        assert_eq!(comet.check_tx("a").unwrap(), Broadcast::Refused { code: 7 });
        comet.make_block(2_000_000).unwrap();
        drop(standing);
        comet.make_block(2_001_000).unwrap();
        assert!(FakeComet::new(genesis()).connect(&between).is_err());
    });
}

#[test]
fn blocks_are_made_and_their_times_are_those_of_the_votes_before() {
    let app = App::default();
    with_app(&app, |socket| {
        let mut comet = FakeComet::new(genesis());
        comet.connect(socket).unwrap();
        assert_eq!(comet.check_tx("a").unwrap(), Broadcast::Taken);
        assert_eq!(comet.check_tx("a").unwrap(), Broadcast::InCache);
        assert_eq!(comet.check_tx("no").unwrap(), Broadcast::Refused { code: 1 });
        comet.make_block(2_000_000).unwrap();
        comet.make_block(5_000_000).unwrap();
        comet.make_block(5_000_000).unwrap();
        comet.make_block(5_000_000).unwrap();
        let times: Vec<_> = (1..=4).map(|height| comet.block(height).unwrap().time_ms).collect();
        assert_eq!(times, [1_000_000, 2_000_000, 5_000_000, 5_000_001]);
        assert_eq!(comet.check_tx("a").unwrap(), Broadcast::InCache);
    });
    assert_eq!(app.kept().txs, [b"a"]);
    assert_eq!(app.kept().height, 4);
}

#[test]
fn a_restarted_application_is_replayed_what_it_lacks() {
    let app = App::default();
    let mut comet = FakeComet::new(genesis());
    with_app(&app, |socket| {
        comet.connect(socket).unwrap();
        comet.check_tx("a").unwrap();
        comet.make_block(2_000_000).unwrap();
        comet.check_tx("b").unwrap();
        let block = comet.propose(3_000_000).unwrap();
        comet.decide(block);
        comet.finalize().unwrap();
    });
    assert_eq!(app.kept().height, 1);

    let app = app.restarted();
    with_app(&app, |socket| comet.connect(socket).unwrap());
    assert_eq!(*app.requests.lock().unwrap(), ["Info", "FinalizeBlock", "Commit"]);
    assert_eq!(app.kept().txs, [b"a", b"b"]);

    // One that has lost everything is sent everything.
    let new = App::default();
    with_app(&new, |socket| comet.connect(socket).unwrap());
    assert_eq!(new.kept(), app.kept());
    assert_eq!(new.requests.lock().unwrap()[..2], ["Info", "InitChain"]);
}

#[test]
fn a_comet_that_starts_again_finds_the_application_where_it_was() {
    let app = App::default();
    with_app(&app, |socket| {
        let mut comet = FakeComet::new(genesis());
        comet.connect(socket).unwrap();
        comet.check_tx("a").unwrap();
        comet.make_block(2_000_000).unwrap();
        comet.check_tx("b").unwrap();
        comet.connect(socket).unwrap();
        assert_eq!(comet.mempool().count(), 0, "a mempool is not durable");
        assert_eq!(comet.check_tx("b").unwrap(), Broadcast::Taken);
        comet.make_block(3_000_000).unwrap();
    });
    assert_eq!(app.kept().txs, [b"a", b"b"]);
}

#[test]
#[should_panic(expected = "ahead of the chain")]
fn an_application_ahead_of_the_chain_fails_the_test() {
    let app = App::default();
    app.kept.lock().unwrap().height = 3;
    with_app(&app, |socket| FakeComet::new(genesis()).connect(socket).unwrap());
}

#[test]
#[should_panic(expected = "another hash")]
fn an_application_that_departs_fails_the_test() {
    let app = App::default();
    with_app(&app, |socket| {
        let mut comet = FakeComet::new(genesis());
        comet.connect(socket).unwrap();
        comet.make_block(2_000_000).unwrap();
        app.kept.lock().unwrap().txs.push(b"bitrot".to_vec());
        comet.connect(socket).unwrap();
    });
}

#[test]
fn an_application_that_fails_says_why_and_the_server_ends() {
    // Many times: who is told of the failure may stop the server before its own thread comes to that.
    for _ in 0..200 {
        let app = App::default();
        let stopping = with_app(&app, |socket| {
            let mut comet = FakeComet::new(genesis());
            comet.connect(socket).unwrap();
            comet.check_tx("die").unwrap();
            let Err(Gone::Exception(why)) = comet.make_block(2_000_000) else { panic!("it lives") };
            assert_eq!(why, "asked to die");
        });
        assert_eq!(stopping.wait().unwrap().to_string(), "asked to die");
    }
}
