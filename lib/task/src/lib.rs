//! Tasks whose futures have forgotten their types.
//!
//! The code of a future is compiled where it is polled, not where it is written, and an executor is compiled anew for each type of future that it is given: some fifteen
//! functions, for each kind of runtime. Where a future's type is forgotten, in a box, both happen once. Borders of crates (a service's start, a database's query)
//! return a [`BoxFuture`], and tasks are started with [`spawn`] and [`spawn_blocking`]: Burrow's own crates are compiled in three quarters of the time. An allocation for
//! each of these is not noticed beside what they do.

use std::pin::Pin;

pub use futures_util::future::BoxFuture;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// As `tokio::spawn`, but compiled once for each type of result.
///
/// # Panics
/// Outside a tokio runtime.
pub fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    let future: BoxFuture<'static, T> = Box::pin(future);
    tokio::spawn(future)
}

/// As `tokio::task::spawn_blocking`, but compiled once for each type of result.
///
/// # Panics
/// Outside a tokio runtime.
pub fn spawn_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let work: Box<dyn FnOnce() -> T + Send> = Box::new(work);
    tokio::task::spawn_blocking(work)
}

/// Forgets the type of a future; for sets of tasks.
pub fn boxed<'a, T>(future: impl Future<Output = T> + Send + 'a) -> BoxFuture<'a, T> {
    Box::pin(future)
}

/// As [`Runtime::block_on`], but compiled once for each type of result.
///
/// # Panics
/// Inside a tokio runtime.
pub fn block_on<'a, T>(runtime: &Runtime, future: impl Future<Output = T> + 'a) -> T {
    let future: Pin<Box<dyn Future<Output = T> + 'a>> = Box::pin(future);
    runtime.block_on(future)
}
