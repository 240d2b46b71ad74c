//! IDX files, the format of MNIST and its family (LeCun, "The MNIST database"): a magic number
//! `00 00 08 d` for unsigned bytes in d dimensions, d sizes as big-endian u32, then the bytes.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use ndarray::Array2;

use super::schema::{Column, Schema, Target};
use super::{DataError, Dataset, MAX_ROWS, MAX_VALUES, Targets, in_order, open};

/// Where MNIST can be had.
pub const MNIST_SOURCE: &str = "https://ossci-datasets.s3.amazonaws.com/mnist/ (train-images-idx3-ubyte.gz, \
     train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz; about 11 MB)";

/// Loads a folder of four files, or two if there is no test part.
pub(super) fn load(dir: &Path) -> Result<Dataset, DataError> {
    let name = dir.display().to_string();
    let (images, labels) = (part(dir, "train", "images-idx3"), part(dir, "train", "labels-idx1"));
    let (Some(images), Some(labels)) = (images, labels) else {
        let message = format!(
            "no train-images-idx3-ubyte and train-labels-idx1-ubyte in it, plain or .gz; MNIST is at {MNIST_SOURCE}"
        );
        return Err(DataError::Format { name, message });
    };
    let mut pixels = images_of(&images)?;
    let mut classes = labels_of(&labels, pixels.len(), &images)?;
    let width = pixels.width;
    let train = classes.len();
    if let (Some(images), Some(labels)) =
        (part(dir, "t10k", "images-idx3"), part(dir, "t10k", "labels-idx1"))
    {
        let test = images_of(&images)?;
        if test.width != width {
            let message = format!("{} pixels an image, but {width} in the others", test.width);
            return Err(DataError::Format { name: images.display().to_string(), message });
        }
        classes.extend(labels_of(&labels, test.len(), &images)?);
        pixels.bytes.extend(test.bytes);
    }
    let rows = classes.len();
    // 0 to 255 become 0 to 1.
    let values: Vec<f32> = pixels.bytes.iter().map(|byte| f32::from(*byte) / 255.0).collect();
    let features = Array2::from_shape_vec((rows, width), values)
        .map_err(|error| DataError::Format { name: name.clone(), message: error.to_string() })?;
    let names = in_order(classes.iter().map(u8::to_string).collect());
    if names.len() < 2 {
        return Err(DataError::Degenerate { name });
    }
    let number = |class: &u8| {
        let text = class.to_string();
        names.iter().position(|name| *name == text).unwrap_or(0) as u32
    };
    let numbers: Vec<u32> = (0..=u8::MAX).map(|class| number(&class)).collect();
    let targets = classes.iter().map(|class| numbers[usize::from(*class)]).collect();
    let schema = Schema {
        features: vec![Column::Block { name: "pixels".to_owned(), width, mean: 0.0, scale: 255.0 }],
        target: Target::Class { name: "label".to_owned(), classes: names },
    };
    let (features, targets) = (features.into_shared(), Targets::Classes(targets));
    Ok(Dataset { name, schema, features, targets, test_from: train, notes: Vec::new() })
}

/// The file of a part, under any of its usual names.
fn part(dir: &Path, set: &str, kind: &str) -> Option<PathBuf> {
    let dotted = kind.replace("-idx", ".idx");
    [kind, &dotted]
        .iter()
        .flat_map(|kind| [format!("{set}-{kind}-ubyte"), format!("{set}-{kind}-ubyte.gz")])
        .map(|name| dir.join(name))
        .find(|path| path.is_file())
}

struct Images {
    width: usize,
    bytes: Vec<u8>,
}

impl Images {
    fn len(&self) -> usize {
        self.bytes.len() / self.width
    }
}

fn images_of(path: &Path) -> Result<Images, DataError> {
    let (sizes, bytes) = read(path, 3)?;
    Ok(Images { width: sizes[1] * sizes[2], bytes })
}

