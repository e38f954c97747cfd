package doctor

import (
	"slices"
	"strings"
	"testing"
)

func TestListeners(t *testing.T) {
	const socket = jail + "/stsmapd/sts.sock"
	for _, c := range []struct {
		why       string
		host      *host
		listeners []string
		line      string // the table that should be added
		blocked   int
	}{
		{"the default, running", soundHost("3.7.11"), nil, ourMap + "sts", 0},
		{"the default, not running", soundHost("3.7.11").answer(defaultServer, NoConnection, "sts"), nil,
			ourMap + "sts", 1},
		{"the default, another daemon in its place", soundHost("3.7.11").answer(defaultServer, OtherMap, "sts"), nil,
			ourMap + "sts", 1},
		{"the default, nobody knows", soundHost("3.7.11").answer(defaultServer, Forbidden, "sts"), nil, ourMap + "sts",
			0},
		{"every address", soundHost("3.7.11"), []string{"inet:0.0.0.0:8461"}, ourMap + "sts", 0},
		{"every address of both kinds", soundHost("3.7.11"), []string{"inet:[::]:8461"}, ourMap + "sts", 0},
		{"another address",
			soundHost("3.7.11").answer("inet:192.0.2.1:99", Stsmapd, "sts"), []string{"inet:192.0.2.1:99"},
			"socketmap:inet:192.0.2.1:99:sts", 0},
		{"the second of two", soundHost("3.7.11").answer("inet:192.0.2.1:99", NoConnection, "sts"),
			[]string{"inet:192.0.2.1:99", defaultServer}, ourMap + "sts", 0},
		{"a socket in the chroot",
			soundHost("3.7.11").socket(socket, jail, SocketOpen).answer("unix:"+socket, Stsmapd, "sts"),
			[]string{"unix:" + socket},
			"socketmap:unix:/stsmapd/sts.sock:sts", 0},
		{"the same without a chroot",
			soundHost("3.7.11").chroot("n").socket(socket, "/", SocketOpen).answer("unix:"+socket, Stsmapd, "sts"),
			[]string{"unix:" + socket},
			"socketmap:unix:" + socket + ":sts", 0},
		{"the same, one service with a chroot and one without",
			half(soundHost("3.7.11")).socket(socket, jail, SocketOpen).answer("unix:"+socket, Stsmapd, "sts"),
			[]string{"unix:" + socket}, "socketmap:unix:stsmapd/sts.sock:sts", 0},
		{"a socket that Postfix may not use",
			soundHost("3.7.11").answer(defaultServer, NoConnection, "sts").socket(socket, jail,
				SocketClosed).answer("unix:"+socket,
				Stsmapd, "sts"),
			[]string{"unix:" + socket}, "socketmap:unix:/stsmapd/sts.sock:sts", 1},
		{"a socket out of the chroot's reach, and nothing else",
			soundHost("3.7.11").answer(defaultServer, NoConnection, "sts"), []string{"unix:/run/stsmapd/sts.sock"},
			ourMap + "sts", 1},
		{"a socket out of the chroot's reach, and the default after all", soundHost("3.7.11"),
			[]string{"unix:/run/stsmapd/sts.sock"}, ourMap + "sts", 0},
	} {
		t.Run(c.why, func(t *testing.T) {
			h := c.host.maps("")
			if c.listeners != nil {
				h.Listeners = c.listeners
			}
			r := Diagnose(h.Facts)
			if got := changed(r)[policyMaps]; got != c.line {
				t.Errorf("the line is %q, want %q", got, c.line)
			}
			if len(r.Blocked) != c.blocked {
				t.Errorf("blocked: %q, want %d", r.Blocked, c.blocked)
			}
		})
	}
}

// half is a Postfix whose service relay is not chrooted.
func half(h *host) *host {
	h.service("relay/unix").Chroot = "n"
	return h
}

func TestBlockedWithoutAuthorities(t *testing.T) {
	h := soundHost("3.7.11").set(caFile, "")
	h.Bundle = ""
	if r := Diagnose(h.Facts); r.Blocked == nil || len(r.Blocked) != 0 {
		t.Errorf("blocked, though Postfix asks stsmapd already: %q", r.Blocked)
	}
	r := Diagnose(h.maps("").Facts)
	if len(r.Blocked) != 1 || !strings.Contains(r.Blocked[0], "CA certificates") {
		t.Errorf("without CA certificates: blocked %q", r.Blocked)
	}
	if cure := find(t, r, "no-ca").Cure; !strings.Contains(cure, "install") {
		t.Errorf("the cure without a file of CA certificates: %s", cure)
	}
}

