# A Docker swarm of this one node, and a stack of apps on it. Nothing of it comes from a registry: the apps' image is
# built from this repository and from what the machine has.
{ pkgs, ... }:
let
  # A file system with one static program in it, the same from every build.
  image = pkgs.runCommand "apps.tar" { } ''
    mkdir -p root/bin root/www
    cp /usr/bin/busybox root/bin/busybox
    echo 'an app of ci.example.test' > root/www/index.html
    tar --create --file=$out --directory=root --format=gnu --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner .
  '';
  # Another content is another name, so that services are brought to it.
  tag = builtins.unsafeDiscardStringContext (builtins.substring 11 32 "${image}");
in
{
  systemd.services = {
    # Of its own: an engine that starts it itself gives it 15 seconds, which an emulated machine may not have.
    containerd = {
      description = "Container runtime";
      wantedBy = [ "multi-user.target" ];
      after = [ "network.target" ];
      serviceConfig = {
        Type = "notify";
        ExecStart = "/usr/bin/containerd";
        TimeoutStartSec = "5min";
        KillMode = "process";
        Delegate = true;
        LimitNOFILE = 65536;
      };
    };

    docker = {
      description = "Docker engine";
      wantedBy = [ "multi-user.target" ];
      requires = [ "containerd.service" ];
      after = [ "network.target" "containerd.service" ];
      # Each task would ask the registry for its image first.
      environment.DOCKER_SERVICE_PREFER_OFFLINE_IMAGE = 1;
      serviceConfig = {
        Type = "notify";
        ExecStartPre = "/bin/bash ${./address.sh}";
        ExecStart = "/usr/sbin/dockerd --host=unix:///run/docker.sock --containerd=/run/containerd/containerd.sock";
        TimeoutStartSec = "5min";
        KillMode = "process";
        Delegate = true;
        LimitNOFILE = 65536;
      };
    };

    stack-ci = {
      description = "The stack ci";
      wantedBy = [ "multi-user.target" ];
      requires = [ "docker.service" ];
      after = [ "docker.service" ];
      environment = { HOME = "/root"; APPS = "apps:${tag}"; };
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = "/bin/bash ${./deploy.sh} ci ${./stack.yaml} ${image}";
        TimeoutStartSec = "8min";
      };
    };
  };
}
