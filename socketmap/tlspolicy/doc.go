// Package tlspolicy answers Postfix's TLS policy lookups. It is the only package that knows Postfix's syntax for them.
//
// For each delivery Postfix looks up the next hop in smtp_tls_policy_maps. With `socketmap:inet:127.0.0.1:8461:NAME` it
// sends `NAME <next hop>` and reads the reply as a line of that table: a security level and attributes. For a domain
// with an MTA-STS policy that is `secure match=mx.example.com:.example.net servername=hostname`: verify the MX host's
// certificate, require one of these names in it, and send SNI. After NOTFOUND Postfix uses its own
// smtp_tls_security_level. After TEMP it keeps the mail and asks again later.
//
// The NAME lists what the asking Postfix can do (type Features), so that several versions can share one daemon. The
// next hop may have any of Postfix's forms (function ParseNextHop); only a host name can have a policy.
package tlspolicy
