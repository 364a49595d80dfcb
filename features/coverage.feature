Feature: What is declared is what is checked

  @criterion:coverage.complete
  Rule: Whatever the configuration declares is covered by the host definition or waived by name
    @qemu
    Example: the host definition covers the configuration
      Given host "cc-ci" is running its committed configuration
      When it is observed
      Then the host definition covers all that the configuration declares

    Example: a secret that nobody checks is detected
      Given host "cc-ci" declares a secret that its definition does not name
      When its repositories are examined
      Then the finding is a coverage mismatch naming "smtp_password"
