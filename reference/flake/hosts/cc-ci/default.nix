# cc-ci: a small CI host. nginx serves its dashboard over TLS with the certificate that is in git; five reconcilers
# bring the apps to the state that the catalogue names.
{ pkgs, ... }:
let
  # Every reconciler shares the state directory and the catalogue's clone, so each names ALL that come before it:
  # After= orders only units that have jobs, and a later switch may restart the first and the last alone.
  reconcilers = [ "deploy-proxy" "deploy-drone" "deploy-bridge" "deploy-dashboard" "deploy-backupbot" ];
  predecessors = name: before reconcilers name;
  before =
    list: name:
    if builtins.head list == name then [ ] else [ "${builtins.head list}.service" ] ++ before (builtins.tail list) name;

  # The catalogue of apps as a git repository, with dates and ids that depend on its files only.
  catalogue = pkgs.runCommand "catalogue.git" { files = ./catalogue; } ''
    export GIT_DIR=$out GIT_WORK_TREE=$files GIT_INDEX_FILE=$TMPDIR/index GIT_CONFIG_NOSYSTEM=1
    export GIT_AUTHOR_NAME=catalogue GIT_AUTHOR_EMAIL=catalogue@ci.example.test GIT_AUTHOR_DATE='@0 +0000'
    export GIT_COMMITTER_NAME=catalogue GIT_COMMITTER_EMAIL=catalogue@ci.example.test GIT_COMMITTER_DATE='@0 +0000'
    git init --quiet --template= --initial-branch=main
    git add --all
    git update-ref refs/heads/main "$(git commit-tree -m 'Name the apps' "$(git write-tree)")"
  '';

  reconciler = app: credentials: {
    name = "deploy-${app}";
    value = {
      description = "Reconcile ${app} with the catalogue";
      wantedBy = [ "multi-user.target" ];
      after = predecessors "deploy-${app}";
      environment.CATALOGUE = catalogue;
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = "/bin/bash ${./reconcile.sh} ${app} ${toString (map (name: "/run/secrets/${name}") credentials)}";
      };
    };
  };
in
{
  networking = {
    hostName = "cc-ci";
    firewall.allowedTCPPorts = [ 443 ];
  };

  users = {
    groups = { nginx.gid = 960; drone.gid = 961; };
    users = { nginx = { uid = 960; group = "nginx"; }; drone = { uid = 961; group = "drone"; }; };
  };

  sops = {
    defaultSopsFile = ../../secrets/secrets.yaml;
    secrets = {
      drone_rpc_secret = { owner = "drone"; group = "drone"; };
      drone_github_secret = { owner = "drone"; group = "drone"; };
      registry_password = { };
      bridge_token = { restartUnits = [ "deploy-bridge.service" ]; };
      dashboard_session_key = { };
      backup_passphrase = { };
      wildcard_cert = { mode = "0440"; group = "nginx"; restartUnits = [ "nginx.service" ]; };
      wildcard_key = { mode = "0440"; group = "nginx"; restartUnits = [ "nginx.service" ]; };
    };
  };

  systemd.tmpfiles.rules = [
    "d /var/lib/ci-state 0755 root root -"
    "d /var/lib/ci-certs/live 0750 root nginx -"
    "L+ /var/lib/ci-certs/live/fullchain.pem - - - - /run/secrets/wildcard_cert"
    "L+ /var/lib/ci-certs/live/privkey.pem - - - - /run/secrets/wildcard_key"
  ];

  systemd.services = builtins.listToAttrs [
    (reconciler "proxy" [ "registry_password" ])
    (reconciler "drone" [ "drone_rpc_secret" "drone_github_secret" ])
    (reconciler "bridge" [ "bridge_token" ])
    (reconciler "dashboard" [ "dashboard_session_key" ])
    (reconciler "backupbot" [ "backup_passphrase" ])
  ] // {
    nginx = {
      description = "TLS front end";
      wantedBy = [ "multi-user.target" ];
      # Whoever is answered is answered by a host that has converged.
      after = [ "network.target" ] ++ map (name: "${name}.service") reconcilers;
      serviceConfig = {
        # nginx opens its sockets before its first process exits, so that started means reachable.
        Type = "forking";
        PIDFile = "/run/nginx.pid";
        ExecStart = "/usr/sbin/nginx -c ${./nginx.conf}";
        ExecReload = "/bin/kill -HUP $MAINPID";
      };
    };
  };
}
