//! How things look, with colours and without.

use ratatui::style::{Color, Modifier, Style};

/// Whether there are colours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Look {
    colours: bool,
}

impl Look {
    /// With colours, unless `NO_COLOR` says otherwise (https://no-color.org).
    pub(super) fn of_environment() -> Self {
        Self { colours: std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty()) }
    }

    #[cfg(test)]
    pub(super) fn with(colours: bool) -> Self {
        Self { colours }
    }

    fn style(self, colour: Color, modifier: Modifier) -> Style {
        let style = Style::new().add_modifier(modifier);
        if self.colours { style.fg(colour) } else { style }
    }

    pub(super) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// What is not looked at first.
    pub(super) fn soft(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// What is chosen.
    pub(super) fn chosen(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub(super) fn good(self) -> Style {
        self.style(Color::Green, Modifier::empty())
    }

    pub(super) fn bad(self) -> Style {
        self.style(Color::Red, Modifier::BOLD)
    }

    /// What somebody should see although it is nobody's fault.
    pub(super) fn late(self) -> Style {
        self.style(Color::Yellow, Modifier::BOLD)
    }

    pub(super) fn turn(self) -> Style {
        self.style(Color::Cyan, Modifier::BOLD)
    }

    /// That somebody has lied.
    pub(super) fn alarm(self) -> Style {
        let style = Style::new().add_modifier(Modifier::BOLD);
        match self.colours {
            true => style.fg(Color::White).bg(Color::Red),
            false => style.add_modifier(Modifier::REVERSED),
        }
    }

    /// Of a learner's sign in a round.
    pub(super) fn deed(self, deed: &str) -> Style {
        match deed {
            "approve" => self.good(),
            "reject" | "other" => self.bad(),
            "won" | "lost" | "done" => self.turn(),
            "due" => self.late(),
            _ => self.soft(),
        }
    }
}
