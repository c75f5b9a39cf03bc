//! The heap of the process: how the system's allocator shares it out among threads, and when it gives back.
//!
//! Promises: what a large query, a merge or a seal let go of is the system's again soon after, without being waited for.
//!
//! glibc gives threads up to eight arenas a core, and what one thread allocates goes back to its arena, where others
//! don't find it. The cache is filled and emptied by the threads of all queries, so that its room in each arena added up:
//! after 30 queries over 10 GB of logs, with a cache of 128 MiB, on 2 cores, the process took 710 MiB; with two arenas it takes
//! 370, for 3 % more CPU of ingest. Nor does it give back what is free below what is in use, until it is told to.
//! Programs that link the library in have their own heap.

use duramen::store::MemoryFreed;

/// Limits the arenas. To be called before there is a second thread.
pub fn set_up() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::set_up();
}

/// What gives free heap back to the system when it is told that there may be much; `None` where the heap is not glibc's,
/// or no thread could be made for it.
pub fn given_back() -> Option<MemoryFreed> {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    return glibc::given_back();
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    None
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    use duramen::store::MemoryFreed;
    use std::ffi::c_int;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::{Receiver, sync_channel};
    use std::time::{Duration, Instant};

    /// Heap is given back once nothing was let go for so long: what comes next may take it up as it is.
    const QUIET: Duration = Duration::from_secs(1);
    /// But so long after the first of what was let go at the latest. So it is given back this often at most while there
    /// is no end of that, which costs less than half a percent of a core.
    const QUIET_WAIT_MAX: Duration = Duration::from_secs(10);
    /// So much is given back at once: the next query of the kind may run in another arena, and both would have it. What took so
    /// much took longer than it takes to give back.
    const AT_ONCE_BYTES_MIN: u64 = 128 << 20;

    // <malloc.h>
    const M_ARENA_MAX: c_int = -8;
    /// The fewest. Of more cores than these each has one: as many threads as can ask for memory at the same moment.
    const ARENAS: usize = 2;

    unsafe extern "C" {
        fn mallopt(parameter: c_int, value: c_int) -> c_int;
        fn malloc_trim(pad: usize) -> c_int;
    }

    pub fn given_back() -> Option<MemoryFreed> {
        let (sender, receiver) = sync_channel(1);
        let hurry = Arc::new(AtomicBool::new(false));
        let hurries = hurry.clone();
        std::thread::Builder::new().name("duramen-heap".into()).spawn(move || give_back(&receiver, &hurries)).ok()?;
        Some(MemoryFreed::new(move |bytes| {
            hurry.fetch_or(bytes >= AT_ONCE_BYTES_MIN, Ordering::Relaxed);
            // Where it was told already, that is enough.
            let _ = sender.try_send(());
        }))
    }

    /// Gives back what is free after each time that it is told, until nobody is left to tell.
    fn give_back(told: &Receiver<()>, hurry: &AtomicBool) {
        while told.recv().is_ok() {
            let first = Instant::now();
            let may_wait = || !hurry.swap(false, Ordering::Relaxed) && first.elapsed() < QUIET_WAIT_MAX;
            while may_wait() && told.recv_timeout(QUIET).is_ok() {}
            // SAFETY: the signature is that of malloc_trim(3), which any thread may call at any time: it takes the lock of
            // each arena in turn, and gives back whole pages that nothing allocated is in.
            unsafe { malloc_trim(0) };
        }
    }

    pub fn set_up() {
        let cores = std::thread::available_parallelism().map_or(ARENAS, |cores| cores.get().max(ARENAS));
        let arenas = c_int::try_from(cores).unwrap_or(c_int::MAX);
        // SAFETY: the signature is that of mallopt(3), which takes any two integers and keeps no pointer; it is unsafe
        // beside other threads, of which there are none yet. Where it refuses, all stays as it was.
        unsafe { mallopt(M_ARENA_MAX, arenas) };
    }
}
