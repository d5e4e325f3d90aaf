//! The worker: executes builds on one machine, in listen or reverse mode.
