//! Four organisations whose network is cut, as only a machine's own namespaces can cut it: nothing is refused
//! and nothing ends, packets are just gone.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::network::{
    LEARNERS, Network, Place, Running, Sender, all_ended, create, take_part,
};
use crate::support::wait_for;

/// In a namespace of its own nobody else listens anywhere.
const PORT: u16 = 7400;
const P2P_PORT: u16 = 26656;

/// Longer than whatever is cut and joined again takes to go on.
const PATIENCE: Duration = Duration::from_secs(120);

/// A namespace for each node, and two bridges in one more, on one or the other of which each node is. The
/// test reaches each node by a link that nobody else has. All of it goes when this is dropped.
struct Cables {
    /// What the names of all begin with: of this process alone.
    name: String,
    /// The second number of all addresses, which begin with 10.
    net: u8,
    count: usize,
}

impl Cables {
    /// For so many nodes; a skip where this process may not.
    #[track_caller]
    fn lay(count: usize) -> Option<Self> {
        let pid = std::process::id();
        let taken = ip(&["-4", "route", "show", "table", "all"]).unwrap_or_default();
        let free = (0..128).map(|it| 64 + ((pid + it) % 128) as u8);
        let net = free.into_iter().find(|it| !taken.contains(&format!("10.{it}."))).unwrap_or(64);
        let cables = Self { name: format!("cl{pid}"), net, count };
        match cables.try_lay() {
            Ok(()) => Some(cables),
            Err(why) => {
                let why = format!("root, and a kernel that grants them ({why})");
                colearn_testkit::skip("network-namespaces", &why);
                None
            }
        }
    }

    fn try_lay(&self) -> Result<(), String> {
        let hub = self.hub();
        ip(&["netns", "add", &hub])?;
        for bridge in ["left", "right"] {
            ip(&["-n", &hub, "link", "add", bridge, "type", "bridge"])?;
            ip(&["-n", &hub, "link", "set", bridge, "up"])?;
        }
        for at in 0..self.count {
            let (node, plug, own) = (self.namespace(at), plug(at), self.link(at));
            ip(&["netns", "add", &node])?;
            ip(&["-n", &node, "link", "set", "lo", "up"])?;
            let both = ["link", "add", "eth0", "netns", &node, "type", "veth", "peer", &plug];
            ip(&[&both[..], &["netns", &hub]].concat())?;
            ip(&[
                "-n",
                &node,
                "address",
                "add",
                &format!("{}/24", self.address(at)),
                "dev",
                "eth0",
            ])?;
            ip(&["-n", &node, "link", "set", "eth0", "up"])?;
            ip(&["-n", &hub, "link", "set", &plug, "master", "left", "up"])?;
            let [here, there] = self.own_addresses(at);
            ip(&["link", "add", &own, "type", "veth", "peer", "test", "netns", &node])?;
            ip(&["address", "add", &format!("{here}/30"), "dev", &own])?;
            ip(&["link", "set", &own, "up"])?;
            ip(&["-n", &node, "address", "add", &format!("{there}/30"), "dev", "test"])?;
            ip(&["-n", &node, "link", "set", "test", "up"])?;
        }
        Ok(())
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.name)
    }

    fn namespace(&self, at: usize) -> String {
        format!("{}-{at}", self.name)
    }

    /// The test's end of the link to a node.
    fn link(&self, at: usize) -> String {
        format!("{}t{at}", self.name)
    }

    /// Where the other nodes reach a node.
    fn address(&self, at: usize) -> String {
        format!("10.{}.0.{}", self.net, at + 1)
    }

    /// The test's end of the link to a node, and the node's.
    fn own_addresses(&self, at: usize) -> [String; 2] {
        [1, 2].map(|end| format!("10.{}.{}.{end}", self.net, at + 1))
    }

    fn places(&self, comet: &Path) -> Vec<Place> {
        let at = |address: &str, port| format!("{address}:{port}").parse().unwrap();
        let place = |node: usize| Place {
            p2p: at(&self.address(node), P2P_PORT),
            url: at(&self.address(node), PORT),
            listen: at("0.0.0.0", PORT),
            reached: at(&self.own_addresses(node)[1], PORT),
            namespace: Some(self.namespace(node)),
            comet: comet.to_owned(),
        };
        (0..self.count).map(place).collect()
    }

    /// Cuts these nodes off from the others, and not from each other. None: all are together again.
    fn cut_off(&self, nodes: &[usize]) {
        for at in 0..self.count {
            let bridge = if nodes.contains(&at) { "right" } else { "left" };
            ip(&["-n", &self.hub(), "link", "set", &plug(at), "master", bridge]).unwrap();
        }
    }
}

