//! A connection to a node, for whatever a learner does not do by itself.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use colearn_contracts::{
    Act, Action, Evaluation, Invitation, LearnerId, Measure, Model, Motion, Version,
};
use colearn_records::convert::ExperimentState;
use colearn_records::keys::{learner_id, parse_learner_id};
use colearn_sdk::client::{
    self, BoxFuture, CreateError, Credential, Described, Destination, Followed, Memory, Nodes,
};
use colearn_sdk::encrypted::Encryption;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tokio::runtime::Runtime;

use crate::calls::{self, Gone};
use crate::errors::{self, Failed};
use crate::keys::Key;
use crate::pins;
use crate::run::{model_keys_of, parsed, plan_of};
use crate::values;
use crate::weights::{Weights, digest};

/// A connection, and what drives it.
struct Open {
    runtime: Runtime,
    followed: Followed,
}

/// A connection to a node that verifies what the node says.
///
/// No thread works on it between calls.
#[pyclass(frozen, module = "colearn_client")]
pub(crate) struct Client {
    /// Taken while a call lasts; `None` when it is closed.
    open: Mutex<Option<Open>>,
    /// A process that was forked off has no connection of its own.
    process: u32,
}

/// Where the ledger is kept: an address, several with commas between them, or a list of them.
#[derive(FromPyObject)]
pub(crate) enum Addresses {
    One(String),
    Several(Vec<String>),
}

impl From<Addresses> for Nodes {
    fn from(addresses: Addresses) -> Self {
        match addresses {
            Addresses::One(text) => text.into(),
            Addresses::Several(texts) => texts.into(),
        }
    }
}

/// Whoever is in no experiment.
const NOBODY: LearnerId = LearnerId([0; 32]);

/// What a call does with the connection.
type Task<T> = Box<dyn for<'a> FnOnce(&'a mut Followed) -> BoxFuture<'a, Result<T, Failed>> + Send>;

impl Client {
    /// Calls the node. A connection that was lost since the last call is made again, once; of several nodes, to
    /// the first that will do.
    fn call<T: Send + 'static>(&self, py: Python<'_>, task: Task<T>) -> PyResult<T> {
        if self.process != std::process::id() {
            let why = "this client was made in another process; make one in this";
            return Err(errors::raise(py, "ColearnError", why));
        }
        let taken = self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut open) = taken else {
            let why = "this client is closed, or in use by another thread; make another one";
            return Err(errors::raise(py, "ColearnError", why));
        };
        let (open, done) = calls::serve(py, move |desk, interrupted| {
            let done = interrupted.unless_on(&open.runtime, async {
                // Whether the node has closed it while nobody worked on it, only an answer tells.
                if open.followed.catch_up(&mut |_| {}).await.is_err() {
                    open.followed.recover().await?;
                }
                task(&mut open.followed).await
            });
            drop(desk);
            (open, done)
        })?;
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(open);
        match done {
            Some(done) => done.map_err(|error| error.raise(py)),
            None => Err(PyRuntimeError::new_err(Gone.to_string())),
        }
    }

    /// Reads something off the connection.
    fn read<T>(&self, py: Python<'_>, read: impl FnOnce(&Followed) -> T) -> PyResult<T> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match &*open {
            Some(open) => Ok(read(&open.followed)),
            None => Err(errors::raise(py, "ColearnError", "this client is closed")),
        }
    }

    /// Signs and submits what the experiment's state asks for; the entry's index, and what is to be known besides.
    fn act<T: Send + 'static>(
        &self,
        py: Python<'_>,
        name: &str,
        key: &Key,
        act: impl FnOnce(&Described) -> Result<(Act, T), Failed> + Send + 'static,
    ) -> PyResult<(u64, T)> {
        let (name, key) = (parsed(name)?, key.inner.clone());
        self.call(
            py,
            Box::new(move |client| {
                Box::pin(async move {
                    let known = client.described(&name, learner_id(&key), usize::MAX)?;
                    let (act, besides) = act(&known)?;
                    let submitted = client.act(&key, Action::new(name, act)).await?;
                    Ok((submitted.receipt.index, besides))
                })
            }),
        )
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.close();
    }
}

