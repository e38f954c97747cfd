package e2e

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/e2e/world"
)

// TestPostmap asks with postmap, as an administrator does.
func TestPostmap(t *testing.T) {
	t.Parallel()
	w := world.Open(t)
	socket := filepath.Join(t.TempDir(), "sts.sock")
	d := w.StartDaemon(t, world.DaemonConfig{Unix: socket})
	p := w.NewPostfix(t, world.PostfixConfig{Inet: d.Inet, Map: "postfix"})

	enforced, tested, without := w.Domain("enforced"), w.Domain("tested"), w.Domain("without")
	enforced.Publish(t, "1", world.Text("enforce", "mx1."+enforced.Name, "*.mail.example.test"))
	tested.Publish(t, "1", world.Text("testing", "mx1."+tested.Name))
	known := fmt.Sprintf("secure match=mx1.%s:.mail.example.test servername=hostname\n", enforced.Name)
	strict := fmt.Sprintf("secure match=mx1.%s servername=hostname\n", tested.Name)
	nosni := fmt.Sprintf("secure match=mx1.%s:.mail.example.test\n", enforced.Name)

	cases := []struct{ why, mapName, key, stdout string }{
		{"a policy to enforce", "postfix", enforced.Name, known},
		{"the feature list that postfix stands for", "sts", enforced.Name, known},
		{"as a next hop with a port", "postfix", enforced.Name + ":2525", known},
		{"as a relay host", "postfix", "[" + enforced.Name + "]:2525", known},
		{"in capitals", "postfix", "MX.INVALID", ""},
		{"a policy in mode testing", "postfix", tested.Name, ""},
		{"the same for one who wants it enforced", "sts+strict", tested.Name, strict},
		{"a Postfix before 3.4", "sts+nosni", enforced.Name, nosni},
		{"a first week without consequences", "sts+shadow", enforced.Name, ""},
		{"no policy", "postfix", without.Name, ""},
		{"a parent domain, as Postfix asks after NOTFOUND", "postfix", ".example.test", ""},
		{"an address", "postfix", "[192.0.2.1]:25", ""},
	}
	for _, c := range cases {
		for _, socketmap := range []string{"inet:" + d.Inet.String(), "unix:" + socket} {
			want := world.Result{Stdout: c.stdout}
			if c.stdout == "" {
				want.Code = 1
			}
			if got := p.Postmap(t, "socketmap:"+socketmap+":"+c.mapName, c.key); got != want {
				t.Errorf("%s: postmap -q %s socketmap:%s:%s\n got %+v\nwant %+v", c.why, c.key, socketmap, c.mapName,
					got, want)
			}
		}
	}
	if n := enforced.Policy.Requests(); n != 1 {
		t.Errorf("%d GETs for one policy, want 1", n)
	}

	for _, mapName := range []string{"nonsense", "sts+nonsense", "strict"} {
		if got := p.Postmap(t, "socketmap:inet:"+d.Inet.String()+":"+mapName, enforced.Name); got.Code != 1 ||
			got.Stdout != "" || got.Stderr == "" {
			t.Errorf("map name %s: got %+v, want exit code 1 and a complaint", mapName, got)
		}
	}
}