/// A node's plug, which is on one bridge or the other.
fn plug(at: usize) -> String {
    format!("plug{at}")
}

impl Drop for Cables {
    fn drop(&mut self) {
        for at in 0..self.count {
            // What was not laid cannot be removed.
            let _ = ip(&["link", "delete", &self.link(at)]);
            let _ = ip(&["netns", "delete", &self.namespace(at)]);
        }
        let _ = ip(&["netns", "delete", &self.hub()]);
    }
}

/// What `ip` says.
fn ip(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("ip").args(arguments).output().map_err(|it| format!("ip: {it}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// What nodes show once what they were about to show is shown, for so long.
fn settled(network: &Network, nodes: &[usize], quiet: Duration) -> Vec<Option<String>> {
    let shown = || nodes.iter().map(|at| network.shown(*at)).collect::<Vec<_>>();
    let mut last = (Instant::now(), shown());
    wait_for("they show nothing new", || {
        let now = shown();
        if now != last.1 {
            last = (Instant::now(), now);
        }
        (last.0.elapsed() >= quiet).then(|| last.1.clone())
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn however_the_nodes_are_cut_off_from_each_other_nothing_is_lost() {
    const ROUNDS: u64 = 16;
    let Some(comet) = colearn_testkit::cometbft() else { return };
    let Some(cables) = Cables::lay(4) else { return };
    let mut network = Network::at(cables.places(&comet));
    create(&network, ROUNDS).await;
    let mut senders = Vec::new();
    for at in 0..4 {
        senders.push(Sender::at(&network, at).await);
    }
    let learners: Vec<Running> = LEARNERS.iter().map(|seed| take_part(&network, *seed)).collect();
    let mut closed = learners[0].closed.clone();
    let mut further = async |by: u64| {
        let next = *closed.borrow_and_update() + by;
        let there = closed.wait_for(|closed| *closed >= next.min(ROUNDS));
        tokio::time::timeout(PATIENCE, there).await.expect("rounds go on").unwrap();
    };
    further(1).await;

    // Three and one. A learner was at that one.
    cables.cut_off(&[2]);
    further(2).await;
    let stands = network.shown(2);
    senders[0].send().await.unwrap();
    let alone = tokio::time::timeout(Duration::from_secs(2), senders[2].send()).await;
    assert!(!matches!(alone, Ok(Ok(_))), "{alone:?}");
    assert_eq!(network.shown(2), stands);
    let others = network.size(0);
    assert!(network.size(2) < others);
    cables.cut_off(&[]);
    wait_for("it is in step", || (network.size(2) >= others).then_some(()));
    further(1).await;

    // Two and two.
    cables.cut_off(&[2, 3]);
    let all = [0, 1, 2, 3];
    let stand = settled(&network, &all, Duration::from_secs(3));
    let mut alone = Vec::new();
    for sender in &mut senders {
        alone.push(tokio::time::timeout(Duration::from_secs(2), sender.send()).await);
    }
    assert!(alone.iter().all(|it| !matches!(it, Ok(Ok(_)))), "{alone:?}");
    assert_eq!(settled(&network, &all, Duration::ZERO), stand);
    cables.cut_off(&[]);
    further(1).await;

    // Now here, now there, shorter than anybody's patience.
    for cut in [&[0][..], &[1, 3], &[3], &[0, 2]] {
        cables.cut_off(cut);
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        cables.cut_off(&[]);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    further(1).await;
    let audits = all_ended(&mut network, learners, ROUNDS).await;
    assert_eq!(audits[0]["rounds"], ROUNDS);
    assert!(network.honoured(&senders[0].memory) > 0);
}
