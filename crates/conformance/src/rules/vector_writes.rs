//! Writes of vectors: their order, and those with an idempotency key.

use std::{future::poll_fn, sync::Arc, task::Poll};

use norikv_core::{ErrorKind, Namespaced, Store, StoreRef, VectorIndex, VectorInsert, VectorSearch};

use crate::{
    Check, Setup, World,
    ask::{call, later, newest, put},
    ask_vectors::{
        NAME, create, create_once, delete_once, delete_vector, drop_index, drop_once, found, indexes, insert,
        insert_all, insert_once, inserting, near, plane, search, vector,
    },
    refused,
};

/// Calls on one vector take effect in the order in which they are first polled, also right after a write.
pub async fn calls_on_one_vector_take_effect_in_the_order_of_their_first_poll(store: &dyn Store) -> Check {
    create(store, plane()).await?;
    for round in 0..50u8 {
        insert(store, "before", &[f32::from(round), 0.0]).await?;
        let mut calls: Vec<_> = (0..10u8)
            .map(|n| store.vector_insert(inserting(&[("a", &[f32::from(round), f32::from(n)])]), call()))
            .collect();
        // Made in one order, begun in the other.
        calls.reverse();
        let mut versions = Vec::new();
        let mut waiting = Vec::new();
        for (at, mut call) in calls.into_iter().enumerate() {
            let begun = poll_fn(|cx| match call.as_mut().poll(cx) {
                Poll::Ready(answer) => Poll::Ready(Some(answer)),
                Poll::Pending => Poll::Ready(None),
            });
            match begun.await {
                Some(answer) => versions.push((at, answer?)),
                None => waiting.push((at, call)),
            }
        }
        // Who is polled first from here on has no part in the order.
        waiting.reverse();
        let answers = waiting.into_iter().map(async |(at, call)| Check::Ok((at, call.await?)));
        for answer in futures_util::future::join_all(answers).await {
            versions.push(answer?);
        }
        versions.sort_unstable();
        assert!(versions.is_sorted_by(|a, b| a.1 < b.1), "round {round}: {versions:?}");
        assert_eq!(vector(store, "a").await?, Some(vec![f32::from(round), 0.0]), "round {round}");
        let (deleted, none, inserted, read, deleted_again) = tokio::join!(
            delete_vector(store, "a"),
            vector(store, "a"),
            insert(store, "a", &[1.0, 1.0]),
            vector(store, "a"),
            delete_vector(store, "a"),
        );
        inserted?;
        assert!(deleted? && deleted_again?, "round {round}");
        assert_eq!((none?, read?), (None, Some(vec![1.0, 1.0])), "round {round}");
        insert(store, "a", &[2.0, 2.0]).await?;
    }
    Ok(())
}

/// A repeat of an insert answers the recorded version and changes nothing, also after other writes.
pub async fn a_repeated_insert_answers_the_recorded_version(store: &dyn Store) -> Check {
    create(store, plane()).await?;
    let first = insert_once(store, "a", &[1.0, 2.0], "key").await?;
    assert_eq!(insert_once(store, "a", &[1.0, 2.0], "key").await?, first);
    let second = insert(store, "a", &[3.0, 4.0]).await?;
    assert_eq!(second, later(first, 1));
    assert_eq!(insert_once(store, "a", &[1.0, 2.0], "key").await?, first);
    assert_eq!(vector(store, "a").await?, Some(vec![3.0, 4.0]));
    assert!(delete_vector(store, "a").await?);
    assert_eq!(insert_once(store, "a", &[1.0, 2.0], "key").await?, first);
    assert_eq!(vector(store, "a").await?, None);
    assert_eq!(newest(store).await?, later(first, 2));
    // Also when the index is no more, or another.
    drop_index(store, NAME).await?;
    assert_eq!(insert_once(store, "a", &[1.0, 2.0], "key").await?, first);
    create(store, VectorIndex { dimensions: 3, ..plane() }).await?;
    assert_eq!(insert_once(store, "a", &[1.0, 2.0], "key").await?, first);
    assert_eq!(search(store, near(&[1.0, 2.0, 3.0], 10)).await?, []);
    refused(insert_once(store, "a", &[1.0, 2.0], "new").await, ErrorKind::VectorDimensionMismatch)?;
    insert_once(store, "a", &[1.0, 2.0, 3.0], "new").await?;
    Ok(())
}

