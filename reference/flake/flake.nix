{
  description = "A host that rebuilds itself from git and one key";

  # No inputs: what a machine needs to rebuild itself is in this repository.
  # Each directory below hosts/ is a host of that name.
  outputs =
    { self }:
    let
      nixosSystem = import ./nixos/system.nix;
    in
    {
      nixosConfigurations = builtins.mapAttrs (
        name: _: nixosSystem { modules = [ (./hosts + "/${name}") ]; }
      ) (builtins.readDir ./hosts);
    };
}
