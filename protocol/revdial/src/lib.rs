//! revdial v2: control lines, registration and pick-up heads, without I/O.
