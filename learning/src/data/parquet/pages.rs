//! What a page says of itself is looked at before the crate makes room for it.

use parquet::basic::{Encoding, Type as Physical};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::schema::types::ColumnDescPtr;

/// Whether a column's bytes are in a file of so many.
pub(super) fn is_within(chunk: &ColumnChunkMetaData, file: u64) -> bool {
    let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
    let end = start.checked_add(chunk.compressed_size()).and_then(|end| u64::try_from(end).ok());
    start >= 0 && chunk.compressed_size() >= 0 && end.is_some_and(|end| end <= file)
}

/// A column's pages.
pub(super) struct Pages {
    pages: Box<dyn PageReader>,
    /// The bytes that a value takes at least in a dictionary, in eighths.
    least_bits: usize,
    optional: bool,
    has_dictionary: bool,
}

impl Pages {
    pub(super) fn new(pages: Box<dyn PageReader>, column: &ColumnDescPtr) -> Self {
        let least_bits = match column.physical_type() {
            Physical::BOOLEAN => 1,
            // A text has its length before it.
            Physical::INT32 | Physical::FLOAT | Physical::BYTE_ARRAY => 32,
            Physical::INT64 | Physical::DOUBLE => 64,
            Physical::INT96 => 96,
            Physical::FIXED_LEN_BYTE_ARRAY => {
                usize::try_from(column.type_length()).unwrap_or(0).saturating_mul(8).max(1)
            }
        };
        Self { pages, least_bits, optional: column.max_def_level() > 0, has_dictionary: false }
    }

    fn check(&mut self, page: &Page) -> std::result::Result<(), &'static str> {
        match page {
            Page::DictionaryPage { buf, num_values, .. } => {
                let bits = (*num_values as usize).saturating_mul(self.least_bits);
                self.has_dictionary = true;
                if bits > buf.len().saturating_mul(8) {
                    return Err("a dictionary has fewer words than it says");
                }
                Ok(())
            }
            Page::DataPage { buf, num_values, encoding, def_level_encoding, .. } => {
                let levels = match (self.optional, def_level_encoding, buf.first_chunk()) {
                    (false, ..) => 0,
                    (true, Encoding::RLE, Some(length)) => {
                        (u32::from_le_bytes(*length) as usize).saturating_add(4)
                    }
                    (true, Encoding::RLE, None) => buf.len(),
                    (true, ..) => (*num_values as usize).div_ceil(8),
                };
                self.check_values(*encoding, buf.get(levels..), *num_values)
            }
            Page::DataPageV2 {
                buf,
                num_values,
                encoding,
                def_levels_byte_len,
                rep_levels_byte_len,
                ..
            } => {
                let levels = def_levels_byte_len.saturating_add(*rep_levels_byte_len) as usize;
                self.check_values(*encoding, buf.get(levels..), *num_values)
            }
        }
    }

    fn check_values(
        &self,
        encoding: Encoding,
        values: Option<&[u8]>,
        most: u32,
    ) -> std::result::Result<(), &'static str> {
        let values = values.ok_or("a page is cut off")?;
        let lengths =
            |values| skip_lengths(values, most).ok_or("a page has other values than it says");
        match encoding {
            Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY if !self.has_dictionary => {
                Err("a dictionary lacks")
            }
            Encoding::DELTA_LENGTH_BYTE_ARRAY => lengths(values).map(|_| ()),
            // How much each has of the one before it, and then the lengths of what is new.
            Encoding::DELTA_BYTE_ARRAY => lengths(values).and_then(lengths).map(|_| ()),
            _ => Ok(()),
        }
    }
}

/// What stands behind whole numbers that are packed as differences (DELTA_BINARY_PACKED), if they are not more than
/// `most`: the crate makes room for as many as are said to be there.
fn skip_lengths(values: &[u8], most: u32) -> Option<&[u8]> {
    let mut rest = values;
    let block = varint(&mut rest)?;
    let parts = usize::try_from(varint(&mut rest)?).ok()?;
    let count = varint(&mut rest)?;
    let _first = varint(&mut rest)?;
    if count > u64::from(most) || parts == 0 || block == 0 {
        return None;
    }
    let in_a_part = block / parts as u64;
    let mut left = count.saturating_sub(1);
    while left > 0 {
        let _least = varint(&mut rest)?;
        let (widths, after) = rest.split_at_checked(parts)?;
        let mut bytes = 0_u64;
        for width in widths {
            // The width of a part that is not needed may be anything.
            let bits = if left == 0 { 0 } else { u64::from(*width).checked_mul(in_a_part)? };
            bytes = bytes.checked_add(bits / 8)?;
            left = left.saturating_sub(in_a_part);
        }
        if in_a_part == 0 {
            return None;
        }
        rest = after.get(usize::try_from(bytes).ok()?..)?;
    }
    Some(rest)
}

