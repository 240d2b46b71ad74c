//! Numbers as the tensors hold them, and as whole numbers.
//!
//! A float becomes a whole number of 2^-32nds; a result becomes a float again by rounding to the nearest, ties to even. Floats
//! are only ever scaled by powers of two and rounded here, each by itself: nothing depends on an order.

use serde::Deserialize;

/// Floating values must be smaller than this: 2^20.
pub(crate) const LIMIT: f64 = 1_048_576.0;

/// Results must be smaller than this: 2^20 in 2^-32nds.
pub(crate) const FIXED_LIMIT: u64 = 1 << 52;

/// 2^32.
const ONE: f64 = 4_294_967_296.0;

/// Half of [`LIMIT`]: up to it the short way of rounding is exact.
const SHORT: f64 = LIMIT / 2.0;

/// 1.5 * 2^52. Added to a smaller number, it leaves no bits for a fraction: the addition rounds, to even in a tie.
const ROUNDER: f64 = 6_755_399_441_055_744.0;

/// The types that can be merged, by their names in the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Dtype {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
}

impl Dtype {
    /// Bytes of an element.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    pub(crate) fn is_float(self) -> bool {
        match self {
            Self::F64 | Self::F32 | Self::F16 | Self::Bf16 => true,
            Self::I64
            | Self::I32
            | Self::I16
            | Self::I8
            | Self::U64
            | Self::U32
            | Self::U16
            | Self::U8
            | Self::Bool => false,
        }
    }

    /// The first element that is not finite.
    pub(crate) fn first_not_finite(self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::F64 => not_finite(bytes, |bytes| f64::from_le_bytes(bytes).is_finite()),
            Self::F32 => not_finite(bytes, |bytes| f32::from_le_bytes(bytes).is_finite()),
            Self::F16 => not_finite(bytes, |bytes| of_half(u16::from_le_bytes(bytes)).is_finite()),
            Self::Bf16 => {
                not_finite(bytes, |[low, high]| f32::from_le_bytes([0, 0, low, high]).is_finite())
            }
            Self::I64
            | Self::I32
            | Self::I16
            | Self::I8
            | Self::U64
            | Self::U32
            | Self::U16
            | Self::U8
            | Self::Bool => None,
        }
    }

    /// Reads elements as whole numbers: floats in 2^-32nds, others as numbers in the same order.
    ///
    /// # Errors
    /// The first element that is not finite, or too large.
    pub(crate) fn read(self, bytes: &[u8], into: &mut [i64]) -> Result<(), usize> {
        match self {
            Self::F64 => fix(bytes, into, f64::from_le_bytes),
            Self::F32 => fix(bytes, into, |bytes| f64::from(f32::from_le_bytes(bytes))),
            Self::F16 => fix(bytes, into, |bytes| f64::from(of_half(u16::from_le_bytes(bytes)))),
            Self::Bf16 => {
                fix(bytes, into, |[low, high]| f64::from(f32::from_le_bytes([0, 0, low, high])))
            }
            Self::I64 => copy(bytes, into, i64::from_le_bytes),
            Self::I32 => copy(bytes, into, |bytes| i32::from_le_bytes(bytes).into()),
            Self::I16 => copy(bytes, into, |bytes| i16::from_le_bytes(bytes).into()),
            Self::I8 => copy(bytes, into, |bytes| i8::from_le_bytes(bytes).into()),
            Self::U64 => {
                copy(bytes, into, |bytes| (u64::from_le_bytes(bytes) ^ 1 << 63).cast_signed())
            }
            Self::U32 => copy(bytes, into, |bytes| u32::from_le_bytes(bytes).into()),
            Self::U16 => copy(bytes, into, |bytes| u16::from_le_bytes(bytes).into()),
            Self::U8 | Self::Bool => copy(bytes, into, |[byte]| byte.into()),
        }
    }

    /// The other way.
    ///
    /// # Errors
    /// The first float that is too large, or would be once it is rounded: nothing could be merged with it as the base.
    pub(crate) fn write(self, values: &[i64], into: &mut [u8]) -> Result<(), usize> {
        match self {
            Self::F64 => unfix(values, into, |value| (value, value.to_le_bytes())),
            Self::F32 => unfix(values, into, |value| {
                let value = value as f32;
                (value.into(), value.to_le_bytes())
            }),
            Self::F16 => unfix(values, into, |value| {
                let half = to_half(value as f32);
                (of_half(half).into(), half.to_le_bytes())
            }),
            Self::Bf16 => unfix(values, into, |value| {
                let [low, high] = to_brain(value as f32).to_le_bytes();
                (f32::from_le_bytes([0, 0, low, high]).into(), [low, high])
            }),
            Self::I64 => store(values, into, i64::to_le_bytes),
            Self::I32 => store(values, into, |value| (value as i32).to_le_bytes()),
            Self::I16 => store(values, into, |value| (value as i16).to_le_bytes()),
            Self::I8 => store(values, into, |value| (value as i8).to_le_bytes()),
            Self::U64 => {
                store(values, into, |value| (value.cast_unsigned() ^ 1 << 63).to_le_bytes())
            }
            Self::U32 => store(values, into, |value| (value as u32).to_le_bytes()),
            Self::U16 => store(values, into, |value| (value as u16).to_le_bytes()),
            Self::U8 | Self::Bool => store(values, into, |value| [value as u8]),
        }
    }
}

