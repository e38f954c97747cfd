package e2e

// doctorCase is a way to set up Postfix, what `stsmapd postfix` says of it, and what becomes of mail: the diagnosis is
// right only if the mail says so too.
type doctorCase struct {
	name, why string
	chroot    bool
	args      string            // of the service in master.cf, as written
	relay     string            // the relay host
	set       map[string]string // parameters; @INET is stsmapd's address, @DIR a directory with files for these cases
	say       []string          // errors and warnings, by their ids
	// what becomes of mail for a domain without a policy, whose MX has no STARTTLS; "dead": the client dies of it
	open string
	kept string // what becomes of mail for a domain with a policy, whose MX meets it; "": not tried
	tls  string // of the latter; "" = in the clear, or no connection; "any" = not looked at
	last string // what the dying client logs where it does not know its name yet
}

const ourMap = "socketmap:inet:@INET:sts"

func tables(value string) map[string]string { return map[string]string{"smtp_tls_policy_maps": value} }

// with is our map, and another setting.
func with(parameter, value string) map[string]string {
	return map[string]string{"smtp_tls_policy_maps": ourMap, parameter: value}
}

// doctorCases are for a Postfix between 3.4 and 3.9.
var doctorCases = []doctorCase{
	{name: "right", why: "as README.md has it", set: tables(ourMap), open: "sent", kept: "sent", tls: "Verified"},
	{name: "rightjail", why: "the same, chrooted", chroot: true, set: tables(ourMap), open: "sent", kept: "sent",
		tls: "Verified"},
	{name: "nothing", why: "nobody is asked", set: tables(""), say: []string{"no-map"}, open: "sent", kept: "sent",
		tls: "Trusted"},
	{
		name: "attributes", why: "this Postfix does not know the policy attributes",
		set: tables(ourMap + "+tlsrpt"), say: []string{"unknown-attributes"}, open: "sent", kept: "deferred",
	},
	{
		name: "nobody", why: "nobody answers",
		set: tables("socketmap:inet:127.0.0.1:1:sts"), say: []string{"nobody-answers"}, open: "deferred",
		kept: "deferred",
	},
	{
		name: "mistaken", why: "another kind of server answers",
		set: tables("socketmap:inet:@SMTPD:sts"), say: []string{"wrong-listener"}, open: "deferred",
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
		open: "dead"},

	{
		name: "outside", why: "the socket is outside of the chroot", chroot: true,
		set: tables("socketmap:unix:@DIR/sts.sock:sts"), say: []string{"socket-outside-chroot"}, open: "deferred",
		kept: "deferred",
	},
	{
		name: "nojail", why: "the same without a chroot",
		set: tables("socketmap:unix:@DIR/sts.sock:sts"), open: "sent", kept: "sent", tls: "Verified",
	},
	{
		name: "inside", why: "the socket is in the chroot", chroot: true,
		set: tables("socketmap:unix:/stsmapd.sock:sts"), open: "sent", kept: "sent", tls: "Verified",
	},
	{
		name: "relative", why: "a relative path is the same",
		set: tables("socketmap:unix:stsmapd.sock:sts"), open: "sent", kept: "sent", tls: "Verified",
	},
	{
		name: "relativejail", why: "in a chroot or not", chroot: true,
		set: tables("socketmap:unix:stsmapd.sock:sts"), open: "sent", kept: "sent", tls: "Verified",
	},
	{
		name: "gone", why: "no socket anywhere",
		set: tables("socketmap:unix:@DIR/gone/sts.sock:sts"), say: []string{"nobody-answers"}, open: "deferred",
		kept: "deferred",
	},
	{
		name: "closed", why: "Postfix's user gets not through to the socket",
		set: tables("socketmap:unix:@DIR/closed/sts.sock:sts"), say: []string{"socket-permission"}, open: "deferred",
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
		name: "unproxied", why: "through a proxymap(8) that may not",
		set: map[string]string{"smtp_tls_policy_maps": "proxy:" + ourMap + "+defer",
			"proxy_read_maps": "proxy:unix:passwd.byname"},
		say: []string{"proxy-unapproved"}, open: "dead"},

	{
		name: "noca", why: "no CA certificates",
		set: with("smtp_tls_CAfile", ""), say: []string{"no-ca"}, open: "sent", kept: "deferred", tls: "Untrusted",
	},
	{
		name: "lostca", why: "a CA file that is gone",
		set: with("smtp_tls_CAfile", "@DIR/gone.pem"), say: []string{"ca-unusable"}, open: "sent", kept: "deferred",
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
