//! Checkpoints that enough nodes have signed, asked for over HTTP.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};

use colearn_ledger::{Checkpoint, Hash, SignedNote};
use tokio::runtime::Runtime;
use v1::validator_change::Change;

use super::*;
use crate::order::replicated::signatures::gather_one;
use crate::resync::{self, Plan};
use crate::testing;

/// What a node answers when it is asked for its word.
enum Says {
    Nothing,
    /// Its own, as its signatures have it.
    Word(Arc<Signatures>),
    /// This, whatever it is asked.
    This(String),
    /// The same, at this time by its clock.
    At(String, std::time::SystemTime),
}

/// Where a node is asked for its word.
struct Door {
    listens: std::net::SocketAddr,
    says: Arc<Mutex<Says>>,
    serving: Option<JoinHandle<()>>,
}

impl Door {
    fn open(runtime: &Runtime) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let listens = listener.local_addr().unwrap();
        let says = Arc::new(Mutex::new(Says::Nothing));
        let (what, handle) = (says.clone(), runtime.handle().clone());
        let serving = Some(std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if !answer(stream, &what, &handle) {
                    return;
                }
            }
        }));
        Self { listens, says, serving }
    }

    fn say(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // An empty request is the end.
        let _ = TcpStream::connect(self.listens);
        let _ = self.serving.take().unwrap().join();
    }
}

/// Answers one request; `false` for none.
fn answer(mut stream: TcpStream, says: &Mutex<Says>, runtime: &Handle) -> bool {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let Some(Ok(first)) = lines.next() else { return false };
    for line in lines {
        if line.unwrap().is_empty() {
            break;
        }
    }
    let path = first.split(' ').nth(1).unwrap();
    let size: u64 = path.strip_prefix("/checkpoint/").unwrap().parse().unwrap();
    let note = match &*says.lock().unwrap() {
        Says::Nothing => None,
        Says::Word(signatures) => runtime.block_on(signatures.note(size)).unwrap(),
        Says::This(note) | Says::At(note, _) => Some(note.clone()),
    };
    let date = match &*says.lock().unwrap() {
        Says::At(_, time) => format!("date: {}\r\n", httpdate::fmt_http_date(*time)),
        _ => String::new(),
    };
    let (status, body) = note.map_or(("404 Not Found", String::new()), |note| ("200 OK", note));
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\n{date}content-length: {length}\r\nconnection: close\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    true
}

/// Four nodes that can be asked.
struct Asked {
    runtime: Runtime,
    doors: Vec<Door>,
    network: Network,
}

impl Asked {
    fn four() -> Self {
        let runtime = Runtime::new().unwrap();
        let doors: Vec<_> = (0..4).map(|_| Door::open(&runtime)).collect();
        let url = |door: &Door| format!("http://{}", door.listens);
        let them = (1..).zip(&doors).map(|(number, door)| validator_at(number, &url(door)));
        let network = Network::begun_with(&genesis_of(them.collect(), VERSION), 4);
        let asked = Self { runtime, doors, network };
        asked.all_say_their_word();
        asked
    }

    fn all_say_their_word(&self) {
        for (door, node) in self.doors.iter().zip(&self.network.nodes) {
            door.say(Says::Word(node.running().signatures.clone()));
        }
    }

    /// Records something; how many entries there are then.
    fn record(&mut self, name: &str) -> u64 {
        let create = self.network.sign(1, testing::create(name));
        assert_eq!(self.network.record(vec![create]), [code::RECORDED]);
        self.network.nodes[0].reader().size()
    }

    /// Has the first node ask the others once; how many entries are under what it shows then.
    fn gather(&self) -> u64 {
        let node = self.network.nodes[0].running();
        self.runtime.block_on(gather_one(&node.application, &node.signatures));
        node.application.shown.published_size()
    }

    /// What it shows.
    fn shown(&self) -> Arc<SignedCheckpoint> {
        let published = self.network.nodes[0].application().shown.published();
        let shown = published.borrow().clone();
        shown.unwrap()
    }

    /// What a node says of so many entries.
    fn word_of(&self, number: usize, size: u64) -> Option<String> {
        let signatures = &self.network.nodes[number - 1].running().signatures;
        self.runtime.block_on(signatures.note(size)).unwrap()
    }