/// Whether a value can be merged. What is not a number cannot.
fn admissible(value: f64) -> bool {
    value.abs() < LIMIT
}

fn not_finite<const N: usize>(bytes: &[u8], is_finite: impl Fn([u8; N]) -> bool) -> Option<usize> {
    let (elements, _) = bytes.as_chunks::<N>();
    elements.iter().position(|element| !is_finite(*element))
}

fn fix<const N: usize>(
    bytes: &[u8],
    into: &mut [i64],
    decode: impl Fn([u8; N]) -> f64,
) -> Result<(), usize> {
    let (elements, _) = bytes.as_chunks::<N>();
    let mut short = true;
    for (element, fixed) in elements.iter().zip(&mut *into) {
        let value = decode(*element);
        short &= value.abs() < SHORT;
        let bits = (value * ONE + ROUNDER).to_bits();
        *fixed = bits.wrapping_sub(ROUNDER.to_bits()).cast_signed();
    }
    if short {
        return Ok(());
    }
    // Seldom: something is large, or no number at all.
    for (at, (element, fixed)) in elements.iter().zip(into).enumerate() {
        let value = decode(*element);
        if !admissible(value) {
            return Err(at);
        }
        *fixed = (value * ONE).round_ties_even() as i64;
    }
    Ok(())
}

fn unfix<const N: usize>(
    values: &[i64],
    into: &mut [u8],
    encode: impl Fn(f64) -> (f64, [u8; N]),
) -> Result<(), usize> {
    let (elements, _) = into.as_chunks_mut::<N>();
    let mut small = true;
    for (value, element) in values.iter().zip(elements) {
        let (rounded, bytes) = encode(*value as f64 / ONE);
        small &= value.unsigned_abs() < FIXED_LIMIT && admissible(rounded);
        *element = bytes;
    }
    if small {
        return Ok(());
    }
    let large = |value: &i64| {
        value.unsigned_abs() >= FIXED_LIMIT || !admissible(encode(*value as f64 / ONE).0)
    };
    Err(values.iter().position(large).unwrap_or_default())
}

fn copy<const N: usize>(
    bytes: &[u8],
    into: &mut [i64],
    decode: impl Fn([u8; N]) -> i64,
) -> Result<(), usize> {
    let (elements, _) = bytes.as_chunks::<N>();
    for (element, value) in elements.iter().zip(into) {
        *value = decode(*element);
    }
    Ok(())
}

fn store<const N: usize>(
    values: &[i64],
    into: &mut [u8],
    encode: impl Fn(i64) -> [u8; N],
) -> Result<(), usize> {
    let (elements, _) = into.as_chunks_mut::<N>();
    for (value, element) in values.iter().zip(elements) {
        *element = encode(*value);
    }
    Ok(())
}

