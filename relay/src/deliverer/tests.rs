#![allow(clippy::unwrap_used)]

use std::io::Read as _;

use super::*;

#[test]
fn a_call_has_at_most_64_transactions_and_so_many_bytes() {
    let of = |lengths: &[usize]| {
        let transactions: Vec<Vec<u8>> = lengths.iter().map(|it| vec![0; *it]).collect();
        batches(&transactions).iter().map(|it| it.len()).collect::<Vec<_>>()
    };
    assert!(of(&[]).is_empty());
    assert_eq!(of(&[1; 64]), [64]);
    assert_eq!(of(&[1; 130]), [64, 64, 2]);
    assert_eq!(of(&[MAX_BATCH_BYTES, 1, MAX_BATCH_BYTES - 1, 1]), [1, 2, 1]);
}

#[test]
fn code_is_packed_once() {
    let wasm = [b"\0asm", &[7; 100_000][..]].concat();
    let packed = packed(&wasm).unwrap();
    assert!(packed.len() < 1_000);
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, wasm);
    assert_eq!(super::packed(&packed).unwrap(), packed);
}
