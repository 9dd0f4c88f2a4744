//! Memory for a whole segment, in large pages where the kernel gives some.
//!
//! A segment of 16 MiB is 4096 ordinary pages, each of which the kernel has to be asked for when it is used for
//! the first time. `archive_command` runs in a process of its own, so that all are asked for at each call; it
//! is a tenth of what a call costs.

use rustix::mm::{Advice, madvise};

/// How ordinary pages are aligned, at least.
const PAGE_LENGTH: usize = 4096;

/// Less than this has no room for a large page.
const LENGTH_LEAST: usize = 4 << 20;

/// Returns memory that is all zeros.
pub(super) fn zeroed(length: usize) -> Vec<u8> {
    let mut memory = vec![0; length];
    if length >= LENGTH_LEAST {
        ask_for_large_pages(&mut memory);
    }
    memory
}

/// Asks for large pages. Nothing is lost where there are none.
fn ask_for_large_pages(memory: &mut [u8]) {
    let before = memory.as_ptr().align_offset(PAGE_LENGTH);
    let Some(whole) = memory.get_mut(before..) else { return };
    let length = whole.len() / PAGE_LENGTH * PAGE_LENGTH;
    #[expect(unsafe_code, reason = "advice on memory cannot be given otherwise")]
    // SAFETY: the range is of pages that lie within this slice as a whole, and this advice changes neither what
    // they hold nor whether they may be used.
    let advised = unsafe { madvise(whole.as_mut_ptr().cast(), length, Advice::LinuxHugepage) };
    if let Err(error) = advised {
        tracing::trace!(%error, "The kernel has no large pages.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_zeros_however_long() {
        for length in [0, 1, 4095, LENGTH_LEAST, LENGTH_LEAST + 1, 16 << 20] {
            let memory = zeroed(length);
            assert!(memory.len() == length && memory.iter().all(|byte| *byte == 0), "{length}");
        }
    }
}