/// A number of half precision. Infinity becomes no number: both are refused.
fn of_half(half: u16) -> f32 {
    let magnitude = u32::from(half & 0x7fff);
    // The fraction and the exponent in their places; the exponent's offset is 112 smaller. Exact also where the half is
    // subnormal: the product is normal.
    let value = f32::from_bits(magnitude << 13) * f32::from_bits((127 + 112) << 23);
    let value = if magnitude >= 0x7c00 { f32::NAN } else { value };
    f32::from_bits(value.to_bits() | u32::from(half & 0x8000) << 16)
}

/// The nearest number of half precision, ties to even; infinity from 65,520 on.
fn to_half(value: f32) -> u16 {
    const INFINITE: u32 = 0x7c00;
    let sign = (value.to_bits() >> 16) as u16 & 0x8000;
    let magnitude = value.to_bits() & 0x7fff_ffff;
    let half = if magnitude < (127 - 14) << 23 {
        // Subnormal: whole 2^-24ths, which is what the last bit of a float between 0.5 and 1 counts.
        (f32::from_bits(magnitude) + 0.5).to_bits() - 0.5_f32.to_bits()
    } else {
        let rounded = magnitude.saturating_add(0x0fff + (magnitude >> 13 & 1)) >> 13;
        (rounded - (112 << 10)).min(INFINITE)
    };
    sign | half as u16
}

