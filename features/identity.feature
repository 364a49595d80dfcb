Feature: What runs is what git builds

  @criterion:identity.toplevel @qemu
  Rule: The running system is the one that git builds
    Example: git builds what runs
      Given host "cc-ci" is running its committed configuration
      When it is observed
      Then the system that runs is the one that git builds

    Example: a system that git does not build is detected
      Given host "cc-ci" is running a system that git does not build
      When it is observed
      Then the finding is a toplevel mismatch naming both store paths

    @nightly
    Example: a system that would not boot again is detected
      Given host "cc-ci" would boot another system than the one that runs
      When it is observed
      Then the finding is a toplevel mismatch naming both store paths

  @criterion:identity.contents @qemu
  Rule: Every file of the closure has the bytes that were built
    Example: the bytes are those that were built
      Given host "cc-ci" is running its committed configuration
      When it is observed
      Then every byte of the closure is as it was built

    Example: a file changed behind the back of Nix is detected
      Given host "cc-ci" has a file in its store changed behind the back of Nix
      When it is observed
      Then the finding is a contents mismatch naming "/nix/store/"

  @criterion:identity.reproduced @qemu
  Rule: Another blank machine builds the same closure
    Example: a second machine builds the same
      Given host "cc-ci" is running its committed configuration
      When another blank machine builds the same commit
      Then both have the same closure, byte for byte

    Example: a build that depends on its time is detected
      Given host "cc-ci" has a build that depends on its time
      When another blank machine builds the same commit
      Then the finding is a reproduction mismatch naming "/nix/store/"

  @criterion:identity.original @qemu
  Rule: The original runs what git builds
    Example: git builds what the original runs
      Given host "cc-ci" has an original that runs what was built before
      When another blank machine builds the same commit
      Then git builds what the original runs

    Example: an original that git does not build is detected
      Given host "cc-ci" has an original that runs something else
      When another blank machine builds the same commit
      Then the finding is an original mismatch naming both store paths

  @criterion:identity.deterministic @qemu
  Rule: A machine that builds it again gets the same bytes
    Example: what is built twice is the same
      Given host "cc-ci" is running its committed configuration
      When another blank machine builds the same commit
      Then whatever it builds again has the same bytes

    Example: a build that depends on its time is detected
      Given host "cc-ci" has a build that depends on its time
      When another blank machine builds the same commit
      Then the finding is a determinism mismatch naming "/nix/store/"

  @criterion:identity.source-forms @qemu
  Rule: A plain directory builds what the git checkout builds
    Example: how the source is named makes no difference
      Given host "cc-ci" is running its committed configuration
      When another blank machine builds the same commit
      Then a plain directory gives the same system as git

    Example: a system with its own revision in it is detected
      Given host "cc-ci" builds its own revision into its system
      When another blank machine builds the same commit
      Then the finding is a source form mismatch naming both store paths
