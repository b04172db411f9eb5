//! Any sequence of calls.

use std::env;

use crate::{
    Check, Setup, World,
    reference::{Calls, Reference},
};

/// The variable that has the seed of a run that is to be repeated.
const SEED: &str = "NORIKV_SEED";
const CALLS: usize = 400;

fn seed() -> u64 {
    env::var(SEED).ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..))
}

/// Random calls one after the other, held against a model in memory.
async fn run(world: &dyn World, rounds: usize) -> Check {
    let seed = seed();
    let fixture = world.open(Setup::default()).await?;
    let mut calls = Calls::new(seed);
    let mut reference = Reference::new(fixture.revision);
    let mut fixture = fixture;
    for round in 0..rounds {
        if round > 0 {
            fixture = world.reopen(fixture).await?;
        }
        for number in 0..CALLS {
            let call = calls.next(&reference);
            let answer = call.ask(&*fixture.store).await;
            reference.learn(&answer);
            let expected = reference.answer(&call);
            assert_eq!(
                answer, expected,
                "call {number} of round {round}: {call:?}; {SEED}={seed} repeats it"
            );
        }
    }
    Ok(fixture.owner.close().await?)
}

/// Any sequence of calls is answered exactly as the model says.
pub async fn any_sequence_of_calls_is_answered_as_the_model_says(world: &dyn World) -> Check {
    run(world, 1).await
}

/// The same when the store is closed and opened again in between.
pub async fn any_sequence_of_calls_is_answered_as_the_model_says_across_reopening(
    world: &dyn World,
) -> Check {
    run(world, 3).await
}
