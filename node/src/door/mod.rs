//! Where the world comes in.

pub(crate) mod calls;
pub(crate) mod connections;
pub(crate) mod refusing;
pub(crate) mod rights;
pub(crate) mod serve;
pub(crate) mod tls;
pub(crate) mod who;
