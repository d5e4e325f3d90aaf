//! Pools of machines: processes on this machine and machines that dial in.
