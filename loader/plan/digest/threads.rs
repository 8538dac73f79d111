//! Work on pieces of memory by as many threads as the machine has CPUs.

use std::cmp::Reverse;
use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::vec::Vec;

/// Below this a thread costs more than it saves.
const WORTH_A_THREAD: usize = 1 << 20;

/// What `work` makes of each of the `pieces`, in their order.
pub fn map<T: Send>(pieces: &[&[u8]], work: impl Fn(&[u8]) -> T + Sync) -> Vec<T> {
    let total: usize = pieces.iter().map(|piece| piece.len()).sum();
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let helpers = cpus.min(total / WORTH_A_THREAD).min(pieces.len()).saturating_sub(1);

    // The longest first, so that no thread starts a long piece when the others are done.
    let mut order: Vec<usize> = (0..pieces.len()).collect();
    order.sort_by_key(|&index| Reverse(pieces[index].len()));
    let next = AtomicUsize::new(0);
    let take_turns = || {
        let mut done = Vec::new();
        while let Some(&index) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push((index, work(pieces[index])));
        }
        done
    };
    let mut done = thread::scope(|scope| {
        // A thread that cannot be started is one helper less: this thread works through the
        // whole list if need be.
        let helpers: Vec<_> = (0..helpers)
            .filter_map(|_| thread::Builder::new().spawn_scoped(scope, take_turns).ok())
            .collect();
        let mut done = take_turns();
        for helper in helpers {
            match helper.join() {
                Ok(part) => done.extend(part),
                Err(panic) => panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_by_key(|&(index, _)| index);
    done.into_iter().map(|(_, result)| result).collect()
}
