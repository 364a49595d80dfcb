//! Gherkin world and step definitions over the coldproof testbed.
