//! Takes processor time away from everybody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// One core that is kept busy until this is dropped.
pub struct Burning {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Burning {
    /// Begins.
    pub fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut x = 1u64;
            while !told.load(Ordering::Relaxed) {
                for _ in 0..100_000 {
                    x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Burning {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It cannot panic.
            let _ = thread.join();
        }
    }
}
