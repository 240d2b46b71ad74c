//! Many transactions that are ordered as one of CometBFT's.
//!
//! What CometBFT does for each of its own (a call, a queue, a message to each peer, a question to the application at each
//! node) costs several times what verifying a signature does. A node that has many on their way hands them over together,
//! and each is decided and recorded for itself, in this order.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use bytes::{BufMut as _, Bytes, BytesMut};

use super::ordered::Key;

/// What begins a bundle: neither a payload nor a tick begins so.
pub(super) const BUNDLE: u8 = 1;
/// How many transactions are in one at most, and how many bytes: CometBFT takes 66,560 into one of its own.
const MAX_COUNT: usize = 128;
const MAX_BYTES: usize = 32 << 10;
/// How many wait to be handed over at most: as many as a node has wait, and as many that it offers again.
const MAX_QUEUED: usize = 8192;

/// Puts payloads into one, of which there are at least two.
pub(super) fn join(payloads: &[Bytes]) -> Bytes {
    let bytes: usize = payloads.iter().map(|it| LENGTH + it.len()).sum();
    let mut bundle = BytesMut::with_capacity(1 + bytes);
    bundle.put_u8(BUNDLE);
    for payload in payloads {
        // A payload is far shorter: it has a bound of its own.
        bundle.put_u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
        bundle.put_slice(payload);
    }
    bundle.freeze()
}

/// Before each payload: its length.
const LENGTH: usize = size_of::<u32>();

/// The payloads of one after its first byte; `None` if it is none, or holds fewer than two, or too many. What they are is
/// not looked at.
pub(super) fn split(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut payloads = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        if payloads.len() == MAX_COUNT {
            return None;
        }
        let (payload, rest) = rest.split_at_checked(length)?;
        payloads.push(payload);
        bytes = rest;
    }
    (bytes.is_empty() && payloads.len() >= 2).then_some(payloads)
}

/// One of CometBFT's transactions, and those that whoever waits for knows it by.
pub(super) struct Offer {
    pub(super) keys: Vec<Key>,
    pub(super) tx: Bytes,
    /// Whether it may be put together with others.
    pub(super) joins: bool,
    /// Whether it was offered before.
    pub(super) again: bool,
}

/// Where offers are queued; cheap to clone.
#[derive(Clone)]
pub(super) struct Offers(SyncSender<Offer>);

impl Offers {
    /// A queue, and what takes from it.
    pub(super) fn new() -> (Self, Receiver<Offer>) {
        let (sender, receiver) = sync_channel(MAX_QUEUED);
        (Self(sender), receiver)
    }

    /// Queues one; gives it back where there is no room, or nothing takes it any more.
    pub(super) fn push(&self, offer: Offer) -> Result<(), Offer> {
        self.0.try_send(offer).map_err(|error| match error {
            TrySendError::Full(offer) | TrySendError::Disconnected(offer) => offer,
        })
    }
}

/// Gives what is queued, that which is there together as one; ends when nothing can be queued any more.
pub(super) fn bundles(queue: Receiver<Offer>) -> impl Iterator<Item = Offer> {
    let mut next = None;
    std::iter::from_fn(move || {
        let mut one = match next.take() {
            Some(offer) => offer,
            None => queue.recv().ok()?,
        };
        if !one.joins {
            return Some(one);
        }
        let (mut payloads, mut bytes) = (vec![one.tx.clone()], 1 + LENGTH + one.tx.len());
        while payloads.len() < MAX_COUNT {
            let Ok(offer) = queue.try_recv() else { break };
            let with = bytes + LENGTH + offer.tx.len();
            if !offer.joins || with > MAX_BYTES {
                next = Some(offer);
                break;
            }
            bytes = with;
            payloads.push(offer.tx);
            one.keys.extend(offer.keys);
        }
        if payloads.len() > 1 {
            one.tx = join(&payloads);
        }
        Some(one)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_joined_splits_again(payloads in vec(vec(any::<u8>(), 0..300), 2..MAX_COUNT)) {
            let payloads: Vec<_> = payloads.into_iter().map(Bytes::from).collect();
            let joined = join(&payloads);
            prop_assert_eq!(joined[0], BUNDLE);
            prop_assert_eq!(split(&joined[1..]).unwrap(), payloads);
        }

        #[test]
        fn there_is_one_way_to_write_it(bytes in vec(any::<u8>(), 0..64)) {
            if let Some(payloads) = split(&bytes) {
                let payloads: Vec<_> = payloads.into_iter().map(Bytes::copy_from_slice).collect();
                prop_assert_eq!(&join(&payloads)[1..], &bytes);
            }
        }
    }

    #[test]
    fn what_is_cut_or_too_much_is_none() {
        let two = join(&[Bytes::from_static(b"one"), Bytes::from_static(b"two")]);
        for length in 1..two.len() {
            assert_eq!(split(&two[1..length]), None, "{length}");
        }
        let too_many = join(&vec![Bytes::new(); MAX_COUNT + 1]);
        assert_eq!(split(&too_many[1..]), None);
        let most = join(&vec![Bytes::new(); MAX_COUNT]);
        assert_eq!(split(&most[1..]).unwrap().len(), MAX_COUNT);
        // A length that is a lie takes no memory.
        assert_eq!(split(&[0xff; 5]), None);
    }

    #[test]
    fn what_is_queued_goes_together_and_in_order() {
        let (offers, queue) = Offers::new();
        let offer = |number: usize, joins: bool, length: usize| {
            let mut key = Key::default();
            key[..8].copy_from_slice(&number.to_le_bytes());
            Offer { keys: vec![key], tx: vec![number as u8; length].into(), joins, again: false }
        };
        let all =
            [(true, 100), (true, 200), (false, 50), (true, 7), (true, MAX_BYTES - 10), (true, 9)];
        for (number, (joins, length)) in all.into_iter().enumerate() {
            assert!(offers.push(offer(number, joins, length)).is_ok());
        }
        for number in all.len()..all.len() + MAX_COUNT + 1 {
            assert!(offers.push(offer(number, true, 10)).is_ok());
        }
        drop(offers);
        let bundled: Vec<_> = bundles(queue).collect();
        let counts: Vec<_> = bundled.iter().map(|it| it.keys.len()).collect();
        assert_eq!(counts, [2, 1, 1, 1, MAX_COUNT, 2]);
        let keys: Vec<_> = bundled.iter().flat_map(|it| &it.keys).map(|key| key[0]).collect();
        assert!(keys.iter().map(|it| usize::from(*it)).eq(0..all.len() + MAX_COUNT + 1));
        // One alone goes as it is.
        assert_eq!(bundled[2].tx[..], [3; 7]);
        let split: Vec<_> = split(&bundled[0].tx[1..]).unwrap().iter().map(|it| it.len()).collect();
        assert_eq!(split, [100, 200]);
        assert!(bundled.iter().all(|it| it.tx.len() <= MAX_BYTES));
    }
}
