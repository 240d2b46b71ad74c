//! What went wrong, as the package's exceptions (`colearn_client.errors`).

use colearn_net::NetError;
use colearn_records::pins::Unpinned;
use colearn_sdk::client::{ChainError, ClientError, Evidence, Refused};
use colearn_sdk::learner::LearnerError;
use colearn_sdk::spending::SpendingError;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// What a learner raised.
#[derive(Debug)]
pub(crate) struct Raised(pub(crate) PyErr);

impl std::fmt::Display for Raised {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Raised {}

/// Why something cannot be done.
#[derive(Debug)]
pub(crate) enum Failed {
    /// What is said between a learner and its node.
    Client(ClientError),
    /// What a learner raised.
    Raised(PyErr),
    /// Anything else: the exception's class, and what happened.
    Other(&'static str, String),
}

impl From<ClientError> for Failed {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Model(source) => Self::of_learner("ModelError", source),
            other => Self::Client(other),
        }
    }
}

impl Failed {
    /// An exception of this class, for anything that can be printed.
    pub(crate) fn of(class: &'static str) -> impl Fn(&dyn std::fmt::Display) -> Self {
        move |error| Self::Other(class, error.to_string())
    }

    /// Anything that went wrong without a class of its own.
    pub(crate) fn other(error: impl std::fmt::Display) -> Self {
        Self::Other("ColearnError", error.to_string())
    }

    /// What a learner raised, as it raised it.
    pub(crate) fn of_learner(class: &'static str, source: LearnerError) -> Self {
        match source.downcast::<Raised>() {
            Ok(raised) => Self::Raised(raised.0),
            Err(other) => Self::Other(class, other.to_string()),
        }
    }

    /// As an exception.
    pub(crate) fn raise(self, py: Python<'_>) -> PyErr {
        let made = match self {
            Self::Raised(error) => return error,
            Self::Client(error) => of_client(py, &error),
            Self::Other(class, message) => exception(py, class, &message, &PyDict::new(py)),
        };
        made.unwrap_or_else(|error| error)
    }
}

fn of_client(py: Python<'_>, error: &ClientError) -> PyResult<PyErr> {
    let told = PyDict::new(py);
    let class = match error {
        ClientError::Address { .. }
        | ClientError::Net(
            NetError::Fingerprint(_) | NetError::PinWithoutTls(_) | NetError::NoTls(_),
        ) => "AddressError",
        ClientError::Unreachable { .. }
        | ClientError::Behind { .. }
        | ClientError::NoNode(_)
        | ClientError::Net(_) => "UnreachableError",
        ClientError::Refused { refused, rule, .. } => {
            told.set_item("rule", rule)?;
            told.set_item("missing", *refused == Refused::NotFound)?;
            told.set_item("transient", error.is_transient())?;
            told.set_item("stale", error.is_stale())?;
            "RefusedError"
        }
        // As whoever asks a node for it is told.
        ClientError::NoExperiment(_) => {
            told.set_item("missing", true)?;
            "RefusedError"
        }
        ClientError::Malformed(_) => "MalformedError",
        ClientError::Unproven(_, Evidence(path)) => {
            told.set_item("evidence", path)?;
            "MalformedError"
        }
        ClientError::Checkpoint(..)
        | ClientError::NoCheckpoint(_)
        | ClientError::Unpinned(Unpinned::Witnesses { .. } | Unpinned::Note(_)) => "NoteError",
        ClientError::Fork(_, Evidence(path))
        | ClientError::RolledBack { evidence: Evidence(path), .. }
        | ClientError::Departed { evidence: Evidence(path), .. } => {
            told.set_item("evidence", path)?;
            "ForkError"
        }
        ClientError::OnChain(chain, Evidence(path)) => {
            told.set_item("evidence", path)?;
            match chain {
                chain if chain.ends_trust() => "ForkError",
                ChainError::Stale { .. } | ChainError::Future { .. } => "UnreachableError",
                _ if error.is_a_lie() => "MalformedError",
                _ => "OtherLedgerError",
            }
        }
        ClientError::OtherLedger { .. }
        | ClientError::NotTrusted { .. }
        | ClientError::Unpinned(Unpinned::Ledger { .. } | Unpinned::Key { .. }) => {
            "OtherLedgerError"
        }
        ClientError::Receipt(..) => "ReceiptError",
        ClientError::WrongArtifact(_) => "ArtifactError",
        ClientError::Model(_) | ClientError::Encrypted(_) => "ModelError",
        ClientError::Terms
        | ClientError::OtherPlan(_)
        | ClientError::NotPrivate { .. }
        | ClientError::DeltaOverCap { .. } => "TermsError",
        ClientError::Unseated(_) | ClientError::KeyReplaced(_) => "UnseatedError",
        ClientError::Spending(SpendingError::Policy(_)) => "PolicyError",
        ClientError::Data { .. }
        | ClientError::NoRoom { .. }
        | ClientError::ForeignMemory { .. }
        | ClientError::MemoryInUse { .. }
        | ClientError::NoHome
        | ClientError::Spending(_)
        | ClientError::Merge(_) => "DataError",
        ClientError::Signer(_) => "SignerError",
        ClientError::Chain(_)
        | ClientError::Random(_)
        | ClientError::Panicked
        | ClientError::SignedBefore { .. } => "ColearnError",
    };
    exception(py, class, &error.to_string(), &told)
}

/// An exception of one of the package's classes, with attributes.
fn exception(
    py: Python<'_>,
    class: &str,
    message: &str,
    told: &Bound<'_, PyDict>,
) -> PyResult<PyErr> {
    let made = py.import("colearn_client.errors")?.getattr(class)?.call1((message,))?;
    for (name, value) in told {
        made.setattr(name.cast::<pyo3::types::PyString>()?, value)?;
    }
    Ok(PyErr::from_value(made))
}

/// The package's exception of this class.
pub(crate) fn raise(py: Python<'_>, class: &'static str, message: impl std::fmt::Display) -> PyErr {
    Failed::Other(class, message.to_string()).raise(py)
}

/// Whether an exception is of one of the package's classes.
pub(crate) fn is(py: Python<'_>, error: &PyErr, class: &str) -> bool {
    let class = py.import("colearn_client.errors").and_then(|errors| errors.getattr(class));
    class.is_ok_and(|class| error.matches(py, class).unwrap_or(false))
        && error.is_instance_of::<PyException>(py)
}
