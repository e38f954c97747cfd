package e2e

import (
	"fmt"
	"slices"
)

// doctorCase is a way to set up Postfix, what `stsmapd postfix` says of it, and what becomes of mail: the diagnosis is
// right only if the mail says so too.
type doctorCase struct {
	name, why   string
	from, until string // the first Postfix that it is for, and the first that it is not for any more; "": no bound
	chroot      bool
	asked       bool   // the administrator asked for what becomes of mail
	own         bool   // a Postfix of its own
	signed      bool   // domains with DNSSEC; see withDNSSEC
	args        string // of the service in master.cf, as written
	relayArgs   string // of the service relay
	master      string // more services of master.cf
	without     string // a service that master.cf does not have, such as tlsmgr/unix; the cure has its line
	main        string // lines behind those of main.cf, as written
	relay       string // the relay host
	predecessor string // the configuration of postfix-mta-sts-resolver on this host
	mode        string // of the policies; "": enforce
	// parameters, also of a second instance, which then gets the mail; @INET is stsmapd's address, @DIR a directory
	// with files for these cases
	set, second map[string]string
	say, notes  []string          // errors and warnings, and notes that are among others, by their ids
	cure        string            // part of the first one's cure
	byHand      map[string]string // what a cure says to set, and --apply does not
	// what becomes of mail for a domain without a policy, whose MX has no STARTTLS; "dead": the client dies of it
	open   string
	kept   string // what becomes of mail for a domain with a policy, whose MX meets it; "": not tried
	tls    string // of the latter; "" = in the clear, or no connection; "any" = not looked at
	broken string // what becomes of mail for a domain with a policy, whose MX does not meet it; "": not tried
	other  string // what becomes of mail for a domain without a policy, whose MX has STARTTLS; "": not tried
	last   string // what the dying client logs where it does not know its name yet
}

// isFor reports whether a Postfix of this version can be set up so.
func (c doctorCase) isFor(version string) bool {
	return (c.from == "" || !olderThan(version, c.from)) && (c.until == "" || olderThan(version, c.until))
}

// alone reports whether the case needs a Postfix of its own.
func (c doctorCase) alone() bool {
	return c.own || c.signed || c.master+c.without+c.main+c.predecessor != "" || c.second != nil
}

// olderThan reports whether a version of Postfix, such as 3.7.11 or 3.11-20250823, comes before major.minor.
func olderThan(version, bound string) bool {
	numbers := func(text string) []int {
		var major, minor int
		_, _ = fmt.Sscanf(text, "%d.%d", &major, &minor)
		return []int{major, minor}
	}
	return slices.Compare(numbers(version), numbers(bound)) < 0
}

// jail is the case's word in the chroot column of master.cf.
func (c doctorCase) jail() string {
	if c.chroot {
		return "y"
	}
	return "n"
}

// arguments are those of the service in master.cf.
func (c doctorCase) arguments() string { return "-o syslog_name=postfix/" + c.name + " " + c.args }

// ourMap is the right table for each Postfix.
const ourMap = "socketmap:inet:@INET:@STS"

func tables(value string) map[string]string { return map[string]string{"smtp_tls_policy_maps": value} }

// with is our map, and another setting.
func with(parameter, value string) map[string]string {
	return map[string]string{"smtp_tls_policy_maps": ourMap, parameter: value}
}

