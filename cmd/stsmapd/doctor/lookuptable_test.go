package doctor

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
)

func TestRoutesIn(t *testing.T) {
	for _, c := range []struct {
		why, text string
		want      []string
	}{
		{"a service alone", "a.test\tslow:\n", []string{"slow"}},
		{"each once", "a.test slow:\nb.test slow:\n* fast:\n", []string{"slow", "fast"}},
		{"the MX hosts of a domain", "a.test slow:b.test\n", []string{"slow"}},
		{"a host", "a.test filter:[127.0.0.1]:10024\nb.test :[192.0.2.1]\n", nil},
		{"a domain without a service", "a.test :b.test\n", nil},
		{"a table in main.cf", "{ {a.test = slow:}, {b.test=fast: } }", []string{"slow", "fast"}},
		{"an expression", "/@a[.]test$/ slow:\n", []string{"slow"}},
		{"one entry for all", "slow:", []string{"slow"}},
		{"a comment", "# smtp:a.test\n", nil},
	} {
		if got := routesIn(c.text); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.why, got, c.want)
		}
	}
}

func TestReadRoutes(t *testing.T) {
	patterns := write(t, filepath.Join(t.TempDir(), "re"), "/x/ third:\n")
	p := fake(t, "", `[ "$1 $2" = "-s hash:/etc/transport" ] && echo 'a.test second:'`)
	f := Facts{Parameters: map[string]string{
		"transport_maps": "inline:{ {a.test = first:} }, proxy:hash:/etc/transport regexp:" + patterns +
			" mysql:/etc/transport.cf regexp:/nonexistent/stsmapd",
		"sender_dependent_default_transport_maps": "static:fourth:",
	}}
	p.readRoutes(context.Background(), &f)
	if want := []string{"first", "second", "third", "fourth"}; !slices.Equal(f.Routes, want) {
		t.Errorf("the tables name %q, want %q", f.Routes, want)
	}
}

// TestRoutedService: a service that a table of transports names sends mail to the internet.
func TestRoutedService(t *testing.T) {
	h := soundHost("3.7.11").add(service("slow/unix", "smtp", "n")).override("slow/unix", policyMaps, "")
	if r := Diagnose(h.Facts); !r.OK {
		t.Errorf("a service that nothing names: %+v", r.Findings)
	}
	h.Routes = []string{"slow"}
	if got := ids(Diagnose(h.Facts)); !slices.Equal(got, []string{"error map-overridden"}) {
		t.Errorf("a service that a table names: %q", got)
	}
}
