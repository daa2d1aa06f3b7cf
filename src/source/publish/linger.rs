//! When records wait for others to go with them, and when they go at once.
//!
//! librdkafka has one `linger.ms` for the life of a producer, and none is right for a source. With 0 the broker's thread
//! spins under load: while a request is on its way, and with idempotence there is one for a partition, it asks again and
//! again whether the records behind it may go. With more every record of a quiet source is late. So `linger.ms` is long,
//! which under load gives full batches and a thread that sleeps; and while the source has nothing more to hand on, a
//! flush is under way, during which librdkafka lets nothing wait.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use rdkafka::producer::ThreadedProducer;

use super::{Reports, handle};

/// `linger.ms` while there is more to hand on: longer than what is under way takes to be acknowledged, so that nothing in
/// the queue is older. It bounds what a record of a rare topic waits.
pub(super) const WHILE_BEHIND_MS: &str = "250";

/// After so long a flush looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(5);

/// Lets records go at once, from a thread of its own, since a flush waits.
pub(super) struct Linger {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Something was handed on that should go at once.
    is_wanted: bool,
    /// The source has more to hand on.
    is_behind: bool,
    is_over: bool,
}

impl State {
    /// A flush goes on while something is under way and nothing follows.
    fn flushed(&mut self, is_done: bool) {
        self.is_wanted |= !is_done && !self.is_behind;
    }
}

impl Linger {
    /// For the records of `producer`.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(super) fn start(producer: ThreadedProducer<Reports>) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let flushing = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("flush".to_owned())
            .spawn(move || flushing.flush_when_wanted(|| handle::flush(&producer, LOOK)))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Whether the source has more at hand, for which what was handed on may wait; else it goes at once.
    pub(super) fn more_follows(&self, is_so: bool) {
        self.shared.state().is_behind = is_so;
        if !is_so {
            self.hurry();
        }
    }

    /// Whatever follows, what was handed on goes now.
    pub(super) fn hurry(&self) {
        self.shared.tell(|state| state.is_wanted = true);
    }
}

impl Drop for Linger {
    fn drop(&mut self) {
        self.shared.tell(|state| state.is_over = true);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that flushes panicked");
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes who waits for that.
    fn tell(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_one();
    }

    /// Until it is over: calls `flush`, which says whether nothing is under way any more, when that is wanted, and again
    /// for as long as something is and nothing follows.
    fn flush_when_wanted(&self, mut flush: impl FnMut() -> bool) {
        loop {
            let idle = |state: &mut State| !state.is_wanted && !state.is_over;
            let state = self.changed.wait_while(self.state(), idle);
            let mut state = state.unwrap_or_else(PoisonError::into_inner);
            if state.is_over {
                return;
            }
            // Before the flush: what is handed on meanwhile wants another.
            state.is_wanted = false;
            drop(state);
            let is_done = flush();
            self.state().flushed(is_done);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often is flushed until `flush`, which gets the state and the flush's number, says that it is over.
    fn flushes(mut flush: impl FnMut(&mut State, u32) -> bool) -> u32 {
        let (shared, mut count) = (Shared::default(), 0);
        shared.tell(|state| state.is_wanted = true);
        shared.flush_when_wanted(|| {
            count += 1;
            flush(&mut shared.state(), count)
        });
        count
    }

    #[test]
    fn a_flush_goes_on_while_something_is_under_way_and_nothing_follows() {
        let count = flushes(|state, number| {
            state.is_over = number == 3;
            false
        });
        assert_eq!(count, 3);
    }

    #[test]
    fn what_is_handed_on_during_a_flush_gets_another() {
        let count = flushes(|state, number| {
            (state.is_wanted, state.is_over) = (true, number == 2);
            true
        });
        assert_eq!(count, 2);
    }

    #[test]
    fn a_flush_does_not_go_on_when_it_is_done_or_more_follows() {
        for (is_done, is_behind, goes_on) in
            [(false, false, true), (true, false, false), (false, true, false), (true, true, false)]
        {
            let mut state = State { is_behind, ..State::default() };
            state.flushed(is_done);
            assert_eq!(state.is_wanted, goes_on, "{is_done} {is_behind}");
        }
    }
}
