//! Pure rules from recorded facts to findings.
