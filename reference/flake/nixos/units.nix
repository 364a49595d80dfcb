# systemd unit files, as text, from what a host declares under `systemd`.
config:
let
  inherit (builtins)
    attrNames concatLists concatStringsSep filter isBool isList listToAttrs mapAttrs toFile toString;

  show = value: if isBool value then (if value then "true" else "false") else toString value;
  setting = name: value: map (v: "${name}=${show v}") (if isList value then value else [ value ]);
  section =
    name: settings:
    let
      lines = concatLists (map (n: setting n settings.${n}) (attrNames settings));
    in
    if lines == [ ] then "" else concatStringsSep "\n" ([ "[${name}]" ] ++ lines ++ [ "" "" ]);

  onlyIf = condition: settings: if condition then settings else { };

  unitSection =
    unit:
    section "Unit" (
      {
        Description = unit.description;
        After = unit.after;
        Before = unit.before;
        Requires = unit.requires;
        Wants = unit.wants;
      }
      # switch-to-configuration reads these; systemd ignores names that begin with X-.
      // onlyIf (!unit.restartIfChanged) { X-RestartIfChanged = false; }
      // onlyIf (!unit.stopIfChanged) { X-StopIfChanged = false; }
      // onlyIf unit.reloadIfChanged { X-ReloadIfChanged = true; }
      // unit.unitConfig
    );

  service =
    name: unit:
    unitSection unit
    + section "Service" (
      { Environment = map (n: "\"${n}=${show unit.environment.${n}}\"") (attrNames unit.environment); }
      # What toFile writes is not executable, so bash reads it.
      // onlyIf (unit.script != "") { ExecStart = "/bin/bash -e ${toFile "unit-script-${name}" unit.script}"; }
      // unit.serviceConfig
    );

  timer = _: unit: unitSection unit + section "Timer" unit.timerConfig;

  named =
    suffix: text: units:
    map (name: {
      name = "${name}.${suffix}";
      value = { inherit (units.${name}) wantedBy; text = text name units.${name}; };
    }) (attrNames units);

  units = listToAttrs (named "service" service config.systemd.services ++ named "timer" timer config.systemd.timers);
  targets = attrNames (listToAttrs (concatLists (map (n: map (t: { name = t; value = null; }) units.${n}.wantedBy) (attrNames units))));
in
{
  # unit file name → its text
  files = mapAttrs (_: unit: unit.text) units;
  # target → the units that it wants
  wants = listToAttrs (map (target: {
    name = target;
    value = filter (n: builtins.elem target units.${n}.wantedBy) (attrNames units);
  }) targets);
}
