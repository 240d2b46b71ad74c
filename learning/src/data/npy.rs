//! Arrays in NumPy's `.npy` format, of numbers, as 64-bit floats.
//!
//! The format: `\x93NUMPY`, its version, the length of a header, the header, which is a Python
//! dictionary written as text, and the numbers. The libraries for it bring a parser of all of
//! Python's literals and big integers; the dictionary has three keys.

use std::io::Read;

use ndarray::{ArrayD, IxDyn, ShapeBuilder as _};

use super::MAX_VALUES;

/// A header is about 100 bytes long; only one that lists the fields of records is longer.
const MAX_HEADER: u64 = 1 << 16;
const TRUNCATED: &str = "the array is cut off";

/// Reads an array of any numeric type and any number of dimensions.
///
/// # Errors
/// In a sentence: if it is no such array, is cut off, or goes on after its last number.
pub(super) fn read(mut reader: impl Read) -> Result<ArrayD<f64>, String> {
    let header = read_header(&mut reader)?;
    let numbers = header.shape.iter().try_fold(1_usize, |all, axis| all.checked_mul(*axis));
    let numbers = numbers
        .filter(|numbers| *numbers <= MAX_VALUES)
        .ok_or_else(|| format!("shape {:?} has more than {MAX_VALUES} numbers", header.shape))?;
    let size = numbers * header.element.size;
    // The buffer grows with what is there: the header of an empty file may promise anything.
    let mut bytes = Vec::new();
    let one_more = size as u64 + 1;
    reader.take(one_more).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() < size {
        return Err(TRUNCATED.to_owned());
    }
    if bytes.len() > size {
        return Err("there are more bytes than its shape says".to_owned());
    }
    if header.big_endian {
        bytes.chunks_exact_mut(header.element.size).for_each(<[u8]>::reverse);
    }
    let values = bytes.chunks_exact(header.element.size).map(header.element.value).collect();
    let shape = IxDyn(&header.shape).set_f(header.fortran_order);
    ArrayD::from_shape_vec(shape, values).map_err(|error| error.to_string())
}

/// A type of number.
struct Element {
    /// In bytes.
    size: usize,
    /// Of as many bytes, the lowest first.
    value: fn(&[u8]) -> f64,
}

/// The element of this many bytes, with a conversion from its fixed-size array.
macro_rules! element {
    ($type:ty) => {
        Element {
            size: size_of::<$type>(),
            // Wider integers than 53 bits are no data here.
            value: |bytes| {
                let bytes = bytes.first_chunk().copied().unwrap_or_default();
                <$type>::from_le_bytes(bytes) as f64
            },
        }
    };
}

struct Header {
    element: Element,
    big_endian: bool,
    /// Whether the first axis varies fastest.
    fortran_order: bool,
    shape: Vec<usize>,
}

fn read_header(reader: &mut impl Read) -> Result<Header, String> {
    let mut start = [0; 8];
    reader.read_exact(&mut start).map_err(|_| TRUNCATED)?;
    let [magic @ .., major, _minor] = start;
    if magic != *b"\x93NUMPY" {
        return Err("not in NumPy's .npy format".to_owned());
    }
    let mut length = [0; 4];
    // The first version has two bytes for the length, the later ones four.
    let width = match major {
        1 => 2,
        2 | 3 => 4,
        _ => return Err(format!("version {major} of the .npy format is not known")),
    };
    reader.read_exact(&mut length[..width]).map_err(|_| TRUNCATED)?;
    let length = u64::from(u32::from_le_bytes(length));
    if length > MAX_HEADER {
        return Err(format!("its header has {length} bytes, more than {MAX_HEADER}"));
    }
    let mut text = String::new();
    reader.take(length).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 != length {
        return Err(TRUNCATED.to_owned());
    }
    parse_header(&text).ok_or_else(|| format!("its header is not understood: {}", text.trim()))?
}

/// `None` if it is not a dictionary as NumPy writes it; an error if its type is no number's.
fn parse_header(text: &str) -> Option<Result<Header, String>> {
    let inside = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let descr = value(inside, "descr")?;
    let Some((big_endian, element)) = element(descr) else {
        return Some(Err(format!("its elements are {descr}")));
    };
    let fortran_order = match value(inside, "fortran_order")? {
        "True" => true,
        "False" => false,
        _ => return None,
    };
    let shape = value(inside, "shape")?.strip_prefix('(')?.strip_suffix(')')?;
    let axes = shape.split(',').map(str::trim).filter(|axis| !axis.is_empty());
    let shape = axes.map(|axis| axis.parse().ok()).collect::<Option<_>>()?;
    Some(Ok(Header { element, big_endian, fortran_order, shape }))
}

