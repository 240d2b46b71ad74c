//! The contract's state as everybody may read it: an immutable picture, published after each commit.
//!
//! Whoever reads holds a picture and never meets the writer, whatever the one asks and the other
//! does. Pictures share what they have in common, so that the writer pays for what changed. Measured
//! for one batch in an experiment of 10,000 members: 4 us where one of them voted, 65 us where 64
//! did, 0.6 ms where 1,024 did, and 0.3 ms where a round or motion began or ended, for then all
//! members are compared. With 100,000 members, which is the most: 16 us, 0.2 ms, 2.5 ms and 16 ms.

mod map;

use std::collections::VecDeque;
use std::sync::Arc;

use colearn_contracts::{
    Contract, Experiment, ExperimentName, LearnerId, Limits, MemberName, Phase, Version,
};
use colearn_records::convert::{ExperimentState, MemberState, SeatState};
use tokio::sync::watch;

use self::map::SharedMap;
use crate::keeper::{Members, Touched};

/// The most members a description lists.
const MAX_LISTED_MEMBERS: usize = 10_000;

/// The state that results from exactly `size` entries, which are durable.
#[derive(Clone)]
pub(crate) struct View {
    size: u64,
    /// The version of the rules in force, and the ledger's limits: they change while no node runs.
    version: Version,
    limits: Limits,
    experiments: SharedMap<ExperimentName, Arc<ExperimentView>>,
}

impl View {
    fn of(contract: &Contract, size: u64) -> Self {
        let mut experiments = SharedMap::default();
        for experiment in contract.experiments() {
            let view = ExperimentView::empty(experiment).after(experiment, &Members::Anybody);
            experiments.insert(experiment.name().clone(), Arc::new(view));
        }
        Self { size, version: contract.version(), limits: contract.limits(), experiments }
    }

    /// The version of the rules that new experiments follow.
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// What the ledger limits.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// The experiments that have not finished, by name.
    pub(crate) fn unfinished(&self) -> impl Iterator<Item = &ExperimentView> {
        self.experiments_after("")
            .map(|experiment| &**experiment)
            .filter(|experiment| !matches!(experiment.state.phase, Phase::Finished(_)))
    }

    /// How many entries the state results from.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn experiment(&self, name: &ExperimentName) -> Option<&Arc<ExperimentView>> {
        self.experiments.get(name)
    }

    /// The experiments whose names come behind a text, which need not be a name.
    pub(crate) fn experiments_after(
        &self,
        text: &str,
    ) -> impl Iterator<Item = &Arc<ExperimentView>> {
        self.experiments.after(move |name| name.as_str() <= text).map(|(_, view)| view)
    }
}

/// One experiment in a picture.
pub(crate) struct ExperimentView {
    /// Without the members.
    state: ExperimentState,
    /// The first members that take part, in joining order.
    seated: Arc<[LearnerId]>,
    /// Everyone who is, will be or was a member.
    members: SharedMap<LearnerId, MemberState>,
    /// Marked when an entry that concerns the experiment can be looked up. Of all its pictures the
    /// same, so that a watcher is woken by its own experiment and by nothing else.
    grown: Arc<watch::Sender<()>>,
}

impl ExperimentView {
    /// How it stands, without the members.
    pub(crate) fn state(&self) -> &ExperimentState {
        &self.state
    }

    /// What the first picture of an experiment is made from.
    fn empty(experiment: &Experiment) -> Self {
        Self {
            state: ExperimentState::of(experiment, 0),
            seated: Arc::new([]),
            members: SharedMap::default(),
            grown: Arc::new(watch::Sender::new(())),
        }
    }

