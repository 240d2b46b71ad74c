//! Where somebody is, and where keys lead.

use colearn_contracts::ExperimentName;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::told::Told;

/// How many of the last rounds are drawn, unless all are asked for.
pub(super) const ROUNDS: u64 = 60;
/// How far a page goes, in lines.
const PAGE: usize = 10;

/// A part of what is shown of an experiment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    Now,
    Members,
    Motions,
    Privacy,
}

impl Part {
    pub(super) const ALL: [Self; 4] = [Self::Now, Self::Members, Self::Motions, Self::Privacy];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Now => "Now",
            Self::Members => "Members",
            Self::Motions => "Motions",
            Self::Privacy => "Privacy",
        }
    }

    fn beside(self, steps: usize) -> Self {
        let at = Self::ALL.iter().position(|it| *it == self).unwrap_or(0);
        Self::ALL[(at + steps) % Self::ALL.len()]
    }
}

/// What is shown instead of where one is, until it is left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Over {
    Help,
    Verified,
}

/// What a key comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// It is drawn again.
    Draw,
    /// Something else is looked at.
    Look,
    /// Somebody has seen enough.
    Leave,
}

/// Where somebody is.
pub(super) struct Position {
    /// The experiment that is shown in full; `None` in the list.
    experiment: Option<ExperimentName>,
    /// The one that is chosen in the list, by name: the list's order changes.
    chosen: Option<String>,
    pub(super) part: Part,
    pub(super) over: Option<Over>,
    /// How many lines are above what is seen; whoever draws knows how many there can be.
    pub(super) down: usize,
    /// How many rounds are behind those that are seen.
    pub(super) back: usize,
    pub(super) all_rounds: bool,
}

impl Position {
    pub(super) fn at(experiment: Option<ExperimentName>) -> Self {
        let chosen = experiment.as_ref().map(ToString::to_string);
        let (part, over) = (Part::Now, None);
        Self { experiment, chosen, part, over, down: 0, back: 0, all_rounds: false }
    }

    pub(super) fn experiment(&self) -> Option<&ExperimentName> {
        self.experiment.as_ref()
    }

    /// The line of the list that is chosen.
    pub(super) fn line(&self, told: &Told) -> usize {
        let chosen = self.chosen.as_deref();
        told.names().iter().position(|name| Some(*name) == chosen).unwrap_or(0)
    }

    /// What has happened at the terminal.
    pub(super) fn on(&mut self, event: &Event, told: &Told) -> Step {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => self.key(*key, told),
            // A terminal of another size is drawn anew.
            _ => Step::Draw,
        }
    }

    fn key(&mut self, key: KeyEvent, told: &Told) -> Step {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c' | 'd') => Step::Leave,
                _ => Step::Draw,
            };
        }
        match key.code {
            KeyCode::Char('q') => return Step::Leave,
            KeyCode::Char('?' | 'h') => self.show(Over::Help),
            KeyCode::Char('v') => self.show(Over::Verified),
            KeyCode::Esc | KeyCode::Backspace => return self.leave(),
            KeyCode::Up | KeyCode::Char('k') => self.go(told, |at| at.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.go(told, |at| at.saturating_add(1)),
            KeyCode::PageUp => self.go(told, |at| at.saturating_sub(PAGE)),
            KeyCode::PageDown => self.go(told, |at| at.saturating_add(PAGE)),
            KeyCode::Home | KeyCode::Char('g') => self.go(told, |_| 0),
            KeyCode::End | KeyCode::Char('G') => self.go(told, |_| usize::MAX),
            KeyCode::Enter if self.over.is_some() => return self.leave(),
            KeyCode::Enter if self.experiment.is_none() => return self.open(told),
            KeyCode::Tab if self.experiment.is_some() => self.turn_to(1),
            KeyCode::BackTab if self.experiment.is_some() => self.turn_to(Part::ALL.len() - 1),
            KeyCode::Left => self.back = self.back.saturating_add(1),
            KeyCode::Right => self.back = self.back.saturating_sub(1),
            KeyCode::Char('w') => self.all_rounds = !self.all_rounds,
            _ => {}
        }
        Step::Draw
    }

    fn show(&mut self, over: Over) {
        self.over = if self.over == Some(over) { None } else { Some(over) };
        self.down = 0;
    }

    fn turn_to(&mut self, steps: usize) {
        (self.part, self.over, self.down) = (self.part.beside(steps), None, 0);
    }

    /// Goes where one came from.
    fn leave(&mut self) -> Step {
        self.down = 0;
        if self.over.take().is_some() {
            return Step::Draw;
        }
        match self.experiment.take() {
            Some(_) => Step::Look,
            None => Step::Draw,
        }
    }

    fn open(&mut self, told: &Told) -> Step {
        let line = self.line(told);
        let Some(name) = told.names().get(line).and_then(|name| name.parse().ok()) else {
            return Step::Draw;
        };
        let all_rounds = self.all_rounds;
        *self = Self { all_rounds, ..Self::at(Some(name)) };
        Step::Look
    }

    /// Goes up or down, in the list or in what is longer than the terminal.
    fn go(&mut self, told: &Told, to: impl Fn(usize) -> usize) {
        if self.over.is_some() || self.experiment.is_some() {
            self.down = to(self.down);
            return;
        }
        let names = told.names();
        let line = to(self.line(told)).min(names.len().saturating_sub(1));
        self.chosen = names.get(line).map(|name| (*name).to_owned());
    }
}
