//! `colearn top` in a real terminal: what is on its screen as a ledger grows, when its node goes away or lies, and how
//! it leaves the terminal.

use rustix::process::Signal;

use crate::page::{HOSTILE, digits};
use crate::support::terminal::Terminal;
use crate::support::{
    Counter, NodeProcess, Speaker, colearn, copy, fail, join, key, succeed, wait_for,
};

const USUAL: (u16, u16) = (80, 24);

fn top(arguments: &[&str], size: (u16, u16)) -> Terminal {
    Terminal::run(&colearn(&[&["top"], arguments].concat()), size)
}

#[test]
fn it_shows_what_happens_and_gives_the_terminal_back() {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(&dir.path().join("data"));
    let mut top = top(&["--node", &node.url], (120, 40));
    top.wait(&["There is no experiment yet", "1 entries", "Live, verified here, from http://"]);
    digits(&node, dir.path());
    top.wait(&["digits", "finished", "4/4"]);
    top.press("\r");
    let screen = top.wait(&["Now", "because: max rounds", "Scores", "Who did what", "Ann", "▲"]);
    assert!(screen.contains(&HOSTILE[..16]), "{screen}");
    assert!(screen.contains("Bob") && screen.contains("✓ voted for"), "{screen}");
    top.press("\t");
    top.wait(&["Member", "Key", "Not accepted", &HOSTILE[..16]]);
    top.press("\t");
    top.wait(&["No motion is open."]);
    top.press("\t");
    top.wait(&["No member trains with differential privacy here."]);
    top.press("v");
    top.wait(&["✓ verified here", "said by members", "Nothing was insisted on."]);
    top.press("?");
    top.wait(&["what was verified, and who says the rest", "proposed, accepted"]);
    top.press("\u{1b}[Z");
    top.wait(&["No motion is open."]);
    top.press("\u{1b}[Z\u{1b}[Z");
    top.wait(&["Who did what"]);

    // Smaller, and larger again.
    top.resize(44, 12);
    wait_for("a smaller screen", || {
        let screen = top.screen();
        (screen.contains("finished") && !screen.contains("Scores")).then_some(())
    });
    top.resize(100, 30);
    top.wait(&["Scores", "Who did what"]);
    top.press("\u{1b}");
    top.wait(&["Experiment", "digits", "Vote score"]);

    node.stop();
    top.wait(&["The node is not reached for"]);
    top.press("q");
    assert_eq!(top.end(), Some(0));
    wait_for("the terminal as it was", || top.is_as_before().then_some(()));
    assert!(top.written().contains("38;5;"), "there were colours");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_it_ends_the_terminal_is_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(&dir.path().join("data"));
    let mut speaker = Speaker::connect(&node.url).await;
    speaker.create("x", &Counter::weights(0), 3).await;
    let mut command = colearn(&["top", "x", "--node", &node.url]);
    command.env("NO_COLOR", "1");
    for end in [None, Some(Signal::INT), Some(Signal::TERM), Some(Signal::HUP)] {
        let mut top = Terminal::run(&command, USUAL);
        top.wait(&["colearn top › x › round 0", "waiting for members"]);
        assert!(!top.is_as_before());
        match end {
            Some(signal) => top.signal(signal),
            None => top.press("\u{3}"),
        }
        assert_eq!(top.end(), Some(0), "{end:?}");
        wait_for("the terminal as it was", || top.is_as_before().then_some(()));
        assert!(!top.written().contains("38;5;"), "there were no colours");
    }
    // What goes wrong before anything is drawn is said in one line.
    let mut none = top(&["none", "--node", &node.url], USUAL);
    assert_eq!(none.end(), Some(1));
    none.wait(&["error: there is no experiment none;"]);
    assert!(none.is_as_before());
    let mut command = colearn(&["top", "x", "--node", &node.url]);
    command.env("TERM", "dumb");
    let mut dumb = Terminal::run(&command, USUAL);
    assert_eq!(dumb.end(), Some(1));
    dumb.wait(&["this terminal (TERM=dumb) cannot be drawn on", "experiment watch x"]);
    // Here its output is no terminal at all.
    let told = fail(&["top", "x", "--node", &node.url]);
    assert!(told.contains("colearn experiment watch x") && told.contains("--json"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lies_is_in_red_above_all_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let node = NodeProcess::start(&path("data"));
    let mut speaker = Speaker::connect(&node.url).await;
    speaker.create("x", &Counter::weights(0), 3).await;
    let address = node.address();
    let pem = path("a.pem");
    let pem = pem.to_str().unwrap();
    succeed(&["key", "new", pem]);
    let mut top = top(&["x", "--node", &node.url, "--key", pem], USUAL);
    top.wait(&["verified here", "waiting for members", "2 entries"]);
    drop(speaker);
    node.stop();
    copy(&path("data"), &path("old"));
    let node = NodeProcess::start_at(&path("data"), &address);
    let mut speaker = Speaker::connect(&node.url).await;
    speaker.act(&key(1), join("x", 3, 0)).await.unwrap();
    top.wait(&["3 entries", "verified here"]);
    drop(speaker);
    node.stop();
    let _node = NodeProcess::start_at(&path("old"), &address);
    let screen = top.wait(&["ROLLED BACK: the node shows less than it had", "3 entries"]);
    assert!(screen.contains("Nothing below is claimed to be verified any longer."), "{screen}");
    assert!(!screen.contains("verified here"), "{screen}");
    top.press("v");
    top.wait(&["✗ no longer claimed"]);
    top.press("q");
    assert_eq!(top.end(), Some(0));
}

#[test]
fn a_folder_is_audited_and_shown_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let node = NodeProcess::start(&data);
    digits(&node, dir.path());
    node.stop();
    let mut top = top(&["digits", "--from", data.to_str().unwrap()], USUAL);
    let screen = top.wait(&["A copy in", "audited and read", "finished", "Ann"]);
    assert!(!screen.contains("Live"), "{screen}");
    top.press("q");
    assert_eq!(top.end(), Some(0));
}
