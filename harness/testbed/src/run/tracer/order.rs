//! Which units of the switch come before which, as the manager tells it.

use std::collections::BTreeMap;

use coldproof_evidence::ordering::UnitOrder;

/// What the manager tells of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct UnitProperties {
    pub(super) order: UnitOrder,
    pub(super) private_tmp: bool,
}

/// Properties that [`parse`] reads. The manager adds to `After=` what other units say by `Before=`.
pub(super) const PROPERTIES: &str = "Id,After,RequiredBy,BoundBy,ConsistsOf,PrivateTmp";

/// Reads what `systemctl show --property=…` says of several units; edges count between these units alone.
pub(super) fn parse(text: &str) -> BTreeMap<String, UnitProperties> {
    let blocks: Vec<BTreeMap<&str, &str>> =
        text.split("\n\n").map(|block| block.lines().filter_map(|line| line.split_once('=')).collect()).collect();
    let names: Vec<&str> = blocks.iter().filter_map(|block| block.get("Id").copied()).collect();
    let units = blocks.iter().filter_map(|block| {
        let name = *block.get("Id")?;
        let among = |property: &str| -> Vec<String> {
            let listed = block.get(property).into_iter().flat_map(|value| value.split_whitespace());
            listed.filter(|unit| *unit != name && names.contains(unit)).map(str::to_owned).collect()
        };
        let restarts = ["RequiredBy", "BoundBy", "ConsistsOf"].iter().flat_map(|property| among(property));
        let order = UnitOrder { after: among("After"), restarts: restarts.collect() };
        let private_tmp = block.get("PrivateTmp").is_some_and(|value| *value != "no");
        Some((name.to_owned(), UnitProperties { order, private_tmp }))
    });
    units.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_count_between_the_units_of_the_switch() {
        let text = "Id=a.service\nAfter=basic.target b.service\nPrivateTmp=yes\nRequiredBy=multi-user.target b.service\n\n\
                    Id=b.service\nAfter=basic.target\nConsistsOf=\n\nId=multi-user.target\nAfter=a.service b.service\n";
        let units = parse(text);
        assert_eq!(units["a.service"].order.after, ["b.service"]);
        assert_eq!(units["a.service"].order.restarts, ["multi-user.target", "b.service"]);
        assert!(units["a.service"].private_tmp && !units["b.service"].private_tmp);
        assert!(units["b.service"].order.after.is_empty());
        assert_eq!(units["multi-user.target"].order.after, ["a.service", "b.service"]);
    }
}