    /// The next picture.
    fn after(&self, experiment: &Experiment, changed: &Members) -> Self {
        let mut members = self.members.clone();
        let mut seats_changed = false;
        if let Members::Senders(senders) = changed {
            for sender in senders {
                let Some(member) = experiment.member(*sender) else { continue };
                let member = MemberState::of(member);
                // The term, too: who has left and joined again in one batch has another place.
                let place = |member: &MemberState| (member.term, member.seat);
                let now = place(&member);
                let before = members.insert(*sender, member);
                seats_changed |= before.as_ref().map(place) != Some(now);
            }
        }
        // More members than senders account for: one goes on under another key (R31).
        if *changed == Members::Anybody || members.len() != experiment.members().len() {
            let all = experiment.members();
            members.update(all.map(|(learner, member)| (learner, MemberState::of(member))));
            seats_changed = true;
        }
        let seated = if seats_changed {
            experiment.seated().take(MAX_LISTED_MEMBERS).collect()
        } else {
            self.seated.clone()
        };
        let state = ExperimentState::of(experiment, 0);
        Self { state, seated, members, grown: self.grown.clone() }
    }

    /// Its description without the members.
    pub(crate) fn summary(&self) -> &ExperimentState {
        &self.state
    }

    /// Its description with the first members that take part.
    pub(crate) fn description(&self) -> ExperimentState {
        let own = |it: &LearnerId| Some((*it, self.members.get(it)?.name.clone()?));
        let names = self.seated.iter().filter_map(own).collect();
        ExperimentState { members: self.seated.to_vec(), names, ..self.state.clone() }
    }

    /// Who is a member, and what it is called.
    pub(crate) fn present(&self) -> impl Iterator<Item = (LearnerId, Option<&MemberName>)> {
        let present = self.members.iter().filter(|(_, member)| member.seat.is_member());
        present.map(|(learner, member)| {
            (*learner, self.state.name_of(*learner).or(member.name.as_ref()))
        })
    }

    /// Who is a member, and how it stands: first those that take part, in joining order.
    pub(crate) fn standing(&self) -> impl Iterator<Item = (LearnerId, &MemberState)> {
        let seated = self.seated.iter().filter_map(|it| Some((*it, self.members.get(it)?)));
        let joining = self.members.iter().filter(|(_, it)| it.seat == SeatState::Joining);
        seated.chain(joining.map(|(learner, member)| (*learner, member)))
    }

    pub(crate) fn member(&self, learner: LearnerId) -> Option<&MemberState> {
        self.members.get(&learner)
    }

    /// Changes whenever more of its entries can be looked up than before this was called.
    pub(crate) fn grown(&self) -> watch::Receiver<()> {
        self.grown.subscribe()
    }
}

/// Where readers find the latest picture; cheap to clone.
#[derive(Clone)]
pub(crate) struct Views {
    latest: watch::Receiver<Arc<View>>,
    size: watch::Receiver<u64>,
}

impl Views {
    /// The latest picture.
    pub(crate) fn latest(&self) -> Arc<View> {
        self.latest.borrow().clone()
    }

    /// The number of entries that can be read, as it grows.
    pub(crate) fn size(&self) -> watch::Receiver<u64> {
        self.size.clone()
    }
}

/// Draws the pictures and shows them: the writer's end.
pub(crate) struct Publisher {
    /// The last picture that was drawn, published or not.
    drawn: View,
    latest: watch::Sender<Arc<View>>,
    size: watch::Sender<u64>,
    /// The experiments of entries that are not to be read yet: the size with them, and whom to tell.
    untold: VecDeque<(u64, Arc<watch::Sender<()>>)>,
}

impl Publisher {
    /// Shows the state after so many entries, which are durable.
    pub(crate) fn new(contract: &Contract, size: u64) -> (Self, Views) {
        Self::showing(contract, size, size)
    }

    /// The same, but only the first `shown` entries are to be read yet.
    pub(crate) fn showing(contract: &Contract, size: u64, shown: u64) -> (Self, Views) {
        let drawn = View::of(contract, size);
        let (latest, view) = watch::channel(Arc::new(drawn.clone()));
        let (grown, sizes) = watch::channel(shown);
        let publisher = Self { drawn, latest, size: grown, untold: VecDeque::new() };
        (publisher, Views { latest: view, size: sizes })
    }

