Feature: Secrets are where they belong

  @criterion:secrets.in-place @qemu
  Rule: Every declared secret is in place, in RAM and equal to git's
    Example: the secrets are git's
      Given host "cc-ci" is running its committed configuration
      When it is observed
      Then every secret is in place and equal to the committed one

    Example: an empty secret is detected
      Given host "cc-ci" has a secret that is empty
      When it is observed
      Then the finding is a secret mismatch naming "empty"

  @criterion:secrets.modes @qemu
  Rule: Every secret has its declared owner, group and mode
    Example: nobody else can read a secret
      Given host "cc-ci" is running its committed configuration
      When it is observed
      Then every secret has its declared owner, group and mode

    Example: a secret that everybody can read is detected
      Given host "cc-ci" has a secret that everybody can read
      When it is observed
      Then the finding is a mode mismatch naming both modes

  @criterion:secrets.each-recipient
  Rule: Each key that is held decrypts, alone, to the same values
    Example: each key alone is enough
      Given host "cc-ci" is as it is committed
      When its repositories are examined
      Then each held key decrypts the same values

    Example: a recipient by name only is detected
      Given host "cc-ci" has secrets that name a recipient who cannot decrypt them
      When its repositories are examined
      Then the finding is a decryption mismatch naming "host"

  @criterion:secrets.missing-key-is-loud @qemu
  Rule: Without its key a switch fails and says why
    Example: the missing key is named
      Given a blank machine for host "cc-ci"
      When the operator switches it without its key
      Then the switch fails and names the missing key

    Example: a host that goes on without its key is detected
      Given host "cc-ci" goes on without secrets where its key is missing
      When the operator switches it without its key
      Then the finding is a missing key mismatch naming "exit code 0"

  @criterion:secrets.wrong-key-is-loud @qemu
  Rule: With another key a switch fails and says why
    Example: the key that does not fit is told
      Given a blank machine for host "cc-ci"
      When the operator switches it with another key
      Then the switch fails and says that the key does not fit

    Example: a host that makes up its secrets is detected
      Given host "cc-ci" makes up its secrets where its key does not fit
      When the operator switches it with another key
      Then the finding is a wrong key mismatch naming "nothing of the cause"

  @criterion:secrets.missing-certificate-is-loud @qemu
  Rule: Without its certificate a switch fails and says why
    Example: the missing certificate is named
      Given a blank machine for host "cc-ci"
      When the operator switches it without its certificate
      Then the switch fails and names the missing certificate

    Example: a host that signs its own certificate is detected
      Given host "cc-ci" signs a certificate of its own where git has none
      When the operator switches it without its certificate
      Then the finding is a missing certificate mismatch naming "exit code 0"
