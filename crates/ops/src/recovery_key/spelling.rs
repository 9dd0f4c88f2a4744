//! How a recovery key is written for people: groups that each prove themselves.
//!
//! ```text
//! LIFEBOAT-XXXXX-XXXXX-…        14 groups of five symbols
//! ```
//!
//! The symbols are Crockford's: ten digits and the letters without I, L, O and U, so that none can
//! be taken for another; I and L are read as 1, O as 0, and case does not matter. Thirteen groups
//! carry four symbols of the key each, the fourteenth carries 20 bits of its SHA-256. The fifth
//! symbol of a group is a check over GF(32) in which every position has its own weight and every
//! group its own constant: one wrong symbol, two swapped symbols or two swapped groups never pass,
//! and the group that is wrong is known. What slips through one group's check in the rare
//! case of several mistakes is caught by the fourteenth.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

const SYMBOLS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const PREFIX: &str = "LIFEBOAT";
/// Groups that carry the key: 52 symbols hold 260 bits.
const KEY_GROUPS: usize = 13;
const GROUPS: usize = KEY_GROUPS + 1;
const GROUP_LENGTH: usize = 5;
const DATA_LENGTH: usize = GROUP_LENGTH - 1;

/// A text is not a recovery key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseKeyError {
    /// It does not begin as a recovery key does.
    #[error("a recovery key begins with `{PREFIX}-`")]
    NoPrefix,
    /// A group is too short or too long.
    #[error("group {group} of the recovery key has {length} symbols instead of {GROUP_LENGTH}")]
    GroupLength {
        /// Which group, counted from 1 after the prefix.
        group: usize,
        /// How many symbols it has.
        length: usize,
    },
    /// There are too few or too many groups.
    #[error("the recovery key has {groups} groups after `{PREFIX}` instead of {GROUPS}")]
    GroupCount {
        /// How many there are.
        groups: usize,
    },
    /// A group holds a symbol that no key has.
    #[error("group {group} of the recovery key holds a symbol that no recovery key has")]
    Symbol {
        /// Which group, counted from 1 after the prefix.
        group: usize,
    },
    /// Groups do not agree with their check symbols.
    #[error("mistyped: group {} of the recovery key", list(.groups))]
    Mistyped {
        /// Which groups, counted from 1 after the prefix.
        groups: Vec<usize>,
    },
    /// Every group agrees with itself, but not all of them together.
    #[error("mistyped: the groups of the recovery key do not belong together")]
    Checksum,
}