fn labels_of(path: &Path, rows: usize, images: &Path) -> Result<Vec<u8>, DataError> {
    let (_, labels) = read(path, 1)?;
    if labels.len() == rows {
        return Ok(labels);
    }
    let message = format!("{} labels for {rows} images of {}", labels.len(), images.display());
    Err(DataError::Format { name: path.display().to_string(), message })
}

/// The sizes and the bytes of one file.
fn read(path: &Path, dimensions: usize) -> Result<(Vec<usize>, Vec<u8>), DataError> {
    let fail = |message: String| DataError::Format { name: path.display().to_string(), message };
    let io = |source| DataError::Io { path: path.to_owned(), source };
    let mut file = open(path)?;
    let mut header = Vec::new();
    let length = 4 + 4 * dimensions;
    file.by_ref().take(length as u64).read_to_end(&mut header).map_err(io)?;
    if header.len() < length || header[..3] != [0, 0, 8] || usize::from(header[3]) != dimensions {
        return Err(fail(format!("not an IDX file of unsigned bytes in {dimensions} dimensions")));
    }
    let sizes: Vec<usize> = header[4..]
        .chunks_exact(4)
        .map(|size| u32::from_be_bytes([size[0], size[1], size[2], size[3]]) as usize)
        .collect();
    let values = sizes.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
    let values = values.filter(|values| *values <= MAX_VALUES && sizes[0] <= MAX_ROWS);
    let Some(values) = values else { return Err(fail("more values than can be held".to_owned())) };
    if values == 0 {
        return Err(fail("nothing in it".to_owned()));
    }
    // Grows as bytes arrive: the header may promise more than there is.
    let mut bytes = Vec::new();
    file.by_ref().take(values as u64).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() < values {
        return Err(fail(format!("cut off after {} of {values} values", bytes.len())));
    }
    Ok((sizes, bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn idx(sizes: &[u32], bytes: &[u8]) -> Vec<u8> {
        let mut file = vec![0, 0, 8, sizes.len() as u8];
        sizes.iter().for_each(|size| file.extend(size.to_be_bytes()));
        file.extend(bytes);
        file
    }

    #[test]
    fn a_folder_is_loaded_plain_or_packed_and_its_faults_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let write =
            |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        let fault = || load(dir.path()).unwrap_err().to_string();
        assert!(fault().contains("MNIST is at https://"), "{}", fault());
        write("train-images-idx3-ubyte", &idx(&[3, 1, 2], &[0, 255, 51, 0, 7, 9]));
        write("train-labels-idx1-ubyte", &idx(&[3], &[4, 2, 4]));
        let packed = |bytes: &[u8]| {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(bytes).unwrap();
            gzip.finish().unwrap()
        };
        write("t10k-images.idx3-ubyte.gz", &packed(&idx(&[1, 1, 2], &[255, 255])));
        write("t10k-labels.idx1-ubyte.gz", &packed(&idx(&[1], &[2])));
        let data = load(dir.path()).unwrap();
        assert_eq!(data.features.shape(), [4, 2]);
        assert_eq!(data.features[[0, 1]], 1.0);
        assert_eq!(data.features[[1, 0]], 0.2);
        assert_eq!(data.targets, Targets::Classes(vec![1, 0, 1, 0]));
        assert_eq!(data.test_from, 3);
        write("train-images-idx3-ubyte", &idx(&[3, 1, 2], &[0]));
        assert!(fault().contains("cut off after 1 of 6 values"), "{}", fault());
        write("train-images-idx3-ubyte", &idx(&[u32::MAX, u32::MAX, u32::MAX], &[0]));
        assert!(fault().contains("more values than can be held"), "{}", fault());
        write("train-images-idx3-ubyte", &idx(&[2, 1, 2], &[0, 1, 2, 3]));
        assert!(fault().contains("3 labels for 2 images"), "{}", fault());
        write("train-images-idx3-ubyte", b"hello, world, and more");
        assert!(fault().contains("not an IDX file"), "{}", fault());
    }
}
