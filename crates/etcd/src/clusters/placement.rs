//! Which shard a key is in, and whether all of a range is in one.
//!
//! A key is placed by its hash tag, where it has one: the text between its first `{` and the next `}`, if that is not empty, as
//! Redis Cluster defines it. All that vectors are kept in is placed together, as if its prefix were a tag.

use norikv_core::{DEFAULT_TOTAL_SHARDS, KeyRange, shard_for_key};

/// How many shards there are. Never changes: it says where keys are.
pub(crate) const SHARDS: u32 = DEFAULT_TOTAL_SHARDS;

/// What vectors are kept under. It is followed in the order of its versions, which one cluster has and several have not.
const TOGETHER: &[u8] = b"\0norikv/";

/// Where a range is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// No key is in it.
    Nowhere,
    /// Every key of it is in this shard.
    Shard(u32),
    /// Its keys may be in any.
    Anywhere,
}

/// The shard of a key.
pub(crate) fn shard_of(key: &[u8]) -> u32 {
    let placed = tag(key).map_or(key, |tag| &key[tag.start..tag.end]);
    shard_for_key(placed, SHARDS)
}

/// Where a range is.
pub(crate) fn place_of(range: &KeyRange) -> Place {
    if range.is_empty() {
        return Place::Nowhere;
    }
    let start = range.start.as_ref();
    let is_single =
        range.end.as_ref().is_some_and(|end| end.split_last() == Some((&0, start)) && !start.is_empty());
    // What begins with all of a tag has that tag, so a range has it that leaves nothing but keys that begin so.
    let is_tagged = tag(start).is_some_and(|tag| {
        let tagged = KeyRange::prefix(start[..tag.whole].to_vec());
        matches!((&range.end, &tagged.end), (Some(end), Some(last)) if end <= last)
    });
    if is_single || is_tagged { Place::Shard(shard_of(start)) } else { Place::Anywhere }
}

/// Where a tag is in a key, and how far the key goes with all that makes it one.
struct Tag {
    start: usize,
    end: usize,
    whole: usize,
}

fn tag(key: &[u8]) -> Option<Tag> {
    if key.starts_with(TOGETHER) {
        return Some(Tag { start: 0, end: TOGETHER.len(), whole: TOGETHER.len() });
    }
    let start = key.iter().position(|byte| *byte == b'{')? + 1;
    let length = key[start..].iter().position(|byte| *byte == b'}')?;
    (length > 0).then_some(Tag { start, end: start + length, whole: start + length + 1 })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_hash_tag_is_what_redis_cluster_says_it_is() {
        let same = |a: &str, b: &str| assert_eq!(shard_of(a.as_bytes()), shard_of(b.as_bytes()), "{a} {b}");
        same("{user1000}.following", "{user1000}.followers");
        same("{user1000}.following", "user1000");
        same("foo{{bar}}zap", "{bar");
        same("foo{bar}{zap}", "bar");
        let whole = |key: &str| {
            assert_eq!(shard_of(key.as_bytes()), shard_for_key(key.as_bytes(), 1_024), "{key}");
        };
        ["plain", "foo{}{bar}", "foo{bar", "foo}bar{", "{}", "}{a"].into_iter().for_each(whole);
    }

    #[test]
    fn keys_without_a_tag_are_where_every_norikv_client_puts_them() {
        assert_eq!(shard_of(b"hello"), 309);
        assert_eq!(shard_of(b"user:123"), 928);
    }

    #[test]
    fn what_vectors_are_kept_in_is_together_whatever_is_in_it() {
        let home = shard_of(b"\0norikv/");
        for key in [&b"\0norikv/d{a}"[..], b"\0norikv/v\0\0\0\0\0\0\0\x01{b}c", b"\0norikv/m"] {
            assert_eq!(shard_of(key), home);
        }
        assert_eq!(place_of(&KeyRange::prefix("\0norikv/v")), Place::Shard(home));
        let viewed = KeyRange::new("\0norikv/d".into(), Some("\0norikv/w".into())).unwrap();
        assert_eq!(place_of(&viewed), Place::Shard(home));
        assert_eq!(place_of(&KeyRange::prefix("\0norikv")), Place::Anywhere);
    }

    #[test]
    fn a_range_is_in_one_shard_if_it_begins_with_a_whole_tag_and_does_not_leave_it() {
        let home = Place::Shard(shard_of(b"t"));
        let range = |start: &'static str, end: &'static str| {
            place_of(&KeyRange::new(start.into(), Some(end.into())).unwrap())
        };
        assert_eq!(place_of(&KeyRange::prefix("{t}")), home);
        assert_eq!(place_of(&KeyRange::prefix("a/{t}/b")), home);
        assert_eq!(range("{t}a", "{t}b"), home);
        assert_eq!(range("{t}a", "{t~"), home);
        assert_eq!(range("{t}a", "{t\x7f"), Place::Anywhere);
        assert_eq!(range("{t", "{t}"), Place::Anywhere);
        assert_eq!(range("{t}", "{u}"), Place::Anywhere);
        assert_eq!(place_of(&KeyRange::prefix("{t")), Place::Anywhere);
        assert_eq!(place_of(&KeyRange::prefix("{}{t}")), Place::Anywhere);
        assert_eq!(place_of(&KeyRange::new("{t}".into(), None).unwrap()), Place::Anywhere);
        assert_eq!(place_of(&KeyRange::all()), Place::Anywhere);
        assert_eq!(range("a", "a"), Place::Nowhere);
        assert_eq!(place_of(&KeyRange::single(&"plain".into())), Place::Shard(shard_of(b"plain")));
    }

    /// Bytes that are often braces, so that tags begin, end and are empty.
    fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
        let byte =
            prop_oneof![Just(b'{'), Just(b'}'), Just(b'a'), Just(b'~'), Just(0), Just(0xff), any::<u8>()];
        prop::collection::vec(byte, 0..most)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4_096, ..ProptestConfig::default() })]

        #[test]
        fn every_key_of_a_range_in_one_shard_is_in_that_shard(
            start in bytes(8),
            end in prop::option::of(bytes(8)),
            more in prop::collection::vec(bytes(4), 8),
            vectors in any::<bool>(),
        ) {
            let under = |part: Vec<u8>| if vectors { [TOGETHER, &part].concat() } else { part };
            let (start, end) = (under(start), end.map(under));
            let range = KeyRange { start: start.clone().into(), end: end.clone().map(Bytes::from) };
            let near = more.into_iter().flat_map(|tail| {
                [[start.clone(), tail.clone()].concat(), [end.clone().unwrap_or_default(), tail].concat()]
            });
            let place = place_of(&range);
            for key in near.filter(|key| range.contains(key) && !key.is_empty()) {
                prop_assert_ne!(place, Place::Nowhere);
                if let Place::Shard(shard) = place {
                    prop_assert_eq!(shard_of(&key), shard, "{:?} in {:?}", key, &range);
                }
            }
        }

        #[test]
        fn a_prefix_with_a_whole_tag_is_in_one_shard(tag in "[a-z]{1,4}", before in "[a-z]{0,3}", after in bytes(4)) {
            let key = [format!("{before}{{{tag}}}").into_bytes(), after].concat();
            let expected = Place::Shard(shard_for_key(tag.as_bytes(), SHARDS));
            prop_assert_eq!(place_of(&KeyRange::prefix(key)), expected);
        }
    }
}
