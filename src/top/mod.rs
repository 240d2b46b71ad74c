//! The screen of `colearn top`: the page's document (`crate::ui`), drawn in a terminal.
//!
//! ```text
//! ui::document ──► told (without what steers a terminal) ──► draw (list, now, tables, texts) ──► terminal
//!                                    keys ──► position ────────┘
//! ```

mod draw;
mod look;
mod now;
mod position;
mod tables;
mod terminal;
mod texts;
mod told;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use colearn_contracts::ExperimentName;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use self::look::Look;
use self::position::{Position, Step};
use self::terminal::Screen;
use self::told::Told;
use crate::cli::signals::{Hangups, Signals};
use crate::ui::{Asked, Shared, document, now_ms};

/// What changes is drawn so often at most.
const PAUSE: Duration = Duration::from_millis(250);
/// How often the clocks are drawn.
const CLOCK: Duration = Duration::from_secs(1);

/// Shows what is followed until somebody has seen enough of it. The terminal is left as it was.
///
/// # Errors
/// If there is no drawing on the terminal.
pub(crate) async fn show(
    shared: Arc<Shared>,
    experiment: Option<ExperimentName>,
    signals: &mut Signals,
    hangups: &mut Hangups,
) -> anyhow::Result<()> {
    let look = Look::of_environment();
    let mut position = Position::at(experiment);
    let mut changes = shared.changes();
    let mut told = look_at(&shared, &position).await?;
    let mut screen = Screen::open().context("cannot draw on this terminal")?;
    let mut clock = interval(CLOCK);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut is_old, mut next) = (false, Instant::now());
    loop {
        screen
            .draw(|frame| draw::draw(frame, &told, &mut position, look, now_ms()))
            .context("cannot draw on this terminal any more")?;
        let mut is_asked = false;
        tokio::select! {
            _ = signals.asked() => return Ok(()),
            () = hangups.next() => return Ok(()),
            event = screen.event() => {
                match position.on(&event.context("cannot read from this terminal")?, &told) {
                    Step::Leave => return Ok(()),
                    Step::Look => is_asked = true,
                    Step::Draw => {}
                }
            }
            // Only the end of this program takes away who changes it.
            changed = changes.changed(), if !is_old => is_old = changed.is_ok(),
            () = sleep_until(next), if is_old => is_asked = true,
            _ = clock.tick() => {}
        }
        if is_asked {
            changes.mark_unchanged();
            told = look_at(&shared, &position).await?;
            (is_old, next) = (false, Instant::now() + PAUSE);
        }
    }
}

/// What there is to tell where somebody is.
async fn look_at(shared: &Arc<Shared>, position: &Position) -> anyhow::Result<Told> {
    let (shared, rounds) = (shared.clone(), position::ROUNDS);
    let asked = Asked { experiment: position.experiment().cloned(), rounds };
    let looking = move || {
        let revision = shared.revision();
        Told::of(document(&shared.read(), &asked, revision))
    };
    Ok(tokio::task::spawn_blocking(looking).await?)
}
