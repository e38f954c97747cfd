// Package tlspolicy answers Postfix's TLS policy lookups: it is the only place that knows how Postfix spells them.
//
// For each delivery Postfix looks up the next hop in smtp_tls_policy_maps. With `socketmap:inet:127.0.0.1:8461:NAME` it
// sends `NAME <next hop>` and takes the reply as a line of that table: a security level and attributes. For a domain
// with an MTA-STS policy that is `secure match=mx.example.com:.example.net servername=hostname`: verify the MX host's
// certificate, let its name be one of those, and send SNI. NOTFOUND leaves Postfix to its own smtp_tls_security_level;
// TEMP makes it keep the mail and ask again later.
//
// The NAME says what the asking Postfix can do (type Features), so that several versions can share one daemon. The next
// hop comes in all of Postfix's forms (function ParseNextHop); only a name has a policy.
package tlspolicy