    /// A picture of the state after so many entries, from the last one and what was decided since.
    /// Nobody sees it before it is published.
    pub(crate) fn draw(&mut self, contract: &Contract, touched: &Touched, size: u64) -> Arc<View> {
        self.drawn.size = size;
        for (name, members) in touched {
            let Some(experiment) = contract.experiment(name) else { continue };
            let view = match self.drawn.experiments.get(name) {
                Some(before) => before.after(experiment, members),
                None => ExperimentView::empty(experiment).after(experiment, &Members::Anybody),
            };
            self.untold.push_back((size, view.grown.clone()));
            self.drawn.experiments.insert(name.clone(), Arc::new(view));
        }
        Arc::new(self.drawn.clone())
    }

    /// Shows a picture. Its entries must be durable: what a reader was told is never taken back.
    pub(crate) fn publish(&self, view: Arc<View>) {
        self.latest.send_replace(view);
    }

    /// Tells whoever watches that so many entries can be read.
    pub(crate) fn show_entries(&mut self, size: u64) {
        if *self.size.borrow() == size {
            return;
        }
        // Before the watchers are woken: they look how far they may read.
        self.size.send_replace(size);
        while let Some((_, grown)) = self.untold.pop_front_if(|(with, _)| *with <= size) {
            grown.send_replace(());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing::{Draws, create, join, keeper, name, next_step, signed};

    fn assert_same(drawn: &View, contract: &Contract) {
        let anew = View::of(contract, drawn.size);
        assert_eq!(drawn.experiments.len(), anew.experiments.len());
        for (name, anew) in anew.experiments.iter() {
            let drawn = drawn.experiment(name).unwrap();
            assert_eq!(drawn.description(), anew.description());
            assert_eq!(drawn.description().members.len(), drawn.summary().member_count as usize);
            assert!(drawn.members.iter().eq(anew.members.iter()), "{name}");
        }
    }

    #[test]
    fn a_picture_made_from_the_last_one_is_the_one_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = keeper(dir.path());
        let (mut publisher, views) = Publisher::new(keeper.contract(), keeper.head().size);
        let (mut draws, mut now_ms) = (Draws(2), 1_000);
        for _ in 0..1_000 {
            // Several in one batch, so that members change more than once in it.
            for _ in 0..=draws.below(4) {
                now_ms += [0, 1, 7, 60][draws.below(4) as usize];
                let transaction = next_step(&mut draws, keeper.contract());
                keeper.decide(now_ms, &transaction).unwrap();
            }
            let touched = keeper.take_touched();
            let size = keeper.head().size;
            let view = publisher.draw(keeper.contract(), &touched, size);
            assert!(views.latest().size() < size || touched.is_empty());
            publisher.publish(view);
            assert_eq!(views.latest().size(), size);
            assert_same(&views.latest(), keeper.contract());
        }
        let seats = keeper.contract().experiments().map(|it| it.members().len());
        assert!(seats.sum::<usize>() > 10, "few members");
    }

    #[test]
    fn a_watcher_is_woken_by_its_own_experiment_when_that_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = keeper(dir.path());
        let (mut publisher, views) = Publisher::new(keeper.contract(), 1);
        let mut decide = |publisher: &mut Publisher, learner, action| {
            keeper.decide(2_000, &signed(learner, action)).unwrap();
            let touched = keeper.take_touched();
            let view = publisher.draw(keeper.contract(), &touched, keeper.head().size);
            publisher.publish(view);
        };
        decide(&mut publisher, 1, create("a"));
        decide(&mut publisher, 1, create("b"));
        publisher.show_entries(3);
        let listed = views.latest();
        let names: Vec<_> =
            listed.experiments_after("a").map(|it| it.summary().name.as_str()).collect();
        assert_eq!(names, ["b"]);
        assert_eq!(listed.experiments_after("").count(), 2);
        let watched = |text: &str| listed.experiment(&name(text)).unwrap().grown();
        let (a, b) = (watched("a"), watched("b"));

        decide(&mut publisher, 2, join("a", 1, 0));
        assert!(!a.has_changed().unwrap(), "it cannot be read yet");
        publisher.show_entries(4);
        assert!(a.has_changed().unwrap() && !b.has_changed().unwrap());
        // A picture that somebody holds stays as it was.
        assert_eq!(listed.size(), 3);
        assert_eq!(views.latest().size(), 4);
    }
}
