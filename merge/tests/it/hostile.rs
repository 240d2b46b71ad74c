//! Files of others that make no sense, and disks that fail.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use colearn_merge::{Absent, Error, Fate, HEADER_LIMIT, Input, MAX_UPDATES, Merge, Source, Void};

use crate::files::{Tensor, f32s, file, merge, with_header};

/// What comes of a file beside a good update.
#[track_caller]
fn void(update: Vec<u8>) -> Void {
    let good = f32s(&[1.0, 2.0]);
    let merged = merge(&good, None, &[update, good.clone()], 2000, 500);
    assert!(merged.open.as_ref() == Some(&good), "the good one counts");
    match &merged.report.updates[0] {
        Fate::Void(void) => void.clone(),
        Fate::Counts(_) => panic!("it counts"),
    }
}

fn header(header: &str) -> Void {
    void(with_header(header, &[0; 8]))
}

#[test]
fn what_is_no_file_of_tensors_is_void() {
    assert_eq!(void(Vec::new()), Void::Truncated { size: 0 });
    assert_eq!(void(vec![0; 7]), Void::Truncated { size: 7 });
    assert_eq!(void(vec![200, 0, 0, 0, 0, 0, 0, 0, b'{']), Void::Truncated { size: 9 });
    assert!(matches!(void(vec![0; 8]), Void::Header { .. }));
    // A length that nobody has the memory for.
    assert_eq!(void(vec![0xff; 100]), Void::HeaderTooLong { length: u64::MAX });
    let long = [&(HEADER_LIMIT + 1).to_le_bytes()[..], &[b' '; 10]].concat();
    assert_eq!(void(long), Void::HeaderTooLong { length: HEADER_LIMIT + 1 });
    for text in [
        "",
        "[]",
        "null",
        "{",
        r#"{"w":1}"#,
        r#"{"w":{"dtype":"F32","shape":[2]}}"#,
        r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0]}}"#,
        r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}}"#,
        r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,-8]}}"#,
        r#"{"w":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}}"#,
        r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"more":1}}"#,
        r#"{"w":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}}"#,
        r#"{"w":{"dtype":"f32","shape":[2],"data_offsets":[0,8]}}"#,
        r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
        r#"{"__metadata__":{"a":1},"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
        r#"{"__metadata__":{},"__metadata__":{},"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
    ] {
        assert!(matches!(header(text), Void::Header { .. }), "{text}");
    }
    assert!(matches!(header(&"[".repeat(100_000)), Void::Header { .. }));
}

