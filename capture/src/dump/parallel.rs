//! Windows worked on by several threads, with what they make handed on in order.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::mpsc;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::Error;

pub(super) type Threads = NonZeroUsize;

/// What a worker hands on: a piece, and how many bytes of memory it takes.
pub(super) type Emit<'a, T> = &'a mut dyn FnMut(T, usize) -> Result<(), Error>;

/// Bytes of pieces that wait because an earlier window is not done; the earliest window may have as
/// many again. Its worker waits for nothing but that its own pieces are handed on, so that there is
/// always one that goes on, however large a piece is.
const BUDGET: usize = 16 << 20;
/// How many bytes of pieces wait at most, if there is more than one thread.
pub const MOST_WAITING: usize = 2 * BUDGET;
/// What any piece costs.
const PIECE: usize = 256;

/// What is common to the threads.
struct Shared<I> {
    /// Windows that nobody has taken yet.
    windows: I,
    /// The number of the next one.
    next: usize,
    /// The number of the window whose pieces are handed on.
    current: usize,
    /// Bytes of its pieces that were handed on.
    handed_on: usize,
    /// Bytes of pieces that wait.
    waiting: usize,
    /// Nobody wants any more.
    over: bool,
}

enum Message<T> {
    Piece(T, usize),
    Done(Result<(), Error>),
}

/// Calls `consume` with the pieces of all windows in order. Each thread makes a worker, which is
/// called with the windows that it gets, their numbers, and where to put pieces.
///
/// With one thread everything happens on the calling one.
pub(super) fn in_order<T, I, W>(
    threads: Threads,
    mut windows: I,
    worker: impl Fn() -> W + Sync,
    mut consume: impl FnMut(T) -> Result<(), Error>,
) -> Result<(), Error>
where
    T: Send,
    I: Iterator<Item = u64> + Send,
    W: FnMut(usize, u64, Emit<'_, T>) -> Result<(), Error>,
{
    if threads.get() == 1 {
        let mut work = worker();
        return windows
            .by_ref()
            .enumerate()
            .try_for_each(|(number, window)| work(number, window, &mut |piece, _| consume(piece)));
    }
    let shared = Shared { windows, next: 0, current: 0, handed_on: 0, waiting: 0, over: false };
    let pool = Pool { shared: Mutex::new(shared), changed: Condvar::new() };
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for number in 0..threads.get() {
            let (sender, pool, worker) = (sender.clone(), &pool, &worker);
            let thread = std::thread::Builder::new();
            match thread.spawn_scoped(scope, move || pool.run(worker(), &sender)) {
                Ok(_) => {}
                // Fewer do the same work.
                Err(_) if number > 0 => break,
                Err(source) => return Err(Error::Thread { source }),
            }
        }
        drop(sender);
        let consumed = pool.consume(receiver, &mut consume);
        pool.lock().over = true;
        pool.changed.notify_all();
        consumed
    })
}

struct Pool<I> {
    shared: Mutex<Shared<I>>,
    changed: Condvar,
}

