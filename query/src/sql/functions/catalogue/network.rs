//! Functions of IP addresses.

use super::Family::Network;
use super::FunctionDoc;

pub(super) const ROWS: &[FunctionDoc] = &[
    FunctionDoc::scalar(
        Network,
        "IPV4_MATCH",
        "IPV4_MATCH(address, 'subnet')",
        "Whether the address, a text or a number, is in the subnet; what is no address is in none.",
        "IPV4_MATCH('10.1.2.3', '10.0.0.0/8')",
        "true",
    ),
    FunctionDoc::scalar(
        Network,
        "IPV4_PARSE",
        "IPV4_PARSE(address)",
        "The address as a number; null when it is none.",
        "IPV4_PARSE('10.0.0.1')",
        "167772161",
    ),
    FunctionDoc::scalar(
        Network,
        "IPV4_STRINGIFY",
        "IPV4_STRINGIFY(address)",
        "The address as text; null when it is none.",
        "IPV4_STRINGIFY(167772161)",
        "\"10.0.0.1\"",
    ),
    FunctionDoc::scalar(
        Network,
        "IPV6_MATCH",
        "IPV6_MATCH(address, 'subnet')",
        "As IPV4_MATCH, for IPv6.",
        "IPV6_MATCH('2001:db8::1', '2001:db8::/32')",
        "true",
    ),
];
