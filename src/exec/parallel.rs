//! Work over numbered blocks on several threads.

use super::ExecError;
use super::limits::Budget;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError, mpsc};
use std::thread::ScopedJoinHandle;

/// Runs `work` for each number below `count`, each thread with a state of its own; gives the states back.
pub(crate) fn fold<S: Send>(
    threads: usize,
    count: usize,
    budget: &Budget,
    make: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) -> Result<(), ExecError> + Sync,
) -> Result<Vec<S>, ExecError> {
    let next = AtomicUsize::new(0);
    let run = || {
        let mut state = make();
        while !budget.is_stopped() {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= count {
                break;
            }
            if let Err(error) = budget.check().and_then(|()| work(&mut state, i)) {
                budget.stop();
                return Err(error);
            }
        }
        Ok(state)
    };
    if threads <= 1 || count <= 1 {
        return Ok(vec![run()?]);
    }
    std::thread::scope(|scope| {
        // This thread is one of them: a thread less to start for a query of a millisecond.
        let workers: Vec<_> = (1..threads.min(count)).map(|_| scope.spawn(run)).collect();
        let own = catch_unwind(AssertUnwindSafe(run));
        if own.is_err() {
            budget.stop();
        }
        let mut states = Vec::with_capacity(workers.len() + 1);
        let mut failure = None;
        for result in std::iter::once(own).chain(workers.into_iter().map(ScopedJoinHandle::join)) {
            match result {
                Ok(Ok(state)) => states.push(state),
                Ok(Err(error)) => failure = failure.or(Some(error)),
                Err(_) => {
                    budget.stop();
                    failure = Some(ExecError::Panicked);
                }
            }
        }
        failure.map_or(Ok(states), Err)
    })
}

/// How many results may wait for those before them.
const AHEAD_A_THREAD: usize = 2;

/// Runs `work` for each number below `count`, and `consume` on this thread with the results in order, until it breaks.
/// Work goes ahead of what was consumed by a few blocks only.
pub(crate) fn ordered<T: Send>(
    threads: usize,
    count: usize,
    budget: &Budget,
    work: impl Fn(usize) -> Result<T, ExecError> + Sync,
    mut consume: impl FnMut(usize, T) -> Result<ControlFlow<()>, ExecError>,
) -> Result<(), ExecError> {
    if threads <= 1 || count <= 1 {
        for i in 0..count {
            budget.check()?;
            if consume(i, work(i)?)?.is_break() {
                break;
            }
        }
        return Ok(());
    }
    let threads = threads.min(count);
    let next = AtomicUsize::new(0);
    let gate = Gate { consumed: Mutex::new(0), changed: Condvar::new() };
    let (sender, receiver) = mpsc::channel::<(usize, Result<T, ExecError>)>();
    std::thread::scope(|scope| {
        let mut workers = Vec::with_capacity(threads);
        for _ in 0..threads {
            let sender = PanicReport(sender.clone());
            let (next, gate, work) = (&next, &gate, &work);
            workers.push(scope.spawn(move || {
                while !budget.is_stopped() {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i >= count || !gate.wait(i, threads * AHEAD_A_THREAD, budget) {
                        break;
                    }
                    if sender.0.send((i, budget.check().and_then(|()| work(i)))).is_err() {
                        break;
                    }
                }
            }));
        }
        drop(sender);
        let result = (|| {
            let mut waiting = std::collections::BTreeMap::new();
            let mut at = 0;
            while at < count {
                let Ok((i, result)) = receiver.recv() else { return Err(ExecError::Panicked) };
                waiting.insert(i, result?);
                while let Some(result) = waiting.remove(&at) {
                    if consume(at, result)?.is_break() {
                        return Ok(());
                    }
                    at += 1;
                    gate.advance(at);
                }
            }
            Ok(())
        })();
        budget.stop();
        gate.advance(count);
        let panicked = workers.into_iter().filter_map(|worker| worker.join().err()).count() > 0;
        if panicked { Err(ExecError::Panicked) } else { result }
    })
}

/// Sends an error where its thread panics, so that nobody waits for the result that never comes.
struct PanicReport<T>(mpsc::Sender<(usize, Result<T, ExecError>)>);

impl<T> Drop for PanicReport<T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The receiver may be gone already.
            let _ = self.0.send((usize::MAX, Err(ExecError::Panicked)));
        }
    }
}

/// Holds threads back that are too far ahead.
struct Gate {
    consumed: Mutex<usize>,
    changed: Condvar,
}

impl Gate {
    /// Waits until `i` is near; false where the work is over.
    fn wait(&self, i: usize, ahead: usize, budget: &Budget) -> bool {
        let consumed = self.consumed.lock().unwrap_or_else(PoisonError::into_inner);
        let too_far = |consumed: &mut usize| i >= consumed.saturating_add(ahead) && !budget.is_stopped();
        drop(self.changed.wait_while(consumed, too_far).unwrap_or_else(PoisonError::into_inner));
        !budget.is_stopped()
    }

    fn advance(&self, to: usize) {
        *self.consumed.lock().unwrap_or_else(PoisonError::into_inner) = to;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Limits;

    #[test]
    fn results_come_in_order() {
        for threads in [1, 4] {
            let budget = Budget::new(Limits::default(), None);
            let mut seen = Vec::new();
            let done = ordered(
                threads,
                100,
                &budget,
                |i| Ok(i * 2),
                |i, n| {
                    seen.push((i, n));
                    Ok(if i == 50 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
                },
            );
            assert!(done.is_ok());
            assert_eq!(seen, (0..=50).map(|i| (i, i * 2)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn errors_end_it() {
        let fail = |i: usize| if i == 7 { Err(ExecError::Cancelled) } else { Ok(()) };
        for threads in [1, 4] {
            let budget = Budget::new(Limits::default(), None);
            let done = ordered(threads, 100, &budget, fail, |_, ()| Ok(ControlFlow::Continue(())));
            assert!(matches!(done, Err(ExecError::Cancelled)));
            let budget = Budget::new(Limits::default(), None);
            assert!(fold(threads, 100, &budget, || (), |(), i| fail(i)).is_err());
        }
    }

    #[test]
    fn a_panic_is_an_error() {
        let budget = Budget::new(Limits::default(), None);
        let work = |i: usize| if i == 3 { panic!("on purpose") } else { Ok(()) };
        let done = ordered(2, 100, &budget, work, |_, ()| Ok(ControlFlow::Continue(())));
        assert!(matches!(done, Err(ExecError::Panicked)));
    }
}
