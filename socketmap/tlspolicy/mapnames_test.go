package tlspolicy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stsmapd/stsmapd/resolver"
	"github.com/stsmapd/stsmapd/resolver/testkit"
	"github.com/stsmapd/stsmapd/socketmap"
	"github.com/stsmapd/stsmapd/socketmap/netstring"
)

func TestConfiguredMapNames(t *testing.T) {
	names := NewMapNames(map[string]Features{
		"office": {Strict: true}, "Zone.2_x-y": {}, "postfix": {Strict: true, Defer: true}, "query": {},
	})
	for _, c := range []struct {
		why, name string
		want      Features
	}{
		{"a zone of postfix-mta-sts-resolver", "office", Features{Strict: true}},
		{"any printable name", "Zone.2_x-y", Features{}},
		{"another meaning for another daemon's name", "postfix", Features{Strict: true, Defer: true}},
		{"which is known in any case", "QUERY", Features{}},
		{"as it was", "Query", Features{}},
		{"the others keep theirs", "QUERYwithTLSRPT", Features{DANE: true, TLSRPT: true}},
		{"lists keep theirs", "sts+dane", Features{DANE: true}},
	} {
		if got, err := names.Parse(c.name); err != nil || got != c.want {
			t.Errorf("%s: %q: %+v, %v", c.why, c.name, got, err)
		}
	}
	for _, name := range []string{"Office", "office+dane", "virtual", ""} {
		if got, err := names.Parse(name); err == nil {
			t.Errorf("%q: %+v, want an error", name, got)
		}
	}
}

func TestCheckMapName(t *testing.T) {
	const form, fixed = "it is not 1 to 100 printable ASCII", "cannot be changed"
	for _, c := range []struct{ why, name, want string }{
		{"sts itself", "sts", fixed},
		{"a list", "sts+dane", fixed},
		{"what could become a list", "sts+later", fixed},
		{"a space, which ends a map name", "my office", form},
		{"a colon, at which Postfix splits", "a:b", form},
		{"a brace", "{office", form},
		{"no name", "", form},
		{"too long", strings.Repeat("x", 101), form},
		{"not ASCII", "büro", form},
	} {
		if err := CheckMapName(c.name); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.why, err, c.want)
		}
	}
	for _, name := range []string{"office", "postfix", "query", "stsoffice", "STS", "a.b-c_d/e",
		strings.Repeat("x", 100)} {
		if err := CheckMapName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestMapNamesChangeAtOnce: names that were parsed before a reload do not keep their meaning after it.
func TestMapNamesChangeAtOnce(t *testing.T) {
	absent := resolver.Verdict{Outcome: resolver.Absent}
	enforce := resolver.Verdict{Outcome: resolver.Enforce, Policy: held(t, plainPolicy)}
	h := NewHandler(answers{t, map[resolver.Question]resolver.Verdict{
		question("example.com", Features{}):             absent,
		question("example.com", Features{Strict: true}): enforce,
	}}, slog.New(slog.DiscardHandler))
	for _, c := range []struct {
		why    string
		names  map[string]Features
		status socketmap.Status
	}{
		{"unknown at first", nil, socketmap.StatusPerm},
		{"added", map[string]Features{"office": {}}, socketmap.StatusNotFound},
		{"changed", map[string]Features{"office": {Strict: true}}, socketmap.StatusOK},
		{"removed", nil, socketmap.StatusPerm},
	} {
		h.SetMapNames(NewMapNames(c.names))
		for range 2 {
			got := h.ServeSocketmap(t.Context(), socketmap.Request{Map: []byte("office"), Key: []byte("example.com")})
			if got.Status() != c.status {
				t.Errorf("%s: %v", c.why, got)
			}
		}
	}
}

// TestForeignCommands: the program of postfix-tlspol sends its daemon these requests, and then reads up to a newline
// (-query), which a netstring does not have, or to the end. The connection ends after the text, which names the command
// of stsmapd.
func TestForeignCommands(t *testing.T) {
	h := NewHandler(answers{t, nil}, slog.New(slog.DiscardHandler))
	server := &socketmap.Server{Handler: h, Logger: slog.New(slog.DiscardHandler)}
	listener, err := socketmap.Listen("inet:127.0.0.1:0", socketmap.ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(listener)
	t.Cleanup(func() { _ = server.Shutdown(context.Background()) })
	for request, counterpart := range map[string]string{
		"JSON example.com": "JSON: use `stsmapd check DOMAIN` or `stsmapd query DOMAIN`",
		"json example.com": "JSON: use `stsmapd check DOMAIN` or `stsmapd query DOMAIN`",
		"DUMP":             "DUMP: use `stsmapd cache list`",
		"EXPORT":           "EXPORT: use `stsmapd cache export --postfix`",
		"PURGE":            "PURGE: use `stsmapd cache forget DOMAIN`",
		"PURGE now":        "PURGE: use `stsmapd cache forget DOMAIN`",
	} {
		want := string(netstring.Append(nil,
			"PERM this is stsmapd, which does not have postfix-tlspol's command "+counterpart))
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(testkit.Hang))
		if _, err := conn.Write(netstring.Append(nil, request)); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(conn); string(got) != want || err != nil {
			t.Errorf("%s: %q, %v, want %q and the end", request, got, err, want)
		}
	}
	for name, key := range map[string]string{"QUERY": "", "sts": ""} {
		got := h.ServeSocketmap(t.Context(), socketmap.Request{Map: []byte(name), Key: []byte(key), NoKey: true})
		if got != socketmap.NoKeyReply() {
			t.Errorf("%s without a key: %v", name, got)
		}
	}
	if _, err := ParseMapName("JSONx"); errors.As(err, new(*ForeignCommandError)) {
		t.Error("JSONx is taken for a command")
	}
}

// TestSmartHosts: packaging/docs/migration.md says that a smart host's policy is answered, whichever daemon's map name
// asks; postfix-tlspol answers NOTFOUND for these next hops.
func TestSmartHosts(t *testing.T) {
	enforce := resolver.Verdict{Outcome: resolver.Enforce, Policy: held(t, plainPolicy)}
	known := map[resolver.Question]resolver.Verdict{}
	hops := []string{"[mail.example.com]", "[mail.example.com]:587", "[mail.example.com]:submission", "example.com:587"}
	for _, hop := range append(hops, "example.com", "[mail.example.com]") { // the port matters to DANE alone
		for _, f := range []Features{{}, {DANE: true}} {
			known[question(hop, f)] = enforce
		}
	}
	h := NewHandler(answers{t, known}, slog.New(slog.DiscardHandler))
	for _, name := range []string{"sts", "postfix", "QUERY", "QUERYwithTLSRPT"} {
		for _, hop := range hops {
			got := h.ServeSocketmap(t.Context(), socketmap.Request{Map: []byte(name), Key: []byte(hop)})
			if got.Status() != socketmap.StatusOK || !strings.HasPrefix(got.Data(), "secure match=") {
				t.Errorf("%s %s: %v", name, hop, got)
			}
		}
		got := h.ServeSocketmap(t.Context(), socketmap.Request{Map: []byte(name), Key: []byte("[192.0.2.1]:587")})
		if got.Status() != socketmap.StatusNotFound {
			t.Errorf("%s, an address: %v", name, got)
		}
	}
}
