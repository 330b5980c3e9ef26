//! Functions of IP addresses.
//!
//! An IPv4 address is a text of four numbers or its value as a BIGINT; what is no address is null, and matches nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, StringViewArray};
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::ColumnarValue;

use super::{
    Definition, boolean_type, count_between, is_text, literal, long_type, longs, mistyped, text_argument, text_type,
    texts,
};

pub(super) const DEFINITIONS: &[Definition] = &[
    Definition::new("IPV4_MATCH", address_and_subnet, boolean_type, ipv4_match),
    Definition::new("IPV4_PARSE", one_address, long_type, ipv4_parse),
    Definition::new("IPV4_STRINGIFY", one_address, text_type, ipv4_stringify),
    Definition::new("IPV6_MATCH", two_texts, boolean_type, ipv6_match),
];

fn address_type(name: &str, given: &DataType) -> DfResult<DataType> {
    match given {
        text if is_text(text) => Ok(DataType::Utf8View),
        DataType::Null => Ok(DataType::Utf8View),
        number if number.is_integer() => Ok(DataType::Int64),
        other => mistyped(name, 1, "a VARCHAR or a BIGINT", other),
    }
}

fn one_address(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 1, 1)?;
    types.iter().map(|t| address_type(name, t)).collect()
}

fn address_and_subnet(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 2, 2)?;
    Ok(vec![address_type(name, &types[0])?, text_argument(name, types, 1)?])
}

fn two_texts(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 2, 2)?;
    Ok(vec![text_argument(name, types, 0)?, text_argument(name, types, 1)?])
}

/// The addresses of the first argument as numbers.
fn ipv4_values(args: &[ColumnarValue], rows: usize) -> DfResult<Vec<Option<u32>>> {
    if args.first().is_some_and(|a| a.data_type() == DataType::Int64) {
        return Ok(longs(args, 0, rows)?.iter().map(|n| u32::try_from(n?).ok()).collect());
    }
    Ok(texts(args, 0, rows)?.iter().map(|t| t?.parse::<Ipv4Addr>().ok().map(u32::from)).collect())
}

/// A subnet: its first address and the length of its prefix; a bare address is a subnet of one.
pub(super) fn subnet(name: &str, text: &str) -> Result<(IpAddr, u32), String> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let (bits, example) = if name == "IPV6_MATCH" { (128, "2001:db8::/32") } else { (32, "10.0.0.0/8") };
    let address = address.parse::<IpAddr>().ok().filter(|a| a.is_ipv6() == (bits == 128));
    let length = prefix.map_or(Some(bits), |p| p.parse::<u32>().ok().filter(|p| *p <= bits));
    address.zip(length).ok_or_else(|| format!("`{text}` is not a subnet such as {example}"))
}

fn subnet_argument(name: &str, args: &[ColumnarValue]) -> DfResult<Option<(IpAddr, u32)>> {
    literal(name, args, 1)?
        .map(|text| subnet(name, &text).map_err(|e| DataFusionError::Execution(format!("{name}: {e}"))))
        .transpose()
}

fn ipv4_match(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let Some((IpAddr::V4(network), length)) = subnet_argument(name, args)? else {
        return Ok(Arc::new(BooleanArray::new_null(rows)));
    };
    let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
    let network = u32::from(network) & mask;
    let given = args.first().map(|a| a.clone().into_array(rows)).transpose()?;
    let out: BooleanArray = ipv4_values(args, rows)?
        .into_iter()
        .enumerate()
        .map(|(row, address)| match address {
            Some(address) => Some(address & mask == network),
            None => given.as_ref().is_some_and(|g| g.is_valid(row)).then_some(false),
        })
        .collect();
    Ok(Arc::new(out))
}

fn ipv6_match(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let Some((IpAddr::V6(network), length)) = subnet_argument(name, args)? else {
        return Ok(Arc::new(BooleanArray::new_null(rows)));
    };
    let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
    let network = u128::from(network) & mask;
    let out: BooleanArray = texts(args, 0, rows)?
        .iter()
        .map(|t| Some(t?.parse::<Ipv6Addr>().is_ok_and(|a| u128::from(a) & mask == network)))
        .collect();
    Ok(Arc::new(out))
}

fn ipv4_parse(_: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let out: Int64Array = ipv4_values(args, rows)?.into_iter().map(|a| a.map(i64::from)).collect();
    Ok(Arc::new(out))
}

fn ipv4_stringify(_: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let out: StringViewArray =
        ipv4_values(args, rows)?.into_iter().map(|a| a.map(|a| Ipv4Addr::from(a).to_string())).collect();
    Ok(Arc::new(out))
}