/// Repeats of creations, drops and deletes answer what the first answered, also where that is `false`.
pub async fn other_repeated_vector_writes_answer_what_the_first_answered(store: &dyn Store) -> Check {
    for round in 0..2 {
        let key = |what: &str| format!("{what} {round}");
        assert!(create_once(store, plane(), Some(&key("create"))).await?);
        assert!(create_once(store, plane(), Some(&key("create"))).await?);
        assert!(!create_once(store, plane(), Some(&key("there"))).await?);
        assert!(!delete_once(store, "a", Some(&key("nothing"))).await?);
        insert(store, "a", &[1.0, 2.0]).await?;
        assert!(!delete_once(store, "a", Some(&key("nothing"))).await?);
        assert!(delete_once(store, "a", Some(&key("delete"))).await?);
        insert(store, "a", &[1.0, 2.0]).await?;
        assert!(delete_once(store, "a", Some(&key("delete"))).await?);
        assert_eq!(found(store, near(&[1.0, 2.0], 10)).await?, ["a"]);
        assert!(drop_once(store, NAME, Some(&key("drop"))).await?);
        assert!(delete_once(store, "a", Some(&key("delete"))).await?);
        assert!(!drop_once(store, NAME, Some(&key("not there"))).await?);
        assert!(create_once(store, plane(), Some(&key("create"))).await?);
        assert_eq!(indexes(store).await?, [], "the creation happened once");
        assert!(create(store, plane()).await?);
        assert!(!create_once(store, plane(), Some(&key("there"))).await?);
        assert!(drop_once(store, NAME, Some(&key("drop"))).await?);
        assert!(!drop_once(store, NAME, Some(&key("not there"))).await?);
        assert_eq!(indexes(store).await?.len(), 1, "the drop happened once");
        assert!(drop_index(store, NAME).await?);
    }
    Ok(())
}

/// An idempotency key belongs to one write on vectors: any other is refused, and changes nothing.
pub async fn an_idempotency_key_with_another_vector_write_is_refused(store: &dyn Store) -> Check {
    create_once(store, plane(), Some("create")).await?;
    insert_once(store, "a", &[1.0, 2.0], "insert").await?;
    insert(store, "b", &[1.0, 2.0]).await?;
    delete_once(store, "b", Some("delete")).await?;
    drop_once(store, "none", Some("drop")).await?;
    let before = newest(store).await?;
    for key in ["create", "insert", "delete", "drop"] {
        let kind = ErrorKind::InvalidArgument;
        let other = VectorIndex { namespace: "other".into(), ..plane() };
        refused(create_once(store, other, Some(key)).await, kind)?;
        refused(drop_once(store, "other", Some(key)).await, kind)?;
        refused(delete_once(store, "a", Some(key)).await, kind)?;
        refused(insert_once(store, "a", &[1.0, 2.5], key).await, kind)?;
        refused(insert_once(store, "c", &[1.0, 2.0], key).await, kind)?;
        let two = inserting(&[("a", &[1.0, 2.0]), ("c", &[1.0, 2.0])]);
        refused(insert_all(store, VectorInsert { idempotency_key: Some(key.into()), ..two }).await, kind)?;
    }
    assert_eq!(newest(store).await?, before);
    // A refused write records nothing.
    refused(insert_once(store, "a", &[1.0], "refused").await, ErrorKind::VectorDimensionMismatch)?;
    insert_once(store, "a", &[1.0, 3.0], "refused").await?;
    Ok(())
}

/// Repeats of a write on vectors at the same time are one write.
pub async fn repeated_vector_writes_at_the_same_time_are_one_write(store: &dyn Store) -> Check {
    let before = newest(store).await?;
    for created in
        futures_util::future::join_all((0..20).map(|_| create_once(store, plane(), Some("create")))).await
    {
        assert!(created?);
    }
    let repeats = (0..20).map(|_| insert_once(store, "a", &[1.0, 2.0], "insert"));
    for version in futures_util::future::join_all(repeats).await {
        assert_eq!(version?, later(before, 2));
    }
    for deleted in
        futures_util::future::join_all((0..20).map(|_| delete_once(store, "a", Some("delete")))).await
    {
        assert!(deleted?);
    }
    assert_eq!(put(store, "k", "v").await?, later(before, 4));
    for dropped in futures_util::future::join_all((0..20).map(|_| drop_once(store, NAME, Some("drop")))).await
    {
        assert!(dropped?);
    }
    Ok(())
}

