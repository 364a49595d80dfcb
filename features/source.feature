Feature: The source is what was stated
  Everything that a proof says starts from a fresh clone of the repositories, as anybody else would get them.

  @criterion:source.recursive-clone
  Rule: The tree and its submodules are cloned fresh, complete and clean
    Example: a fresh clone is complete
      Given host "cc-ci" is as it is committed
      When its repositories are examined
      Then the clone is complete and clean

    Example: a change that the operator never committed is detected
      Given host "cc-ci" has a change in the operator's tree that was never committed
      When its repositories are examined
      Then the finding is a clone mismatch naming "default.nix"

  @criterion:source.gitlink-current
  Rule: Each submodule is committed at the tip of its branch
    Example: the secrets are committed at the tip of their branch
      Given host "cc-ci" is as it is committed
      When its repositories are examined
      Then every gitlink is the tip of its branch

    Example: secrets that were rotated but not committed are detected
      Given host "cc-ci" is committed with secrets older than the tip of their branch
      When its repositories are examined
      Then the finding is a gitlink mismatch naming both commits

  @criterion:source.no-credentials
  Rule: No credential is kept in git's configuration
    Example: git needs no credential of its own
      Given host "cc-ci" is as it is committed
      When its repositories are examined
      Then no credential is found

    Example: a token in the operator's tree is detected
      Given host "cc-ci" has a token in the configuration of the operator's tree
      When its repositories are examined
      Then the finding is a credential mismatch naming ".git/config"

  @criterion:source.secrets-encrypted
  Rule: Every value of every secrets file is encrypted and authentic
    Example: all values are encrypted
      Given host "cc-ci" is as it is committed
      When its repositories are examined
      Then every value is encrypted and its code verifies

    Example: a value in plain text is detected
      Given host "cc-ci" has a value in plain text among its secrets
      When its repositories are examined
      Then the finding is an encryption mismatch naming "registry_note_unencrypted"

  @criterion:source.recipients-exact
  Rule: The secrets are encrypted for the declared recipients and for nobody else
    Example: the recipients are the declared ones
      Given host "cc-ci" is as it is committed
      When its repositories are examined
      Then the recipients are exactly those declared

    Example: a recipient that nobody declared is detected
      Given host "cc-ci" has secrets encrypted for a recipient that nobody declared
      When its repositories are examined
      Then the finding is a recipient mismatch naming "age1"

  @criterion:source.private
  Rule: A private repository refuses whoever has no credential
    Example: strangers are refused
      Given host "cc-ci" is as it is committed
      When its repositories are examined
      Then a clone without credentials is refused

    Example: a private repository that everybody may read is detected
      Given host "cc-ci" has its secrets in a repository that everybody may read
      When its repositories are examined
      Then the finding is a privacy mismatch naming "secrets"
