//! What strangers may take of a node: one table. docs/limits.md says what happens at each.

use std::time::Duration;

/// How many lists of what is stored are made at a time.
pub(crate) const LISTS: usize = 4;

/// How many may wait for an object store at a time; see `artifacts::bucket`.
#[cfg(feature = "object-store")]
pub(crate) const STORE_CALLS: Share = Share { of_peer: 16, of_all: 64 };
/// How many artifacts are brought to a store at a time: each holds its parts in memory, and a place. The others wait.
#[cfg(feature = "object-store")]
pub(crate) const STORE_UPLOADS: Share = Share { of_peer: 2, of_all: 8 };

/// How many uploads may run at once.
pub(crate) const UPLOADS: usize = 64;
/// How many of them may be one peer's.
pub(crate) const UPLOADS_OF_PEER: usize = 8;
/// An upload that brings fewer bytes than [`UPLOAD_PACE_BYTES`] in this time, and does not end, is ended.
pub(crate) const UPLOAD_PACE: Duration = Duration::from_secs(30);
/// See [`UPLOAD_PACE`]. Bytes and not messages: or one byte now and then would hold a place for ever.
pub(crate) const UPLOAD_PACE_BYTES: usize = 64 << 10;
/// A peer's upload that has brought nothing for so long is taken over by a later one of the same. Until then the
/// later one is refused: members that have merged the same all bring it at once.
pub(crate) const TAKEN_OVER_AFTER: Duration = Duration::from_secs(2);
/// How long what an ended upload has brought is kept, unless the room is needed.
pub(crate) const PART_LIFE: Duration = Duration::from_secs(24 * 3600);
/// What the ledger has not named so long after it came goes first when room is needed.
pub(crate) const UNNAMED_LIFE: Duration = Duration::from_secs(6 * 3600);
/// And before that it goes last, but not so soon: whoever uploads names it within moments.
pub(crate) const UNNAMED_GRACE: Duration = Duration::from_secs(10 * 60);
/// How many bytes of answers may lie in this process unread: of one answer, of all to one peer, of all. Some of
/// an answer is not counted: one piece, and what it is made of.
pub(crate) const IN_FLIGHT_BYTES_OF_ANSWER: usize = 256 << 10;
/// See [`IN_FLIGHT_BYTES_OF_ANSWER`].
pub(crate) const IN_FLIGHT_BYTES_OF_PEER: usize = 16 << 20;
/// See [`IN_FLIGHT_BYTES_OF_ANSWER`].
pub(crate) const IN_FLIGHT_BYTES: usize = 64 << 20;
/// So many bytes of each answer come through always.
pub(crate) const FREE_BYTES: usize = 8 << 10;
/// How long an answer may lie there without a byte of it being taken.
pub(crate) const READER_PATIENCE: Duration = Duration::from_secs(60);
/// How many bytes one piece of a stream holds about.
pub(crate) const PIECE_BYTES: usize = 64 << 10;
/// How many artifacts are told of in one part of a list at most, and how many are looked through for it: about
/// [`PIECE_BYTES`].
pub(crate) const LISTED_IN_PART: usize = 400;
/// See [`LISTED_IN_PART`].
pub(crate) const LOOKED_THROUGH: usize = LISTED_IN_PART;
/// For how long requests are signed with one challenge; it counts as long again, for those that are on their way.
pub(crate) const CHALLENGE_LIFE: Duration = Duration::from_secs(300);
/// How many requests of one key may be signed with one challenge: they are remembered, so that none counts twice.
pub(crate) const SIGNED_OF_KEY: usize = 100_000;
/// The largest body that is read to find out who has signed it, and how long it may take.
pub(crate) const MAX_SIGNED_BYTES: usize = 64 << 10;
/// See [`MAX_SIGNED_BYTES`].
pub(crate) const SIGNED_BODY_TIME: Duration = Duration::from_secs(10);
/// How many requests of all keys are remembered; with one more another challenge is drawn.
pub(crate) const SIGNED_OF_ALL: usize = 1_000_000;
/// How long who names weights waits until it is known who has named them before.
pub(crate) const FOLLOWED_WITHIN: Duration = Duration::from_secs(10);
/// How many keys and what they have brought are remembered.
pub(crate) const BROUGHT: usize = 4096;
/// An answer that goes on for longer than this ends when whoever has asked may not any more.
pub(crate) const LOOKED_AT_AGAIN: Duration = Duration::from_secs(10);
/// How many connections the operator's own listener has.
pub(crate) const OPS_CONNECTIONS: usize = 16;

/// How many calls of a kind may be open at a time.
#[derive(Clone, Copy)]
pub(crate) struct Share {
    pub(crate) of_peer: usize,
    pub(crate) of_all: usize,
}

/// Submissions that wait for their receipts: most of them for the disk.
pub(crate) const SUBMISSIONS: Share = Share { of_peer: 512, of_all: 4096 };
/// Streams of submissions: of each as much as is sent ahead may lie here, where its answers are not read.
pub(crate) const SUBMISSION_STREAMS: Share = Share { of_peer: 64, of_all: 512 };
/// Calls that bring weights, before it is known which: of each a chunk may lie here, and what is sent ahead.
pub(crate) const UPLOAD_CALLS: Share = Share { of_peer: 2 * UPLOADS_OF_PEER, of_all: 2 * UPLOADS };
/// Answers that are weights: each has a file open.
pub(crate) const DOWNLOADS: Share = Share { of_peer: 128, of_all: 768 };
/// Other calls: their answers lie here whole, and the longest have a megabyte.
pub(crate) const READS: Share = Share { of_peer: 128, of_all: 768 };
/// Calls that everybody may make: for them members have no places of their own.
pub(crate) const OPEN_CALLS: Share = Share { of_peer: 32, of_all: 512 };
/// The nodes' words for how far they are, which they wait for.
pub(crate) const WORDS: Share = Share { of_peer: 32, of_all: 512 };
/// Requests of which it is looked who has signed them: of each a body may lie here.
pub(crate) const LOOKS: Share = Share { of_peer: 64, of_all: 512 };
/// How many times more often than a peer may ask it is looked at one address who asks there.
pub(crate) const LOOKS_OF_ADDRESS: u32 = 4;
/// For how long nobody can have asked for more than may be asked at once.
pub(crate) const CALLS_AHEAD: Duration = Duration::from_secs(4);
/// How long a call waits for its turn: who asks one thing after the other is slowed down, and not refused.
pub(crate) const TURN_PATIENCE: Duration = Duration::from_millis(250);
/// How many times what one peer may ask a second all together may.
pub(crate) const CALLS_OF_ALL: u32 = 16;
/// How long a transaction may take to come: honest ones are a packet or two.
pub(crate) const SUBMISSION_TIME: Duration = Duration::from_secs(5);
/// How long what is asked may take to come. What is asked in a stream may come as it likes; weights have their pace.
pub(crate) const BODY_TIME: Duration = Duration::from_secs(20);
/// How often it is looked for what is too old.
pub(crate) const TIDY_EVERY: Duration = Duration::from_secs(60);