/// Parts of a store have indexes of their own, and see none of each other's.
pub async fn parts_of_a_store_have_vector_indexes_of_their_own(world: &dyn World) -> Check {
    let fixture = world.open(Setup::default()).await?;
    let whole = &*fixture.store;
    let part = |prefix: &'static [u8]| Namespaced::new(StoreRef::clone(&fixture.store), prefix);
    let (a, b, nested) = (part(b"a/")?, part(b"b/")?, Namespaced::new(Arc::new(part(b"a/")?), &b"b/"[..])?);
    let parts: [(&dyn Store, f32); 4] = [(whole, 0.0), (&a, 1.0), (&b, 2.0), (&nested, 3.0)];
    for (store, x) in parts {
        assert!(create(store, plane()).await?);
        insert(store, "id", &[x, 0.0]).await?;
    }
    for (store, x) in parts {
        assert_eq!(vector(store, "id").await?, Some(vec![x, 0.0]));
        let request = VectorSearch { include_vectors: true, ..near(&[0.0, 0.0], 10) };
        let matches = search(store, request).await?;
        assert_eq!(matches.len(), 1);
        assert_eq!(matches[0].vector, Some(vec![x, 0.0]));
    }
    let names = async |store| {
        let all = indexes(store).await?;
        Check::Ok(all.into_iter().map(|info| info.index.namespace).collect::<Vec<_>>())
    };
    assert_eq!(names(whole).await?, ["a/b/index", "a/index", "b/index", "index"]);
    assert_eq!(names(&a).await?, ["b/index", "index"]);
    assert_eq!(names(&nested).await?, ["index"]);
    assert!(drop_index(&a, NAME).await?);
    refused(vector(&a, "id").await, ErrorKind::VectorIndexNotFound)?;
    assert_eq!(vector(&b, "id").await?, Some(vec![2.0, 0.0]));
    assert_eq!(vector(&nested, "id").await?, Some(vec![3.0, 0.0]));
    Ok(fixture.owner.close().await?)
}

/// A part of a store whose prefix is not text has no vector indexes, since their names are text; and says so.
pub async fn a_part_whose_prefix_is_not_text_has_no_vector_indexes(world: &dyn World) -> Check {
    let fixture = world.open(Setup::default()).await?;
    let part = Namespaced::new(StoreRef::clone(&fixture.store), &b"\xff"[..])?;
    create(&*fixture.store, plane()).await?;
    let before = newest(&*fixture.store).await?;
    let kind = ErrorKind::InvalidArgument;
    refused(create(&part, plane()).await, kind)?;
    refused(insert(&part, "a", &[1.0, 2.0]).await, kind)?;
    refused(search(&part, near(&[1.0, 2.0], 1)).await, kind)?;
    refused(vector(&part, "a").await, kind)?;
    refused(delete_vector(&part, "a").await, kind)?;
    refused(drop_index(&part, NAME).await, kind)?;
    assert_eq!(indexes(&part).await?, []);
    assert_eq!(newest(&*fixture.store).await?, before);
    Ok(fixture.owner.close().await?)
}

/// A store that is opened again has every index and every vector, finds them at once, and remembers idempotency keys.
pub async fn a_store_that_is_opened_again_has_its_vectors_and_finds_them(world: &dyn World) -> Check {
    let mut fixture = world.open(Setup::default()).await?;
    create(&*fixture.store, plane()).await?;
    create(&*fixture.store, VectorIndex { namespace: "dropped".into(), ..plane() }).await?;
    drop_index(&*fixture.store, "dropped").await?;
    let mut expected = Vec::new();
    for round in 0..3u8 {
        let store = &*fixture.store;
        for n in 0..20u8 {
            let id = format!("{round} {n:02}");
            insert(store, &id, &[f32::from(round * 20 + n), 0.0]).await?;
            expected.push(id);
        }
        let once = insert_once(store, "once", &[1e6, f32::from(round)], &round.to_string()).await?;
        assert!(delete_vector(store, &expected.remove(usize::from(round) * 3)).await?);
        let before = indexes(store).await?;
        fixture = world.reopen(fixture).await?;
        let store = &*fixture.store;
        let found = found(store, near(&[0.0, 0.0], 1_000)).await?;
        assert_eq!(found[..found.len() - 1], expected);
        assert_eq!(found.last().map(String::as_str), Some("once"));
        let repeated = insert_once(store, "once", &[1e6, f32::from(round)], &round.to_string()).await?;
        assert_eq!(repeated, once);
        let after = indexes(store).await?;
        assert_eq!(after.len(), 1);
        assert_eq!((&after[0].index, after[0].vectors), (&before[0].index, before[0].vectors));
        assert_eq!(after[0].created, before[0].created);
    }
    Ok(fixture.owner.close().await?)
}