    /// What a node would say of another history.
    fn other_word_of(&self, number: u8, size: u64) -> String {
        let text = Checkpoint { origin: "test".to_owned(), size, root: Hash([5; 32]) }.text();
        let signer = crate::open::signer("test", key(number)).unwrap();
        format!("{text}\n{}", signer.sign(&text, 0))
    }

    fn contradicted(&self) -> usize {
        self.network.nodes[0].running().signatures.contradicted().len()
    }

    /// Whose lines are under what the first shows, by their numbers.
    fn signers(&self) -> Vec<u8> {
        let note = self.shown().note.clone();
        let note = SignedNote::parse(&note).unwrap();
        let signed = |number: &u8| {
            let signer = crate::open::signer("test", key(*number)).unwrap();
            signer.verifier().verify(&note).is_ok()
        };
        (1..=9).filter(signed).collect()
    }
}

#[test]
fn three_of_four_are_enough_and_two_are_not() {
    let mut asked = Asked::four();
    let size = asked.record("a");
    asked.doors[3].say(Says::Nothing);
    asked.doors[2].say(Says::Nothing);
    assert_eq!(asked.gather(), 0);
    asked.doors[2].say(Says::Word(asked.network.nodes[2].running().signatures.clone()));
    assert_eq!(asked.gather(), size);
    assert_eq!(asked.signers(), [1, 2, 3]);
    // Its own line first, and none more than is needed, though all can be asked.
    asked.all_say_their_word();
    let size = asked.record("b");
    assert_eq!(asked.gather(), size);
    let signers = asked.signers();
    assert_eq!((signers.len(), signers[0]), (3, 1));
    let own = crate::open::signer("test", key(1)).unwrap();
    let shown = asked.shown();
    let first = own.sign(&shown.checkpoint.text(), 0);
    assert!(shown.note.contains(&format!("\n\n{first}")), "{}", shown.note);
    // Whoever knows who keeps the ledger can verify it.
    let keys = asked.network.nodes[0].application().keys.borrow().clone();
    assert_eq!(keys.open(&shown.note).unwrap(), shown.checkpoint);
}

#[test]
fn what_comes_while_others_are_asked_is_not_shown_before_they_have_signed_it() {
    let mut asked = Asked::four();
    let first = asked.record("a");
    for door in &asked.doors[1..] {
        door.say(Says::Nothing);
    }
    // Nobody signs, and blocks go on: of all their states the newest is shown in the end.
    for name in ["b", "c", "d"] {
        assert_eq!(asked.gather(), 0);
        asked.record(name);
    }
    asked.all_say_their_word();
    let shown = |asked: &Asked| {
        let running = asked.network.nodes[0].running();
        running.views.latest().experiments_after("").count()
    };
    assert_eq!(shown(&asked), 0);
    let application = asked.network.nodes[0].application();
    assert_eq!(application.shown.ask(), first + 6);
    // It is signed only after more has come, which is not.
    asked.record("e");
    let signed = |asked: &Asked, size| {
        let node = asked.network.nodes[0].running();
        let keys = node.application.keys.borrow().clone();
        let notes = (1..=3).map(|number| asked.word_of(number, size).unwrap());
        let lines: String =
            notes.map(|note| note.split_once("\n\n").unwrap().1.to_owned()).collect();
        let text = asked.word_of(1, size).unwrap();
        let note = format!("{}\n\n{lines}", text.split_once("\n\n").unwrap().0);
        Arc::new(SignedCheckpoint { checkpoint: keys.open(&note).unwrap(), note })
    };
    let application = asked.network.nodes[0].application();
    application.shown.publish(&signed(&asked, first + 6));
    assert_eq!((application.shown.published_size(), shown(&asked)), (first + 6, 4));
    assert_eq!((asked.gather(), shown(&asked)), (first + 8, 5));
}

#[test]
fn lines_of_others_are_handed_on() {
    let mut asked = Asked::four();
    let size = asked.record("a");
    assert_eq!(asked.gather(), size);
    // The second can reach the first only, which knows what it needs.
    for door in &asked.doors[1..] {
        door.say(Says::Nothing);
    }
    let node = asked.network.nodes[1].running();
    asked.runtime.block_on(gather_one(&node.application, &node.signatures));
    assert_eq!(node.application.shown.published_size(), size);
}

