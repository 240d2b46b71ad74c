//! The way from a header that is believed to a newer one, by as few between as the chain's validators allow.

use crate::line::{Light, NotBelieved};

/// The heights that are still to be verified, the next one last.
#[derive(Clone, Debug)]
pub struct Way(Vec<u64>);

impl Way {
    /// To the block of this height.
    pub fn to(height: u64) -> Self {
        Self(vec![height])
    }

    /// The height of the block that is needed next; `None` at the end.
    pub fn next(&self, light: &Light) -> Option<u64> {
        self.0.last().copied().filter(|height| *height > light.height())
    }

    /// Goes on with what [`Light::advance`] came to for that block.
    ///
    /// # Errors
    /// If that is not believed, whatever lies between.
    pub fn took(
        &mut self,
        light: &Light,
        took: Result<(), NotBelieved>,
    ) -> Result<(), NotBelieved> {
        match took {
            Ok(()) => {
                self.0.pop();
                Ok(())
            }
            Err(NotBelieved::TooFar { height }) => {
                let between = light.height().midpoint(height);
                // Between neighbours there is none: the one names the other's validators.
                if between == light.height() {
                    return Err(NotBelieved::TooFar { height });
                }
                self.0.push(between);
                Ok(())
            }
            Err(other) => Err(other),
        }
    }
}
