//! How a long listing is divided, so that its parts are asked for at the same time.
//!
//! A page names its successor, so pages come one after the other, a round trip each: 100,000 packs
//! at 50 ms take five seconds. But a listing may begin after any name, and where names are spread
//! evenly, as hashes are, the first page tells how many there will be and where to begin.
//!
//! # Invariants
//!
//! - Parts are intervals of names that together cover all names behind the first page, whatever names
//!   there are; a bad guess costs requests and loses nothing.

/// How many parts of one listing are asked for at once: a hundred pages take the time of seven, and a
/// small store is not asked for more than its disks can do.
pub(super) const PARTS_MAX: usize = 16;

/// How many names two hex digits tell apart.
const BUCKETS: usize = 256;

/// An interval of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interval {
    /// It begins behind this name.
    pub(super) after: Option<String>,
    /// It ends with this name.
    pub(super) up_to: Option<String>,
}

impl Interval {
    /// Tells whether a name lies in it.
    pub(super) fn has(&self, name: &str) -> bool {
        self.after.as_deref().is_none_or(|after| name > after) && !self.ends_before(name)
    }

    /// Tells whether a name lies behind its end.
    pub(super) fn ends_before(&self, name: &str) -> bool {
        self.up_to.as_deref().is_some_and(|up_to| name > up_to)
    }
}

/// Divides the names below `prefix`, of which the first page ended with `last`. The first interval is
/// the one in which the first page lies.
///
/// They are one where the names do not begin with two hex digits, or where so little is to be expected
/// that the second page has all of it.
pub(super) fn intervals(prefix: &str, last: &str) -> Vec<Interval> {
    let bounds = last.strip_prefix(prefix).and_then(bucket).map_or_else(Vec::new, bounds);
    let names: Vec<_> = bounds.iter().map(|bound| Some(format!("{prefix}{bound:02x}"))).collect();
    let after = std::iter::once(None).chain(names.iter().cloned());
    let up_to = names.iter().cloned().chain(std::iter::once(None));
    after.zip(up_to).map(|(after, up_to)| Interval { after, up_to }).collect()
}

/// Returns what the first two digits of a name say, if they are digits of a hash.
fn bucket(name: &str) -> Option<usize> {
    let digits =
        name.get(..2).filter(|digits| !digits.contains(['+', 'A', 'B', 'C', 'D', 'E', 'F']))?;
    usize::from_str_radix(digits, 16).ok()
}

/// Divides evenly what comes behind a first page that ended in this bucket, into about as many parts as
/// there are pages to be expected.
fn bounds(last: usize) -> Vec<usize> {
    let left = BUCKETS - last;
    // The page may have ended at the bucket's end: rather too few parts than too many.
    let pages = (left - 1).div_ceil(last + 1);
    let parts = pages.min(PARTS_MAX);
    (1..parts).map(|part| last + part * left / parts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_parts_as_pages_are_to_be_expected() {
        let parts = |last: &str| intervals("data/", &format!("data/{last}")).len();
        assert_eq!(parts("02/028f"), PARTS_MAX, "a hundred thousand");
        assert_eq!(parts("1f"), 7, "some eight thousand");
        assert_eq!(parts("54ab"), 3, "some three thousand");
        assert_eq!(parts("7f"), 1, "the second page is the last");
        assert_eq!(parts("ff"), 1);
    }

    #[test]
    fn names_that_are_no_hashes_are_not_divided() {
        for last in
            ["other/0a", "data/", "data/0", "data/zz", "data/0G", "data/+1", "data/0A", "data/ä"]
        {
            assert_eq!(intervals("data/", last), [Interval { after: None, up_to: None }], "{last}");
        }
    }

    #[test]
    fn every_name_lies_in_one_interval() {
        for last in 0..BUCKETS {
            let intervals = intervals("data/", &format!("data/{last:02x}"));
            let bounds = intervals.iter().filter_map(|interval| interval.up_to.clone());
            let names = (0..BUCKETS).map(|name| format!("data/{name:02x}/{name:02x}ab"));
            for name in
                names.chain(bounds).chain(["data/.x", "data/A", "data/zz"].map(str::to_owned))
            {
                let having = intervals.iter().filter(|interval| interval.has(&name)).count();
                assert_eq!(having, 1, "{name} of {intervals:?}");
            }
        }
    }
}
