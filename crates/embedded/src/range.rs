use std::ops::Bound;

use crate::engine::Bounds;

/// Whether no key can be within the bounds.
pub(crate) fn is_empty(bounds: &Bounds<'_>) -> bool {
    match *bounds {
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (Bound::Included(start) | Bound::Excluded(start), Bound::Excluded(end))
        | (Bound::Excluded(start), Bound::Included(end)) => start >= end,
        (Bound::Unbounded, Bound::Excluded(end)) => end.is_empty(),
        _ => false,
    }
}