#[pymethods]
impl Client {
    #[new]
    #[pyo3(signature = (node, key = None, memory = None, *, plan = None, **pins))]
    fn new(
        py: Python<'_>,
        node: Addresses,
        key: Option<&Key>,
        memory: Option<PathBuf>,
        plan: Option<&str>,
        pins: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let plan = plan.map(|text| plan_of(py, text)).transpose()?;
        let (trust, reach) = pins::trust(py, pins, plan.as_ref())?;
        let owner = key.map(|key| learner_id(&key.inner));
        let mut nodes = Nodes::from(node).trusting(reach);
        if let Some(key) = key {
            nodes = nodes.signed_by(Credential::new(&key.inner));
        }
        let memory = match (owner, memory) {
            (Some(owner), Some(folder)) => Some((owner, folder)),
            (None, Some(_)) => {
                return Err(PyValueError::new_err("a memory is a key's: say which key"));
            }
            (_, None) => None,
        };
        let open = calls::serve(py, move |desk, interrupted| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(Failed::other)?;
            let connected = interrupted.unless_on(&runtime, async {
                let memory = match memory {
                    Some((owner, folder)) => Memory::open(&folder, owner)?,
                    None => Memory::default(),
                };
                let client = client::Client::connect(nodes).await?;
                let mut followed = Followed::open(client, memory, trust).await?;
                followed.catch_up_somewhere(&mut |_| {}).await?;
                Ok::<_, Failed>(followed)
            });
            drop(desk);
            match connected {
                Some(followed) => Ok(Open { followed: followed?, runtime }),
                None => Err(Failed::other(Gone)),
            }
        })?;
        let open = open.map_err(|error| error.raise(py))?;
        Ok(Self { open: Mutex::new(Some(open)), process: std::process::id() })
    }

    /// Closes the connection.
    fn close(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        if self.process != std::process::id() {
            // Closed in a process that was forked off, it would be taken from the one that made it, and threads
            // would be waited for that are only there.
            std::mem::forget(open);
        }
    }

    fn __enter__(this: Py<Self>) -> Py<Self> {
        this
    }

    #[pyo3(signature = (*_raised))]
    fn __exit__(&self, _raised: &Bound<'_, pyo3::types::PyTuple>) {
        self.close();
    }

    /// The address of the node that is spoken to.
    #[getter]
    fn url(&self, py: Python<'_>) -> PyResult<String> {
        self.read(py, |followed| followed.client().url().to_owned())
    }

    /// Which ledger the node keeps: the digest of its first entry, in hexadecimal.
    #[getter]
    fn ledger_id(&self, py: Python<'_>) -> PyResult<String> {
        self.read(py, |client| client.ledger_id().to_string())
    }

    /// The key that verifies its checkpoints.
    #[getter]
    fn verifier(&self, py: Python<'_>) -> PyResult<String> {
        self.read(py, |client| client.keys().current().to_string())
    }

    /// The version of the rules that new experiments follow.
    #[getter]
    fn contract_version(&self, py: Python<'_>) -> PyResult<u32> {
        let version = self.read(py, |followed| followed.contract_version())?;
        Ok(version.map_err(|error| Failed::from(error).raise(py))?.number())
    }

    /// How many entries were followed.
    #[getter]
    fn size(&self, py: Python<'_>) -> PyResult<u64> {
        self.read(py, Followed::size)
    }

    /// Uploads weights unless the node has them.
    fn upload(&self, py: Python<'_>, weights: Weights) -> PyResult<()> {
        self.call(
            py,
            Box::new(move |client| {
                Box::pin(async move { Ok(client.client().upload(&weights.inner).await?) })
            }),
        )
    }

    /// Downloads weights, and verifies their digest; large ones into a folder, if one is given.
    #[pyo3(signature = (digest, size, folder=None))]
    fn download(
        &self,
        py: Python<'_>,
        digest: [u8; 32],
        size: u64,
        folder: Option<PathBuf>,
    ) -> PyResult<Weights> {
        let digest = colearn_contracts::Digest(digest);
        let model = Model { digest, size, media_type: String::new() };
        let to = folder.map_or(Destination::Memory, Destination::Folder);
        let downloaded = self.call(
            py,
            Box::new(move |client| {
                Box::pin(async move { Ok(client.client().download_to(&model, to).await?) })
            }),
        )?;
        Ok(downloaded.into())
    }

    /// An experiment, as it follows from the ledger.
    fn experiment<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let name = parsed(name)?;
        let known = self.call(
            py,
            Box::new(move |client| {
                Box::pin(async move { Ok(client.described(&name, NOBODY, usize::MAX)?.experiment) })
            }),
        )?;
        values::object(py, &colearn::experiment_json(&known, None))
    }

    /// All experiments without their members, as they follow from the ledger.
    fn experiments<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let known = self.call(
            py,
            Box::new(|client| {
                Box::pin(async move {
                    let all = client.contract()?.experiments();
                    let told = all.map(|it| ExperimentState::of(it, 0));
                    Ok(told.map(|it| colearn::experiment_json(&it, None)).collect())
                })
            }),
        )?;
        values::object(py, &serde_json::Value::Array(known))
    }

    /// Creates an experiment: its entry, the digest of its terms, and the plan as it was recorded.
    #[allow(clippy::too_many_arguments, reason = "each is one of Python's named arguments")]
    fn create(
        &self,
        py: Python<'_>,
        name: &str,
        key: &Key,
        weights: Weights,
        media_type: String,
        plan: &str,
        agreed: bool,
        model_keys: Option<PathBuf>,
    ) -> PyResult<(u64, String, String)> {
        let (name, key, plan) = (parsed(name)?, key.inner.clone(), plan_of(py, plan)?);
        let weights = match model_keys {
            Some(file) => {
                let keys = model_keys_of(py, &file)?;
                let encrypt = || Encryption::new(keys, None).encrypt(&weights.inner);
                py.detach(encrypt)?.into()
            }
            None => weights,
        };
        let created = self.call(
            py,
            Box::new(move |client| {
                Box::pin(async move {
                    let model = (&weights.inner, media_type.as_str());
                    client.create(&key, name, plan, agreed, model).await.map_err(
                        |error| match error {
                            CreateError::Client(error) => error.into(),
                            CreateError::NoAdmission
                            | CreateError::OtherName { .. }
                            | CreateError::Parameters(_) => Failed::of("PlanError")(&error),
                        },
                    )
                })
            }),
        )?;
        let index = created.submitted.receipt.index;
        Ok((index, created.terms.to_string(), created.plan.to_text()))
    }

    /// Moves that the members decide something; the motion's number.
    #[pyo3(signature = (name, key, what, *, learner = None, weight = 1, judge = false, called = None, rules = None, version = None))]
    #[allow(clippy::too_many_arguments, reason = "each is one of Python's named arguments")]
    fn move_motion(
        &self,
        py: Python<'_>,
        name: &str,
        key: &Key,
        what: &str,
        learner: Option<&str>,
        weight: u32,
        judge: bool,
        called: Option<&str>,
        rules: Option<String>,
        version: Option<u32>,
    ) -> PyResult<u64> {
        let learner = || -> PyResult<LearnerId> {
            let text = learner.ok_or_else(|| PyValueError::new_err("say which learner"))?;
            parse_learner_id(text).map_err(PyValueError::new_err)
        };
        let motion = match what {
            "set" => None,
            "admit" => {
                let called = called.map(parsed).transpose()?;
                Some(Motion::Admit(Invitation { learner: learner()?, weight, judge, name: called }))
            }
            "suspend" => Some(Motion::Suspend(learner()?)),
            "expel" => Some(Motion::Expel(learner()?)),
            "stop" => Some(Motion::Stop),
            "adopt" => {
                let number = version.ok_or_else(|| PyValueError::new_err("say which version"))?;
                let known = Version::try_from(number);
                Some(Motion::Adopt(known.map_err(|it| PyValueError::new_err(it.to_string()))?))
            }
            other => return Err(PyValueError::new_err(format!("there is no motion {other:?}"))),
        };
        let rules = rules.unwrap_or_default();
        let (_, number) = self.act(py, name, key, move |known| {
            let state = &known.experiment;
            let motion = match motion {
                Some(motion) => motion,
                None => changed(&colearn::plan_of(state).to_text(), &rules)?,
            };
            let number = state.last_motion + 1;
            Ok((Act::Move { number, motion }, number))
        })?;
        Ok(number)
    }

    /// Votes on a motion; the vote's entry.
    fn vote_on_motion(
        &self,
        py: Python<'_>,
        name: &str,
        number: u64,
        approve: bool,
        key: &Key,
    ) -> PyResult<u64> {
        let vote = Act::MotionVote { number, approve };
        Ok(self.act(py, name, key, move |_| Ok((vote, ())))?.0)
    }

    /// Leaves an experiment from the next round on; the entry.
    #[pyo3(signature = (name, key, *, renounce = false))]
    fn leave(&self, py: Python<'_>, name: &str, key: &Key, renounce: bool) -> PyResult<u64> {
        let left = self.act(py, name, key, move |known| {
            // Who is no member names the term that it would join for (R7).
            let term = match &known.member {
                None => 0,
                Some(member) if member.seat.is_member() => member.term,
                Some(member) => member.term.saturating_add(1),
            };
            Ok((Act::Leave { term, renounce }, ()))
        })?;
        Ok(left.0)
    }

    /// Lets a paused experiment go on; the entry.
    fn resume(&self, py: Python<'_>, name: &str, key: &Key) -> PyResult<u64> {
        let resumed = self
            .act(py, name, key, |known| Ok((Act::Resume { round: known.experiment.round }, ())))?;
        Ok(resumed.0)
    }

    /// Ends an experiment; the entry.
    fn stop(&self, py: Python<'_>, name: &str, key: &Key) -> PyResult<u64> {
        Ok(self.act(py, name, key, |_| Ok((Act::Stop, ())))?.0)
    }

    /// Records what a model is worth on one's own data; the entry.
    #[pyo3(signature = (name, key, measures, *, model = None))]
    fn evaluate(
        &self,
        py: Python<'_>,
        name: &str,
        key: &Key,
        measures: std::collections::BTreeMap<String, f64>,
        model: Option<&str>,
    ) -> PyResult<u64> {
        let model = model.map(digest).transpose()?;
        let measures = measures.iter().map(|(name, value)| measure(name, *value));
        let measures = measures.collect::<PyResult<Vec<Measure>>>()?;
        let evaluated = self.act(py, name, key, move |known| {
            let member = known
                .member
                .as_ref()
                .ok_or_else(|| Failed::other("only members evaluate; this key has never joined"))?;
            let number = member.evaluations + 1;
            let model = model.unwrap_or(known.experiment.model.digest);
            Ok((Act::Evaluate(Evaluation { number, model, measures }), ()))
        })?;
        Ok(evaluated.0)
    }
}

/// The motion to go on under rules of which some are changed.
fn changed(present: &str, changes: &str) -> Result<Motion, Failed> {
    let plan_error = Failed::of("PlanError");
    let table = |text: &str| text.parse::<toml::Table>().map_err(|error| plan_error(&error));
    let mut rules = table(present)?;
    rules.extend(table(changes)?);
    let plan = colearn_records::plan::Plan::parse(&rules.to_string());
    let plan = plan.map_err(|error| plan_error(&error))?;
    Ok(Motion::SetParameters(Box::new(plan.parameters)))
}

fn measure(name: &str, value: f64) -> PyResult<Measure> {
    let micros = (value * 1e6).round();
    // Beyond it a float is no exact number of millionths any more.
    if !value.is_finite() || micros.abs() > 2_f64.powi(53) {
        let why = format!("{name}: {value} cannot be kept in millionths");
        return Err(PyValueError::new_err(why));
    }
    Ok(Measure { name: parsed(name)?, value_micros: micros as i64 })
}
