//! A sign of life on the terminal while something takes long.

use std::{
    io::{IsTerminal, stderr},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use indicatif::{HumanBytes, ProgressBar};

/// What takes less than this is not worth a line.
const PATIENCE: Duration = Duration::from_millis(500);
/// A serial console is slow: no more than five lines a second.
const FRAME: Duration = Duration::from_millis(200);

/// Runs `work`. When standard error is a terminal and it takes more than half a second, shows
/// `what` is going on. `work` may tell how many bytes it has made so far.
pub fn during<T>(what: &'static str, work: impl FnOnce(&mut dyn FnMut(u64)) -> T) -> T {
    if !stderr().is_terminal() {
        return work(&mut |_| {});
    }
    let made = AtomicU64::new(0);
    thread::scope(|scope| {
        let (finished, wait) = mpsc::channel::<()>();
        let made = &made;
        scope.spawn(move || spin(what, made, &wait));
        let result = work(&mut |bytes| made.store(bytes, Ordering::Relaxed));
        // Hanging up is the signal.
        drop(finished);
        result
    })
}

fn spin(what: &'static str, made: &AtomicU64, wait: &mpsc::Receiver<()>) {
    if wait.recv_timeout(PATIENCE) != Err(mpsc::RecvTimeoutError::Timeout) {
        return;
    }
    let bar = ProgressBar::new_spinner();
    loop {
        // Setting the message draws it.
        bar.set_message(match made.load(Ordering::Relaxed) {
            0 => what.to_owned(),
            bytes => format!("{what}: {}", HumanBytes(bytes)),
        });
        if wait.recv_timeout(FRAME) != Err(mpsc::RecvTimeoutError::Timeout) {
            break;
        }
    }
    bar.finish_and_clear();
}
