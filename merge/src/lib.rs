#![doc = include_str!("../README.md")]

mod alike;
mod combine;
mod layout;
mod measure;
mod middle;
mod number;
mod plan;
mod source;
mod stream;

use std::fmt;
use std::io::{self, Write};

use combine::{Output, combine};
use layout::Layout;
use measure::measure;
use plan::{Plan, SUM_LIMIT};
use stream::Placed;

pub use alike::{Unlike, check_alike};
pub use layout::{HEADER_LIMIT, STATISTICS};
pub use source::{Source, digest, largest_update};

/// More updates than this are not merged: their sums could overflow.
pub const MAX_UPDATES: usize = 256;

/// What is to be merged, and how.
#[derive(Clone, Copy)]
pub struct Merge<'a> {
    /// The model that all updates were trained from.
    pub base: &'a dyn Source,
    /// The model before the base; `None` if it is the base itself, so that nothing has moved.
    pub previous: Option<&'a dyn Source>,
    /// The updates, in the order of their senders' seats.
    pub updates: &'a [&'a dyn Source],
    /// The longest that an update may be without being clipped, in thousandths of the median length.
    pub clip_permille: u32,
    /// How much of the last movement is added, in thousandths; at most 1000.
    pub momentum_permille: u32,
}

/// What was merged.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// What became of each update, in the order given. Empty if base or previous model cannot be used.
    pub updates: Vec<Fate>,
    /// The length from which on updates were clipped, as [`Part::length`] is told.
    pub limit: Option<f64>,
    /// Whether the updates have something in common.
    pub coherence: Option<Coherence>,
    /// The mean of all updates, each clipped.
    pub open: Result<Merged, Absent>,
    /// What most of the updates agree on.
    pub guarded: Result<Merged, Absent>,
}

/// A merge that was written whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// SHA-256 of its bytes.
    pub digest: [u8; 32],
    /// How many bytes it has.
    pub size: u64,
}

/// What became of an update.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// It counts.
    Counts(Part),
    /// It was left out.
    Void(Void),
}

/// What an update was in the merge. Told for people; nothing is decided by these numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// How far its weights are from the base's.
    pub length: f64,
    /// Whether it was clipped in the open merge.
    pub clipped: bool,
    /// Among whose nearest it was: the others' places among the updates.
    pub neighbour_of: Vec<usize>,
    /// The cosine of its angle to the open merge's step, without momentum; `None` if either has no length.
    pub cosine: Option<f64>,
}

/// Whether updates have something in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coherence {
    /// A typical distance of an update to its neighbours.
    pub distance: f64,
    /// A typical length.
    pub length: f64,
    /// Whether the first, squared, is at most 3/2 of the second, squared. Unrelated updates would have twice.
    pub coheres: bool,
}

/// Which of the files something is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The base.
    Base,
    /// The model before it.
    Previous,
    /// An update, counted from 0.
    Update(usize),
}

/// Why a file does not count: something that whoever has written it can be told, and that everybody finds alike.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Void {
    /// It ends before the header does.
    #[error("it is no safetensors file: it ends within the header, after {size} bytes")]
    Truncated {
        /// How long it is.
        size: u64,
    },
    /// The header is longer than anybody need read.
    #[error("its header would have {length} bytes, more than the {HEADER_LIMIT} that are read")]
    HeaderTooLong {
        /// How long it says that the header is.
        length: u64,
    },
    /// The header is not one, or holds tensors of a type that cannot be merged.
    #[error("its header cannot be read: {what:?}")]
    Header {
        /// What the parser says.
        what: String,
    },
    /// A tensor is not as long as its shape, or not where the one before ends.
    #[error(
        "its tensor {tensor:?} is not as long as its shape says, or not where the one before it ends"
    )]
    Offsets {
        /// Its name.
        tensor: String,
    },
    /// The tensors do not fill the file.
    #[error("its tensors have {described} bytes, and the file has {data}")]
    Length {
        /// How many bytes the header describes.
        described: u64,
        /// How many there are.
        data: u64,
    },
    /// A tensor of the base is not there.
    #[error("it has no tensor {tensor:?}, and the base has")]
    Missing {
        /// Its name.
        tensor: String,
    },
    /// A tensor has another shape or type than the base's.
    #[error("its tensor {tensor:?} has another shape or type than the base's")]
    Different {
        /// Its name.
        tensor: String,
    },
    /// It has tensors that the base has not.
    #[error("it has tensors that the base has not: {tensors}")]
    Additional {
        /// How many.
        tensors: usize,
    },
    /// A value is not finite, or of magnitude 2^20 or more.
    #[error("element {element} of its tensor {tensor:?} is not finite, or 2^20 or more")]
    Value {
        /// The tensor.
        tensor: String,
        /// Where in the tensor it is, counted from 0.
        element: u64,
    },
    /// It is so far from the base that sums could overflow.
    #[error("it is too far from the base: 2^30.5 or more")]
    TooFar,
}

