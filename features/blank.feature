Feature: A blank machine and one secret

  @criterion:blank.inventory @qemu
  Rule: Before the bootstrap the machine holds nothing of the host
    Example: a blank machine is blank
      Given a blank machine for host "cc-ci"
      When the operator switches it to the committed configuration
      Then nothing of the host was there before

    Example: a key that is there already is detected
      Given host "cc-ci" is rebuilt on a machine that holds an age key already
      When the operator switches it to the committed configuration
      Then the finding is an inventory mismatch naming "key"

  @criterion:blank.one-secret @qemu
  Rule: Exactly one secret is delivered from outside
    Example: the age key is all that is delivered
      Given a blank machine for host "cc-ci"
      When the operator switches it to the committed configuration
      Then one secret was delivered, and only its owner can read it

    Example: a key that others can read is detected
      Given host "cc-ci" has a bootstrap key that others can read
      When the operator switches it to the committed configuration
      Then the finding is a bootstrap mismatch naming both modes
