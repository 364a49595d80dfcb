Feature: A proof leaves nothing behind

  @criterion:teardown.clean @qemu
  Rule: Nothing that the run made is left
    Example: everything is gone
      Given host "cc-ci" is running its committed configuration
      When its machine is destroyed
      Then nothing that the run made is left

    Example: a leftover is detected
      Given host "cc-ci" is proven on a machine that leaves a directory that cannot be removed
      When its machine is destroyed
      Then the finding is a leftover mismatch naming "directory"

  @qemu
  Rule: A proof that is killed leaves nothing either
    Example: a proof killed in the middle of its switch
      Given a proof of host "cc-ci" that is in the middle of its switch
      When it is killed without warning
      Then nothing that it made is left
