Feature: The guest is kept to itself
  It holds real secrets, so it reaches what the host definition allows and nothing else.

  @criterion:isolation.egress @qemu
  Rule: The guest tries to reach nothing but what is allowed
    Example: the guest reaches git alone
      Given host "cc-ci" is running its committed configuration
      When it is observed
      Then it has tried to reach nothing but what is allowed

    Example: an attempt to reach a stranger is detected
      Given host "cc-ci" has a unit that calls a stranger
      When it is observed
      Then the finding is an egress mismatch naming "198.51.100.7"
