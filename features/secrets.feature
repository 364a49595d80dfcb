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
