Feature: The command says how a proof ended
  Scripts tell four ends apart: proven, failed, asked wrongly, and nothing learnt.

  Rule: A proof that holds and one that fails are told apart
    Example: what holds
      Given host "cc-ci" is as it is committed
      When the operator asks for a proof of its source
      Then the command ends as "pass"

    Example: what fails
      Given host "cc-ci" is committed with secrets older than the tip of their branch
      When the operator asks for a proof of its source
      Then the command ends as "fail"
      And it says "source.gitlink-current"

  Rule: A wrong question is no failed proof
    Example: a misspelt host definition
      Given host "cc-ci" has a misspelt section in its definition
      When the operator asks for a proof of its source
      Then the command ends as "wrong usage"
      And it says "coldproof.toml"

    Example: a criterion that does not exist
      Given host "cc-ci" is as it is committed
      When the operator asks for a proof of a criterion that does not exist
      Then the command ends as "wrong usage"
      And it says "names no criterion"

  Rule: What could not be observed is neither a pass nor a fail
    @qemu
    Example: a guest that never boots
      Given host "cc-ci" has a machine that never boots
      When the operator asks for a proof of its blank machine
      Then the command ends as "inconclusive"
      And nothing that it made is left

    Example: a repository that nobody serves
      Given host "cc-ci" is committed where nobody serves it
      When the operator asks for a proof of its source
      Then the command ends as "inconclusive"
