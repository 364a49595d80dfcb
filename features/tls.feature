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

  @criterion:tls.validity @qemu
  Rule: The served leaf stays valid for the declared days
    Scenario: the leaf is valid for long enough
      Given host "cc-ci" is running its committed configuration
      When a client connects to each of its names
      Then the leaf it receives is valid for long enough

    Scenario: a leaf that is about to expire is detected
      Given host "cc-ci" has a leaf committed that is about to expire
      When a client connects to each of its names
      Then the finding is a validity mismatch naming "days left"

  @criterion:tls.protocols @qemu
  Rule: Versions below TLS 1.2 are refused
    Scenario: outdated versions are refused
      Given host "cc-ci" is running its committed configuration
      When a client offers it only outdated versions of TLS
      Then the handshake is refused

    Scenario: a server that still speaks them is detected
      Given host "cc-ci" still speaks outdated versions of TLS
      When a client offers it only outdated versions of TLS
      Then the finding is a version mismatch naming "TLSv1.1"

  @criterion:tls.unknown-name @qemu
  Rule: A name that is not the host's gets no certificate but the committed one
    Scenario: another name gets no other certificate
      Given host "cc-ci" is running its committed configuration
      When a client asks for a name that is not its own
      Then it receives no other certificate

    Scenario: a stale default certificate is detected
      Given host "cc-ci" has a default certificate other than the one committed
      When a client asks for a name that is not its own
      Then the finding is a default certificate mismatch naming both fingerprints
