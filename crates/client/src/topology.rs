//! What goes on beside the calls: following the cluster's view, and learning what a server takes.

use std::{future::poll_fn, pin::pin, sync::Arc, time::Duration};

use futures_util::future::{Either, select};
use norikv_core::{Backoff, ClusterView, ErrorKind, MaybeSend};
use norikv_proto::{ext, status_from_wire, v1};
use prost::Message;

use crate::{
    core::Core,
    node::Node,
    transport::{Failed, Link, MessageStream, Transport},
};

const WATCH: &str = "/norikv.v1.Meta/WatchCluster";
pub(crate) const STATUS: &str = "/norikv.ext.v1.Store/Status";

/// How long is waited between attempts to follow the view.
const BACKOFF: Backoff = Backoff {
    initial: Duration::from_millis(100),
    max: Duration::from_secs(5),
    multiplier: 2.0,
    jitter: true,
};
/// A server that has no view to give may have one after an update, and one node may become several.
const NO_VIEW: Duration = Duration::from_secs(60);
const LIMITS_TIMEOUT: Duration = Duration::from_secs(5);

/// Follows the cluster's view, at one node after the other, until the store closes.
pub(crate) async fn follow<T: Transport>(core: Arc<Core<T>>) {
    answered(&core).await;
    let mut failures = 0_u32;
    let mut turn = 0_u32;
    while !core.is_closed() {
        let Some(node) = core.with(|state| state.router.pick(0, turn)) else { return };
        let wait = match until_closed(&core, follow_at(&core, &node, &mut failures)).await {
            None => return,
            Some(End::NoView) => NO_VIEW,
            Some(End::Broken) => {
                failures = failures.saturating_add(1);
                turn = turn.wrapping_add(1);
                BACKOFF.delay(failures)
            }
        };
        drop(node);
        if core.sleep(wait).await.is_err() {
            return;
        }
    }
}

enum End {
    /// The server has no view to follow: the configured nodes are all there is.
    NoView,
    Broken,
}

async fn follow_at<T: Transport>(core: &Arc<Core<T>>, node: &Arc<Node<T::Link>>, failures: &mut u32) -> End {
    let known = core.view.borrow().clone();
    let message = v1::ClusterView::from(ClusterView { epoch: known.epoch, ..ClusterView::default() });
    let mut views = match node.link.stream(WATCH, message.encode_to_vec().into(), None).await {
        Ok(views) => views,
        Err(failed) => return end_of(core, node, &failed),
    };
    loop {
        match poll_fn(|cx| views.poll_next(cx)).await {
            Ok(Some(message)) => {
                let Ok(view) = v1::ClusterView::decode(message) else { return End::Broken };
                *failures = 0;
                let view = ClusterView::from(view);
                let alone = view.nodes.len() == 1;
                core.with(|state| state.router.apply(&view, node.index, core.link()));
                core.view.send_if_modified(|known| {
                    let changed = *known != view;
                    *known = view;
                    changed
                });
                // Of one node there is nothing to follow; whether it is still one is asked now and then.
                if T::SCARCE && alone {
                    return End::NoView;
                }
            }
            Ok(None) => return End::Broken,
            Err(failed) => return end_of(core, node, &failed),
        }
    }
}

fn end_of<T: Transport>(core: &Arc<Core<T>>, node: &Node<T::Link>, failed: &Failed) -> End {
    match failed {
        // UNIMPLEMENTED and INTERNAL: how servers without a view say so.
        Failed::Answered(failure) if matches!(failure.code, 12 | 13) => End::NoView,
        Failed::NotSent(error) | Failed::Lost(error) if error.kind() == ErrorKind::Connection => {
            let why = error.message().to_owned();
            core.with(|state| {
                if let Some(place) = state.place(node.index) {
                    place.unreachable(&why);
                }
            });
            End::Broken
        }
        _ => End::Broken,
    }
}

/// Asks a server for its limits, once per connection.
pub(crate) async fn learn_limits<T: Transport>(core: Arc<Core<T>>, node: Arc<Node<T::Link>>) {
    answered(&core).await;
    let ask = node.link.unary(STATUS, ext::StatusRequest {}.encode_to_vec().into(), Some(LIMITS_TIMEOUT));
    let Some(Ok(answer)) = until_closed(&core, ask).await else { return };
    let Ok(status) = ext::StatusResponse::decode(answer) else { return };
    let limits = status_from_wire(status).limits;
    core.with(|state| {
        if let Some(place) = state.place(node.index) {
            place.learn_limits(limits);
        }
    });
}

/// Lets the answer that this is asked after get to its caller first.
async fn answered<T: Transport>(core: &Core<T>) {
    // The store may close meanwhile; who asks finds out.
    let _ = core.sleep(Duration::ZERO).await;
}

/// What the future answers, or `None` once the store closes.
async fn until_closed<T: Transport, R>(
    core: &Core<T>,
    future: impl Future<Output = R> + MaybeSend,
) -> Option<R> {
    let mut closing = core.closing();
    let closed = pin!(async {
        let _ = closing.wait_for(|closed| *closed).await;
    });
    match select(closed, pin!(future)).await {
        Either::Left(_) => None,
        Either::Right((result, _)) => Some(result),
    }
}
