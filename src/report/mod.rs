//! The report of an audit that an auditor hands in: one document, as JSON, and a page made from that.
//!
//! ```text
//! audit ──► document (experiment) ──► FILE.json
//!                                 └─► page ──► FILE.html
//! ```

mod document;
mod experiment;
mod page;

pub(crate) use self::document::{Audited, document};
pub(crate) use self::page::page;
