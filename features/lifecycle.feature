Feature: What has converged lasts

  @criterion:lifecycle.reboot @qemu
  Rule: A reboot changes nothing
    Example: everything holds after a reboot
      Given host "cc-ci" is running its committed configuration
      When its machine is rebooted
      Then all that held before the reboot holds again

    Example: state that no reboot brings back is detected
      Given host "cc-ci" needs state that only its first activation makes
      When its machine is rebooted
      Then the finding is a reboot mismatch naming "deploy-bridge.service"

  @criterion:lifecycle.resize @qemu
  Rule: A larger machine changes nothing
    Example: everything holds on a larger machine
      Given host "cc-ci" is running its committed configuration
      When its machine is given more memory
      Then all that held on the smaller machine holds again

    Example: an app that only fits the first machine is detected
      Given host "cc-ci" is set up for the memory of its first start
      When its machine is given more memory
      Then the finding is a resize mismatch naming "deploy-drone.service"

  @criterion:lifecycle.upgrade @qemu
  Rule: A machine that runs the previous revision becomes this one
    Example: an upgrade and its rollback converge
      Given host "cc-ci" is running its committed configuration
      When another blank machine is upgraded from the previous revision, and rolled back
      Then both have converged

    Example: state that this revision cannot take over is detected
      Given host "cc-ci" cannot take over the state of its previous revision
      When another blank machine is upgraded from the previous revision, and rolled back
      Then the finding is an upgrade mismatch naming "deploy-backupbot.service"
