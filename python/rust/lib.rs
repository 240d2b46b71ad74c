//! The extension `colearn_client._core`: what the Python package does not do itself.
//!
//! Whatever needs a network, a file or much computing runs here, without the interpreter's lock; learners, and whoever
//! is told what happens, are called on the thread that called (`calls`). No thread and no runtime outlives a call, so
//! that processes can fork between calls.

mod calls;
mod client;
mod command;
mod dp;
mod errors;
mod keys;
mod learner;
mod ledger;
mod model;
mod pins;
mod run;
mod schema;
mod simulate;
mod spending;
mod values;
mod weights;

use pyo3::prelude::*;

/// The package's extension. What is here is shown to users by `colearn_client`.
#[pymodule]
mod _core {
    #[pymodule_export]
    use crate::client::Client;
    #[pymodule_export]
    use crate::command::main;
    #[pymodule_export]
    use crate::dp::{epsilon, noise_multiplier};
    #[pymodule_export]
    use crate::keys::Key;
    #[pymodule_export]
    use crate::ledger::{audit, checkpoint, entries, experiments};
    #[pymodule_export]
    use crate::model::{model_get, model_predict, model_show, model_verify};
    #[pymodule_export]
    use crate::run::{run, run_local};
    #[pymodule_export]
    use crate::schema::{derive, encode, model_schema};
    #[pymodule_export]
    use crate::simulate::{simulate, sweep};
    #[pymodule_export]
    use crate::weights::Weights;
}
