# A small module system: modules are merged into one configuration, which is then held to the declared options.
# It keeps what NixOS users rely on: imports, priorities, merged lists, and errors that name the option.
let
  inherit (builtins)
    all attrNames concatLists concatMap concatStringsSep filter foldl' head isAttrs isBool isFunction isInt isList
    isPath isString mapAttrs removeAttrs typeOf zipAttrsWith;

  override = priority: content: { _type = "override"; inherit priority content; };
  isOverride = x: isAttrs x && x._type or "" == "override";
  priority = x: if isOverride x then x.priority else 100;
  content = x: if isOverride x then x.content else x;
  # A derivation is a value, not a set of options to descend into.
  isTree = x: isAttrs x && !(x ? outPath) && !(isOverride x);
  show = concatStringsSep ".";

  merge =
    path: definitions:
    let
      strongest = foldl' (least: d: if priority d < least then priority d else least) 9999 definitions;
      values = map content (filter (d: priority d == strongest) definitions);
    in
    if all isTree values then
      zipAttrsWith (name: merge (path ++ [ name ])) values
    else if all isList values then
      concatLists values
    else if all (v: v == head values) values then
      head values
    else
      throw "The option `${show path}' has conflicting definition values";

  # `definition` is null where nobody defined the option; `name` is that of the attribute of attrsOf around it.
  conform =
    path: option: name: definition:
    if option._type or "" == "option" then
      if definition == null && option ? default then
        (if isFunction option.default then option.default name else option.default)
      else if definition == null then
        throw "The option `${show path}' is used but not defined"
      else if option.type.check definition then
        definition
      else
        throw "A definition for option `${show path}' is not of type `${option.type.name}' (it is a ${typeOf definition})"
    else if option._type or "" == "attrsOf" then
      mapAttrs (n: conform (path ++ [ n ]) option.options n) (if definition == null then { } else definition)
    else
      let
        defined = if definition == null then { } else definition;
        unknown = filter (n: !(option ? ${n})) (attrNames defined);
      in
      if unknown != [ ] then
        throw "The option `${show (path ++ [ (head unknown) ])}' does not exist"
      else
        mapAttrs (n: o: conform (path ++ [ n ]) o name (defined.${n} or null)) option;
in
{
  lib = {
    mkForce = override 50;
    mkDefault = override 1000;
  };

  options = {
    required = type: { _type = "option"; inherit type; };
    # A default that is a function is given the name of the attribute around it.
    optional = type: default: { _type = "option"; inherit type default; };
    attrsOf = options: { _type = "attrsOf"; inherit options; };
    types = {
      anything = { name = "anything"; check = _: true; };
      attrs = { name = "attribute set"; check = isAttrs; };
      bool = { name = "boolean"; check = isBool; };
      int = { name = "integer"; check = isInt; };
      path = { name = "path"; check = x: isPath x || isString x; };
      ports = { name = "list of port numbers"; check = x: isList x && all isInt x; };
      str = { name = "string"; check = isString; };
      strings = { name = "list of strings"; check = x: isList x && all isString x; };
    };
  };

  evalModules =
    { modules, options, args }:
    let
      load =
        module:
        let
          value = if isPath module || isString module then import module else module;
          body = if isFunction value then value (args // { inherit config; }) else value;
        in
        concatMap load (body.imports or [ ]) ++ [ (removeAttrs body [ "imports" ]) ];
      config = conform [ ] options "" (merge [ ] (concatMap load modules));
    in
    config;
}