#[test]
fn a_line_that_is_wrong_makes_an_answer_worthless() {
    let mut asked = Asked::four();
    let size = asked.record("a");
    let good = asked.word_of(2, size).unwrap();
    let text = SignedNote::parse(&good).unwrap().text().to_owned();
    // Under the third's name, of another text.
    let third = crate::open::signer("test", key(3)).unwrap();
    let wrong = format!("{good}{}", third.sign("test\n1\nAAAA\n", 0));
    asked.doors[1].say(Says::This(wrong));
    asked.doors[3].say(Says::Nothing);
    assert_eq!(asked.gather(), 0);
    // Of keys that nobody knows there may be any.
    let stranger = crate::open::signer("test", key(77)).unwrap();
    asked.doors[1].say(Says::This(format!("{good}{}", stranger.sign(&text, 0))));
    assert_eq!(asked.gather(), size);
    assert_eq!(asked.signers(), [1, 2, 3]);
}

#[test]
fn what_is_no_answer_is_none() {
    let mut asked = Asked::four();
    asked.doors[2].say(Says::Nothing);
    asked.doors[3].say(Says::Nothing);
    let before = asked.network.nodes[0].reader().size();
    let old = asked.word_of(2, before).unwrap();
    let size = asked.record("a");
    let good = asked.word_of(2, size).unwrap();
    let answers = [
        String::new(),
        "no note".to_owned(),
        "x".repeat(100_000),
        // Of another size, and of nobody.
        old,
        SignedNote::parse(&good).unwrap().text().to_owned() + "\n",
    ];
    for answer in answers {
        asked.doors[1].say(Says::This(answer));
        assert_eq!(asked.gather(), 0);
    }
    assert_eq!(asked.contradicted(), 0);
}

#[test]
fn another_history_is_kept_as_evidence_against_who_signed_it() {
    let mut asked = Asked::four();
    let size = asked.record("a");
    let other = asked.other_word_of(2, size);
    asked.doors[1].say(Says::This(other.clone()));
    // What the second signed, the third can only hand on: nothing is held against it.
    asked.doors[2].say(Says::This(other.clone()));
    assert_eq!(asked.gather(), 0);
    assert_eq!(asked.contradicted(), 1);
    let evidence = |name: &str| {
        let path = asked.network.nodes[0].dir.path().join(format!("fork-{size}-{name}.txt"));
        std::fs::read_to_string(path).ok()
    };
    let kept = evidence("org-2").unwrap();
    assert!(kept.ends_with(&other), "{kept}");
    let own = crate::open::signer("test", key(1)).unwrap();
    let ours = kept.strip_suffix(&format!("\n{other}")).unwrap();
    own.verifier().verify(&SignedNote::parse(ours).unwrap()).unwrap();
    assert_eq!(evidence("org-3"), None);
    // One who lies stops nobody.
    asked.doors[2].say(Says::Word(asked.network.nodes[2].running().signatures.clone()));
    assert_eq!(asked.gather(), size);
    assert_eq!(asked.signers(), [1, 3, 4]);
    // One piece of it is enough, however often it lies.
    let next = asked.record("b");
    asked.doors[1].say(Says::This(asked.other_word_of(2, next)));
    asked.doors[2].say(Says::Nothing);
    assert_eq!((asked.gather(), asked.contradicted()), (size, 1));
    let files = std::fs::read_dir(asked.network.nodes[0].dir.path()).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.starts_with("fork-")).count(), 1);
    // Started anew, it has not forgotten. What proves nothing counts for nothing: what is empty, of somebody else,
    // of a size that is not here, or of what this node has itself.
    let data = asked.network.nodes[0].dir.path().to_owned();
    let put = |size: u64, name: &str, text: &str| {
        std::fs::write(data.join(format!("fork-{size}-{name}.txt")), text).unwrap();
    };
    put(next, "org-3", "");
    put(size, "org-3", &kept);
    put(next + 100, "org-3", &asked.other_word_of(3, next + 100));
    put(next, "org-4", &asked.word_of(4, next).unwrap());
    put(next, "org-9", &asked.other_word_of(9, next));
    let node = &mut asked.network.nodes[0];
    node.kill();
    node.start();
    assert_eq!(node.running().signatures.contradicted(), ["org-2"]);
    // Nor is it in the way of what does.
    asked.doors[2].say(Says::This(asked.other_word_of(3, next)));
    assert_eq!((asked.gather(), asked.contradicted()), (size, 2));
    let path = data.join(format!("fork-{next}-org-3.txt"));
    assert!(std::fs::read_to_string(path).unwrap().ends_with(&asked.other_word_of(3, next)));
}

