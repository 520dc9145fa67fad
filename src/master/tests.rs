//! Whole masters in one process.
