//! Many receipts in one file.

use colearn_ledger::{Hash, Receipt};
use colearn_records::receipts::{KeptReceipt, KeptReceipts, NotKept, file_name};

fn kept(index: u64) -> KeptReceipt {
    let checkpoint = "test\n8\nAAAA\n\n\u{2014} test AAAA\n".to_owned();
    let receipt = Receipt { index, path: vec![Hash([7; 32]); 3], checkpoint };
    // Nothing in an entry can be mistaken for the next receipt.
    let entry = format!("\ncolearn-receipt {index} 1 1 00\n\0").into_bytes();
    KeptReceipt { receipt, entry }
}

#[test]
fn what_is_kept_is_read_and_what_a_crash_cuts_off_is_no_more_than_the_last() {
    assert_eq!(file_name(0), "000000000000.receipts");
    assert_eq!(file_name(999), file_name(0));
    assert_eq!(file_name(1_000), "000000001000.receipts");
    let [first, second] = [3, 5].map(kept);
    let (one, all) = (first.to_bytes(), [first.to_bytes(), second.to_bytes()].concat());
    assert_eq!(KeptReceipts::new(&[]).next(), None);
    let read: Result<Vec<_>, _> = KeptReceipts::new(&all).collect();
    assert_eq!(read, Ok(vec![first.clone(), second]));
    for length in one.len() + 1..all.len() {
        let mut cut = KeptReceipts::new(&all[..length]);
        assert_eq!(cut.next(), Some(Ok(first.clone())));
        assert_eq!(cut.next(), Some(Err(NotKept::Cut)), "{length}");
        assert_eq!((cut.next(), cut.whole_bytes()), (None, one.len()));
        // Or the file has its length and not its bytes.
        let mut holes = all[..length].to_vec();
        holes.resize(all.len(), 0);
        assert!(KeptReceipts::new(&holes).nth(1).unwrap().is_err());
    }
    for at in 0..one.len() {
        let mut damaged = all.clone();
        damaged[at] ^= 1;
        let first_read = KeptReceipts::new(&damaged).next().unwrap();
        assert!(
            first_read.is_err_and(|error| error != NotKept::Cut) || is_a_length(&one, at),
            "{at}"
        );
    }
}

/// Longer than the file, a receipt looks cut.
fn is_a_length(one: &[u8], at: usize) -> bool {
    one[..at].iter().all(|byte| *byte != b'\n')
}
