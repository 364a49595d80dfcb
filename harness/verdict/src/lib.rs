//! The verdict over a bundle's findings, by policy.
