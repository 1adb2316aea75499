//! Drives one claimed turn, whatever its driver does.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;

use super::shared::{Run, Running, Shared};
use super::under_way::Sending;
use crate::product::TurnContext;
use crate::reporter::Severity;
use crate::store::{ClaimedTurn, Phase, StoreError};
use crate::turn::control::{Control, Orders};
use crate::turn::places::Place;
use crate::turn::{Driven, Driver};

/// Drives one claimed turn. A panic in it ends this claim, not the process: its lease
/// runs out, the next claim goes on, and the last one allowed ends the turn.
pub(super) async fn drive(
    shared: Arc<Shared>,
    run: Run,
    claimed: ClaimedTurn,
    place: Option<Place>,
) {
    let (turn, generation) = (claimed.turn.id, claimed.lease.generation);
    let control = Control::new(
        generation,
        Orders {
            cancel: claimed.turn.cancel_requested_at().is_some(),
            ..Orders::default()
        },
        place,
    );
    let running = Running {
        run,
        control: control.clone(),
        sending: Sending::default(),
    };
    shared.running().insert(turn, running);
    let live = shared.front.live.turn(turn);
    live.start(generation);
    shared.front.relay.started();
    let is_over = matches!(claimed.turn.phase(), Phase::Finished { .. });
    let context = TurnContext::new(claimed.conversation.clone(), &claimed.turn);
    let (product, asked) = shared.product.ask(&context, is_over).await;
    let driver = |claimed| {
        Driver::new(
            Arc::clone(&shared.front),
            Arc::clone(&shared.workshop),
            Arc::clone(&product),
            claimed,
            control.clone(),
            Arc::clone(&live),
        )
    };
    let first = driver(claimed.clone());
    let driving = async {
        match &asked {
            // What there is of a turn that has ended is settled without its product's word.
            Err(error) if !is_over => first.fail(&error.to_string()).await,
            _ => first.run().await,
        }
    };
    if let Err(error) = &asked {
        let context = [
            ("action", "product".into()),
            ("turn", turn.to_string().into()),
        ];
        shared
            .front
            .telemetry
            .report(error, Severity::Error, context);
    }
    // On the heap: the future of a whole turn is large.
    match Box::pin(AssertUnwindSafe(driving).catch_unwind()).await {
        Ok(Driven::Finished) => {}
        Ok(Driven::Lost | Driven::Released) => live.leave(),
        Err(_) => {
            let error = StoreError::Corrupt {
                table: "turns",
                id: turn.to_string(),
                detail: "the driver panicked".to_owned(),
            };
            shared.front.telemetry.report(
                &error,
                Severity::Error,
                [("turn", turn.to_string().into())],
            );
            // Given back, the claim would not count, and the turn would panic again at once, for ever.
            if claimed.turn.attempts >= shared.workshop.options.limits.attempts {
                let failing = driver(claimed).fail("what drives the turn panicked");
                let _ = AssertUnwindSafe(failing).catch_unwind().await;
            }
            live.leave();
        }
    }
    let mut running = shared.running();
    // The turn may have been claimed anew here meanwhile.
    if running
        .get(&turn)
        .is_some_and(|running| running.control.generation() == generation)
    {
        running.remove(&turn);
    }
}