#[test]
fn a_node_that_was_started_over_signs_no_evidence() {
    let mut asked = Asked::four();
    let size = asked.record("a");
    let node = &mut asked.network.nodes[0];
    node.kill();
    let signer = crate::open::signer("test", key(1)).unwrap();
    let before = Checkpoint { origin: "test".to_owned(), size: 100, root: Hash([7; 32]) };
    let plan = Plan { aside: "aside".to_owned(), note: Some(before.sign(&signer)), done: true };
    resync::write(node.dir.path(), &plan).unwrap();
    node.start();
    let other = asked.other_word_of(2, size);
    asked.doors[1].say(Says::This(other.clone()));
    asked.doors[2].say(Says::Nothing);
    asked.gather();
    let node = &mut asked.network.nodes[0];
    let kept = std::fs::read_to_string(node.dir.path().join(format!("fork-{size}-org-2.txt")));
    let root = node.reader().root(size).unwrap();
    let text = Checkpoint { origin: "test".to_owned(), size, root }.text();
    assert_eq!(kept.unwrap(), format!("{text}\n{other}"));
    node.kill();
    node.start();
    assert_eq!(node.running().signatures.contradicted(), ["org-2"]);
}

#[test]
fn whoever_answers_when_enough_have_signed_is_heard_out() {
    let mut asked = Asked::four();
    let size = asked.record("a");
    let other = asked.other_word_of(4, size);
    let late = asked.doors[3].says.clone();
    let mut late = late.lock().unwrap();
    assert_eq!((asked.gather(), asked.contradicted()), (size, 0));
    *late = Says::At(other, std::time::UNIX_EPOCH);
    drop(late);
    while asked.contradicted() == 0 {
        std::thread::yield_now();
    }
    let signatures = &asked.network.nodes[0].running().signatures;
    assert!(signatures.skews()["org-4"] < 0);
}

#[test]
fn a_clock_that_shows_another_time_is_told_of_until_it_is_set() {
    let mut asked = Asked::four();
    let skews = |asked: &mut Asked, name, ahead_ms: i64| {
        let size = asked.record(name);
        let now_ms = asked.network.clock.now_ms() as i64;
        let time = std::time::UNIX_EPOCH + Duration::from_millis((now_ms + ahead_ms) as u64);
        let note = asked.word_of(2, size).unwrap();
        asked.doors[1].say(Says::At(note, time));
        // Without the third all are waited for.
        asked.doors[2].say(Says::Nothing);
        assert_eq!(asked.gather(), size);
        asked.network.nodes[0].running().signatures.skews()
    };
    assert!(skews(&mut asked, "a", 3_000).is_empty());
    let ahead = skews(&mut asked, "b", 60_000);
    assert!(ahead.keys().eq(["org-2"]) && (59_000..=60_000).contains(&ahead["org-2"]), "{ahead:?}");
    let behind = skews(&mut asked, "c", -60_000);
    assert!((-61_000..=-60_000).contains(&behind["org-2"]), "{behind:?}");
    assert!(skews(&mut asked, "d", 0).is_empty());
    // Nobody asks those any more that have left.
    assert_eq!(skews(&mut asked, "e", 60_000).len(), 1);
    let remove = Change::Remove("org-2".to_owned());
    let remove = change(&asked.network.ledger(), 1, remove, [1, 3, 4]);
    assert_eq!(asked.network.record(vec![remove]), [code::RECORDED]);
    assert!(asked.network.nodes[0].running().signatures.skews().is_empty());
}

