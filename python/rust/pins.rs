//! Whom to believe, as it is said in Python: the keyword arguments of the package's `Reach`, `Pins` and `Trust`.

use std::path::PathBuf;
use std::sync::OnceLock;

use colearn_records::keys;
use colearn_records::pins::Pins;
use colearn_records::plan::Plan;
use colearn_sdk::client::{ChainTrust, Credential, NoTrust, TlsTrust, Trust};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::Failed;
use crate::run::parsed;

/// The environment's variable for the key with which URLs are read, where a node wants to know who asks.
const AUTH_KEY: &str = "COLEARN_AUTH_KEY";

/// Whose certificates are believed, and which is shown.
#[derive(Clone, Default)]
pub(crate) struct Reach {
    ca: Option<PathBuf>,
    client_cert: Option<PathBuf>,
    client_key: Option<PathBuf>,
}

impl Reach {
    /// As it is said in keyword arguments of nothing else.
    pub(crate) fn read(arguments: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let mut reach = Self::default();
        for (name, value) in arguments.into_iter().flatten() {
            let name = name.extract::<String>()?;
            if !reach.take(&name, &value)? {
                return Err(unexpected(&name));
            }
        }
        Ok(reach)
    }

    /// Takes an argument, if it is one of these.
    fn take(&mut self, name: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        match name {
            "ca" => self.ca = value.extract()?,
            "client_cert" => self.client_cert = value.extract()?,
            "client_key" => self.client_key = value.extract()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The environment's variables take the place of what is not said.
    fn trust(self) -> TlsTrust {
        TlsTrust::given(self.ca, self.client_cert, self.client_key)
    }

    /// The same for a place that is read: a URL in the name of whom the environment names.
    pub(crate) fn reading(&self, place: &str) -> Result<TlsTrust, String> {
        static KEY: OnceLock<Result<Option<Credential>, String>> = OnceLock::new();
        let trust = self.clone().trust();
        // Whoever reads files needs no key, and is asked for no passphrase.
        if !place.contains("://") {
            return Ok(trust);
        }
        let key = KEY.get_or_init(|| {
            let named = std::env::var_os(AUTH_KEY).filter(|it| !it.is_empty());
            let load = |named| keys::Place::from(named).load().map(Credential::new);
            named.map(load).transpose().map_err(|error| error.to_string())
        });
        Ok(match key.clone()? {
            Some(credential) => trust.signed_by(credential),
            None => trust,
        })
    }
}

/// In the words of the interpreter, which would say so itself if they were named there.
fn unexpected(name: &str) -> PyErr {
    PyTypeError::new_err(format!("got an unexpected keyword argument '{name}'"))
}

/// What is insisted on, what is trusted (the file of a checkpoint, or a line of a public chain), and how servers are reached.
#[derive(Default)]
struct Said {
    ledger: Option<String>,
    verifier_key: Option<String>,
    witnesses: Vec<String>,
    witness_quorum: Option<usize>,
    trust: Option<Trusted>,
    reach: Reach,
}

/// What is believed unseen.
enum Trusted {
    /// A line of a public chain.
    Chain(ChainTrust),
    /// The file of a checkpoint.
    Checkpoint(PathBuf),
}

impl Trusted {
    /// A text that is no line is a file's name, but one that only lacks the contract.
    fn read(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        let file = || value.extract().map(Self::Checkpoint);
        let Ok(text) = value.extract::<String>() else { return file() };
        match text.parse() {
            Ok(line) => Ok(Self::Chain(line)),
            Err(NoTrust::Malformed(_)) => file(),
            Err(error @ NoTrust::NoContract(_)) => Err(PyValueError::new_err(error.to_string())),
        }
    }
}

impl Said {
    fn read(arguments: &Bound<'_, PyDict>) -> PyResult<Self> {
        let mut said = Self::default();
        for (name, value) in arguments {
            match name.extract::<String>()?.as_str() {
                "ledger" => said.ledger = value.extract()?,
                "verifier_key" => said.verifier_key = value.extract()?,
                "witnesses" => said.witnesses = value.extract()?,
                "witness_quorum" => said.witness_quorum = value.extract()?,
                "trust" if value.is_none() => {}
                "trust" => said.trust = Some(Trusted::read(&value)?),
                other if said.reach.take(other, &value)? => {}
                other => return Err(unexpected(other)),
            }
        }
        Ok(said)
    }

    fn over(&self, planned: &Pins) -> PyResult<Pins> {
        let ledger = self.ledger.as_deref().map(parsed).transpose()?;
        let key = self.verifier_key.as_deref().map(parsed).transpose()?;
        let witnesses = self.witnesses.iter().map(|it| parsed(it)).collect::<PyResult<_>>()?;
        let pins = planned.with(ledger, key, witnesses, self.witness_quorum);
        pins.map_err(|error| PyValueError::new_err(error.to_string()))
    }
}

/// What is insisted on of a ledger that is audited, and how it is reached.
pub(crate) fn pins(arguments: Option<&Bound<'_, PyDict>>) -> PyResult<(Pins, Reach)> {
    let said = arguments.map(Said::read).transpose()?.unwrap_or_default();
    let pins = said.over(&Pins::default())?;
    let line = match said.trust {
        None => None,
        Some(Trusted::Chain(line)) => Some(line.to_string()),
        Some(Trusted::Checkpoint(file)) => {
            let no_line = NoTrust::Malformed(file.display().to_string());
            let why = format!("an audit trusts no checkpoint, and {no_line}");
            return Err(PyTypeError::new_err(why));
        }
    };
    Ok((pins.trusting(line), said.reach))
}

/// What is believed of a ledger that is followed, where it is not said as is planned; and how nodes are reached.
pub(crate) fn trust(
    py: Python<'_>,
    arguments: Option<&Bound<'_, PyDict>>,
    plan: Option<&Plan>,
) -> PyResult<(Trust, TlsTrust)> {
    let said = arguments.map(Said::read).transpose()?.unwrap_or_default();
    let pins = said.over(&plan.map(|plan| plan.pins.clone()).unwrap_or_default())?;
    let (line, checkpoint) = match said.trust {
        None => (None, None),
        Some(Trusted::Chain(line)) => (Some(line.to_string()), None),
        Some(Trusted::Checkpoint(file)) => (None, Some(file)),
    };
    let pins = pins.trusting(line);
    let chain = pins.trust().map(parsed).transpose()?;
    let checkpoint = checkpoint.map(|path| {
        std::fs::read_to_string(&path).map_err(|error| {
            let what = format_args!("cannot read the checkpoint {}: {error}", path.display());
            Failed::of("NoteError")(&what).raise(py)
        })
    });
    Ok((Trust { pins, checkpoint: checkpoint.transpose()?, chain }, said.reach.trust()))
}
