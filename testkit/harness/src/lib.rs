//! Real components for tests: databases, repositories, workers, executables.