/// Why a merge is not there. Everybody finds the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Absent {
    /// No update counts.
    #[error("there is nothing to merge: no update counts")]
    NoUpdates,
    /// Nothing can be merged from the base.
    #[error("nothing can be merged from the base: {0}")]
    Base(Void),
    /// The momentum cannot be computed.
    #[error("nothing can be merged after the previous model: {0}")]
    Previous(Void),
    /// The updates have nothing in common that a guarded merge could keep.
    #[error("the updates have too little in common for most of them to agree on anything")]
    Incoherent,
    /// A value would be too large to train from.
    #[error("element {element} of tensor {tensor:?} would be 2^20 or more, or not finite")]
    TooLarge {
        /// The tensor.
        tensor: String,
        /// Where in the tensor it is, counted from 0.
        element: u64,
    },
}

/// Why nothing is known of the merges: a fault of this machine, or of whoever calls.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read.
    #[error("{input} cannot be read; merge again when it can")]
    Read {
        /// Which.
        input: Input,
        /// Why.
        source: io::Error,
    },
    /// A merge cannot be written.
    #[error("a merge cannot be written; merge again when there is room")]
    Write(#[source] io::Error),
    /// A file was not the same when it was read for the second time.
    #[error("{input} changed while it was merged; keep others from writing to it, and merge again")]
    Changed {
        /// Which.
        input: Input,
    },
    /// More updates than are merged.
    #[error("{updates} updates are too many; at most {MAX_UPDATES} are merged")]
    TooMany {
        /// How many.
        updates: usize,
    },
    /// More momentum than there was movement.
    #[error("a momentum of {permille} thousandths is too much; at most 1000")]
    Momentum {
        /// How much.
        permille: u32,
    },
}

impl fmt::Display for Input {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base => formatter.write_str("the base"),
            Self::Previous => formatter.write_str("the previous model"),
            Self::Update(at) => write!(formatter, "update {at}"),
        }
    }
}

impl Report {
    fn nothing(voids: impl IntoIterator<Item = Void>, absent: Absent) -> Self {
        Self {
            updates: voids.into_iter().map(Fate::Void).collect(),
            limit: None,
            coherence: None,
            open: Err(absent.clone()),
            guarded: Err(absent),
        }
    }
}

