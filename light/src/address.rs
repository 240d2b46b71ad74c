//! Addresses of contracts, as they are written.

/// A text is no contract's address.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is not the address of a contract: bech32 of 32 bytes, with the right checksum")]
pub struct NotAnAddress(pub String);

const DIGITS: &str = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
/// The longest text that bech32's checksum is made for.
const MAX_LENGTH: usize = 90;

/// The 32 bytes of a contract's address, which is written in bech32 with any prefix.
///
/// # Errors
/// If it is not that.
pub fn address(text: &str) -> Result<[u8; 32], NotAnAddress> {
    read(text).ok_or_else(|| NotAnAddress(text.to_owned()))
}

fn read(text: &str) -> Option<[u8; 32]> {
    let (prefix, data) = text.rsplit_once('1').filter(|_| text.len() <= MAX_LENGTH)?;
    let digits = data.chars().map(|digit| DIGITS.find(digit).map(|place| place as u8));
    let digits = digits.collect::<Option<Vec<u8>>>()?;
    let high = prefix.bytes().map(|byte| byte >> 5);
    let low = prefix.bytes().map(|byte| byte & 31);
    let all = high.chain([0]).chain(low).chain(digits.iter().copied());
    if all.fold(1, checksum) != 1 {
        return None;
    }
    // 32 bytes are 51 digits and one bit of the next, whose others are 0.
    let digits = digits.get(..digits.len().checked_sub(6)?)?;
    let mut bytes = [0; 32];
    for (place, digit) in digits.iter().enumerate() {
        for bit in 0..5 {
            let at = place * 5 + bit;
            let set = digit >> (4 - bit) & 1;
            match bytes.get_mut(at / 8) {
                Some(byte) => *byte |= set << (7 - at % 8),
                None if set == 1 => return None,
                None => {}
            }
        }
    }
    (digits.len() == 52).then_some(bytes)
}

/// One step of bech32's checksum (BIP 173).
fn checksum(sum: u32, digit: u8) -> u32 {
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    let top = sum >> 25;
    let next = (sum & 0x01ff_ffff) << 5 ^ u32::from(digit);
    let set = GENERATOR.iter().enumerate().filter(|(bit, _)| top >> bit & 1 == 1);
    set.fold(next, |sum, (_, generator)| sum ^ generator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_32_bytes_and_the_right_checksum_is_an_address() {
        // The first contract of a new chain of wasmd.
        let text = "wasm14hj2tavq8fpesdwxxcu44rty3hh90vhujrvcmstl4zr3txmfvw9s0phg4d";
        let bytes = address(text).unwrap_or_default();
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digits, "ade4a5f5803a439835c636395a8d648dee57b2fc90d98dc17fa887159b69638b");
        for place in 0..text.len() {
            let other = if text.as_bytes()[place] == b'q' { "p" } else { "q" };
            let bent = [&text[..place], other, &text[place + 1..]].concat();
            assert!(address(&bent).is_err(), "{bent}");
        }
        // A person's, of 20 bytes.
        assert!(address("wasm1646zv7pxut3rk88nyua2kkde7qvhzufrjqx56l").is_err());
        for nothing in ["", "1", "wasm1", "wasm1qqqqqq", &"q".repeat(91)] {
            assert!(address(nothing).is_err());
        }
    }
}
