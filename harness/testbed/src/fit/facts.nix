config:
let
  at = builtins.foldl' (set: name: if builtins.isAttrs set then set.${name} or null else null);
  # An option that is not there, or that nobody gave a value, is null.
  option =
    path:
    let
      tried = builtins.tryEval (
        let
          found = at config path;
        in
        builtins.deepSeq found found
      );
    in
    if tried.success then tried.value else null;
  texts =
    value:
    if builtins.isList value then
      builtins.filter builtins.isString value
    else if builtins.isAttrs value then
      builtins.attrNames value
    else
      [ ];
  mounts =
    let
      tried = builtins.tryEval (at config [ "fileSystems" ]);
    in
    if tried.success && builtins.isAttrs tried.value then tried.value else { };
  initrd = name: option [ "boot" "initrd" name ];
  grub = name: option [ "boot" "loader" "grub" name ];
in
{
  file_systems = builtins.mapAttrs (mount: _: option [ "fileSystems" mount "device" ]) mounts;
  grub = grub "enable";
  grub_devices = texts [ (grub "device") ] ++ texts (grub "devices");
  grub_efi = grub "efiSupport";
  systemd_boot = option [ "boot" "loader" "systemd-boot" "enable" ];
  initrd_modules =
    if initrd "availableKernelModules" == null then
      null
    else
      texts (initrd "availableKernelModules") ++ texts (initrd "kernelModules");
  guest_agent = option [ "services" "qemuGuest" "enable" ];
  ssh = option [ "services" "openssh" "enable" ];
  root_login = option [ "services" "openssh" "settings" "PermitRootLogin" ];
}
