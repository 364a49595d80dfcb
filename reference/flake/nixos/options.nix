# What a host may declare: the part of NixOS' and sops-nix' options that this system implements, under their names.
{ required, optional, attrsOf, types }:
with types;
let
  unit = {
    description = optional str (name: name);
    after = optional strings [ ];
    before = optional strings [ ];
    requires = optional strings [ ];
    wants = optional strings [ ];
    wantedBy = optional strings [ ];
    unitConfig = optional attrs { };
    restartIfChanged = optional bool true;
    stopIfChanged = optional bool true;
    reloadIfChanged = optional bool false;
  };
in
{
  networking = {
    hostName = required str;
    # What the host listens on. It documents, as there is no packet filter here to open.
    firewall.allowedTCPPorts = optional ports [ ];
  };

  environment.etc = attrsOf { text = required str; };

  users = {
    users = attrsOf {
      uid = required int;
      group = required str;
      home = optional str "/var/empty";
    };
    groups = attrsOf { gid = required int; };
  };

  systemd = {
    services = attrsOf (unit // {
      environment = optional attrs { };
      serviceConfig = optional attrs { };
      script = optional str "";
    });
    timers = attrsOf (unit // { timerConfig = optional attrs { }; });
    tmpfiles.rules = optional strings [ ];
  };

  sops = {
    defaultSopsFile = optional path "/no/defaultSopsFile/is/set";
    age.keyFile = optional str "/var/lib/sops-nix/key.txt";
    # One at the most, and then there is no key file.
    age.sshKeyPaths = optional strings [ ];
    secrets = attrsOf {
      key = optional str (name: name);
      path = optional str (name: "/run/secrets/${name}");
      mode = optional str "0400";
      owner = optional str "root";
      group = optional str "root";
      sopsFile = optional anything null;
      restartUnits = optional strings [ ];
    };
  };

  system = {
    nixos.version = optional str "coldproof-reference-1";
    activationScripts = attrsOf {
      text = required str;
      deps = optional strings [ ];
      supportsDryActivation = optional bool false;
    };
  };
}
