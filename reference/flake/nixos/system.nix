# A NixOS-shaped system without nixpkgs: `config.system.build.toplevel` has NixOS' layout and is a true derivation.
# What it runs (bash, systemd, nginx, sops, git) comes from the image underneath, in /usr/bin.
{ modules, system ? "x86_64-linux" }:
let
  inherit (builtins)
    attrNames concatStringsSep elemAt genList length listToAttrs mapAttrs toFile toString;
  moduleSystem = import ./modules.nix;

  pkgs.runCommand =
    name: env: script:
    derivation ({
      inherit name system;
      builder = "/bin/sh";
      args = [ "-e" (toFile "builder.sh" script) ];
      PATH = "/usr/bin:/bin";
      preferLocalBuild = true;
      allowSubstitutes = false;
    } // env);

  evaluated = moduleSystem.evalModules {
    inherit modules;
    options = import ./options.nix moduleSystem.options;
    args = { inherit (moduleSystem) lib; inherit pkgs; };
  };
  inherit (evaluated) sops;
  declared = evaluated // {
    sops = sops // {
      secrets = mapAttrs (_: s: s // { sopsFile = if s.sopsFile == null then sops.defaultSopsFile else s.sopsFile; }) sops.secrets;
    };
  };

  units = import ./units.nix declared;
  lines = concatStringsSep "\n";

  # ---- /etc ----------------------------------------------------------------------------------------------------
  # Unit files are written, not linked: systemd takes a link to <hash>-x.service for an alias.
  etcFiles = {
    "hostname" = declared.networking.hostName + "\n";
    "tmpfiles.d/00-nixos.conf" = lines declared.systemd.tmpfiles.rules + "\n";
  } // mapAttrs (_: file: file.text) declared.environment.etc
    // listToAttrs (map (n: { name = "systemd/system/${n}"; value = units.files.${n}; }) (attrNames units.files));

  # Texts travel in the environment and are written by the shell itself: a process for each file would be slow
  # where the machine is emulated.
  texts = genList (i: rec {
    variable = "text${toString i}";
    path = elemAt (attrNames etcFiles) i;
    value = etcFiles.${path};
  }) (length (attrNames etcFiles));
  directories = map (t: dirOf t.path) texts ++ map (t: "systemd/system/${t}.wants") (attrNames units.wants);
  etc = pkgs.runCommand "etc" (listToAttrs (map (t: { name = t.variable; inherit (t) value; }) texts)) ''
    mkdir -p $out/etc
    cd $out/etc
    mkdir -p ${toString directories}
    ${lines (map (t: "printf '%s' \"\$${t.variable}\" > '${t.path}'") texts)}
    ${lines (map (t: "ln -s ${toString (map (u: "../${u}") units.wants.${t})} systemd/system/${t}.wants/") (attrNames units.wants))}
  '';

  # ---- activation ------------------------------------------------------------------------------------------------
  secretLine =
    name:
    let
      s = declared.sops.secrets.${name};
    in
    concatStringsSep "\t" [ "${s.sopsFile}" s.key name s.path s.mode s.owner s.group (toString s.restartUnits) ];
  keyLine =
    let
      inherit (declared.sops.age) keyFile sshKeyPaths;
    in
    if sshKeyPaths == [ ] then "age\t${keyFile}"
    else if length sshKeyPaths == 1 then "ssh\t${elemAt sshKeyPaths 0}"
    else throw "sops.age.sshKeyPaths names ${toString (length sshKeyPaths)} keys: keep one";
  activation = import ./activation.nix {
    config = declared;
    secretsManifest = toFile "secrets.tsv" (lines ([ keyLine ] ++ map secretLine (attrNames declared.sops.secrets)) + "\n");
  };

  toplevel = pkgs.runCommand "nixos-system-${declared.networking.hostName}-${declared.system.nixos.version}" {
    inherit etc system;
    inherit (activation) activate dryActivate;
    inherit (declared.system.nixos) version;
    init = ./init.sh;
    switchToConfiguration = ./switch-to-configuration.sh;
    nixosRebuild = ../nixos-rebuild.sh;
    sopsInstallSecrets = ./sops-install-secrets.sh;
    sshToAge = ./ssh-to-age.sh;
  } ''
    mkdir -p $out/bin $out/sw/bin
    cd $out
    printf '%s' "$activate" > activate
    printf '%s' "$dryActivate" > dry-activate
    cat $init > init
    cat $switchToConfiguration > bin/switch-to-configuration
    sed -i "s|@out@|$out|g" activate dry-activate init bin/switch-to-configuration
    cat $nixosRebuild > sw/bin/nixos-rebuild
    cat $sopsInstallSecrets > sw/bin/sops-install-secrets
    cat $sshToAge > sw/bin/ssh-to-age
    printf '#!/bin/sh\necho %s\n' "$version" > sw/bin/nixos-version
    chmod 555 activate dry-activate init bin/* sw/bin/*
    ln -s $etc/etc etc
    printf '%s' "$version" > nixos-version
    printf '%s' "$system" > system
    # Raised when init changes so that a running system cannot follow: switch-to-configuration then asks for a reboot.
    printf 'systemd 1' > init-interface-version
  '';

  nixos-rebuild = pkgs.runCommand "nixos-rebuild" { script = ../nixos-rebuild.sh; } ''
    mkdir -p $out/bin
    cat $script > $out/bin/nixos-rebuild
    chmod 555 $out/bin/nixos-rebuild
  '';
in
{
  _type = "configuration";
  class = "nixos";
  config = declared // { system = declared.system // { build = { inherit toplevel etc nixos-rebuild; }; }; };
}
