//! Worlds, sound and with faults, as somebody meets them who has only the directory.

mod common;
mod faults;
mod world;
