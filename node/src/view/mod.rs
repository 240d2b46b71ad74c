//! The contract's state as everybody may read it: an immutable picture, published after each commit.
//!
//! Whoever reads holds a picture and never meets the writer, whatever the one asks and the other
//! does. What the writer pays for that, of a batch in an experiment of `n` members, is a description
//! of the experiment without them, a pointer for each 64 members, and 8 KB of copying for each member
//! whose standing changed; where a round begins or ends, one comparison of all members, as often as
//! the contract itself walks over them. Measured with 10,000 members: MEASURED.

mod map;

use std::collections::VecDeque;
use std::sync::Arc;

use colearn_contracts::{Contract, Experiment, ExperimentName, LearnerId};
use colearn_records::convert::{ExperimentState, MemberState};
use tokio::sync::watch;

use self::map::SharedMap;
use crate::keeper::{Members, Touched};

/// The most members a description lists.
const MAX_LISTED_MEMBERS: usize = 10_000;

/// The state that results from exactly `size` entries, which are durable.
#[derive(Clone)]
pub(crate) struct View {
    size: u64,
    experiments: SharedMap<ExperimentName, Arc<ExperimentView>>,
}

impl View {
    fn of(contract: &Contract, size: u64) -> Self {
        let mut experiments = SharedMap::default();
        for experiment in contract.experiments() {
            let view = ExperimentView::empty(experiment).after(experiment, &Members::Anybody);
            experiments.insert(experiment.name().clone(), Arc::new(view));
        }
        Self { size, experiments }
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
                let before = members.insert(*sender, member);
                // The term, too: who has left and joined again in one batch has another place.
                let place = |member: &MemberState| (member.term, member.seat);
                seats_changed |= before.as_ref().map(place) != Some(place(&member));
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
        ExperimentState { members: self.seated.to_vec(), ..self.state.clone() }
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

    /// The number of durable entries that can be looked up, as it grows.
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
    /// The experiments of entries that cannot be looked up yet: the size with them, and whom to tell.
    unindexed: VecDeque<(u64, Arc<watch::Sender<()>>)>,
}

impl Publisher {
    /// Shows the state after so many entries, which are durable and indexed.
    pub(crate) fn new(contract: &Contract, size: u64) -> (Self, Views) {
        let drawn = View::of(contract, size);
        let (latest, view) = watch::channel(Arc::new(drawn.clone()));
        let (grown, sizes) = watch::channel(size);
        let publisher = Self { drawn, latest, size: grown, unindexed: VecDeque::new() };
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
            self.unindexed.push_back((size, view.grown.clone()));
            self.drawn.experiments.insert(name.clone(), Arc::new(view));
        }
        Arc::new(self.drawn.clone())
    }

    /// Shows a picture. Its entries must be durable: what a reader was told is never taken back.
    pub(crate) fn publish(&self, view: Arc<View>) {
        self.latest.send_replace(view);
    }

    /// Tells whoever watches that so many entries can be looked up.
    pub(crate) fn indexed(&mut self, size: u64) {
        if *self.size.borrow() == size {
            return;
        }
        // Before the watchers are woken: they look how far they may read.
        self.size.send_replace(size);
        while let Some((_, grown)) = self.unindexed.pop_front_if(|(with, _)| *with <= size) {
            grown.send_replace(());
        }
    }
}
