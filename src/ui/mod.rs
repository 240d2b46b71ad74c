//! What has become of a ledger's experiments, for people who look: verified by their own follower, in a browser
//! (`colearn ui`) or a terminal (`colearn top`), or as a node says it, at the node's own port.
//!
//! ```text
//! feed, own ──► view (book, tales) ──► state (grid, claims), search, explain ──► serve ──► page/
//!                                      └──► src/top
//! ```
//!
//! The page needs one JSON document and a stream that says when there is a new one, both at addresses relative
//! to its own. Where these come from it is told in the document, item by item.

mod book;
mod claims;
mod feed;
mod grid;
mod idle;
mod own;
mod pace;
mod search;
mod serve;
mod state;
mod view;

pub(crate) use self::feed::{alarm, fill, follow, read, stopped};
pub(crate) use self::own::page_of_node;
pub(crate) use self::serve::{MAX_STREAMS, Page, serve};
pub(crate) use self::state::{Asked, document};
pub(crate) use self::view::{Place, Shared, Told, View, now_ms};
