//! Time and random identifiers, handed in so that tests can hold them still.