fn list(groups: &[usize]) -> String {
    groups.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Multiplies by the generator of GF(32) with x⁵ + x² + 1.
const fn double(symbol: u8) -> u8 {
    let shifted = symbol << 1;
    if shifted & 32 == 0 { shifted } else { shifted ^ 0b10_0101 }
}

/// Returns the check symbol of a group: Σ αⁱ⁺¹·dᵢ plus the group's constant.
fn check_symbol(group: usize, data: &[u8]) -> u8 {
    let constant = u8::try_from(group).expect("there are 14 groups");
    let sum = data.iter().rev().fold(0, |sum, symbol| double(sum ^ symbol));
    sum ^ constant
}

/// Returns the 56 data symbols: 256 bits of key, 4 zero bits, 20 bits of checksum.
fn data_symbols(key: &[u8; 32]) -> Zeroizing<[u8; GROUPS * DATA_LENGTH]> {
    let mut bits = Zeroizing::new([0_u8; 35]);
    bits[..32].copy_from_slice(key);
    let sum = Sha256::digest(key);
    bits[32] = sum[0] >> 4;
    bits[33] = sum[0] << 4 | sum[1] >> 4;
    bits[34] = sum[1] << 4 | sum[2] >> 4;
    let mut symbols = Zeroizing::new([0; GROUPS * DATA_LENGTH]);
    for (index, symbol) in symbols.iter_mut().enumerate() {
        let (byte, shift) = (index * 5 / 8, index * 5 % 8);
        let next = bits.get(byte + 1).copied().unwrap_or(0);
        let window = u16::from(bits[byte]) << 8 | u16::from(next);
        *symbol = u8::try_from(window >> (11 - shift) & 31).expect("it has five bits");
    }
    symbols
}

/// Writes a key.
pub(super) fn write(key: &[u8; 32]) -> String {
    let mut text = String::with_capacity(PREFIX.len() + GROUPS * (GROUP_LENGTH + 1));
    text.push_str(PREFIX);
    for (group, data) in data_symbols(key).chunks(DATA_LENGTH).enumerate() {
        text.push('-');
        for symbol in data.iter().copied().chain([check_symbol(group, data)]) {
            text.push(char::from(SYMBOLS[usize::from(symbol)]));
        }
    }
    text
}

fn symbol_value(symbol: u8) -> Option<u8> {
    let plain = match symbol.to_ascii_uppercase() {
        b'I' | b'L' => b'1',
        b'O' => b'0',
        other => other,
    };
    SYMBOLS.iter().position(|s| *s == plain).and_then(|value| u8::try_from(value).ok())
}

/// Splits into groups: at dashes and blanks, as the key is printed.
fn groups(text: &str) -> Result<Vec<&str>, ParseKeyError> {
    let mut parts =
        text.split(|c: char| c == '-' || c.is_whitespace()).filter(|part| !part.is_empty());
    if !parts.next().is_some_and(|prefix| prefix.eq_ignore_ascii_case(PREFIX)) {
        return Err(ParseKeyError::NoPrefix);
    }
    let groups: Vec<&str> = parts.collect();
    let wrong = groups.iter().position(|group| group.chars().count() != GROUP_LENGTH);
    match wrong {
        Some(index) if index < GROUPS => Err(ParseKeyError::GroupLength {
            group: index + 1,
            length: groups[index].chars().count(),
        }),
        _ if groups.len() != GROUPS => Err(ParseKeyError::GroupCount { groups: groups.len() }),
        _ => Ok(groups),
    }
}

/// Reads a key back.
pub(super) fn read(text: &str) -> Result<Zeroizing<[u8; 32]>, ParseKeyError> {
    let mut data = Zeroizing::new([0_u8; GROUPS * DATA_LENGTH]);
    let mut mistyped = Vec::new();
    for (index, group) in groups(text)?.into_iter().enumerate() {
        let mut symbols = Zeroizing::new([0_u8; GROUP_LENGTH]);
        let values = group.chars().map(|c| u8::try_from(c).ok().and_then(symbol_value));
        for (symbol, value) in symbols.iter_mut().zip(values) {
            *symbol = value.ok_or(ParseKeyError::Symbol { group: index + 1 })?;
        }
        if check_symbol(index, &symbols[..DATA_LENGTH]) != symbols[DATA_LENGTH] {
            mistyped.push(index + 1);
        }
        data[index * DATA_LENGTH..][..DATA_LENGTH].copy_from_slice(&symbols[..DATA_LENGTH]);
    }
    if !mistyped.is_empty() {
        return Err(ParseKeyError::Mistyped { groups: mistyped });
    }
    let mut key = Zeroizing::new([0_u8; 32]);
    for bit in 0..256 {
        let value = data[bit / 5] >> (4 - bit % 5) & 1;
        key[bit / 8] |= value << (7 - bit % 8);
    }
    if *data_symbols(&key) == *data { Ok(key) } else { Err(ParseKeyError::Checksum) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn groups_of(text: &str) -> Vec<String> {
        text.split('-').skip(1).map(str::to_owned).collect()
    }

    fn join(groups: &[String]) -> String {
        format!("LIFEBOAT-{}", groups.join("-"))
    }

    proptest! {
        #[test]
        fn every_key_reads_back(key: [u8; 32]) {
            let text = write(&key);
            prop_assert_eq!(*read(&text).unwrap(), key);
            let sloppy = text.to_lowercase().replace('-', " \n").replace('0', "o").replace('1', "L");
            prop_assert_eq!(*read(&sloppy.replacen("lifebOat", "lifeboat", 1)).unwrap(), key);
        }

        #[test]
        fn one_wrong_symbol_is_located(key: [u8; 32], at in 0_usize..70, other in 0_usize..32) {
            let mut groups = groups_of(&write(&key));
            let (group, place) = (at / 5, at % 5);
            let symbol = char::from(SYMBOLS[other]);
            prop_assume!(!groups[group][place..].starts_with(symbol));
            groups[group].replace_range(place..=place, &symbol.to_string());
            let expected = ParseKeyError::Mistyped { groups: vec![group + 1] };
            prop_assert_eq!(read(&join(&groups)).unwrap_err(), expected);
        }

        #[test]
        fn swapped_symbols_and_groups_are_located(
            key: [u8; 32], group in 0_usize..14, other in 0_usize..14, a in 0_usize..5, b in 0_usize..5,
        ) {
            let original = groups_of(&write(&key));
            let mut groups = original.clone();
            let mut symbols: Vec<char> = groups[group].chars().collect();
            symbols.swap(a, b);
            groups[group] = symbols.into_iter().collect();
            if groups != original {
                let expected = ParseKeyError::Mistyped { groups: vec![group + 1] };
                prop_assert_eq!(read(&join(&groups)).unwrap_err(), expected);
            }
            let mut groups = original.clone();
            groups.swap(group, other);
            if group != other {
                let mut both = vec![group + 1, other + 1];
                both.sort_unstable();
                let expected = ParseKeyError::Mistyped { groups: both };
                prop_assert_eq!(read(&join(&groups)).unwrap_err(), expected);
            }
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = read(&text);
            let _ = read(&format!("LIFEBOAT-{text}"));
        }
    }

    #[test]
    fn what_is_wrong_with_its_shape_is_said() {
        let good = groups_of(&write(&[7; 32]));
        assert_eq!(read("").unwrap_err(), ParseKeyError::NoPrefix);
        assert_eq!(read("hunter2").unwrap_err(), ParseKeyError::NoPrefix);
        let short = join(&good[..13]);
        assert_eq!(read(&short).unwrap_err(), ParseKeyError::GroupCount { groups: 13 });
        let mut groups = good.clone();
        groups[4].pop();
        let expected = ParseKeyError::GroupLength { group: 5, length: 4 };
        assert_eq!(read(&join(&groups)).unwrap_err(), expected);
        let mut groups = good;
        groups[2].replace_range(0..1, "U");
        assert_eq!(read(&join(&groups)).unwrap_err(), ParseKeyError::Symbol { group: 3 });
    }
}
