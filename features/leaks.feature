Feature: Secrets stay where they belong
  What has reached the store, a log or a list of processes is no secret any more, in whatever form it got there.

  @criterion:leaks.none @qemu
  Rule: A secret is in its own file and nowhere else
    Example: nothing but its own file holds a secret
      Given host "cc-ci" is running its committed configuration
      When it is observed
      Then no secret is anywhere but in its own file

    Example: a secret in the store is detected
      Given host "cc-ci" builds a secret into its store
      When it is observed
      Then the finding is a leak mismatch naming "nix store"

    Example: a secret among arguments is detected
      Given host "cc-ci" has a process with a secret among its arguments
      When it is observed
      Then the finding is a leak mismatch naming "process arguments"

    Example: a secret in base64 is detected
      Given host "cc-ci" has a file with a secret in base64
      When it is observed
      Then the finding is a leak mismatch naming "base64"

    @nightly
    Example: a secret in an environment is detected
      Given host "cc-ci" has a process with a secret in its environment
      When it is observed
      Then the finding is a leak mismatch naming "process environments"

    @nightly
    Example: a secret in the journal is detected
      Given host "cc-ci" has logged a secret in hex
      When it is observed
      Then the finding is a leak mismatch naming "hex"

    @nightly
    Example: a secret in a repository's history is detected
      Given host "cc-ci" has a repository with a secret in its history
      When it is observed
      Then the finding is a leak mismatch naming "zlib"

    @nightly
    Example: a secret in a compressed backup is detected
      Given host "cc-ci" has a compressed backup of a secret
      When it is observed
      Then the finding is a leak mismatch naming "gzip"

    @nightly
    Example: a secret in a core dump is detected
      Given host "cc-ci" has the core dump of a program that held a secret
      When it is observed
      Then the finding is a leak mismatch naming "core dumps"
