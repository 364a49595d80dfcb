//! The reference host: its flake, image recipe, secrets and seeded faults.
