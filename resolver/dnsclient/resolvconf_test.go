package dnsclient

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

var resolvConfCases = []struct {
	why, text string
	servers   string // joined by spaces
	trustAD   bool
	ignored   string // in the error; "" for none
}{
	{"empty", "", "", false, ""},
	{"one", "nameserver 192.0.2.1\n", "192.0.2.1:53", false, ""},
	{"no newline at the end", "nameserver 192.0.2.1", "192.0.2.1:53", false, ""},
	{"CRLF", "nameserver 192.0.2.1\r\noptions trust-ad\r\n", "192.0.2.1:53", true, ""},
	{"tabs and blanks", "  nameserver\t 192.0.2.1  \n", "192.0.2.1:53", false, ""},
	{"IPv6", "nameserver 2001:db8::1", "[2001:db8::1]:53", false, ""},
	{"scope id", "nameserver fe80::1%eth0", "[fe80::1%eth0]:53", false, ""},
	{"mapped IPv4", "nameserver ::ffff:127.0.0.1", "127.0.0.1:53", false, ""},
	{"port", "nameserver 192.0.2.1:5353\nnameserver [2001:db8::1]:5353", "192.0.2.1:5353 [2001:db8::1]:5353", false,
		""},
	{"comments", "# nameserver 192.0.2.1\n; nameserver 192.0.2.2\nnameserver 192.0.2.3 # third\nnameserver " +
		"192.0.2.4;fourth", "192.0.2.3:53 192.0.2.4:53", false, ""},
	{"first three", "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4",
		"192.0.2.1:53 192.0.2.2:53 192.0.2.3:53", false, "line 4 ignored: nameserver 192.0.2.4 is one more than the 3"},
	{"bad ones do not count among the three",
		"nameserver a\nnameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3",
		"192.0.2.1:53 192.0.2.2:53 192.0.2.3:53", false, "line 1"},
	{"other keywords", "search example.com\ndomain example.com\nsortlist 192.0.2.0\nlookup file\nnameservers " +
		"192.0.2.9", "", false, `line 5 ignored: unknown keyword "nameservers"`},
	{"options add up", "options ndots:2 trust-ad\noptions rotate", "", true, ""},
	{"trust-ad in a comment", "options edns0 # trust-ad", "", false, ""},
	{"trust-ad is one word", "options no-trust-ad trust-adx\ntrust-ad", "", false, `unknown option "no-trust-ad"`},
	{"options without a meaning for complete names", "options ndots:2 edns0 single-request inet6 debug", "", false, ""},
	{"options that a setting replaces", "options timeout:1 attempts:1", "", false,
		"line 1 ignored: option timeout: the setting dns.timeout counts\noption attempts: the setting dns.attempts"},
	{"and one that cannot be met", "options no-aaaa", "", false, "no-aaaa"},
	{"host name", "nameserver dns.example", "", false, `line 1 ignored: dns server "dns.example"`},
	{"no address", "\nnameserver\n", "", false, "line 2 ignored: nameserver without an address"},
	{"few ignored lines are named", strings.Repeat("nameserver x\n", 100), "", false, "line 3"},
	{"and they are cut", "nameserver " + strings.Repeat("x", 10000), "", false, "xxx…"},
}

func TestParseResolvConf(t *testing.T) {
	for _, tc := range resolvConfCases {
		conf := parseResolvConf(tc.text)
		var servers []string
		for _, s := range conf.servers {
			servers = append(servers, s.String())
		}
		if got := strings.Join(servers, " "); got != tc.servers || conf.trustAD != tc.trustAD {
			t.Errorf("%s: got %q, trust-ad %v, want %q, %v", tc.why, got, conf.trustAD, tc.servers, tc.trustAD)
		}
		ignored := ""
		if conf.ignored != nil {
			ignored = conf.ignored.Error()
		}
		if (ignored == "") != (tc.ignored == "") || !strings.Contains(ignored, tc.ignored) || len(ignored) > 1000 {
			t.Errorf("%s: ignored %q, want %q", tc.why, ignored, tc.ignored)
		}
	}
}

func TestResolvConfOptions(t *testing.T) {
	for _, tc := range []struct {
		text        string
		tcp, rotate bool
	}{
		{"options use-vc", true, false},
		{"options edns0 use-vc rotate", true, true},
		{"options rotate", false, true},
		{"options edns0", false, false},
		{"# options use-vc", false, false},
		{"use-vc", false, false},
	} {
		if conf := parseResolvConf(tc.text); conf.tcp != tc.tcp || conf.rotate != tc.rotate {
			t.Errorf("%q: by TCP only %v, in rotation %v; want %v, %v", tc.text, conf.tcp, conf.rotate, tc.tcp,
				tc.rotate)
		}
	}
}