// TestBlockedByPerSite: to name the first table switches the old ones off, which may have kept mail from going in the
// clear.
func TestBlockedByPerSite(t *testing.T) {
	h := soundHost("3.7.11").set("smtp_tls_per_site", "hash:/etc/postfix/per_site")
	if r := Diagnose(h.maps("hash:/etc/postfix/tls").Facts); len(r.Blocked) > 0 {
		t.Errorf("blocked, though smtp_tls_per_site has no effect already: %q", r.Blocked)
	}
	if r := Diagnose(h.maps("").Facts); len(r.Blocked) != 1 || !strings.Contains(r.Blocked[0], "smtp_tls_per_site") {
		t.Errorf("blocked %q, want it to be for smtp_tls_per_site", r.Blocked)
	}
}

func TestOverrides(t *testing.T) {
	filter := func(h *host) *host { return h.add(service("amavis/unix", "smtp", "y")) }
	good := ourMap + "sts"
	for _, c := range []struct {
		why     string
		host    *host
		ids     []string
		service string // of every finding
		fixes   []Fix
	}{
		{"a content filter without TLS", filter(soundHost("3.7.11")).override("amavis/unix", securityLevel, "none"),
			nil,
			"", nil},
		{"a content filter that asks nobody",
			filter(soundHost("3.7.11")).override("amavis/unix", policyMaps, ""), []string{"note side-service"},
			"amavis/unix", nil},
		{"a content filter that asks with a wrong name",
			filter(soundHost("3.7.11")).override("amavis/unix", policyMaps, good+"+tlsrpt"),
			[]string{"error unknown-attributes"}, "amavis/unix", []Fix{{"amavis/unix", policyMaps, good}}},
		{"mail to the internet asks nobody",
			soundHost("3.7.11").override("relay/unix", policyMaps, "hash:/etc/postfix/tls"),
			[]string{"error map-overridden"}, "relay/unix",
			[]Fix{{"relay/unix", policyMaps, "hash:/etc/postfix/tls," + good}}},
		{"mail to the internet without TLS", soundHost("3.7.11").override("smtp/unix", securityLevel, "none"),
			[]string{"warning level-none"}, "smtp/unix", []Fix{{"smtp/unix", securityLevel, "may"}}},
		{"mail to the internet with DANE",
			soundHost("3.7.11").override("smtp/unix", securityLevel, "dane").override("smtp/unix", dnsSupport,
				"dnssec").
				override("smtp/unix", policyMaps, good), []string{"error dane-not-told"}, "smtp/unix",
			[]Fix{{"smtp/unix", policyMaps, good + "+dane"}}},
		{"one more way to the internet",
			soundHost("3.7.11").set("default_transport",
				"out:[192.0.2.1]").add(service("out/unix", "smtp", "n")).override("out/unix", caFile, ""),
			[]string{"error no-ca"}, "out/unix", []Fix{{"out/unix", caFile, bundleFile}}},
	} {
		t.Run(c.why, func(t *testing.T) {
			r := Diagnose(c.host.Facts)
			if got := ids(r); !slices.Equal(got, c.ids) {
				t.Errorf("findings %q, want %q", got, c.ids)
			}
			if len(r.Changes) > 0 {
				t.Errorf("changes to main.cf for what is in master.cf: %v", r.Changes)
			}
			for _, f := range r.Findings {
				if !slices.Equal(f.Services, []string{c.service}) || !slices.Equal(f.Fixes, c.fixes) {
					t.Errorf("%s: services %v, fixes %v; want %s, %v", f.ID, f.Services, f.Fixes, c.service, c.fixes)
				}
			}
		})
	}
}

// TestComposed is about values that are made of other parameters, which an edit must not spell out.
func TestComposed(t *testing.T) {
	h := soundHost("3.7.11")
	h.Written[policyMaps], h.Parameters[policyMaps] = "hash:$config_directory/tls, "+ourMap+"sts+tlsrpt",
		"hash:/etc/postfix/tls,"+ourMap+"sts+tlsrpt"
	if got := changed(Diagnose(h.Facts))[policyMaps]; got != "hash:$config_directory/tls, "+ourMap+"sts" {
		t.Errorf("a table with a parameter in it becomes %q", got)
	}
	h.Written[policyMaps], h.Parameters[policyMaps] = "$tables", "hash:/etc/postfix/tls static:may"
	r := Diagnose(h.Facts)
	if len(r.Changes) > 0 {
		t.Errorf("changes where the tables cannot be told apart: %v", r.Changes)
	}
	if cure := find(t, r, "no-map").Cure; !strings.Contains(cure, ourMap+"sts") {
		t.Errorf("the cure does not name the table to add: %s", cure)
	}
	h.Written[policyMaps], h.Parameters[policyMaps] = "$sts", ourMap+"sts"
	if r := Diagnose(h.Facts); len(r.Findings) > 0 {
		t.Errorf("a right value that is made of others: %q", ids(r))
	}
}
