//! Throwaway machines: providers, images, leases, the ledger and the reaper.
