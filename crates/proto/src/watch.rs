//! Watches on the wire, both ways.

use norikv_core::{Error, Event, EventKind, EventReason, Result, Version, Watch, WatchBatch};

use crate::{
    convert::{entry_from_wire, entry_to_wire, range_from_wire},
    ext,
};

/// The watch of a request.
///
/// # Errors
/// `InvalidArgument` for a range that ends before it starts.
pub fn watch_from_wire(request: ext::WatchRequest) -> Result<Watch> {
    Ok(Watch {
        range: range_from_wire(request.range)?,
        from: request.from.map(Version::from),
        prev_entry: request.prev_entry,
        progress: request.progress,
        puts: !request.no_puts,
        deletes: !request.no_deletes,
    })
}

/// A watch for the wire.
#[must_use]
pub fn watch_to_wire(watch: Watch) -> ext::WatchRequest {
    ext::WatchRequest {
        range: Some(watch.range.into()),
        from: watch.from.map(Into::into),
        prev_entry: watch.prev_entry,
        progress: watch.progress,
        no_puts: !watch.puts,
        no_deletes: !watch.deletes,
    }
}

/// An event for the wire.
#[must_use]
pub fn event_to_wire(event: Event) -> ext::Event {
    let kind = match event.kind {
        EventKind::Put => ext::EventKind::Put,
        EventKind::Delete => ext::EventKind::Delete,
    };
    let reason = match event.reason {
        EventReason::Write => ext::EventReason::Unspecified,
        EventReason::Expired => ext::EventReason::Expired,
        EventReason::Lease => ext::EventReason::Lease,
    };
    ext::Event {
        kind: kind.into(),
        reason: reason.into(),
        entry: Some(entry_to_wire(event.entry)),
        prev_entry: event.prev_entry.map(entry_to_wire),
    }
}

/// An event from the wire.
///
/// # Errors
/// `Internal` for an event that is none.
pub fn event_from_wire(event: ext::Event) -> Result<Event> {
    let kind = match event.kind() {
        ext::EventKind::Put => EventKind::Put,
        ext::EventKind::Delete => EventKind::Delete,
        ext::EventKind::Unspecified => return Err(confused()),
    };
    let reason = match event.reason() {
        ext::EventReason::Unspecified => EventReason::Write,
        ext::EventReason::Expired => EventReason::Expired,
        ext::EventReason::Lease => EventReason::Lease,
    };
    Ok(Event {
        kind,
        reason,
        entry: entry_from_wire(event.entry.ok_or_else(confused)?, None),
        prev_entry: event.prev_entry.map(|entry| entry_from_wire(entry, None)),
    })
}

/// A whole batch for the wire.
#[must_use]
pub fn batch_to_wire(batch: WatchBatch) -> ext::WatchBatch {
    ext::WatchBatch {
        version: Some(batch.version.into()),
        events: batch.events.into_iter().map(event_to_wire).collect(),
        more: false,
    }
}

/// A batch, or a part of one, from the wire.
///
/// # Errors
/// `Internal` for one without a version, or with an event that is none.
pub fn batch_from_wire(batch: ext::WatchBatch) -> Result<WatchBatch> {
    Ok(WatchBatch {
        version: batch.version.map(Version::from).ok_or_else(confused)?,
        events: batch.events.into_iter().map(event_from_wire).collect::<Result<_>>()?,
    })
}

fn confused() -> Error {
    Error::internal("the server sent an event that is none; do client and server fit together?")
}

#[cfg(test)]
mod tests {
    use norikv_core::{Entry, KeyRange};

    use super::*;

    #[test]
    fn a_watch_survives_the_wire() {
        for (puts, deletes) in [(true, false), (false, true)] {
            let watch = Watch {
                from: Some(Version::new(1, 3)),
                prev_entry: puts,
                progress: deletes,
                puts,
                deletes,
                ..Watch::new(KeyRange::prefix("k"))
            };
            let back = watch_from_wire(watch_to_wire(watch.clone())).unwrap();
            assert_eq!(format!("{back:?}"), format!("{watch:?}"));
        }
    }

    #[test]
    fn a_batch_survives_the_wire() {
        let version = Version::new(1, 8);
        let entry = Entry {
            key: "k".into(),
            value: "v".into(),
            version,
            create_version: version,
            generation: 1,
            lease: None,
            expires_at: Some(9),
        };
        let event = |kind, reason, prev_entry| Event { kind, reason, entry: entry.clone(), prev_entry };
        let batch = WatchBatch {
            version,
            events: vec![
                event(EventKind::Put, EventReason::Write, None),
                event(EventKind::Delete, EventReason::Expired, Some(entry.clone())),
                event(EventKind::Delete, EventReason::Lease, None),
            ],
        };
        assert_eq!(batch_from_wire(batch_to_wire(batch.clone())).unwrap(), batch);
    }

    #[test]
    fn an_event_that_is_none_is_refused() {
        assert!(event_from_wire(ext::Event::default()).is_err());
        assert!(batch_from_wire(ext::WatchBatch::default()).is_err());
    }
}
