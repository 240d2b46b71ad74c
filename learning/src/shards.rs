//! Models that lie in several files, as Hugging Face's libraries have them: an index that says which tensor is in which
//! file, and the files beside it, in the safetensors format.
//!
//! A ledger knows a model by one digest, so its tensors have one order here, whichever file has them: the types with the
//! widest numbers first, of one type by name. That is also how the format's own library writes them: a model that it
//! wrote in one file, and in several, is the same when it is joined.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorInfo;
use serde::{Deserialize, Serialize};

use crate::contents::{metadata_of, read_header};

/// The name of an index that these files have beside them.
pub const INDEX: &str = "model.safetensors.index.json";

/// Larger indices are refused; one has a line for each tensor.
const MAX_INDEX_BYTES: u64 = 100_000_000;
/// More files than this are refused.
const MAX_SHARDS: usize = 10_000;

/// Why a model cannot be joined or split.
#[derive(Debug, thiserror::Error)]
pub enum ShardsError {
    /// A file cannot be read or written.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {message}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

/// An index, as it is written.
#[derive(Debug, Serialize, Deserialize)]
struct Index {
    #[serde(default)]
    metadata: IndexMetadata,
    /// The name of the file that each tensor is in.
    weight_map: BTreeMap<String, String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct IndexMetadata {
    /// The bytes of all tensors. What else writers say is passed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    total_size: Option<u64>,
}

/// A model whose tensors lie in one or several files. None of their numbers is in memory.
#[derive(Debug)]
pub struct Shards {
    files: Vec<(PathBuf, File)>,
    /// In the order in which they are written.
    tensors: Vec<Placed>,
    /// What all files say of themselves alike.
    metadata: BTreeMap<String, String>,
}

/// A tensor, and where its bytes are.
#[derive(Debug)]
struct Placed {
    name: String,
    info: TensorInfo,
    file: usize,
    start: u64,
}

impl Placed {
    fn bytes(&self) -> u64 {
        (self.info.data_offsets.1 - self.info.data_offsets.0) as u64
    }
}

impl Shards {
    /// Whether a path names an index, and not a model.
    pub fn is_index(path: &Path) -> bool {
        path.extension().is_some_and(|ending| ending == "json")
    }

    /// A model of an [index](Self::is_index), or of one file. Only headers are read.
    ///
    /// # Errors
    /// If a file cannot be read, is no safetensors, or has other tensors than the index says.
    pub fn open(path: &Path) -> Result<Self, ShardsError> {
        match Self::is_index(path) {
            true => Self::of_index(path),
            false => Self::of_files(vec![path.to_owned()]),
        }
    }