/// The text of a key's value in `'key': value, 'key': value`.
fn value<'a>(inside: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = inside.split_once(&format!("'{key}':"))?;
    let rest = rest.trim_start();
    let end = match rest.chars().next()? {
        '(' => rest.find(')')? + 1,
        '[' => rest.rfind(']')? + 1,
        _ => rest.find(',').unwrap_or(rest.len()),
    };
    Some(rest[..end].trim_end())
}

/// Whether the highest byte comes first, and the type: of `'<f8'` and the like.
fn element(descr: &str) -> Option<(bool, Element)> {
    let descr = descr.strip_prefix('\'')?.strip_suffix('\'')?;
    let (order, kind) = descr.split_at_checked(1)?;
    let big_endian = match order {
        "<" | "|" => false,
        ">" => true,
        "=" => cfg!(target_endian = "big"),
        _ => return None,
    };
    let element = match kind {
        "f8" => element!(f64),
        "f4" => element!(f32),
        "i8" => element!(i64),
        "i4" => element!(i32),
        "i2" => element!(i16),
        "i1" => element!(i8),
        "u8" => element!(u64),
        "u4" => element!(u32),
        "u2" => element!(u16),
        "u1" => element!(u8),
        "b1" => Element { size: 1, value: |bytes| f64::from(u8::from(bytes != [0])) },
        _ => return None,
    };
    Some((big_endian, element))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ndarray::{Array, array};
    use ndarray_npy::{WritableElement, WriteNpyExt as _};

    use super::*;

    fn written<T: WritableElement>(array: &Array<T, impl ndarray::Dimension>) -> Vec<u8> {
        let mut bytes = Vec::new();
        array.write_npy(&mut bytes).unwrap();
        bytes
    }

    fn file(header: &str, body: &[u8]) -> Vec<u8> {
        let mut file = b"\x93NUMPY\x02\x00".to_vec();
        file.extend(u32::to_le_bytes(header.len() as u32));
        [&file, header.as_bytes(), body].concat()
    }

    #[test]
    fn numbers_of_every_type_and_both_orders_are_read() {
        let wanted = array![[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]].into_dyn();
        macro_rules! check {
            ($($type:ty),*) => {$(
                let mut array = wanted.mapv(|value: f64| value as $type);
                assert_eq!(read(&*written(&array)).unwrap(), wanted);
                // The other order in the file.
                array = array.t().as_standard_layout().into_owned();
                assert_eq!(read(&*written(&array.t().to_owned())).unwrap(), wanted);
            )*};
        }
        check!(f64, f32, i64, i32, i16, i8, u64, u32, u16, u8);
        let bits = array![true, false, true];
        assert_eq!(read(&*written(&bits)).unwrap(), array![1.0, 0.0, 1.0].into_dyn());
        assert_eq!(read(&*written(&array![-1_i16])).unwrap(), array![-1.0].into_dyn());
        assert_eq!(read(&*written(&ndarray::arr0(7_u8))).unwrap(), ndarray::arr0(7.0).into_dyn());
        assert_eq!(read(&*written(&Array::<f32, _>::zeros((0, 3)))).unwrap().shape(), [0, 3]);
        let big = "{'descr': '>u2', 'fortran_order': True, 'shape': (2, 2), }\n";
        let read = read(&*file(big, &[1, 0, 0, 2, 0, 3, 0, 4])).unwrap();
        assert_eq!(read, array![[256.0, 3.0], [2.0, 4.0]].into_dyn());
    }

    #[test]
    fn what_is_no_array_of_numbers_is_an_error_that_says_why() {
        let check = |bytes: &[u8], reason: &str| {
            let error = read(bytes).unwrap_err();
            assert!(error.contains(reason), "{error}");
        };
        let good = written(&array![1.0, 2.0]);
        for length in [0, 7, 9, 40, good.len() - 1] {
            check(&good[..length], "cut off");
        }
        check(&[&good[..], b"x"].concat(), "more bytes");
        check(b"PK\x03\x04 and so on", "not in NumPy's");
        check(b"\x93NUMPY\x09\x00", "version 9");
        check(b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "4294967295 bytes");
        let header = |descr: &str, order: &str, shape: &str| {
            file(&format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}"), b"")
        };
        check(&header("'<U3'", "False", "(1,)"), "elements are '<U3'");
        check(&header("[('a', '<f8'), ('b', '<i4')]", "False", "(1,)"), "elements are [('a'");
        check(&header("'<f8'", "Perhaps", "(1,)"), "not understood");
        check(&header("'<f8'", "False", "(-1,)"), "not understood");
        check(&header("'<f8'", "False", "(1"), "not understood");
        check(&file("[1, 2]", b""), "not understood");
        check(&header("'<f8'", "False", "(4611686018427387904, 4)"), "numbers");
        check(&header("'|u1'", "False", "(2000000000,)"), "cut off");
    }
}
