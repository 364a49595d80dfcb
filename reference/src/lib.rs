//! The reference host: a world of its own (git repositories, certificate authority, keys), written anew each time, and
//! the faults that can be seeded into it.

mod authority;
mod draft;
mod faults;
mod git;
mod identities;
pub mod image;
mod sops;
mod swarm;
pub mod world;

pub use faults::{Fault, Layer, faults};
pub use image::image_recipe;
