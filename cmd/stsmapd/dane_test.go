package main

import (
	"bytes"
	"testing"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/logging"
	"github.com/stsmapd/stsmapd/socketmap/tlspolicy"
)

func TestNamesDANE(t *testing.T) {
	office, _ := tlspolicy.ParseFeatures("sts+dane")
	names := tlspolicy.NewMapNames(map[string]tlspolicy.Features{"office": office})
	for _, c := range []struct {
		why, text string
		want      bool
	}{
		{"none", "", false},
		{"without dane", "smtp_tls_policy_maps = socketmap:inet:127.0.0.1:8461:sts\n", false},
		{"with it", "smtp_tls_policy_maps = socketmap:inet:127.0.0.1:8461:sts+dane\n", true},
		{"after another map", "x = hash:/etc/postfix/tls,\n socketmap:unix:/run/a.sock:sts+tlsrpt+dane\n", true},
		{"the name of another daemon", "x = socketmap:inet:[::1]:8461:QUERY", true},
		{"a name of [maps]", "x = socketmap:inet:[::1]:8461:office", true},
		{"a comment", " # socketmap:inet:127.0.0.1:8461:sts+dane\n", false},
	} {
		if got := namesDANE(c.text, names); got != c.want {
			t.Errorf("%s: %v, want %v", c.why, got, c.want)
		}
	}
}

// TestDANELines: one line for each change, of at most 120 characters in the journal.
func TestDANELines(t *testing.T) {
	for _, c := range []struct {
		why, before, now string
		lines            int
	}{
		{"not trusted", "", "the AD bit of the resolver is not trusted", 1},
		{"does not validate", "", "the resolver does not validate", 1},
		{"as before", "the resolver does not validate", "the resolver does not validate", 0},
		{"repaired", "the resolver does not validate", "", 1},
		{"never a problem", "", "", 0},
	} {
		var out bytes.Buffer
		log := logging.New(&out, true)
		d := &daemon{log: log.Logger()}
		d.tellDANE(c.before, c.now)
		log.Close(hangLimit)
		if n := bytes.Count(out.Bytes(), []byte("\n")); n != c.lines || out.Len() > 121 {
			t.Errorf("%s: %d lines, want %d; %d characters:\n%s", c.why, n, c.lines, out.Len(), &out)
		}
	}
}
