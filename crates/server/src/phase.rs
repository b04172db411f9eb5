use tokio::sync::watch;

/// Where a server is in its life. It only ever goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Takes connections and calls.
    Serving,
    /// Takes neither, and finishes the calls under way.
    Draining,
    /// Lets go of everything at once.
    Ended,
}

/// How the tasks of a server learn its phase. The server has ended when none of these is left.
pub(crate) type PhaseWatch = watch::Receiver<Phase>;

/// Waits until the server has come to `phase` or past it, or is gone.
pub(crate) async fn reached(mut watch: PhaseWatch, phase: Phase) {
    // An error means that the server was dropped, which is past every phase.
    let _ = watch.wait_for(|now| *now >= phase).await;
}
