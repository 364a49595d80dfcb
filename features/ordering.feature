Feature: Order among units
  What may run at once must not get into each other's way. A switch that goes well shows no order: it had luck.

  @criterion:ordering.race-free @qemu
  Rule: No two units that may run at once touch the same path, one of them writing
    Scenario: every two units that share a path have an order
      Given host "cc-ci" is running its committed configuration
      When its units run one at a time under a tracer
      Then no two of them can get into each other's way

    Scenario: an order that a later switch does without is detected
      Given host "cc-ci" has units that name no more than the one before them
      When its units run one at a time under a tracer
      Then the finding is a race mismatch naming "deploy-bridge.service"
