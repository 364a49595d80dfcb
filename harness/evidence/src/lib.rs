//! Plain data of a proof: observations, findings, bundles and digests.
