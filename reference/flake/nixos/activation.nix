# The activation script: snippets in the order of their dependencies. It makes the running machine look as declared,
# except for its units, which switch-to-configuration sees to.
{ config, secretsManifest }:
let
  inherit (builtins)
    attrNames concatMap concatStringsSep elem foldl' toFile toString;

  accounts = toFile "accounts.conf" (concatStringsSep "\n" (
    map (n: "g ${n} ${toString config.users.groups.${n}.gid}") (attrNames config.users.groups)
    ++ map (n: let u = config.users.users.${n}; in "u ${n} ${toString u.uid}:${u.group} \"${n}\" ${u.home}") (attrNames config.users.users)
  ) + "\n");

  snippets = {
    etc = { text = builtins.readFile ./setup-etc.sh; deps = [ ]; supportsDryActivation = false; };
    users = { text = "systemd-sysusers ${accounts}"; deps = [ "etc" ]; supportsDryActivation = false; };
    setupSecrets = {
      text = "sops-install-secrets ${secretsManifest}";
      deps = [ "users" ];
      supportsDryActivation = true;
    };
  } // config.system.activationScripts;

  ordered =
    let
      visit = done: name: if elem name done then done else foldl' visit done snippets.${name}.deps ++ [ name ];
    in
    foldl' visit [ ] (attrNames snippets);

  snippet = name: ''
    #### Activation script snippet ${name}:
    _localstatus=0
    ${snippets.${name}.text}
    if (( _localstatus > 0 )); then
      printf "Activation script snippet '%s' failed (%s)\n" "${name}" "$_localstatus" >&2
    fi
  '';

  script = names: last: ''
    #!/bin/bash
    systemConfig=@out@
    export PATH="$systemConfig/sw/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
    # One failed snippet does not keep the others from running, but the whole then fails.
    _status=0
    trap '_status=1 _localstatus=$?' ERR
    umask 0022

    ${concatStringsSep "\n" (map snippet names)}
    ${last}
    exit $_status
  '';
in
{
  activate = script ordered ''ln -sfn "$systemConfig" /run/current-system'';
  dryActivate = script (concatMap (n: if snippets.${n}.supportsDryActivation then [ n ] else [ ]) ordered) "";
}
