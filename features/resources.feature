Feature: A rebuild fits its machine

  @criterion:resources.peak-memory @qemu
  Rule: The switch leaves memory to spare
    Example: memory is left at any time
      Given a blank machine for host "cc-ci"
      When the operator switches it to the committed configuration
      Then memory was left at any time

    Example: an app that takes nearly all memory is detected
      Given host "cc-ci" fills nearly all of its memory while it switches
      When the operator switches it to the committed configuration
      Then the finding is a memory mismatch naming "MiB"

  @criterion:resources.peak-disk @qemu
  Rule: The switch leaves room on the disk
    Example: room is left at any time
      Given a blank machine for host "cc-ci"
      When the operator switches it to the committed configuration
      Then room was left on the disk at any time

    Example: an app that takes nearly all of the disk is detected
      Given host "cc-ci" fills nearly all of its disk while it switches
      When the operator switches it to the committed configuration
      Then the finding is a disk mismatch naming "MiB"

  @criterion:resources.budget @qemu
  Rule: The machines fit their host, and those of others are left alone
    Example: all of them fit, and nothing else is touched
      Given host "cc-ci" is running its committed configuration
      When its machine is destroyed
      Then all that ran at the same time fits the computer, and nobody else's machine was touched

    Example: a removal that ends another's machine is detected
      Given host "cc-ci" is proven on a machine whose removal ends another run's as well
      When its machine is destroyed
      Then the finding is a budget mismatch naming "another"
