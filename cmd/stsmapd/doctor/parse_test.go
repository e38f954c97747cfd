package doctor

import (
	"maps"
	"slices"
	"testing"
)

func TestParseMaster(t *testing.T) {
	services := parseServices(`smtp       inet  n       -       y       -       -       smtpd
tlsmgr     unix  -       -       y       1000?   1       tlsmgr
smtp       unix  -       -       y       -       -       smtp
relay      unix  -       n       -       -       -       smtp -o syslog_name=postfix/$service_name ` +
		`-o { smtp_tls_policy_maps = a, b }
127.0.0.1:25 inet n      -       n       -       -       smtpd
postlog    unix-dgram n  -       n       -       1       postlogd
maildrop   unix  -       n       n       -       -       pipe flags=DRXhu user=vmail ` +
		`argv=/usr/bin/maildrop -d ${recipient}
broken
`)
	parseOverrides("relay/unix/syslog_name = postfix/relay\nrelay/unix/smtp_tls_policy_maps = a, "+
		"b\nsmtp/unix/relayhost =\n"+
		"no/unix/x = 1\nnonsense\n", services)
	want := []Service{
		{"smtp/inet", "smtpd", "y", false, map[string]string{}, nil, ""},
		{"tlsmgr/unix", "tlsmgr", "y", false, map[string]string{}, nil, ""},
		{"smtp/unix", "smtp", "y", false, map[string]string{"relayhost": ""}, nil, ""},
		{"relay/unix", "smtp", "-", true,
			map[string]string{"syslog_name": "postfix/relay", "smtp_tls_policy_maps": "a, b"}, nil, ""},
		{"127.0.0.1:25/inet", "smtpd", "n", false, map[string]string{}, nil, ""},
		{"postlog/unix-dgram", "postlogd", "n", false, map[string]string{}, nil, ""},
		{"maildrop/unix", "pipe", "n", true, map[string]string{}, nil, ""},
	}
	if !slices.EqualFunc(services, want, func(a, b Service) bool {
		return a.Name == b.Name && a.Command == b.Command && a.Chroot == b.Chroot && a.Root == b.Root &&
			maps.Equal(a.Overrides, b.Overrides)
	}) {
		t.Errorf("got %v\nwant %v", services, want)
	}
}

func TestParseParameters(t *testing.T) {
	got := parseParameters("mail_version = 3.7.11\nsmtp_tls_policy_maps =\nx = a = b, c\n\n")
	if want := map[string]string{
		"mail_version": "3.7.11", "smtp_tls_policy_maps": "", "x": "a = b, c"}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestSplitTables(t *testing.T) {
	for list, want := range map[string][]string{
		"":                                nil,
		" , ":                             nil,
		"a:b":                             {"a:b"},
		"a:b, c:d\te:f\ng:h":              {"a:b", "c:d", "e:f", "g:h"},
		"inline:{ {a = b}, {c = d} } x:y": {"inline:{ {a = b}, {c = d} }", "x:y"},
		"static:{secure match=a:b}":       {"static:{secure match=a:b}"},
		"{open a":                         {"{open a"},
	} {
		if got := splitLookupTables(list); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", list, got, want)
		}
	}
}

func TestVersion(t *testing.T) {
	for _, c := range []struct {
		text    string
		want    version
		atLeast bool // 3.10.5
	}{
		{"3.7.11", version{3, 7, 11}, false}, {"3.10.4", version{3, 10, 4}, false}, {"3.10.5", version{3, 10, 5}, true},
		{"3.11-20250823", version{3, 11, 0}, true}, {"3.4.0-RC2", version{3, 4, 0}, false},
		{"4.0", version{4, 0, 0}, true},
		{"2.11.0", version{2, 11, 0}, false}, {"3", version{1024, 0, 0}, true},
		{"", version{1024, 0, 0}, true}, {"a.b", version{1024, 0, 0}, true}, {"-3.-1", version{1024, 0, 0}, true},
	} {
		if got := parseVersion(c.text); got != c.want || got.atLeast(3, 10, 5) != c.atLeast {
			t.Errorf("%q: %v, at least 3.10.5: %v; want %v, %v", c.text, got, got.atLeast(3, 10, 5), c.want, c.atLeast)
		}
	}
}

func TestSurvey(t *testing.T) {
	h := soundHost("3.7.11").
		maps("hash:/a, proxy:hash:/b, ldap:/c, socketmap:unix:/run/x:sts, proxy:socketmap:unix:/run/y:sts "+
			"socketmap:inet:localhost:99:QUERY").
		set("smtp_tls_CApath", "/etc/ssl/certs").set(caFile, "ca.pem")
	h.Services[1].Overrides[policyMaps] = "static:may"
	s := surveyOf(h.Facts)
	same := func(what string, got, want any, equal bool) {
		if !equal {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	calls := []Query{{"unix:" + jail + "/run/x", "sts"}, {"unix:/run/y", "sts"}, {"inet:localhost:99", "QUERY"},
		{defaultServer, "sts"}}
	same("calls", s.Queries, calls, slices.Equal(s.Queries, calls))
	sockets := []SocketPath{{jail + "/run/x", jail}, {"/run/x", "/"}, {"/run/y", "/"}}
	same("sockets", s.Sockets, sockets, slices.Equal(s.Sockets, sockets))
	files := []string{jail + "/ca.pem"}
	same("files", s.Files, files, slices.Equal(s.Files, files))
	dirs := []string{jail + "/etc/ssl/certs"}
	same("directories", s.Dirs, dirs, slices.Equal(s.Dirs, dirs))
	paths := []string{jail + "/etc/hosts"}
	same("paths", s.Paths, paths, slices.Equal(s.Paths, paths))
	tables := []Lookup{
		{"static:may", probeDomain}, {"hash:/a", probeDomain}, {"proxy:hash:/b", probeDomain}, {"ldap:/c", probeDomain}}
	same("tables", s.Tables, tables, slices.Equal(s.Tables, tables))
}