    fn of_index(path: &Path) -> Result<Self, ShardsError> {
        let io = |source| ShardsError::Io { path: path.to_owned(), source };
        let format = |message| ShardsError::Format { path: path.to_owned(), message };
        let mut text = Vec::new();
        let file = File::open(path).map_err(io)?;
        file.take(MAX_INDEX_BYTES + 1).read_to_end(&mut text).map_err(io)?;
        if text.len() as u64 > MAX_INDEX_BYTES {
            return Err(format("it is larger than an index can be".to_owned()));
        }
        let index: Index = serde_json::from_slice(&text)
            .map_err(|error| format(format!("it is no index of a model's files: {error}")))?;
        let names: BTreeSet<&str> = index.weight_map.values().map(String::as_str).collect();
        if names.len() > MAX_SHARDS {
            return Err(format(format!("it names more than {MAX_SHARDS} files")));
        }
        // Whoever wrote the index does not say which files of this machine are read.
        let is_plain = |name: &str| Path::new(name).file_name().is_some_and(|last| last == name);
        if let Some(name) = names.iter().find(|name| !is_plain(name)) {
            return Err(format(format!("{name:?} is no file beside it")));
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let shards = Self::of_files(names.iter().map(|name| folder.join(name)).collect())?;
        let names: Vec<&str> = names.into_iter().collect();
        let mut found = BTreeMap::new();
        for tensor in &shards.tensors {
            found.insert(tensor.name.as_str(), names.get(tensor.file).copied().unwrap_or_default());
        }
        if let Some((name, file)) = index
            .weight_map
            .iter()
            .find(|(name, file)| found.get(name.as_str()) != Some(&file.as_str()))
        {
            return Err(format(format!("tensor {name:?} is not in {file}, as it says")));
        }
        match found.iter().find(|(name, _)| !index.weight_map.contains_key(**name)) {
            Some((name, file)) => {
                Err(format(format!("it does not name tensor {name:?}, which {file} has")))
            }
            None => Ok(shards),
        }
    }

    fn of_files(paths: Vec<PathBuf>) -> Result<Self, ShardsError> {
        let mut all = Self { files: Vec::new(), tensors: Vec::new(), metadata: BTreeMap::new() };
        for (number, path) in paths.into_iter().enumerate() {
            let io = |source| ShardsError::Io { path: path.clone(), source };
            // Before it is opened, which of a pipe would wait for whoever writes.
            if !std::fs::metadata(&path).map_err(io)?.is_file() {
                return Err(io(io::Error::other("it is no regular file")));
            }
            let mut file = File::open(&path).map_err(io)?;
            let size = file.metadata().map_err(io)?.len();
            let header = read_header(&mut file, size).map_err(io)?.map_err(|error| {
                ShardsError::Format { path: path.clone(), message: error.to_string() }
            })?;
            let start = file.stream_position().map_err(io)?;
            for (name, info) in header.tensors() {
                let begin = start + info.data_offsets.0 as u64;
                all.tensors.push(Placed { name, info: info.clone(), file: number, start: begin });
            }
            let own = metadata_of(&header);
            match number {
                0 => all.metadata = own,
                _ => all.metadata.retain(|key, it| own.get(key) == Some(it)),
            }
            all.files.push((path, file));
        }
        all.tensors
            .sort_by(|a, b| b.info.dtype.cmp(&a.info.dtype).then_with(|| a.name.cmp(&b.name)));
        let mut names = BTreeSet::new();
        match all.tensors.iter().find(|it| !names.insert(&it.name)) {
            Some(Placed { name, file, .. }) => Err(ShardsError::Format {
                path: all.files.get(*file).map(|(path, _)| path.clone()).unwrap_or_default(),
                message: format!("tensor {name:?} is in another file, too"),
            }),
            None => Ok(all),
        }
    }

    /// Of how many files it is.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// How many tensors it has.
    pub fn tensors(&self) -> usize {
        self.tensors.len()
    }

    /// Writes all of it as one file, a piece at a time. The same model gives the same bytes, in however many files it lies.
    ///
    /// # Errors
    /// If a file cannot be read, or `to` not written.
    pub fn join(&self, to: &mut dyn Write) -> Result<(), ShardsError> {
        let all: Vec<&Placed> = self.tensors.iter().collect();
        self.write(&all, to)
    }

    /// Writes it as several files with an index into a folder that has none of them; of how many files. A file has no more
    /// bytes of tensors than are said, unless it has one tensor.
    ///
    /// # Errors
    /// If a file is there already, or something cannot be read or written.
    pub fn split(&self, folder: &Path, shard_bytes: u64) -> Result<usize, ShardsError> {
        let parts = self.parts(shard_bytes);
        let mut weight_map = BTreeMap::new();
        for (number, part) in parts.iter().enumerate() {
            let name = format!("model-{:05}-of-{:05}.safetensors", number + 1, parts.len());
            create(&folder.join(&name), |file| self.write(part, file))?;
            weight_map.extend(part.iter().map(|tensor| (tensor.name.clone(), name.clone())));
        }
        let total_size = Some(self.tensors.iter().map(Placed::bytes).sum());
        let index = Index { metadata: IndexMetadata { total_size }, weight_map };
        let path = folder.join(INDEX);
        create(&path, |file| {
            let written = serde_json::to_writer_pretty(&mut *file, &index).map_err(io::Error::from);
            written
                .and_then(|()| file.write_all(b"\n"))
                .map_err(|source| ShardsError::Io { path: path.clone(), source })
        })?;
        Ok(parts.len())
    }

    /// The tensors of each file, in their order.
    fn parts(&self, shard_bytes: u64) -> Vec<Vec<&Placed>> {
        let (mut parts, mut part, mut bytes) = (Vec::new(), Vec::new(), 0_u64);
        for tensor in &self.tensors {
            if !part.is_empty() && bytes.saturating_add(tensor.bytes()) > shard_bytes {
                parts.push(std::mem::take(&mut part));
                bytes = 0;
            }
            bytes = bytes.saturating_add(tensor.bytes());
            part.push(tensor);
        }
        parts.push(part);
        parts
    }

    fn write(&self, tensors: &[&Placed], to: &mut dyn Write) -> Result<(), ShardsError> {
        // Nobody's fault but of whoever is written to.
        let written = |source| ShardsError::Io { path: PathBuf::from("what is written"), source };
        let header = self.header(tensors).map_err(|error| written(error.into()))?;
        to.write_all(&header).map_err(written)?;
        for tensor in tensors {
            let Some((path, file)) = self.files.get(tensor.file) else { continue };
            let io = |source| ShardsError::Io { path: path.clone(), source };
            let mut file = file;
            file.seek(SeekFrom::Start(tensor.start)).map_err(io)?;
            let copied = io::copy(&mut file.take(tensor.bytes()), to).map_err(io)?;
            if copied != tensor.bytes() {
                return Err(io(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Ok(())
    }

    /// A header as the format's library writes it: without spaces, but for those that fill it up to eight bytes. What is
    /// said of the whole comes by name, which the library leaves to chance.
    fn header(&self, tensors: &[&Placed]) -> serde_json::Result<Vec<u8>> {
        let mut entries = Vec::new();
        if !self.metadata.is_empty() {
            entries.push(format!("\"__metadata__\":{}", serde_json::to_string(&self.metadata)?));
        }
        let mut end = 0;
        for Placed { name, info, .. } in tensors.iter().copied() {
            let (begin, bytes) = (end, info.data_offsets.1 - info.data_offsets.0);
            end += bytes;
            let info = TensorInfo { data_offsets: (begin, end), ..info.clone() };
            let (name, info) = (serde_json::to_string(name)?, serde_json::to_string(&info)?);
            entries.push(format!("{name}:{info}"));
        }
        let mut header = format!("{{{}}}", entries.join(",")).into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        Ok([&(header.len() as u64).to_le_bytes()[..], &header].concat())
    }
}

/// Makes a new file, which is on the disk when this returns.
fn create(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<(), ShardsError>,
) -> Result<(), ShardsError> {
    let io = |source| ShardsError::Io { path: path.to_owned(), source };
    let mut file = BufWriter::new(File::create_new(path).map_err(io)?);
    write(&mut file)?;
    file.into_inner().map_err(|error| io(error.into_error()))?.sync_all().map_err(io)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use safetensors::tensor::{Dtype, TensorView};

    use super::*;

    /// Tensors of several types, and their bytes.
    fn tensors() -> Vec<(&'static str, Dtype, Vec<usize>, Vec<u8>)> {
        let bytes =
            |count: usize, seed: u8| (0..count).map(|at| seed.wrapping_add(at as u8)).collect();
        vec![
            ("head.weight", Dtype::F32, vec![2, 3], bytes(24, 1)),
            ("a \"quoted\" name", Dtype::BF16, vec![5], bytes(10, 2)),
            ("embed", Dtype::BF16, vec![4, 2], bytes(16, 3)),
            ("steps", Dtype::I64, vec![], bytes(8, 4)),
            ("nothing", Dtype::F32, vec![0], Vec::new()),
            ("body", Dtype::F32, vec![4], bytes(16, 5)),
        ]
    }

    /// As the format's library writes those for which it is said.
    fn written(of: impl Fn(&str) -> bool) -> Vec<u8> {
        let all = tensors();
        let views = all.iter().filter(|(name, ..)| of(name)).map(|(name, dtype, shape, bytes)| {
            (*name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
        let metadata = [("format".to_owned(), "pt".to_owned())].into();
        safetensors::serialize(views, Some(metadata)).unwrap()
    }

    fn joined(path: &Path) -> Vec<u8> {
        let mut bytes = Vec::new();
        Shards::open(path).unwrap().join(&mut bytes).unwrap();
        bytes
    }

    /// A folder with two files and their index; what is said of a tensor can be changed.
    fn folder(change: impl Fn(&mut serde_json::Value)) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let is_first = |name: &str| name < "d";
        std::fs::write(dir.path().join("one.safetensors"), written(is_first)).unwrap();
        std::fs::write(dir.path().join("two.safetensors"), written(|it| !is_first(it))).unwrap();
        let mut index = serde_json::json!({ "metadata": { "total_size": 74, "other": [1] } });
        for (name, ..) in tensors() {
            let file = if is_first(name) { "one.safetensors" } else { "two.safetensors" };
            index["weight_map"][name] = file.into();
        }
        change(&mut index);
        std::fs::write(dir.path().join(INDEX), index.to_string()).unwrap();
        dir
    }

    #[test]
    fn what_lies_in_several_files_is_joined_as_the_library_would_have_written_it() {
        let dir = folder(|_| ());
        let whole = written(|_| true);
        assert_eq!(joined(&dir.path().join(INDEX)), whole);
        // One file is as good, and in the same order whatever its own was.
        let one = dir.path().join("whole.safetensors");
        std::fs::write(&one, &whole).unwrap();
        assert_eq!(joined(&one), whole);
        // However small the files are.
        for shard_bytes in [0, 1, 16, 30, 1000] {
            let parts = tempfile::tempdir().unwrap();
            let count = Shards::open(&one).unwrap().split(parts.path(), shard_bytes).unwrap();
            assert_eq!(
                count,
                match shard_bytes {
                    0 | 1 => 6,
                    16 => 5,
                    30 => 3,
                    _ => 1,
                }
            );
            assert_eq!(std::fs::read_dir(parts.path()).unwrap().count(), count + 1);
            assert_eq!(joined(&parts.path().join(INDEX)), whole);
            // Nothing is written over.
            assert!(Shards::open(&one).unwrap().split(parts.path(), shard_bytes).is_err());
        }
    }

    #[test]
    fn an_index_that_is_not_so_is_refused() {
        let refused = |change: &dyn Fn(&mut serde_json::Value)| {
            let dir = folder(change);
            let error = Shards::open(&dir.path().join(INDEX)).unwrap_err().to_string();
            error.replace(&dir.path().display().to_string(), "")
        };
        let told = refused(&|index| index["weight_map"]["body"] = "two.safetensors".into());
        assert!(told.contains("\"body\" is not in two.safetensors, as it says"), "{told}");
        let told = refused(&|index| index["weight_map"]["new"] = "two.safetensors".into());
        assert!(told.contains("\"new\" is not in two.safetensors"), "{told}");
        let told = refused(&|index| {
            index["weight_map"].as_object_mut().unwrap().remove("embed");
        });
        assert!(
            told.contains("does not name tensor \"embed\", which two.safetensors has"),
            "{told}"
        );
        for elsewhere in ["../two.safetensors", "/etc/passwd", "..", "", "a/b"] {
            let told = refused(&|index| index["weight_map"]["embed"] = elsewhere.into());
            assert!(told.contains("is no file beside it"), "{elsewhere}: {told}");
        }
        let told = refused(&|index| index["weight_map"]["embed"] = "three.safetensors".into());
        assert!(told.contains("three.safetensors"), "{told}");
        let told = refused(&|index| index["weight_map"] = "one".into());
        assert!(told.contains("no index"), "{told}");
    }

    #[test]
    fn the_same_tensor_twice_and_damage_are_refused() {
        let dir = folder(|_| ());
        std::fs::write(dir.path().join("one.safetensors"), written(|_| true)).unwrap();
        let error = Shards::open(&dir.path().join(INDEX)).unwrap_err().to_string();
        assert!(error.contains("is in another file, too"), "{error}");
        let whole = written(|_| true);
        for cut in [0, 7, 8, 20, whole.len() - 1] {
            std::fs::write(dir.path().join("one.safetensors"), &whole[..cut]).unwrap();
            let error = Shards::open(&dir.path().join(INDEX)).unwrap_err();
            assert!(matches!(error, ShardsError::Format { .. }), "{cut}: {error}");
        }
    }
}