#[test]
fn tensors_that_overlap_or_leave_gaps_are_void() {
    for text in [
        // A gap before, a gap between, an overlap, not as long as its shape, backwards, too large to be counted.
        r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
        r#"{"v":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
        r#"{"v":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
        r#"{"w":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#,
        r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#,
        r#"{"w":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,8]}}"#,
        r#"{"w":{"dtype":"F64","shape":[2305843009213693953],"data_offsets":[0,8]}}"#,
    ] {
        assert!(matches!(header(text), Void::Offsets { .. }), "{text}");
    }
    assert_eq!(
        header(r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#),
        Void::Length { described: 4, data: 8 }
    );
    let max = u64::MAX;
    let text = format!(r#"{{"w":{{"dtype":"U8","shape":[{max}],"data_offsets":[0,{max}]}}}}"#);
    assert_eq!(header(&text), Void::Length { described: max, data: 8 });
    assert_eq!(header("{}"), Void::Length { described: 0, data: 8 });
}

#[test]
fn other_tensors_than_the_bases_are_void() {
    let w = || Tensor::f32("w", &[1.0, 2.0]);
    let one = |tensor| void(file(&[tensor], &[]));
    assert_eq!(one(Tensor { name: "v".into(), ..w() }), Void::Missing { tensor: "w".into() });
    let different = Void::Different { tensor: "w".into() };
    assert_eq!(one(Tensor { shape: vec![2, 1], ..w() }), different);
    assert_eq!(one(Tensor { dtype: "I32", ..w() }), different);
    assert_eq!(one(Tensor::f32("w", &[1.0, 2.0, 3.0])), different);
    let two = [w(), Tensor::f32("v", &[])];
    assert_eq!(void(file(&two, &[])), Void::Additional { tensors: 1 });
}

#[test]
fn what_somebody_calls_a_tensor_is_shown_in_one_short_line() {
    let name = format!("a\\nb{}", "c".repeat(1000));
    let text = format!(r#"{{"{name}":{{"dtype":"F32","shape":[9],"data_offsets":[0,8]}}}}"#);
    let shown = header(&text).to_string();
    assert!(shown.len() < 250 && !shown.contains('\n'), "{shown}");
}

#[test]
fn an_update_so_far_off_that_sums_could_overflow_is_void() {
    // So many values of nearly 2^20 that their squares come to more than 2^61, 2^125 in 2^-64ths.
    let base = f32s(&vec![-1_000_000.0; 600_000]);
    let far = f32s(&vec![1_000_000.0; 600_000]);
    let merged = merge(&base, None, &[far, base.clone()], 2000, 0);
    assert_eq!(merged.report.updates[0], Fate::Void(Void::TooFar));
    assert_eq!(merged.open, Some(base));
}

#[test]
fn nothing_is_merged_from_a_base_or_after_a_model_that_makes_no_sense() {
    let good = f32s(&[1.0, 2.0]);
    let bad = f32s(&[1.0, f32::NAN]);
    let value = Void::Value { tensor: "w".into(), element: 1 };
    for (base, previous, absent) in [
        (&bad, None, Absent::Base(value.clone())),
        (&bad, Some(&bad), Absent::Base(value.clone())),
        (&good, Some(&bad), Absent::Previous(value)),
        (&vec![], None, Absent::Base(Void::Truncated { size: 0 })),
        (&good, Some(&vec![]), Absent::Previous(Void::Truncated { size: 0 })),
        (&good, Some(&f32s(&[1.0])), Absent::Previous(Void::Different { tensor: "w".into() })),
    ] {
        let merged =
            merge(base, previous.map(Vec::as_slice), std::slice::from_ref(&good), 2000, 500);
        assert_eq!(merged.report.open, Err(absent.clone()));
        assert_eq!(merged.report.guarded, Err(absent));
        assert_eq!((merged.open, merged.guarded), (None, None));
        assert_eq!(merged.report.updates, []);
    }
}

#[test]
fn a_merge_that_could_not_be_trained_from_is_absent() {
    // The momentum carries it over 2^20.
    let (before, base) = (f32s(&[1_000_000.0, 0.0]), f32s(&[1_040_000.0, 0.0]));
    let update = f32s(&[1_045_000.0, 0.0]);
    let merged = merge(&base, Some(&before), &[update], 2000, 500);
    let absent = Absent::TooLarge { tensor: "w".into(), element: 0 };
    assert_eq!(merged.report.open, Err(absent.clone()));
    assert_eq!(merged.report.guarded, Err(absent));
}

/// The open merge may be too large where the guarded one is not: what was written of it is not believed.
#[test]
fn one_merge_may_be_absent_without_the_other() {
    let base = f32s(&[1_048_000.0, 0.0]);
    let (before, near) = (f32s(&[1_047_000.0, 0.0]), f32s(&[1_048_000.0, 0.1]));
    let loud = f32s(&[1_048_570.0, 0.0]);
    let merged = merge(&base, Some(&before), &[near.clone(), near, loud], 10_000_000, 500);
    assert_eq!(merged.report.open, Err(Absent::TooLarge { tensor: "w".into(), element: 0 }));
    assert_eq!(merged.open, None);
    assert!(merged.guarded.is_some());
}

#[test]
fn a_model_without_values_is_merged() {
    let empty = file(&[Tensor::f32("w", &[])], &[]);
    let merged = merge(&empty, Some(&empty), &[empty.clone(), empty.clone()], 2000, 500);
    assert_eq!(merged.open.as_ref(), Some(&empty));
    assert_eq!(merged.guarded.as_ref(), Some(&empty));
    let none = with_header("{}", &[]);
    let merged = merge(&none, None, std::slice::from_ref(&none), 2000, 500);
    assert_eq!(merged.open, Some(none));
}

/// A disk that has something else to say when the values are read for the second time.
struct Faulty {
    bytes: Vec<u8>,
    reads: AtomicUsize,
    then: fn(&mut [u8]) -> io::Result<()>,
}

impl Source for Faulty {
    fn size(&self) -> io::Result<u64> {
        self.bytes.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.bytes.read_at(offset, buffer)?;
        let values = offset == self.bytes.len() as u64 - 8;
        if values && self.reads.fetch_add(1, Ordering::Relaxed) == 1 {
            (self.then)(buffer)
        } else {
            Ok(())
        }
    }
}

fn second_time(then: fn(&mut [u8]) -> io::Result<()>) -> Error {
    let good = f32s(&[1.0, 2.0]);
    let faulty = Faulty { bytes: good.clone(), reads: AtomicUsize::new(0), then };
    let updates: [&dyn Source; 2] = [&good, &faulty];
    let merge = Merge {
        base: &good,
        previous: None,
        updates: &updates,
        clip_permille: 2000,
        momentum_permille: 500,
    };
    merge.in_memory().unwrap_err()
}

#[test]
fn a_disk_that_fails_is_nobodys_void_update() {
    let error = second_time(|_| Err(io::Error::other("the disk is gone")));
    assert!(matches!(error, Error::Read { input: Input::Update(1), .. }), "{error}");
}

#[test]
fn a_file_that_changes_meanwhile_is_told() {
    let error = second_time(|buffer| {
        buffer.fill(0xff);
        Ok(())
    });
    assert!(matches!(error, Error::Changed { input: Input::Update(1) }), "{error}");
}

/// Writes so many bytes, and no more.
struct Full(usize);

impl io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = bytes.len().min(self.0);
        self.0 -= written;
        if written == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(written) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_told() {
    let good = f32s(&[1.0, 2.0]);
    let updates: [&dyn Source; 1] = [&good];
    let merge = Merge {
        base: &good,
        previous: None,
        updates: &updates,
        clip_permille: 2000,
        momentum_permille: 500,
    };
    for room in [0, 10, good.len() - 1] {
        assert!(matches!(merge.write(&mut Full(room), &mut io::sink()), Err(Error::Write(_))));
        assert!(matches!(merge.write(&mut io::sink(), &mut Full(room)), Err(Error::Write(_))));
    }
    assert!(merge.write(&mut Full(good.len()), &mut io::sink()).is_ok());
}

#[test]
fn what_is_out_of_bounds_is_refused() {
    let good = f32s(&[1.0, 2.0]);
    let updates: Vec<&dyn Source> = vec![&good; MAX_UPDATES + 1];
    let merge = Merge {
        base: &good,
        previous: None,
        updates: &updates,
        clip_permille: 2000,
        momentum_permille: 500,
    };
    assert!(matches!(merge.in_memory(), Err(Error::TooMany { updates: 257 })));
    let merge = Merge { updates: &updates[..MAX_UPDATES], ..merge };
    assert_eq!(merge.in_memory().unwrap().open, Some(good.clone()));
    let merge = Merge { momentum_permille: 1001, ..merge };
    assert!(matches!(merge.in_memory(), Err(Error::Momentum { permille: 1001 })));
}