/// A number in groups of seven bits, the lowest first.
fn varint(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for at in 0..10 {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        number |= u64::from(byte & 0x7f).checked_shl(7 * at)?;
        if *byte < 0x80 {
            return Some(number);
        }
    }
    None
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.pages.get_next_page()?;
        if let Some(page) = &page {
            self.check(page).map_err(|why| ParquetError::General(why.to_owned()))?;
        }
        Ok(page)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.pages.skip_next_page()
    }
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn lengths_are_walked_over_to_what_stands_behind_them() {
        // 128 in a block of 4 parts; 3 numbers, the first 5 (zigzag); then the least difference 0, the widths of the
        // parts, of which only the first is needed, and 32 numbers of 2 bits.
        let packed = |count: u8| {
            let mut bytes = vec![0x80, 0x01, 4, count, 10, 0, 2, 9, 9, 9];
            bytes.extend([0xff; 8]);
            bytes.extend(b"rest");
            bytes
        };
        assert_eq!(skip_lengths(&packed(3), 3), Some(&b"rest"[..]));
        assert_eq!(skip_lengths(&packed(3), 2), None, "more than there are values");
        // The first number stands in the header.
        assert_eq!(skip_lengths(&packed(1)[..5], 1), Some(&b""[..]));
        assert_eq!(skip_lengths(&packed(3)[..12], 3), None, "cut off");
        assert_eq!(skip_lengths(&[0x80, 0x01, 0, 3, 10], 3), None, "no parts");
        assert_eq!(skip_lengths(&[0xff; 40], u32::MAX), None, "no number is so long");
        // As many as are said, in a block of none or of parts without any.
        assert_eq!(skip_lengths(&[1, 4, 3, 10, 0, 2, 2, 2, 2], 3), None);
    }

    /// Nothing is read: pages are looked at one by one.
    struct NoPages;

    impl Iterator for NoPages {
        type Item = Result<Page>;

        fn next(&mut self) -> Option<Self::Item> {
            None
        }
    }

    impl PageReader for NoPages {
        fn get_next_page(&mut self) -> Result<Option<Page>> {
            Ok(None)
        }

        fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
            Ok(None)
        }

        fn skip_next_page(&mut self) -> Result<()> {
            Ok(())
        }
    }

    fn pages(least_bits: usize) -> Pages {
        Pages { pages: Box::new(NoPages), least_bits, optional: true, has_dictionary: false }
    }

    #[test]
    fn a_dictionary_has_as_many_words_as_it_says_and_stands_before_what_needs_it() {
        let dictionary = |num_values, bytes: usize| Page::DictionaryPage {
            buf: Bytes::from(vec![0; bytes]),
            num_values,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        let data = |encoding, buf: &'static [u8]| Page::DataPage {
            buf: Bytes::from_static(buf),
            num_values: 2,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let mut pages = pages(32);
        let needs = data(Encoding::RLE_DICTIONARY, &[0, 0, 0, 0]);
        assert!(pages.check(&needs).unwrap_err().contains("dictionary"));
        assert!(pages.check(&dictionary(3, 11)).is_err());
        assert!(pages.check(&dictionary(u32::MAX, 11)).is_err());
        assert!(pages.check(&dictionary(3, 12)).is_ok() && pages.check(&needs).is_ok());
        // Levels that are said to be longer than the page.
        assert!(
            pages.check(&data(Encoding::PLAIN, &[1, 0, 0, 0])).unwrap_err().contains("cut off")
        );
        let many = data(Encoding::DELTA_LENGTH_BYTE_ARRAY, &[0, 0, 0, 0, 0x80, 1, 4, 0x7f, 0]);
        assert!(pages.check(&many).is_err());
    }
}
