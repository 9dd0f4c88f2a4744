//! The checksum of a page: FNV over 32 columns of words, folded into 16 bits.
//!
//! What is computed is described in PostgreSQL's `src/include/storage/checksum_impl.h`, the same since
//! 9.3. Each column is a hash of its own, so that the columns fit side by side into vector registers. The
//! multiplication of 32-bit lanes that this needs is not among the instructions that every x86-64
//! has; hence the second copy for those with AVX2.

use super::{BlockNumber, PAGE_LENGTH};

/// How many hashes run side by side.
const COLUMNS: usize = 32;

const FNV_PRIME: u32 = 16_777_619;

/// Where each column's hash starts; chosen at random by PostgreSQL.
const BASES: [u32; COLUMNS] = [
    0x5B1F_36E9,
    0xB852_5960,
    0x02AB_50AA,
    0x1DE6_6D2A,
    0x79FF_467A,
    0x9BB9_F8A3,
    0x217E_7CD2,
    0x83E1_3D2C,
    0xF8D4_474F,
    0xE39E_B970,
    0x42C6_AE16,
    0x9932_16FA,
    0x7B09_3B5D,
    0x98DA_FF3C,
    0xF718_902A,
    0x0B1C_9CDB,
    0xE58F_764B,
    0x1876_36BC,
    0x5D7B_3BB1,
    0xE73D_E7DE,
    0x92BE_C979,
    0xCCA6_C0B2,
    0x304A_0979,
    0x85AA_43D4,
    0x7831_25BB,
    0x6CA8_EAA2,
    0xE407_EAC6,
    0x4B5C_FC3E,
    0x9FBF_8C76,
    0x15CA_20BE,
    0xF2CA_9FD3,
    0x959B_D756,
];

/// Computes the checksum of a page at its place; what stands in the page's own field does not matter.
pub fn page_checksum(page: &[u8; PAGE_LENGTH], block: BlockNumber) -> u16 {
    let sum = hash(page) ^ block.0;
    #[expect(clippy::cast_possible_truncation, reason = "it is from 1 to 65535; no page has 0")]
    let checksum = (sum % 65_535 + 1) as u16;
    checksum
}

#[cfg(target_arch = "x86_64")]
fn hash(page: &[u8; PAGE_LENGTH]) -> u32 {
    if std::arch::is_x86_feature_detected!("avx2") {
        #[expect(
            unsafe_code,
            reason = "a function for some processors cannot be called otherwise"
        )]
        // SAFETY: the processor was asked, in the line before, for the one feature that the function needs.
        return unsafe { hash_with_avx2(page) };
    }
    hash_columns(page)
}

#[cfg(not(target_arch = "x86_64"))]
fn hash(page: &[u8; PAGE_LENGTH]) -> u32 {
    hash_columns(page)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn hash_with_avx2(page: &[u8; PAGE_LENGTH]) -> u32 {
    hash_columns(page)
}

/// The one text that the compiler turns into both copies.
#[inline(always)]
#[expect(clippy::inline_always, reason = "each caller compiles it for other instructions")]
fn hash_columns(page: &[u8; PAGE_LENGTH]) -> u32 {
    let mut columns = BASES;
    for (index, row) in page.as_chunks::<{ 4 * COLUMNS }>().0.iter().enumerate() {
        let mut words = [0; COLUMNS];
        for (word, bytes) in words.iter_mut().zip(row.as_chunks().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        if index == 0 {
            // The checksum's own field, the lower half of the third word.
            words[2] &= 0xFFFF_0000;
        }
        mix(&mut columns, &words);
    }
    mix(&mut columns, &[0; COLUMNS]);
    mix(&mut columns, &[0; COLUMNS]);
    columns.iter().fold(0, |sum, column| sum ^ column)
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "each caller compiles it for other instructions")]
fn mix(columns: &mut [u32; COLUMNS], words: &[u32; COLUMNS]) {
    for (column, word) in columns.iter_mut().zip(words) {
        let mixed = *column ^ word;
        *column = mixed.wrapping_mul(FNV_PRIME) ^ (mixed >> 17);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_copies_agree(seed: u64, block: u32) {
            let mut page = [0; PAGE_LENGTH];
            let mut state = seed | 1;
            for byte in &mut page {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = state.to_le_bytes()[7];
            }
            prop_assert_eq!(hash(&page), hash_columns(&page));
            let checksum = page_checksum(&page, BlockNumber(block));
            page[8..10].fill(0xFF);
            prop_assert_eq!(page_checksum(&page, BlockNumber(block)), checksum);
        }
    }
}
