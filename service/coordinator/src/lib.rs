//! The coordinator: finds work, schedules it, runs it, keeps every result.

pub mod control;
