//! From a host definition to a sealed bundle: source, machine, bootstrap, rebuild, observation.
