Feature: Convergence of a blank machine

  @criterion:convergence.one-switch @qemu
  Rule: One switch is enough to reach the declared state
    Scenario: blank VM converges in one switch
      Given a blank machine for host "cc-ci"
      When the operator switches it to the committed configuration
      Then it has converged without a failure

    Scenario: a race that only a second switch would heal is detected
      Given host "cc-ci" has units that need an order and declare none
      When the operator switches it to the committed configuration
      Then the finding is a switch mismatch naming "exit code"

    @nightly
    Scenario: an activation that fails the first time is detected
      Given host "cc-ci" has an activation that fails the first time
      When the operator switches it to the committed configuration
      Then the finding is a switch mismatch naming "motd"

  @criterion:convergence.no-failures @qemu
  Rule: No unit fails at any time, not even one that recovers
    Scenario: nothing fails on the way
      Given a blank machine for host "cc-ci"
      When the operator switches it to the committed configuration
      Then no job and no unit has failed

    Scenario: a unit that fails first and works later is detected
      Given host "cc-ci" has a unit that fails first and works later
      When the operator switches it to the committed configuration
      Then the finding is a failure mismatch naming "deploy-drone.service"

  @criterion:convergence.running @qemu
  Rule: The system ends up running
    Scenario: the system is running
      Given a blank machine for host "cc-ci"
      When the operator switches it to the committed configuration
      Then the system is running

    Scenario: a oneshot that did no work is detected
      Given host "cc-ci" has a oneshot that its own condition skips
      When the operator switches it to the committed configuration
      Then the finding is a system mismatch naming "deploy-backupbot.service"

  @criterion:convergence.idempotent @qemu
  Rule: A second switch changes nothing
    Scenario: a second switch finds nothing to do
      Given a blank machine for host "cc-ci"
      When the operator switches it twice to the committed configuration
      Then the second switch has changed nothing

    Scenario: an activation that is never done is detected
      Given host "cc-ci" changes a unit at every activation
      When the operator switches it twice to the committed configuration
      Then the finding is an idempotence mismatch naming "activated.conf"
