//! A merged round whose models are encrypted: what is merged of it, and under which key.

use colearn_merge::{Source, largest_update};

use crate::keys::{ModelKey, ModelKeys};
use crate::opened::{NotOpened, Opened};

/// What stands for an update that nobody can open: it is void, as any other file that is no model.
const VOID: &[u8] = &[];

/// What is merged in a round, opened.
pub struct Round<'a> {
    /// The model that the updates were trained from.
    pub base: Opened<'a>,
    /// The model before that one, if there is another.
    pub previous: Option<Opened<'a>>,
    updates: Vec<Option<Opened<'a>>>,
}

impl<'a> Round<'a> {
    /// Opens them. An update that cannot be opened with these keys is void, and so is one in the clear: all who have
    /// the same keys merge the same.
    ///
    /// # Errors
    /// If base or previous model cannot be opened, or an update not be read.
    pub fn open(
        keys: &ModelKeys,
        base: &'a dyn Source,
        previous: Option<&'a dyn Source>,
        updates: &[&'a dyn Source],
    ) -> Result<Self, NotOpened> {
        // What is larger than that is void, and nobody need have it.
        let largest = largest_update(base.size()?);
        let base = Opened::new(base, keys)?;
        let previous = previous.map(|previous| Opened::new(previous, keys)).transpose()?;
        let open = |update: &&'a dyn Source| {
            if update.size()? > largest {
                return Ok(None);
            }
            match Opened::new(*update, keys) {
                Ok(opened) => Ok(Some(opened)),
                Err(NotOpened::Io(error)) => Err(NotOpened::Io(error)),
                Err(NotOpened::NotEncrypted | NotOpened::UnknownKey(_) | NotOpened::Forged) => {
                    Ok(None)
                }
            }
        };
        let updates = updates.iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { base, previous, updates })
    }

    /// The updates, in their order.
    pub fn updates(&self) -> Vec<&dyn Source> {
        let updates = self.updates.iter();
        updates.map(|it| it.as_ref().map_or(&VOID as &dyn Source, |it| it)).collect()
    }

    /// The key for what is merged: the newest that anything of the round is encrypted under. So all who can open it
    /// name the same merges, whether they have a newer one already or not.
    pub fn key(&self) -> &ModelKey {
        let updates = self.updates.iter().flatten().map(Opened::key);
        updates.fold(
            self.base.key(),
            |newest, key| {
                if key.number() > newest.number() { key } else { newest }
            },
        )
    }
}
