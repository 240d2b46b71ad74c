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
    /// Which updates are encrypted under a key that is not among these, or say so: who has that key may merge them.
    pub unknown: Vec<usize>,
    updates: Vec<Option<Opened<'a>>>,
}

impl<'a> Round<'a> {
    /// Opens them. An update that cannot be opened with these keys is void, and so is one in the clear: all who have
    /// the same keys merge the same. One under a key that is older than the base's is void for all, as newcomers need not
    /// have that key, and whoever has the base's has a newer one to train under.
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
        let (oldest, mut unknown) = (base.key().number(), Vec::new());
        let open = |(at, update): (usize, &&'a dyn Source)| {
            if update.size()? > largest {
                return Ok(None);
            }
            match Opened::new(*update, keys) {
                Ok(opened) => Ok(Some(opened).filter(|it| it.key().number() >= oldest)),
                Err(NotOpened::Io(error)) => Err(NotOpened::Io(error)),
                Err(NotOpened::UnknownKey(_)) => {
                    unknown.push(at);
                    Ok(None)
                }
                Err(NotOpened::NotEncrypted | NotOpened::Forged) => Ok(None),
            }
        };
        let updates = updates.iter().enumerate().map(open).collect::<Result<_, _>>()?;
        Ok(Self { base, previous, unknown, updates })
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write as _;

    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::Encryptor;

    /// Keys of these numbers.
    fn keys(numbers: &[u32]) -> ModelKeys {
        let line = |number| format!("{number} {}", format!("{number:02x}").repeat(32));
        ModelKeys::parse(&numbers.iter().map(line).collect::<Vec<_>>().join("\n")).unwrap()
    }

    fn under(number: u32, model: &[u8]) -> Vec<u8> {
        let digest = Sha256::digest(model).into();
        let mut to = Encryptor::new(Vec::new(), keys(&[number]).newest(), &digest).unwrap();
        to.write_all(model).unwrap();
        to.finish().unwrap()
    }

    #[test]
    fn an_update_under_an_older_key_than_the_bases_is_void_for_newcomers_and_others_alike() {
        let base = under(2, b"base");
        let (old, new) = (under(1, b"old"), under(3, b"new"));
        for numbers in [&[1, 2, 3][..], &[2, 3]] {
            let keys = keys(numbers);
            let round = Round::open(&keys, &base, None, &[&old, &new]).unwrap();
            let sizes: Vec<_> = round.updates().iter().map(|it| it.size().unwrap()).collect();
            assert_eq!((sizes, round.key().number()), (vec![0, 3], 3));
            assert_eq!(round.unknown, if numbers.len() == 2 { vec![0] } else { Vec::new() });
        }
        let keys = keys(&[1, 2]);
        let round = Round::open(&keys, &base, None, &[&new]).unwrap();
        assert_eq!((&round.unknown[..], round.key().number()), (&[0][..], 2));
    }
}
