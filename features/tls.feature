Feature: Certificates come from git

  @criterion:tls.leaf-equals-git @qemu
  Rule: A service presents exactly the leaf committed for it
    Scenario: served leaf equals git cert
      Given host "cc-ci" is running its committed configuration
      When a client connects to a random name under its wildcard
      Then the leaf it receives is the one committed in git

    Scenario: a stale leaf is detected
      Given host "cc-ci" serves a leaf other than the one committed
      When a client connects to a random name under its wildcard
      Then the finding is a leaf mismatch naming both fingerprints

  @criterion:tls.chain @qemu
  Rule: The served chain leads to the declared roots
    Scenario: the chain is complete
      Given host "cc-ci" is running its committed configuration
      When a client connects to each of its names
      Then the chain it receives leads to a declared root

    Scenario: a chain without its intermediate is detected
      Given host "cc-ci" has its leaf committed without the intermediate
      When a client connects to each of its names
      Then the finding is a chain mismatch naming "ci.example.test"

  @criterion:tls.key-matches @qemu
  Rule: The private key in git belongs to the served leaf
    Scenario: key and leaf belong together
      Given host "cc-ci" is running its committed configuration
      When a client connects to each of its names
      Then the committed key is the leaf's own

    Scenario: a key of another leaf is detected
      Given host "cc-ci" has a key committed that is not the leaf's own
      When a client connects to each of its names
      Then the finding is a key mismatch naming both fingerprints

  @criterion:tls.names @qemu
  Rule: The leaf is valid for every declared name
    Scenario: the leaf covers every name
      Given host "cc-ci" is running its committed configuration
      When a client connects to each of its names
      Then the leaf it receives covers the name

    Scenario: a leaf that lacks a name is detected
      Given host "cc-ci" has a leaf committed that lacks one of its names
      When a client connects to each of its names
      Then the finding is a name mismatch naming "drone.ci.example.test"
