//! Black-box tests of the real executables, and tests of the house itself, in `tests/tests/`. The library is empty.
