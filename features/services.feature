Feature: The services answer

  @criterion:services.units @qemu
  Rule: Each declared unit is in its declared state
    Example: every unit is active
      Given host "cc-ci" is running its committed configuration
      When it is observed
      Then every declared unit is in its declared state

    Example: a unit that was stopped is detected
      Given host "cc-ci" has a declared unit that was stopped
      When it is observed
      Then the finding is a unit mismatch naming "deploy-"

  @criterion:services.http @qemu
  Rule: Each declared URL answers as declared, from outside
    Example: the dashboard answers
      Given host "cc-ci" is running its committed configuration
      When a client asks for each of its URLs
      Then each answers as declared

    Example: a page that is gone is detected
      Given host "cc-ci" has a page that is gone
      When a client asks for each of its URLs
      Then the finding is an answer mismatch naming both statuses

  @criterion:services.stacks @nightly @qemu
  Rule: Each declared stack has all its replicas
    Example: every replica of the stack runs
      Given host "cc-ci" is running its committed configuration with a stack on a swarm
      When it is observed
      Then every replica of each stack runs

    Example: a stack that is short of a replica is detected
      Given host "cc-ci" has a stack that is short of a replica
      When it is observed
      Then the finding is a stack mismatch naming "ci_worker"