/// The upper half of a single's bits, rounded to the nearest, ties to even.
fn to_brain(value: f32) -> u16 {
    let bits = value.to_bits();
    // No overflow: values here are finite.
    (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(dtype: Dtype, bytes: &[u8]) -> Result<i64, usize> {
        let mut value = [0];
        dtype.read(bytes, &mut value).map(|()| value[0])
    }

    fn write(dtype: Dtype, value: i64) -> Result<Vec<u8>, usize> {
        let mut bytes = vec![0; dtype.size()];
        dtype.write(&[value], &mut bytes).map(|()| bytes)
    }

    /// What IEEE 754 says that a half is.
    fn half(bits: u16) -> f64 {
        let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 0x3ff));
        let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
        match exponent {
            0 => sign * fraction * 2_f64.powi(-24),
            31 if fraction == 0.0 => sign * f64::INFINITY,
            31 => f64::NAN,
            _ => sign * (1024.0 + fraction) * 2_f64.powi(exponent - 25),
        }
    }

    #[test]
    fn every_half_is_read_and_written_exactly() {
        for bits in 0..=u16::MAX {
            let value = half(bits);
            if value.is_finite() {
                let fixed = (value * ONE) as i64;
                assert_eq!(read(Dtype::F16, &bits.to_le_bytes()), Ok(fixed), "{bits:#x}");
                // Nothing is written as minus zero.
                let expected = if bits == 0x8000 { 0 } else { bits };
                assert_eq!(write(Dtype::F16, fixed).unwrap(), expected.to_le_bytes(), "{bits:#x}");
            } else {
                assert_eq!(read(Dtype::F16, &bits.to_le_bytes()), Err(0), "{bits:#x}");
            }
        }
    }

    #[test]
    fn every_brain_float_is_read_and_written_exactly() {
        for bits in 0..=u16::MAX {
            let value = f64::from(f32::from_bits(u32::from(bits) << 16));
            if value.abs() < LIMIT {
                let fixed = (value * ONE).round_ties_even() as i64;
                assert_eq!(read(Dtype::Bf16, &bits.to_le_bytes()), Ok(fixed), "{bits:#x}");
                if fixed as f64 == value * ONE && bits != 0x8000 {
                    assert_eq!(write(Dtype::Bf16, fixed).unwrap(), bits.to_le_bytes(), "{bits:#x}");
                }
            } else {
                assert_eq!(read(Dtype::Bf16, &bits.to_le_bytes()), Err(0), "{bits:#x}");
            }
        }
    }

    /// Around the middle between all neighbours, in both formats of sixteen bits.
    #[test]
    fn rounding_is_to_the_nearest_and_in_a_tie_to_even() {
        let brain = |bits: u16| f64::from(f32::from_bits(u32::from(bits) << 16));
        for low in 0..0x7c00_u16 {
            // Beyond the largest half, what would be next decides.
            let next = if low == 0x7bff { 65_536.0 } else { half(low + 1) };
            around_the_middle(to_half, low, half(low), next);
        }
        for low in 0..0x7f7f_u16 {
            around_the_middle(to_brain, low, brain(low), brain(low + 1));
        }
    }

    fn around_the_middle(round: fn(f32) -> u16, low: u16, value: f64, next: f64) {
        let middle = ((value + next) / 2.0) as f32;
        let even = low + (low & 1);
        for (value, expected) in
            [(middle.next_down(), low), (middle, even), (middle.next_up(), low + 1)]
        {
            assert_eq!(round(value), expected, "{value:e}");
            assert_eq!(round(-value), expected | 0x8000, "{value:e}");
        }
    }

    #[test]
    fn values_are_read_to_the_nearest_in_a_tie_to_even() {
        let unit = 1.0 / ONE;
        for (value, fixed) in [
            (0.0, 0),
            (-0.0, 0),
            (0.5 * unit, 0),
            (1.5 * unit, 2),
            (-2.5 * unit, -2),
            (-3.5 * unit, -4),
            (f64::MIN_POSITIVE / 2.0, 0),
            // Where the short way ends, and the long one begins.
            ((LIMIT / 2.0).next_down(), 1 << 51),
            (LIMIT / 2.0 + 1.5 * unit, (1 << 51) + 2),
            (-(LIMIT / 2.0) - 2.5 * unit, -(1 << 51) - 2),
            (LIMIT - unit, (1 << 52) - 1),
        ] {
            assert_eq!(read(Dtype::F64, &value.to_le_bytes()), Ok(fixed), "{value:e}");
        }
        // The largest smaller number is rounded to the limit itself; no sum minds.
        assert_eq!(read(Dtype::F64, &LIMIT.next_down().to_le_bytes()), Ok(1 << 52));
        for value in [LIMIT, -LIMIT, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::MAX] {
            assert_eq!(read(Dtype::F64, &value.to_le_bytes()), Err(0), "{value:e}");
            assert_eq!(read(Dtype::F32, &(value as f32).to_le_bytes()), Err(0), "{value:e}");
        }
    }

    #[test]
    fn what_would_be_refused_as_the_next_base_is_not_written() {
        let last = (1 << 52) - 1;
        assert_eq!(write(Dtype::F64, last).unwrap(), (last as f64 / ONE).to_le_bytes());
        // Rounded, they are 2^20.
        assert_eq!(write(Dtype::F32, last), Err(0));
        assert_eq!(write(Dtype::Bf16, -last), Err(0));
        assert_eq!(write(Dtype::F32, 1 << 52), Err(0));
        assert_eq!(write(Dtype::F64, -(1 << 52)), Err(0));
        let fixed = |value: f64| (value * ONE) as i64;
        assert_eq!(write(Dtype::F16, fixed(65_519.0)).unwrap(), 0x7bff_u16.to_le_bytes());
        assert_eq!(write(Dtype::F16, fixed(65_520.0)), Err(0));
        let mut bytes = [0; 12];
        assert_eq!(Dtype::F32.write(&[1, i64::MIN, i64::MAX], &mut bytes), Err(1));
    }

    #[test]
    fn whole_numbers_keep_their_order_and_their_bits() {
        let ordered: [(Dtype, [&[u8]; 3]); 4] = [
            (Dtype::U64, [&[0; 8], &[0, 0, 0, 0, 0, 0, 0, 0x80], &[0xff; 8]]),
            (Dtype::I64, [&[0, 0, 0, 0, 0, 0, 0, 0x80], &[0xff; 8], &[0; 8]]),
            (Dtype::I8, [&[0x80], &[0xff], &[0x7f]]),
            (Dtype::Bool, [&[0], &[1], &[0xff]]),
        ];
        for (dtype, elements) in ordered {
            let values = elements.map(|bytes| read(dtype, bytes).unwrap());
            assert!(values.is_sorted(), "{dtype:?}");
            for (value, bytes) in values.iter().zip(elements) {
                assert_eq!(write(dtype, *value).unwrap(), bytes, "{dtype:?}");
            }
        }
    }
}
