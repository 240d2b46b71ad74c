//! The way from a header that is believed to a newer one, by as few between as the chain's validators allow.

use crate::line::{Light, NotBelieved};

/// The most blocks that a way takes. Halving what lies between takes 64 at most as long as validators stay; who makes up
/// blocks of any height, which are all too far, could be asked for ever.
const MAX_STEPS: u32 = 128;

/// The heights that are still to be verified, the next one last.
#[derive(Clone, Debug)]
pub struct Way {
    heights: Vec<u64>,
    steps: u32,
}

impl Way {
    /// To the block of this height.
    pub fn to(height: u64) -> Self {
        Self { heights: vec![height], steps: 0 }
    }

    /// The height of the block that is needed next; `None` at the end.
    pub fn next(&self, light: &Light) -> Option<u64> {
        self.heights.last().copied().filter(|height| *height > light.height())
    }

    /// Goes on with what [`Light::advance`] came to for the block of the height that [`Way::next`] gave.
    ///
    /// # Errors
    /// If that is not believed, whatever lies between; if the block was of another height; or if it took too many.
    /// What the light believes by then stays believed.
    pub fn took(
        &mut self,
        light: &Light,
        took: Result<(), NotBelieved>,
    ) -> Result<(), NotBelieved> {
        let Some(&asked) = self.heights.last() else { return took };
        let found = match &took {
            Ok(()) => light.height(),
            Err(NotBelieved::TooFar { height }) => *height,
            Err(_) => return took,
        };
        if found != asked {
            return Err(NotBelieved::NotAsked { asked, found });
        }
        self.steps += 1;
        if self.steps >= MAX_STEPS && took.is_err() {
            return Err(NotBelieved::TooManySteps { height: self.heights[0], steps: self.steps });
        }
        if took.is_ok() {
            self.heights.pop();
            return Ok(());
        }
        let between = light.height().midpoint(asked);
        // Between neighbours there is none: the one names the other's validators.
        if between <= light.height() {
            return took;
        }
        self.heights.push(between);
        Ok(())
    }
}
