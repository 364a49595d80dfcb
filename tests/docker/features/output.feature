Feature: What scenarios say
  Both are about a host in which a unit tells the journal a secret and then fails: its last words are in what fails here.

  Scenario: one that passes
    Given host "cc-ci" is as it is committed
    When its repositories are examined
    Then every value is encrypted and its code verifies

  Scenario: one that fails
    Given host "cc-ci" has a unit that fails first and works later
    When the operator switches it to the committed configuration
    Then no job and no unit has failed