func FuzzParseResolvConf(f *testing.F) {
	for _, tc := range resolvConfCases {
		f.Add(tc.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		conf := parseResolvConf(text)
		if len(conf.servers) > maxNameservers {
			t.Fatalf("%d servers", len(conf.servers))
		}
		var again strings.Builder
		for _, s := range conf.servers {
			again.WriteString("nameserver " + s.String() + "\n")
		}
		if conf.trustAD {
			again.WriteString("options trust-ad\n")
		}
		if conf.tcp {
			again.WriteString("options use-vc\n")
		}
		if conf.rotate {
			again.WriteString("options rotate\n")
		}
		back := parseResolvConf(again.String())
		if !slices.Equal(back.servers, conf.servers) || back.trustAD != conf.trustAD ||
			back.tcp != conf.tcp || back.rotate != conf.rotate || back.ignored != nil {
			t.Fatalf("%q became %q, which is read as %+v", text, again.String(), back)
		}
	})
}

var serverCases = []struct {
	why, text, want string // want "": an error
}{
	{"IPv4", "192.0.2.53", "192.0.2.53:53"},
	{"IPv4 with a port", "192.0.2.53:5353", "192.0.2.53:5353"},
	{"IPv6", "2001:db8::1", "[2001:db8::1]:53"},
	{"IPv6 in brackets", "[2001:db8::1]", "[2001:db8::1]:53"},
	{"IPv6 with a port", "[2001:db8::1]:5353", "[2001:db8::1]:5353"},
	{"scope id", "fe80::1%eth0", "[fe80::1%eth0]:53"},
	{"scope id and a port", "[fe80::1%eth0]:5353", "[fe80::1%eth0]:5353"},
	{"mapped IPv4", "[::ffff:192.0.2.1]:53", "192.0.2.1:53"},
	{"highest port", "192.0.2.53:65535", "192.0.2.53:65535"},
	{"empty", "", ""},
	{"host name", "dns.example", ""},
	{"host name with a port", "localhost:53", ""},
	{"port 0", "192.0.2.53:0", ""},
	{"port too high", "192.0.2.53:65536", ""},
	{"port by name", "192.0.2.53:domain", ""},
	{"port missing after the colon", "192.0.2.53:", ""},
	{"signed port", "192.0.2.53:+53", ""},
	{"port only", ":53", ""},
	{"IPv4 in brackets", "[192.0.2.53]:53", ""},
	{"bracket not closed", "[2001:db8::1", ""},
	{"text after the bracket", "[2001:db8::1]53", ""},
	{"scope id on IPv4", "192.0.2.53%eth0", ""},
	{"scope id that is no interface", "fe80::1%]:53", ""},
	{"scope id too long", "fe80::1%abcdefghijklmnop", ""},
	{"leading zeros may be octal", "192.0.2.010", ""},
	{"URL", "tls://192.0.2.53", ""},
	{"blank", " 192.0.2.53", ""},
}

func TestParseServer(t *testing.T) {
	for _, tc := range serverCases {
		got, err := parseServer(tc.text)
		switch {
		case tc.want == "" && (err == nil || !strings.Contains(err.Error(), `dns server "`+tc.text+`"`)):
			t.Errorf("%s: got %v, %v, want an error that names %q", tc.why, got, err, tc.text)
		case tc.want != "" && (err != nil || got.String() != tc.want):
			t.Errorf("%s: got %v, %v, want %s", tc.why, got, err, tc.want)
		}
	}
}

func FuzzParseServer(f *testing.F) {
	for _, tc := range serverCases {
		f.Add(tc.text)
	}
	f.Fuzz(func(t *testing.T, s string) {
		addr, err := parseServer(s)
		if err != nil {
			if addr != (netip.AddrPort{}) || len(err.Error()) > 1000 || !utf8.ValidString(err.Error()) {
				t.Fatalf("%q: %v, %v", s, addr, err)
			}
			return
		}
		if again, err := parseServer(addr.String()); err != nil || again != addr {
			t.Fatalf("%q is %v, which is read as %v, %v", s, addr, again, err)
		}
	})
}
