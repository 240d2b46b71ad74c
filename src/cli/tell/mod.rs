//! How things are told: as text for people, as JSON for programs. The words are those of
//! [`colearn_records::words`], in both.

pub(crate) mod alone;
pub(crate) mod json;
pub(crate) mod merges;
pub(crate) mod models;
pub(crate) mod rounds;
pub(crate) mod text;