// doctorCases are the cases that every run tries.
var doctorCases = []doctorCase{
	{name: "right", why: "as README.md has it", set: tables(ourMap), open: "sent", kept: "sent", tls: "Verified",
		broken: "deferred"},
	{name: "rightjail", why: "the same, chrooted", chroot: true, set: tables(ourMap), open: "sent", kept: "sent",
		tls: "Verified", broken: "deferred"},
	{name: "nothing", why: "nobody is asked", set: tables(""), say: []string{"no-map"}, open: "sent", kept: "sent",
		tls: "Trusted", broken: "sent"},
	{
		name: "attributes", why: "this Postfix does not know the policy attributes",
		until: "3.10", set: tables("socketmap:inet:@INET:sts+tlsrpt"), say: []string{"unknown-attributes"},
		open: "sent", kept: "deferred",
	},
	{
		name: "plain", why: "this Postfix knows the policy attributes, and is not sent them", from: "3.10",
		set: tables("socketmap:inet:@INET:sts"), say: []string{"no-tlsrpt"}, open: "sent", kept: "sent",
		tls: "Verified", broken: "deferred",
	},
	{
		name: "nosni", why: "SNI is forbidden for no reason", set: tables(ourMap + "+nosni"),
		say: []string{"nosni-needless"}, open: "sent", kept: "sent", tls: "Verified", broken: "deferred",
	},
	{
		name: "patterns", why: "the patterns of policies are off", from: "3.10",
		set: with("smtp_tls_enforce_sts_mx_patterns", "no"), say: []string{"mx-patterns-off"}, open: "sent",
		kept: "sent", tls: "Verified", broken: "deferred",
	},
	{
		name: "nobody", why: "nobody answers",
		set: tables("socketmap:inet:127.0.0.1:1:@STS"), say: []string{"nobody-answers"}, open: "deferred",
		kept: "deferred",
	},
	{
		name: "mistaken", why: "another kind of server answers",
		set: tables("socketmap:inet:@SMTPD:@STS"), say: []string{"wrong-listener"}, open: "deferred",
	},
	{
		name: "misspelt", why: "no such feature",
		set: tables(ourMap + "+dnae"), say: []string{"unknown-map-name"}, open: "deferred", kept: "deferred",
	},
	{
		name: "wrongtype", why: "another protocol",
		set: tables("tcp:@INET"), say: []string{"map-malformed"}, open: "deferred", kept: "deferred",
	},
	{name: "noinet", why: "inet: forgotten", set: tables("socketmap:@INET:sts"), say: []string{"map-malformed"},
		open: "dead", kept: "dead"},

	{
		name: "outside", why: "the socket is outside of the chroot", chroot: true,
		set: tables("socketmap:unix:@DIR/sts.sock:@STS"), say: []string{"socket-outside-chroot"}, open: "deferred",
		kept: "deferred",
	},
	{
		name: "nojail", why: "the same without a chroot",
		set: tables("socketmap:unix:@DIR/sts.sock:@STS"), open: "sent", kept: "sent", tls: "Verified",
	},
	{
		name: "inside", why: "the socket is in the chroot", chroot: true,
		set: tables("socketmap:unix:/stsmapd.sock:@STS"), open: "sent", kept: "sent", tls: "Verified",
	},
	{
		name: "relative", why: "a relative path is the same",
		set: tables("socketmap:unix:stsmapd.sock:@STS"), open: "sent", kept: "sent", tls: "Verified",
	},
	{
		name: "relativejail", why: "in a chroot or not", chroot: true,
		set: tables("socketmap:unix:stsmapd.sock:@STS"), open: "sent", kept: "sent", tls: "Verified",
	},
	{
		name: "gone", why: "no socket anywhere",
		set: tables("socketmap:unix:@DIR/gone/sts.sock:@STS"), say: []string{"nobody-answers"}, open: "deferred",
		kept: "deferred",
	},
	{
		name: "closed", why: "Postfix's user gets not through to the socket",
		set: tables("socketmap:unix:@DIR/closed/sts.sock:@STS"), say: []string{"socket-permission"}, open: "deferred",
		kept: "deferred",
	},

	{
		name: "static", why: "a table for all domains before ours",
		set: tables("static:none, " + ourMap), say: []string{"map-hidden"}, open: "sent", kept: "sent",
	},
	{
		name: "pattern", why: "a pattern for all domains before ours",
		set: tables("regexp:@DIR/all.re " + ourMap), say: []string{"map-hidden"}, open: "sent", kept: "sent",
	},
	{
		name: "exceptions", why: "some domains before ours",
		set: tables("inline:{ {a.test = none}, {b.test = may} }, " + ourMap), open: "sent", kept: "sent",
		tls: "Verified",
	},
	{
		name: "default", why: "all other domains after ours",
		set: tables(ourMap + " static:may"), open: "sent", kept: "sent", tls: "Verified",
	},
	{
		name: "unmade", why: "a table that nobody made",
		set: tables("hash:@DIR/unmade, " + ourMap), say: []string{"table-broken"}, open: "deferred", kept: "deferred",
	},
	{
		name: "twice", why: "asked twice",
		set: tables(ourMap + ", " + ourMap + "+strict"), say: []string{"two-maps"}, open: "sent", kept: "sent",
		tls: "Verified",
	},
	{
		name: "old", why: "another daemon that is gone, after ours",
		set: tables(ourMap + ", socketmap:inet:127.0.0.1:1:QUERY"), say: []string{"other-daemon"}, open: "deferred",
		kept: "sent", tls: "Verified",
	},
	{
		name: "proxied", why: "through proxymap(8)", chroot: true,
		set: tables("proxy:" + ourMap), open: "sent", kept: "sent", tls: "Verified",
	},
	{
		name: "unproxied", until: "3.11", why: "through a proxymap(8) that may not",
		set: map[string]string{"smtp_tls_policy_maps": "proxy:" + ourMap + "+defer",
			"proxy_read_maps": "proxy:unix:passwd.byname"},
		say: []string{"proxy-unapproved"}, open: "dead", kept: "dead"},
	{
		name: "unapproved", from: "3.11", why: "the same, which no longer ends the SMTP client",
		set: map[string]string{"smtp_tls_policy_maps": "proxy:" + ourMap + "+defer",
			"proxy_read_maps": "proxy:unix:passwd.byname"},
		say: []string{"proxy-unapproved"}, open: "deferred", kept: "deferred"},

	{
		name: "noca", why: "no CA certificates",
		set: with("smtp_tls_CAfile", ""), say: []string{"no-ca"}, open: "sent", kept: "deferred", tls: "Untrusted",
	},
	{
		name: "lostca", why: "a CA file that is gone",
		set: with("smtp_tls_CAfile", "@DIR/gone.pem"), say: []string{"ca-unusable"}, open: "sent", kept: "deferred",
		other: "sent",
	},
	{
		name: "emptyca", why: "a CA file without a certificate",
		set: with("smtp_tls_CAfile", "@DIR/all.re"), say: []string{"ca-unusable"}, open: "sent", kept: "deferred",
	},
	{
		name: "anchors", why: "trust anchors in place of the CAs",
		set: with("smtp_tls_trust_anchor_file", "@DIR/untrusted.pem"), say: []string{"trust-anchors"}, open: "sent",
		kept: "deferred", tls: "Untrusted",
	},
	{
		name: "none", why: "policies are kept, other mail goes in the clear",
		set: with("smtp_tls_security_level", "none"), say: []string{"level-none"}, open: "sent", kept: "sent",
		tls: "Verified",
	},
	{
		name: "legacy", why: "the old switch",
		set: map[string]string{"smtp_tls_policy_maps": ourMap, "smtp_tls_security_level": "", "smtp_use_tls": "yes"},
		say: []string{"level-legacy"}, open: "sent", kept: "sent", tls: "Verified"},
	{
		name: "dane", why: "DANE without DNSSEC is no DANE",
		set: with("smtp_tls_security_level", "dane"), say: []string{"dane-not-told", "dane-without-dnssec"},
		open: "sent", kept: "sent", tls: "Verified",
	},
	{
		name: "daneonly", why: "without DNSSEC it stops all other mail",
		set: with("smtp_tls_security_level", "dane-only"), say: []string{"dane-not-told", "dane-without-dnssec"},
		open: "deferred", kept: "sent", tls: "Verified"},
	{
		name: "daneanswer", why: "what stsmapd answers to +dane stops mail without DNSSEC",
		set: tables("static:dane-only"), say: []string{"no-map"}, open: "deferred", kept: "deferred",
	},
	{
		name: "undane", why: "told of DANE, which Postfix cannot do",
		set: tables(ourMap + "+dane"), say: []string{"dane-not-done"}, open: "sent", kept: "sent", tls: "Verified",
	},
}
