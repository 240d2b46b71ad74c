//! Whether a file of weights is like another: the same tensors, and numbers in them.

use crate::layout::Layout;
use crate::source::Source;
use crate::{Error, Input, Void};

/// How much is looked at together.
const CHUNK: usize = 1 << 20;

/// Why a file is no model of the same kind.
#[derive(Debug, thiserror::Error)]
pub enum Unlike {
    /// The base is no safetensors file, or one with types that are not known here.
    #[error("the model that it is compared with cannot be used: {0}")]
    Base(Void),
    /// It has other tensors than the base, or is no safetensors file.
    #[error(transparent)]
    Layout(Void),
    /// It has values that are no numbers, or infinite.
    #[error("element {element} of its tensor {tensor:?} is not finite")]
    NotFinite {
        /// The tensor.
        tensor: String,
        /// Where in the tensor it is, counted from 0.
        element: u64,
    },
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] Error),
}

/// Whether a file has the base's tensors, by name, type and shape, in whatever order, and all its values are finite.
/// Unlike an update that is to be merged it may have values as large as its type can hold.
///
/// ```
/// let file = |header: &str, data: &[u8]| {
///     [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
/// };
/// let header = r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
/// let base = file(header, &1_f32.to_le_bytes());
/// assert!(colearn_merge::check_alike(&base, &file(header, &9e37_f32.to_le_bytes())).is_ok());
/// assert!(colearn_merge::check_alike(&base, &file(header, &f32::NAN.to_le_bytes())).is_err());
/// assert!(colearn_merge::check_alike(&base, &b"else".to_vec()).is_err());
/// ```
///
/// # Errors
/// What differs first.
pub fn check_alike(base: &dyn Source, file: &dyn Source) -> Result<(), Unlike> {
    let layout = Layout::of_base(base)?.map_err(Unlike::Base)?;
    let input = Input::Update(0);
    let placement = layout.place(file, input)?.map_err(Unlike::Layout)?;
    let mut buffer = Vec::new();
    for chunk in layout.chunks(CHUNK) {
        buffer.resize(chunk.bytes, 0);
        let read = placement.read(&layout, file, &chunk, &mut buffer);
        read.map_err(|source| Error::Read { input, source })?;
        for piece in &chunk.pieces {
            let tensor = &layout.tensors[piece.tensor];
            let bytes = &buffer[piece.at..piece.at + piece.bytes];
            if let Some(at) = tensor.dtype.first_not_finite(bytes) {
                let (tensor, element) = (tensor.name.clone(), piece.first + at as u64);
                return Err(Unlike::NotFinite { tensor, element });
            }
        }
    }
    Ok(())
}