impl<I: Iterator<Item = u64>> Pool<I> {
    fn lock(&self) -> MutexGuard<'_, Shared<I>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker's thread.
    fn run<T>(
        &self,
        mut work: impl FnMut(usize, u64, Emit<'_, T>) -> Result<(), Error>,
        sender: &mpsc::Sender<(usize, Message<T>)>,
    ) {
        while let Some((number, window)) = self.take() {
            let mut sent = 0;
            let done = work(number, window, &mut |piece, bytes| {
                let bytes = bytes + PIECE;
                self.wait_for_room(number, sent, bytes);
                sent += bytes;
                // If nobody listens any more the piece is dropped: what is left of the window
                // takes no memory, and there are no more windows.
                let _ = sender.send((number, Message::Piece(piece, bytes)));
                Ok(())
            });
            let _ = sender.send((number, Message::Done(done)));
        }
    }

    fn take(&self) -> Option<(usize, u64)> {
        let mut shared = self.lock();
        let window = if shared.over { None } else { shared.windows.next() }?;
        let number = shared.next;
        shared.next += 1;
        Some((number, window))
    }

    /// Waits until `bytes` more may wait, of a window of which so many were `sent`.
    fn wait_for_room(&self, number: usize, sent: usize, bytes: usize) {
        let is_full = |shared: &Shared<I>| {
            if number == shared.current {
                sent - shared.handed_on > BUDGET
            } else {
                shared.waiting + bytes > BUDGET
            }
        };
        let must_wait = |shared: &mut Shared<I>| !shared.over && is_full(shared);
        let guard = self.changed.wait_while(self.lock(), must_wait);
        guard.unwrap_or_else(PoisonError::into_inner).waiting += bytes;
    }

    /// Takes the receiver away: after a failure nothing is put where nobody looks.
    fn consume<T>(
        &self,
        receiver: mpsc::Receiver<(usize, Message<T>)>,
        consume: &mut impl FnMut(T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut early: BTreeMap<usize, VecDeque<Message<T>>> = BTreeMap::new();
        let mut current = 0;
        for (number, message) in receiver {
            early.entry(number).or_default().push_back(message);
            while let Some(message) = early.get_mut(&current).and_then(VecDeque::pop_front) {
                match message {
                    Message::Piece(piece, bytes) => {
                        consume(piece)?;
                        let mut shared = self.lock();
                        shared.waiting -= bytes;
                        shared.handed_on += bytes;
                    }
                    Message::Done(done) => {
                        done?;
                        early.remove(&current);
                        current += 1;
                        let mut shared = self.lock();
                        shared.current = current;
                        shared.handed_on = 0;
                    }
                }
                self.changed.notify_all();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    const THREADS: Threads = NonZeroUsize::new(4).unwrap();

    /// The most bytes that waited at once, if each of some windows has `pieces` of `size` bytes.
    fn most_waiting(pieces: usize, size: usize) -> usize {
        let (waiting, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let mut seen = Vec::new();
        let worker = || {
            |number, _, emit: Emit<'_, (usize, usize)>| {
                (0..pieces).try_for_each(|piece| {
                    let now = waiting.fetch_add(size, Ordering::Relaxed) + size;
                    most.fetch_max(now, Ordering::Relaxed);
                    emit((number, piece), size)
                })
            }
        };
        in_order(THREADS, 0..8, worker, |piece| {
            // As slow as a disk.
            std::thread::sleep(Duration::from_micros(200));
            waiting.fetch_sub(size, Ordering::Relaxed);
            seen.push(piece);
            Ok(())
        })
        .unwrap();
        let all = (0..8).flat_map(|number| (0..pieces).map(move |piece| (number, piece)));
        assert!(seen.into_iter().eq(all), "in order");
        most.into_inner()
    }

    #[test]
    fn a_window_without_end_waits_for_the_disk() {
        const SIZE: usize = 1 << 20;
        let most = most_waiting(200, SIZE);
        // Each worker has a piece in its hand.
        assert!(most <= MOST_WAITING + (THREADS.get() + 1) * SIZE, "{most} bytes");
    }

    #[test]
    fn after_a_failure_nothing_waits() {
        const SIZE: usize = 1 << 20;
        const PIECES: usize = 200;
        let (piece, most) = (Arc::new(()), AtomicUsize::new(0));
        let worker = || {
            |_, _, emit: Emit<'_, Arc<()>>| {
                (0..PIECES).try_for_each(|_| {
                    most.fetch_max(Arc::strong_count(&piece), Ordering::Relaxed);
                    emit(Arc::clone(&piece), SIZE)
                })
            }
        };
        let failed = in_order(THREADS, 0..8, worker, |_| {
            Err(Error::Write { offset: 0, source: std::io::ErrorKind::StorageFull.into() })
        });
        assert!(matches!(failed, Err(Error::Write { .. })));
        let most = most.into_inner();
        assert!(most <= 2 * BUDGET / SIZE + 2 * THREADS.get(), "{most} pieces at once");
    }

    #[test]
    fn no_piece_is_too_large() {
        most_waiting(3, 2 * BUDGET);
    }
}