#[test]
fn who_signs_changes_with_the_entry_that_says_so() {
    let mut asked = Asked::four();
    let before = asked.record("a");
    assert_eq!(asked.gather(), before);
    let remove = Change::Remove("org-4".to_owned());
    let remove = change(&asked.network.ledger(), 1, remove, [1, 2, 3]);
    assert_eq!(asked.network.record(vec![remove]), [code::RECORDED]);
    let size = asked.network.nodes[0].reader().size();
    // Three are left, and all are needed; the fourth's word is none any more.
    asked.doors[1].say(Says::Nothing);
    assert_eq!(asked.gather(), before);
    asked.all_say_their_word();
    assert_eq!(asked.gather(), size);
    assert_eq!(asked.signers(), [1, 2, 3]);
    // Of what was before it is one still.
    let keys = asked.network.nodes[0].application().keys.borrow().clone();
    let note = asked.word_of(4, before).unwrap();
    assert_eq!(keys.at(before).signed(&SignedNote::parse(&note).unwrap()).unwrap().len(), 1);
    assert!(keys.at(size).signed(&SignedNote::parse(&note).unwrap()).unwrap().is_empty());
}

#[test]
fn what_was_shown_is_shown_after_a_restart() {
    let mut asked = Asked::four();
    let size = asked.record("a");
    assert_eq!(asked.gather(), size);
    let shown = asked.shown().note.clone();
    let more = asked.record("b");
    let file = asked.network.nodes[0].dir.path().join("ledger/published");
    let other = asked.other_word_of(2, size);
    let kept = [
        (shown.clone(), size),
        // Signed by too few, of another history, cut off.
        (asked.word_of(2, more).unwrap(), 0),
        (other, 0),
        (shown[..shown.len() - 9].to_owned(), 0),
        (String::new(), 0),
    ];
    for (note, size) in kept {
        let node = &mut asked.network.nodes[0];
        node.kill();
        std::fs::write(&file, note).unwrap();
        node.start();
        assert_eq!(node.application().shown.published_size(), size);
    }
    assert_eq!(asked.gather(), more);
}

#[test]
fn no_word_is_given_within_a_block() {
    let mut asked = Asked::four();
    let size = asked.record("a");
    assert!(size > 2);
    for within in 0..=size {
        let said = asked.word_of(1, within).is_some();
        assert_eq!(said, within == 1 || within == size, "{within} of {size}");
    }
}

#[test]
fn nobody_is_answered_before_enough_have_signed_and_it_can_be_seen() {
    let mut asked = Asked::four();
    let create = asked.network.sign(1, testing::create("a"));
    let waiting = &asked.network.nodes[0].application().waiting;
    let (mut waiters, mut answers) = crate::order::waiting::Waiter::of(1);
    let key = ordered::key(&create);
    assert!(waiting.wait_for(key, &create, waiters.pop().unwrap()).unwrap());
    assert_eq!(asked.network.record(vec![create.clone()]), [code::RECORDED]);
    for door in &asked.doors[2..] {
        door.say(Says::Nothing);
    }
    asked.gather();
    assert!(answers.try_recv().is_err(), "answered, and two of four have signed");
    let seen = |asked: &Asked| {
        let view = asked.network.nodes[0].running().views.latest();
        view.experiment(&testing::name("a")).is_some()
    };
    assert!(!seen(&asked));
    asked.all_say_their_word();
    let size = asked.gather();
    let recorded = answers.try_recv().unwrap().pop().unwrap().unwrap();
    assert_eq!(recorded.checkpoint.checkpoint.size, size);
    assert!(recorded.entry.index() < size && seen(&asked));
}

#[test]
fn nobody_waits_for_a_node_that_has_stopped() {
    let waiting = crate::order::waiting::Waiting::default();
    let (waiters, mut answers) = crate::order::waiting::Waiter::of(3);
    let mut waiters = waiters.into_iter();
    waiting.wait_for_entry(0, waiters.next().unwrap());
    waiting.stop();
    waiting.wait_for_entry(0, waiters.next().unwrap());
    let last = waiters.next().unwrap();
    let refused = waiting.wait_for(ordered::key(b"a"), &Bytes::from_static(b"a"), last.clone());
    last.answer(Err(refused.unwrap_err()));
    let answers = answers.try_recv().unwrap();
    assert!(answers.iter().all(|answer| matches!(answer, Err(Refusal::Stopped))));
}
