//! The page of `colearn ui`: what its own follower has verified, told to a browser on this machine.
//!
//! ```text
//! feed ──► view (book, tales) ──► state, search, explain ──► serve ──► page/
//! ```
//!
//! The page needs one JSON document and a stream that says when there is a new one, both at addresses relative
//! to its own. Where these come from it is told in the document, item by item.

mod book;
mod claims;
mod feed;
mod idle;
mod pace;
mod search;
mod serve;
mod state;
mod view;

pub(crate) use self::feed::{fill, follow, read};
pub(crate) use self::serve::{Page, serve};
pub(crate) use self::view::{Place, Shared, Told, View};