impl Merge<'_> {
    /// Merges, and writes the open and the guarded merge.
    ///
    /// A merge may turn out not to be there when a part of it is written already. What was written counts only if the report
    /// says [`Merged`]; otherwise whoever calls throws it away.
    ///
    /// # Errors
    /// If a file cannot be read or written, or what is asked for is out of bounds. Files of others that make no sense are no
    /// errors: they are [`Void`].
    pub fn write(
        &self,
        open: &mut (dyn Write + Send),
        guarded: &mut (dyn Write + Send),
    ) -> Result<Report, Error> {
        if self.updates.len() > MAX_UPDATES {
            return Err(Error::TooMany { updates: self.updates.len() });
        }
        if self.momentum_permille > 1000 {
            return Err(Error::Momentum { permille: self.momentum_permille });
        }
        let layout = match Layout::of_base(self.base)? {
            Ok(layout) => layout,
            Err(void) => return Ok(Report::nothing([], Absent::Base(void))),
        };

        let mut files = Vec::with_capacity(self.updates.len() + 2);
        if let Some(source) = self.previous {
            let input = Input::Previous;
            match layout.place(source, input)? {
                Ok(placement) => files.push(Placed { input, source, placement }),
                Err(void) => return Ok(Report::nothing([], Absent::Previous(void))),
            }
        }
        files.push(Placed { input: Input::Base, source: self.base, placement: layout.own() });
        let before_updates = files.len();
        let mut voids: Vec<Option<Void>> = Vec::with_capacity(self.updates.len());
        for (at, source) in self.updates.iter().copied().enumerate() {
            let input = Input::Update(at);
            match layout.place(source, input)? {
                Ok(placement) => {
                    files.push(Placed { input, source, placement });
                    voids.push(None);
                }
                Err(void) => voids.push(Some(void)),
            }
        }

        let placed = files.len() - before_updates;
        let measures = measure(&layout, &files, placed)?;
        let mut nothing = None;
        let mut counts = Vec::with_capacity(placed);
        for (at, (file, bad)) in files.iter().zip(&measures.bad).enumerate() {
            let bad = bad.map(|(tensor, element)| {
                let tensor = layout.tensors[tensor].name.clone();
                Void::Value { tensor, element }
            });
            match file.input {
                Input::Base => nothing = bad.map(Absent::Base).or(nothing),
                Input::Previous => nothing = bad.map(Absent::Previous),
                Input::Update(update) => {
                    let row = at - before_updates;
                    let far = measures.products.get(row, row).unsigned_abs() >= SUM_LIMIT;
                    voids[update] = bad.or(far.then_some(Void::TooFar));
                    if voids[update].is_none() {
                        counts.push(row);
                    }
                }
            }
        }
        if let Some(absent) = nothing {
            return Ok(Report::nothing([], absent));
        }
        if counts.is_empty() {
            return Ok(Report::nothing(voids.into_iter().flatten(), Absent::NoUpdates));
        }

        let plan = Plan::of(&measures.products.of(&counts), counts.len(), self.clip_permille);
        files.retain(|file| match file.input {
            Input::Base | Input::Previous => true,
            Input::Update(update) => voids[update].is_none(),
        });
        let incoherent = (!plan.coherence.coheres).then_some(Absent::Incoherent);
        let mut open = Output::start(open, &layout, None)?;
        let mut guarded = Output::start(guarded, &layout, incoherent)?;
        combine(&layout, &files, &plan, self.momentum_permille, &mut open, &mut guarded)?;
        let mut parts = plan.parts.into_iter();
        let places: Vec<usize> =
            (0..voids.len()).filter(|update| voids[*update].is_none()).collect();
        let fate = |void: Option<Void>| match void {
            Some(void) => Some(Fate::Void(void)),
            None => parts.next().map(|mut part| {
                // Among all that were sent, not among those that count.
                part.neighbour_of.iter_mut().for_each(|other| *other = places[*other]);
                Fate::Counts(part)
            }),
        };
        Ok(Report {
            updates: voids.into_iter().filter_map(fate).collect(),
            limit: Some(plan.limit),
            coherence: Some(plan.coherence),
            open: open.finish()?,
            guarded: guarded.finish()?,
        })
    }

    /// Merges into memory: the report, and those of the open and the guarded merge that are there.
    ///
    /// # Errors
    /// Those of [`Merge::write`].
    pub fn in_memory(&self) -> Result<InMemory, Error> {
        let (mut open, mut guarded) = (Vec::new(), Vec::new());
        let report = self.write(&mut open, &mut guarded)?;
        let open = report.open.is_ok().then_some(open);
        let guarded = report.guarded.is_ok().then_some(guarded);
        Ok(InMemory { report, open, guarded })
    }
}

/// Merges that are held in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct InMemory {
    /// What was merged.
    pub report: Report,
    /// The open merge, if there is one.
    pub open: Option<Vec<u8>>,
    /// The guarded merge, if there is one.
    pub guarded: Option<Vec<u8>>,
}
