use std::time::Duration;

use norikv_core::Store;
use tokio::{runtime, time::timeout};

use crate::{Check, Setup, World};

/// Longer than any rule takes.
const LONGEST: Duration = Duration::from_secs(60);

/// Runs a rule on a new store of a world.
///
/// # Errors
/// If the store breaks the rule. A failed assertion panics, as in any test.
pub fn run_on_store(world: &dyn World, rule: impl AsyncFnOnce(&dyn Store) -> Check) -> Check {
    run_on_world(world, async |world| {
        let fixture = world.open(Setup::default()).await?;
        rule(&*fixture.store).await?;
        fixture.owner.close().await?;
        Ok(())
    })
}

/// Runs a rule that opens its stores itself, on a runtime of its own. Where the world does not run, nothing is done.
///
/// # Errors
/// If the store breaks the rule, or takes too long. A failed assertion panics, as in any test.
pub fn run_on_world(world: &dyn World, rule: impl AsyncFnOnce(&dyn World) -> Check) -> Check {
    if !world.runs() {
        return Ok(());
    }
    let Ok(runtime) = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() else {
        return Err("no runtime".into());
    };
    let done = runtime.block_on(async { timeout(LONGEST, rule(world)).await });
    runtime.shutdown_timeout(Duration::from_secs(1));
    done.unwrap_or_else(|_| Err("the rule did not come to an end".into()))
}
